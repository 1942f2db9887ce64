"""RPM packages built by rpmbuild, kept in a cache so that the same recipe is built once, and signed by rpmsign."""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tests.support.gpg import GpgHome
from tests.support.process import client_env, run

RECIPE_VERSION = 1
BUILD_TIME_S = 1_700_000_000
DEFINES = {
    "debug_package": "%{nil}",
    "_build_id_links": "none",
    "_invalid_encoding_terminates_build": "0",
    "_buildhost": "builder.example.org",
    "use_source_date_epoch_as_buildtime": "1",
    "__os_install_post": "%{nil}",
    "_unpackaged_files_terminate_build": "1",
}


def cache_folder() -> Path:
    """Where built and downloaded packages are kept between runs: $ENTREPOT_TEST_CACHE or ~/.cache/entrepot-tests."""
    configured = os.environ.get("ENTREPOT_TEST_CACHE")
    folder = Path(configured) if configured else Path.home() / ".cache" / "entrepot-tests"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@dataclass(frozen=True, slots=True)
class Recipe:
    """What rpmbuild is to build.

    `relations` maps a spec tag (`Requires`, `Provides`, `Recommends`, `Supplements`, …) to its values; `scripts` maps a
    section (`post`, `preun`, …) to its text; `changelogs` are (`Wed Jan 01 2025`, author and version, text) from new
    to old; `files` maps absolute paths to text; `generated_files` adds that many empty files. `summary_raw` (latin-1
    bytes as a string) makes a header that is not UTF-8. `compression` is an rpm payload flag such as `w9.gzdio` or
    `w3.zstdio`.
    """

    name: str
    version: str = "1.0"
    release: str = "1"
    arch: str = "x86_64"
    epoch: int | None = None
    summary: str = "package for tests"
    summary_raw: str | None = None
    description: str = "It was made by a builder in code."
    relations: Mapping[str, Sequence[str]] = field(default_factory=dict)
    scripts: Mapping[str, str] = field(default_factory=dict)
    changelogs: Sequence[tuple[str, str, str]] = ()
    files: Mapping[str, str] | None = None
    generated_files: int = 0
    compression: str = "w6.gzdio"

    def spec(self) -> bytes:
        """The spec file; its install section copies the tree that the builder prepared."""
        lines = [f"Name: {self.name}", f"Version: {self.version}", f"Release: {self.release}"]
        lines += [] if self.epoch is None else [f"Epoch: {self.epoch}"]
        lines += [f"Summary: {self.summary if self.summary_raw is None else self.summary_raw}"]
        lines += ["License: GPL-3.0-or-later", "URL: https://example.org/", "AutoReqProv: no", "Source0: source.txt"]
        lines += ["BuildArch: noarch"] if self.arch == "noarch" else []
        lines += [f"{tag}: {value}" for tag, values in self.relations.items() for value in values]
        lines += ["", "%description", self.description, "", "%install", "cp -a %{prepared_tree}/. %{buildroot}/"]
        for section, text in self.scripts.items():
            lines += ["", f"%{section}", text]
        lines += ["", "%files -f %{prepared_list}"]
        if self.changelogs:
            lines += ["", "%changelog"]
            for day, author, text in self.changelogs:
                lines += [f"* {day} {author}", f"- {text}", ""]
        return ("\n".join(lines) + "\n").encode("utf-8" if self.summary_raw is None else "latin-1")

    def tree(self) -> dict[str, str]:
        """All files by path below the root, without the leading slash."""
        chosen = self.files
        if chosen is None:
            chosen = {f"/usr/share/{self.name}/version": f"{self.name} {self.version}-{self.release}\n"}
        paths = {path.lstrip("/"): text for path, text in chosen.items()}
        for number in range(self.generated_files):
            paths[f"usr/share/{self.name}/part{number // 1000:03d}/file{number:06d}"] = ""
        return paths

    def key(self, *, source: bool) -> str:
        """Cache key: a digest of everything that decides the result."""
        recipe = json.dumps([RECIPE_VERSION, source, asdict(self)], sort_keys=True)
        return hashlib.sha256(recipe.encode("utf-8", "surrogateescape")).hexdigest()[:32]


def make_rpm(folder: Path, recipe: Recipe, *, source: bool = False) -> Path:
    """Put the built package (the source package if `source`) into `folder` and return its path.

    The first build takes about half a second; later ones are a copy from the cache. Raises `CommandError` with
    rpmbuild's output if the recipe does not build.
    """
    kept = cache_folder() / "rpm" / recipe.key(source=source)
    if not kept.is_dir():
        build(recipe, kept, source=source)
    (built,) = kept.iterdir()
    return Path(shutil.copy(built, folder / built.name))


def build(recipe: Recipe, kept: Path, *, source: bool) -> None:
    """Run rpmbuild and move the one package it made into the new folder `kept`."""
    kept.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="rpmbuild-", dir=kept.parent) as work:
        top = Path(work)
        for sub in ("SOURCES", "SPECS", "tree", "out"):
            (top / sub).mkdir()
        (top / "SOURCES/source.txt").write_text("source\n")
        (top / "SPECS/package.spec").write_bytes(recipe.spec())
        for path, text in recipe.tree().items():
            file = top / "tree" / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        (top / "list").write_text("".join(f'"/{path}"\n' for path in recipe.tree()))
        defines = {
            **DEFINES,
            "_topdir": str(top),
            "_rpmdir": str(top / "out"),
            "_srcrpmdir": str(top / "out"),
            "_build_name_fmt": "%%{NAME}-%%{VERSION}-%%{RELEASE}.%%{ARCH}.rpm",
            "prepared_tree": str(top / "tree"),
            "prepared_list": str(top / "list"),
            "_binary_payload": recipe.compression,
            "_source_payload": recipe.compression,
        }
        flags = [part for name, value in defines.items() for part in ("--define", f"{name} {value}")]
        target = [] if recipe.arch == "noarch" else ["--target", f"{recipe.arch}-linux"]
        env = client_env(top, {"SOURCE_DATE_EPOCH": str(BUILD_TIME_S)})
        mode = "-bs" if source else "-bb"
        run(["rpmbuild", mode, "--nodeps", *target, *flags, top / "SPECS/package.spec"], env=env, timeout_s=180)
        try:
            (top / "out").rename(kept)
        except OSError:
            if not kept.is_dir():  # another test process was quicker with the same recipe
                raise


def sign_rpm(package: Path, key: GpgHome) -> Path:
    """Sign a package in place with rpmsign and return it."""
    defines = [
        "--define",
        f"_gpg_name {key.fingerprint}",
        "--define",
        "__gpg /usr/bin/gpg",
        "--define",
        f"_gpg_path {key.path}",
    ]
    run(["rpmsign", *defines, "--addsign", package], env=key.env())
    return package
