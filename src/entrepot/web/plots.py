"""Geometry of the plots on the operations page: from points of the history to paths, ticks and labels. Pure; the
template draws what this says, and escapes it.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from entrepot.model.units import size_text
from entrepot.observe.history import Span, VolumePoint

WIDTH, HEIGHT = 960.0, 240.0
LEFT, RIGHT, TOP, BOTTOM = 70.0, 160.0, 12.0, 26.0
INNER_WIDTH, INNER_HEIGHT = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
LABEL_GAP = 15.0
BARS = 60
# A later point than this many steps is drawn as a gap: nobody looked in between.
GAP_STEPS = 5.0


@dataclass(frozen=True, slots=True)
class Shape:
    """A filled path; ``kind`` is its CSS class."""

    kind: str
    path: str


@dataclass(frozen=True, slots=True)
class Mark:
    """A horizontal line at ``y`` with its label at ``label_y``: labels are moved apart, lines never."""

    kind: str
    y: float
    label_y: float
    label: str


@dataclass(frozen=True, slots=True)
class Tick:
    """A label of an axis, at ``at`` along it."""

    at: float
    label: str


@dataclass(frozen=True, slots=True)
class Plot:
    """Everything that is drawn. ``description`` says the same in words, for those who do not see it."""

    name: str
    title: str
    description: str
    shapes: tuple[Shape, ...]
    marks: tuple[Mark, ...]
    y_ticks: tuple[Tick, ...]
    x_ticks: tuple[Tick, ...]


# Bottom to top: the class of a layer, and its bytes.
LAYERS: Sequence[tuple[str, Callable[[VolumePoint], int]]] = (
    ("used", lambda point: point.used_bytes - point.unaccounted_bytes - point.others_bytes),
    ("others", lambda point: point.others_bytes),
    ("unaccounted", lambda point: point.unaccounted_bytes),
    ("reserved", lambda point: point.reserved_bytes),
)


def volume_plot(
    name: str, title: str, span: Span, now: float, volume: str, thresholds: Sequence[tuple[str, int]]
) -> Plot | None:
    """Used, others', unaccounted and reserved bytes of one volume, stacked up to its size.

    Args: ``name`` unique on the page; ``now`` monotonic seconds; ``thresholds`` (state, available bytes), drawn where
    the stack reaches when only that much is left. None before the first point.
    """
    runs = list(_runs(span, volume))
    if not runs:
        return None
    last = runs[-1][-1][1]
    top = max(1, *(point.size_bytes for run in runs for _, point in run))
    shapes = []
    for index, (kind, _) in enumerate(LAYERS):
        path = " ".join(_band(run, index, now, span.length_s, top) for run in runs)
        shapes.append(Shape(kind, path))
    lines = [(state, _y(max(0, last.size_bytes - left), top), left) for state, left in thresholds if left > 0]
    description = (
        f"{size_text(last.used_bytes)} of {size_text(last.size_bytes)} used, {size_text(last.reserved_bytes)} "
        f"reserved, {size_text(last.unaccounted_bytes)} unaccounted, {size_text(last.available_bytes)} available; "
        + "; ".join(f"{state} below {size_text(left)} available" for state, _, left in lines)
    )
    return Plot(name, title, description, tuple(shapes), _marks(lines), _size_ticks(top), _time_ticks(span.length_s))


def uploads_plot(name: str, title: str, span: Span, now: float) -> Plot:
    """Uploads taken and refused, in bars of a sixtieth of the span; bars stand still while time goes on."""
    bar_s = span.length_s / BARS
    newest = math.floor(now / bar_s)
    taken, refused = [0] * BARS, [0] * BARS
    for before, after in pairwise(span.points):
        index = math.floor(after.at / bar_s) - newest + BARS - 1
        if 0 <= index < BARS:
            taken[index] += max(0, after.uploads - before.uploads)
            refused[index] += max(0, after.upload_refusals - before.upload_refusals)
    top = _ceiling(max(a + b for a, b in zip(taken, refused, strict=True)))
    ones = "".join(_bar(index, 0, count, top) for index, count in enumerate(taken) if count)
    others = "".join(_bar(index, taken[index], count, top) for index, count in enumerate(refused) if count)
    each = f"{bar_s:.0f} s" if bar_s < 60 else f"{bar_s / 60:.0f} min"
    description = f"{sum(taken)} uploads taken and {sum(refused)} refused; each bar is {each}, the axis ends at {top}"
    ticks = tuple(Tick(_y(value, top), f"{value}") for value in _whole_steps(top))
    shapes = (Shape("taken", ones), Shape("refused", others))
    return Plot(name, title, description, shapes, (), ticks, _time_ticks(span.length_s))


def _runs(span: Span, volume: str) -> Iterator[list[tuple[float, VolumePoint]]]:
    """Points of one volume without gaps: a volume that was gone, or a node that stood still, breaks the curve."""
    run: list[tuple[float, VolumePoint]] = []
    for point in span.points:
        found = point.volumes.get(volume)
        late = bool(run) and point.at - run[-1][0] > GAP_STEPS * span.step_s
        if run and (found is None or late):
            yield run
            run = []
        if found is not None:
            run.append((point.at, found))
    if run:
        yield run


def _band(run: Sequence[tuple[float, VolumePoint]], layer: int, now: float, length_s: float, top: int) -> str:
    """One layer of the stack as a closed path: along its upper edge, and back along its lower one."""
    upper, lower = [], []
    for at, point in run:
        below = sum(max(0, size(point)) for _, size in LAYERS[:layer])
        above = below + max(0, LAYERS[layer][1](point))
        x = _x(now - at, length_s)
        upper.append(f"{x:.1f},{_y(min(above, top), top):.1f}")
        lower.append(f"{x:.1f},{_y(min(below, top), top):.1f}")
    return f"M{' L'.join(upper)} L{' L'.join(reversed(lower))} Z"


def _bar(index: int, below: int, count: int, top: int) -> str:
    width = INNER_WIDTH / BARS
    x = LEFT + index * width
    y, foot = _y(below + count, top), _y(below, top)
    return f"M{x + 0.5:.1f},{foot:.1f} V{y:.1f} H{x + width - 0.5:.1f} V{foot:.1f} Z"


def _x(age_s: float, length_s: float) -> float:
    return LEFT + INNER_WIDTH * (1 - min(max(age_s / length_s, 0.0), 1.0))


def _y(value: float, top: float) -> float:
    return TOP + INNER_HEIGHT * (1 - value / top)


def _marks(lines: Sequence[tuple[str, float, int]]) -> tuple[Mark, ...]:
    """Threshold lines from top to bottom, their labels at least :data:`LABEL_GAP` apart."""
    marks: list[Mark] = []
    label_y = TOP - LABEL_GAP + 4
    for state, y, left in sorted(lines, key=lambda line: line[1]):
        label_y = max(y, label_y + LABEL_GAP)
        marks.append(Mark(state.lower(), y, label_y, f"{state} < {size_text(left)}"))
    return tuple(marks)


def _size_ticks(top: int) -> tuple[Tick, ...]:
    return tuple(Tick(_y(top * share, top), size_text(int(top * share))) for share in (0, 0.25, 0.5, 0.75, 1))


def _time_ticks(length_s: float) -> tuple[Tick, ...]:
    """Five labels from the oldest moment to now."""
    ticks = []
    for share in (1, 0.75, 0.5, 0.25, 0):
        age_s = length_s * share
        text = "now" if share == 0 else f"−{age_s / 3600:.0f} h" if length_s > 3600 else f"−{_minutes(age_s)} min"
        ticks.append(Tick(_x(age_s, length_s), text))
    return tuple(ticks)


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.1f}".removesuffix(".0")


def _ceiling(count: int) -> int:
    """The next of 4, 10, 20, 40, 100 …: an axis that does not change with each upload."""
    scale = 1
    while True:
        for step in (4, 10, 20):
            if count <= step * scale:
                return step * scale
        scale *= 10


def _whole_steps(top: int) -> Iterator[int]:
    step = max(1, top // 4 if top % 4 == 0 else top // 2)
    yield from range(0, top + 1, step)
