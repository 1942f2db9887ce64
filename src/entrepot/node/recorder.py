"""The thread that writes the node's history, and the counts that ``/statusz`` shows beside it."""

import threading
from collections.abc import Callable, Sequence

from entrepot.disk.state import Status
from entrepot.observe import logs, metrics
from entrepot.observe.clock import Clock
from entrepot.observe.history import SHORT_STEP_S, VOLUMES_MAX, History, Point, VolumePoint

_log = logs.get("node")


class Recorder:
    """Adds one point a second to a history. ``statuses`` answers from memory."""

    def __init__(self, history: History, statuses: Callable[[], Sequence[Status]], clock: Clock) -> None:
        self._history = history
        self._statuses = statuses
        self._clock = clock
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="history", daemon=True)

    def start(self) -> None:
        """Begin; the first point is made at once."""
        self._thread.start()

    def stop(self) -> None:
        """End after the point that is being made."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(10.0)

    def record(self) -> None:
        """Add one point now."""
        taken, refused = upload_counts()
        self._history.add(
            Point(
                at=self._clock.monotonic(),
                volumes={status.name: _point(status) for status in self._statuses()[:VOLUMES_MAX]},
                uploads=taken,
                upload_refusals=refused,
                received_bytes=int(metrics.value(metrics.upload_bytes_total)),
                in_flight=int(metrics.value(metrics.uploads_in_flight)),
            )
        )

    def _run(self) -> None:
        failing = False
        while True:
            try:
                self.record()
                failing = False
            except Exception as error:  # the curves have a gap; whoever wants to see why needs one line, not thousands
                if not failing:
                    _log.warning("history has a gap", error=type(error).__name__, reason=str(error)[:500])
                failing = True
            if self._stop.wait(SHORT_STEP_S):
                return


def _point(status: Status) -> VolumePoint:
    return VolumePoint(
        status.state.value,
        status.size_bytes,
        status.used_bytes,
        status.reserved_bytes,
        status.available_bytes,
        status.unaccounted_bytes,
        status.others_bytes,
    )


def upload_counts() -> tuple[int, int]:
    """Upload requests since the start: taken, and refused for whatever reason."""
    answers = metrics.totals(metrics.upload_answers_total, "status")
    return answers.pop("2xx", 0), sum(answers.values())


def activity(publication_lag_s: float) -> dict[str, object]:
    """The parts ``uploads``, ``refusals`` and ``publication`` of ``/statusz``. Counts are since the start; codes are
    those of the table of errors, ``ok`` for what was taken.
    """
    return {
        "uploads": {
            "in_flight": int(metrics.value(metrics.uploads_in_flight)),
            "in_flight_bytes": int(metrics.value(metrics.in_flight_bytes)),
            "received_bytes": int(metrics.value(metrics.upload_bytes_total)),
            "answers": metrics.totals(metrics.upload_answers_total, "code"),
        },
        "refusals": metrics.totals(metrics.refusals_total, "code"),
        "publication": {
            "lag_s": round(publication_lag_s, 3),
            "dirty_scopes": int(metrics.value(metrics.dirty_scopes)),
            "made": sum(metrics.totals(metrics.publications_total, "format").values()),
            "failed": sum(metrics.totals(metrics.publication_failures_total, "format").values()),
        },
    }
