"""The leak finder on a real folder with a real catalog: what it names, what it removes, what it must leave alone."""

import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from entrepot.catalog.engine import Catalog
from entrepot.disk.account import NOTHING
from entrepot.disk.ledger import Ledger
from entrepot.disk.volume import Volume
from entrepot.node.folder import FILES, FOLDERS
from entrepot.observe.clock import FixedClock
from entrepot.storage.folder import FolderStore
from entrepot.upkeep import leaks as finder_module
from entrepot.upkeep import orphans as orphans_module
from entrepot.upkeep.collect import Collector
from entrepot.upkeep.leaks import GRACE_S, LeakFinder, Place
from entrepot.upkeep.orphans import Orphans
from entrepot.upkeep.strays import Walk
from tests.catalog.helpers import a_deb, catalog_with_repository, put
from tests.disk.mounts import needs_root, tmpfs

pytestmark = needs_root
MIB = 1 << 20
DAY_S = 24 * 3600


@dataclass
class Bed:
    """A folder with a store, a catalog and a finder whose clock stands still."""

    folder: Path
    catalog: Catalog
    repository_id: int
    store: FolderStore
    clock: FixedClock
    finder: LeakFinder

    def passes(self, count: int = 1, every_s: float = 10.0) -> None:
        """Some passes, ten seconds apart."""
        for _ in range(count):
            (self.report,) = self.finder.run()
            self.clock.advance(every_s)

    def restart(self) -> None:
        """A store and a finder without memory, on the same folder."""
        self.store.close()
        self.store = FolderStore(self.folder, self.store.ledger, use_tmpfile=self.store.uses_tmpfile)
        self.finder = make_finder(self.folder, self.catalog, self.store, self.clock)

    def leaks(self) -> dict[str, bool]:
        """path → removed, of everything in the book."""
        return {str(each["path"]): bool(each["removed"]) for each in self.finder.book.documents()}

    def kinds(self) -> dict[str, str]:
        """path → kind."""
        return {str(each["path"]): str(each["kind"]) for each in self.finder.book.documents()}

    def copy(self, content: str = "x") -> tuple[str, str]:
        """A durable copy without a row; (key, path below the folder)."""
        with self.store.stage(len(content)) as staged:
            staged.write(content.encode())
            key = staged.commit(a_deb(self.repository_id, "any", content=content).digests.sha256)
        return key, f"blobs/{key[:2]}/{key}"

    def stored(self, name: str) -> str:
        """A copy with its row, sealed; its path."""
        key, path = self.copy(name)
        put(self.catalog, a_deb(self.repository_id, name, content=name), key)
        self.store.confirm([key])
        return path


def make_finder(folder: Path, catalog: Catalog, store: FolderStore, clock: FixedClock) -> LeakFinder:
    """A finder for a shared volume: the account of a volume of our own is tested on real servers."""
    walk = Walk(folder, FILES, FOLDERS)
    place = Place(store.ledger.volume, ("catalog", "blobs", "scratch"), dedicated=False)
    return LeakFinder(catalog, store, walk, [place], clock)


@pytest.fixture
def use_tmpfile() -> bool:
    """How the store stages; one test looks at the fallback."""
    return True


@pytest.fixture
def bed(use_tmpfile: bool, tmp_path: Path) -> Iterator[Bed]:
    # A volume of its own: what the test runner holds open is not in its account.
    with tmpfs(tmp_path / "volume", size_bytes=256 * MIB) as folder:
        clock = FixedClock(1_700_000_000.0)
        store = FolderStore(folder, Ledger(Volume(folder)), use_tmpfile=use_tmpfile)
        with catalog_with_repository(folder) as (catalog, repository_id):
            made = Bed(folder, catalog, repository_id, store, clock, make_finder(folder, catalog, store, clock))
            yield made
            made.store.close()


def test_a_clean_folder_has_no_leaks(bed: Bed) -> None:
    """Goal: the catalog, its log, copies with rows, a living upload and a reader of a deleted copy are all accounted
    for. Method: several passes with each of them there."""
    bed.stored("kept")
    doomed, _ = bed.copy("doomed")
    with bed.store.stage(100_000) as staged, bed.store.open(doomed):
        staged.write(b"x" * 50_000)
        bed.store.delete(doomed)
        bed.passes(3)
        assert bed.leaks() == {}
        assert bed.report.balance.unaccounted == NOTHING
        staged.write(b"y" * 50_000)
    bed.passes(2)
    assert bed.leaks() == {}


