"""What the node looked like over the last day, in memory: every second for ten minutes, every minute for a day.

Both rings are bounded: a node that runs for a year holds as much as one that runs for a day, about 2 MB. Points carry
monotonic seconds: a wall clock that is set does not tear the curves.
"""

import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

SHORT_STEP_S = 1.0
SHORT_POINTS_MAX = 600
LONG_STEP_S = 60.0
LONG_POINTS_MAX = 1440
VOLUMES_MAX = 16


@dataclass(frozen=True, slots=True)
class VolumePoint:
    """One volume at one moment. ``used_bytes`` includes what is unaccounted and what others wrote."""

    state: str
    size_bytes: int
    used_bytes: int
    reserved_bytes: int
    available_bytes: int
    unaccounted_bytes: int
    others_bytes: int


@dataclass(frozen=True, slots=True)
class Point:
    """The node at one moment. ``uploads``, ``upload_refusals`` and ``received_bytes`` count from the node's start."""

    at: float
    volumes: Mapping[str, VolumePoint] = field(default_factory=dict)
    uploads: int = 0
    upload_refusals: int = 0
    received_bytes: int = 0
    in_flight: int = 0


@dataclass(frozen=True, slots=True)
class Span:
    """Points of one ring, oldest first: ``step_s`` apart when nothing was late; a full ring covers ``length_s``."""

    points: tuple[Point, ...]
    step_s: float
    length_s: float


class History:
    """Two rings of points. Added to by one thread, read by any."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._short: deque[Point] = deque(maxlen=SHORT_POINTS_MAX)
        self._long: deque[Point] = deque(maxlen=LONG_POINTS_MAX)

    def add(self, point: Point) -> None:
        """Remember a point; the first one of each minute stays for a day. Raises ValueError for more than
        :data:`VOLUMES_MAX` volumes: memory is bounded.
        """
        if len(point.volumes) > VOLUMES_MAX:
            raise ValueError(f"more than {VOLUMES_MAX} volumes")
        with self._lock:
            self._short.append(point)
            # Half a step of grace: a point that came a little early must not shift all that follow by a second.
            if not self._long or point.at - self._long[-1].at >= LONG_STEP_S - SHORT_STEP_S / 2:
                self._long.append(point)

    def short(self) -> Span:
        """The last ten minutes, second by second."""
        with self._lock:
            return Span(tuple(self._short), SHORT_STEP_S, SHORT_STEP_S * SHORT_POINTS_MAX)

    def long(self) -> Span:
        """The last day, minute by minute, and the newest point."""
        with self._lock:
            points = tuple(self._long)
            if self._short and points and self._short[-1].at > points[-1].at:
                points += (self._short[-1],)
            return Span(points, LONG_STEP_S, LONG_STEP_S * LONG_POINTS_MAX)
