"""Many threads at once: nothing lost, nothing twice."""

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from entrepot.catalog import files
from entrepot.catalog.engine import Catalog
from entrepot.catalog.lane import Turn
from entrepot.catalog.rows import CommitOutcome
from entrepot.model.errors import Refusal
from tests.catalog.helpers import APT, NOW, a_deb, catalog_with_repository, put


@pytest.fixture
def place(tmp_path: Path) -> Iterator[tuple[Catalog, int]]:
    with catalog_with_repository(tmp_path) as found:
        yield found


def race(count: int, work: Callable[[int], object]) -> list[object]:
    """Run ``work(0 … count-1)`` in as many threads, started together; their results, or what they raised."""
    results: list[object] = [None] * count
    start = threading.Barrier(count)

    def run(number: int) -> None:
        start.wait()
        try:
            results[number] = work(number)
        except Exception as error:
            results[number] = error

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)
    return results


def test_one_scope_loses_no_change(place: tuple[Catalog, int]) -> None:
    """Goal: each upload has its own change number, without a gap. Method: 32 threads, 5 files each, into one scope."""
    catalog, repository_id = place

    def upload(number: int) -> list[int]:
        return [put(catalog, a_deb(repository_id, f"p{number}-{each}")).tickets[0].change for each in range(5)]

    changes = [change for each in race(32, upload) for change in each]  # type: ignore[attr-defined]
    assert sorted(changes) == list(range(1, 161))
    with catalog.read() as conn:
        assert files.count_files(conn, repository_id) == 160
        added = conn.exec_driver_sql("SELECT added_change FROM membership ORDER BY 1").scalars().all()
    assert added == list(range(1, 161))


def test_one_digest_keeps_one_copy(place: tuple[Catalog, int]) -> None:
    """Goal: of the same bytes at the same instant one copy stays. Method: 16 threads, 16 names."""
    catalog, repository_id = place

    def upload(number: int) -> CommitOutcome:
        return put(catalog, a_deb(repository_id, f"p{number}", content="the same"), f"key-{number}")

    outcomes = race(16, upload)
    assert sum(outcome.copy_used for outcome in outcomes) == 1  # type: ignore[attr-defined]
    with catalog.read() as conn:
        assert conn.exec_driver_sql("SELECT count(*) FROM blob").scalar() == 1
        assert conn.exec_driver_sql("SELECT count(*) FROM copy").scalar() == 1


def test_one_name_has_one_winner(place: tuple[Catalog, int]) -> None:
    """Goal: of different bytes under one name one file wins, the others are told. Method: 16 threads at once."""
    catalog, repository_id = place

    def upload(number: int) -> CommitOutcome:
        return put(catalog, a_deb(repository_id, "same", content=f"bytes {number}"))

    results = race(16, upload)
    winners = [result for result in results if isinstance(result, CommitOutcome)]
    refused = [result for result in results if isinstance(result, Refusal)]
    assert len(winners) == 1
    assert [refusal.code for refusal in refused] == ["name_taken"] * 15


def test_a_failing_change_fails_alone(place: tuple[Catalog, int]) -> None:
    """Goal: neighbours in one commit do not share a failure. Method: every third of 30 changes writes and then
    raises.
    """
    catalog, repository_id = place

    def upload(number: int) -> CommitOutcome:
        def work(conn: Connection) -> CommitOutcome:
            outcome = files.commit_file(conn, a_deb(repository_id, f"p{number}"), f"key-{number}", APT, NOW)
            if number % 3 == 0:
                raise LookupError(str(number))
            return outcome

        return catalog.submit(work)

    results = race(30, upload)
    assert [isinstance(result, LookupError) for result in results] == [number % 3 == 0 for number in range(30)]
    with catalog.read() as conn:
        assert files.count_files(conn, repository_id) == 20
        assert conn.exec_driver_sql("SELECT last_change FROM scope").scalar() == 20
    assert catalog.check_integrity() == []


