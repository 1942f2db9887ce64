"""What canary runs say about a node, and how one trip through the front door ends: no server, no network."""

import hashlib
from collections.abc import Callable
from itertools import pairwise

import pytest

from entrepot.client.errors import Problem, Unreachable
from entrepot.formats.protocol import FileMissing, IndexFault, IndexReader, Located, Sample, SampleFile
from entrepot.node.canary.judge import News, Outcome, Run, Standing, judge, news
from entrepot.node.canary.trip import FrontDoor, Stopped, Trip
from entrepot.observe.clock import FixedClock

PASSED, REFUSED, FAILED = Outcome.PASSED, Outcome.REFUSED, Outcome.FAILED


def standings(*outcomes: Outcome) -> list[Standing | None]:
    """The standing before the first and after each run."""
    found: list[Standing | None] = [None]
    for number, outcome in enumerate(outcomes):
        found.append(judge(found[-1], Run(outcome, number)))
    return found


@pytest.mark.parametrize(
    ("outcomes", "failures", "told"),
    [
        ((PASSED,), 0, []),
        ((FAILED, FAILED), 2, []),
        ((FAILED, FAILED, FAILED), 3, [News.ALARM]),
        ((FAILED, FAILED, FAILED, FAILED, FAILED), 5, [News.ALARM]),
        ((FAILED, FAILED, PASSED, FAILED), 1, []),
        ((FAILED, REFUSED, FAILED, REFUSED, FAILED), 3, [News.ALARM]),
        ((REFUSED,) * 9, 0, []),
        ((FAILED, FAILED, FAILED, REFUSED), 3, [News.ALARM]),
        ((FAILED, FAILED, FAILED, PASSED, PASSED), 0, [News.ALARM, News.RECOVERED]),
        ((FAILED, FAILED, FAILED, PASSED, FAILED, FAILED, FAILED), 3, [News.ALARM, News.RECOVERED, News.ALARM]),
    ],
)
def test_three_failures_in_a_row_are_told_once(outcomes: tuple[Outcome, ...], failures: int, told: list[News]) -> None:
    """Goal: an alarm at the third failure and not at each, an end to it, and refusals that count as neither.
    Method: rows of outcomes."""
    steps = standings(*outcomes)
    last = steps[-1]
    assert last is not None
    assert last.failures_in_row == failures
    assert [what for before, after in pairwise(steps) if after and (what := news(before, after))] == told
    assert last.shown()["ok"] is (outcomes[-1] is PASSED)
    assert last.shown()["outcome"] == outcomes[-1].value


class Door(FrontDoor):
    """A front door without a house: holds what was put, until it is yanked. Each wrong is what one node may do."""

    def __init__(self, wrong: str = "") -> None:
        self.wrong = wrong
        self.files: dict[str, bytes] = {}
        self.shown = True
        self.yanked = 0

    def put(self, path: str, content: bytes) -> None:
        """Keep it, or refuse."""
        if self.wrong in ("no_room", "busy", "stopping", "storage_failed"):
            raise Problem(503, self.wrong, "Not now.")
        if self.wrong == "unreachable":
            raise Unreachable("Nobody is there.")
        self.files[path] = content

    def fetch(self, path: str) -> bytes | None:
        """What was put; torn, when that is what is wrong."""
        content = self.files.get(path)
        return content[:-1] if content and self.wrong == "torn" else content

    def yank(self, sample: Sample) -> None:
        """Forget it."""
        if self.wrong == "no_room_to_yank":
            raise Problem(503, "no_room", "Not now.")
        self.shown = self.wrong == "still_listed"
        self.yanked = 3
        if self.wrong not in ("still_listed", "still_served"):
            self.files.clear()


class Shelf:
    """A format whose index is whatever the door shows."""

    def locate(self, sample: Sample, reader: IndexReader) -> tuple[Located, ...]:
        """The sample's files, unless something is wrong."""
        assert isinstance(reader, Door)
        if reader.wrong == "unsigned":
            raise IndexFault("the signature of the index does not hold")
        if reader.wrong == "late" and reader.yanked:
            reader.yanked -= 1
            raise FileMissing("a file of the index that is on its way out")
        if reader.wrong == "unlisted" or not reader.shown:
            return ()
        return tuple(Located(file.path, hashlib.sha256(file.content).hexdigest()) for file in sample.files)


def trip(door: Door, pause: Callable[[float], bool] | None = None) -> Run:
    """One run through ``door``; time passes only while it waits."""
    clock = FixedClock()

    def wait(seconds: float) -> bool:
        clock.advance(seconds)
        return False

    sample = Sample("a/b", "n", "1", (SampleFile("a/b/x", b"bytes"), SampleFile("a/b/y", b"others")))
    return Trip(Shelf(), sample, door, clock, pause or wait, 5.0).run()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("wrong", "outcome", "phase", "words"),
    [
        ("", PASSED, "", ""),
        ("late", PASSED, "", ""),
        ("no_room", REFUSED, "upload", "Not now. (no_room)"),
        ("busy", REFUSED, "upload", "(busy)"),
        ("storage_failed", FAILED, "upload", "(storage_failed)"),
        ("unreachable", FAILED, "upload", "Nobody is there."),
        ("unlisted", FAILED, "index", "does not list"),
        ("unsigned", FAILED, "index", "signature"),
        ("torn", FAILED, "download", "another sha256"),
        ("no_room_to_yank", FAILED, "yank", "(no_room)"),
        ("still_listed", FAILED, "gone", "still lists"),
        ("still_served", FAILED, "gone", "still served"),
    ],
)
def test_a_trip_ends_where_the_node_is_wrong(wrong: str, outcome: Outcome, phase: str, words: str) -> None:
    """Goal: the phase and the cause are named; no room is no failure, unless it keeps a yank from working.
    Method: a door that is wrong in one way."""
    run = trip(Door(wrong))
    assert (run.outcome, run.phase) == (outcome, phase)
    assert words in run.cause
    ended = list(run.seconds)[-1]
    assert ended == (phase or "gone")


def test_a_stop_says_nothing_about_the_node() -> None:
    """Goal: what a stopping node refuses is no failure of it. Method: its refusal, and a stop before the first step."""
    with pytest.raises(Stopped):
        trip(Door("stopping"))
    with pytest.raises(Stopped):
        trip(Door(), lambda _seconds: True)
