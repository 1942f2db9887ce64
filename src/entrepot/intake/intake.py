"""The flow of one upload: admit → receive → inspect → commit. Each stage has its own module; this one joins them.

    async with intake.admit(repository, declared_bytes, targets) as admission:
        received = await admission.receive(chunks, declared_bytes, extra=…)
        receipt = await admission.commit([Claimed(received, format, distribution, path)], source)

Leaving the block gives everything back that was not committed: staged bytes, reservations, the slot.
"""

import asyncio
import concurrent.futures
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TypeVar

from entrepot.catalog.engine import Catalog
from entrepot.catalog.files import FileRow
from entrepot.catalog.repositories import RepositoryRow
from entrepot.children.pool import ChildPool
from entrepot.disk.ledger import Reservation
from entrepot.formats.protocol import Format, Inspection, Upload
from entrepot.intake.admit import IntakeLimits, Slots, check_path, check_size
from entrepot.intake.claims import Claim, Claims, Target
from entrepot.intake.commit import Claimed, Committer, Judged, Receipt, Source
from entrepot.intake.inspect import Inspector
from entrepot.intake.receive import Borrowed, Received, Receiver
from entrepot.intake.room import Room
from entrepot.model.errors import Refusal
from entrepot.model.nouns import Ticket
from entrepot.observe import metrics
from entrepot.observe.clock import Clock
from entrepot.storage.protocol import BlobStore, OpenCopy, Staged
from entrepot.streams.threads import owned

__all__ = ["Admission", "Claimed", "Intake", "Receipt", "Received", "Source"]

T = TypeVar("T")


