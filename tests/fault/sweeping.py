"""A sweep: the Nth file call of a change fails, for N = 1, 2, 3 … until a change meets no fault.

Many faults are put into one server. After each one: the answer is one that a failing disk may give, the next upload
works, and what was promised is there; every few points, and at the end, everything is looked at, byte for byte.
"""

from dataclasses import dataclass

from tests.fault.rig import GOOD, Answer, Rig, check_answer
from tests.fault.routes import DebPut, Route, put_deb

POINTS_MAX = 400
WHOLE_EVERY = 25
"""Points between two looks at everything."""
MOVE_EVERY = 50
"""Points before fresh repositories are taken: looking costs what a repository holds."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens at the Nth call: an errno, `SHORT` or `KILL`; ``on``: and at every later one."""

    action: str
    on: bool = False

    @property
    def call(self) -> str:
        """The calls that count: a short write can only happen to a write."""
        return "write" if self.action == "SHORT" else "*"

    def __str__(self) -> str:
        return f"{self.action}{' from then on' if self.on else ''}"


EVERY_FAULT = (
    Fault("ENOSPC"),
    Fault("ENOSPC", on=True),
    Fault("EDQUOT"),
    Fault("EDQUOT", on=True),
    Fault("EIO"),
    Fault("EIO", on=True),
    Fault("SHORT"),
    Fault("SHORT", on=True),
)


class Sweep:
    """Faults in one route after the other on one running server."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self._route: Route = DebPut()
        self._points = 0
        self._repository = ""
        self._after = ""
        self._after_since = 0
        self._orphans_max = 0
        self._staged_max = 0

    def run(self, route: Route, fault: Fault, *, step: int = 1, first: int = 1) -> int:
        """Break each ``step``-th call of ``route`` from ``first`` on; how many points there were."""
        self._route, began = route, self._points
        self._move()
        for nth in range(first, POINTS_MAX, step):
            if (self._points - began) % MOVE_EVERY == MOVE_EVERY - 1:
                self._move()
            route.ready(self.rig, self._repository)
            self._points += 1
            reached = self._killed(nth) if fault.action == "KILL" else self._failed(nth, fault)
            if self._points % WHOLE_EVERY == 0:
                self.rig.check()
            if not reached:
                self.rig.counts.faults -= 1  # put in force, and never met
                return self._points - began - 1
        raise AssertionError(f"{route.name}: more than {POINTS_MAX} calls")

    def finish(self) -> None:
        """What only stayed because taking it away failed too goes with a restart and a day; then all is well."""
        if self._orphans_max or self._staged_max:
            self.rig.check_orphans_go()
        self.rig.check()
        self.rig.check_idle()

    def _move(self) -> None:
        """Go on in fresh repositories."""
        if not self._after or self._points - self._after_since >= MOVE_EVERY:
            self._after = self.rig.repository(f"acme/after{self._points}")
            self._after_since = self._points
        self._repository = self.rig.repository(f"acme/{self._route.name}{self._points}")
        self._route.prepare(self.rig, self._repository)

    def _failed(self, nth: int, fault: Fault) -> bool:
        """One call fails and the server goes on; whether there was an Nth call."""
        rig = self.rig
        rig.arm(nth, fault.action, call=fault.call, on=fault.on)
        answer = self._route.act(rig, self._repository)
        found = rig.disarm()
        where = f"{fault} at call {nth} ({found['hit']}) of {self._route.name}"
        check_answer(answer, where)
        if fault.action == "SHORT":
            assert answer.status in GOOD, f"{where} was not continued: {answer.text}"
        assert rig.poll() is None, f"{where}: the server ended"
        rig.wait_written()
        self._works(where)
        # Only when taking away what was made fails too may something stay: that goes a day later, or at a restart.
        if fault.action != "SHORT" and (fault.on or found["hit"] == "unlink"):
            self._orphans_max += 2
            self._staged_max += 2
        rig.check_idle(orphans_max=self._orphans_max, staged_max=self._staged_max)
        return bool(found["reached"])

    def _killed(self, nth: int) -> bool:
        """The process ends before the Nth call, and is started again; whether there was an Nth call."""
        rig = self.rig
        rig.arm(nth, "KILL")
        answer = self._route.act(rig, self._repository)
        try:
            reached = bool(rig.disarm()["reached"])
        except (OSError, ValueError):  # the connection may end a moment before the process does
            reached = True
        if not reached:
            assert answer.status in GOOD, answer.text
            return False
        assert rig.wait() == -9
        rig.start()
        self._orphans_max += 2
        self._works(f"KILL before call {nth} of {self._route.name}")
        rig.check_idle(orphans_max=self._orphans_max)
        return True

    def _works(self, where: str) -> None:
        """The next upload is taken, and what was promised is there."""
        after: Answer = put_deb(self.rig, self._after)
        assert after.status in GOOD, f"after {where}: {after.status} {after.text}"
        self.rig.check_near([self._route.home(self.rig, self._repository), self._after])
        self.rig.check_that(lambda: self._route.wrong(self.rig, self._repository))
