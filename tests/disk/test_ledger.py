"""The ledger: what it admits always fits, and everything comes back."""

import errno
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from entrepot.disk import faults, fs
from entrepot.disk.ledger import Floor, Ledger, Reservation, Snapshot, steps
from entrepot.disk.volume import Measure, Volume
from entrepot.model.errors import Refusal
from entrepot.model.limits import MIB
from tests.disk.mounts import needs_root, open_descriptors, tmpfs

NOTHING = Snapshot(0, 0, 0)
pytestmark = [needs_root, pytest.mark.serial]


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    with tmpfs(tmp_path / "small", size_bytes=8 * MIB, inodes=40) as folder:
        yield folder
    fs.set_hook(None)


def refusal(ledger: Ledger, need_bytes: int, need_inodes: int = 1) -> Refusal:
    with pytest.raises(Refusal) as caught:
        ledger.reserve(need_bytes, need_inodes)
    return caught.value


def test_measure(small: Path) -> None:
    """Goal: a volume's figures are those it was made with. Method: an empty tmpfs and one with a file."""
    volume = Volume(small)
    empty = volume.measure()
    assert (empty.size_bytes, empty.available_bytes, empty.inodes_total) == (8 * MIB, 8 * MIB, 40)
    (small / "f").write_bytes(bytes(MIB))
    full = volume.measure()
    assert (empty.available_bytes - full.available_bytes, full.used_bytes - empty.used_bytes) == (MIB, MIB)
    assert empty.inodes_free - full.inodes_free == 1
    assert volume.device == os.stat(small).st_dev


def test_unknown_inodes_are_not_none(monkeypatch: pytest.MonkeyPatch, small: Path) -> None:
    """Goal: a file system that counts no inodes (btrfs says 0 of 0) is not full. Method: statvfs with zeros there."""
    real = os.statvfs(small)
    values = [*real][:10]
    values[5:8] = [0, 0, 0]  # f_files, f_ffree, f_favail
    monkeypatch.setattr(fs, "statvfs", lambda path: os.statvfs_result(values))
    assert not Volume(small).measure().inodes_known
    Ledger(Volume(small)).reserve(MIB, 5).release()


def test_outstanding_reservations_count(small: Path) -> None:
    """Goal: what was promised to one is not promised to another, and comes back once. Method: two of 5 MiB on 8 MiB."""
    ledger = Ledger(Volume(small))
    with ledger.reserve(5 * MIB, 3) as first:
        assert ledger.snapshot() == Snapshot(5 * MIB, 3, 1)
        refused = refusal(ledger, 5 * MIB)
        assert refused.code == "no_room"
        assert refused.kind.status == 503
        assert refused.kind.retry_after_s
        assert refused.numbers["needed_bytes"] == 5 * MIB
        assert refused.numbers["available_bytes"] == 3 * MIB
        first.release()
        first.release()
        assert ledger.snapshot() == NOTHING
        ledger.reserve(5 * MIB).release()
    assert ledger.snapshot() == NOTHING


def test_exact_fit_and_floor(small: Path) -> None:
    """Goal: the floor stays free, everything above it can be used to the byte. Method: one byte around the edge."""
    ledger = Ledger(Volume(small), floor_bytes=2 * MIB)
    ledger.reserve(6 * MIB).release()
    assert refusal(ledger, 6 * MIB + 1).code == "too_large_for_volume"
    (small / "f").write_bytes(bytes(MIB))
    assert refusal(ledger, 5 * MIB + 1).code == "no_room"
    ledger.reserve(5 * MIB).release()


def test_what_can_never_fit(small: Path) -> None:
    """Goal: 413, no retry, for a file above the whole volume, however empty. Method: one byte more than its size."""
    refused = refusal(Ledger(Volume(small)), 8 * MIB + 1)
    assert (refused.code, refused.kind.status, refused.kind.retry_after_s) == ("too_large_for_volume", 413, None)


def test_inodes_are_reserved_too(small: Path) -> None:
    """Goal: room for bytes is no room without inodes. Method: ask for one inode more than is left; then floor them."""
    free = Volume(small).measure().inodes_free
    ledger = Ledger(Volume(small), floor_inodes=2)
    with ledger.reserve(0, free - 3):
        ledger.reserve(0, 1).release()
        refused = refusal(ledger, 0, 2)
        assert refused.code == "no_room"
        assert refused.numbers["available_inodes"] == 1
    assert ledger.snapshot() == NOTHING


class SlowLedger(Ledger):
    """Takes its time between deciding and booking: without the lock, everybody decides before anybody books."""

    def _check(self, need_bytes: int, need_inodes: int, *, from_floor: bool = False) -> None:
        super()._check(need_bytes, need_inodes, from_floor=from_floor)
        time.sleep(0.005)


