"""A view of the two ends of a file, wherever its bytes are."""

from collections.abc import Callable

from entrepot.streams.errors import Damaged, OutsideWindow

ReadAt = Callable[[int, int], bytes]
"""``read_at(offset_bytes, length_bytes)``: the bytes there, fewer only at the end of the file
(``disk.fs.reader_at(fd)`` makes one)."""


class Window:
    """The first ``head_bytes`` and the last ``tail_bytes`` of a file of ``size_bytes``; reading anything else raises.

    The folder store could read anywhere, the object store keeps only these two ends: both refuse the same reads, so
    that a package is judged alike on every store.
    """

    def __init__(self, size_bytes: int, read_at: ReadAt, *, head_bytes: int | None = None, tail_bytes: int = 0) -> None:
        """A window over ``read_at``; ``head_bytes`` None means the whole file."""
        if size_bytes < 0 or tail_bytes < 0 or (head_bytes is not None and head_bytes < 0):
            raise ValueError("a window has no negative sizes")
        self.size_bytes = size_bytes
        self.head_bytes = size_bytes if head_bytes is None else min(head_bytes, size_bytes)
        self.tail_bytes = min(tail_bytes, size_bytes)
        self._read_at = read_at

    @classmethod
    def of_bytes(cls, data: bytes) -> "Window":
        """A window over a whole file in memory."""
        return cls(len(data), lambda offset, length: data[offset : offset + length])

    @classmethod
    def of_ends(cls, size_bytes: int, head: bytes, tail: bytes = b"") -> "Window":
        """A window over the two ends of a file of ``size_bytes``, held in memory; they may overlap.

        Raises ValueError when an end is longer than the file.
        """
        if len(head) > size_bytes or len(tail) > size_bytes:
            raise ValueError("an end is longer than its file")
        tail_start = size_bytes - len(tail)

        def read_at(offset: int, length: int) -> bytes:
            end = offset + length
            if end <= len(head):
                return head[offset:end]
            if offset >= tail_start:
                return tail[offset - tail_start : end - tail_start]
            return head[offset:] + tail[len(head) - tail_start : end - tail_start]  # the ends touch: part of each

        return cls(size_bytes, read_at, head_bytes=len(head), tail_bytes=len(tail))

    def holds(self, offset_bytes: int, length_bytes: int) -> bool:
        """Whether :meth:`read` of this range would answer."""
        if offset_bytes < 0 or length_bytes < 0 or offset_bytes + length_bytes > self.size_bytes:
            return False
        if length_bytes == 0:
            return True
        tail_start = self.size_bytes - self.tail_bytes
        head_end = (
            self.size_bytes if self.head_bytes >= tail_start else self.head_bytes
        )  # ends that touch hold everything
        return offset_bytes + length_bytes <= head_end or offset_bytes >= tail_start

    def read(self, offset_bytes: int, length_bytes: int) -> bytes:
        """Exactly ``length_bytes`` bytes at ``offset_bytes``.

        Raises Damaged when the range goes past the end of the file (a size inside the package lies), OutsideWindow
        when it lies in neither end.
        """
        if offset_bytes < 0 or length_bytes < 0 or offset_bytes + length_bytes > self.size_bytes:
            raise Damaged(
                "The package refers to bytes past its own end: it is truncated, or a size inside it is wrong. Build "
                "it again.",
                offset_bytes=offset_bytes,
                length_bytes=length_bytes,
                size_bytes=self.size_bytes,
            )
        if not self.holds(offset_bytes, length_bytes):
            raise OutsideWindow(offset_bytes, length_bytes, self.size_bytes)
        if length_bytes == 0:
            return b""
        data = self._read_at(offset_bytes, length_bytes)
        if len(data) != length_bytes:
            raise Damaged("The file ended earlier than its length says; send it again.", size_bytes=self.size_bytes)
        return data

    def reader(self, offset_bytes: int, length_bytes: int) -> "RangeReader":
        """A sequential reader over one range, for decompressors: nothing is read before it is asked for."""
        return RangeReader(self, offset_bytes, length_bytes)


class RangeReader:
    """``read(n)`` over one range of a window; ends with ``b""``. Raises what :meth:`Window.read` raises."""

    def __init__(self, window: Window, offset_bytes: int, length_bytes: int) -> None:
        self._window = window
        self._at = offset_bytes
        self._end = offset_bytes + length_bytes

    def read(self, size_bytes: int) -> bytes:
        """At most ``size_bytes`` of what is left of the range."""
        length = min(size_bytes, self._end - self._at)
        if length <= 0:
            return b""
        data = self._window.read(self._at, length)
        self._at += length
        return data
