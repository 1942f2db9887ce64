"""The bytes' way: from the socket straight to where they will live, hashed as they pass.

One batch of about a mebibyte is written and hashed in worker threads while the next one fills: memory stays flat
however large the file is, and a slow disk slows the sender down instead of filling the memory.
"""

import asyncio
import concurrent.futures
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from entrepot.model.errors import Refusal
from entrepot.model.limits import BATCH_BYTES, KIB
from entrepot.model.nouns import Digests
from entrepot.observe import metrics
from entrepot.storage.protocol import OpenCopy, Staged
from entrepot.streams.hashing import MultiHash

# Below this, handing half of the hashing to a second thread costs more than it saves.
SECOND_LANE_BYTES_MIN = 128 * KIB
PIECES_MAX = 1024


@dataclass(frozen=True, slots=True)
class Received:
    """A body that came whole: its staged bytes, which the holder must commit or abort, and their digests."""

    staged: Staged
    size_bytes: int
    digests: Digests


class Borrowed:
    """Bytes that are here already, standing in for staged ones: nothing to commit, and aborting only closes them."""

    def __init__(self, source: OpenCopy) -> None:
        self._source = source

    @property
    def size_bytes(self) -> int:
        """Their length."""
        return self._source.size_bytes

    def write(self, chunk: bytes | bytearray | memoryview) -> None:
        """Never: they are complete."""
        raise RuntimeError("borrowed bytes take no more")

    def read_at(self, offset_bytes: int, length_bytes: int) -> bytes:
        """See :meth:`OpenCopy.read_at`."""
        return self._source.read_at(offset_bytes, length_bytes)

    def fileno(self) -> int | None:
        """See :meth:`OpenCopy.fileno`."""
        return self._source.fileno()

    def commit(self, sha256: str) -> str:
        """Never: the catalog refers to a copy that it knows."""
        raise RuntimeError("borrowed bytes have a copy already")

    def abort(self) -> None:
        """Close them. Any number of times."""
        self._source.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.abort()


class Receiver:
    """Takes one body. Not for two tasks at once.

    After :meth:`run` raised, nothing of the body is left: the staged bytes are aborted, and their reservation with
    them.
    """

    def __init__(
        self, workers: Executor, stage: Callable[[], Staged], *, extra: frozenset[str] = frozenset(), bytes_max: int
    ) -> None:
        """Args: ``workers`` runs the blocking calls; ``stage`` opens the staged bytes (in a worker, with the first
        batch); ``extra`` names digests beside sha256; ``bytes_max`` bounds a body of unknown length.
        """
        self._workers = workers
        self._stage = stage
        self._bytes_max = bytes_max
        self._main = MultiHash()
        self._side = MultiHash(extra, sha256=False) if extra else None
        self._staged: Staged | None = None
        self._in_flight: tuple[Future[None], ...] = ()
        self._counted_bytes = 0

    async def run(self, chunks: AsyncIterator[bytes], declared_bytes: int | None = None) -> Received:
        """Receive to the end of ``chunks``; the bytes count as in flight until the caller says otherwise.

        Raises Refusal: what ``chunks`` and the store raise, ``too_large``, and ``length_mismatch`` when
        ``declared_bytes`` says otherwise: an early end of the stream is never a package.
        """
        try:
            return await self._run(chunks, declared_bytes)
        except BaseException:
            metrics.in_flight_bytes.dec(self._counted_bytes)
            await asyncio.shield(asyncio.wrap_future(self._workers.submit(self._abort, self._in_flight)))
            raise

    async def _run(self, chunks: AsyncIterator[bytes], declared_bytes: int | None) -> Received:
        pieces: list[bytes] = []
        filled = total = 0
        async for chunk in chunks:
            pieces.append(chunk)
            filled += len(chunk)
            total += len(chunk)
            if total > self._bytes_max:
                raise Refusal("too_large", size_bytes=total, upload_bytes_max=self._bytes_max)
            if filled >= BATCH_BYTES:
                await self._pass_on(pieces, filled)
                pieces, filled = [], 0
            elif len(pieces) >= PIECES_MAX:  # a body of tiny chunks must not become a list of millions
                pieces = [b"".join(pieces)]
        if declared_bytes is not None and total != declared_bytes:
            raise Refusal("length_mismatch", received_bytes=total, declared_bytes=declared_bytes)
        await self._pass_on(pieces, filled)
        await self._settle()
        assert self._staged is not None
        return Received(self._staged, total, self._main.digests(self._side))

    async def _pass_on(self, pieces: list[bytes], size_bytes: int) -> None:
        """Hand one batch to the workers once the one before is done."""
        await self._settle()
        metrics.in_flight_bytes.inc(size_bytes)
        self._counted_bytes += size_bytes
        if self._side is None:
            self._in_flight = (self._workers.submit(self._write, pieces, None),)
        elif size_bytes < SECOND_LANE_BYTES_MIN:
            self._in_flight = (self._workers.submit(self._write, pieces, self._side),)
        else:
            self._in_flight = (
                self._workers.submit(self._write, pieces, None),
                self._workers.submit(_hash, pieces, self._side),
            )

    async def _settle(self) -> None:
        in_flight = self._in_flight
        if in_flight:
            await asyncio.gather(*(asyncio.wrap_future(future) for future in in_flight))
            self._in_flight = ()

    def _write(self, pieces: Sequence[bytes], side: MultiHash | None) -> None:
        if self._staged is None:
            self._staged = self._stage()
        for piece in pieces:
            self._main.update(piece)
            self._staged.write(piece)
        if side is not None:
            _hash(pieces, side)

    def _abort(self, in_flight: tuple[Future[None], ...]) -> None:
        # A worker may still be writing the last batch: its descriptor must not be closed, and reused, under it.
        concurrent.futures.wait(in_flight)
        if self._staged is not None:
            self._staged.abort()


def _hash(pieces: Sequence[bytes], lane: MultiHash) -> None:
    for piece in pieces:
        lane.update(piece)
