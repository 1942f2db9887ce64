"""Small real file systems: tmpfs, and ext4, xfs or btrfs on a loop device whose power can be cut.

A power cut is modelled by copying the backing file: what the file system has not yet handed to the block device is not
in it. All that it has handed over counts as kept, as on a device without a volatile cache.
"""

import contextlib
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from tests.support.process import run

MIB = 1 << 20
SECTOR_BYTES = 512
MINIMUM_BYTES = {"ext4": 16 * MIB, "xfs": 320 * MIB, "btrfs": 128 * MIB}
MAKE: dict[str, list[str]] = {
    "ext4": ["mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0"],
    "xfs": ["mkfs.xfs", "-q", "-f"],
    "btrfs": ["mkfs.btrfs", "-q", "-f"],
}
CUT_TRIES = 40
CUT_PAUSE_S = 0.05
FileSystem = Literal["ext4", "xfs", "btrfs"]


@dataclass(frozen=True, slots=True)
class BlockCounters:
    """What a block device has done since it was made."""

    read_bytes: int
    written_bytes: int
    writes: int
    flushes: int
    in_flight: int


@dataclass(slots=True)
class Volume:
    """A mounted file system. `path` is its mount point."""

    path: Path
    kind: str
    closers: list[Callable[[], None]] = field(default_factory=list)

    def free_bytes(self) -> int:
        """Bytes that root could still write (btrfs counts space for metadata as free; there the smaller figure is
        it).
        """
        facts = os.statvfs(self.path)
        return (facts.f_bavail if self.kind == "btrfs" else facts.f_bfree) * facts.f_frsize

    def available_bytes(self) -> int:
        """Bytes that an ordinary user could still write."""
        facts = os.statvfs(self.path)
        return facts.f_bavail * facts.f_frsize

    def free_inodes(self) -> int:
        """Files that could still be made (0 where the file system has no such limit)."""
        return os.statvfs(self.path).f_ffree

    def fill(self, leave_bytes: int = 0, name: str = "filler") -> Path:
        """Take all space but `leave_bytes` with one file; remove that file to give it back."""
        filler = self.path / name
        with filler.open("ab") as file:
            step = max(self.free_bytes() - leave_bytes, 0)
            size = file.tell()
            while step >= 4096:
                try:
                    os.posix_fallocate(file.fileno(), size, step)
                    size += step
                    step = min(step, max(self.free_bytes() - leave_bytes, 0))
                except OSError:
                    step //= 2
        return filler

    def fill_inodes(self, leave: int = 0, name: str = "inodes") -> Path:
        """Take all inodes but `leave` with empty files in one folder; remove the folder to give them back."""
        folder = self.path / name
        folder.mkdir()
        with contextlib.suppress(OSError):
            for number in range(self.free_inodes() - leave):
                (folder / str(number)).touch()
        return folder

    def close(self) -> None:
        """Undo all that was set up, last first; every step is tried even if one fails."""
        with contextlib.ExitStack() as stack:
            for closer in self.closers:
                stack.callback(closer)
            self.closers = []


