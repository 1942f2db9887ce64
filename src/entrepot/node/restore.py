"""Makes a data folder out of a back-up.

The folder is no data folder until everything in it is durable: the file ``restoring`` becomes ``format`` with the last
step. A server does not start on anything before that, however the restore ended.
"""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from entrepot.catalog import restored
from entrepot.catalog.beside import CatalogFile, CatalogFileError, Sum
from entrepot.disk import fs
from entrepot.disk.volume import Volume
from entrepot.model.limits import BATCH_BYTES, CATALOG_SPARE_BYTES, CATALOG_WAL_BYTES_MAX, MIB
from entrepot.node.folder import FORMAT, FORMAT_FILE, LOCK, RESTORING, SAVED_FILES
from entrepot.storage.sweep import SEALED_MODE, SHARD
from entrepot.upkeep.backup.check import absent, small_faults
from entrepot.upkeep.backup.errors import BackupError
from entrepot.upkeep.backup.filler import Filler, Folders, Lack
from entrepot.upkeep.backup.place import BLOBS, CATALOG, INCOMING, Place
from entrepot.upkeep.backup.progress import Progress, Tell

# What a server needs beside its copies to start: the catalog's log and kept room.
_START_BYTES = CATALOG_SPARE_BYTES + CATALOG_WAL_BYTES_MAX + 8 * MIB
_SHARDS_INODES = 300
_MAY_BE_THERE = frozenset({"lost+found"})
_OTHER_DISK = "Restore from another back-up, or add --partial to go without what is damaged."


@dataclass(frozen=True, slots=True)
class Restored:
    """What was restored. ``made_at``: the moment that the server is back at, seconds since 1970 UTC; ``lost``: copies
    that are not there.
    """

    made_at: int
    copies: int
    size_bytes: int
    scopes: int
    lost: tuple[Lack, ...]
    secret: bool


def restore(backup: Path, folder: Path, now_s: int, tell: Tell, *, partial: bool = False) -> Restored:
    """Restore a back-up into ``folder``, which is new or empty; ``blobs`` in it may be a mount point.

    Every copy is compared with its sha256 on the way. Args: ``partial``: go without copies that are missing or damaged
    in the back-up. When this raises, the folder is as it was.

    Raises BackupError: ``backup_torn``, ``backup_damaged``, ``backup_too_new``, ``backup_busy``;
    ``restore_not_empty``, ``restore_no_room``, ``restore_unwritable``.
    """
    with Place.to_read(backup) as place, place.open_catalog() as catalog:
        found = place.whole
        if found.data_format > FORMAT:
            raise BackupError(
                "backup_too_new",
                f"{backup} holds a data folder of format {found.data_format}; this version of Entrepot knows {FORMAT}.",
                "Use the Entrepot that made it, or a later one.",
            )
        faults = small_faults(place)
        if faults:
            raise BackupError("backup_damaged", f"{faults[0]}.", "Restore from another back-up.")
        with Folders() as folders:
            return _Return(place, catalog, folder, folders, tell, partial=partial).run(now_s)


