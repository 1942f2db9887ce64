"""Restoring into a folder: what is there afterwards, what is refused, and what a fault leaves."""

import json
import os
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from entrepot.catalog.engine import Catalog
from entrepot.disk import faults, fs
from entrepot.node import restore as restore_module
from entrepot.node.folder import DataFolder, FolderError
from entrepot.node.restore import Restored, restore
from entrepot.upkeep.backup.check import check_folder
from entrepot.upkeep.backup.errors import BackupError
from tests.disk.mounts import needs_root, tmpfs
from tests.upkeep.saving import SECRET, Bed, bed_in, objects, quiet, small_catalogs

pytestmark = needs_root
MIB = 1 << 20
CALLS_MAX = 400


@pytest.fixture
def bed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bed]:
    # What a server needs to start is more than these volumes have.
    monkeypatch.setattr(restore_module, "_START_BYTES", 0)
    with (
        tmpfs(tmp_path / "volume", size_bytes=256 * MIB) as volume,
        small_catalogs(monkeypatch),
        bed_in(volume) as made,
    ):
        yield made


def back(bed: Bed, folder: Path, *, partial: bool = False) -> Restored:
    """Restore the bed's back-up."""
    return restore(bed.dest, folder, bed.clock.now_s(), quiet, partial=partial)


def folder_of(bed: Bed, name: str = "restored") -> Path:
    """Where to."""
    return bed.dest.with_name(name)


def test_a_restored_folder_is_the_one_that_was_saved(bed: Bed) -> None:
    """Goal: every copy, sealed; the catalog's rows; secret, settings; modes; and a folder that a node opens. Method:
    list all objects, compare, and open it as a node does."""
    keys = [bed.add("hello"), bed.add("large", 3 * MIB)]
    bed.save()
    target = folder_of(bed)
    done = back(bed, target)
    assert (done.copies, done.lost, done.made_at, done.secret) == (2, (), bed.clock.now_s(), True)
    assert set(objects(target)) == {
        "catalog.db", "format", "secret", "entrepot.toml", *(f"blobs/{key[:2]}/{key}" for key in keys),
    }  # fmt: skip
    for key in keys:
        path = target / "blobs" / key[:2] / key
        assert path.read_bytes() == bed.path(key).read_bytes()
        assert stat.S_IMODE(path.stat().st_mode) == 0o400
    assert (target / "secret").read_text() == SECRET
    for name in ("secret", "catalog.db", "entrepot.toml"):
        assert stat.S_IMODE((target / name).stat().st_mode) == 0o600
    assert stat.S_IMODE(target.stat().st_mode) == 0o700
    assert check_folder(target, quiet, lambda lack: None).sound
    with DataFolder.open(target) as opened:
        assert not opened.fresh
        catalog = Catalog(opened.catalog_url)
        catalog.migrate()
        with catalog.read() as conn:
            names = [row[0] for row in conn.exec_driver_sql("SELECT name FROM file ORDER BY id")]
            audit = conn.exec_driver_sql("SELECT actor, action FROM audit ORDER BY id DESC LIMIT 1").one()
        catalog.close()
    assert names == ["hello", "large"]
    assert tuple(audit) == ("cli", "server.restore")


def test_dates_and_generations_never_go_back(bed: Bed) -> None:
    """Goal: whatever clients saw after the back-up, the restored server's next index is newer: by date, by rpm's
    revision, and so that no 304 vouches for an old one. Method: the catalog's rows before and after."""
    bed.add("hello")
    with bed.catalog.write() as conn:
        conn.exec_driver_sql("UPDATE scope SET generation = 7, published_change = last_change")
        conn.exec_driver_sql(
            "INSERT INTO publication (scope_id, generation, change, epoch, published_at, date_s, second_shared, state)"
            f" SELECT id, 7, last_change, 1, 5, {bed.clock.now_s() - 50}, 0, '{{}}' FROM scope"
        )
    bed.save()
    bed.clock.advance(86_400.0)
    target = folder_of(bed)
    assert back(bed, target).scopes == 1
    with closing(sqlite3.connect(target / "catalog.db")) as conn:
        generation, dirty = conn.execute("SELECT generation, last_change > published_change FROM scope").fetchone()
        date_s, shared = conn.execute("SELECT date_s, second_shared FROM publication").fetchone()
    assert generation > 7 + 86_400 * 100
    assert (dirty, date_s, shared) == (1, bed.clock.now_s(), 1)


