"""Power cuts after a restore: the volumes are copied the moment it is done, and the copies are looked at."""

from pathlib import Path

import pytest

from entrepot.node import restore as restore_module
from entrepot.node.folder import DataFolder
from entrepot.node.restore import restore
from entrepot.upkeep.backup.check import check_folder
from tests.disk.mounts import needs_root, tmpfs
from tests.support.process import run
from tests.support.volumes import loop_volume
from tests.upkeep.saving import bed_in, quiet, small_catalogs

pytestmark = [needs_root, pytest.mark.serial, pytest.mark.fault]
MIB = 1 << 20


def test_a_complete_restore_survives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Goal: what `entrepot restore` called complete is a whole data folder after a power cut. Method: `blobs` on a
    volume of its own; both are cut, put together again, read whole, and opened as a node does. Seen to fail without the
    sync of `blobs`, and without that of the folder at the end.
    """
    monkeypatch.setattr(restore_module, "_START_BYTES", 0)
    with (
        small_catalogs(monkeypatch),
        tmpfs(tmp_path / "data", size_bytes=64 * MIB) as memory,
        bed_in(memory) as bed,
        loop_volume(tmp_path / "top", "ext4", 48 * MIB, options="commit=600") as top,
        loop_volume(tmp_path / "blobs", "ext4", 48 * MIB, options="commit=600") as blobs,
    ):
        for number in range(5):
            bed.add(f"package{number}", 20_000)
        bed.save()
        target = top.path / "data"
        (target / "blobs").mkdir(mode=0o700, parents=True)
        target.chmod(0o700)
        run(["mount", "--bind", blobs.path, target / "blobs"])
        try:
            assert restore(bed.dest, target, bed.clock.now_s(), quiet).copies == 5
        finally:
            run(["umount", target / "blobs"])
        with top.cut() as left, blobs.cut() as left_blobs:
            run(["mount", "--bind", left_blobs, left / "data" / "blobs"])
            try:
                assert check_folder(left / "data", quiet, lambda lack: None).sound
                with DataFolder.open(left / "data") as opened:
                    assert not opened.fresh
            finally:
                run(["umount", left / "data" / "blobs"])
