"""What the publisher's threads and its callers share is touched under its lock; who gave up is not remembered."""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from entrepot.catalog import publications as sql
from entrepot.catalog import schema as s
from entrepot.model.nouns import Ticket
from entrepot.observe.clock import SystemClock
from entrepot.publish import base, index, publisher, scope
from entrepot.publish.base import BaseBuilder
from entrepot.publish.lag import Lag
from entrepot.publish.publisher import Publisher
from tests.publish.toy import Bed
from tests.support.guarded import guarded

SHARED = {
    "_queue", "_queued", "_running", "_retry_at", "_writers", "_published", "_waiters", "_merge_queue", "_merging",
    "_doubtful", "_stopping",
}  # fmt: skip
# The end looks when no thread is left, and a failure's label may be of the moment before.
LOOKING = {"stop", "_format_of"}
WAIT_S = 30.0


@pytest.fixture
def bed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bed]:
    """Tails of four entries, so that merges come soon; readers are watched too."""
    for module, name, value in (
        (base, "SEGMENT_ENTRIES_MAX", 8), (index, "TAIL_ENTRIES_MAX", 4), (scope, "TAIL_ENTRIES_MAX", 4),
        (publisher, "_SCAN_S", 0.05),
    ):  # fmt: skip
        monkeypatch.setattr(module, name, value)
    made = Bed(tmp_path / "data", SystemClock())
    with guarded(made.reader, "_lock", {"_shown", "_pins", "_views", "_views_bytes"}, free={"cached", "_current"}):
        yield made
    made.close()


@pytest.fixture
def watched(bed: Bed) -> Iterator[Publisher]:
    """A publisher that is not started; the test ends it."""
    made = bed.publisher()
    with ExitStack() as stack:
        stack.enter_context(guarded(made, "_condition", SHARED, free=LOOKING))
        stack.enter_context(guarded(made._lag, "_lock", {"_since"}))
        yield made
        made.stop()


def until(holds: Callable[[], bool]) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + WAIT_S
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_publisher_at_work(bed: Bed, watched: Publisher) -> None:
    """Goal: changes, merges, removals, readers and waiters meet only under the lock. Method: a scope that is merged
    again and again, read by name, by digest and as a pair; waiters of every kind; a ticket of a scope that is gone.
    """
    watched.start()
    for number in range(12):
        ticket = bed.add([f"p{number:02}"])
        watched.notify([ticket])
        assert watched.wait([ticket], WAIT_S)
    assert sorted(bed.listing()) == [f"p{number:02}" for number in range(12)]
    until(lambda: merged(bed))
    removed = bed.remove(["p03"])
    watched.notify([removed])
    assert asyncio.run(watched.live([removed], WAIT_S))
    assert watched.wait([removed], WAIT_S), "published already"
    done: list[bool] = []
    watched.when_published([removed], lambda: done.append(True))
    assert done == [True]
    bed.reader.entry(1, "toy/1", "", "manifest", "client", "pair")
    bed.reader.forget_repository(1)
    assert "p03" not in bed.listing()
    never = [Ticket(2, 1)]
    watched.when_published(never, lambda: done.append(False))
    watched.notify(never)
    until(lambda: len(done) == 2)
    until(lambda: watched.lag_s() == 0)  # a merge may be about to be shown


def merged(bed: Bed) -> bool:
    """Whether there is a base with segments."""
    with bed.catalog.read() as conn:
        return conn.execute(s.segment.select()).first() is not None


def test_who_gave_up_waiting_is_forgotten(bed: Bed, watched: Publisher) -> None:
    """Goal: a wait that ends early, by time or by cancelling, leaves nothing. Method: no thread publishes."""
    ticket = bed.add(["a"])
    assert watched.wait([ticket], 0.01) is False
    assert asyncio.run(watched.live([ticket], 0.01)) is False

    async def cancelled() -> None:
        task = asyncio.create_task(watched.live([ticket], WAIT_S))
        await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(cancelled())
    with watched._condition:
        assert watched._waiters == {}


def test_a_scope_that_another_node_holds(bed: Bed, watched: Publisher) -> None:
    """Goal: it is asked for again later, and published once the lease is over. Method: another holder's lease, then
    its end.
    """
    now_s = bed.clock.now_s()
    bed.catalog.submit(lambda conn: sql.claim(conn, 1, "another node", now_s, 30))
    ticket = bed.add(["a"])
    watched.start()
    watched.notify([ticket])
    assert watched.wait([ticket], 0.3) is False
    bed.catalog.submit(lambda conn: conn.execute(s.scope.update().values(lease_until=0)))
    assert watched.wait([ticket], WAIT_S)


def test_failures_of_publications_and_merges(bed: Bed, watched: Publisher, monkeypatch: pytest.MonkeyPatch) -> None:
    """Goal: what fails is tried again, and a merge that fails leaves no bytes without a row. Method: the first merge
    fails after its segments were written, and the publication after it once.
    """
    failures = [OSError(5, "the merge"), OSError(5, "the publication")]
    build, show = BaseBuilder.build, scope.ScopeWriter._show

    def broken_build(self: BaseBuilder, *given: object) -> object:
        built = build(self, *given)  # type: ignore[arg-type]
        if len(failures) == 2 and self.written:
            raise failures.pop(0)
        return built

    def broken_show(self: scope.ScopeWriter, *given: object) -> object:
        if len(failures) == 1:
            raise failures.pop()
        return show(self, *given)  # type: ignore[arg-type]

    monkeypatch.setattr(BaseBuilder, "build", broken_build)
    monkeypatch.setattr(scope.ScopeWriter, "_show", broken_show)
    watched.start()
    for number in range(12):
        ticket = bed.add([f"p{number:02}"])
        watched.notify([ticket])
        assert watched.wait([ticket], WAIT_S)
    until(lambda: not failures)
    ticket = bed.add(["last"])
    watched.notify([ticket])
    assert watched.wait([ticket], WAIT_S)
    watched.stop()
    assert bed.known_keys() == bed.stored_keys()
    assert len(bed.listing()) == 13


def test_the_lag_is_read_while_it_changes() -> None:
    """Goal: the figures of two threads never meet half-way. Method: each call, with its lock watched."""
    lag = Lag(SystemClock())
    with guarded(lag, "_lock", {"_since"}):
        lag.waits(1)
        lag.shown(1, 0.0, more=True)
        lag.shown(1, 0.0, more=False)
        assert lag.oldest_s() == 0
