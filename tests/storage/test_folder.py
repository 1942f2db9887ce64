"""The folder store: the contract in both ways to stage, and what is its own."""

import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from entrepot.disk import faults, fs
from entrepot.disk.ledger import Ledger, Snapshot
from entrepot.disk.volume import Volume
from entrepot.model.errors import Refusal
from entrepot.storage.folder import FolderStore
from tests.disk.mounts import needs_root, open_descriptors, tmpfs
from tests.storage.contract import MIB, BlobStoreContract, everything, get, put


class TestContract(BlobStoreContract):
    """Every test of the contract, with O_TMPFILE and with the fallback."""


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    with tmpfs(tmp_path / "small", size_bytes=8 * MIB) as folder:
        yield folder
        fs.set_hook(None)


def test_layout(store: FolderStore) -> None:
    """Goal: 256 folders from the first moment, a copy in the one its key names, readable only by name. Method: look."""
    shards = sorted(os.listdir(store.folder / "blobs"))
    assert shards == [f"{n:02x}" for n in range(256)]
    key = put(store, b"x")
    assert (store.folder / "blobs" / key[:2] / key).read_bytes() == b"x"
    assert sorted(os.listdir(store.folder)) == ["blobs", "incoming"]


def test_copies_spread_over_all_folders(store: FolderStore) -> None:
    """Goal: runs of commits share a folder, yet all fill alike. Method: the keys of 256 × 64 commits."""
    shards = Counter(store._new_key()[:2] for _ in range(256 * 64))
    assert set(shards.values()) == {64}


def test_a_second_start_finds_everything(store: FolderStore) -> None:
    """Goal: what one process stored, the next one reads. Method: open the same folder again."""
    key = put(store, b"kept")
    with FolderStore(store.folder, store.ledger) as again:
        assert get(again, key) == b"kept"


def test_a_folder_on_another_volume(tmp_path: Path) -> None:
    """Goal: a ledger of one volume never admits bytes to another. Method: a ledger of /dev/shm."""
    with pytest.raises(ValueError, match="volume"):
        FolderStore(tmp_path, Ledger(Volume("/dev/shm")))


def test_what_a_file_system_lacks_is_said(tmp_path: Path) -> None:
    """Goal: an operator on NFS reads at the start what is weaker there. Method: the calls fail as they do there."""
    with FolderStore(tmp_path, Ledger(Volume(tmp_path))) as store:
        assert list(store.limits) == []
    fs.set_hook(faults.all_of([faults.Rule(call, 1, "EOPNOTSUPP", on=True) for call in ("open_tmpfile", "fallocate")]))
    try:
        with FolderStore(tmp_path, Ledger(Volume(tmp_path))) as store:
            said = " ".join(store.limits)
            assert "O_TMPFILE" in said
            assert "fallocate" in said
            key = put(store, b"all the same")
            assert get(store, key) == b"all the same"
    finally:
        fs.set_hook(None)
    assert list((tmp_path / "incoming").iterdir()) == []


@pytest.mark.parametrize(
    ("call", "number"), [("open_tmpfile", "EOPNOTSUPP"), ("open_tmpfile", "EISDIR"), ("link_fd", "ENOENT")]
)
def test_fallback_is_found_by_probing(tmp_path: Path, call: str, number: str) -> None:
    """Goal: a kernel without O_TMPFILE, or a container without /proc, gets the fallback. Method: fail the probe's
    calls."""
    fs.set_hook(faults.Rule(call, 1, number, on=True))
    try:
        with FolderStore(tmp_path, Ledger(Volume(tmp_path))) as store:
            assert not store.uses_tmpfile
            assert get(store, put(store, b"x")) == b"x"
    finally:
        fs.set_hook(None)


def test_a_full_volume_at_start_is_no_reason_for_the_fallback(tmp_path: Path) -> None:
    """Goal: a store on a full volume opens, and reads and deletes. Method: ENOSPC at the probe."""
    with FolderStore(tmp_path, Ledger(Volume(tmp_path))) as store:
        key = put(store, b"x")
    fs.set_hook(faults.Rule("open_tmpfile", 1, "ENOSPC", on=True))
    try:
        with FolderStore(tmp_path, Ledger(Volume(tmp_path))) as store:
            assert store.uses_tmpfile
            assert get(store, key) == b"x"
            assert store.delete(key)
    finally:
        fs.set_hook(None)


