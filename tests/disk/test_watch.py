"""The watch over a real small volume: its states, its trouble, its ballast."""

import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from entrepot.disk import faults, fs
from entrepot.disk.state import State
from entrepot.disk.watch import NEAR_TICK_S, TICK_S, Volumes, Watch
from entrepot.model.errors import Refusal
from entrepot.model.limits import MIB
from entrepot.observe import metrics
from entrepot.observe.clock import FixedClock
from entrepot.settings import DiskSettings
from entrepot.storage.folder import FolderStore
from tests.disk.mounts import loop_ext4, make_ext4, needs_root, open_descriptors, tmpfs
from tests.support.guarded import guarded

pytestmark = [needs_root, pytest.mark.serial]

SIZE = 32 * MIB
SETTINGS = DiskSettings()


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """An empty tmpfs."""
    with tmpfs(tmp_path / "volume", size_bytes=SIZE, inodes=640) as mounted:
        yield mounted
    fs.set_hook(None)


@pytest.fixture
def clock() -> FixedClock:
    """Time that stands still."""
    return FixedClock()


@pytest.fixture
def watch(folder: Path, clock: FixedClock) -> Iterator[Watch]:
    """A watch without a thread: the test ticks. What threads share is touched under its lock: the machine and the
    figures under the watch's own, the ballast under the ledger's."""
    made = Volumes(SETTINGS, clock).add(folder, "blobs")
    with (
        guarded(made, "_lock", {"_pressure", "_now", "_told", "_errors", "_waiting"}),
        guarded(made, "ledger._lock", {"_ballast"}, free={"status"}),
    ):
        yield made


def fill(folder: Path, leave_bytes: int = 0) -> Path:
    """Another process takes all but so much."""
    now = fs.statvfs(folder)
    filler = folder / "filler"
    with filler.open("wb") as file:
        file.write(bytes(max(0, now.f_bavail * now.f_frsize - leave_bytes)))
    return filler


def refused(watch: Watch, need_bytes: int = MIB) -> Refusal:
    """The refusal of an upload."""
    with pytest.raises(Refusal) as caught:
        watch.ledger.reserve(need_bytes)
    return caught.value


def state_of(watch: Watch) -> State:
    """Its state now; a function, because a checker takes an attribute for what it was before."""
    return watch.state


