"""The data folder: one node, one folder, held by a lock; and the few small files in it.

DIR/lock          flock of the running node
DIR/format        version of this layout: a number and a newline
DIR/catalog.db    the catalog (SQLite)
DIR/catalog-0004.db   the same before it was migrated from that schema (node.preserve)
DIR/blobs/ DIR/incoming/   copies (storage.folder); DIR/blobs may be a volume of its own
DIR/ballast/      room for the way out of a full volume (disk.ballast)
DIR/scratch/      temporary files of libraries, emptied at each start (disk.scratch)
DIR/secret        64 hexadecimal digits that seal the signing keys, mode 0600
DIR/admin-token   the first token, mode 0600
DIR/last-backup   when the last back-up was made, for the alert that one is overdue
DIR/restoring     there until a restore into the folder is complete (node.restore); it then becomes DIR/format
"""

from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from entrepot.catalog.revision import HEAD
from entrepot.disk import fs
from entrepot.disk.proc import lock_holder, named
from entrepot.signing.seal import SECRET_BYTES
from entrepot.storage.sweep import KEY, SHARD

FORMAT = 1
# In a folder that is no data folder yet: what an operator prepares (settings, mount points) or a first start left.
_MAY_BE_THERE = frozenset({"lock", "entrepot.toml", ".format.new", "lost+found", "blobs", "scratch"})
SAVED_FILES = ("secret", "admin-token", "entrepot.toml")
"""The small files that a back-up holds beside catalog and copies."""
LAST_BACKUP = "last-backup"
FORMAT_FILE, RESTORING, LOCK = "format", "restoring", "lock"
FILES = frozenset(
    {LOCK, FORMAT_FILE, RESTORING, LAST_BACKUP, *SAVED_FILES, ".trial"}
    | {"catalog.db", "catalog.db-wal", "catalog.db-shm", "catalog.db-journal"}
    | {f"catalog-{number:04}.db" for number in range(1, int(HEAD))}
)
"""Every file that may lie at the top, the operator's settings included."""
FOLDERS = frozenset({"blobs", "incoming", "scratch", "ballast", "lost+found"})
"""Every folder, the file system's own included."""


SECRET_REMEDY = (
    "Put the right one back; a back-up of this server has it. If it is lost for good, start once with"
    " --replace-lost-keys, which makes new signing keys."
)


class FolderError(Exception):
    """The data folder cannot be used; the message says why and what to do."""


