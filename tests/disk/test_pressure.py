"""The states of a volume as a pure machine: thresholds, one sample to enter, patience to leave."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrepot.disk.pressure import RECYCLE_AFTER_S, Pressure, thresholds
from entrepot.disk.state import State
from entrepot.disk.volume import Measure
from entrepot.model.limits import GIB, MIB
from entrepot.settings import DiskSettings

GB = 10**9
SETTINGS = DiskSettings()
SIZE = 1000 * MIB
ORDER = list(State)


def measure(available: int, size: int = SIZE, inodes: tuple[int, int] = (0, 0)) -> Measure:
    """A sample of a volume; inodes are (total, free)."""
    return Measure(size, available, size - available, *inodes)


def state_of(machine: Pressure) -> State:
    """Its state now; a function, because a checker takes an attribute for what it was before."""
    return machine.state


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (64 * MIB, (16 * MIB, 8 * MIB, 4 * MIB)),  # the absolute figures, held to their share of a small volume
        (20 * GB, (5 * GB, 24 * GB // 10, 1 * GB)),  # percent
        (1000 * GB, (100 * GB, 40 * GB, 20 * GB)),  # the caps
        (50_000 * GB, (100 * GB, 40 * GB, 20 * GB)),
        (1 * GIB, (256 * MIB, 128 * MIB, 64 * MIB)),
    ],
)
def test_thresholds(size: int, expected: tuple[int, int, int]) -> None:
    """Goal: min(max(percent, absolute), cap), and small volumes stay usable. Method: one size of each kind."""
    found = thresholds(SETTINGS, measure(0, size))
    assert (found.pressure_bytes, found.shed_bytes, found.readonly_bytes) == expected


def test_a_percent_of_zero_switches_off() -> None:
    """Goal: a state can be switched off. Method: every percent 0, an empty and a full volume."""
    off = dict.fromkeys(("readonly_percent", "shed_percent", "pressure_percent"), 0.0)
    machine = Pressure(DiskSettings.model_validate(off), 0.0)
    machine.sample(1.0, measure(0))
    assert state_of(machine) is State.OK


@dataclass(slots=True)
class Level:
    """What a level must remember, written the long way round."""

    state: State
    enter: int
    leave: int
    entered: bool = False
    last_bad_s: float = 0.0


STEPS = st.lists(
    st.tuples(st.sampled_from([0.0, 0.1, 1.0, 7.0, 30.0, 61.0]), st.integers(0, SIZE // MIB).map(lambda n: n * MIB)),
    min_size=1,
    max_size=60,
)


@given(STEPS)
def test_entered_at_once_left_with_patience(steps: list[tuple[float, int]]) -> None:
    """Goal: one sample below a threshold enters its state; it ends only after 60 s in which every sample was above
    the higher threshold. Method: random samples against a model that remembers the last bad sample of each level."""
    machine = Pressure(SETTINGS, 0.0)
    found = thresholds(SETTINGS, measure(0))
    margin = SIZE * 5 // 100
    levels = [
        Level(state, enter, enter + min(margin, enter))
        for state, enter in (
            (State.PRESSURE, found.pressure_bytes),
            (State.SHED, found.shed_bytes),
            (State.READONLY, found.readonly_bytes),
        )
    ]
    at_s = 0.0
    fine_since: dict[State, float | None] = {}
    for pause_s, available in steps:
        at_s += pause_s
        machine.sample(at_s, measure(available))
        worst = State.OK
        for level in levels:
            if available < level.enter:
                level.entered, fine_since[level.state] = True, None
            elif level.entered and available >= level.leave:
                since = fine_since.get(level.state)
                fine_since[level.state] = at_s if since is None else since
                if since is not None and at_s - since >= SETTINGS.leave_s:
                    level.entered = False
            else:
                fine_since[level.state] = None
            worst = level.state if level.entered else worst
        assert machine.state is worst
        assert (machine.cause != "") == (worst is not State.OK)


@given(STEPS)
def test_reserved_bytes_count_as_taken(steps: list[tuple[float, int]]) -> None:
    """Goal: what is promised is gone. Method: the same samples, once with less available, once with more reserved."""
    one, other = Pressure(SETTINGS, 0.0), Pressure(SETTINGS, 0.0)
    at_s = 0.0
    for pause_s, available in steps:
        at_s += pause_s
        one.sample(at_s, measure(available))
        other.sample(at_s, measure(SIZE), reserved_bytes=SIZE - available)
        assert (one.state, one.since_s) == (other.state, other.since_s)


@given(st.integers(0, 2000), st.integers(0, 2000))
def test_inodes_are_room_too(total: int, free: int) -> None:
    """Goal: few inodes are as bad as few bytes, and a file system without a number of them is not full. Method: any
    total, with all bytes free."""
    free = min(free, total)
    machine = Pressure(SETTINGS, 0.0)
    machine.sample(0.0, measure(SIZE, inodes=(total, free)))
    share = free / total if total else 1
    assert (machine.state is State.OK) == (total == 0 or free >= int(total * 0.15))
    if share < 0.04 and int(total * 0.05) > free:
        assert state_of(machine) is State.READONLY


def test_no_room_is_read_only_whatever_the_samples_say() -> None:
    """Goal: a quota or a thin volume is full though statvfs shows room. Method: one failed call on an empty volume;
    good samples for less, then more than a minute."""
    machine = Pressure(SETTINGS, 0.0)
    machine.full(1.0, "a write found no room (EDQUOT)")
    assert state_of(machine) is State.READONLY
    assert "EDQUOT" in machine.cause
    for at_s in (2.0, 30.0, 61.5):
        machine.sample(at_s, measure(SIZE))
        assert state_of(machine) is State.READONLY
    machine.sample(62.5, measure(SIZE))
    assert state_of(machine) is State.OK


@given(STEPS)
def test_broken_until_tried(steps: list[tuple[float, int]]) -> None:
    """Goal: no sample mends a broken volume, only a trial, and that not before its pause. Method: random samples."""
    machine = Pressure(SETTINGS, 0.0)
    machine.broke(5.0, "a call failed: Input/output error")
    at_s = 5.0
    for pause_s, available in steps:
        at_s += pause_s
        machine.sample(at_s, measure(available))
        assert state_of(machine) is State.BROKEN
        assert machine.trial_due(at_s) == (at_s - 5.0 >= SETTINGS.probe_s)
    machine.broke(at_s, "a trial failed")
    assert not machine.trial_due(at_s + SETTINGS.probe_s / 2)
    machine.mended(at_s)
    assert machine.state is not State.BROKEN


def test_only_scratch_is_recycled() -> None:
    """Goal: a restart is asked for where it can cure, and only after five minutes. Method: a full volume, once with
    scratch alone on it."""
    scratch, kept = Pressure(SETTINGS, 0.0, ephemeral=True), Pressure(SETTINGS, 0.0)
    for at_s in range(int(RECYCLE_AFTER_S)):
        scratch.sample(at_s, measure(0))
        kept.sample(at_s, measure(0))
        assert scratch.state is kept.state is State.READONLY
    scratch.sample(RECYCLE_AFTER_S, measure(0))
    kept.sample(RECYCLE_AFTER_S, measure(0))
    assert (scratch.state, kept.state) == (State.RECYCLE, State.READONLY)
