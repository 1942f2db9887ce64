"""Readers with a budget, and decompressors that stop at one: the guards against bodies and bombs of any size."""

import bz2
import lzma
import zlib
from typing import Literal, Protocol

import zstandard

from entrepot.model.limits import KIB, MIB
from entrepot.streams.errors import BudgetExceeded, Damaged

Kind = Literal["plain", "gzip", "xz", "lzma", "bzip2", "zstd"]

KIND_OF_SUFFIX: dict[str, Kind] = {"": "plain", "gz": "gzip", "xz": "xz", "lzma": "lzma", "bz2": "bzip2", "zst": "zstd"}
"""Compression by file name suffix without its dot, as in ``control.tar.xz``."""

_FEED_BYTES = 32 * KIB
# zstandard has no output limit: one 4-byte RLE block makes 128 KiB, so 256 bytes at a time can make 8 MiB at most
# before we look.
_ZSTD_FEED_BYTES = 256
# Decoders allocate what the stream's header asks for (an xz dictionary may be 1.5 GiB). `xz -9` needs 65 MiB, `zstd
# --ultra -22` 128 MiB.
_LZMA_MEMORY_BYTES = 100 * MIB
_ZSTD_WINDOW_BYTES = 128 * MIB
# Empty gzip members, bzip2 streams or zstd frames cost input but make no output, so the output budget alone would
# never stop them.
_PARTS_MAX = 4096


class Reader(Protocol):
    """Anything with ``read(size_bytes)`` that ends with ``b""``."""

    def read(self, size_bytes: int, /) -> bytes: ...


class BytesReader:
    """A :class:`Reader` over bytes in memory."""

    def __init__(self, data: bytes | bytearray | memoryview) -> None:
        self._view = memoryview(data).cast("B")
        self._at = 0

    def read(self, size_bytes: int) -> bytes:
        """At most ``size_bytes`` of what is left."""
        chunk = bytes(self._view[self._at : self._at + max(0, size_bytes)])
        self._at += len(chunk)
        return chunk


class BoundedReader:
    """Passes on at most ``budget_bytes`` of a source. A source of exactly that size is fine, one byte more raises."""

    def __init__(self, source: Reader, budget_bytes: int, what: str = "The data") -> None:
        self._source = source
        self._left = budget_bytes
        self._budget_bytes = budget_bytes
        self._what = what

    def read(self, size_bytes: int) -> bytes:
        """At most ``size_bytes``; b"" at the end. Raises BudgetExceeded when the source holds more than the budget."""
        if size_bytes <= 0:
            return b""
        # One byte past the bound tells "exactly full" from "too much".
        chunk = self._source.read(min(size_bytes, self._left + 1))
        if len(chunk) > self._left:
            raise BudgetExceeded(self._budget_bytes, self._what)
        self._left -= len(chunk)
        return chunk

    def read_all(self) -> bytes:
        """Everything that is left. Raises BudgetExceeded."""
        parts = []
        while chunk := self.read(256 * KIB):
            parts.append(chunk)
        return b"".join(parts)


class _Codec(Protocol):
    """One compressed part (a gzip member, an xz stream, a zstd frame)."""

    feed_bytes: int

    def step(self, data: bytes, room_bytes: int) -> bytes:
        """Decode ``data`` after what is pending; at most ``room_bytes`` out where the library can limit it."""

    @property
    def hungry(self) -> bool:
        """No more output without more input."""

    @property
    def ended(self) -> bool: ...

    @property
    def leftover(self) -> bytes: ...


class _Gzip:
    feed_bytes = _FEED_BYTES

    def __init__(self) -> None:
        self._codec = zlib.decompressobj(wbits=31)
        self._full = False

    def step(self, data: bytes, room_bytes: int) -> bytes:
        out = self._codec.decompress(self._codec.unconsumed_tail + data, room_bytes)
        self._full = len(out) == room_bytes
        return out

    @property
    def hungry(self) -> bool:
        return not self._codec.unconsumed_tail and not self._full

    @property
    def ended(self) -> bool:
        return self._codec.eof

    @property
    def leftover(self) -> bytes:
        return self._codec.unused_data


class _Limited:
    """bz2 and lzma share one interface."""

    feed_bytes = _FEED_BYTES

    def __init__(self, codec: bz2.BZ2Decompressor | lzma.LZMADecompressor) -> None:
        self._codec = codec

    def step(self, data: bytes, room_bytes: int) -> bytes:
        return self._codec.decompress(data, room_bytes)

    @property
    def hungry(self) -> bool:
        return self._codec.needs_input

    @property
    def ended(self) -> bool:
        return self._codec.eof

    @property
    def leftover(self) -> bytes:
        return self._codec.unused_data


class _Zstd:
    feed_bytes = _ZSTD_FEED_BYTES

    def __init__(self) -> None:
        self._codec = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW_BYTES).decompressobj()

    def step(self, data: bytes, room_bytes: int) -> bytes:
        return self._codec.decompress(data)

    @property
    def hungry(self) -> bool:
        return True

    @property
    def ended(self) -> bool:
        return self._codec.eof

    @property
    def leftover(self) -> bytes:
        return self._codec.unused_data


