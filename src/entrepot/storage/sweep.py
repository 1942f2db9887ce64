"""What lies in a store's folder, told apart by its shape: ours, or nobody's.

The mode of a copy says whether the catalog ever vouched for it. A copy is linked with its owner's write bit set and
loses it (is *sealed*) once its row is durable; before its row is deleted it gets the bit back. So a file without a row
that is not sealed was left by a crash between name and row, or between row and unlink, and is dead; a sealed one
without a row means that the catalog is not the one that this folder was used with (an old backup, for example), and is
not to be touched in haste.
"""

import os
import re
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from entrepot.disk import fs

KEY = re.compile(r"[0-9a-f]{32}", re.ASCII)
SHARD = re.compile(r"[0-9a-f]{2}", re.ASCII)
STAGED_MODE = 0o600
SEALED_MODE = 0o400
_WRITE_BITS = 0o222
_BLOCK_BYTES = 512  # the unit of st_blocks, whatever the file system's own


def copy_path(key: str) -> str:
    """Where a copy lies below ``blobs``. ``key`` must match :data:`KEY`: it becomes a path."""
    return f"{key[:2]}/{key}"


@dataclass(frozen=True, slots=True)
class Entry:
    """A name in a folder and what is behind it: ``size_bytes`` is what it takes on the volume, not its length."""

    name: str
    size_bytes: int
    inode: int
    modified_s: float
    mode: int

    @property
    def is_file(self) -> bool:
        """A regular file: no link, device or pipe that an unwary open would follow or hang on."""
        return stat.S_ISREG(self.mode)

    @property
    def is_folder(self) -> bool:
        """A folder."""
        return stat.S_ISDIR(self.mode)

    @property
    def is_sealed(self) -> bool:
        """Whether the catalog has vouched for this copy."""
        return not self.mode & _WRITE_BITS


def look(name: str, dir_fd: int) -> Entry | None:
    """One name in a folder; None when it is gone. Raises OSError."""
    try:
        facts = fs.stat(name, dir_fd=dir_fd)
    except FileNotFoundError:
        return None
    return Entry(name, facts.st_blocks * _BLOCK_BYTES, facts.st_ino, facts.st_mtime, facts.st_mode)


def names(dir_fd: int, names_max: int) -> Iterator[str]:
    """The first ``names_max`` names in a folder. Raises OSError."""
    with fs.scandir(dir_fd) as entries:
        for _, entry in zip(range(names_max), entries, strict=False):
            yield entry.name


def reap_incoming(dir_fd: int) -> int:
    """Remove the files in ``incoming`` that nobody holds a lock on; how many. Only names that we could have made.

    Raises OSError.
    """
    with fs.scandir(dir_fd) as entries:
        return sum(reap_one(entry.name, dir_fd) for entry in entries if KEY.fullmatch(entry.name))


def reap_one(name: str, dir_fd: int) -> bool:
    """Remove one file of ``incoming`` if nobody holds its lock; whether it was removed. Raises OSError."""
    found = look(name, dir_fd)
    if found is None or not found.is_file:
        return False
    try:
        fd = fs.open_read(name, dir_fd=dir_fd)
    except FileNotFoundError:  # committed or reaped since the folder was read
        return False
    try:
        # The name is unlinked only while its file is locked: a live upload keeps its lock from its first moment to
        # its last.
        if not fs.flock(fd):
            return False
        with suppress(FileNotFoundError):
            if os.path.samestat(fs.stat(name, dir_fd=dir_fd), fs.fstat(fd)):
                fs.unlink(name, dir_fd=dir_fd)
                return True
        return False
    finally:
        fs.close(fd)
