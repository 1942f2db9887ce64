"""How long old index generations stay readable: each for an hour, the last of each hour for a day, within a cap.

The cap is a share of the volume, so that a storm of publications cannot fill it; but a generation is never dropped
before fifteen minutes, because a client that has just read an entry point must still find the files that it names.
"""

from collections.abc import Callable
from dataclasses import dataclass

from entrepot.catalog import retention as sql
from entrepot.catalog.engine import Catalog
from entrepot.observe.clock import Clock

_HOUR_S = 3600
_PASS_VERSIONS_MAX = 2000


@dataclass(frozen=True, slots=True)
class Policy:
    """``every_s``: each generation; ``hourly_s``: the last of each hour; ``least_s``: never less, whatever the cap
    says.
    """

    every_s: int = _HOUR_S
    hourly_s: int = 24 * _HOUR_S
    least_s: int = 15 * 60


@dataclass(frozen=True, slots=True)
class RetentionReport:
    """What one pass did and what is left."""

    versions_dropped: int
    bases_dropped: int
    segments_dropped: int
    left: sql.OldBytes


class Retention:
    """Drops old generations. ``cap_bytes`` says how much they may hold now (2 % of the volume)."""

    def __init__(
        self, catalog: Catalog, clock: Clock, cap_bytes: Callable[[], int], policy: Policy | None = None
    ) -> None:
        self._catalog = catalog
        self._clock = clock
        self._cap_bytes = cap_bytes
        self._policy = policy or Policy()

    def run(self) -> RetentionReport:
        """One bounded pass; call it every minute. Raises Refusal (catalog_failed)."""
        now_s = self._clock.now_s()
        with self._catalog.read() as conn:
            old = sql.retired(conn, now_s - self._policy.every_s, _PASS_VERSIONS_MAX)
        due = [item for item in old if not self._is_hours_last(item, now_s)]
        dropped = self._drop(due)
        bases, segments = self._sweep()
        while True:
            with self._catalog.read() as conn:
                left = sql.old_bytes(conn)
                over = left.total_bytes > self._cap_bytes()
                oldest = sql.retired(conn, now_s - self._policy.least_s, _PASS_VERSIONS_MAX // 10) if over else []
            if not oldest:
                return RetentionReport(dropped, bases, segments, left)
            dropped += self._drop(oldest)
            more_bases, more_segments = self._sweep()
            bases, segments = bases + more_bases, segments + more_segments

    def _is_hours_last(self, item: sql.RetiredVersion, now_s: int) -> bool:
        """True for a version that was current when an hour ended, while the day after is not over."""
        crossed = item.created_at // _HOUR_S != item.retired_at // _HOUR_S
        return crossed and item.retired_at >= now_s - self._policy.hourly_s

    def _drop(self, versions: list[sql.RetiredVersion]) -> int:
        if not versions:
            return 0
        return self._catalog.submit(lambda conn: sql.drop_versions(conn, versions))

    def _sweep(self) -> tuple[int, int]:
        bases = 0
        while count := self._catalog.submit(sql.drop_unused_bases):
            bases += count
        return bases, self._catalog.submit(sql.drop_unused_segments) if bases else 0
