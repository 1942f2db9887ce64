"""Segments as stored bytes: written durably through the blob store before any row names them, read back whole."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from entrepot.storage.protocol import BlobStore


@dataclass(frozen=True, slots=True)
class Written:
    """A segment that is durable: where, and its digests."""

    copy_key: str
    gz_sha256: str
    plain_sha256: str


class SegmentStore:
    """Reads and writes whole segments. Every call may raise Refusal (storage_failed); writing also no_room and busy."""

    def __init__(self, blobs: BlobStore) -> None:
        self._blobs = blobs

    def write(self, plain: bytes, gz: bytes) -> Written:
        """Store one gzip member durably."""
        gz_sha256 = hashlib.sha256(gz).hexdigest()
        with self._blobs.stage(len(gz), from_floor=True) as staged:
            staged.write(gz)
            key = staged.commit(gz_sha256)
        return Written(key, gz_sha256, hashlib.sha256(plain).hexdigest())

    def read(self, key: str) -> bytes:
        """The whole gzip member."""
        with self._blobs.open(key) as copy:
            return copy.read_at(0, copy.size_bytes)

    def read_range(self, key: str, offset: int, length: int) -> bytes:
        """A slice of the gzip member."""
        with self._blobs.open(key) as copy:
            return copy.read_at(offset, length)

    def confirm(self, keys: Iterable[str]) -> None:
        """Rows name these segments, durably."""
        self._blobs.confirm(keys)

    def delete(self, key: str) -> None:
        """Remove a segment that no row names; one that is gone is no error."""
        self._blobs.delete(key)
