"""Debian source packages (format 3.0 (quilt)) with .dsc and .changes, made without dpkg-source so that they are
quick.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.support.deb import Compression, compress
from tests.support.tar import file_tree, tar_bytes

MAINTAINER = "Test Builder <builder@example.org>"
CHANGES_DATE = "Wed, 01 Jan 2025 00:00:00 +0000"


@dataclass(frozen=True, slots=True)
class SourcePackage:
    """The files of one source package: the .dsc, the .changes, and every file that the .dsc names."""

    dsc: Path
    changes: Path
    members: tuple[Path, ...]

    @property
    def files(self) -> tuple[Path, ...]:
        """All files of the upload in dput's order: members, .dsc, .changes."""
        return (*self.members, self.dsc, self.changes)


def checksum_lines(files: Sequence[Path], algorithm: str, middle: str = "") -> str:
    """` HEX SIZE [SECTION PRIORITY] NAME` lines for a checksum field."""
    lines = []
    for file in files:
        data = file.read_bytes()
        lines.append(f" {hashlib.new(algorithm, data).hexdigest()} {len(data)} {middle}{file.name}\n")
    return "".join(lines)


def checksum_fields(files: Sequence[Path], middle: str = "") -> str:
    """The three checksum fields of a .dsc (`middle` empty) or a .changes (`middle` is `section priority `)."""
    return (
        f"Checksums-Sha1:\n{checksum_lines(files, 'sha1')}"
        f"Checksums-Sha256:\n{checksum_lines(files, 'sha256')}"
        f"Files:\n{checksum_lines(files, 'md5', middle)}"
    )


def changes_text(
    name: str, version: str, files: Sequence[Path], *, arch: str, distribution: str, binaries: str = ""
) -> str:
    """The text of an unsigned .changes file over `files`."""
    binary = f"Binary: {binaries}\n" if binaries else ""
    return (
        f"Format: 1.8\nDate: {CHANGES_DATE}\nSource: {name}\n{binary}Architecture: {arch}\nVersion: {version}\n"
        f"Distribution: {distribution}\nUrgency: medium\nMaintainer: {MAINTAINER}\nChanged-By: {MAINTAINER}\n"
        f"Changes:\n {name} ({version}) {distribution}; urgency=medium\n .\n   * Made by a builder in code.\n"
        + checksum_fields(files, "misc optional ")
    )


def make_changes(
    folder: Path, name: str, version: str, files: Sequence[Path], *, arch: str = "amd64", distribution: str = "bookworm"
) -> Path:
    """Write an unsigned .changes over existing files (binary packages, a .dsc set, or both)."""
    path = folder / f"{name}_{version.split(':', 1)[-1]}_{'_'.join(arch.split())}.changes"
    path.write_text(changes_text(name, version, files, arch=arch, distribution=distribution, binaries=name))
    return path


def make_dsc(
    folder: Path,
    name: str,
    version: str = "1.0-1",
    *,
    compression: Compression = "xz",
    distribution: str = "bookworm",
    fields: Mapping[str, str] | None = None,
    files: Mapping[str, bytes] | None = None,
) -> SourcePackage:
    """Write a source package: orig tar, debian tar, .dsc and a source-only .changes, all unsigned.

    `version` needs a revision (`1.0-1`). `fields` adds .dsc fields or replaces defaults; `files` is the upstream tree.
    Raises `ValueError` without a revision or for `none` compression, which source format 3.0 does not have.
    """
    plain = version.split(":", 1)[-1]
    upstream, dash, _ = plain.rpartition("-")
    if not dash or compression == "none":
        raise ValueError("a quilt source package needs a revision and a compression")
    orig = folder / f"{name}_{upstream}.orig.tar.{compression}"
    tree = {f"{name}-{upstream}/{path}": data for path, data in (files or {"README": b"test\n"}).items()}
    orig.write_bytes(compress(tar_bytes(file_tree(tree, top="")), compression))
    debian = folder / f"{name}_{plain}.debian.tar.{compression}"
    control = (
        f"Source: {name}\nSection: misc\nPriority: optional\nMaintainer: {MAINTAINER}\nStandards-Version: 4.6.2\n\n"
        f"Package: {name}\nArchitecture: all\nDescription: package for tests\n"
    )
    changelog = f"{name} ({version}) {distribution}; urgency=medium\n\n  * Made.\n\n -- {MAINTAINER}  {CHANGES_DATE}\n"
    debian.write_bytes(
        compress(
            tar_bytes(
                file_tree(
                    {
                        "debian/control": control.encode(),
                        "debian/changelog": changelog.encode(),
                        "debian/source/format": b"3.0 (quilt)\n",
                        "debian/rules": b"#!/usr/bin/make -f\n%:\n\ttrue\n",
                    },
                    top="",
                )
            ),
            compression,
        )
    )
    members = (orig, debian)
    values = {
        "Format": "3.0 (quilt)",
        "Source": name,
        "Binary": name,
        "Architecture": "all",
        "Version": version,
        "Maintainer": MAINTAINER,
        "Standards-Version": "4.6.2",
        **(fields or {}),
        "Package-List": f"\n {name} deb misc optional arch=all",
    }
    dsc = folder / f"{name}_{plain}.dsc"
    dsc.write_text("".join(f"{key}: {value}\n" for key, value in values.items()) + checksum_fields(members))
    changes = folder / f"{name}_{plain}_source.changes"
    changes.write_text(changes_text(name, version, (*members, dsc), arch="source", distribution=distribution))
    return SourcePackage(dsc, changes, members)
