"""Geometry of the plots, without a server."""

import re
from itertools import pairwise

from entrepot.observe.history import Point, Span, VolumePoint
from entrepot.web import plots

GIB = 1 << 30
THRESHOLDS = [("PRESSURE", 3 * GIB), ("SHED", 2 * GIB), ("READONLY", 1 * GIB)]


def volume(used: int, *, reserved: int = 0, unaccounted: int = 0, others: int = 0, size: int = 10 * GIB) -> VolumePoint:
    """A volume of 10 GiB."""
    return VolumePoint("OK", size, used, reserved, size - used - reserved, unaccounted, others)


def span(*points: Point) -> Span:
    """Ten minutes."""
    return Span(points, 1.0, 600.0)


def heights(path: str) -> list[float]:
    """Every y of a path of lines."""
    return [float(text) for text in re.findall(r",([\d.]+)", path)]


def y_of(value: float) -> float:
    """Where a number of bytes of 10 GiB is drawn."""
    return plots.TOP + plots.INNER_HEIGHT * (1 - value / (10 * GIB))


def test_layers_stand_on_each_other_and_thresholds_on_what_is_left() -> None:
    """Goal: one sees at a glance how far it is to the next state. Method: 4 GiB used, 1 of them unaccounted and 1 of
    others, 1 reserved, of 10; the edges of each layer, the lines of the thresholds.
    """
    now = 1000.0
    found = plots.volume_plot(
        "v", "Space", span(Point(now, {"/d": volume(4 * GIB, reserved=GIB, unaccounted=GIB, others=GIB)})), now, "/d",
        THRESHOLDS,
    )  # fmt: skip
    assert found is not None
    edges = {shape.kind: sorted(set(heights(shape.path))) for shape in found.shapes}
    expected = {"used": (0, 2), "others": (2, 3), "unaccounted": (3, 4), "reserved": (4, 5)}
    for kind, (low, high) in expected.items():
        assert edges[kind] == [round(y_of(high * GIB), 1), round(y_of(low * GIB), 1)]
    assert [(mark.kind, round(mark.y, 1)) for mark in found.marks] == [
        ("readonly", round(y_of(9 * GIB), 1)),
        ("shed", round(y_of(8 * GIB), 1)),
        ("pressure", round(y_of(7 * GIB), 1)),
    ]
    assert "4.0 GiB of 10.0 GiB used, 1.0 GiB reserved, 1.0 GiB unaccounted" in found.description


def test_labels_of_near_thresholds_do_not_cover_each_other() -> None:
    """Goal: on a large volume, whose caps lie close together, each label can be read. Method: thresholds of 3, 2 and
    1 GiB on 10 TiB.
    """
    large = volume(0, size=10 * 1024 * GIB)
    found = plots.volume_plot("v", "Space", span(Point(5.0, {"/d": large})), 5.0, "/d", THRESHOLDS)
    assert found is not None
    labels = [mark.label_y for mark in found.marks]
    assert all(below - above >= plots.LABEL_GAP for above, below in pairwise(labels))


def test_a_volume_that_was_gone_leaves_a_gap() -> None:
    """Goal: the plot does not draw what nobody saw. Method: points, a minute without the volume, points; and none."""
    points = [Point(float(at), {"/d": volume(GIB)} if not 20 <= at < 80 else {}) for at in range(100)]
    found = plots.volume_plot("v", "Space", span(*points), 100.0, "/d", ())
    assert found is not None
    assert found.shapes[0].path.count("M") == 2
    assert plots.volume_plot("v", "Space", span(*points), 100.0, "/other", ()) is None


def test_bars_count_each_upload_once_and_stand_still() -> None:
    """Goal: sums are right and a bar does not change as time goes on. Method: 3 taken and 2 refused in one second,
    looked at now and 4 seconds later, within one bar's ten.
    """
    points = (Point(1000.0), Point(1001.0, uploads=3, upload_refusals=2), Point(1002.0, uploads=3, upload_refusals=2))
    early = plots.uploads_plot("u", "Uploads", span(*points), 1003.0)
    late = plots.uploads_plot("u", "Uploads", span(*points), 1007.0)
    assert early.shapes == late.shapes
    assert "3 uploads taken and 2 refused" in early.description
    assert [shape.path.count("M") for shape in early.shapes] == [1, 1]
    assert [tick.label for tick in early.y_ticks] == ["0", "5", "10"]