def test_what_is_refused(bed: Bed) -> None:
    """Goal: nothing is restored over something else, from nothing whole, or from what a later version made; each
    refusal says what to do and leaves the folder as it was. Method: one of each."""
    key = bed.add("hello")
    bed.save()
    target = folder_of(bed)
    codes: list[tuple[str, str]] = []

    def refused(name: str, source: Path, folder: Path) -> str:
        with pytest.raises(BackupError) as caught:
            restore(source, folder, 0, quiet)
        assert caught.value.remedy
        codes.append((name, caught.value.code))
        return caught.value.detail

    full = folder_of(bed, "full")
    full.mkdir()
    (full / "photo.jpg").touch()
    refused("not empty", bed.dest, full)
    refused("a data folder", bed.dest, bed.data)
    refused("no backup", bed.data, target)
    refused("nothing", folder_of(bed, "nowhere"), target)
    torn = folder_of(bed, "torn")
    torn.mkdir()
    (torn / "unfinished").touch()
    refused("torn", torn, target)
    text = (bed.dest / "backup.json").read_text()
    for name, change in (
        ("format", {"format": 2}),
        ("data format", {"data_format": 2}),
        ("made up", {"files": {"../x": ""}}),
    ):
        (bed.dest / "backup.json").write_text(json.dumps({**json.loads(text), **change}))
        refused(name, bed.dest, target)
    (bed.dest / "backup.json").write_text(text)
    copy = bed.dest / "blobs" / key[:2] / key
    content = copy.read_bytes()
    copy.write_bytes(content.replace(b"x", b"y"))
    refused("rotten", bed.dest, target)
    copy.write_bytes(content + b"?")
    assert f"it has {len(content) + 1} bytes instead of {len(content)}" in refused("longer", bed.dest, target)
    copy.unlink()
    refused("missing", bed.dest, target)
    copy.write_bytes(content)
    catalog = bed.dest / "state-1" / "catalog.db"
    whole = catalog.read_bytes()
    catalog.write_bytes(whole + b"?")
    refused("catalog", bed.dest, target)
    catalog.write_bytes(whole)
    with closing(sqlite3.connect(catalog)) as conn:
        conn.execute("UPDATE alembic_version SET version_num = '9999'")
        conn.commit()
    refused("revision", bed.dest, target)
    assert codes == [
        ("not empty", "restore_not_empty"),
        ("a data folder", "restore_not_empty"),
        ("no backup", "backup_torn"),
        ("nothing", "backup_torn"),
        ("torn", "backup_torn"),
        ("format", "backup_too_new"),
        ("data format", "backup_too_new"),
        ("made up", "backup_damaged"),
        ("rotten", "backup_damaged"),
        ("longer", "backup_damaged"),
        ("missing", "backup_damaged"),
        ("catalog", "backup_damaged"),
        ("revision", "backup_too_new"),
    ]
    assert [path.name for path in full.iterdir()] == ["photo.jpg"]
    assert not target.exists()


def test_a_partial_restore_goes_without_what_is_lost(bed: Bed) -> None:
    """Goal: one rotten file in the only back-up does not keep a server down; it is named, and the next push of the same
    bytes brings it back. Method: damage one of two; then look at the rows."""
    lost, kept = bed.add("lost"), bed.add("kept")
    bed.save()
    (bed.dest / "blobs" / lost[:2] / lost).write_bytes(b"rotten")
    target = folder_of(bed)
    done = back(bed, target, partial=True)
    assert [(each.key, each.names) for each in done.lost] == [
        (lost, ("acme/tools/debian/bookworm/lost_1.0_amd64.deb",))
    ]
    assert {path.name for path in (target / "blobs").glob("??/*")} == {kept}
    assert check_folder(target, quiet, lambda lack: None).sound
    with closing(sqlite3.connect(target / "catalog.db")) as conn:
        assert [row[0] for row in conn.execute("SELECT key FROM copy")] == [kept]
        assert conn.execute("SELECT count(*) FROM file").fetchone() == (2,)


def test_what_was_lacking_already_is_no_reason_to_refuse(bed: Bed) -> None:
    """Goal: a back-up that said that a copy was missing when it was made is restored without asking. Method: a missing
    copy, saved, restored."""
    gone = bed.add("gone")
    bed.add("kept")
    bed.path(gone).unlink()
    assert [each.key for each in bed.save().lacking] == [gone]
    done = back(bed, folder_of(bed))
    assert [each.key for each in done.lost] == [gone]
    assert done.copies == 1


def test_blobs_on_a_volume_of_its_own(bed: Bed) -> None:
    """Goal: a mount point below the folder is filled, not refused; a strange file on it is. Method: a second volume."""
    bed.add("hello")
    bed.save()
    target = folder_of(bed)
    target.mkdir(mode=0o700)
    with tmpfs(target / "blobs", size_bytes=16 * MIB) as blobs:
        (blobs / "photo.jpg").touch()
        with pytest.raises(BackupError, match=r"blobs/photo\.jpg"):
            back(bed, target)
        (blobs / "photo.jpg").unlink()
        assert back(bed, target).copies == 1
        assert check_folder(target, quiet, lambda lack: None).sound
        assert (blobs / "incoming").is_dir()


