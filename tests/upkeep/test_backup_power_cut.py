"""Power cuts: the image below DEST is copied the moment a back-up is done, and the copy is mounted and read whole."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from entrepot.disk import faults, fs
from entrepot.upkeep.backup.errors import BackupError
from tests.disk.mounts import loop_ext4, make_ext4, needs_root, tmpfs
from tests.support.volumes import FileSystem, LoopVolume, loop_volume
from tests.upkeep.saving import Bed, bed_in, small_catalogs

pytestmark = [needs_root, pytest.mark.serial, pytest.mark.fault]

MIB = 1 << 20


def whole_after_a_cut(folder: Path, lie: faults.Hook | None = None) -> bool:
    """Make a back-up onto a fresh ext4, cut its power, and say whether it can be read whole afterwards. ``lie`` is in
    force meanwhile."""
    folder.mkdir()
    image, after = folder / "image", folder / "after"
    make_ext4(image, 48 * MIB)
    with (
        pytest.MonkeyPatch.context() as patched,
        small_catalogs(patched),
        tmpfs(folder / "data", size_bytes=64 * MIB) as memory,
        bed_in(memory) as bed,
    ):
        for number in range(40):
            bed.add(f"package{number}", 20_000)
        with loop_ext4(image, folder / "mount") as mount:
            bed.dest = mount / "dest"
            fs.set_hook(lie)
            try:
                bed.save()
            finally:
                fs.set_hook(None)
            shutil.copyfile(image, after)
        with loop_ext4(after, folder / "mount"):
            try:
                return bed.check()[0].sound
            except BackupError:
                return False


def test_a_complete_backup_survives(tmp_path: Path) -> None:
    """Goal: what `entrepot backup` called complete is whole after a power cut. Method: two cuts on ext4, whose journal
    waits to be told."""
    assert whole_after_a_cut(tmp_path / "first")
    assert whole_after_a_cut(tmp_path / "second")


def test_the_cut_finds_a_missing_sync(tmp_path: Path) -> None:
    """Goal: the test above can fail. Method: syncfs reports success and does nothing."""
    assert not whole_after_a_cut(tmp_path / "cut", faults.Rule("syncfs", 1, "SKIP", on=True))


def test_a_cut_in_the_middle_leaves_the_mark(tmp_path: Path) -> None:
    """Goal: copies that a cut leaves in no manifest are known for that, and the next back-up removes them. Method: the
    image is copied before the first of a second back-up's copies is written: the mark is there. Seen to fail without
    the sync of its folder.
    """
    image, after = tmp_path / "image", tmp_path / "after"
    make_ext4(image, 48 * MIB)
    with (
        pytest.MonkeyPatch.context() as patched,
        small_catalogs(patched),
        tmpfs(tmp_path / "data", size_bytes=64 * MIB) as memory,
        bed_in(memory) as bed,
    ):
        bed.add("first")
        with loop_ext4(image, tmp_path / "mount") as mount:
            bed.dest = mount / "dest"
            bed.save()
            os.sync()  # the first one's mark is gone for good
            bed.add("second")

            def cut(call: str, _counter: int, _args: tuple[object, ...]) -> None:
                if call == "open_new" and not after.exists():
                    shutil.copyfile(image, after)

            fs.set_hook(cut)
            try:
                bed.save()
            finally:
                fs.set_hook(None)
        with loop_ext4(after, tmp_path / "mount"):
            assert (bed.dest / "unfinished").exists()


@contextmanager
def bed_on(folder: Path, kind: FileSystem, options: str = "") -> Iterator[tuple[LoopVolume, Bed]]:
    """A bed whose back-ups go to a volume of their own."""
    with (
        pytest.MonkeyPatch.context() as patched,
        small_catalogs(patched),
        tmpfs(folder / "data", size_bytes=64 * MIB) as memory,
        bed_in(memory) as bed,
        loop_volume(folder / "disk", kind, 128 * MIB, options=options) as volume,
    ):
        bed.dest = volume.path / "dest"
        yield volume, bed


def test_the_next_one_survives(tmp_path: Path) -> None:
    """Goal: the names of what a back-up adds to an earlier one are durable before its manifest is. Method: a cut on
    btrfs, where the sync of one file takes no other along. Seen to fail without the sync before the manifest.
    """
    with bed_on(tmp_path, "btrfs") as (volume, bed):
        bed.add("first")
        bed.save()
        volume.sync()
        for number in range(5):
            bed.add(f"package{number}", 20_000)
        assert bed.save().new_copies == 5
        with volume.cut() as left:
            bed.dest = left / "dest"
            checked, found = bed.check()
            assert (checked.sound, checked.copies, found) == (True, 6, [])


def test_a_name_has_its_bytes_at_any_moment(tmp_path: Path) -> None:
    """Goal: what a cut in the middle leaves under a copy's name is that copy whole: the next back-up goes by the name.
    Method: when all have their names, ext4's journal is made to keep those; the power is cut before the catalog is
    copied. Seen to fail without the sync of the batch: every file was empty.
    """
    with bed_on(tmp_path, "ext4", "commit=600") as (volume, bed):
        contents = {bed.path(key).name: bed.path(key).read_bytes() for key in (bed.add(f"p{n}", 20_000) for n in "abc")}
        left: list[dict[str, bytes]] = []

        def cut(call: str, _counter: int, args: tuple[object, ...]) -> None:
            if call == "mkdir" and str(args[0]).endswith("state-1"):
                for shard in (bed.dest / "blobs").iterdir():
                    fd = os.open(shard, os.O_RDONLY)
                    os.fsync(fd)
                    os.close(fd)
                with volume.cut() as after:
                    left.append({path.name: path.read_bytes() for path in (after / "dest" / "blobs").glob("??/*")})

        fs.set_hook(cut)
        try:
            bed.save()
        finally:
            fs.set_hook(None)
        assert left == [contents]