def test_a_change_that_loses_the_transaction_fails_all(place: tuple[Catalog, int]) -> None:
    """Goal: when SQLite itself undoes the transaction, no neighbour is told yes, and the lane goes on.

    Method: one batch whose second change ends it with INSERT OR ROLLBACK, and hides the error.
    """
    catalog, repository_id = place

    def upload(conn: Connection, name: str) -> None:
        files.commit_file(conn, a_deb(repository_id, name), f"key-{name}", APT, NOW)

    def spoil(conn: Connection) -> None:
        with contextlib.suppress(IntegrityError):
            conn.exec_driver_sql("INSERT OR ROLLBACK INTO owner (name, created_at) VALUES ('acme', 1)")

    turns = [Turn(lambda conn: upload(conn, "a")), Turn(spoil), Turn(lambda conn: upload(conn, "b"))]
    with catalog._lane.alone():
        catalog._run_batch(turns)
    assert [getattr(turn.error, "code", None) for turn in turns] == ["catalog_failed"] * 3
    put(catalog, a_deb(repository_id, "later"))
    with catalog.read() as conn:
        assert [row.name for row in files.list_files(conn, repository_id)] == ["later"]


def test_changes_that_queue_up_share_a_commit(place: tuple[Catalog, int]) -> None:
    """Goal: waiting changes do not pay a commit each. Method: hold the lane, queue 20 changes, count commits by the
    log's frames.
    """
    catalog, repository_id = place
    commits: list[int] = []
    run_batch = catalog._lane._run

    def counted(turns: Sequence[Turn]) -> None:
        commits.append(len(turns))
        run_batch(turns)

    catalog._lane._run = counted
    with catalog.write() as conn:
        conn.exec_driver_sql("SELECT 1")
        threads = [threading.Thread(target=put, args=(catalog, a_deb(repository_id, f"p{n}"))) for n in range(20)]
        for thread in threads:
            thread.start()
        while len(catalog._lane._queue) < 20:
            threading.Event().wait(0.005)
    for thread in threads:
        thread.join(30)
    assert sum(commits) == 20
    assert commits == [20]


def test_write_and_submit_take_turns(place: tuple[Catalog, int]) -> None:
    """Goal: long and short changes never mix in one transaction. Method: half of 24 threads use write(), half
    submit().
    """
    catalog, repository_id = place

    def change(number: int) -> int:
        new = a_deb(repository_id, f"p{number}")
        if number % 2:
            return put(catalog, new).tickets[0].change
        with catalog.write() as conn:
            return files.commit_file(conn, new, f"key-{number}", APT, NOW).tickets[0].change

    assert sorted(race(24, change)) == list(range(1, 25))  # type: ignore[type-var]


def test_a_change_inside_a_change_is_refused(place: tuple[Catalog, int]) -> None:
    """Goal: no thread waits for itself. Method: submit from inside write() and from inside submit(); the lane works
    afterwards.
    """
    catalog, repository_id = place
    with catalog.write(), pytest.raises(RuntimeError, match="inside another"):
        catalog.submit(lambda conn: None)
    with pytest.raises(RuntimeError, match="inside another"):
        catalog.submit(lambda conn: catalog.submit(lambda inner: None))
    put(catalog, a_deb(repository_id, "a"))


def test_a_full_queue_refuses(place: tuple[Catalog, int]) -> None:
    """Goal: what waits has a bound, in number and in time. Method: a lane of 2 places and 50 ms, held by a write."""
    catalog, repository_id = place
    catalog._lane._queue_max = 2
    catalog._lane._wait_s = 0.05
    with catalog.write():
        results = race(5, lambda number: put(catalog, a_deb(repository_id, f"p{number}")))
    assert [result.code for result in results] == ["busy"] * 5  # type: ignore[attr-defined]
    assert not catalog._lane._queue
    put(catalog, a_deb(repository_id, "later"))


def test_a_reader_sees_one_state(place: tuple[Catalog, int]) -> None:
    """Goal: a read block is one snapshot, and cannot write. Method: commit between two reads of one block; try an
    insert.
    """
    catalog, repository_id = place
    put(catalog, a_deb(repository_id, "a"))
    with catalog.read() as conn:
        assert files.count_files(conn, repository_id) == 1
        put(catalog, a_deb(repository_id, "b"))
        assert files.count_files(conn, repository_id) == 1
    with catalog.read() as conn:
        assert files.count_files(conn, repository_id) == 2
    with pytest.raises(Refusal, match="catalog_failed"), catalog.read() as conn:
        conn.exec_driver_sql("DELETE FROM fragment")