def test_foreign_files_are_named_and_never_removed(bed: Bed) -> None:
    """Goal: a file that is not shaped like ours is reported with its path and its size, wherever it lies, and stays.
    Method: one in each folder, a tree, a link, a pipe; a day of passes; then they go, and the figures with them."""
    folder = bed.folder
    places = ["core.1234", "blobs/notes.txt", "blobs/00/README", "incoming/part.tmp", f"blobs/01/{'2' * 32}"]
    for place in places:
        (folder / place).write_bytes(b"x" * 10_000)
    (folder / "tree" / "below").mkdir(parents=True)
    (folder / "tree" / "below" / "file").write_bytes(b"x" * 100_000)
    (folder / "blobs" / "02" / ("02" * 16)).symlink_to("/etc/hostname")
    os.mkfifo(folder / "incoming" / ("d" * 32))
    bed.passes()
    assert set(bed.leaks()) >= {*places, "tree", "incoming/" + "d" * 32}
    assert bed.report.balance.unaccounted.size_bytes >= 5 * 10_000 + 100_000
    assert set(bed.kinds().values()) <= {"foreign", "orphan"}
    bed.passes(4, every_s=DAY_S / 2)
    for place in (*places, "tree/below/file", "incoming/" + "d" * 32):
        assert (folder / place).exists(), place
    for place in (*places, "tree/below/file", "incoming/" + "d" * 32):
        (folder / place).unlink()
    (folder / "tree" / "below").rmdir()
    (folder / "tree").rmdir()
    bed.passes(2)
    assert bed.finder.book.amount() == NOTHING


def test_side_files_and_scratch_go_after_a_minute(bed: Bed) -> None:
    """Goal: what a crash left of a small file's replacement, and what a library left in the scratch folder, is reported
    at the second look and removed after a minute, unless a process of ours has it open. Method: passes by the clock.

    Seen to fail without the look at open files."""
    scratch = bed.folder / "scratch"
    (scratch / "tmpabcd").mkdir(parents=True)
    (scratch / "tmpabcd" / "member").write_bytes(b"x" * 10_000)
    (bed.folder / ".secret.new").write_text("half")
    (bed.folder / ".bashrc.new").write_text("not ours")
    with (scratch / "in-use").open("w"):
        bed.passes()
        assert set(bed.leaks()) == {".bashrc.new"}
        bed.passes()
        assert bed.leaks() == dict.fromkeys([".bashrc.new", ".secret.new", "scratch/tmpabcd", "scratch/in-use"], False)
        bed.passes(int(GRACE_S / 10))
        gone = {path for path, removed in bed.leaks().items() if removed}
        assert gone == {".secret.new", "scratch/tmpabcd"}
        assert sorted(each.name for each in scratch.iterdir()) == ["in-use"]
    bed.passes()
    assert list(scratch.iterdir()) == []
    assert (bed.folder / ".bashrc.new").exists()


@pytest.mark.parametrize("use_tmpfile", [False])
def test_incoming_files_without_an_owner_go_at_once(bed: Bed) -> None:
    """Goal: the lock tells the living from the dead. Method: a staged file of the fallback, and one that nobody holds.

    Seen to fail with the lock not asked for: the living upload's file went too."""
    with bed.store.stage(5) as staged:
        staged.write(b"alive")
        (bed.folder / "incoming" / ("a" * 32)).write_bytes(b"dead")
        bed.passes(3)
        assert bed.leaks() == {"incoming/" + "a" * 32: True}
        key = staged.commit(a_deb(bed.repository_id, "alive").digests.sha256)
        bed.passes(3)
        assert (bed.folder / "blobs" / key[:2] / key).read_bytes() == b"alive"


def test_a_copy_between_name_and_row_is_left_alone(bed: Bed) -> None:
    """Goal: an upload that waits for its commit loses nothing, however long it takes. Method: walk between the copy's
    name and its row. Seen to fail with the store's own knowledge left out: the acknowledged bytes were gone."""
    key, path = bed.copy("slow")
    bed.passes(9, every_s=400.0)
    assert bed.leaks() == {}
    put(bed.catalog, a_deb(bed.repository_id, "slow", content="slow"), key)
    bed.store.confirm([key])
    bed.passes(5)
    assert (bed.folder / path).read_bytes() == b"slow"
    assert bed.leaks() == {}


def test_a_commit_whose_end_nobody_knows(bed: Bed) -> None:
    """Goal: bytes of a commit that failed are reported after an hour and kept: after a crash the catalog may find its
    row. Method: two hours without a row; then the next process, where they are dead."""
    _, path = bed.copy("doubt")
    bed.passes(4, every_s=1200.0)
    assert bed.leaks() == {path: False}
    assert (bed.folder / path).exists()
    bed.restart()
    bed.passes(2)
    assert bed.leaks() == {path: True}
    assert not (bed.folder / path).exists()


def test_orphans_of_a_crash_go_with_the_first_round(bed: Bed) -> None:
    """Goal: what was never vouched for is dead once its process is, and what has a row is sealed again. Method: copies
    with and without rows, none sealed; then another process."""
    key, kept = bed.copy("kept")
    put(bed.catalog, a_deb(bed.repository_id, "kept", content="kept"), key)
    lost = [bed.copy(f"lost{number}")[1] for number in range(3)]
    bed.restart()
    bed.passes(4)
    assert bed.leaks() == dict.fromkeys(lost, True)
    assert bed.report.balance.unaccounted == NOTHING
    assert (bed.folder / kept).read_bytes() == b"kept"
    assert not (bed.folder / kept).stat().st_mode & 0o222


