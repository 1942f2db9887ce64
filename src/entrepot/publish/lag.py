"""How long changes have been waiting to be shown."""

import threading

from entrepot.observe.clock import Clock


class Lag:
    """The age of the oldest change that is not visible yet, by scope. Safe for any number of threads."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._since: dict[int, float] = {}

    def waits(self, scope_id: int) -> None:
        """The scope has a change that is not shown; an older one that waits already counts."""
        with self._lock:
            self._since.setdefault(scope_id, self._clock.monotonic())

    def shown(self, scope_id: int, read_at: float, *, more: bool) -> None:
        """What the scope held at ``read_at`` (monotonic seconds) is visible; ``more``: later changes wait."""
        with self._lock:
            if more:
                self._since[scope_id] = max(read_at, self._since.get(scope_id, read_at))
            else:
                self._since.pop(scope_id, None)

    def oldest_s(self) -> float:
        """Seconds that the oldest change has waited; 0 when none does."""
        with self._lock:
            oldest = min(self._since.values(), default=None)
        return 0.0 if oldest is None else max(0.0, self._clock.monotonic() - oldest)
