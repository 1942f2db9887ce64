"""A clock that was set back is noticed."""

from pathlib import Path

from entrepot.node.dates import AHEAD_S_MAX, Dates
from entrepot.observe.clock import FixedClock
from tests.catalog.helpers import open_catalog


def test_an_index_from_the_future(tmp_path: Path) -> None:
    """Goal: silent while clocks are right, a failed check with the seconds after the clock was set back, and well again
    once that moment has come.
    """
    clock = FixedClock()
    dates = Dates(clock)
    catalog = open_catalog(tmp_path)
    dates.load(catalog)
    assert dates.check().ok
    dates.saw(clock.now_s())
    assert (dates.check().ok, dates.ahead_s()) == (True, 0.0)
    clock.set(clock.now() - 3600)
    assert dates.ahead_s() == 3600
    assert "3600 s ahead" in dates.check().cause
    clock.advance(3600 - AHEAD_S_MAX)
    assert dates.check().ok
    catalog.close()