def test_a_sealed_copy_without_a_row_is_kept_for_a_day(bed: Bed) -> None:
    """Goal: with a catalog that is not this folder's, nothing goes in haste. Method: sealed copies whose rows are not
    in the catalog, as after restoring an old one. Seen to fail with the seal not looked at."""
    key, path = bed.copy("restored")
    bed.store.confirm([key])
    os.utime(bed.folder / path, (0, 0))
    bed.restart()
    bed.passes(3)
    assert bed.leaks() == {path: False}
    bed.passes(6, every_s=4 * 3600.0)
    bed.passes(1)
    assert bed.leaks() == {path: True}


def test_more_orphans_than_a_crash_leaves(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    """Goal: a folder whose catalog was lost is not emptied. Method: more unsealed copies than the bound, no rows; later
    passes do not remove them either."""
    monkeypatch.setattr(orphans_module, "CRASH_LEAVINGS_MAX", 3)
    paths = [bed.copy(f"copy{number}")[1] for number in range(4)]
    bed.restart()
    bed.passes(5)
    assert bed.leaks() == dict.fromkeys(paths, False)


def test_bytes_of_garbage_are_no_leak_while_they_go(bed: Bed) -> None:
    """Goal: between the end of a row and that of its bytes nothing is reported, and a kill there leaves what the next
    start removes. Method: stop a collection after its transaction."""
    key, path = bed.copy("garbage")
    put(bed.catalog, a_deb(bed.repository_id, "garbage", content="garbage"), key)
    bed.store.confirm([key])
    with bed.catalog.write() as conn:
        for table in ("fragment", "membership", "requirement", "file"):
            conn.exec_driver_sql(f"DELETE FROM {table}")
    collector = Collector(bed.catalog, bed.store, bed.clock)
    bed.catalog.submit(lambda conn: collector._forget_unreferenced(conn, bed.clock.now_s() + 1))
    bed.passes(4)
    assert bed.leaks() == {}
    bed.restart()
    bed.passes(2)
    assert bed.leaks() == {path: True}


def test_a_descriptor_of_a_deleted_file(bed: Bed) -> None:
    """Goal: a file that this process forgot to close is named with the process, after two looks. Method: open, unlink,
    look; close, look."""
    lost = bed.folder / "lost"
    fd = os.open(lost, os.O_RDWR | os.O_CREAT)
    os.posix_fallocate(fd, 0, 1 << 20)
    lost.unlink()
    bed.passes()
    assert bed.leaks() == {}
    bed.passes()
    (found,) = bed.finder.book.documents()
    assert (found["kind"], found["path"]) == ("descriptor", str(lost))
    assert f"[{os.getpid()}]" in str(found["process"])
    assert bed.report.deleted_open_bytes == bed.report.balance.unaccounted.size_bytes == 1 << 20
    os.close(fd)
    bed.passes()
    assert bed.leaks() == {}
    assert bed.report.balance.unaccounted == NOTHING


def test_a_flood_of_strangers_is_bounded(bed: Bed) -> None:
    """Goal: a thousand strangers are counted whole and listed in part. Method: files in one folder."""
    for number in range(300):
        (bed.folder / "incoming" / f"stranger{number}").write_bytes(b"x")
    bed.passes()
    assert sum(bed.finder.book.counts().values()) == 300
    assert len(bed.finder.book.documents()) == 100
    assert bed.report.balance.unaccounted.inodes == 300


def test_an_upload_that_ends_between_two_questions(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    """Goal: a copy whose row comes while a walk judges it is never taken for an orphan. Method: its row is there, and
    it waits no more, just before the store is asked what waits. Seen to fail when the catalog is asked before.
    """
    key, _ = bed.copy("late")
    asked = bed.store.unconfirmed

    def ended_just_before() -> frozenset[str]:
        if key in asked():
            put(bed.catalog, a_deb(bed.repository_id, "late", content="late"), key)
            bed.store.confirm([key])
        return asked()

    monkeypatch.setattr(bed.store, "unconfirmed", ended_just_before)
    shard = int(key[:2], 16)
    orphans = Orphans(bed.catalog, bed.store, Walk(bed.folder, FILES, FOLDERS), bed.clock)
    found = orphans.look(next(group for group in orphans.groups() if shard in group))[shard]
    assert (found.strays, found.removed) == ([], [])
    assert key not in asked()


def test_uploads_and_walks_at_once(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    """Goal: no walk ever takes a copy whose commit is running. Method: uploads in threads against walks without a
    pause; every acknowledged copy is there. Seen to fail when the catalog is asked before the store."""
    monkeypatch.setattr(finder_module, "WALK_S", 10.0)
    stop = threading.Event()
    paths: list[str] = []

    def upload(thread: int) -> None:
        for number in range(10_000):
            if stop.is_set():
                return
            paths.append(bed.stored(f"race{thread}-{number}"))

    bed.passes(4)
    threads = [threading.Thread(target=upload, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for _ in range(6):
        bed.finder.run()
    stop.set()
    for thread in threads:
        thread.join()
    assert len(paths) > 3
    assert [path for path in paths if not (bed.folder / path).exists()] == []
    assert [path for path, kind in bed.kinds().items() if kind == "orphan"] == []
