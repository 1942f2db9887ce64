"""One writer per scope: what a writer that was paused, replaced or failed in the middle can never do."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from entrepot.catalog import publications as sql
from entrepot.model.errors import Refusal
from entrepot.model.nouns import Ticket
from entrepot.observe.clock import SystemClock
from entrepot.publish import scope
from entrepot.publish.publisher import Publisher
from entrepot.publish.scope import Identity, ScopeWriter
from entrepot.publish.segments import SegmentStore
from entrepot.signing.signer import Signer
from tests.publish.toy import KEY, Bed, ToyFormat, epoch_of


@pytest.fixture
def bed(tmp_path: Path) -> Iterator[Bed]:
    made = Bed(tmp_path / "data", SystemClock())
    yield made
    made.close()


def writer(bed: Bed, holder: str) -> ScopeWriter:
    """A writer that has taken the lease and read the state."""
    epoch = bed.catalog.submit(lambda conn: sql.claim(conn, 1, holder, bed.clock.now_s(), 30))
    assert epoch is not None
    with bed.catalog.read() as conn:
        row = sql.scope_by_id(conn, 1)
    assert row is not None
    made = ScopeWriter(
        row, epoch, bed.catalog, bed.segments, ToyFormat(), Identity("host/o/r", "r"), bed.clock, "folder"
    )
    made.load()
    return made


def show(bed: Bed, made: ScopeWriter) -> None:
    """Publish and let readers see it."""
    shown = made.publish(lambda _id: bed.signer)
    assert shown is not None
    bed.reader.on_shown(made.row, shown)


def test_a_replaced_writer_shows_nothing(bed: Bed) -> None:
    """Goal: after another writer took the scope over, the old one's publication is refused whole.

    Method: two writers of one holder; the first publishes, the second takes over, the first tries with its own
    change. Seen to fail with the epoch taken out of save_publication's condition.
    """
    first = writer(bed, "node")
    show(bed, first)
    second = writer(bed, "node")
    bed.add(["a"])
    with pytest.raises(sql.Fenced):
        first.publish(lambda _id: bed.signer)
    assert bed.listing() == []
    show(bed, second)
    assert bed.listing() == ["a"]


@pytest.mark.parametrize("second_publishes", [True, False])
def test_a_writer_paused_before_its_transaction_is_fenced(bed: Bed, second_publishes: bool) -> None:
    """Goal: the check is in the transaction, not before it. Method: another writer takes over while the first signs.

    Seen to fail with the epoch taken out of save_publication's condition (the second writer had not published yet).
    """
    first = writer(bed, "node")
    show(bed, first)
    bed.add(["a"])

    class Pausing(Signer):
        def clear_and_detached(self, data: bytes) -> tuple[bytes, bytes]:
            second = writer(bed, "node")
            if second_publishes:
                show(bed, second)
            return bed.signer.clear_and_detached(data)

    with pytest.raises(sql.Fenced):
        first.publish(lambda _id: Pausing([KEY.secret_armored]))
    assert bed.listing() == (["a"] if second_publishes else [])
    assert bed.known_keys() == bed.stored_keys()


def test_the_signer_is_asked_for_after_the_changes_were_read(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    """Goal: a change of keys is one of the changes, so whoever publishes it signs with the new keys. Method: the order
    of the two. Seen to fail with the signer asked for first.
    """
    made = writer(bed, "node")
    bed.add(["a"])
    order: list[str] = []
    original = sql.scope_by_id

    def reading(*args: Any) -> Any:
        order.append("changes")
        return original(*args)

    def signer_for(_id: int) -> Signer:
        order.append("signer")
        return bed.signer

    monkeypatch.setattr(sql, "scope_by_id", reading)
    assert made.publish(signer_for) is not None
    assert order == ["changes", "signer"]


def test_another_holder_waits_for_the_lease(bed: Bed) -> None:
    """Goal: a second node does not take a scope whose lease runs. Method: claim with another name, then after the
    lease.
    """
    now_s = bed.clock.now_s()
    assert bed.catalog.submit(lambda conn: sql.claim(conn, 1, "one", now_s, 30)) == 1
    assert bed.catalog.submit(lambda conn: sql.claim(conn, 1, "two", now_s + 10, 30)) is None
    assert bed.catalog.submit(lambda conn: sql.claim(conn, 1, "two", now_s + 30, 30)) == 2
    assert epoch_of(bed) == 2


def test_two_publishers_race_and_nothing_is_lost(bed: Bed) -> None:
    """Goal: two publishers of one holder that keep taking the scope from each other list every entry exactly once.

    Method: both run and are told of every change; 60 additions from 4 threads.
    """
    publishers = [bed.publisher("node"), bed.publisher("node")]
    for each in publishers:
        each.start()
    tickets: list[Ticket] = []

    def work(name: str) -> None:
        for number in range(15):
            ticket = bed.add([f"{name}{number:02d}"])
            tickets.append(ticket)
            for each in publishers:
                each.notify([ticket])

    threads = [threading.Thread(target=work, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    last = max(tickets, key=lambda ticket: ticket.change)
    for _ in range(200):
        if any(each.wait([last], 0.1) for each in publishers):
            break
    for each in publishers:
        each.stop()
    bed.reader.forget_repository(1)
    assert sorted(bed.listing()) == sorted(f"{name}{number:02d}" for name in "abcd" for number in range(15))


def test_a_failed_publication_is_tried_again(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    """Goal: a store that fails for a while delays a publication and loses nothing. Method: the first three writes
    fail.
    """
    failures = [Refusal("storage_failed")] * 3
    original = SegmentStore.write

    def flaky(self: SegmentStore, plain: bytes, gz: bytes) -> object:
        if failures:
            raise failures.pop()
        return original(self, plain, gz)

    monkeypatch.setattr(SegmentStore, "write", flaky)
    ticket = bed.add(["a", "b"])
    publisher = bed.publisher()
    publisher.start()
    publisher.notify([ticket])
    assert publisher.wait([ticket], 30)
    publisher.stop()
    assert not failures
    assert bed.listing() == ["a", "b"]
    assert bed.known_keys() == bed.stored_keys()


def test_a_publication_that_fails_takes_its_segments_away(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    """Goal: bytes that were written for a generation that nobody will see go at once. Method: the first addition writes
    a segment; then the signature fails.
    """
    monkeypatch.setattr(scope, "TAIL_ENTRIES_MAX", 0)
    made = writer(bed, "node")
    show(bed, made)
    bed.add(["a"])
    there: list[set[str]] = []

    class Failing(Signer):
        def clear_and_detached(self, data: bytes) -> tuple[bytes, bytes]:
            there.append(bed.stored_keys())
            raise Refusal("storage_failed")

    with pytest.raises(Refusal):
        made.publish(lambda _: Failing([KEY.secret_armored]))
    assert there[0] > bed.known_keys()
    assert bed.stored_keys() == bed.known_keys()


def test_a_lost_commit_answer_keeps_its_segments(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    """Goal: when the commit happened but its answer was lost, the segments that it names are not deleted.

    Method: submit that commits and then raises. Seen to fail when discard deletes without asking the catalog.
    """
    made = writer(bed, "node")
    bed.add(["a", "b"])
    original = bed.catalog.submit

    def lossy(work: object) -> object:
        original(work)  # type: ignore[arg-type]
        raise Refusal("catalog_failed")

    monkeypatch.setattr(bed.catalog, "submit", lossy)
    with pytest.raises(Refusal):
        made.publish(lambda _id: bed.signer)
    monkeypatch.undo()
    assert bed.known_keys()
    assert bed.known_keys() == bed.stored_keys()
    assert bed.listing() == ["a", "b"]


def test_waiting_ends_when_the_time_is_over(bed: Bed) -> None:
    """Goal: a wait is bounded and leaves nothing behind. Method: no thread publishes."""
    publisher: Publisher = bed.publisher()
    ticket = bed.add(["a"])
    assert publisher.wait([ticket], 0.05) is False
    assert publisher._waiters == {}
