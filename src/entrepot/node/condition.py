"""How a node is as a whole, for whoever sends it traffic: one state and its causes, from its volumes and its own end.

Only what another node would do better may keep traffic away. A full or failing volume that holds the packages is no
such cause: a node with a folder is the only one that has them, and taking it out of a balancer would take the reads
away as well. So it keeps a weight, and refuses uploads itself with a reason and a Retry-After.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from entrepot.disk.state import State, Status
from entrepot.observe.health import Draining

PERSISTENT_USES = frozenset({"blobs", "catalog"})
WEIGHT_PRESSURE_MIN, WEIGHT_PRESSURE_MAX = 10, 50
WEIGHT_LEAST = 1

_ORDER = tuple(State)


@dataclass(frozen=True, slots=True)
class Condition:
    """A node at one moment. ``keep_away`` says that uploads belong on another node; ``weight_percent`` the share of
    traffic that a balancer should give, 0 only when the node is not up or on its way out.
    """

    state: State
    causes: tuple[str, ...]
    keep_away: bool
    weight_percent: int


def ephemeral(status: Status) -> bool:
    """Whether a volume holds nothing that must outlive the process: what a restart empties."""
    return not PERSISTENT_USES.intersection(status.uses)


def judge(volumes: Sequence[Status], *, up: bool, retiring: str = "") -> Condition:
    """The node's condition. ``up``: started and not stopping; ``retiring``: the cause for which it ends itself, or the
    empty text.
    """
    worst = max((status.state for status in volumes), key=_ORDER.index, default=State.OK)
    causes = tuple(f"{each.name}: {each.cause or each.state}" for each in volumes if each.state is not State.OK)
    if retiring:
        return Condition(State.RECYCLE, (retiring, *causes), True, 0)
    scratch_fails = any(ephemeral(each) and each.state in (State.RECYCLE, State.BROKEN) for each in volumes)
    weight = min((_weight(each) for each in volumes), default=100) if up else 0
    return Condition(worst, causes, scratch_fails, weight)


class Standing:
    """The node's condition at any moment, from any thread. ``volumes`` must answer from memory.

    ``ready`` is set once the port is open, ``retiring`` to the cause when the node begins to end itself.
    """

    def __init__(self, volumes: Callable[[], Sequence[Status]], draining: Draining) -> None:
        self.volumes = volumes
        self.draining = draining
        self.ready = False
        self.retiring = ""

    def now(self) -> Condition:
        """The condition."""
        return judge(self.volumes(), up=self.ready and not self.draining.stopping, retiring=self.retiring)


def _weight(status: Status) -> int:
    """A volume's word on the weight: 100 when well, 10 to 50 by what is left above SHED, else 1."""
    if status.state is State.OK:
        return 100
    if status.state is not State.PRESSURE:
        return WEIGHT_LEAST
    limits = status.thresholds
    left = _share(status.available_bytes, limits.shed_bytes, limits.pressure_bytes)
    if status.inodes_available is not None:
        left = min(left, _share(status.inodes_available, limits.shed_inodes, limits.pressure_inodes))
    return WEIGHT_PRESSURE_MIN + round(left * (WEIGHT_PRESSURE_MAX - WEIGHT_PRESSURE_MIN))


def _share(available: int, low: int, high: int) -> float:
    """Where ``available`` lies between two thresholds, from 0 to 1."""
    return min(1.0, max(0.0, (available - low) / (high - low))) if high > low else 1.0