class _Return:
    """One restore on its way."""

    def __init__(
        self, place: Place, catalog: CatalogFile, folder: Path, folders: Folders, tell: Tell, *, partial: bool
    ) -> None:
        self._place = place
        self._catalog = catalog
        self._folder = folder
        self._folders = folders
        self._tell = tell
        self._partial = partial
        self._lost: dict[str, Lack] = {}

    def run(self, now_s: int) -> Restored:
        """The whole of it."""
        try:
            self._from = self._folders.open(self._place.path / BLOBS)
        except OSError as error:
            raise BackupError("backup_damaged", f"{self._place.path / BLOBS}: {error.strerror}.", _OTHER_DISK) from None
        self._look_at_copies()
        total = self._catalog.sum()
        made = False
        try:
            made = fs.mkdir(self._folder, 0o700)
            mounted = self._check_empty()
            self._check_room(mounted=mounted)
            self._lock()
        except OSError as error:
            raise self._unwritable(error) from error
        try:
            filler = self._take(mounted=mounted)
            self._copy(filler, total)
            self._copy_state()
            scopes = restored.renew(self._folder / CATALOG, self._place.whole.made_at, now_s, list(self._lost))
            self._finish()
        except BaseException as error:
            self._undo(made=made)
            if isinstance(error, OSError):
                raise self._unwritable(error) from error
            if isinstance(error, CatalogFileError):
                raise BackupError("restore_unwritable", f"{error}.", "Name a folder on a disk that works.") from error
            raise
        whole = self._place.whole
        return Restored(
            whole.made_at, total.copies - len(self._lost), total.size_bytes, scopes, tuple(self._lost.values()),
            "secret" in whole.files,
        )  # fmt: skip

    def _look_at_copies(self) -> None:
        """See from names and lengths that the back-up is whole, before anything is written."""
        for facts, found in absent(self._catalog, self._from):
            why = self._place.whole.lacking.get(facts.key)
            self._lose(facts.key, why or str(found), declared=why is not None)

    def _lose(self, key: str, why: str, *, declared: bool) -> None:
        lack = Lack(key, why, tuple(self._catalog.names(key)))
        if not declared and not self._partial:
            what = f"{lack.names[0]}: " if lack.names else ""
            raise BackupError(
                "backup_damaged", f"{self._place.path}: {what}the copy {key} is not whole ({why}).", _OTHER_DISK
            )
        self._lost[key] = lack

    # ------------------------------------------------------------------ the folder

    def _check_empty(self) -> bool:
        """Whether ``blobs`` is a volume of its own. Raises BackupError for a folder that holds anything else,
        OSError.
        """
        folder = self._folder
        names = set(fs.listdir(folder)) - _MAY_BE_THERE
        mounted = BLOBS in names and fs.stat(folder / BLOBS).st_dev != fs.stat(folder).st_dev
        strangers = sorted(names - {BLOBS} if mounted else names)
        if mounted:
            strangers += sorted(f"{BLOBS}/{name}" for name in set(fs.listdir(folder / BLOBS)) - _MAY_BE_THERE)
        if strangers:
            raise BackupError(
                "restore_not_empty",
                f"{folder} is not empty: it holds {strangers[0]!r}.",
                "Name an empty folder; nothing is ever restored over something else.",
            )
        return mounted

    def _lock(self) -> None:
        """Hold the folder as a node would. Raises BackupError when somebody was quicker, OSError."""
        try:
            fd = fs.open_new(str(self._folder / LOCK), mode=0o600)
        except FileExistsError:
            raise BackupError("restore_not_empty", f"{self._folder} is in use.", "Name an empty folder.") from None
        self._folders.hold(fd)
        fs.flock(fd)

    def _take(self, *, mounted: bool) -> Filler:
        """Mark the folder as half made, and make the places for copies in it. Raises OSError."""
        folder = self._folder
        fs.write_small_atomically(folder / RESTORING, f"{FORMAT}\n".encode())
        fs.mkdir(folder / BLOBS, 0o700)
        self._blobs_fd = self._folders.open(folder / BLOBS)
        incoming = f"{BLOBS}/{INCOMING}" if mounted else INCOMING
        fs.mkdir(folder / incoming, 0o700)
        return Filler(self._blobs_fd, self._folders.open(folder / incoming), mode=SEALED_MODE)

    def _check_room(self, *, mounted: bool) -> None:
        blobs, top = Volume(self._folder / BLOBS if mounted else self._folder), Volume(self._folder)
        now = blobs.measure()
        copies = self._catalog.sum(now.block_bytes)
        catalog_bytes = self._place.whole.catalog_bytes + _START_BYTES
        needs = {blobs: copies.size_bytes} if mounted else {top: copies.size_bytes + catalog_bytes}
        if mounted:
            needs[top] = catalog_bytes
        for volume, need_bytes in needs.items():
            have = volume.measure()
            inodes = copies.copies + _SHARDS_INODES
            if need_bytes > have.available_bytes or (have.inodes_known and inodes > have.inodes_free):
                raise BackupError(
                    "restore_no_room",
                    f"{volume.name} has {have.available_bytes} bytes and {have.inodes_free} inodes available; the"
                    f" restore needs {need_bytes} bytes and {inodes} inodes.",
                    "Name a folder on a larger volume.",
                )

    def _copy(self, filler: Filler, total: Sum) -> None:
        progress = Progress(0, total.copies, 0, total.size_bytes)
        for facts in self._catalog.copies():
            if facts.key not in self._lost:
                found = filler.take(self._from, facts)
                if found.why:
                    declared = facts.key in self._place.whole.lacking
                    self._lose(facts.key, str(found), declared=declared)
            progress = progress.more(facts.size_bytes)
            self._tell(progress)
        filler.settle()

    def _copy_state(self) -> None:
        """The catalog and the small files, each with its mode from its first byte. Raises OSError."""
        state = self._place.path / self._place.whole.state
        _copy_file(state / CATALOG, self._folder / CATALOG)
        for name in self._place.whole.files:
            if name in SAVED_FILES:
                fs.write_small_atomically(self._folder / name, fs.read_small(state / name), mode=0o600)

    def _finish(self) -> None:
        """Make all of it durable, and a data folder. Raises OSError."""
        fs.syncfs(self._blobs_fd)
        top = self._folders.open(self._folder)
        fs.syncfs(top)
        fs.rename(RESTORING, FORMAT_FILE, src_dir_fd=top, dst_dir_fd=top)
        fs.fsync(top)

    def _undo(self, *, made: bool) -> None:
        """Take away everything that was put into the folder. Raises nothing."""
        folder = self._folder
        for name in (CATALOG, f"{CATALOG}-journal", *SAVED_FILES):
            with suppress(OSError):
                fs.unlink(folder / name)
        for incoming in (folder / INCOMING, folder / BLOBS / INCOMING):
            _remove_files(incoming)
        with suppress(OSError):
            for shard in [each for each in fs.listdir(folder / BLOBS) if SHARD.fullmatch(each)]:
                _remove_files(folder / BLOBS / shard)
            fs.rmdir(folder / BLOBS)  # EBUSY where it is a mount point
        # The mark that it is half made goes last.
        for name in (FORMAT_FILE, RESTORING, LOCK):
            with suppress(OSError):
                fs.unlink(folder / name)
        if made:
            with suppress(OSError):
                fs.rmdir(folder)

    def _unwritable(self, error: OSError) -> BackupError:
        if error.errno in fs.NO_ROOM_ERRNOS:
            return BackupError(
                "restore_no_room", f"{self._folder} is full; nothing was left in it.", "Name a larger volume."
            )
        return BackupError(
            "restore_unwritable",
            f"{self._folder} cannot be written: {error.strerror or error}.",
            "Name a folder that you may write.",
        )


def _remove_files(folder: Path) -> None:
    """Remove a folder and the files in it; raises nothing."""
    with suppress(OSError):
        for name in fs.listdir(folder):
            fs.unlink(folder / name)
        fs.rmdir(folder)


def _copy_file(source: Path, target: Path) -> None:
    """Copy a file, for its owner alone. Not synced. Raises OSError."""
    read_fd = fs.open_read(source)
    try:
        write_fd = fs.open_new(str(target), mode=0o600)
        try:
            offset = 0
            while chunk := fs.pread(read_fd, BATCH_BYTES, offset):
                fs.write_all(write_fd, chunk)
                offset += len(chunk)
        finally:
            fs.close(write_fd)
    finally:
        fs.close(read_fd)
