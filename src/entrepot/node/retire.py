"""When a node ends itself so that it is started anew: the decision alone, with time and facts as arguments.

A restart cures what is this process's own: its descriptors, its memory, its age, and a scratch volume that goes away
with it. It cures nothing of a volume that holds the packages, so that is no cause at all, however full or broken it is.

No loop can come about, by construction:

* a process retires only at :data:`AGE_S_MIN` of its own age or later, which is a constant and no setting;
* only where somebody starts it again (``supervised``);
* only with one of the fleet's few permits, so that a cause which all nodes share takes a few at a time;
* only :data:`RECLAIM_WAIT_S` after a reclaim pass that did not help;
* never for what already held when the process was young: a restart has just failed to cure it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from entrepot.disk.state import State

AGE_S_MIN = 600.0
"""The least age at which a process retires, thus the least time between two retirements of one node."""
RECLAIM_WAIT_S = 30.0
"""What one reclaim pass gets to help before the node asks for a permit."""
RECLAIM_EVERY_S = 60.0
"""A cause that comes and goes starts no more passes than one in this time."""
ASK_EVERY_S = 60.0
"""After a refused permit, how long until the next question."""
YOUNG_S = 60.0
"""A cause that holds at this age or before came with the node; it counts once it was gone and came back."""
DESCRIPTORS_SHARE_MAX = 0.8


class Cause(StrEnum):
    """What a restart cures. The values are labels of metrics and words of logs."""

    DESCRIPTORS = "descriptors"
    """Open files near RLIMIT_NOFILE: a leak. Clients' connections do not count; those end by themselves."""
    MEMORY = "memory"
    SCRATCH_ERRORS = "scratch_errors"
    """A volume that a restart empties fails."""
    SCRATCH_SPACE = "scratch_space"
    """Such a volume has been too full for minutes, which is when its state becomes RECYCLE."""
    AGE = "age"

    @property
    def cures_alone(self) -> bool:
        """Whether a node that is alone may retire for it: then nobody serves until it is back."""
        return self not in (Cause.SCRATCH_SPACE, Cause.AGE)


@dataclass(frozen=True, slots=True)
class Policy:
    """What the operator and the surroundings say. ``age_s_max`` has its jitter in it already; None: never for that."""

    supervised: bool
    lone: bool
    memory_bytes_max: int | None = None
    age_s_max: float | None = None


@dataclass(frozen=True, slots=True)
class Facts:
    """One sample. ``files`` are open descriptors that are no sockets; ``scratch`` the states of the volumes that a
    restart empties.
    """

    files: int
    files_max: int
    resident_bytes: int
    scratch: Sequence[State] = ()


class Step(StrEnum):
    """What is to be done now."""

    STAY = "stay"
    RECLAIM = "reclaim"
    ASK = "ask"
    """Ask for a permit, then tell :meth:`Retirement.answered`."""
    RETIRE = "retire"


@dataclass(frozen=True, slots=True)
class Decision:
    """A step and the cause that is nearest to it; ``held_by`` says what keeps a ripe cause from retiring the node."""

    step: Step
    cause: Cause | None = None
    held_by: str = ""


def causes(policy: Policy, facts: Facts, age_s: float) -> Iterator[Cause]:
    """The causes that hold at this moment and that this node may retire for, gravest first."""
    found = (
        (Cause.SCRATCH_ERRORS, State.BROKEN in facts.scratch),
        (Cause.DESCRIPTORS, facts.files >= DESCRIPTORS_SHARE_MAX * facts.files_max),
        (Cause.MEMORY, policy.memory_bytes_max is not None and facts.resident_bytes > policy.memory_bytes_max),
        (Cause.SCRATCH_SPACE, State.RECYCLE in facts.scratch),
        (Cause.AGE, policy.age_s_max is not None and age_s > policy.age_s_max),
    )
    return (cause for cause, holds in found if holds and (cause.cures_alone or not policy.lone))


class Retirement:
    """The decision over time. For one thread; ``started_s`` and every ``now_s`` are of one monotonic clock."""

    def __init__(self, policy: Policy, started_s: float) -> None:
        self._policy = policy
        self._started_s = started_s
        self._inborn: frozenset[Cause] = frozenset()
        self._tried_s: dict[Cause, float] = {}  # cause → when the reclaim pass that should have cured it began
        self._reclaimed_s = float("-inf")
        self._asked_s = float("-inf")
        self._asking: Cause | None = None
        self.cause: Cause | None = None
        """Why the node retires; None as long as it does not."""

    def age_s(self, now_s: float) -> float:
        """Seconds since the process began."""
        return now_s - self._started_s

    def step(self, now_s: float, facts: Facts) -> Decision:
        """What this sample asks for. Once it said RETIRE, or a permit was given, it says RETIRE for ever."""
        if self.cause is not None:
            return Decision(Step.RETIRE, self.cause)
        age_s = self.age_s(now_s)
        found = tuple(causes(self._policy, facts, age_s))
        self._inborn = self._inborn.intersection(found).union(found if age_s <= YOUNG_S else ())
        self._tried_s = {each: at for each, at in self._tried_s.items() if each in found}
        if not found:
            return Decision(Step.STAY)
        if any(each not in self._tried_s for each in found) and now_s - self._reclaimed_s >= RECLAIM_EVERY_S:
            self._reclaimed_s = now_s
            self._tried_s = {each: self._tried_s.get(each, now_s) for each in found}
            return Decision(Step.RECLAIM, found[0])
        ripe = [each for each, at in self._tried_s.items() if now_s - at >= RECLAIM_WAIT_S]
        if ripe:
            return self._ripe(now_s, min(ripe, key=lambda each: (each in self._inborn, found.index(each))))
        return Decision(Step.STAY, found[0], "a reclaim pass is given time to help")

    def _ripe(self, now_s: float, cause: Cause) -> Decision:
        if not self._policy.supervised:
            return Decision(Step.STAY, cause, "nobody would start this node again")
        if cause in self._inborn:
            return Decision(Step.STAY, cause, "the node was born with it: a restart does not cure it")
        if self.age_s(now_s) < AGE_S_MIN:
            return Decision(Step.STAY, cause, "the node is younger than a node must be to retire")
        if now_s - self._asked_s < ASK_EVERY_S:
            return Decision(Step.STAY, cause, "no permit: enough other nodes are retiring, or the catalog fails")
        self._asked_s = now_s
        self._asking = cause
        return Decision(Step.ASK, cause)

    def answered(self, granted: bool) -> None:
        """The answer to the last ASK. Without one that is open it changes nothing."""
        if granted:
            self.cause = self._asking
        self._asking = None


def permits_of(live_nodes: int) -> int:
    """How many nodes of a fleet may be retiring at the same moment."""
    return max(1, live_nodes // 5)
