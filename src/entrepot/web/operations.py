"""The operations page: one node's volumes, uploads, leaks and canary, with their last ten minutes or their last day.

Drawn here as HTML and SVG, so that it says everything without JavaScript. The script that keeps it current asks for the
same page again and exchanges the parts that changed. The page shows what ``/statusz`` shows, to the same readers.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files
from typing import Any, Literal

from entrepot.model.units import size_text
from entrepot.observe.clock import Clock
from entrepot.observe.history import History, Span
from entrepot.web import plots
from entrepot.web.render import human_duration, template

Shown = Literal["short", "long"]

# On the main port; the admin address has the page at its root.
PAGE_PATH = "/app/operations"
KEPT_S = 1.0
LEAKS_SHOWN_MAX = 50
_POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
STRICT_HEADERS: tuple[tuple[str, str], ...] = (
    ("Content-Security-Policy", _POLICY),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
)
HTML = "text/html; charset=utf-8"
ASSETS = {
    "/static/operations.css": ("operations.css", "text/css; charset=utf-8"),
    "/static/operations.js": ("operations.js", "text/javascript; charset=utf-8"),
}


@cache
def asset(path: str) -> tuple[str, bytes]:
    """Content type and bytes of a style sheet or a script. Raises KeyError for any other path."""
    name, content_type = ASSETS[path]
    return content_type, files("entrepot.web").joinpath("static", name).read_bytes()


class Operations:
    """Renders the page. ``status`` gives the document of ``/statusz``, from memory.

    A rendered page is kept for a second: ten people who look at it cost no more than one.
    """

    def __init__(self, status: Callable[[], Mapping[str, Any]], history: History, clock: Clock) -> None:
        self._status = status
        self._history = history
        self._clock = clock
        self._kept: dict[tuple[str, Shown], tuple[float, bytes]] = {}

    def page(self, root: str, shown: Shown) -> bytes:
        """The page as HTML. ``root`` is its own address; that of the last day is below it. Any thread."""
        now = self._clock.monotonic()
        at, html = self._kept.get((root, shown), (now - KEPT_S, b""))
        if now - at >= KEPT_S:
            html = template("operations.html").render(self._view(root, shown, now)).encode()
            self._kept[root, shown] = (now, html)
        return html

    def _view(self, root: str, shown: Shown, now: float) -> dict[str, object]:
        status = self._status()
        span = self._history.short() if shown == "short" else self._history.long()
        volumes = [_volume(number, row, span, now) for number, row in enumerate(status.get("volumes", ()))]
        leaks: Sequence[Mapping[str, Any]] = status.get("leaks", ())
        canary: Mapping[str, Mapping[str, Any]] = status.get("canary", {})
        return {
            "root": root,
            "day": root.rstrip("/") + "/day",
            "shown": shown,
            "refresh_s": 2 if shown == "short" else 30,
            "at": _moment(self._clock.now()),
            "now_s": self._clock.now(),
            "status": status,
            "node_state": _node_state(status),
            "volumes": volumes,
            "uploads_plot": plots.uploads_plot("uploads", "Uploads", span, now),
            "rates": _rates(self._history.short()),
            "refusals": sorted(status.get("refusals", {}).items(), key=lambda row: -row[1]),
            "leaks": leaks[:LEAKS_SHOWN_MAX],
            "leaks_more": max(0, len(leaks) - LEAKS_SHOWN_MAX),
            "canary": canary,
            "troubles": _troubles(status),
            "moment": _moment,
            "geometry": plots,
        }


def _volume(number: int, row: Mapping[str, Any], span: Span, now: float) -> dict[str, object]:
    """A volume's row of ``/statusz`` and its plot."""
    limits: Mapping[str, int] = row["thresholds"]
    lines = [(state, limits[f"{state.lower()}_bytes"]) for state in ("PRESSURE", "SHED", "READONLY")]
    plot = plots.volume_plot(f"volume-{number}", f"Space on {row['name']}", span, now, str(row["name"]), lines)
    own_bytes = max(0, row["used_bytes"] - row["unaccounted_bytes"] - row["others_bytes"])
    return {**row, "own_bytes": own_bytes, "number": number, "plot": plot}


def _rates(span: Span, window_s: float = 60.0) -> dict[str, float]:
    """Bytes, uploads and refusals a second over the last minute; zeros before there are two points."""
    if len(span.points) < 2:
        return {"bytes": 0.0, "uploads": 0.0, "refusals": 0.0}
    last = span.points[-1]
    first = next(point for point in span.points if last.at - point.at <= window_s)
    seconds = max(last.at - first.at, span.step_s)
    return {
        "bytes": (last.received_bytes - first.received_bytes) / seconds,
        "uploads": (last.uploads - first.uploads) / seconds,
        "refusals": (last.upload_refusals - first.upload_refusals) / seconds,
    }


def _node_state(status: Mapping[str, Any]) -> str:
    found = status.get("node_state")
    return str(found) if found else "stopping" if status["stopping"] else "serving"


def _troubles(status: Mapping[str, Any]) -> list[str]:
    """What is wrong, a sentence each, worst first."""
    found = [
        f"Volume {row['name']} is {row['state']}: {row['cause'] or 'no cause given'}"
        for row in status.get("volumes", ())
        if row["state"] != "OK"
    ]
    found += [f"{name}: {check['cause']}" for name, check in status["checks"].items() if not check["ok"]]
    found += [
        f"The canary of {name} failed {row['failures_in_row']} times in a row: {row['cause']}"
        for name, row in status.get("canary", {}).items()
        if row["failures_in_row"]
    ]
    leaks = [row for row in status.get("leaks", ()) if not row.get("removed")]
    if leaks:
        held = sum(row.get("size_bytes") or 0 for row in leaks)
        found.append(f"{len(leaks)} leak{' holds' if len(leaks) == 1 else 's hold'} {size_text(held)}; see below")
    lag_s = status.get("publication", {}).get("lag_s", 0)
    if lag_s > 60:
        found.append(f"The oldest change has waited {human_duration(lag_s)} to be published")
    return found


def _moment(seconds: float) -> str:
    """A wall time in UTC, to the second."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
