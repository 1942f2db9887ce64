"""Files copied in durable batches: written beside their place, synced together, and only then given their names.

One sync for thousands of small files, and still no name without its bytes.
"""

import hashlib
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from entrepot.catalog.beside import CopyFacts
from entrepot.disk import fs
from entrepot.model.limits import BATCH_BYTES, MIB
from entrepot.storage.sweep import KEY, copy_path

BATCH_FILES_MAX = 2000
BATCH_SIZE_BYTES = 512 * MIB
MISSING, DAMAGED, UNREADABLE = "missing", "damaged", "unreadable"


@dataclass(frozen=True, slots=True)
class Read:
    """What reading one copy came to: ``why`` it is not what the catalog says, or the empty text."""

    why: str
    cause: str = ""

    def __str__(self) -> str:
        return f"{self.why}: {self.cause}" if self.cause else self.why


@dataclass(frozen=True, slots=True)
class Lack:
    """A copy that the catalog lists and that is not what it says: ``why``, and what its bytes are (``names``)."""

    key: str
    why: str
    names: tuple[str, ...]


class Filler:
    """Fills ``blobs`` of one folder. ``made`` has the key of everything that got a name. Every method may raise OSError
    of the target, never of a source.
    """

    def __init__(self, blobs_fd: int, incoming_fd: int, *, mode: int) -> None:
        """Args: ``incoming_fd`` a folder of the same volume, emptied here; ``mode`` of each file once it has its
        name.
        """
        self._blobs = blobs_fd
        self._incoming = incoming_fd
        self._mode = mode
        self._batch: list[str] = []
        self._batch_bytes = 0
        self._shards: set[str] = set()
        self.made: list[str] = []
        self._empty()

    def _empty(self) -> None:
        with fs.scandir(self._incoming) as entries:
            for name in [entry.name for entry in entries]:
                fs.unlink(name, dir_fd=self._incoming)

    def take(self, source_fd: int, facts: CopyFacts) -> Read:
        """Copy one file out of the folder ``source_fd`` (``blobs``) unless it is not what the catalog says of it."""
        if not KEY.fullmatch(facts.key):
            return Read(DAMAGED, "its key is not one")  # a catalog that somebody made up must lead nowhere
        fd = fs.open_new(facts.key, dir_fd=self._incoming, mode=self._mode)
        try:
            found = pour(source_fd, facts, fd)
        except BaseException:
            with suppress(OSError):
                fs.close(fd)
            raise
        fs.close(fd)
        if found.why:
            fs.unlink(facts.key, dir_fd=self._incoming)
            return found
        self._batch.append(facts.key)
        self._batch_bytes += facts.size_bytes
        if len(self._batch) >= BATCH_FILES_MAX or self._batch_bytes >= BATCH_SIZE_BYTES:
            self.settle()
        return found

    def has(self, facts: CopyFacts) -> bool:
        """Whether the copy has its name, from an earlier run that did not get to its end."""
        if not KEY.fullmatch(facts.key):
            return False
        try:
            return fs.stat(copy_path(facts.key), dir_fd=self._blobs).st_size == facts.size_bytes
        except FileNotFoundError:
            return False

    def settle(self) -> None:
        """Sync what was written and give it its names; these are durable with the next sync of the volume."""
        if not self._batch:
            return
        fs.syncfs(self._incoming)
        for key in self._batch:
            shard = key[:2]
            if shard not in self._shards:
                fs.mkdir(shard, 0o700, dir_fd=self._blobs)
                self._shards.add(shard)
            fs.rename(key, copy_path(key), src_dir_fd=self._incoming, dst_dir_fd=self._blobs)
            self.made.append(key)
        self._batch.clear()
        self._batch_bytes = 0

    def undo(self) -> None:
        """Take away everything that this filler made; what cannot be removed stays. Raises nothing."""
        with suppress(OSError):
            self._empty()
        self._batch.clear()
        while self.made:
            with suppress(OSError):
                fs.unlink(copy_path(self.made.pop()), dir_fd=self._blobs)


def pour(source_fd: int, facts: CopyFacts, target_fd: int | None) -> Read:
    """Read one copy whole and compare it with what the catalog says, writing it to ``target_fd`` on the way when there
    is one. Raises OSError of the target alone.
    """
    digest, size_bytes = hashlib.sha256(), 0
    if not KEY.fullmatch(facts.key):
        return Read(DAMAGED, "its key is not one")
    try:
        fd = fs.open_read(copy_path(facts.key), dir_fd=source_fd)
    except FileNotFoundError:
        return Read(MISSING)
    except OSError as error:
        return Read(UNREADABLE, error.strerror or str(error))
    try:
        if target_fd is None:
            fs.drop_cached(fd)  # what is looked at is the disk, not the memory of it
        while size_bytes <= facts.size_bytes:
            try:
                chunk = fs.pread(fd, BATCH_BYTES, size_bytes)
            except OSError as error:
                return Read(UNREADABLE, error.strerror or str(error))
            digest.update(chunk)
            size_bytes += len(chunk)
            if target_fd is not None:
                fs.write_all(target_fd, chunk)
            if len(chunk) < BATCH_BYTES:
                break
    finally:
        with suppress(OSError):
            fs.close(fd)
    if size_bytes != facts.size_bytes:
        return wrong_length(size_bytes, facts)
    if digest.hexdigest() != facts.sha256:
        return Read(DAMAGED, "its bytes are not those of its sha256")
    return Read("")


def wrong_length(size_bytes: int, facts: CopyFacts) -> Read:
    """A copy that has ``size_bytes``, as a reading would tell it."""
    return Read(DAMAGED, f"it has {size_bytes} bytes instead of {facts.size_bytes}")


def digest_of(path: Path) -> str:
    """The sha256 of a file. Raises OSError."""
    digest, offset = hashlib.sha256(), 0
    fd = fs.open_read(path)
    try:
        while chunk := fs.pread(fd, BATCH_BYTES, offset):
            digest.update(chunk)
            offset += len(chunk)
    finally:
        fs.close(fd)
    return digest.hexdigest()


class Folders:
    """Descriptors of some folders, closed together."""

    def __init__(self) -> None:
        self._fds: list[int] = []

    def open(self, path: str | Path, *, dir_fd: int | None = None) -> int:
        """Open one more. Raises OSError."""
        fd = fs.open_dir(path, dir_fd=dir_fd)
        self.hold(fd)
        return fd

    def hold(self, fd: int) -> None:
        """Close this one with the others."""
        self._fds.append(fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        while self._fds:
            with suppress(OSError):
                fs.close(self._fds.pop())
