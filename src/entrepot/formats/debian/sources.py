"""Source packages (dsc(5), deb-changes(5), dpkg-source(1)): the .dsc and its entry in Sources, its members, and
.changes as claims.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from entrepot.formats.debian.clearsign import signed_text
from entrepot.formats.debian.control import SOURCES_ORDER, Stanza, invalid, parse_stanza, render, text_of
from entrepot.formats.debian.names import (
    COMPONENT,
    check_filename,
    check_package_name,
    pool_folder,
    split_member,
)
from entrepot.formats.debian.relations import SOURCE_RELATIONS, dependencies
from entrepot.formats.debian.version import order_key, parse_version
from entrepot.formats.protocol import Inspection, Member, PackageFacts, Upload
from entrepot.model.errors import Refusal
from entrepot.model.limits import STANZA_BYTES_MAX, UPLOAD_BYTES_MAX
from entrepot.streams.window import Window

# A .dsc, .changes or .buildinfo is one stanza and its signature.
TEXT_BYTES_MAX = STANZA_BYTES_MAX
_FILES_MAX = 512
_DIGEST_CHARS = {"md5": 32, "sha1": 40, "sha256": 64}
_FIELD_OF = {"md5": "Files", "sha1": "Checksums-Sha1", "sha256": "Checksums-Sha256"}
_HEX = re.compile(r"[0-9a-f]+\Z")
_SIZE = re.compile(r"[0-9]{1,15}\Z")
# Fields that are ours to write: they must name the .dsc as well, and the folder where we keep the files.
_OURS = frozenset({"source", "package", "directory", "files"})
# What a file of this suffix begins with. A mail, an error page or an empty file in place of a tarball stops here.
_MAGIC = {
    ".gz": b"\x1f\x8b",
    ".bz2": b"BZh",
    ".xz": b"\xfd7zXZ\0",
    ".lzma": b"\x5d\0\0",
    ".zst": b"\x28\xb5\x2f\xfd",
    ".asc": b"-----BEGIN PGP SIGNATURE",
}


@dataclass(frozen=True, slots=True)
class Listed:
    """One file that a .dsc or .changes names, with every digest that it gives."""

    filename: str
    size_bytes: int
    digests: Mapping[str, str]


def read_text(window: Window, what: str) -> Stanza:
    """The one stanza of a .dsc, .changes or .buildinfo, signed or not. Raises Refusal as parse_stanza and signed_text
    do.
    """
    if window.size_bytes > TEXT_BYTES_MAX:
        raise Refusal(
            "package_hostile", f"The {what} is larger than {TEXT_BYTES_MAX} bytes.", limit_bytes=TEXT_BYTES_MAX
        )
    # The linux package's Package-List alone is above the bound on fields of binary packages, so the stanza's bound is
    # the field's.
    text = signed_text(window.read(0, window.size_bytes), what)
    return parse_stanza(text, what, field_bytes_max=STANZA_BYTES_MAX)


def inspect_dsc(upload: Upload, window: Window) -> Inspection:
    """Judge a .dsc: it is listed once the files that it names are there. Raises Refusal."""
    stanza = read_text(window, ".dsc")
    source = check_package_name(stanza.line("Source"), "Source")
    version = parse_version(stanza.line("Version"))
    architecture = " ".join(stanza.line("Architecture").split())
    stanza.line("Format")
    listed = _listed(stanza, ".dsc")
    for each in listed:
        found = split_member(each.filename)
        # dpkg-source refuses members of another source too; here one could name, and so hold back or expose, anybody's
        # file.
        if found is None or found[0] != source:
            raise Refusal(
                "package_name_invalid",
                f"The .dsc names {each.filename[:100]!r}, which is no tarball, diff or signature of {source};"
                " build it with dpkg-source.",
                value=each.filename[:100],
            )
    filename = check_filename(f"{source}_{version.without_epoch}.dsc", "The .dsc")
    facts = PackageFacts(
        type="dsc",
        name=source,
        version=version.without_epoch,
        epoch=version.epoch,
        release=version.revision,
        architecture=architecture,
        filename=filename,
        path=filename,
        conflict_key=filename,
        order_key=order_key(source, version, "source", upload.digests.sha256),
        part=f"{COMPONENT}:source",
        fragments={"Sources": _entry(stanza, upload, source, filename, listed)},
        requires=tuple(Member(each.filename, each.size_bytes, each.digests) for each in listed),
        metadata=_metadata(stanza),
    )
    return Inspection(facts)


def inspect_changes(window: Window) -> Inspection:
    """Judge a .changes: not kept, but what it says of the files sent with it must be true. Raises Refusal."""
    stanza = read_text(window, ".changes")
    listed = _listed(stanza, ".changes")
    return Inspection(None, tuple(Member(each.filename, each.size_bytes, each.digests) for each in listed))


def inspect_buildinfo(window: Window) -> Inspection:
    """Judge a .buildinfo: a stanza that nobody reads from an index, so it is accepted and not kept. Raises Refusal."""
    read_text(window, ".buildinfo")
    return Inspection(None)


def inspect_member(upload: Upload, window: Window, filename: str) -> Inspection:
    """Judge a tarball, diff or signature of a source package by its name and first bytes. Raises Refusal.

    It is no entry of an index: the .dsc that names it is, and gives its digests.
    """
    check_filename(filename, "The upload")
    found = split_member(filename)
    if found is None:
        raise Refusal(
            "not_a_package",
            f"{filename[:100]!r} is no name of a source package's file; dpkg-source(1) lists the names.",
        )
    source, version_text = found
    suffix = filename[filename.rindex(".") :]
    magic = _MAGIC[suffix]
    if window.size_bytes < len(magic) or window.read(0, len(magic)) != magic:
        raise Refusal("not_a_package", f"{filename[:100]!r} is not what its suffix {suffix} says; build it again.")
    version = parse_version(version_text)
    facts = PackageFacts(
        type="dsc-member",
        name=source,
        version=version.without_epoch,
        release=version.revision,
        architecture="source",
        filename=filename,
        path=filename,
        conflict_key=filename,
        order_key=order_key(source, version, filename, upload.digests.sha256),
        member=True,
    )
    return Inspection(facts)


def _listed(stanza: Stanza, what: str) -> tuple[Listed, ...]:
    """The files of the three lists, in the order of Files; all lists must name the same files with the same sizes."""
    lists = {algorithm: _list(stanza, field, algorithm, what) for algorithm, field in _FIELD_OF.items()}
    if not lists["md5"] or not lists["sha256"]:
        raise invalid(
            "Checksums-Sha256",
            f"The {what} needs both Files and Checksums-Sha256; build it with dpkg-source 1.14.17 or newer.",
        )
    if not lists["sha1"]:
        del lists["sha1"]
    sizes = [{name: size for name, (_, size) in each.items()} for each in lists.values()]
    # The attack: a file that is in one list only is fetched by clients that read it, and checked by those that read the
    # other.
    if any(each != sizes[0] for each in sizes[1:]):
        raise invalid(
            "Files", f"The lists Files and Checksums-* of the {what} differ in names or sizes; build it again."
        )
    return tuple(
        Listed(name, size, {algorithm: each[name][0] for algorithm, each in lists.items()})
        for name, (_, size) in lists["md5"].items()
    )


def _list(stanza: Stanza, field: str, algorithm: str, what: str) -> dict[str, tuple[str, int]]:
    """File name → (digest, size) of one field. Lines are ``DIGEST SIZE NAME``, in a .changes' Files ``MD5 SIZE SECTION
    PRIORITY NAME``.
    """
    found: dict[str, tuple[str, int]] = {}
    columns = 5 if what == ".changes" and field == "Files" else 3
    for line in text_of(stanza.get(field) or b"").split("\n"):
        words = line.split()
        if not words:
            continue
        if len(words) != columns or not _SIZE.match(words[1]) or int(words[1]) > UPLOAD_BYTES_MAX:
            raise invalid(field, f"The field {field} of the {what} has a malformed line: {line.strip()[:80]!r}.")
        digest, name = words[0].lower(), check_filename(words[-1], f"The field {field}")
        if len(digest) != _DIGEST_CHARS[algorithm] or not _HEX.match(digest):
            raise invalid(field, f"The field {field} of the {what} has a digest that is no {algorithm} for {name}.")
        if name in found:
            raise invalid(field, f"The field {field} of the {what} names {name} twice.")
        found[name] = (digest, int(words[1]))
        if len(found) > _FILES_MAX:
            raise Refusal("package_hostile", f"The {what} names more than {_FILES_MAX} files.", files_max=_FILES_MAX)
    return found


def _entry(stanza: Stanza, upload: Upload, source: str, filename: str, listed: tuple[Listed, ...]) -> bytes:
    """The stanza of Sources: the .dsc's own fields, with Package for Source, the .dsc first in each list, and the
    folder of them all.
    """
    own = {"md5": upload.digests.md5, "sha1": upload.digests.sha1, "sha256": upload.digests.sha256}
    codename = upload.distribution.partition("/")[2]
    kept = [
        (name, value)
        for key, (name, value) in stanza.fields.items()
        if key not in _OURS and not key.startswith("checksums-")
    ]
    kept.append(("Package", source.encode("ascii")))
    kept.append(("Directory", pool_folder(codename, COMPONENT, source, upload.digests.sha256).encode("ascii")))
    for algorithm, field in _FIELD_OF.items():
        digest = own[algorithm]
        if digest is None or any(algorithm not in each.digests for each in listed):
            continue
        rows = [
            (digest, upload.size_bytes, filename),
            *((each.digests[algorithm], each.size_bytes, each.filename) for each in listed),
        ]
        kept.append((field, "".join(f"\n {digest} {size} {name}" for digest, size, name in rows).encode("ascii")))
    return render(kept, SOURCES_ORDER)


def _metadata(stanza: Stanza) -> dict[str, object]:
    found: dict[str, object] = {
        "summary": "",
        "description": "",
        "licenses": [],
        "homepage": text_of(stanza.get("Homepage") or b""),
        "dependencies": dependencies(stanza, SOURCE_RELATIONS),
    }
    for field in ("Section", "Priority", "Maintainer", "Binary"):
        if (value := stanza.get(field)) is not None:
            found[field.lower()] = " ".join(text_of(value).split())
    return found
