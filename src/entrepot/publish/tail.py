"""One stream of an index as bytes: a prefix (head and sorted segments), then a tail that grows by one deflate delta a
publication.

    gz form     head member │ segment member │ … │ gzip header │ delta 0 │ delta 1 │ … │ trailer
    plain form  head        │ segment        │ … │               entries in upload order │ foot

A delta is raw deflate ended by a sync flush, so it is byte-aligned and immutable; the trailer closes the member: the
foot as one final
stored block (or an empty final block), crc32 and length (RFC 1951 3.2.4, RFC 1952 2.3.1). Nothing that was published
is ever
written again: a version is the number of deltas it has, and its trailer. Both digests of the whole are continued from
the last
publication's state, so a publication costs what it adds, whatever stands before it.
"""

import hashlib
import zlib
from dataclasses import dataclass
from typing import Any

from isal import isal_zlib

# ID1 ID2, deflate, no flags, mtime 0, no extra flags, unknown OS: the same bytes for the same entries, always.
GZIP_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
_WINDOW_BYTES = 32 * 1024
_LEVEL = 6


@dataclass(frozen=True, slots=True)
class Prefix:
    """Digest states and sizes of everything before the tail. The hash objects are never updated: copies are."""

    gz_hash: Any
    plain_hash: Any
    gz_size_bytes: int
    plain_size_bytes: int

    @classmethod
    def empty(cls) -> "Prefix":
        """The prefix of nothing."""
        return cls(hashlib.sha256(), hashlib.sha256(), 0, 0)

    def then(self, gz: bytes, plain: bytes) -> "Prefix":
        """This prefix with one more member behind it."""
        gz_hash, plain_hash = self.gz_hash.copy(), self.plain_hash.copy()
        gz_hash.update(gz)
        plain_hash.update(plain)
        return Prefix(gz_hash, plain_hash, self.gz_size_bytes + len(gz), self.plain_size_bytes + len(plain))


@dataclass(frozen=True, slots=True)
class Delta:
    """What one publication adds to the tail of one stream; ``crc32`` is of the tail's plain bytes up to and including
    it."""

    content: bytes
    plain_size_bytes: int
    crc32: int


@dataclass(frozen=True, slots=True)
class Sealed:
    """One complete version of a stream."""

    trailer: bytes
    gz_size_bytes: int
    gz_sha256: str
    plain_size_bytes: int
    plain_sha256: str


class TailStream:
    """The growing tail of one stream. Not thread-safe: the scope's one writer owns it."""

    def __init__(self, prefix: Prefix) -> None:
        self._gz_hash = prefix.gz_hash.copy()
        self._plain_hash = prefix.plain_hash.copy()
        self._gz_hash.update(GZIP_HEADER)
        self._gz_size = prefix.gz_size_bytes + len(GZIP_HEADER)
        self._plain_size = prefix.plain_size_bytes
        self._crc = 0
        self._window = b""
        self._deflate: Any = None
        self.plain_size_bytes = 0

    def append(self, plain: bytes) -> Delta:
        """Add entries; returns the delta to store. ``plain`` must not be empty."""
        if self._deflate is None:
            # A dictionary of the last 32 KiB makes a fresh compressor go on where the last one stopped: the reader's
            # window is the same.
            if self._window:
                self._deflate = zlib.compressobj(_LEVEL, zlib.DEFLATED, -15, 8, zlib.Z_DEFAULT_STRATEGY, self._window)
            else:
                self._deflate = zlib.compressobj(_LEVEL, zlib.DEFLATED, -15)
        content = self._deflate.compress(plain) + self._deflate.flush(zlib.Z_SYNC_FLUSH)
        self._advance(content, plain)
        return Delta(content, len(plain), self._crc)

    def restore(self, contents: list[bytes]) -> None:
        """Take stored deltas over after a restart: digests and window as if they had been appended here."""
        inflate = zlib.decompressobj(-15)
        for content in contents:
            self._advance(content, inflate.decompress(content))

    def _advance(self, content: bytes, plain: bytes) -> None:
        self._gz_hash.update(content)
        self._plain_hash.update(plain)
        self._gz_size += len(content)
        self._plain_size += len(plain)
        self.plain_size_bytes += len(plain)
        self._crc = zlib.crc32(plain, self._crc)
        self._window = (
            plain[-_WINDOW_BYTES:] if len(plain) >= _WINDOW_BYTES else (self._window + plain)[-_WINDOW_BYTES:]
        )

    def rest(self) -> None:
        """Drop the compressor (about 0.3 MB): the next append makes a new one from the window."""
        self._deflate = None

    def seal(self, foot: bytes) -> Sealed:
        """Digests and sizes of the whole stream as it would be published now. ``foot`` at most 65,535 bytes."""
        crc = zlib.crc32(foot, self._crc)
        length = (self.plain_size_bytes + len(foot)) & 0xFFFFFFFF
        trailer = _final_block(foot) + crc.to_bytes(4, "little") + length.to_bytes(4, "little")
        gz_hash, plain_hash = self._gz_hash.copy(), self._plain_hash.copy()
        gz_hash.update(trailer)
        plain_hash.update(foot)
        return Sealed(
            trailer,
            self._gz_size + len(trailer),
            gz_hash.hexdigest(),
            self._plain_size + len(foot),
            plain_hash.hexdigest(),
        )


def _final_block(foot: bytes) -> bytes:
    """The last deflate block: empty with fixed codes, or the foot stored as it is (a delta ended on a byte
    boundary)."""
    if not foot:
        return b"\x03\x00"
    size = len(foot)
    return b"\x01" + size.to_bytes(2, "little") + (size ^ 0xFFFF).to_bytes(2, "little") + foot


def gzip_member(plain: bytes) -> bytes:
    """One complete gzip member with mtime 0: equal input gives equal bytes."""
    deflate = zlib.compressobj(_LEVEL, zlib.DEFLATED, -15)
    body = deflate.compress(plain) + deflate.flush()
    return (
        GZIP_HEADER + body + zlib.crc32(plain).to_bytes(4, "little") + (len(plain) & 0xFFFFFFFF).to_bytes(4, "little")
    )


def gunzip_member(member: bytes, plain_size_bytes: int = zlib.DEF_BUF_SIZE) -> bytes:
    """The plain bytes of one of our own members (trusted: we wrote it and its digest was checked).

    ``plain_size_bytes`` is what they are known to be, which spares copies. isa-l, not zlib: a yank unpacks every
    segment behind the one it changes, and the wait for that halves.
    """
    return isal_zlib.decompress(member, 31, plain_size_bytes)
