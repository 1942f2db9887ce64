"""The decision to retire: each guard alone, and a simulated fleet in which no loop can come about."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, create_engine

from entrepot.catalog import nodes, schema
from entrepot.disk.state import State
from entrepot.node import retire
from entrepot.node.retire import Cause, Facts, Policy, Retirement, Step, permits_of

WELL = Facts(files=10, files_max=1000, resident_bytes=100)
LEAKING = Facts(files=800, files_max=1000, resident_bytes=100)
POLICY = Policy(supervised=True, lone=False, memory_bytes_max=1000, age_s_max=20_000)
LATE_S = 2 * retire.AGE_S_MIN


def grown_up(policy: Policy = POLICY, age_s: float = LATE_S) -> Retirement:
    """A node that was well when it was young; its time begins at 0."""
    node = Retirement(policy, 0.0)
    for now_s in (0.0, retire.YOUNG_S, age_s):
        assert node.step(now_s, WELL).step is Step.STAY
    return node


def test_a_cause_gets_one_reclaim_pass_and_30_seconds() -> None:
    """Goal: reclaim once, wait, ask, and only a permit ends the node; then nothing changes its mind."""
    node = grown_up()
    assert node.step(LATE_S + 5, LEAKING).step is Step.RECLAIM
    for waited in range(10, 35, 5):
        assert node.step(LATE_S + waited, LEAKING).step is Step.STAY
    assert node.step(LATE_S + 35, LEAKING).step is Step.ASK
    node.answered(False)
    assert node.cause is None
    assert node.step(LATE_S + 40, LEAKING).held_by.startswith("no permit")
    assert node.step(LATE_S + 95, LEAKING).step is Step.ASK
    node.answered(True)
    assert node.cause is Cause.DESCRIPTORS
    assert node.step(LATE_S + 100, WELL).step is Step.RETIRE


def test_a_cause_that_goes_is_forgotten() -> None:
    """Goal: a pass that helped leaves nothing behind; one that comes and goes starts no more than a pass a minute."""
    node = grown_up()
    passes = 0
    for tick in range(120):
        decision = node.step(LATE_S + 5 * tick, LEAKING if tick % 2 else WELL)
        passes += decision.step is Step.RECLAIM
        assert decision.step in (Step.STAY, Step.RECLAIM)
    assert 5 <= passes <= 10


def held(node: Retirement, from_s: float, facts: Facts = LEAKING) -> str:
    """What holds a node that has had its reclaim pass."""
    assert node.step(from_s, facts).step is Step.RECLAIM
    decision = node.step(from_s + retire.RECLAIM_WAIT_S, facts)
    assert decision.step is Step.STAY
    return decision.held_by


def test_what_holds_a_node() -> None:
    """Goal: unsupervised, too young, or born with the cause: it stays, and says why."""
    assert "start this node again" in held(grown_up(Policy(supervised=False, lone=True)), LATE_S)
    assert "younger" in held(grown_up(age_s=100.0), 120.0)
    node = Retirement(Policy(supervised=True, lone=True), 0.0)
    assert "born" in held(node, 0.0)
    for tick in range(10_000):
        assert node.step(30.0 + 5 * tick, LEAKING).step is Step.STAY
    node.step(60_000, WELL)  # gone for once: what comes now is new
    assert node.step(60_005, LEAKING).step is Step.RECLAIM
    assert node.step(60_035, LEAKING).step is Step.ASK


def test_an_old_cause_hides_no_new_one() -> None:
    """Goal: a node that was born with a cause may still retire for another. Method: files from the start, memory later;
    the new cause gets a pass of its own.
    """
    node = Retirement(POLICY, 0.0)
    assert "born" in held(node, 0.0)
    both = Facts(800, 1000, 2000)
    assert node.step(LATE_S, both).step is Step.RECLAIM
    assert node.step(LATE_S + 30, both).cause is Cause.MEMORY
    node.answered(True)
    assert node.cause is Cause.MEMORY


@pytest.mark.parametrize(
    ("facts", "age_s", "shared", "lone"),
    [
        (WELL, 100, [], []),
        (LEAKING, 100, [Cause.DESCRIPTORS], [Cause.DESCRIPTORS]),
        (Facts(1, 1000, 1001), 100, [Cause.MEMORY], [Cause.MEMORY]),
        (Facts(1, 1000, 1, (State.BROKEN,)), 100, [Cause.SCRATCH_ERRORS], [Cause.SCRATCH_ERRORS]),
        (Facts(1, 1000, 1, (State.RECYCLE, State.OK)), 100, [Cause.SCRATCH_SPACE], []),
        (Facts(1, 1000, 1, (State.SHED, State.READONLY)), 100, [], []),
        (WELL, 20_001, [Cause.AGE], []),
        (
            Facts(900, 1000, 2000, (State.BROKEN,)), 30_000,
            [Cause.SCRATCH_ERRORS, Cause.DESCRIPTORS, Cause.MEMORY, Cause.AGE],
            [Cause.SCRATCH_ERRORS, Cause.DESCRIPTORS, Cause.MEMORY],
        ),
    ],
)  # fmt: skip
def test_causes(facts: Facts, age_s: float, shared: list[Cause], lone: list[Cause]) -> None:
    """Goal: exactly what a restart cures, gravest first; a node that is alone never goes for space or age."""
    assert list(retire.causes(POLICY, facts, age_s)) == shared
    alone = Policy(supervised=True, lone=True, memory_bytes_max=1000, age_s_max=20_000)
    assert list(retire.causes(alone, facts, age_s)) == lone


def test_the_number_of_permits() -> None:
    """Goal: a fifth of the fleet, and at least one."""
    assert [permits_of(count) for count in (0, 1, 4, 9, 10, 99, 100)] == [1, 1, 1, 1, 2, 19, 20]


# ------------------------------------------------------------------------------------------------ a fleet

TICK_S = 15.0
BEAT_S = 150.0
HOURS = 2
START_S = 30.0  # from the end of a process to the next one


@dataclass
class Slot:
    """A place of the fleet: one process after another. ``sick`` are the times between which its cause holds."""

    name: str
    sick: list[tuple[float, float]]
    inborn: bool
    process: int = 0
    retirement: Retirement | None = None
    started_s: float = 0.0
    back_s: float = 0.0
    retired_s: list[tuple[float, float]] = field(default_factory=list)  # (when, at which age)


@contextmanager
def catalog_of_nodes() -> Iterator[Connection]:
    """A catalog that has the table of nodes alone, in memory."""
    engine = create_engine("sqlite://")
    with engine.connect() as conn:
        schema.node.create(conn)
        yield conn
    engine.dispose()


def simulate(slots: list[Slot], policy: Policy, conn: Connection) -> None:
    """Let hours pass; permits come from the real rows."""
    now_s = 0.0
    while now_s < HOURS * 3600:
        for slot in slots:
            if now_s < slot.back_s:
                continue
            if slot.retirement is None:
                slot.process += 1
                slot.started_s, slot.retirement = now_s, Retirement(policy, now_s)
            name = f"{slot.name}.{slot.process}"
            if int(now_s) % BEAT_S < TICK_S:
                nodes.beat(conn, name, int(slot.started_s), int(now_s))
            age_s = now_s - slot.started_s
            sick = any(begin <= now_s < end for begin, end in slot.sick) and (slot.inborn or age_s > 2 * retire.YOUNG_S)
            if slot.retirement.step(now_s, LEAKING if sick else WELL).step is Step.ASK:
                slot.retirement.answered(nodes.take_permit(conn, name, int(now_s), permits_of))
            if slot.retirement.cause is not None:
                slot.retired_s.append((now_s, age_s))
                slot.retirement, slot.back_s = None, now_s + START_S
        now_s += TICK_S


a_time = st.integers(0, HOURS * 240).map(lambda quarter_minutes: quarter_minutes * 15.0)
spells = st.lists(st.tuples(a_time, a_time).map(lambda pair: (min(pair), max(pair))), max_size=3)
everywhere = st.just([(0.0, HOURS * 3600.0)])
fleets = st.lists(st.tuples(st.one_of(spells, everywhere), st.booleans()), min_size=1, max_size=8)


@settings(max_examples=12, deadline=None)
@given(fleets, st.booleans())
def test_no_fleet_loops(fleet: list[tuple[list[tuple[float, float]], bool]], supervised: bool) -> None:
    """Goal: whatever is wrong, wherever and however long, nodes retire seldom and few at once. Method: fleets of up to
    8 nodes with spells of trouble, among them some that no restart cures and some that last for ever; two hours.
    """
    slots = [Slot(f"n{number}", sick, inborn) for number, (sick, inborn) in enumerate(fleet)]
    with catalog_of_nodes() as conn:
        simulate(slots, Policy(supervised=supervised, lone=False), conn)
    for slot in slots:
        assert all(age_s >= retire.AGE_S_MIN for _at, age_s in slot.retired_s)
        times = [at for at, _age_s in slot.retired_s]
        assert all(later - earlier >= retire.AGE_S_MIN for earlier, later in pairwise(times))
        if slot.inborn and slot.sick == [(0.0, HOURS * 3600.0)]:
            assert times == []
    everywhere_s = sorted(at for slot in slots for at, _age_s in slot.retired_s)
    assert supervised or everywhere_s == []
    most = permits_of(2 * len(slots))  # rows of ended processes count as live for three minutes
    for index, at in enumerate(everywhere_s):
        assert sum(at <= other < at + nodes.PERMIT_S for other in everywhere_s[index:]) <= most


def test_a_sick_fleet_is_healed() -> None:
    """Goal: the guards do not keep a real leak from being cured. Method: one of three nodes leaks after an hour; it
    retires once, and its successor is well.
    """
    slots = [Slot("a", [(3600.0, 3700.0)], inborn=False), Slot("b", [], inborn=False), Slot("c", [], inborn=False)]
    with catalog_of_nodes() as conn:
        simulate(slots, Policy(supervised=True, lone=False), conn)
    assert [len(slot.retired_s) for slot in slots] == [1, 0, 0]
    assert slots[0].retired_s[0][0] < 3600 + 60
