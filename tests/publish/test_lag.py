"""The age of the oldest change that is not shown."""

from entrepot.observe.clock import FixedClock
from entrepot.publish.lag import Lag


def test_the_oldest_change_counts_until_it_is_shown() -> None:
    """Goal: later changes of a scope do not hide how long the first one waits. Method: two scopes, a step at a time."""
    clock = FixedClock()
    lag = Lag(clock)
    assert lag.oldest_s() == 0
    lag.waits(1)
    clock.advance(5)
    lag.waits(1)
    lag.waits(2)
    clock.advance(5)
    assert lag.oldest_s() == 10
    lag.shown(1, clock.monotonic(), more=False)
    assert lag.oldest_s() == 5
    lag.shown(2, clock.monotonic(), more=False)
    assert lag.oldest_s() == 0


def test_a_change_that_came_meanwhile_counts_from_the_reading() -> None:
    """Goal: a busy scope is not old for ever. Method: it is shown, with more waiting, as of two seconds ago."""
    clock = FixedClock()
    lag = Lag(clock)
    lag.waits(1)
    clock.advance(100)
    read_at = clock.monotonic()
    clock.advance(2)
    lag.shown(1, read_at, more=True)
    assert lag.oldest_s() == 2
    lag.shown(7, read_at, more=False)  # one that nobody waits for
    assert lag.oldest_s() == 2
