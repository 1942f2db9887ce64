"""Whole systems to set up: a tree seen through an overlay, so that what is done to it is gone afterwards."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.debian_archive import locked
from tests.support.process import Result, run
from tests.support.rpm import cache_folder

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
MIRROR = "http://deb.debian.org/debian"


def debian_tree(suite: str) -> Path:
    """A minimal Debian of ``suite`` with apt, curl, wget and authorities, fetched from the mirror once and kept."""
    kept = cache_folder() / "trees" / suite
    kept.parent.mkdir(exist_ok=True)
    with locked(kept.parent):
        if not kept.exists():
            making = kept.with_name(f"{suite}.{os.getpid()}")
            # A mirror may stand still; sid's index is meant to be a week old at most.
            options = ("--include=ca-certificates,curl,wget", '--aptopt=Acquire::Check-Valid-Until "false"')
            tree: list[str | Path] = ["mmdebstrap", "--quiet", "--variant=apt", *options, suite, making, MIRROR]
            run(tree, prefix=["eatmydata"], timeout_s=900)
            making.rename(kept)
    return kept


@dataclass(frozen=True, slots=True)
class Machine:
    """A running system as far as package managers are concerned: a root with /proc and /dev. `prefix` goes before its
    commands (a network namespace); without it the system shares our network.
    """

    root: Path
    prefix: tuple[str, ...] = ()

    def sh(self, line: str, *, check: bool = True, env: dict[str, str] | None = None, timeout_s: float = 180) -> Result:
        """Type a line, as root."""
        given = [f"{name}={value}" for name, value in (env or {}).items()]
        head: list[str | Path] = [
            "chroot",
            self.root,
            "/usr/bin/env",
            "-i",
            f"PATH={PATH}",
            "HOME=/root",
            "LC_ALL=C.UTF-8",
            *given,
        ]
        return run([*head, "/bin/sh", "-c", line], prefix=self.prefix, check=check, timeout_s=timeout_s)

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        """A file, with its folders; a link there is replaced."""
        file = self.root / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.unlink(missing_ok=True)
        file.write_text(text)
        file.chmod(mode)

    def read(self, path: str) -> str:
        """A file's text."""
        return (self.root / path.lstrip("/")).read_text()

    def mode(self, path: str) -> int:
        """A file's permissions."""
        return (self.root / path.lstrip("/")).stat().st_mode & 0o777

    def trust(self, ca_file: Path) -> None:
        """Have the system trust an authority. (`update-ca-certificates` takes seconds for all the others.)"""
        bundle = "/etc/ssl/certs/ca-certificates.crt"
        self.write(bundle, self.read(bundle) + ca_file.read_text())

    def is_called(self, **fields: str) -> None:
        """Have os-release say this."""
        self.write("/etc/os-release", "".join(f'{name}="{value}"\n' for name, value in fields.items()))


@contextmanager
def machine(tree: Path, folder: Path, prefix: tuple[str, ...] = ()) -> Iterator[Machine]:
    """The system in ``tree``, which stays as it is; ``folder`` is where it can be seen meanwhile."""
    (folder / "rw").mkdir(parents=True)
    root = folder / "root"
    root.mkdir()
    try:
        run(["mount", "-t", "tmpfs", "-o", "size=512m", "tmpfs", folder / "rw"])
        for name in ("upper", "work"):
            (folder / "rw" / name).mkdir()
        options = f"lowerdir={tree},upperdir={folder}/rw/upper,workdir={folder}/rw/work"
        run(["mount", "-t", "overlay", "-o", options, "overlay", root])
        run(["mount", "-t", "proc", "proc", root / "proc"])
        run(["mount", "--bind", "/dev", root / "dev"])
        yield Machine(root, prefix)
    finally:
        for place in (root / "dev", root / "proc", root, folder / "rw"):
            run(["umount", "--lazy", place], check=False)
