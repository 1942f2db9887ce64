"""Real, small file systems for tests, mounted and unmounted by the test itself (root only)."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounts file systems: run as root")


def _unmount(folder: Path) -> None:
    """Unmount, and fail when something is still open in there; even then nothing stays mounted for the next test to
    meet."""
    done = subprocess.run(["umount", folder], capture_output=True, text=True, check=False)
    if done.returncode:
        subprocess.run(["umount", "--lazy", folder], check=True)
        raise AssertionError(f"something is still open on {folder}: {done.stderr}")


@contextmanager
def tmpfs(folder: Path, *, size_bytes: int, inodes: int = 0) -> Iterator[Path]:
    """A tmpfs of `size_bytes` (and `inodes`, 0 is no limit) at `folder`."""
    folder.mkdir(exist_ok=True)
    options = f"size={size_bytes},nr_inodes={inodes}"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "entrepot-test", folder], check=True)
    try:
        yield folder
    finally:
        _unmount(folder)


def make_ext4(image: Path, size_bytes: int) -> None:
    """An ext4 file system in a sparse file; everything is initialised now, so that no kernel thread writes later."""
    with image.open("wb") as file:
        file.truncate(size_bytes)
    extended = "lazy_itable_init=0,lazy_journal_init=0"
    subprocess.run(["mkfs.ext4", "-q", "-F", "-E", extended, image], check=True)


@contextmanager
def loop_ext4(image: Path, folder: Path) -> Iterator[Path]:
    """The ext4 image mounted through a loop device; the journal commits only when it is told to (`commit=600`)."""
    folder.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "ext4", "-o", "loop,commit=600", image, folder], check=True)
    try:
        yield folder
    finally:
        _unmount(folder)


def open_descriptors() -> int:
    """How many descriptors this process has open."""
    return len(os.listdir("/proc/self/fd"))
