"""The memory of the last day."""

from itertools import pairwise

import pytest

from entrepot.observe.history import (
    LONG_POINTS_MAX,
    SHORT_POINTS_MAX,
    VOLUMES_MAX,
    History,
    Point,
    VolumePoint,
)

POINT = VolumePoint("OK", 10, 1, 0, 9, 0, 0)


def test_seconds_for_ten_minutes_and_minutes_for_a_day() -> None:
    """Goal: bounded memory that still shows a day. Method: 30 hours of points, one a second."""
    history = History()
    for second in range(30 * 3600):
        history.add(Point(float(second), {"/d": POINT}, uploads=second))
    short, long = history.short().points, history.long().points
    assert [point.at for point in short] == [float(at) for at in range(30 * 3600 - SHORT_POINTS_MAX, 30 * 3600)]
    assert long[-1] is short[-1]
    steps = {after.at - before.at for before, after in pairwise(long[:-1])}
    assert steps == {60.0}
    assert len(long) == LONG_POINTS_MAX + 1


def test_late_and_early_points_keep_their_minute() -> None:
    """Goal: a thread that wakes a little early or late neither doubles nor loses a minute. Method: points 1 s apart
    with a tenth of jitter, for ten minutes.
    """
    history = History()
    for second in range(600):
        history.add(Point(second + (0.1 if second % 2 else -0.1)))
    assert 10 <= len(history.long().points) <= 12


def test_nothing_and_too_much() -> None:
    """Goal: an empty history is no error, and the number of volumes is bounded."""
    history = History()
    assert history.short().points == history.long().points == ()
    with pytest.raises(ValueError, match="volumes"):
        history.add(Point(0.0, {str(number): POINT for number in range(VOLUMES_MAX + 1)}))