@dataclass(slots=True)
class LoopVolume(Volume):
    """A file system in an image file on a loop device."""

    image: Path = Path()
    device: str = ""

    def counters(self) -> BlockCounters:
        """The loop device's counters from /sys/block."""
        stat = [int(word) for word in Path(f"/sys/block/{self.device}/stat").read_text().split()]
        flushes = stat[15] if len(stat) > 15 else 0
        return BlockCounters(stat[2] * SECTOR_BYTES, stat[6] * SECTOR_BYTES, stat[4], flushes, stat[8])

    def written_bytes(self) -> int:
        """Bytes written to the block device so far. Call `sync` first to count what is still in memory."""
        return self.counters().written_bytes

    def sync(self) -> None:
        """Hand everything in memory to the device."""
        run(["sync", "--file-system", self.path])

    @contextmanager
    def cut(self) -> Iterator[Path]:
        """Copy the image as a power cut would leave it now, mount the copy (its journal is replayed), yield its path.

        The copy is one moment of the device: it is made again if the device wrote meanwhile. Raises `AssertionError` if
        the device never rests; end or stop its writer first.
        """
        with tempfile.TemporaryDirectory(prefix="cut-", dir=self.image.parent) as work:
            copy = Path(work, "image")
            for _ in range(CUT_TRIES):
                before = self.counters()
                run(["cp", "--sparse=always", "--reflink=auto", self.image, copy])
                after = self.counters()
                if (before.writes, 0, 0) == (after.writes, before.in_flight, after.in_flight):
                    break
                time.sleep(CUT_PAUSE_S)
            else:
                raise AssertionError(f"{self.device} did not rest long enough for a copy")
            volume = attach(copy, Path(work, "mount"), self.kind)
            try:
                yield volume.path
            finally:
                volume.close()


def unmount(path: Path) -> None:
    """Unmount; if something still holds it, detach it lazily so that nothing is left behind."""
    if not run(["umount", path], check=False).ok:
        run(["umount", "--lazy", path], check=False)


def attach(image: Path, mount_point: Path, kind: str, options: str = "") -> LoopVolume:
    """Attach an image to a loop device (past the host's page cache where it can) and mount it."""
    mount_point.mkdir(parents=True, exist_ok=True)
    attached = run(["losetup", "--find", "--show", "--direct-io=on", image], check=False)
    if not attached.ok:
        attached = run(["losetup", "--find", "--show", image])
    device = attached.stdout.strip()
    volume = LoopVolume(mount_point, kind, [lambda: detach(device)], image, device.removeprefix("/dev/"))
    wanted = ",".join(part for part in ("nouuid" if kind == "xfs" else "", options) if part)
    try:
        run(["mount", "-t", kind, *(["-o", wanted] if wanted else []), device, mount_point])
        volume.closers.append(lambda: unmount(mount_point))
        # A btrfs copy has the identity of its original; an old kernel would mount the original in its place.
        shown = run(["findmnt", "--noheadings", "--output", "SOURCE", "--mountpoint", mount_point]).stdout.strip()
        assert shown == device, f"{mount_point} shows {shown}, not {device}"
    except BaseException:
        volume.close()
        raise
    return volume


def detach(device: str) -> None:
    """Free a loop device."""
    run(["losetup", "--detach", device], check=False)


@contextmanager
def tmpfs(folder: Path, size_bytes: int = 64 * MIB, inodes: int | None = None) -> Iterator[Volume]:
    """A tmpfs of a size and number of inodes, mounted on `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    options = f"size={size_bytes}" + (f",nr_inodes={inodes}" if inodes else "")
    run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder])
    try:
        yield Volume(folder, "tmpfs")
    finally:
        unmount(folder)


@contextmanager
def loop_volume(
    folder: Path,
    kind: FileSystem = "ext4",
    size_bytes: int = 320 * MIB,
    *,
    options: str = "",
    reserved_percent: int = 0,
) -> Iterator[LoopVolume]:
    """A file system of `kind` in a sparse image beside its mount point, both below `folder`.

    `reserved_percent` is ext4's share for root. Raises `ValueError` below the smallest size that `kind` can have.
    """
    if size_bytes < MINIMUM_BYTES[kind]:
        raise ValueError(f"{kind} needs at least {MINIMUM_BYTES[kind] // MIB} MiB")
    folder.mkdir(parents=True, exist_ok=True)
    image = folder / f"{kind}.img"
    with image.open("wb") as file:
        file.truncate(size_bytes)
    reserve = ["-m", str(reserved_percent)] if kind == "ext4" else []
    run([*MAKE[kind], *reserve, image])
    volume = attach(image, folder / "mount", kind, options)
    try:
        yield volume
    finally:
        volume.close()
        image.unlink()
