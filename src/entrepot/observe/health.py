"""Named checks and the heartbeat, read by the probes. Answers come from memory: a probe never waits for a disk or a
database.
"""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from entrepot.observe.clock import Clock

CHECKS_MAX = 64


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What one check says: ``cause`` is a short sentence for people, empty when ``ok``."""

    ok: bool
    cause: str = ""


Check = Callable[[], CheckResult]


class HealthRegistry:
    """Checks by name. A check must answer from memory, at once, and from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._checks: dict[str, Check] = {}

    def add(self, name: str, check: Check) -> None:
        """Register ``check``. Raises ValueError when the name is taken or there are :data:`CHECKS_MAX` already."""
        with self._lock:
            if name in self._checks:
                raise ValueError(f"a check named {name} exists already")
            if len(self._checks) == CHECKS_MAX:
                raise ValueError(f"more than {CHECKS_MAX} checks")
            self._checks[name] = check

    def run(self) -> Mapping[str, CheckResult]:
        """Every check's answer, in the order of their names. A check that raises is a failed one: a probe always gets
        an answer.
        """
        with self._lock:
            checks = sorted(self._checks.items())
        return {name: _ask(check) for name, check in checks}


def _ask(check: Check) -> CheckResult:
    try:
        return check()
    except Exception as error:  # whatever is wrong with the check, it is not "ok"
        return CheckResult(False, f"the check itself failed: {type(error).__name__}")


class Heartbeat:
    """Shows that a loop is still turning: the loop beats, a probe on another thread asks how long ago.

    Args: ``stall_s_max`` seconds without a beat after which the loop counts as stuck.
    """

    def __init__(self, clock: Clock, what: str, stall_s_max: float = 10.0) -> None:
        self._clock = clock
        self._what = what
        self._stall_s_max = stall_s_max
        self._last = clock.monotonic()

    def beat(self) -> None:
        """The loop is alive now."""
        self._last = self._clock.monotonic()

    def age_s(self) -> float:
        """Seconds since the last beat (or since the heartbeat was made)."""
        return self._clock.monotonic() - self._last

    def check(self) -> CheckResult:
        """A :data:`Check`: not ok when the last beat is older than ``stall_s_max``."""
        age_s = self.age_s()
        if age_s <= self._stall_s_max:
            return CheckResult(True)
        return CheckResult(False, f"{self._what} has not moved for {age_s:.0f} s")


class Wave:
    """Requests that began between two moments: how many of them are in flight."""

    __slots__ = ("in_flight",)

    def __init__(self) -> None:
        self.in_flight = 0


class Draining:
    """Whether this node is stopping, and how many requests are in flight. Read from any thread; :meth:`begin`,
    :meth:`end` and :meth:`new_wave` are the event loop's.

    ``handing_over``: another process gets the open port, so reads go on all along; ``last_answers``: no connection is
    kept after its next answer.
    """

    __slots__ = ("_wave", "handing_over", "in_flight", "last_answers", "stopping")

    def __init__(self) -> None:
        self.stopping = False
        self.handing_over = False
        self.last_answers = False
        self.in_flight = 0
        self._wave = Wave()

    def begin(self) -> Wave:
        """A request begins; what is returned is for :meth:`end`."""
        wave = self._wave
        wave.in_flight += 1
        self.in_flight += 1
        return wave

    def end(self, wave: Wave) -> None:
        """It has ended."""
        wave.in_flight -= 1
        self.in_flight -= 1

    def new_wave(self) -> Wave:
        """The requests that began until now; those that begin later are not among them."""
        wave, self._wave = self._wave, Wave()
        return wave
