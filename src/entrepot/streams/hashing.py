"""Several digests of one pass over the bytes."""

import hashlib
from collections.abc import Iterable
from typing import Protocol

from entrepot.model.nouns import Digests

EXTRA_ALGORITHMS = frozenset({"md5", "sha1", "sha512"})


class _Hash(Protocol):
    def update(self, data: bytes | bytearray | memoryview, /) -> None: ...
    def hexdigest(self) -> str: ...


class MultiHash:
    """sha256 and, on request, md5, sha1 and sha512 of the same bytes.

    hashlib lets go of the interpreter lock for chunks above 2 KiB; a second lane is therefore a second MultiHash in
    another thread, made with ``sha256=False``. Not safe for two threads at once.
    """

    def __init__(self, extra: Iterable[str] = (), *, sha256: bool = True) -> None:
        """Args: ``extra`` names out of :data:`EXTRA_ALGORITHMS`; ``sha256`` False leaves sha256 to another lane.

        Raises ValueError for any other name.
        """
        wanted = frozenset(extra)
        if unknown := wanted - EXTRA_ALGORITHMS:
            raise ValueError(f"unknown digest: {sorted(unknown)}")
        names = sorted(wanted | ({"sha256"} if sha256 else set()))
        # usedforsecurity=False: md5 and sha1 are what apt, Maven and packagecloud print, never what we trust; FIPS
        # builds refuse them else.
        self._hashes: dict[str, _Hash] = {name: hashlib.new(name, usedforsecurity=False) for name in names}
        self.size_bytes = 0

    def update(self, chunk: bytes | bytearray | memoryview) -> None:
        """Add bytes to every digest."""
        for each in self._hashes.values():
            each.update(chunk)
        self.size_bytes += memoryview(chunk).nbytes

    def hexdigests(self) -> dict[str, str]:
        """Lower-case hexadecimal digests by algorithm name, so far."""
        return {name: each.hexdigest() for name, each in self._hashes.items()}

    def digests(self, other: "MultiHash | None" = None) -> Digests:
        """The digests as a value, joined with those of another lane.

        Raises ValueError when no lane made sha256, or when the two lanes saw different numbers of bytes.
        """
        found = self.hexdigests()
        if other is not None:
            if other.size_bytes != self.size_bytes:
                raise ValueError("the two lanes hashed different numbers of bytes")
            found |= other.hexdigests()
        if "sha256" not in found:
            raise ValueError("no lane made sha256")
        return Digests(**found)
