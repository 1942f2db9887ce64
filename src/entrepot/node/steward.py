"""Watches this process from a thread of its own: its vitals, its condition, and whether it should end itself.

Every tick works from memory. Only the reclaim pass and the question to a fleet's catalog touch a disk, and the node
needs neither of them to go on.
"""

import gc
import threading
from collections.abc import Callable, Mapping

from entrepot.node import vitals
from entrepot.node.condition import Condition, Standing, ephemeral
from entrepot.node.dates import Dates
from entrepot.node.notify import Notifier
from entrepot.node.permits import Permits
from entrepot.node.retire import Cause, Decision, Facts, Retirement, Step
from entrepot.observe import logs, metrics
from entrepot.observe.clock import Clock

_log = logs.get("node")

TICK_S = 5.0
BEAT_S = 60.0


class Steward:
    """Runs the ticks. ``reclaim`` frees what can be freed and may take its time; ``retire`` is set once the node's life
    is built, and must return at once.
    """

    def __init__(
        self,
        retirement: Retirement,
        permits: Permits,
        standing: Standing,
        notifier: Notifier,
        clock: Clock,
        dates: Dates,
        *,
        reclaim: Callable[[], None],
    ) -> None:
        self._retirement = retirement
        self._permits = permits
        self._standing = standing
        self._notifier = notifier
        self._clock = clock
        self._dates = dates
        self._warned = False
        self._reclaim = reclaim
        self.retire: Callable[[], None] = lambda: None
        self._decision = Decision(Step.STAY)
        self._shown: Condition | None = None
        self._beaten_s = float("-inf")
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="steward", daemon=True)

    def start(self) -> None:
        """Begin; the first tick runs at once."""
        self._thread.start()

    def stop(self) -> None:
        """End; a reclaim pass that runs is not waited for long."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(5.0)

    def status(self) -> Mapping[str, object]:
        """The part of ``/statusz`` about retiring: what is nearest, and what holds it."""
        now = self._decision
        return {"retirement": {"step": now.step, "cause": now.cause, "held_by": now.held_by}}

    def _run(self) -> None:
        while True:
            try:
                self.tick()
            except Exception as error:  # whatever a tick met, the next one must come
                _log.warning("steward failed", error=type(error).__name__, reason=str(error)[:500])
            if self._standing.retiring or self._stop.wait(TICK_S):
                return

    def tick(self) -> None:
        """Look once, and do what follows."""
        self._show(self._standing.now())
        self._look_at_clock()
        now_s = self._clock.monotonic()
        if now_s - self._beaten_s >= BEAT_S:
            self._beaten_s = now_s
            self._permits.beat()
        try:
            seen = vitals.sample()
        except OSError:  # no descriptor left to look with, or no /proc: the last decision stands
            return
        metrics.process_descriptors.set(seen.descriptors)
        metrics.process_resident_bytes.set(seen.resident_bytes)
        scratch = tuple(each.state for each in self._standing.volumes() if ephemeral(each))
        before, facts = self._decision, Facts(seen.files, seen.files_max, seen.resident_bytes, scratch)
        self._decision = self._retirement.step(now_s, facts)
        if self._decision != before and self._decision.held_by:
            _log.warning("not retiring", cause=self._decision.cause, held_by=self._decision.held_by)
        self._act(self._decision)

    def _act(self, decision: Decision) -> None:
        if decision.step is Step.RECLAIM:
            _log.warning("reclaiming", cause=decision.cause)
            gc.collect()
            self._reclaim()
        elif decision.step is Step.ASK:
            self._retirement.answered(self._permits.ask())
            if self._retirement.cause is not None:
                self._end(self._retirement.cause)

    def _end(self, cause: Cause) -> None:
        metrics.retirements_total.labels(cause).inc()
        _log.warning("retiring", cause=cause, age_s=round(self._retirement.age_s(self._clock.monotonic()), 1))
        self._standing.retiring = f"retiring: {cause}"
        self._show(self._standing.now())
        self.retire()

    def _look_at_clock(self) -> None:
        found = self._dates.check()
        metrics.index_date_ahead_seconds.set(round(self._dates.ahead_s(), 1))
        if not found.ok and not self._warned:
            _log.warning("clock set back", cause=found.cause)
        self._warned = not found.ok

    def _show(self, condition: Condition) -> None:
        """Log a change of state, and tell the service manager."""
        if self._shown is not None and self._shown.state is condition.state:
            return
        if self._shown is not None:
            _log.warning(
                "node state", state=condition.state, before=self._shown.state, causes="; ".join(condition.causes)
            )
        self._shown = condition
        self._notifier.tell(STATUS=": ".join([condition.state, *condition.causes[:1]]))