def test_sixteen_at_once_never_share_a_byte(small: Path) -> None:
    """Goal: concurrent reservations never exceed what is free. Method: 16 threads, 1 MiB each, nothing written, 8
    fit."""
    ledger = SlowLedger(Volume(small))
    start = threading.Barrier(16)
    codes: list[str] = []

    def one(_: int) -> Reservation | None:
        start.wait()
        try:
            return ledger.reserve(MIB, 1)
        except Refusal as error:
            codes.append(error.code)
            return None

    with ThreadPoolExecutor(16) as pool:
        held = [each for each in pool.map(one, range(16)) if each is not None]
    assert len(held) == 8
    assert codes == ["no_room"] * 8
    for each in held:
        each.release()
    assert ledger.snapshot() == NOTHING


def test_materialised_bytes_are_counted_once(small: Path) -> None:
    """Goal: allocated bytes leave the ledger as they appear on the volume, never twice, never not at all. Method: free
    space as a newcomer sees it, before, in between and after."""
    ledger, folder = Ledger(Volume(small)), fs.open_dir(small)

    def free() -> int:
        return ledger.volume.measure().available_bytes - ledger.snapshot().outstanding_bytes

    with ledger.reserve(4 * MIB, 2) as held:
        assert free() == 4 * MIB
        fd = held.create(lambda: fs.open_tmpfile(folder), 3 * MIB)
        assert ledger.snapshot() == Snapshot(MIB, 1, 1)
        assert free() == 4 * MIB
        held.grow(2 * MIB)
        held.materialise(fd, 2 * MIB, offset_bytes=3 * MIB)
        assert ledger.snapshot() == Snapshot(MIB, 1, 1)
        assert free() == 2 * MIB
    assert free() == 3 * MIB
    fs.close(fd)
    fs.close(folder)
    assert free() == 8 * MIB
    with pytest.raises(RuntimeError, match="released"):
        held.grow(1)


