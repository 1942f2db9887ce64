"""One file system that a node writes, what it holds, and who wants to know how its calls end."""

import errno
import os
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from entrepot.disk import fs


class Observer(Protocol):
    """Who is told of the trouble of a volume (``disk.watch.Watch``)."""

    def failed(self, error: OSError, *, writing: bool, vital: bool = False) -> None:
        """A file call on the volume failed. ``writing``: it would have changed something; ``vital``: deletes depend on
        it, so that the next try may use the ballast."""

    def syncing(self) -> AbstractContextManager[None]:
        """Around a call that waits for the disk: measures it, and notices one that does not come back."""

    def calling(self) -> AbstractContextManager[None]:
        """Around other calls that may wait for it: notices those that do not come back."""


class Unobserved:
    """Nobody wants to know; for tests and tools that hold a volume alone."""

    def failed(self, error: OSError, *, writing: bool, vital: bool = False) -> None:
        """Nothing."""

    def syncing(self) -> AbstractContextManager[None]:
        """Nothing."""
        return nullcontext()

    def calling(self) -> AbstractContextManager[None]:
        """Nothing."""
        return nullcontext()


@dataclass(frozen=True, slots=True)
class Measure:
    """One statvfs sample. ``available`` is what an unprivileged writer may still take; root could take more, and must
    not."""

    size_bytes: int
    available_bytes: int
    used_bytes: int
    inodes_total: int
    inodes_free: int
    read_only: bool = False
    block_bytes: int = 4096

    @property
    def inodes_known(self) -> bool:
        """False on file systems that make inodes at will (btrfs): their zero means unknown, not empty."""
        return self.inodes_total > 0


class Volume:
    """The file system that holds a folder, by its ``st_dev``: two folders on one file system are one volume with one
    ledger."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Args: ``path`` an existing folder on the file system. Raises OSError when there is none."""
        self.path = Path(path)
        self.device = fs.stat(self.path).st_dev
        self.observer: Observer = Unobserved()

    def __repr__(self) -> str:
        return f"Volume({os.fspath(self.path)!r})"

    @property
    def name(self) -> str:
        """What logs, metrics and refusals call it."""
        return os.fspath(self.path)

    def measure(self) -> Measure:
        """Bytes and inodes now (a stat and a statvfs, about 4 µs).

        Raises OSError: ENODEV when the path does not lead any more to the file system it led to at first, as after an
        unmount, when writes would hit what lies below.
        """
        if fs.stat(self.path).st_dev != self.device:
            raise OSError(errno.ENODEV, "another file system is mounted there, or none")
        sample = fs.statvfs(self.path)
        unit = sample.f_frsize
        # f_blocks counts what only root may use (ext4 keeps 5 % back); it is neither ours to fill nor used.
        kept_back = max(0, sample.f_bfree - sample.f_bavail)
        size = (sample.f_blocks - kept_back) * unit
        free_inodes = min(sample.f_ffree, sample.f_favail)
        return Measure(
            size,
            sample.f_bavail * unit,
            (sample.f_blocks - sample.f_bfree) * unit,
            sample.f_files,
            free_inodes,
            read_only=bool(sample.f_flag & os.ST_RDONLY),
            block_bytes=unit,
        )
