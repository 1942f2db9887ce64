"""One upload through the whole way in, without HTTP: what it holds meanwhile, and what it gives back at its end."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path

import pytest

from entrepot.catalog import repositories
from entrepot.catalog.quotas import REPOSITORY
from entrepot.catalog.repositories import RepositoryRow
from entrepot.children.pool import ChildLimits, ChildPool
from entrepot.disk.ledger import Ledger, Reservation, Snapshot
from entrepot.disk.volume import Volume
from entrepot.formats.registry import formats
from entrepot.intake.inspect import PRELOAD, RESULT_TYPES
from entrepot.intake.intake import Claimed, Intake, Source
from entrepot.intake.room import Room
from entrepot.model.errors import Refusal
from entrepot.model.limits import MIB
from entrepot.model.nouns import Ticket
from entrepot.observe import metrics
from entrepot.observe.clock import FixedClock
from entrepot.storage.folder import FolderStore
from tests.catalog.helpers import NOW, catalog_with_repository
from tests.disk.mounts import open_descriptors
from tests.support.builders import deb_bytes
from tests.support.guarded import guarded

IDLE = Snapshot(0, 0, 0)
NAME = "hello_1.0-1_amd64.deb"
TARGETS = [("debian/bookworm", NAME)]


class Flow:
    """A way in on a real catalog and a real folder; publications end when the test says so."""

    def __init__(self, intake: Intake, ledger: Ledger, repository: RepositoryRow) -> None:
        self.intake = intake
        self.ledger = ledger
        self.repository = repository
        self.publications: list[Callable[[], None]] = []

    def when_published(self, tickets: Sequence[Ticket], done: Callable[[], None]) -> None:
        """As the publisher's."""
        assert tickets
        self.publications.append(done)

    def upload(self, chunks: AsyncIterator[bytes], declared_bytes: int | None) -> None:
        """One upload of a .deb to its end. Raises Refusal, and what ``chunks`` raises."""

        async def run() -> None:
            async with self.intake.admit(self.repository, declared_bytes, TARGETS) as admission:
                received = await admission.receive(chunks, declared_bytes)
                claimed = Claimed(received, formats()["debian"], *TARGETS[0])
                await admission.commit([claimed], Source("ci"))

        asyncio.run(run())

    def check_idle(self) -> None:
        """Nothing is held any more."""
        assert self.ledger.snapshot() == IDLE
        assert self.intake.slots.active == 0
        assert self.intake.claims.reserved_bytes(REPOSITORY, self.repository.id) == 0
        assert (metrics.value(metrics.uploads_in_flight), metrics.value(metrics.in_flight_bytes)) == (0, 0)


@pytest.fixture
def flow(tmp_path: Path) -> Iterator[Flow]:
    """A repository with a quota; the claims under it are touched under their lock."""
    ledger = Ledger(Volume(tmp_path))
    with (
        catalog_with_repository(tmp_path) as (catalog, repository_id),
        FolderStore(tmp_path, ledger) as store,
        ChildPool(ChildLimits(size=1), preload=PRELOAD, result_types=RESULT_TYPES) as children,
    ):
        catalog.submit(lambda conn: repositories.set_quota(conn, repository_id, 64 * MIB, NOW))
        with catalog.read() as conn:
            repository = repositories.by_id(conn, repository_id)
        assert repository is not None
        room = Room(ledger, ledger, lambda tickets, done: made.when_published(tickets, done))
        intake = Intake(catalog, store, room, children, formats(), FixedClock(NOW))
        made = Flow(intake, ledger, repository)
        with guarded(intake.claims, "_lock", {"_bytes"}):
            yield made
        intake.close()


async def pieces(*chunks: bytes, error: Exception | None = None) -> AsyncIterator[bytes]:
    """A body in chunks, which may end with an error."""
    for chunk in chunks:
        yield chunk
    if error is not None:
        raise error


def test_room_is_handed_over_to_the_publication(flow: Flow) -> None:
    """Goal: an upload that ended leaves the room for its publication reserved until that is visible, and nothing else.
    Method: one of a declared length and one of an unknown one; look before and after the publication.
    """
    for number, known in enumerate((True, False)):
        data = deb_bytes("hello", f"1.{number}-1")
        before = open_descriptors()
        flow.upload(pieces(data), len(data) if known else None)
        held = flow.ledger.snapshot()
        assert (held.reservations, held.outstanding_inodes > 0, held.outstanding_bytes > 0) == (1, True, True)
        flow.publications.pop()()
        flow.check_idle()
        assert open_descriptors() <= before + 2, "the child's pipe, once"


def test_an_upload_that_fails_gives_everything_back(flow: Flow) -> None:
    """Goal: slot, claim, room, figures and descriptors return however an upload ends. Method: a body that breaks, one
    that is too short, one that is no package, a client that goes away, and a quota that is used up.
    """
    data = deb_bytes("hello", "1.0-1")
    before = open_descriptors()
    for chunks, declared in (
        (pieces(data[:100], error=Refusal("length_mismatch")), len(data)),
        (pieces(data[:100]), len(data)),
        (pieces(data[:100], error=ConnectionError()), None),
        (pieces(b"x" * 100), 100),
        (pieces(b""), 65 * MIB),
        (pieces(*[bytes(MIB)] * 66), None),
    ):
        with pytest.raises((Refusal, ConnectionError)):
            flow.upload(chunks, declared)
        flow.check_idle()
        assert flow.publications == []

    async def leave() -> None:
        never = asyncio.Event()

        async def slow() -> AsyncIterator[bytes]:
            yield data[:100]
            await never.wait()

        async with flow.intake.admit(flow.repository, len(data), TARGETS) as admission:
            await admission.receive(slow(), len(data))

    async def cut_off() -> None:
        task = asyncio.create_task(leave())
        await asyncio.sleep(0.2)
        assert flow.intake.slots.active == 1
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    asyncio.run(cut_off())
    flow.check_idle()
    assert open_descriptors() <= before + 2, "the child's pipe, once"


def test_a_client_that_leaves_while_room_is_made_leaves_none_behind(
    flow: Flow, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Goal: a request that is cut off while a thread takes its claim and its room keeps neither. Method: hold the
    thread after it took the room, cancel, let it go on.
    """
    taken, go_on = threading.Event(), threading.Event()
    reserve = flow.ledger.reserve

    def slow(*given: int) -> Reservation:
        made = reserve(*given)
        taken.set()
        assert go_on.wait(20)
        return made

    async def admit() -> None:
        async with flow.intake.admit(flow.repository, 1000, TARGETS):
            raise AssertionError("it was cut off")

    async def cut_off() -> None:
        task = asyncio.create_task(admit())
        assert await asyncio.to_thread(taken.wait, 20)
        task.cancel()
        await asyncio.sleep(0.05)
        go_on.set()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    monkeypatch.setattr(flow.ledger, "reserve", slow)
    asyncio.run(cut_off())
    flow.intake.close()  # waits for the thread
    flow.check_idle()
