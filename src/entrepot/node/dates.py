"""Notices a clock that was set back: indexes then carry a date that has not come yet.

A Release's ``Date`` never runs backwards, so what was signed while the clock was ahead stays ahead of the corrected
one, and apt refuses it (``Release file … is not valid yet``) until that moment has come.
"""

from entrepot.catalog import publications
from entrepot.catalog.engine import Catalog
from entrepot.observe.clock import Clock
from entrepot.observe.health import CheckResult

AHEAD_S_MAX = 10.0
"""What apt lets pass (``Acquire::Max-FutureTime``)."""


class Dates:
    """The newest date of any index, against this machine's clock. Safe from any thread."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._newest_s = 0
        self._loaded = False

    def saw(self, date_s: int) -> None:
        """An index with this date is being served."""
        self._newest_s = max(self._newest_s, date_s)

    def load(self, catalog: Catalog) -> None:
        """Look once at what earlier processes published. Reads a whole table: not while anybody waits."""
        if not self._loaded:
            with catalog.read() as conn:
                self.saw(publications.newest_date(conn))
            self._loaded = True

    def ahead_s(self) -> float:
        """Seconds by which the newest index is ahead of the clock; 0 when it is not."""
        return max(0.0, self._newest_s - self._clock.now())

    def check(self) -> CheckResult:
        """A :data:`~entrepot.observe.health.Check`: whether apt takes every index."""
        ahead_s = self.ahead_s()
        if ahead_s <= AHEAD_S_MAX:
            return CheckResult(True)
        return CheckResult(
            False,
            f"an index is dated {ahead_s:.0f} s ahead of this machine's clock, which was set back; apt refuses it until"
            " then. Check the clock: if it is right now, wait.",
        )
