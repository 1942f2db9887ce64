"""The states of one volume as a pure machine: samples and events in, a state out. It reads no clock; time is an
argument, in seconds that never step back.

Three levels (PRESSURE, SHED, READONLY) each remember that they were entered: one sample below the threshold enters,
and only samples above the higher threshold of leaving, without a break for ``leave_s``, leave. The state is the worst
level that is entered. Beside them: a failed call for lack of room enters READONLY whatever the samples say, and a
failed or stalled one enters BROKEN, which ends with a successful trial and never by itself.
"""

from dataclasses import dataclass

from entrepot.disk.state import State, Thresholds
from entrepot.disk.volume import Measure
from entrepot.settings.concerns import DiskSettings

# What a threshold's absolute figure may take of a small volume: a quarter, an eighth, a sixteenth.
_PRESSURE_SHARE, _SHED_SHARE, _READONLY_SHARE = 4, 8, 16
RECYCLE_AFTER_S = 300.0


def thresholds(settings: DiskSettings, now: Measure) -> Thresholds:
    """Bytes and inodes below which each state is entered on a volume of this size."""
    size, inodes = now.size_bytes, now.inodes_total if now.inodes_known else 0

    def level(percent: float, least: int, most: int, share: int) -> int:
        return int(min(max(size * percent / 100, min(least, size // share)), most)) if percent else 0

    s = settings
    return Thresholds(
        level(s.pressure_percent, s.pressure_bytes_min, s.pressure_bytes_max, _PRESSURE_SHARE),
        level(s.shed_percent, s.shed_bytes_min, s.shed_bytes_max, _SHED_SHARE),
        level(s.readonly_percent, s.readonly_bytes_min, s.readonly_bytes_max, _READONLY_SHARE),
        int(inodes * s.pressure_inodes_percent / 100),
        int(inodes * s.shed_inodes_percent / 100),
        int(inodes * s.readonly_inodes_percent / 100),
    )


@dataclass(slots=True)
class _Level:
    """One level's memory: whether it is entered, why, and since when every sample allows to leave it."""

    state: State
    entered: bool = False
    cause: str = ""
    fine_since_s: float | None = None

    def enter(self, cause: str) -> None:
        self.entered, self.cause, self.fine_since_s = True, cause, None

    def allow(self, at_s: float, leave_s: float) -> None:
        if self.fine_since_s is None:
            self.fine_since_s = at_s
        if at_s - self.fine_since_s >= leave_s:
            self.entered, self.cause, self.fine_since_s = False, "", None


class Pressure:
    """The machine of one volume. Not thread-safe: its owner locks.

    ``ephemeral``: nothing on the volume outlives the node (scratch alone), so that a restart may cure it: then SHED or
    worse for five minutes becomes RECYCLE.
    """

    def __init__(self, settings: DiskSettings, at_s: float, *, ephemeral: bool = False) -> None:
        self._settings = settings
        self._ephemeral = ephemeral
        self._levels = (_Level(State.READONLY), _Level(State.SHED), _Level(State.PRESSURE))  # the worst first
        self._broken: str | None = None
        self._tried_s = at_s
        self._bad_since_s: float | None = None
        self.thresholds = Thresholds(0, 0, 0)
        self.state = State.OK
        self.since_s = at_s

    @property
    def cause(self) -> str:
        """Why the state is what it is; empty when all is well."""
        if self.state is State.BROKEN:
            return self._broken or ""
        return next((level.cause for level in self._levels if level.entered), "")

    def sample(self, at_s: float, now: Measure, reserved_bytes: int = 0, reserved_inodes: int = 0) -> None:
        """One measurement; what is reserved but not yet written counts as taken."""
        self.thresholds = found = thresholds(self._settings, now)
        bytes_left = now.available_bytes - reserved_bytes
        inodes_left = now.inodes_free - reserved_inodes
        enters = (
            (found.readonly_bytes, found.readonly_inodes),
            (found.shed_bytes, found.shed_inodes),
            (found.pressure_bytes, found.pressure_inodes),
        )
        for level, (bytes_min, inodes_min) in zip(self._levels, enters, strict=True):
            if bytes_left < bytes_min:
                level.enter(f"{max(0, bytes_left)} bytes available, fewer than {bytes_min}")
            elif now.inodes_known and inodes_left < inodes_min:
                level.enter(f"{max(0, inodes_left)} inodes available, fewer than {inodes_min}")
            elif level.entered:
                enough_bytes = bytes_left >= self._leave(bytes_min, now.size_bytes)
                if enough_bytes and (not now.inodes_known or inodes_left >= self._leave(inodes_min, now.inodes_total)):
                    level.allow(at_s, self._settings.leave_s)
                else:
                    level.fine_since_s = None
        self._settle(at_s)

    def full(self, at_s: float, cause: str) -> None:
        """A call failed for lack of room: whatever the samples say (quotas, thin volumes), READONLY."""
        self._levels[0].enter(cause)
        self._settle(at_s)

    def broke(self, at_s: float, cause: str) -> None:
        """A call failed in a way that more room does not cure, or did not come back."""
        self._broken = cause
        self._tried_s = at_s
        self._settle(at_s)

    def trial_due(self, at_s: float) -> bool:
        """Whether a broken volume has rested long enough to be tried."""
        return self._broken is not None and at_s - self._tried_s >= self._settings.probe_s

    def mended(self, at_s: float) -> None:
        """The trial succeeded."""
        self._broken = None
        self._settle(at_s)

    def _leave(self, enter: int, whole: int) -> int:
        """The higher threshold of leaving: a share of the volume more, though at most twice the threshold, or a large
        volume with a capped threshold could hardly ever leave."""
        return enter + min(int(whole * self._settings.leave_percent / 100), enter)

    def _settle(self, at_s: float) -> None:
        state = next((level.state for level in self._levels if level.entered), State.OK)
        if self._ephemeral and state in (State.SHED, State.READONLY):
            if self._bad_since_s is None:
                self._bad_since_s = at_s
            if at_s - self._bad_since_s >= RECYCLE_AFTER_S:
                state = State.RECYCLE
        else:
            self._bad_since_s = None
        if self._broken is not None:
            state = State.BROKEN
        if state is not self.state:
            self.state, self.since_s = state, at_s