def _codec(kind: Kind) -> _Codec:
    if kind == "gzip":
        return _Gzip()
    if kind == "bzip2":
        return _Limited(bz2.BZ2Decompressor())
    if kind == "xz":
        return _Limited(lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_LZMA_MEMORY_BYTES))
    if kind == "lzma":
        return _Limited(lzma.LZMADecompressor(lzma.FORMAT_ALONE, memlimit=_LZMA_MEMORY_BYTES))
    if kind == "zstd":
        return _Zstd()
    raise ValueError(f"unknown compression: {kind}")


class DecompressingReader:
    """The decompressed bytes of a source, at most ``budget_bytes`` of them; memory stays bounded however far the data
    would expand.

    Several gzip members, xz streams, bzip2 streams or zstd frames in a row are one text, as gzip(1), xz(1), bzip2(1)
    and zstd(1) have it.
    """

    def __init__(self, source: Reader, kind: Kind, budget_bytes: int, what: str = "The decompressed data") -> None:
        self._source = source
        self._kind = kind
        self._codec = None if kind == "plain" else _codec(kind)
        self._plain = BoundedReader(source, budget_bytes, what)
        self._budget_bytes = budget_bytes
        self._what = what
        self._made_bytes = 0
        self._fed_any = False
        self._parts = 1
        self._pending = b""  # input not yet given to the codec
        self._ready = b""  # output not yet asked for
        self._done = False

    def read(self, size_bytes: int) -> bytes:
        """At most ``size_bytes`` decompressed bytes; b"" at the end.

        Raises BudgetExceeded past the budget; Damaged when the data is truncated, corrupt, followed by other bytes, or
        needs more memory than a decoder may take.
        """
        if self._codec is None:
            return self._plain.read(size_bytes)
        if size_bytes <= 0:
            return b""
        while not self._ready and not self._done:
            self._advance(self._codec)
        chunk, self._ready = self._ready[:size_bytes], self._ready[size_bytes:]
        return chunk

    def read_all(self) -> bytes:
        """Everything that is left. Raises as :meth:`read`."""
        parts = []
        while chunk := self.read(256 * KIB):
            parts.append(chunk)
        return b"".join(parts)

    def _advance(self, codec: _Codec) -> None:
        """One step: some output into ``_ready``, or a new part, or the end."""
        data = b""
        if codec.hungry:
            if not self._pending:
                self._pending = self._source.read(_FEED_BYTES)
            data, self._pending = self._pending[: codec.feed_bytes], self._pending[codec.feed_bytes :]
            if not data:
                raise Damaged(f"The {self._kind} data is truncated; build the package again.")
            self._fed_any = True
        room_bytes = min(256 * KIB, self._budget_bytes - self._made_bytes + 1)
        try:
            out = codec.step(data, room_bytes)
        except (zlib.error, lzma.LZMAError, zstandard.ZstdError, OSError, EOFError, ValueError, MemoryError) as error:
            raise Damaged(
                f"The {self._kind} data cannot be decompressed ({error}); build the package again."
            ) from error
        self._made_bytes += len(out)
        if self._made_bytes > self._budget_bytes:
            raise BudgetExceeded(self._budget_bytes, self._what)
        self._ready = out
        if codec.ended:
            self._next_part(codec.leftover)

    def _next_part(self, leftover: bytes) -> None:
        self._pending = leftover + self._pending or self._source.read(_FEED_BYTES)
        if not self._pending:
            self._done = True
            return
        self._parts += 1
        if self._parts > _PARTS_MAX or self._kind == "lzma":
            raise Damaged(f"The {self._kind} data is followed by other bytes; build the package again.")
        if self._kind == "xz":
            self._skip_xz_padding()
            if self._done:
                return
        # Bytes that are not another part fail in its header, as Damaged.
        self._codec = _codec(self._kind)

    def _skip_xz_padding(self) -> None:
        """Stream padding: NUL bytes, a multiple of four (xz file format 1.2.1, section 2.2)."""
        padding_bytes = 0
        while True:
            stripped = self._pending.lstrip(b"\0")
            padding_bytes += len(self._pending) - len(stripped)
            self._pending = stripped
            if stripped:
                break
            self._pending = self._source.read(_FEED_BYTES)
            if not self._pending:
                self._done = True
                break
            if padding_bytes > self._budget_bytes + MIB:
                raise BudgetExceeded(self._budget_bytes, self._what)
        if padding_bytes % 4:
            raise Damaged("The xz data is followed by other bytes; build the package again.")


def decompress(
    data: bytes | bytearray | memoryview | Reader, kind: Kind, budget_bytes: int, what: str = "The decompressed data"
) -> bytes:
    """The whole decompressed text of bytes or of a reader.

    Raises BudgetExceeded when it is longer than ``budget_bytes``, Damaged as :meth:`DecompressingReader.read`.
    """
    source = BytesReader(data) if isinstance(data, (bytes, bytearray, memoryview)) else data
    return DecompressingReader(source, kind, budget_bytes, what).read_all()