def test_it_is_a_data_folder_when_all_of_it_was_synced(bed: Bed) -> None:
    """Goal: no byte is on its way to a disk any more when `restoring` becomes `format`. Method: two volumes; each is
    noted when it is written, and struck out when it is synced. Seen to fail without the sync of either.
    """
    bed.add("hello")
    bed.save()
    target = folder_of(bed)
    target.mkdir(mode=0o700)
    waiting: set[int] = set()
    written: set[int] = set()
    at_the_end: list[set[int]] = []

    def note(call: str, _counter: int, args: tuple[object, ...]) -> None:
        if call in ("write", "syncfs"):
            assert isinstance(args[0], int)
            device = os.fstat(args[0]).st_dev
            if call == "write":
                written.add(device)
                waiting.add(device)
            else:
                waiting.discard(device)
        elif call == "rename" and args[1] == "format":
            at_the_end.append(set(waiting))

    with tmpfs(target / "blobs", size_bytes=16 * MIB) as blobs:
        fs.set_hook(note)
        try:
            back(bed, target)
        finally:
            fs.set_hook(None)
        assert written == {blobs.stat().st_dev, target.stat().st_dev}
    assert at_the_end == [set()]


@pytest.mark.parametrize("code", ["ENOSPC", "EIO"])
def test_a_failed_restore_leaves_nothing(bed: Bed, code: str) -> None:
    """Goal: a full or failing disk leaves the folder as it was, and the next try works. Method: the Nth file call
    fails, for every second N."""
    for name in ("hello", "world"):
        bed.add(name)
    bed.save()
    for number in range(1, CALLS_MAX, 2):
        target = folder_of(bed, f"target{number}")
        rule = faults.Rule("*", number, code)
        fs.set_hook(rule)
        try:
            back(bed, target)
        except BackupError:
            fs.set_hook(None)
            assert not target.exists() or not set(objects(target)) - _left_by(rule), f"call {number} ({rule.hit})"
        finally:
            fs.set_hook(None)
        if not rule.reached:
            break
    else:
        raise AssertionError("more calls than expected")
    assert number > 40
    assert check_folder(target, quiet, lambda lack: None).sound


def _left_by(rule: faults.Rule) -> set[str]:
    """What stays when the very call that takes something away failed."""
    return {"restoring"} if rule.hit in ("unlink", "rmdir") else set()


def test_a_killed_restore_is_no_data_folder(bed: Bed) -> None:
    """Goal: a node never starts on half a restore, and a second restore does not go on with it. Method: a child is
    killed before every fourth file call; a node opens what is there.

    Seen to fail with the mark written last."""
    bed.add("hello")
    bed.save()
    for number in range(1, CALLS_MAX, 4):
        target = folder_of(bed, f"target{number}")
        if _killed(bed, target, number) == 0:
            break
        if not target.exists():
            continue
        if set(os.listdir(target)) - {"lock"}:
            with pytest.raises(BackupError) as caught:
                back(bed, target)
            assert caught.value.code == "restore_not_empty"
        if (target / "format").exists():
            assert check_folder(target, quiet, lambda lack: None).sound
        elif set(os.listdir(target)) - {"lock", ".restoring.new"}:
            with pytest.raises(FolderError, match="did not get to its end"):
                DataFolder.open(target)
    else:
        raise AssertionError("more calls than expected")
    with DataFolder.open(target) as opened:
        assert not opened.fresh


def _killed(bed: Bed, target: Path, number: int) -> int:
    """Restore in a child that is killed before its Nth file call; how the child ended."""
    pid = os.fork()
    if pid == 0:
        try:
            fs.set_hook(faults.Rule("*", number, "KILL"))
            back(bed, target)
        finally:
            os._exit(0)
    return os.waitpid(pid, 0)[1]


def test_a_target_without_room(bed: Bed, tmp_path: Path) -> None:
    """Goal: what does not fit is said before anything is written. Method: a volume that is too small."""
    bed.add("large", 6 * MIB)
    bed.save()
    with tmpfs(tmp_path / "small", size_bytes=4 * MIB) as small:
        with pytest.raises(
            BackupError, match=r"has \d+ bytes and \d+ inodes available; the restore needs \d+"
        ) as caught:
            back(bed, small)
        assert caught.value.code == "restore_no_room"
        assert list(small.iterdir()) == []
