"""Windows: what lies in an end is read, anything else raises."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrepot.streams.errors import Damaged, OutsideWindow
from entrepot.streams.window import Window

DATA = bytes(range(100))


def _read_at(offset: int, length: int) -> bytes:
    return DATA[offset : offset + length]


@given(st.integers(0, 120), st.integers(0, 120), st.integers(0, 100), st.integers(0, 100))
def test_both_kinds_of_window_agree(head: int, tail: int, offset: int, length: int) -> None:
    """Goal: over a descriptor and over memory, the same reads answer and the same raise. Method: all shapes and
    ranges."""
    over_file = Window(100, _read_at, head_bytes=head, tail_bytes=tail)
    in_memory = Window.of_ends(100, DATA[:head], DATA[max(0, 100 - tail) :])
    inside = offset + length <= 100
    reachable = length == 0 or all(at < head or at >= 100 - tail for at in range(offset, offset + length))
    one_piece = offset + length <= head or offset >= 100 - tail or head + tail >= 100 or length == 0
    for window in (over_file, in_memory):
        if not inside:
            with pytest.raises(Damaged):
                window.read(offset, length)
        elif reachable and one_piece:
            assert window.read(offset, length) == DATA[offset : offset + length]
        else:
            with pytest.raises(OutsideWindow):
                window.read(offset, length)


def test_negative_ranges() -> None:
    """Goal: a negative size out of a hostile header never reaches a read. Method: both arguments."""
    for offset, length in ((-1, 2), (0, -1)):
        with pytest.raises(Damaged):
            Window.of_bytes(DATA).read(offset, length)


def test_a_file_that_shrank() -> None:
    """Goal: fewer bytes than the file had are damage, not a short read. Method: a source that ends early."""
    with pytest.raises(Damaged):
        Window(200, _read_at).read(50, 100)


def test_range_reader() -> None:
    """Goal: sequential reads give one range and stop at its end. Method: 7 bytes at a time."""
    reader = Window.of_bytes(DATA).reader(10, 30)
    parts = []
    while part := reader.read(7):
        parts.append(part)
    assert b"".join(parts) == DATA[10:40]


def test_ends_longer_than_the_file() -> None:
    """Goal: a store that hands over a wrong end is stopped. Method: a head of 101 bytes of 100."""
    with pytest.raises(ValueError, match="longer"):
        Window.of_ends(100, bytes(101))
