"""The file systems below the data folder: what they can do, and how much room they have."""

import errno
from collections.abc import Iterator
from pathlib import Path

from entrepot.cli.checks import Finding, failed, fine, warning
from entrepot.disk import fs, proc
from entrepot.disk.pressure import thresholds
from entrepot.disk.volume import Volume
from entrepot.settings.concerns import DiskSettings
from entrepot.storage import probe


def check_file_systems(folder: Path) -> Iterator[Finding]:
    """Unnamed files, allocation, locks and syncs, where the packages are and where the catalog is."""
    blobs = folder / "blobs"
    places = [folder]
    try:
        if fs.stat(blobs).st_dev != fs.stat(folder).st_dev:
            places.append(blobs)
        for place in places:
            yield from _one(place, incoming=blobs / "incoming" if place is blobs else folder / "incoming")
    except OSError as error:
        yield failed("file_system", f"{folder} cannot be tried: {error.strerror}", "Run this as the server's user.")


def _one(place: Path, *, incoming: Path) -> Iterator[Finding]:
    kind = proc.file_system(place) or "unknown"
    lacks = _lacks(place, incoming if incoming.is_dir() else place)
    for each in lacks:
        yield warning("file_system", f"{place} ({kind}): {each}")
    remote = proc.is_remote(kind)
    if remote:
        yield warning(
            "file_system", f"{place} is on {kind}: SQLite's locks and shared memory are not to be relied on there",
            "Put the catalog on a local disk; only back-ups belong on a network file system.",
        )  # fmt: skip
    if not lacks and not remote:
        yield fine("file_system", f"{place} ({kind}): unnamed files, allocation, locks and syncs work")


def _lacks(place: Path, incoming: Path) -> list[str]:
    """What does not work, in sentences. Raises OSError."""
    folder_fd, incoming_fd = fs.open_dir(place), fs.open_dir(incoming)
    try:
        # Twice: the running server's reaper may take the trial's name for a leftover.
        unnamed = any(probe.has_tmpfile(folder_fd, incoming_fd) for _ in range(2))
        found = list(probe.limits(unnamed=unnamed, allocates=probe.has_fallocate(incoming_fd)))
        try:
            fs.flock(folder_fd, shared=True)
        except OSError as error:
            found.append(f"no locks (flock: {error.strerror}): nothing keeps a second server away")
        try:
            fs.fsync(folder_fd)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            found.append("folders cannot be synced: a power cut may take names away")
        return found
    finally:
        fs.close(incoming_fd)
        fs.close(folder_fd)


def check_room(folder: Path, settings: DiskSettings) -> Iterator[Finding]:
    """Room above the thresholds, by the rules by which the server enters its states."""
    seen: set[int] = set()
    for place in (folder, folder / "blobs"):
        try:
            volume = Volume(place)
            now = volume.measure()
        except OSError as error:
            yield failed("room", f"{place} cannot be measured: {error.strerror}")
            continue
        if volume.device in seen:
            continue
        seen.add(volume.device)
        limits = thresholds(settings, now)
        free = f"{place}: {now.available_bytes} of {now.size_bytes} bytes available"
        inodes = now.inodes_free if now.inodes_known else None
        if now.read_only:
            yield failed("room", f"{place} is mounted read-only", "Look at the kernel's log; mount it to be written.")
        elif now.available_bytes < limits.readonly_bytes or (inodes is not None and inodes < limits.readonly_inodes):
            yield failed("room", f"{free}, {inodes} inodes: uploads are refused")
        elif now.available_bytes < limits.pressure_bytes or (inodes is not None and inodes < limits.pressure_inodes):
            yield warning("room", f"{free}, {inodes} inodes: it fills up")
        else:
            yield fine("room", free)
