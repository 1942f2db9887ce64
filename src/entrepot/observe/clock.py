"""The one place that reads a clock. Everything else is handed a :class:`Clock`, so that tests decide what time it
is.
"""

import ctypes
import threading
import time
from contextlib import suppress
from typing import Protocol


class Clock(Protocol):
    """Wall time and monotonic time, in seconds."""

    def now_s(self) -> int:
        """Wall time, whole seconds since 1970 UTC, rounded down. May step back when the machine's clock is set."""

    def now(self) -> float:
        """Wall time, seconds since 1970 UTC. May step back."""

    def monotonic(self) -> float:
        """Seconds since some moment in the past; never steps back. For waits and durations."""


class SystemClock:
    """The machine's clocks. Stateless."""

    def now_s(self) -> int:
        """Whole seconds since 1970 UTC."""
        return int(time.time())

    def now(self) -> float:
        """Seconds since 1970 UTC."""
        return time.time()

    def monotonic(self) -> float:
        """Seconds of CLOCK_MONOTONIC."""
        return time.monotonic()


class FixedClock:
    """A clock that stands still until it is told otherwise; safe to share between threads.

    Args: ``now`` wall seconds at the start; ``monotonic`` monotonic seconds at the start.
    """

    def __init__(self, now: float = 1_700_000_000.0, monotonic: float = 1_000.0) -> None:
        self._lock = threading.Lock()
        self._now = now
        self._monotonic = monotonic

    def now_s(self) -> int:
        """Whole wall seconds."""
        return int(self.now())

    def now(self) -> float:
        """Wall seconds."""
        with self._lock:
            return self._now

    def monotonic(self) -> float:
        """Monotonic seconds."""
        with self._lock:
            return self._monotonic

    def advance(self, seconds: float) -> None:
        """Let time pass on both clocks. Raises ValueError for a negative number: time itself never runs back."""
        if seconds < 0:
            raise ValueError("time passes forwards; use set() for a wall clock that was set back")
        with self._lock:
            self._now += seconds
            self._monotonic += seconds

    def set(self, now: float) -> None:
        """Set the wall clock, back or forth, as an administrator or NTP would; the monotonic clock does not notice."""
        with self._lock:
            self._now = now


_TIMEX_BYTES = 512  # struct timex has 208 on 64-bit Linux
_TIME_ERROR = 5  # timex.h: the clock is not synchronised


def is_synchronised() -> bool | None:
    """Whether the kernel says that a time service keeps the clock (adjtimex(2)); None where it does not say."""
    with suppress(AttributeError, OSError):
        # All zeros: nothing is to be changed, which takes no right.
        state = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES))
        return None if state < 0 else bool(state != _TIME_ERROR)
    return None
