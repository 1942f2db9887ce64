"""The only clock of the client."""

import time


def monotonic() -> float:
    """Seconds of a clock that never goes back; for durations and rates."""
    return time.monotonic()


def now_s() -> int:
    """Seconds since 1970; for dates that people read."""
    return int(time.time())
