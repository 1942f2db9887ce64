"""Faults at every file call of one upload: afterwards there is nothing, or one complete copy."""

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from entrepot.disk import faults, fs
from entrepot.disk.ledger import Ledger, Snapshot
from entrepot.disk.volume import Volume
from entrepot.model.errors import Refusal
from entrepot.storage.folder import FolderStore
from tests.disk.mounts import needs_root, open_descriptors, tmpfs
from tests.disk.observing import Told
from tests.storage.contract import MIB, everything, get
from tests.storage.sweep import DATA, SHA256, upload

pytestmark = [needs_root, pytest.mark.fault]


@pytest.fixture
def volume(tmp_path: Path) -> Iterator[Path]:
    with tmpfs(tmp_path / "volume", size_bytes=40 * MIB, inodes=1000) as folder:
        yield folder
        fs.set_hook(None)


def room(folder: Path) -> tuple[int, int]:
    """Free bytes and inodes."""
    now = Volume(folder).measure()
    return now.available_bytes, now.inodes_free


@pytest.mark.parametrize("known", [True, False], ids=["declared", "undeclared"])
@pytest.mark.parametrize("on", [False, True], ids=["once", "from-then-on"])
@pytest.mark.parametrize("action", ["ENOSPC", "EIO", "SHORT"])
def test_error_at_every_call(volume: Path, use_tmpfile: bool, action: str, on: bool, known: bool) -> None:
    """Goal: after an error at any call, bytes, inodes, descriptors and reservations are back, or one copy is complete.
    Method: fail the Nth call, N = 1, 2, 3 … until an upload meets no fault."""
    for nth in range(1, 200):
        told = Told()
        watched = Volume(volume)
        watched.observer = told
        with FolderStore(volume, Ledger(watched), use_tmpfile=use_tmpfile) as store:
            before = (room(volume), open_descriptors())
            rule = faults.Rule("*", nth, action, on=on)
            fs.set_hook(rule)
            key, refused = None, None
            try:
                key = upload(store, known)
            except Refusal as error:
                refused = error
            finally:
                fs.set_hook(None)
            assert store.ledger.snapshot() == Snapshot(0, 0, 0)
            assert open_descriptors() == before[1]
            if refused is not None:
                lost = action == "EIO" or rule.hit in ("fsync", "sync_file_range")
                assert refused.code == ("storage_failed" if lost else "no_room")
                assert (errno.EIO if lost else errno.ENOSPC) in [each.errno for each in told.errors]
            # With the disk failing from then on, a name cannot be taken away: what is left is complete, or the
            # reaper's.
            store.reap()
            left = everything(store)
            assert [each.key for each in left] == ([key] if key else [each.key for each in left if on])
            for each in left:
                assert get(store, each.key) == DATA
                store.delete(each.key)
            assert (room(volume), open_descriptors()) == before
        if not rule.reached:
            assert nth > 20
            return
    raise AssertionError("the sweep never ended")


CHILD = """
import sys
from entrepot.disk import faults, fs
from entrepot.disk.ledger import Ledger
from entrepot.disk.volume import Volume
from entrepot.storage.folder import FolderStore
from tests.storage.sweep import upload
folder, named, known, nth = sys.argv[1:]
store = FolderStore(folder, Ledger(Volume(folder)), use_tmpfile=named == "False")
rule = faults.Rule("*", int(nth), "KILL")
fs.set_hook(rule)
print(upload(store, known == "True"), flush=True)
"""


@pytest.mark.parametrize("known", [True, False], ids=["declared", "undeclared"])
def test_kill_at_every_call(volume: Path, use_tmpfile: bool, known: bool) -> None:
    """Goal: kill -9 at any call leaves nothing, or one complete copy; what was acknowledged is there. Method: a child
    process per call (every call near the ends, each third in between), then a restart."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(["src", ".", os.environ.get("PYTHONPATH", "")])}
    with FolderStore(volume, Ledger(Volume(volume)), use_tmpfile=use_tmpfile):
        before = room(volume)
    for nth in range(1, 200):
        args = [str(volume), str(not use_tmpfile), str(known), str(nth)]
        child = subprocess.run(
            [sys.executable, "-c", CHILD, *args], env=env, capture_output=True, text=True, check=False
        )
        if use_tmpfile and not everything_in(volume):
            assert room(volume) == before  # not even a reaper is needed
        with FolderStore(volume, Ledger(Volume(volume)), use_tmpfile=use_tmpfile) as store:
            left = everything(store)
            assert len(left) <= 1
            for each in left:
                assert get(store, each.key) == DATA
                store.delete(each.key)
        assert room(volume) == before
        if child.returncode == 0:
            assert [each.key for each in left] == child.stdout.split()
            assert nth > 20
            return
        assert child.returncode == -9, child.stderr
    raise AssertionError("the sweep never ended")


def everything_in(folder: Path) -> list[Path]:
    """Every file below a folder."""
    return [path for path in folder.rglob("*") if path.is_file()]


@pytest.mark.parametrize("number", ["EIO", "ENOSPC"])
def test_a_failed_fsync_is_never_repeated(volume: Path, use_tmpfile: bool, number: str) -> None:
    """Goal: after a failed fsync the bytes are abandoned: Linux has marked the lost pages clean, a second fsync would
    lie. Method: EIO, and ENOSPC as thin volumes say it, at the file's fsync; count all later ones."""
    told = Told()
    watched = Volume(volume)
    watched.observer = told
    with FolderStore(volume, Ledger(watched), use_tmpfile=use_tmpfile) as store:
        seen: list[str] = []

        def watch(call: str, counter: int, args: tuple[object, ...]) -> None:
            seen.append(call)

        fs.set_hook(faults.all_of([watch, faults.Rule("fsync", 1, number)]))
        with store.stage(len(DATA)) as staged:
            staged.write(DATA)
            with pytest.raises(Refusal) as caught:
                staged.commit(SHA256)
            with pytest.raises(RuntimeError):
                staged.commit(SHA256)
        fs.set_hook(None)
        assert caught.value.code == "storage_failed"
        assert caught.value.kind.status == 503
        assert told.writing == [errno.EIO]
        assert seen.count("fsync") == 1
        assert not {"link_fd", "rename"} & set(seen)
        assert everything(store) == []


def test_a_copy_that_cannot_be_condemned_keeps_its_row(volume: Path) -> None:
    """Goal: where the seal cannot be broken the caller learns it before the row goes, and nothing counts as doomed.
    Method: the second chmod of three copies fails; then it works. Seen to fail with the error suppressed.
    """
    with FolderStore(volume, Ledger(Volume(volume))) as store:
        keys = [upload(store, known=True) for _ in range(3)]
        store.confirm(keys)
        fs.set_hook(faults.Rule("chmod", 2, "EIO"))
        with pytest.raises(Refusal) as refused:
            store.condemn(keys)
        fs.set_hook(None)
        assert refused.value.code == "storage_failed"
        assert store.unconfirmed() == frozenset()
        store.condemn(keys)
        assert store.unconfirmed() == set(keys)


def test_a_deletion_that_fails_leaves_an_orphan(volume: Path) -> None:
    """Goal: a copy that could not be deleted counts as nobody's, so that a walk finds it. Method: the unlink fails;
    then it works.
    """
    with FolderStore(volume, Ledger(Volume(volume))) as store:
        key = upload(store, known=True)
        fs.set_hook(faults.Rule("unlink", 1, "EIO"))
        with pytest.raises(Refusal) as refused:
            store.delete(key)
        fs.set_hook(None)
        assert refused.value.code == "storage_failed"
        assert store.unconfirmed() == frozenset()
        assert store.delete(key)