@dataclass(slots=True)
class DataFolder:
    """An opened and locked data folder; ``fresh``: it has no catalog yet, a first start being about to happen or cut
    off. A context manager: leaving it gives the lock back.
    """

    path: Path
    fresh: bool
    _lock_fd: int

    @classmethod
    def open(cls, path: Path) -> Self:
        """Make the folder where it is missing (mode 0700), lock it, and check its format.

        Raises FolderError: another node holds it, a later version made it, it holds other files than ours, it has lost
        its catalog, or the system refuses.
        """
        try:
            for parent in reversed(path.absolute().parents):
                if not parent.exists():
                    fs.mkdir(parent)
            fs.mkdir(path, 0o700)
            lock_fd = fs.open_lock(path / LOCK)
        except OSError as error:
            raise FolderError(f"{path}: the data folder cannot be made or opened: {error.strerror}") from error
        try:
            if not fs.flock(lock_fd):
                raise FolderError(_taken(path))
            _check_format(path)
            return cls(path, _check_catalog(path), lock_fd)
        except BaseException as error:
            fs.close(lock_fd)
            if isinstance(error, OSError):
                raise FolderError(f"{path}: the data folder cannot be used: {error.strerror}") from error
            raise

    def close(self) -> None:
        """Give the lock back."""
        fd, self._lock_fd = self._lock_fd, -1
        if fd >= 0:
            fs.close(fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def catalog_url(self) -> str:
        """SQLAlchemy's URL of the catalog."""
        return f"sqlite:///{self.path.absolute() / 'catalog.db'}"

    def secret(self, make: bytes | None = None) -> bytes:
        """The bytes that seal the signing keys; ``make`` is written when there is no such file yet.

        Raises FolderError when the file is missing and ``make`` is None, or damaged: without the right secret no key
        opens. OSError.
        """
        path = self.path / "secret"
        try:
            found = bytes.fromhex(fs.read_small(path, bytes_max=1024).decode("ascii").strip())
        except FileNotFoundError:
            if make is None:
                raise FolderError(f"{path} is missing, and without it no signing key opens. {SECRET_REMEDY}") from None
            fs.write_small_atomically(path, make.hex().encode() + b"\n", mode=0o600)
            return make
        except ValueError:
            raise FolderError(f"{path} holds something else than hexadecimal digits. {SECRET_REMEDY}") from None
        if len(found) < SECRET_BYTES:
            raise FolderError(
                f"{path} holds {2 * len(found)} hexadecimal digits where {2 * SECRET_BYTES} belong. {SECRET_REMEDY}"
            )
        return found

    def admin_token(self) -> str | None:
        """What ``DIR/admin-token`` holds; None when there is no such file, or it cannot be read."""
        try:
            return fs.read_small(self.path / "admin-token", bytes_max=1024).decode("ascii", "replace").strip()
        except OSError:
            return None

    def write_admin_token(self, text: str) -> Path:
        """Keep the first token where only this user can read it; returns the file's path."""
        path = self.path / "admin-token"
        fs.write_small_atomically(path, text.encode() + b"\n", mode=0o600)
        return path

    @staticmethod
    def note_backup(path: Path, made_at: int) -> bool:
        """Write down in a data folder, on which a node may run, that a back-up was made; whether that was possible.

        Args: ``made_at`` seconds since 1970 UTC.
        """
        try:
            fs.write_small_atomically(path / LAST_BACKUP, f"{made_at}\n".encode(), mode=0o600)
        except OSError:
            return False
        return True

    @staticmethod
    def last_backup(path: Path) -> int | None:
        """When the last back-up of a data folder was made, seconds since 1970 UTC; None when none is known."""
        try:
            return int(fs.read_small(path / LAST_BACKUP, bytes_max=64))
        except (OSError, ValueError):
            return None


def _taken(path: Path) -> str:
    """The sentence for a folder whose lock is held: by whom, and what to do."""
    pid = lock_holder(path / LOCK)
    who = "another entrepot" if pid is None else named(pid)
    return (
        f"{path}: {who} is running on this data folder; one folder belongs to one node. Stop it, or name another"
        " folder. One that was told to stop finishes its uploads first: wait until it has ended, and start again."
    )


def _check_format(path: Path) -> None:
    """Write the format file of a new folder, check that of an old one. Raises FolderError, OSError."""
    marker = path / FORMAT_FILE
    try:
        text = fs.read_small(marker, bytes_max=64).decode("ascii", "replace").strip()
    except FileNotFoundError:
        if (path / RESTORING).exists():
            raise FolderError(
                f"{path}: a restore into this folder did not get to its end. Empty the folder and restore again."
            ) from None
        strangers = sorted(set(fs.listdir(path)) - _MAY_BE_THERE)
        if strangers:
            raise FolderError(
                f"{path} holds {strangers[0]!r} but no file named format: it is not a data folder."
                " Name an empty folder."
            ) from None
        fs.write_small_atomically(marker, f"{FORMAT}\n".encode())
        return
    if text != str(FORMAT):
        raise FolderError(
            f"{path} has format {text[:20]!r}, this version knows {FORMAT}: use the entrepot that made it."
        )


def _check_catalog(path: Path) -> bool:
    """Whether there is no catalog yet. Raises FolderError when there must have been one: an empty one in its place
    would know no package, and what lies in ``blobs`` would be collected as nobody's. OSError.
    """
    try:
        size_bytes = fs.stat(path / "catalog.db").st_size
    except FileNotFoundError:
        size_bytes = 0
    if size_bytes:
        return False
    sign = "blobs/ holds packages" if holds_copies(path / "blobs") else None
    if sign is None and "admin-token" in fs.listdir(path):
        sign = "there is an admin-token"
    if sign is not None:
        raise FolderError(
            f"{path / 'catalog.db'} is missing or empty, although {sign}. Put it back from a back-up, together with"
            " `secret`. To begin anew instead, name an empty folder."
        )
    return True


def holds_copies(blobs: Path) -> bool:
    """Whether there is any file that looks like a copy. Raises OSError."""
    try:
        shards = [name for name in fs.listdir(blobs) if SHARD.fullmatch(name)]
    except (FileNotFoundError, NotADirectoryError):
        return False
    return any(KEY.fullmatch(name) for shard in shards for name in fs.listdir(blobs / shard))
