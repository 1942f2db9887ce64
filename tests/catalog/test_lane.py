"""The lane by itself, without a database: who leads, who waits, and what an error leaves."""

import threading
from collections.abc import Iterator, Sequence

import pytest

from entrepot.catalog.lane import Lane, Turn
from entrepot.model.errors import Refusal
from tests.support.guarded import guarded


def run(turns: Sequence[Turn]) -> None:
    """A batch: every change gets None for a connection."""
    for turn in turns:
        assert turn.work is not None
        turn.result = turn.work(None)


@pytest.fixture
def lane() -> Iterator[Lane]:
    """A lane of two places that is waited for at most 50 ms; its queue is touched under its mutex only."""
    made = Lane(run, batch_max=4, queue_max=2, wait_s=0.05)
    with guarded(made, "_mutex", {"_queue", "_busy"}):
        yield made


def test_an_error_gives_the_lane_back(lane: Lane) -> None:
    """Goal: whatever happens to who holds the lane, the next one gets it. Method: a block that raises, a batch that
    raises, and a change after each.
    """
    with pytest.raises(LookupError), lane.alone():
        raise LookupError
    assert lane.submit(lambda conn: 1) == 1
    with pytest.raises(ZeroDivisionError):
        lane.submit(lambda conn: 1 // 0)
    with lane.alone():
        pass
    assert lane.submit(lambda conn: 2) == 2


def test_who_waits_leads_or_is_led_or_gives_up(lane: Lane) -> None:
    """Goal: nobody waits beyond the bound, and nobody is forgotten. Method: two changes wait behind a block: when it
    ends one leads both; when it lasts they give up; a third finds no place.
    """
    done: list[int] = []

    def submit(number: int) -> None:
        try:
            done.append(lane.submit(lambda conn: number))
        except Refusal:
            done.append(-number)

    def queue(numbers: Sequence[int]) -> list[threading.Thread]:
        threads = [threading.Thread(target=submit, args=(number,), daemon=True) for number in numbers]
        for thread in threads:
            thread.start()
        while True:
            with lane._mutex:
                if len(lane._queue) == 2:
                    return threads

    lane._wait_s = 5.0
    with lane.alone():
        threads = queue([1, 2])
        with pytest.raises(Refusal, match="too many changes"):
            other(lane)
    for thread in threads:
        thread.join(10)
    assert sorted(done) == [1, 2]
    lane._wait_s = 0.05
    with lane.alone():
        for thread in queue([3, 4]):
            thread.join(20)
    assert sorted(done) == [-4, -3, 1, 2]
    assert lane.submit(lambda conn: 5) == 5


def other(lane: Lane) -> None:
    """A change from another thread than the one that holds the lane; raises here what it raised there."""
    errors: list[BaseException] = []

    def work() -> None:
        try:
            lane.submit(lambda conn: None)
        except Refusal as error:
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(20)
    raise errors[0]