def test_uploads_never_take_what_is_below_readonly(watch: Watch) -> None:
    """Goal: uploads alone cannot bring a volume to READONLY. Method: reserve until refused; look at the state."""
    held = [watch.ledger.reserve(MIB) for _ in range((SIZE - SIZE // 32 - SIZE // 16) // MIB)]
    assert refused(watch).code == "no_room"
    watch.tick()
    assert state_of(watch) is State.SHED
    status = watch.status()
    assert status.available_bytes - status.thresholds.readonly_bytes < MIB
    for each in held:
        each.release()


def test_full_refuses_uploads_and_not_indexes(watch: Watch, folder: Path, clock: FixedClock) -> None:
    """Goal: at the very admission after another process filled the volume, uploads are refused and indexes are
    written; with room again it takes a minute of good samples. Method: fill to one mebibyte."""
    watch.ledger.reserve(MIB).release()
    filler = fill(folder, MIB)
    answer = refused(watch, 1)
    assert (answer.code, answer.numbers["volume"]) == ("no_room", str(folder))
    assert {"needed_bytes", "available_bytes"} <= set(answer.numbers)
    assert "entrepot gc" in answer.detail
    assert state_of(watch) is State.READONLY
    watch.ledger.reserve(MIB // 2, from_floor=True).release()
    filler.unlink()
    for _ in range(59):
        clock.advance(1.0)
        watch.tick()
        assert refused(watch).code == "no_room"
    clock.advance(2.0)
    watch.tick()
    assert state_of(watch) is State.OK
    watch.ledger.reserve(MIB).release()


def test_reclaim_is_asked_for(folder: Path, clock: FixedClock) -> None:
    """Goal: a volume that fills up starts a reclaim pass now. Method: fill below PRESSURE, tick."""
    volumes = Volumes(SETTINGS, clock)
    watch = volumes.add(folder, "blobs")
    asked: list[State] = []
    volumes.on_reclaim.append(lambda: asked.append(watch.state))
    assert not volumes.pressed()
    filler = fill(folder, SIZE // 5)
    watch.tick()
    assert asked == [State.PRESSURE]
    assert volumes.pressed()
    filler.unlink()


def test_a_failed_sync_breaks_until_a_trial(watch: Watch, clock: FixedClock) -> None:
    """Goal: after a failed fsync nothing is admitted, whatever the volume says of its room, until a new file could be
    written and synced after a pause. Method: EIO as the store reports it; ticks before and after the pause, the
    first trial failing too."""
    watch.failed(OSError(5, "Input/output error"), writing=True)
    assert refused(watch).code == "storage_failed"
    with pytest.raises(Refusal):
        watch.ledger.reserve(1, from_floor=True)
    seen: list[str] = []

    def see(call: str, counter: int, args: tuple[object, ...]) -> None:
        seen.append(call)

    fs.set_hook(faults.all_of([see, faults.Rule("fsync", 1, "EIO")]))
    before = open_descriptors()
    clock.advance(SETTINGS.probe_s - 1)
    watch.tick()
    assert "fsync" not in seen
    clock.advance(1.0)
    watch.tick()
    assert (watch.state, seen.count("fsync")) == (State.BROKEN, 1)
    clock.advance(SETTINGS.probe_s)
    watch.tick()
    assert (watch.state, seen.count("fsync")) == (State.OK, 2)
    watch.ledger.reserve(MIB).release()
    assert watch.status().errors == {"EIO": 2}
    assert open_descriptors() == before, "a trial that fails leaves nothing open"


def test_a_trial_without_room_ends_as_full(watch: Watch, clock: FixedClock) -> None:
    """Goal: a broken volume that answers again, and has no room, is full and not broken. Method: its trial meets
    ENOSPC."""
    watch.failed(OSError(5, "Input/output error"), writing=True)
    fs.set_hook(faults.Rule("write", 1, "ENOSPC"))
    clock.advance(SETTINGS.probe_s)
    watch.tick()
    assert state_of(watch) is State.READONLY


def test_samples_come_faster_near_a_limit(watch: Watch, folder: Path) -> None:
    """Goal: what one second of uploads could fill is looked at ten times a second. Method: the pause with room, near
    PRESSURE, and in it."""
    assert watch._pause_s() == TICK_S
    filler = fill(folder, SIZE // 4 + MIB // 2)
    watch.tick()
    assert (state_of(watch), watch._pause_s()) == (State.OK, NEAR_TICK_S)
    with filler.open("ab") as file:
        file.write(bytes(4 * MIB))
    watch.tick()
    assert (state_of(watch), watch._pause_s()) == (State.PRESSURE, NEAR_TICK_S)


def test_a_sync_that_fails_is_over(watch: Watch, clock: FixedClock) -> None:
    """Goal: a call that came back with an error does not count as one that hangs, and its time is measured. Method:
    an fsync that fails after a second; then a long time."""

    def fail() -> None:
        with watch.syncing():
            clock.advance(1.0)
            raise OSError(5, "Input/output error")

    with pytest.raises(OSError, match="Input"):
        fail()
    clock.advance(SETTINGS.stall_s + 1)
    assert (state_of(watch), watch.hung_s()) == (State.OK, 0.0)
    samples = [each for metric in metrics.fsync_seconds.collect() for each in metric.samples]
    spent_s = [
        each.value for each in samples if each.name.endswith("_sum") and watch.volume.name in each.labels.values()
    ]
    assert spent_s == [1.0]


def test_a_failed_read_breaks_nothing(watch: Watch) -> None:
    """Goal: one bad sector under one package does not stop uploads; it is counted. Method: EIO of a read."""
    watch.failed(OSError(5, "Input/output error"), writing=False)
    assert (watch.state, watch.status().errors) == (State.OK, {"EIO": 1})


def test_a_stalled_sync_breaks(watch: Watch, clock: FixedClock) -> None:
    """Goal: an fsync that does not come back is noticed by whoever asks, though no sample comes through. Method: a
    thread inside a sync; 21 s pass; it returns; a trial."""
    inside, end = threading.Event(), threading.Event()

    def hang() -> None:
        with watch.syncing():
            inside.set()
            end.wait(60)

    thread = threading.Thread(target=hang)
    thread.start()
    inside.wait(60)
    clock.advance(SETTINGS.stall_s - 1)
    assert state_of(watch) is State.OK
    clock.advance(2.0)
    assert watch.hung_s() == SETTINGS.stall_s + 1
    assert state_of(watch) is State.BROKEN
    assert refused(watch).code == "storage_failed"
    clock.advance(SETTINGS.probe_s + 1)
    watch.tick()
    assert state_of(watch) is State.BROKEN, "no trial beside a call that hangs"
    end.set()
    thread.join()
    assert watch.hung_s() == 0
    clock.advance(SETTINGS.probe_s + 1)
    watch.tick()
    assert state_of(watch) is State.OK


@pytest.mark.parametrize("call", ["open_tmpfile", "fallocate", "write", "sync_file_range", "link_fd", "listdir"])
def test_a_call_that_hangs_breaks(watch: Watch, folder: Path, clock: FixedClock, call: str) -> None:
    """Goal: a disk that hangs in another call than fsync is noticed too, and who comes next is refused and does not
    wait behind it for the ledger's lock. Method: each call on an upload's way hangs once, and that of the watch's own
    look at the ballast; 21 s pass; a reservation; it comes back; a trial. Seen to fail with fsync alone timed."""
    inside, end = threading.Event(), threading.Event()

    def hook(name: str, _nth: int, _args: tuple[object, ...]) -> None:
        if name == call and not inside.is_set() and threading.current_thread() is thread:
            inside.set()
            end.wait(60)

    def work() -> None:
        if call == "listdir":
            watch.tick()
            return
        with store.stage(9 * MIB) as staged:
            staged.write(bytes(9 * MIB))
            staged.commit("0" * 64)

    with FolderStore(folder, watch.ledger) as store:
        thread = threading.Thread(target=work)
        fs.set_hook(hook)
        try:
            thread.start()
            assert inside.wait(60)
            clock.advance(SETTINGS.stall_s + 1)
            assert state_of(watch) is State.BROKEN
            assert refused(watch).code == "storage_failed"
        finally:
            end.set()
            thread.join()
            fs.set_hook(None)
    clock.advance(SETTINGS.probe_s + 1)
    watch.tick()
    assert state_of(watch) is State.OK


def test_read_only_and_back(watch: Watch, folder: Path, clock: FixedClock) -> None:
    """Goal: a volume that turns read-only is noticed without a failing upload, and its return too. Method: remount."""
    subprocess.run(["mount", "-o", "remount,ro", folder], check=True)
    watch.tick()
    assert (watch.state, refused(watch).code) == (State.BROKEN, "storage_failed")
    assert "read-only" in watch.status().cause
    subprocess.run(["mount", "-o", "remount,rw", folder], check=True)
    clock.advance(SETTINGS.probe_s)
    watch.tick()
    assert state_of(watch) is State.OK


def test_a_volume_that_vanishes(tmp_path: Path, clock: FixedClock) -> None:
    """Goal: after an unmount nothing is written to what lies below the mount point. Method: umount --lazy."""
    place = tmp_path / "gone"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "entrepot-test", place], check=True)
    try:
        watch = Volumes(SETTINGS, clock).add(place, "blobs")
        watch.ledger.reserve(MIB).release()
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)
    watch.tick()
    assert (watch.state, refused(watch).code) == (State.BROKEN, "storage_failed")
    clock.advance(SETTINGS.probe_s * 2)
    watch.tick()
    assert state_of(watch) is State.BROKEN
    assert list(place.iterdir()) == []


def test_two_folders_of_one_volume_share_a_watch(folder: Path, tmp_path: Path, clock: FixedClock) -> None:
    """Goal: one ledger per file system, one status per volume. Method: two folders on it, one elsewhere."""
    (folder / "blobs").mkdir()
    volumes = Volumes(SETTINGS, clock)
    assert volumes.add(folder, "catalog") is volumes.add(folder / "blobs", "blobs")
    other = volumes.add(tmp_path, "scratch")
    assert [(each.uses, each.shared) for each in volumes.all()] == [
        (("catalog", "blobs"), False),
        (("scratch",), True),
    ]
    assert volumes.watch_of("scratch") is other
    volumes.watch_of("catalog").failed(OSError(28, "No space left on device"), writing=True)
    assert volumes.worst() is State.READONLY
    other.ledger.reserve(1).release()  # a volume's state refuses only work that writes to it


def test_full_scratch_slows_no_uploads(folder: Path, tmp_path: Path, clock: FixedClock) -> None:
    """Goal: a volume that uploads do not write costs them none of their slots. Method: scratch on a volume of its own
    finds no room, then the volume of the packages. Seen to fail when any volume counted."""
    volumes = Volumes(SETTINGS, clock)
    full = OSError(28, "No space left on device")
    scratch, blobs = volumes.add(tmp_path, "scratch"), volumes.add(folder, "blobs")
    scratch.failed(full, writing=True)
    assert (volumes.worst(), volumes.pressed()) == (State.READONLY, False)
    blobs.failed(full, writing=True)
    assert volumes.pressed()


def test_a_clock_that_jumps_ends_no_state(watch: Watch, clock: FixedClock) -> None:
    """Goal: setting the wall clock neither opens a full volume early nor keeps it closed. Method: READONLY; a day
    forth, two back; then the time of leaving."""
    watch.failed(OSError(28, "No space left on device"), writing=True)
    for now in (clock.now() + 86_400, clock.now() - 86_400):
        clock.set(now)
        watch.tick()
        assert refused(watch).code == "no_room"
    clock.advance(SETTINGS.leave_s)
    watch.tick()
    assert state_of(watch) is State.OK


# ------------------------------------------------------------------ ballast


def test_ballast_is_made_where_it_fits(watch: Watch, folder: Path) -> None:
    """Goal: the ballast is there when four times its size is available, and counts as used. Method: an empty volume;
    one with little left."""
    held = watch.status().ballast_bytes
    assert held == SIZE // 32
    assert len(list((folder / "ballast").iterdir())) == 1 + 640 // 64
    for path in (folder / "ballast").iterdir():
        path.unlink()
    filler = fill(folder, 3 * held)
    watch.tick()
    assert watch.status().ballast_bytes == 0
    filler.unlink()


def test_ballast_deleted_by_hand_is_made_again(watch: Watch, folder: Path) -> None:
    """Goal: somebody who needs room takes the ballast; that is seen, and mended later. Method: delete it, tick."""
    held = watch.status().ballast_bytes
    (folder / "ballast" / "bytes").unlink()
    watch.tick()
    assert watch.status().ballast_bytes == held
    assert (folder / "ballast" / "bytes").stat().st_blocks * 512 == held


def test_a_ballast_that_fails_leaves_nothing_open(watch: Watch, folder: Path) -> None:
    """Goal: trouble with the ballast costs no descriptor and ends nothing. Method: it cannot be allocated, then it
    cannot be cut."""
    before = open_descriptors()
    held = watch.status().ballast_bytes
    (folder / "ballast" / "bytes").unlink()
    fs.set_hook(faults.Rule("fallocate", 1, "EIO"))
    watch.tick()
    assert watch.status().ballast_bytes == 0
    watch.tick()
    assert watch.status().ballast_bytes == held
    fs.set_hook(faults.Rule("ftruncate", 1, "EIO"))
    with watch.ledger.lock:
        assert watch.give(4096, 0) is False
        assert watch.give(4096, 0) is True
    assert watch.status().ballast_bytes < held
    assert open_descriptors() == before


def test_a_start_without_room_gives_way_to_the_catalog(watch: Watch, folder: Path) -> None:
    """Goal: at a start on a full volume half of the ballast makes room for the catalog's log; with room none does.
    Method: ask before and after it is filled; then an error that is vital takes a mebibyte more."""
    held = watch.status().ballast_bytes
    watch.make_way()
    assert watch.status().ballast_bytes == held
    fill_up(folder)
    watch.tick()
    watch.make_way()
    half = watch.status().ballast_bytes
    assert 0 < half <= held // 2
    watch.failed(OSError(28, "No space left on device"), writing=True, vital=True)
    assert watch.status().ballast_bytes < half


@pytest.mark.parametrize("kind", ["tmpfs", "ext4"])
def test_at_zero_bytes_an_index_finds_room(tmp_path: Path, clock: FixedClock, kind: str) -> None:
    """Goal: on a volume that another process filled to the last byte, an index can be written, again and again while
    the ballast lasts; an upload cannot. Method: fill; allocate files out of the floor. Without the ballast (the
    second round) the same fails."""
    place = tmp_path / kind
    if kind == "ext4":
        make_ext4(tmp_path / "image", SIZE)
        mounted = loop_ext4(tmp_path / "image", place)
    else:
        mounted = tmpfs(place, size_bytes=SIZE, inodes=640)
    with mounted as folder:
        watch = Volumes(SETTINGS, clock).add(folder, "blobs")
        held = watch.status().ballast_bytes
        assert held >= MIB // 2
        fill_up(folder)
        assert refused(watch, 1).code == "no_room"
        dir_fd = fs.open_dir(folder)
        need = 64 * 1024
        for _ in range(3):
            with watch.ledger.reserve(need, from_floor=True) as reservation:
                fd = reservation.create(lambda: fs.open_tmpfile(dir_fd), need)
                fs.write_all(fd, b"i" * need)
                fs.fsync(fd)
                name = f"index-{_}"
                fs.link_fd(fd, name, dst_dir_fd=dir_fd)
                fs.close(fd)
        assert watch.status().ballast_bytes <= held - 3 * need
        (folder / "ballast" / "bytes").unlink()
        fill_up(folder, "filler-2")
        watch.tick()
        with pytest.raises(Refusal, match="no_room"):
            watch.ledger.reserve(need, from_floor=True)
        fs.close(dir_fd)


def fill_up(folder: Path, name: str = "filler") -> None:
    """Take every block, as root would (ext4 keeps some for it) and as others would."""
    with (folder / name).open("wb", buffering=0) as file:
        for size in (MIB, 64 * 1024, 4096):
            try:
                while True:
                    file.write(b"x" * size)
            except OSError:
                continue


def test_without_an_inode_an_index_finds_one(watch: Watch, folder: Path) -> None:
    """Goal: the same for inodes. Method: use them all up; then make files out of the floor."""
    spare = folder / "spare"
    spare.mkdir()
    try:
        for number in range(10_000):
            (spare / str(number)).touch()
    except OSError:
        pass
    assert fs.statvfs(folder).f_favail == 0
    assert refused(watch, 1).code == "no_room"
    dir_fd = fs.open_dir(folder)
    for number in range(2):
        with watch.ledger.reserve(4096, from_floor=True) as reservation:
            fd = reservation.create(lambda: fs.open_tmpfile(dir_fd), 4096)
            fs.link_fd(fd, f"index-{number}", dst_dir_fd=dir_fd)
            fs.close(fd)
    fs.close(dir_fd)