HOLD = """
import sys
from entrepot.disk.ledger import Ledger
from entrepot.disk.volume import Volume
from entrepot.storage.folder import FolderStore
store = FolderStore(sys.argv[1], Ledger(Volume(sys.argv[1])), use_tmpfile=False)
staged = store.stage(100000)
staged.write(b"x" * 50000)
print("staged", flush=True)
sys.stdin.read()
"""


def test_reaper_takes_only_from_the_dead(tmp_path: Path) -> None:
    """Goal: what a killed process left goes, what a living one holds stays. Method: two processes in the fallback, one
    killed."""
    with FolderStore(tmp_path, Ledger(Volume(tmp_path)), use_tmpfile=False) as store:
        pair = [
            subprocess.Popen([sys.executable, "-c", HOLD, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            for _ in "ab"
        ]
        for each in pair:
            assert each.stdout is not None
            assert each.stdout.readline() == b"staged\n"
        assert len(os.listdir(tmp_path / "incoming")) == 2
        descriptors = open_descriptors()
        assert store.reap() == 0
        pair[0].kill()
        pair[0].communicate()
        assert store.reap() == 1
        assert len(os.listdir(tmp_path / "incoming")) == 1
        assert open_descriptors() == descriptors - 2, "the pipes of the dead one"
        pair[1].kill()
        pair[1].communicate()
    with FolderStore(tmp_path, Ledger(Volume(tmp_path)), use_tmpfile=False):
        assert os.listdir(tmp_path / "incoming") == []


def test_the_reaper_leaves_alone_what_is_not_ours(tmp_path: Path) -> None:
    """Goal: only files of the shape that we make are removed, and nothing makes the reaper hang. Method: other names;
    a folder, a link and a pipe under names of ours."""
    with FolderStore(tmp_path, Ledger(Volume(tmp_path)), use_tmpfile=False) as store:
        incoming = tmp_path / "incoming"
        (incoming / "notes.txt").write_text("mine")
        (incoming / ("a" * 32)).mkdir()
        (incoming / ("b" * 32)).symlink_to("/etc/hostname")
        os.mkfifo(incoming / ("c" * 32))
        assert store.reap() == 0
        assert len(list(incoming.iterdir())) == 4
        (incoming / ("d" * 32)).write_text("left by a crash")
        assert store.reap() == 1
        assert len(list(incoming.iterdir())) == 4


def test_a_copy_is_sealed_once_its_row_is_there(store: FolderStore) -> None:
    """Goal: the file itself tells whether the catalog ever vouched for it, and the store which copies wait for that.
    Method: the mode and the set at each step of a copy's life."""

    def mode(key: str) -> int:
        return (store.folder / "blobs" / key[:2] / key).stat().st_mode & 0o777

    assert store.unconfirmed() == frozenset()
    key, lost = put(store, b"x"), put(store, b"y")
    assert mode(key) & 0o200
    assert store.unconfirmed() == {key, lost}
    store.confirm([key])
    assert mode(key) == 0o400
    assert store.unconfirmed() == {lost}
    store.delete(lost)
    assert store.unconfirmed() == frozenset()
    store.condemn([key])
    assert mode(key) & 0o200


def test_the_store_knows_its_own_descriptors(store: FolderStore) -> None:
    """Goal: what is staged or being read is told from a leak. Method: the set while files are open and after."""
    key = put(store, b"x")
    with store.stage(1) as staged, store.open(key) as copy:
        assert store.own_descriptors() == {staged.fileno(), copy.fileno()}
        store.delete(key)
        assert copy.fileno() in store.own_descriptors()
    assert store.own_descriptors() == frozenset()


def test_reservation_of_the_caller(store: FolderStore) -> None:
    """Goal: what was reserved for the publication outlives the commit, and goes with an abort. Method: one of each."""
    with store.ledger.reserve(1000, 3) as held:
        with store.stage(600, held) as staged:
            staged.write(b"x" * 600)
            staged.commit("0" * 64)
        assert store.ledger.snapshot() == Snapshot(400, 2, 1)
    with store.ledger.reserve(1000, 3) as held:
        with store.stage(600, held):
            assert store.ledger.snapshot() == Snapshot(400, 2, 1)
        assert held.released
        assert store.ledger.snapshot() == Snapshot(0, 0, 0)


# ------------------------------------------------------------------------------------------------ full volumes


@needs_root
@pytest.mark.serial
@pytest.mark.fault
def test_sixteen_uploads_where_eight_fit(small: Path, use_tmpfile: bool) -> None:
    """Goal: all that is admitted finishes, the rest is refused before its first byte. Method: 16 threads, 1 MiB each,
    8 MiB."""
    with FolderStore(small, Ledger(Volume(small)), use_tmpfile=use_tmpfile) as store:
        start = threading.Barrier(16)
        refused: list[str] = []

        def one(_: int) -> str | None:
            start.wait()
            try:
                staged = store.stage(MIB)
            except Refusal as error:
                refused.append(error.code)
                return None
            with staged:
                for _ in range(64):
                    staged.write(b"x" * (MIB // 64))
                return staged.commit("0" * 64)

        with ThreadPoolExecutor(16) as pool:
            keys = [key for key in pool.map(one, range(16)) if key]
        assert len(keys) in (7, 8)  # folders take a page or two
        assert refused == ["no_room"] * (16 - len(keys))
        assert [each.size_bytes for each in everything(store)] == [MIB] * len(keys)
        assert store.ledger.snapshot() == Snapshot(0, 0, 0)
        assert all(store.delete(key) for key in keys)
        put(store, b"x" * MIB)


@needs_root
@pytest.mark.serial
@pytest.mark.fault
def test_another_writer_fills_the_volume_half_way(small: Path, use_tmpfile: bool) -> None:
    """Goal: an upload with reserved room finishes on a volume that others filled; one without is refused and leaves
    nothing. Method: fill an 8 MiB tmpfs to the last page in the middle of both."""
    with FolderStore(small, Ledger(Volume(small)), use_tmpfile=use_tmpfile) as store:
        descriptors = open_descriptors()
        with store.stage(2 * MIB) as known, store.stage(None) as unknown:
            known.write(b"k" * MIB)
            unknown.write(b"u" * MIB)
            with (small / "filler").open("wb") as filler, pytest.raises(OSError, match="No space"):
                filler.write(bytes(8 * MIB))
            known.write(b"k" * MIB)
            with pytest.raises(Refusal) as caught:
                unknown.write(b"u" * MIB)
            assert caught.value.code == "no_room"
            with pytest.raises(RuntimeError, match="abort"):
                unknown.commit("0" * 64)
            key = known.commit("0" * 64)
        assert get(store, key) == b"k" * 2 * MIB
        (small / "filler").unlink()
        assert store.delete(key)
        assert open_descriptors() == descriptors
        assert (store.ledger.snapshot(), everything(store)) == (Snapshot(0, 0, 0), [])
        assert store.ledger.volume.measure().available_bytes >= 8 * MIB - 64 * 1024


@needs_root
@pytest.mark.serial
@pytest.mark.fault
def test_out_of_inodes(tmp_path: Path, use_tmpfile: bool) -> None:
    """Goal: no inode left is 503 before the first byte, with bytes free; every inode comes back. Method: tmpfs with
    nr_inodes."""
    with (
        tmpfs(tmp_path / "few", size_bytes=8 * MIB, inodes=300) as folder,
        FolderStore(folder, Ledger(Volume(folder)), use_tmpfile=use_tmpfile) as store,
    ):
        before = store.ledger.volume.measure()
        keys = [put(store, b"") for _ in range(before.inodes_free)]
        assert store.ledger.volume.measure().inodes_free == 0
        with pytest.raises(Refusal) as caught:
            store.stage(10)
        assert caught.value.code == "no_room"
        assert caught.value.numbers["available_inodes"] == 0
        assert all(store.delete(key) for key in keys)
        assert store.ledger.volume.measure().inodes_free == before.inodes_free


def test_waiting_commits_share_one_fsync(store: FolderStore) -> None:
    """Goal: 64 commits at once do not make 64 fsyncs of their folder. Method: count them while each takes 5 ms."""
    folders = Counter[str]()

    def hook(call: str, counter: int, args: tuple[object, ...]) -> None:
        if call == "fsync":
            name = os.readlink(f"/proc/self/fd/{args[0]}")
            if os.path.isdir(name):
                folders[name] += 1
                time.sleep(0.005)

    fs.set_hook(hook)
    with ThreadPoolExecutor(64) as pool:
        keys = list(pool.map(lambda n: put(store, b"%d" % n), range(64)))
    assert len(set(keys)) == 64
    assert 1 <= sum(folders.values()) < 40
