"""The folder that back-ups are made into and read from."""

import os
import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from entrepot.catalog.beside import CatalogFile, CatalogFileError
from entrepot.disk import fs
from entrepot.storage.sweep import KEY, SHARD, copy_path
from entrepot.upkeep.backup import manifest
from entrepot.upkeep.backup.errors import BackupError
from entrepot.upkeep.backup.manifest import Manifest

CATALOG = "catalog.db"
BLOBS, INCOMING, UNFINISHED, LOCK = "blobs", "incoming", "unfinished", "lock"
_STATE = re.compile(r"state-([0-9]{1,12})", re.ASCII)
_OURS = frozenset({manifest.NAME, f".{manifest.NAME}.new", BLOBS, INCOMING, UNFINISHED, LOCK, "lost+found"})


class Place:
    """An opened and locked folder of back-ups. A context manager: leaving it gives the lock back."""

    def __init__(self, path: Path, lock_fd: int) -> None:
        self.path = path
        self._lock_fd = lock_fd
        self.manifest: Manifest | None = None

    @classmethod
    def to_write(cls, path: Path) -> Self:
        """Open a folder to make a back-up into: one that holds back-ups, an empty one, or a new one (mode 0700).

        Raises BackupError: ``backup_place_taken`` for a folder that holds something else, ``backup_busy`` when another
        one is being made, ``backup_damaged``, ``backup_too_new``; ``backup_unwritable`` when the system refuses.
        """
        try:
            fs.mkdir(path, 0o700)
            with fs.scandir(path) as entries:
                strangers = sorted(entry.name for entry in entries if not _is_ours(entry))
            if strangers:
                raise BackupError(
                    "backup_place_taken",
                    f"{path} holds {strangers[0]!r} and is no folder of back-ups.",
                    "Name an empty folder, or one that an earlier back-up was made into.",
                )
            return cls._opened(path, shared=False)
        except OSError as error:
            raise unwritable(path, error) from error

    @classmethod
    def to_read(cls, path: Path) -> Self:
        """Open a complete back-up. Raises BackupError: ``backup_torn`` when there is none (or only one that did not
        get to its end), ``backup_busy``, ``backup_damaged``, ``backup_too_new``.
        """
        try:
            opened = cls._opened(path, shared=True)
        except OSError as error:
            raise BackupError(
                "backup_torn", f"{path} cannot be opened: {error.strerror}.", "Name the folder of a back-up."
            ) from error
        if opened.manifest is None:
            began = (path / UNFINISHED).exists()
            opened.close()
            what = "a back-up that did not get to its end" if began else "no back-up"
            raise BackupError("backup_torn", f"{path} holds {what}.", "Name a folder that a back-up was made into.")
        return opened

    @classmethod
    def _opened(cls, path: Path, *, shared: bool) -> Self:
        # A reader needs no right to write: it locks the folder itself where there is no lock to be made.
        fd = fs.open_dir(path) if shared and not (path / LOCK).exists() else _lock_file(path, shared=shared)
        try:
            if not fs.flock(fd, shared=shared):
                raise BackupError(
                    "backup_busy", f"{path} is in use by another back-up or restore.", "Wait until that has ended."
                )
            made = cls(path, fd)
            made.manifest = manifest.read(path)
            return made
        except BaseException:
            fs.close(fd)
            raise

    def close(self) -> None:
        """Give the lock back."""
        fd, self._lock_fd = self._lock_fd, -1
        if fd >= 0:
            with suppress(OSError):
                fs.close(fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def whole(self) -> Manifest:
        """The manifest of a back-up that was opened to be read. Raises RuntimeError when there is none."""
        if self.manifest is None:
            raise RuntimeError("there is no complete back-up here")
        return self.manifest

    @property
    def catalog(self) -> Path:
        """The file of the catalog of the complete back-up."""
        return self.path / self.whole.state / CATALOG

    def open_catalog(self) -> CatalogFile:
        """The catalog of the complete back-up. Raises BackupError ``backup_damaged``, ``backup_too_new``."""
        try:
            found = CatalogFile(self.catalog, still=True)
        except CatalogFileError as error:
            raise BackupError("backup_damaged", f"{error}.", "Use another back-up.") from error
        if found.too_new:
            found.close()
            raise BackupError(
                "backup_too_new",
                f"{self.path} holds a catalog of revision {found.revision}, which this version of Entrepot does not"
                " know.",
                "Use the Entrepot that made it, or a later one.",
            )
        return found

    # ------------------------------------------------------------------ writing

    def begin(self) -> bool:
        """Note that what lies here is not all in a manifest from now on; whether that was so already. Raises
        OSError.
        """
        if (self.path / UNFINISHED).exists():
            return True
        fs.close(fs.open_lock(self.path / UNFINISHED))
        folder = fs.open_dir(self.path)
        try:
            fs.fsync(folder)
        finally:
            fs.close(folder)
        return False

    def end(self) -> None:
        """All that lies here is in the manifest. Raises OSError."""
        with suppress(FileNotFoundError):
            fs.unlink(self.path / UNFINISHED)

    def next_state(self) -> str:
        """A name for the next state, higher than every one that is here. Raises OSError."""
        numbers = [int(found[1]) for name in fs.listdir(self.path) if (found := _STATE.fullmatch(name))]
        return f"state-{max(numbers, default=0) + 1}"

    def drop_states(self, keep: str | None) -> None:
        """Remove every state but one. Raises OSError."""
        for name in fs.listdir(self.path):
            if _STATE.fullmatch(name) and name != keep:
                for below in fs.listdir(self.path / name):
                    fs.unlink(self.path / name / below)
                fs.rmdir(self.path / name)

    def drop_copies(self, keys: Iterable[str], blobs_fd: int) -> int:
        """Remove these copies; how many were there. Raises OSError."""
        gone = 0
        for key in keys:
            if KEY.fullmatch(key):
                with suppress(FileNotFoundError):
                    fs.unlink(copy_path(key), dir_fd=blobs_fd)
                    gone += 1
        return gone

    def strangers(self, blobs_fd: int) -> list[str]:
        """Copies that the catalog of the complete back-up does not list: what torn back-ups left. Walks every folder of
        copies. Raises OSError, BackupError.
        """
        found: list[str] = []
        with self.open_catalog() as catalog:
            for shard in sorted(name for name in fs.listdir(blobs_fd) if SHARD.fullmatch(name)):
                fd = fs.open_dir(shard, dir_fd=blobs_fd)
                try:
                    names = [name for name in fs.listdir(fd) if KEY.fullmatch(name)]
                finally:
                    fs.close(fd)
                known = {each.key for each in catalog.find(names)}
                found += (name for name in names if name not in known)
        return found


def _is_ours(entry: "os.DirEntry[str]") -> bool:
    """Whether a back-up may have put this there. A state is a folder: what a link leads to is somebody else's, and
    states are emptied.
    """
    return entry.name in _OURS or (bool(_STATE.fullmatch(entry.name)) and entry.is_dir(follow_symlinks=False))


def _lock_file(path: Path, *, shared: bool) -> int:
    """The lock of a folder. Raises OSError."""
    return fs.open_read(path / LOCK) if shared else fs.open_lock(path / LOCK)


def unwritable(path: Path, error: OSError) -> BackupError:
    """The back-up error for an OSError of the place."""
    if error.errno in fs.NO_ROOM_ERRNOS:
        return BackupError(
            "backup_no_room",
            f"{path} is full; nothing of this back-up was left there, and an earlier one is as it was.",
            "Make room there, or name another folder.",
        )
    return BackupError(
        "backup_unwritable",
        f"{path} cannot be written: {error.strerror or error}.",
        "Name a folder that you may write.",
    )
