"""The disk part of a node: which volumes it writes, watched for as long as it runs, and room on them."""

import os
from contextlib import ExitStack
from pathlib import Path

from entrepot.disk import fs, proc, scratch
from entrepot.disk.state import State
from entrepot.disk.watch import Volumes
from entrepot.intake.room import Room
from entrepot.observe import logs
from entrepot.observe.clock import Clock
from entrepot.observe.health import CheckResult
from entrepot.publish.publisher import Publisher
from entrepot.settings.concerns import DiskSettings
from entrepot.storage.folder import FolderStore

_log = logs.get("disk")


def open_volumes(settings: DiskSettings, folder: Path, clock: Clock, stack: ExitStack) -> Volumes:
    """Find the volumes of a data folder, which may be a mount point or hold some, and watch them until ``stack`` ends.
    From here on temporary files of libraries and children go to the scratch folder. Raises OSError.
    """
    scratch_folder = settings.scratch_folder or folder / "scratch"
    scratch.prepare(scratch_folder)
    for variable in ("TMPDIR", "SQLITE_TMPDIR"):
        os.environ[variable] = str(scratch_folder.absolute())
    fs.mkdir(folder / "blobs")
    volumes = Volumes(settings, clock)
    volumes.add(folder, "catalog").make_way()
    for use in ("blobs", "incoming"):
        volumes.add(folder / "blobs", use)
    volumes.add(scratch_folder, "scratch")
    volumes.start()
    stack.callback(volumes.stop)
    return volumes


def open_store(folder: Path, volumes: Volumes, stack: ExitStack) -> FolderStore:
    """The store in a data folder; what its file system lacks stands in the log. Raises Refusal."""
    store = stack.enter_context(FolderStore(folder, volumes.watch_of("blobs").ledger))
    limits = [*store.limits]
    kind = proc.file_system(folder)
    if proc.is_remote(kind):
        limits.append(
            f"{kind}: SQLite's locks and shared memory, and the lock that keeps a second server away, are not to be"
            " relied on there; put the data folder on a local disk"
        )
    if kind == "btrfs":
        limits.append(
            "btrfs copies on write: on a full volume deletes may be refused, unless the data folder was made with"
            " `chattr +C` before the first start"
        )
    for limit in limits:
        _log.warning("limit of the file system", folder=str(folder / "blobs"), limit=limit)
    return store


def room(volumes: Volumes, publisher: Publisher) -> Room:
    """Where uploads reserve."""
    blobs, catalog = volumes.watch_of("blobs").ledger, volumes.watch_of("catalog").ledger
    return Room(blobs, catalog, publisher.when_published)


def storage_check(volumes: Volumes) -> CheckResult:
    """Whether every volume works; fullness is not judged here."""
    broken = [status for status in volumes.all() if status.state is State.BROKEN]
    return CheckResult(not broken, "; ".join(f"{status.name} failed: {status.cause}" for status in broken))