def test_growth_stops_at_the_edge(small: Path) -> None:
    """Goal: a body of unknown length is stopped by its own step, and gives all of it back. Method: steps until
    refused."""
    assert [size // MIB for size, _ in zip(steps(), range(9), strict=False)] == [1, 2, 4, 8, 16, 32, 64, 64, 64]
    ledger = Ledger(Volume(small))
    with ledger.reserve(0, 1) as held:
        sizes = steps()
        for _ in range(3):
            held.grow(next(sizes))
        with pytest.raises(Refusal) as caught:
            held.grow(next(sizes))
        assert caught.value.code == "no_room"
        assert ledger.snapshot().outstanding_bytes == 7 * MIB
    assert ledger.snapshot() == NOTHING


@pytest.mark.parametrize(
    ("call", "number", "code"),
    [
        ("fallocate", "ENOSPC", "no_room"),
        ("fallocate", "EDQUOT", "no_room"),
        ("fallocate", "EIO", "storage_failed"),
        ("open_tmpfile", "ENOSPC", "no_room"),
        ("open_tmpfile", "EMFILE", "busy"),
        ("open_tmpfile", "EROFS", "storage_failed"),
    ],
)
def test_failed_creation_leaves_nothing(small: Path, call: str, number: str, code: str) -> None:
    """Goal: a file that cannot be made is a refusal of the table, with nothing open. Method: fail each call of it."""
    ledger, folder = Ledger(Volume(small)), fs.open_dir(small)
    descriptors, used = open_descriptors(), ledger.volume.measure()
    fs.set_hook(faults.Rule(call, 1, number))
    with pytest.raises(Refusal) as caught, ledger.reserve(MIB, 1) as held:
        held.create(lambda: fs.open_tmpfile(folder), MIB)
    assert caught.value.code == code
    assert (open_descriptors(), ledger.volume.measure(), ledger.snapshot()) == (descriptors, used, NOTHING)
    fs.close(folder)


def test_file_system_without_fallocate(small: Path) -> None:
    """Goal: where nothing can be allocated ahead, the ledger itself keeps the promise. Method: EOPNOTSUPP from
    fallocate."""
    ledger, folder = Ledger(Volume(small)), fs.open_dir(small)
    fs.set_hook(faults.Rule("fallocate", 1, errno.errorcode[errno.EOPNOTSUPP], on=True))
    with ledger.reserve(5 * MIB, 1) as held:
        fs.close(held.create(lambda: fs.open_tmpfile(folder), 5 * MIB))
        assert ledger.snapshot().outstanding_bytes == 5 * MIB
        assert refusal(ledger, 4 * MIB).code == "no_room"
    assert ledger.snapshot() == NOTHING
    fs.close(folder)


def test_a_volume_that_cannot_be_measured(small: Path) -> None:
    """Goal: no measure, no admission. Method: EIO from statvfs."""
    ledger = Ledger(Volume(small))
    fs.set_hook(faults.Rule("statvfs", 1, "EIO"))
    assert refusal(ledger, 1).code == "storage_failed"
    assert ledger.snapshot() == NOTHING


class Giving:
    """A gate that lets everything in and counts what ballast it was asked for."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, int]] = []

    def check(self) -> None:
        """As :class:`~entrepot.disk.ledger.Gate`."""

    def admit(self, now: Measure, reserved_bytes: int, reserved_inodes: int) -> Floor:
        """As :class:`~entrepot.disk.ledger.Gate`."""
        return Floor()

    def give(self, need_bytes: int, need_inodes: int) -> bool:
        """As :class:`~entrepot.disk.ledger.Gate`."""
        self.asked.append((need_bytes, need_inodes))
        return True


@pytest.mark.parametrize("call", ["open_tmpfile", "fallocate"])
def test_an_index_gets_ballast_when_the_volume_has_less_than_it_says(small: Path, call: str) -> None:
    """Goal: xfs answers ENOSPC with bytes still available; an index must not fail for that. Method: ENOSPC once from
    each call of a file's making, with room measured; an upload is refused, an index is written. Seen to fail without
    the second try."""
    gate = Giving()
    ledger, folder = Ledger(Volume(small), gate=gate), fs.open_dir(small)
    for vital in (False, True):
        fs.set_hook(faults.Rule(call, 1, "ENOSPC"))
        with ledger.reserve(MIB, 1, from_floor=vital) as held:
            if vital:
                fs.close(held.create(lambda: fs.open_tmpfile(folder), MIB))
            else:
                with pytest.raises(Refusal, match="no_room"):
                    held.create(lambda: fs.open_tmpfile(folder), MIB)
        assert len(gate.asked) == vital
    assert ledger.snapshot() == NOTHING
    fs.close(folder)


def test_the_floor_is_for_indexes(tmp_path: Path) -> None:
    """Goal: what the floor keeps from uploads can be reserved for an index. Method: a floor as large as the room."""
    volume = Volume(tmp_path)
    now = volume.measure()
    ledger = Ledger(volume, floor_bytes=now.available_bytes - 1024**2, floor_inodes=0)
    with pytest.raises(Refusal) as refused:
        ledger.reserve(64 * 1024**2)
    assert refused.value.code in ("no_room", "too_large_for_volume")
    with ledger.reserve(64 * 1024**2, from_floor=True) as reservation:
        assert reservation.outstanding_bytes == 64 * 1024**2


def created(reservation: Reservation) -> None:
    """A file made out of a reservation, and closed."""
    folder = os.open(reservation._ledger.volume.path, os.O_RDONLY)
    try:
        os.close(reservation.create(lambda: fs.open_tmpfile(folder), 4096))
    finally:
        os.close(folder)


def materialised(reservation: Reservation) -> None:
    """More of a file that exists, out of a reservation."""
    fd = os.open(reservation._ledger.volume.path / "grown", os.O_RDWR | os.O_CREAT)
    try:
        reservation.materialise(fd, 4096)
    finally:
        os.close(fd)


CHANGES: dict[str, Callable[[Reservation], object]] = {
    "reserve": lambda reservation: reservation._ledger.reserve(1),
    "keep": lambda reservation: reservation._ledger.keep(0),
    "grow": lambda reservation: reservation.grow(1),
    "create": created,
    "materialise": materialised,
    "release": lambda reservation: reservation.release(),
}


@pytest.mark.parametrize("name", list(CHANGES))
def test_every_change_of_the_books_waits_its_turn(small: Path, name: str) -> None:
    """Goal: no two changes are made at once, or sums are lost. Method: the lock is held while a thread makes one: it
    waits, and is done once the lock is free.
    """
    ledger = Ledger(Volume(small))
    reservation = ledger.reserve(MIB)
    change = threading.Thread(target=CHANGES[name], args=(reservation,))
    with ledger._lock:
        change.start()
        change.join(0.3)
        assert change.is_alive()
    change.join(20)
    assert not change.is_alive()


def test_what_is_attached_is_released_together(small: Path) -> None:
    """Goal: room on another volume for the same upload does not outlive it. Method: two ledgers, one release."""
    packages, catalog = Ledger(Volume(small)), Ledger(Volume(small))
    reservation = packages.reserve(MIB)
    reservation.attach(catalog.reserve(MIB))
    reservation.release()
    assert (packages.snapshot(), catalog.snapshot()) == (NOTHING, NOTHING)
