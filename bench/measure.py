"""What a row found: values with their bar, a table for people, JSON for machines."""

import json
import math
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

RESULTS = Path(__file__).with_name("results")


@dataclass(frozen=True, slots=True)
class Measure:
    """One line of the table. ``met`` is None for a figure that stands beside the bars without one of its own.

    ``ours`` and ``peer`` are in ``unit``; ``ratio`` is how ``bar`` compares them, or None when the bar is absolute.
    """

    name: str
    unit: str
    ours: float
    peer: float | None = None
    ratio: float | None = None
    bar: str = ""
    met: bool | None = None
    note: str = ""


def at_most(name: str, unit: str, ours: float, limit: float, note: str = "") -> Measure:
    """A measure whose bar is an upper limit."""
    return Measure(name, unit, ours, bar=f"≤ {number(limit)} {unit}", met=ours <= limit, note=note)


def at_least(name: str, unit: str, ours: float, limit: float, note: str = "") -> Measure:
    """A measure whose bar is a lower limit."""
    return Measure(name, unit, ours, bar=f"≥ {number(limit)} {unit}", met=ours >= limit, note=note)


def times_faster(name: str, unit: str, ours: float, peer: float, limit: float, note: str = "") -> Measure:
    """A measure that must be ``limit`` times smaller than the peer's."""
    ratio = peer / ours
    return Measure(name, unit, ours, peer, ratio, f"≥ {number(limit)} times faster", ratio >= limit, note)


def times_at_most(name: str, unit: str, ours: float, peer: float, limit: float, note: str = "") -> Measure:
    """A measure that may be at most ``limit`` times the other's."""
    ratio = ours / peer if peer else 0.0
    return Measure(name, unit, ours, peer, ratio, f"≤ {number(limit)} times", ratio <= limit, note)


def shown(name: str, unit: str, ours: float, peer: float | None = None, note: str = "") -> Measure:
    """A figure without a bar."""
    return Measure(name, unit, ours, peer, note=note)


def number(value: float) -> str:
    """Three significant digits, no exponent; nothing rounded above 1000."""
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def percentile(values: Sequence[float], percent: float) -> float:
    """The value below which ``percent`` of the values lie (nearest rank)."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, math.ceil(len(ordered) * percent / 100) - 1))]


def median(values: Sequence[float]) -> float:
    """The median."""
    return statistics.median(values)


def table(measures: Sequence[Measure]) -> str:
    """A Markdown table, which is also readable in a terminal."""
    rows = [["measure", "ours", "peer", "ratio", "bar", "met"]]
    for item in measures:
        met = "" if item.met is None else "yes" if item.met else "NO"
        peer = "" if item.peer is None else f"{number(item.peer)} {item.unit}"
        ratio = "" if item.ratio is None else number(item.ratio)
        note = f" ({item.note})" if item.note else ""
        rows.append([item.name + note, f"{number(item.ours)} {item.unit}", peer, ratio, item.bar, met])
    widths = [max(len(row[column]) for row in rows) for column in range(6)]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines) + "\n"


def save(row: str, quick: bool, measures: Sequence[Measure]) -> None:
    """Write ``results/ROW.json``."""
    RESULTS.mkdir(exist_ok=True)
    content = {"row": row, "quick": quick, "measures": [asdict(item) for item in measures]}
    (RESULTS / f"{row}.json").write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def save_text(row: str, text: str) -> None:
    """Keep a comparison that does not fit the columns of :func:`table`; ``report`` puts it below the row's table."""
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{row}.md").write_text(text)


def load_text(row: str) -> str:
    """What the last run kept by :func:`save_text`; empty for nothing."""
    path = RESULTS / f"{row}.md"
    return path.read_text() if path.exists() else ""


def load(row: str) -> tuple[bool, list[Measure]] | None:
    """What the last run of a row wrote: (quick, measures)."""
    path = RESULTS / f"{row}.json"
    if not path.exists():
        return None
    content = json.loads(path.read_text())
    return content["quick"], [Measure(**item) for item in content["measures"]]
