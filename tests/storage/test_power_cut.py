"""Power cuts: the disk's image is copied the moment commit returns, and the copy is mounted."""

import hashlib
import os
import shutil
from pathlib import Path

import pytest

from entrepot.disk import faults, fs
from entrepot.disk.ledger import Ledger
from entrepot.disk.volume import Volume
from entrepot.storage.folder import FolderStore
from tests.disk.mounts import loop_ext4, make_ext4, needs_root

pytestmark = [needs_root, pytest.mark.serial, pytest.mark.fault]

DATA = os.urandom(300_000)
MIB = 1 << 20


def cut_after_commit(
    folder: Path, *, use_tmpfile: bool, lie: faults.Hook | None = None, known: bool = True
) -> bytes | None:
    """Commit one copy on a fresh ext4, cut the power, and return what the copy holds afterwards; None when it is gone.

    The image is a file below a loop device: it holds what ext4 has sent to its disk, and nothing of the page cache.
    `lie` is in force during the commit.
    """
    folder.mkdir()
    image, after = folder / "image", folder / "after"
    make_ext4(image, 32 * MIB)
    with (
        loop_ext4(image, folder / "mount") as mount,
        FolderStore(mount, Ledger(Volume(mount)), use_tmpfile=use_tmpfile) as store,
    ):
        with store.stage(len(DATA) if known else None) as staged:
            staged.write(DATA)
            fs.set_hook(lie)
            try:
                key = staged.commit(hashlib.sha256(DATA).hexdigest())
            finally:
                fs.set_hook(None)
        shutil.copyfile(image, after)
    with loop_ext4(after, folder / "mount") as mount:
        path = mount / "blobs" / key[:2] / key
        return path.read_bytes() if path.exists() else None


@pytest.mark.parametrize("known", [True, False], ids=["declared", "undeclared"])
def test_what_was_acknowledged_survives(tmp_path: Path, use_tmpfile: bool, known: bool) -> None:
    """Goal: after commit returned, a power cut takes nothing. Method: five cuts on ext4."""
    for turn in range(5):
        assert cut_after_commit(tmp_path / str(turn), use_tmpfile=use_tmpfile, known=known) == DATA


def test_the_cut_finds_a_missing_fsync_of_the_file(tmp_path: Path, use_tmpfile: bool) -> None:
    """Goal: the test above can fail. Method: the file's fsync reports success and does nothing."""
    found = cut_after_commit(tmp_path / "cut", use_tmpfile=use_tmpfile, lie=faults.Rule("fsync", 1, "SKIP"))
    assert found != DATA


def test_the_cut_finds_a_missing_fsync_of_the_folder(tmp_path: Path, use_tmpfile: bool) -> None:
    """Goal: the test above can fail. Method: the folder's fsync reports success and does nothing."""
    found = cut_after_commit(tmp_path / "cut", use_tmpfile=use_tmpfile, lie=faults.Rule("fsync", 2, "SKIP"))
    assert found is None


def test_new_shards_survive(tmp_path: Path) -> None:
    """Goal: the folders themselves are durable when the store is open. Method: cut right after the first start."""
    image, after = tmp_path / "image", tmp_path / "after"
    make_ext4(image, 32 * MIB)
    with loop_ext4(image, tmp_path / "mount") as mount:
        FolderStore(mount, Ledger(Volume(mount))).close()
        shutil.copyfile(image, after)
    with loop_ext4(after, tmp_path / "mount") as mount:
        assert len(os.listdir(mount / "blobs")) == 256