class Intake:
    """The way in. Made once per node; every method is for the event loop's thread."""

    def __init__(
        self,
        catalog: Catalog,
        store: BlobStore,
        room: Room,
        children: ChildPool,
        formats: Mapping[str, Format],
        clock: Clock,
        limits: IntakeLimits | None = None,
        *,
        threads: int = 8,
        inspections: int = 2,
        store_name: str = "folder",
        pressed: Callable[[], bool] = lambda: False,
    ) -> None:
        """Args: ``threads`` write and hash; ``inspections`` is the number of children; ``pressed`` says whether a
        volume is filling up: then half as many uploads are received at once.
        """
        self.limits = limits or IntakeLimits()
        self.formats = formats
        self.slots = Slots(self.limits, pressed)
        self.claims = Claims(catalog)
        self._store = store
        self._room = room
        self._clock = clock
        self._inspector = Inspector(children)
        self._committer = Committer(catalog, store, clock, store_name=store_name)
        self._bytes = ThreadPoolExecutor(threads, thread_name_prefix="intake")
        self._inspections = ThreadPoolExecutor(inspections, thread_name_prefix="inspect")
        # Commits wait for fsync and for the writer lane; with threads of their own they never hold up the bytes of
        # others, and as many as upload at once can share one commit.
        self._commits = ThreadPoolExecutor(max(threads, 32), thread_name_prefix="commit")

    def close(self) -> None:
        """Wait for the threads' last work and end them."""
        for pool in (self._bytes, self._inspections, self._commits):
            pool.shutdown(wait=True)

    @asynccontextmanager
    async def admit(
        self, repository: RepositoryRow, declared_bytes: int | None, targets: Sequence[Target] = ()
    ) -> AsyncIterator["Admission"]:
        """Decide about an upload before its body: names, size, a slot, quotas, room for bytes and inodes of it and its
        publication.

        Args: ``declared_bytes`` Content-Length, None when unknown (room is then taken in steps as it grows);
        ``targets`` where its one file goes; empty for a form, which says so in its body.
        Raises Refusal: ``package_name_invalid``, ``too_large``, ``too_large_for_volume``, ``quota_exceeded``,
        ``quota_reserved``, ``busy``, ``no_room``.
        """
        for _distribution, path in targets:
            check_path(path)
        check_size(declared_bytes, self.limits)
        async with AsyncExitStack() as slot:
            await slot.enter_async_context(self.slots.hold())
            claim, reservation = await owned(
                self._bytes, _give_room_back, self._take_room, repository, declared_bytes, targets
            )
            admission = Admission(self, claim, reservation, slot, metered=declared_bytes is None)
            try:
                yield admission
            finally:
                await asyncio.shield(admission.close())

    def _take_room(
        self, repository: RepositoryRow, declared_bytes: int | None, targets: Sequence[Target]
    ) -> tuple[Claim, Reservation]:
        """Room under the quotas and on the volume, or neither."""
        claim = self.claims.open(repository, declared_bytes, targets)
        try:
            return claim, self._room.reserve(declared_bytes or 0)
        except BaseException:
            claim.end()
            raise

    async def _run(self, pool: ThreadPoolExecutor, function: Callable[..., T], *args: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(pool, function, *args)


def _give_room_back(taken: tuple[Claim, Reservation]) -> None:
    claim, reservation = taken
    reservation.release()
    claim.end()


class Admission:
    """One admitted upload and what it holds. Made by :meth:`Intake.admit`."""

    def __init__(
        self, intake: Intake, claim: Claim, reservation: Reservation, slot: AsyncExitStack, *, metered: bool
    ) -> None:
        self._intake = intake
        self._claim = claim
        self._metered = metered
        self._slot = slot
        self._first: Reservation | None = reservation
        self._reservations = [reservation]
        self._received: list[Received] = []
        self._tickets: tuple[Ticket, ...] = ()
        self._work: list[Future[object]] = []
        self._in_flight_bytes = 0
        self._started = intake._clock.monotonic()

    async def receive(
        self, chunks: AsyncIterator[bytes], declared_bytes: int | None = None, *, expected_bytes: int | None = None,
        extra: frozenset[str] = frozenset(),
    ) -> Received:  # fmt: skip
        """Take one file.

        Args: ``declared_bytes`` what its length must be; ``expected_bytes`` what to allocate at first when only a bound
        is known (a form's Content-Length); ``extra`` digests beside sha256.
        Raises Refusal: what ``chunks`` raises, ``length_mismatch``, ``too_large``, ``no_room``, ``storage_failed``;
        ``quota_exceeded`` and ``quota_reserved`` when no length was declared at admission.
        """
        intake = self._intake
        if self._metered:
            chunks = self._claim.meter(chunks, partial(self._run, intake._bytes, self._claim.grow))
        expected = declared_bytes if declared_bytes is not None else expected_bytes
        reservation, self._first = self._first, None
        bytes_max = intake.limits.upload_bytes_max

        def stage() -> Staged:
            if reservation is None:  # a further file of one form: its length is unknown, room is taken in steps
                another = intake._room.reserve(0)
                self._reservations.append(another)
                return intake._store.stage(None, another)
            return intake._store.stage(expected, reservation)

        metrics.uploads_in_flight.inc()
        try:
            received = await Receiver(intake._bytes, stage, extra=extra, bytes_max=bytes_max).run(
                chunks, declared_bytes
            )
        finally:
            metrics.uploads_in_flight.dec()
        metrics.upload_bytes_total.inc(received.size_bytes)
        self._in_flight_bytes += received.size_bytes
        self._received.append(received)
        return received

    async def refer(self, row: FileRow) -> Received:
        """Take the bytes of a file that is here already instead of receiving them. Raises Refusal ``not_found``."""
        if row.copy_key is None:
            raise Refusal("not_found", "The bytes of this digest are not here any more; send the file itself.")
        store = self._intake._store
        source = await owned(self._intake._bytes, OpenCopy.close, store.open, row.copy_key)
        received = Received(Borrowed(source), row.size_bytes, row.digests)
        self._received.append(received)
        return received

    async def inspect(self, claimed: Claimed) -> Inspection:
        """What the file is, asked of its format in a child process. Raises Refusal."""
        received = claimed.received
        upload = Upload(claimed.distribution, claimed.path, received.size_bytes, received.digests, claimed.hints)
        pool = self._intake._inspections
        return await self._run(pool, self._intake._inspector.inspect, claimed.format, upload, received.staged)

    async def commit(self, claimed: Sequence[Claimed], source: Source) -> Receipt:
        """Inspect and commit every file of the upload, all or none; the slot is free for the next upload from here on.

        Raises Refusal as inspection and :meth:`Committer.commit`.
        """
        label = claimed[0].format.name if claimed else "none"
        try:
            judged = [Judged(each, await self.inspect(each)) for each in claimed]
            commit = self._intake._committer.commit
            repository_id = self._claim.repository.id
            receipt = await self._run(self._intake._commits, commit, repository_id, judged, source, self._claim.end)
        except Refusal as refusal:
            metrics.uploads_total.labels(label, refusal.code).inc()
            raise
        self._tickets = receipt.tickets
        metrics.uploads_total.labels(label, receipt.status).inc()
        metrics.upload_seconds.labels(label).observe(self._intake._clock.monotonic() - self._started)
        await self._slot.aclose()
        return receipt

    async def _run(self, pool: ThreadPoolExecutor, function: Callable[..., T], *args: object) -> T:
        """Like run_in_executor, but :meth:`close` knows of it: a cancelled request must not pull files from under a
        thread.
        """
        future: Future[T] = pool.submit(function, *args)
        self._work.append(future)  # type: ignore[arg-type]
        return await asyncio.wrap_future(future)

    async def close(self) -> None:
        """Give back what was not committed. Any number of times."""
        if self._received or self._work:
            await self._intake._run(self._intake._commits, self._release)
        else:
            self._release()

    def _release(self) -> None:
        concurrent.futures.wait(self._work)
        metrics.in_flight_bytes.dec(self._in_flight_bytes)
        self._in_flight_bytes = 0
        for received in self._received:
            received.staged.abort()
        self._intake._room.release_when_published(self._tickets, self._reservations)
        self._claim.end()
