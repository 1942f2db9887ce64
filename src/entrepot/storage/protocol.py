"""What every blob store answers. A *copy* is where a blob's bytes lie; its key is unique to it and never the digest.

Two uploads of the same bytes make two copies, and the catalog keeps one: no copy is ever shared by name, so deleting
one can never take away bytes that another upload is just referring to.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

from entrepot.disk.ledger import Reservation


@dataclass(frozen=True, slots=True)
class CopyInfo:
    """One stored copy. ``modified_s`` is its last write in seconds since 1970, by the store's clock."""

    key: str
    size_bytes: int
    modified_s: float


class Staged(Protocol):
    """Bytes on their way in. Leaving it as a context manager without :meth:`commit` aborts. One thread at a time."""

    @property
    def size_bytes(self) -> int:
        """Bytes written so far."""

    def write(self, chunk: bytes | bytearray | memoryview) -> None:
        """Append; blocks, so it is called from a worker thread. Chunks of about 1 MiB are best.

        Raises Refusal (``no_room``, ``storage_failed``, ``busy``); the staged bytes can then only be aborted.
        """

    def read_at(self, offset_bytes: int, length_bytes: int) -> bytes:
        """Bytes already written, fewer only at their end. Raises Refusal ``storage_failed``."""

    def fileno(self) -> int | None:
        """A descriptor for reading them back in a child process, or None when the store has none. The staged bytes
        keep owning it."""

    def commit(self, sha256: str) -> str:
        """Make the bytes durable and return the copy's key. ``sha256`` (hexadecimal) is checked by stores that can,
        and kept with the copy by those that keep attributes.

        When this raises, there is no copy. Raises Refusal (``storage_failed``, ``no_room``, ``busy``).
        """

    def abort(self) -> None:
        """Drop everything that was not committed. Any number of times, also after :meth:`commit`; never raises."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class OpenCopy(Protocol):
    """A committed copy, open for reading; stays readable when the copy is deleted meanwhile. Safe for any number of
    threads."""

    @property
    def size_bytes(self) -> int: ...

    def read_at(self, offset_bytes: int, length_bytes: int) -> bytes:
        """Bytes at ``offset_bytes``, fewer only at the end. Raises Refusal ``storage_failed``."""

    def fileno(self) -> int | None:
        """A descriptor (for sendfile), or None when the store has none."""

    def close(self) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class BlobStore(Protocol):
    """A place for copies. Every method blocks and is safe for any number of threads."""

    def stage(
        self, expected_size_bytes: int | None, reservation: Reservation | None = None, *, from_floor: bool = False
    ) -> Staged:
        """Begin a copy. ``expected_size_bytes`` None: unknown, room is taken in steps of 1, 2, 4 … 64 MiB.

        ``reservation`` (which must hold the expected bytes and one inode) stays the caller's after commit, because it
        may also hold room for the publication; abort releases it. Without one, the store reserves for itself.

        Raises Refusal (``too_large_for_volume``, ``no_room``, ``storage_failed``, ``busy``).
        """

    def open(self, key: str) -> OpenCopy:
        """Raises Refusal ``not_found`` for an unknown key, ``storage_failed``, ``busy``."""

    def stat(self, key: str) -> CopyInfo | None:
        """What is known of a copy, or None. Raises Refusal ``storage_failed``."""

    def delete(self, key: str) -> bool:
        """Delete a copy; whether it was there. Works on a full volume. Raises Refusal ``storage_failed``."""

    def confirm(self, keys: Iterable[str]) -> None:
        """The catalog's rows of these copies are durable: from now on it vouches for them. Never raises.

        Until then, or until :meth:`delete`, a new copy counts as one whose row is still coming. What was never
        confirmed and has no row after a crash is dead.
        """

    def condemn(self, keys: Iterable[str]) -> None:
        """The rows of these copies are about to go, and their bytes after them: bytes that are left without a row by a
        crash in between are dead, as before :meth:`confirm`.

        Raises Refusal (``storage_failed``, ``no_room``): then the rows must stay.
        """

    def iterate(self, after: str | None = None, limit: int = 1000) -> Sequence[CopyInfo]:
        """The next page of copies in the order of their keys, after the key ``after``; empty at the end. ``limit`` is
        1 to 10,000.

        Raises Refusal ``storage_failed``.
        """

    def reap(self) -> int:
        """Remove what crashed processes left half-written; how many. Never touches live uploads. Raises Refusal
        ``storage_failed``."""
