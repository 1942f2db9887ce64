"""Makes a back-up beside a running server: copies first, then one state of the catalog, then what that lists beyond.

The server is not asked and does not wait. What it deletes meanwhile may be missing when its turn comes: then the next
state of the catalog, which does not list it any more, is taken. Each round has only to copy what the round before took
time for, so the second or third finds everything.
"""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from entrepot.catalog.beside import CatalogFile, CatalogFileError, CopyFacts
from entrepot.disk import fs
from entrepot.disk.volume import Measure, Volume
from entrepot.model.limits import MIB
from entrepot.upkeep.backup import manifest as manifests
from entrepot.upkeep.backup.errors import BackupError
from entrepot.upkeep.backup.filler import MISSING, Filler, Folders, Lack, Read, digest_of
from entrepot.upkeep.backup.manifest import Manifest
from entrepot.upkeep.backup.place import BLOBS, CATALOG, INCOMING, Place, unwritable
from entrepot.upkeep.backup.progress import Progress, Tell

ROUNDS_MAX = 8
LACKING_MAX = 1000
"""More copies than this that cannot be read are no damage: their volume is not there."""
# What the folder itself takes beside copies and catalog.
_SLACK_BYTES = 4 * MIB
_SLACK_INODES = 300


@dataclass(frozen=True, slots=True)
class Source:
    """The data folder that is saved: its small ``files`` by name (those that are there), and the version of its
    layout.
    """

    folder: Path
    files: tuple[str, ...]
    data_format: int
    version: str

    @property
    def catalog(self) -> Path:
        """The catalog's file."""
        return self.folder / CATALOG


@dataclass(frozen=True, slots=True)
class Saved:
    """What a back-up came to: what it added, what it holds in all, what it removed, and what is lacking in it.

    ``secret``: whether it holds what opens the signing keys. ``same_volume``: it lies on the disk that it should save
    from.
    """

    made_at: int
    new_copies: int
    new_bytes: int
    copies: int
    size_bytes: int
    catalog_bytes: int
    removed_copies: int
    lacking: tuple[Lack, ...]
    secret: bool
    same_volume: bool


def save(source: Source, path: Path, now_s: Callable[[], int], tell: Tell) -> Saved:
    """Make a back-up of ``source`` into the folder ``path``; only what that lacks is copied.

    Args: ``now_s`` reads the clock; ``tell`` hears of the progress. Whatever ends it, an earlier back-up in ``path`` is
    as it was. Raises BackupError: those of :meth:`Place.to_write`; ``backup_source`` when the data folder cannot be
    read; ``backup_of_another`` when ``path`` holds another installation's; ``backup_no_room``; ``backup_unsettled``
    when the server removes faster than the back-up copies.
    """
    if path.absolute().resolve().is_relative_to(source.folder.absolute().resolve()):
        raise BackupError(
            "backup_place_taken", f"{path} lies in the data folder.", "Name a folder elsewhere, better on another disk."
        )
    try:
        with CatalogFile(source.catalog) as live, Place.to_write(path) as place, Folders() as folders:
            return _Run(source, place, live, folders, now_s, tell).run()
    except CatalogFileError as error:
        raise _unreadable(f"{error}.") from error


def _unreadable(detail: str) -> BackupError:
    return BackupError(
        "backup_source", detail, "Name the server's data folder with --data, and be a user who may read all of it."
    )


class _Run:
    """One back-up on its way."""

    def __init__(
        self, source: Source, place: Place, live: CatalogFile, folders: Folders, now_s: Callable[[], int], tell: Tell
    ) -> None:
        self._source = source
        self._place = place
        self._live = live
        self._folders = folders
        self._now_s = now_s
        self._tell = tell
        self._old = place.manifest
        self._installation = self._check_installation()
        try:
            self._from = folders.open(source.folder / BLOBS)
            self._small = {name: content for name in source.files if (content := _read(source.folder / name))}
        except OSError as error:
            raise _unreadable(f"{error.filename or source.folder / BLOBS} cannot be read: {error.strerror}.") from error
        self._lacking: dict[str, Lack] = {}
        self._new_bytes = 0
        self._progress = Progress(0, 0, 0, 0)
        self._sealing = False

    def _check_installation(self) -> str:
        found = self._live.installation()
        if found is None:
            raise BackupError(
                "backup_source", f"{self._source.catalog} has not met this version yet.", "Start the server once."
            )
        if self._old is not None and self._old.installation != found:
            raise BackupError(
                "backup_of_another",
                f"{self._place.path} holds back-ups of another server.",
                "Name another folder, one for each server.",
            )
        return found

    def run(self) -> Saved:
        """The whole back-up."""
        torn_before = True
        filler: Filler | None = None
        try:
            self._check_room()
            torn_before = self._place.begin()
            for name in (BLOBS, INCOMING):
                fs.mkdir(self._place.path / name, 0o700)
            blobs = self._folders.open(self._place.path / BLOBS)
            filler = Filler(blobs, self._folders.open(self._place.path / INCOMING), mode=0o600)
            same_volume = fs.fstat(blobs).st_dev == fs.fstat(self._from).st_dev
            self._fill(filler, self._live.copies())
            state = self._place.next_state()
            made_at = self._settle(filler, state)
            made = self._seal(state, made_at, blobs)
        except BaseException as error:
            if not self._sealed():
                self._undo(filler, torn_before=torn_before)
            if isinstance(error, OSError):
                raise unwritable(self._place.path, error) from error
            raise
        removed = self._tidy(made, filler.made, blobs, torn_before=torn_before)
        return Saved(
            made.made_at, len(filler.made), self._new_bytes, made.copies, made.size_bytes, made.catalog_bytes,
            removed, tuple(self._lacking.values()), "secret" in made.files, same_volume,
        )  # fmt: skip

    def _check_room(self) -> None:
        """Refuse what can be seen not to fit before anything is written."""
        now = Volume(self._place.path).measure()
        if self._old is not None:
            self._live.compare(self._place.catalog)
        new = self._live.sum(now.block_bytes)
        self._progress = Progress(0, new.copies, 0, new.size_bytes)
        need_bytes = new.size_bytes + self._live.size_bytes() + _SLACK_BYTES
        if need_bytes > now.available_bytes or _lacks_inodes(now, new.copies):
            raise BackupError(
                "backup_no_room",
                f"{self._place.path} has {now.available_bytes} bytes and {now.inodes_free} inodes available; the"
                f" back-up needs {need_bytes} bytes and {new.copies} inodes more.",
                "Make room there, or name another folder.",
            )

    def _fill(self, filler: Filler, copies: Iterable[CopyFacts]) -> list[CopyFacts]:
        """Copy what is not there yet; returns those whose files are missing."""
        missing = []
        for facts in copies:
            if facts.key in self._lacking or filler.has(facts):
                continue
            found = filler.take(self._from, facts)
            if found.why == MISSING:
                missing.append(facts)
            elif found.why:
                self._lack(facts, found)
            else:
                self._new_bytes += facts.size_bytes
                self._progress = self._progress.more(facts.size_bytes)
                self._tell(self._progress)
        filler.settle()
        return missing

    def _lack(self, facts: CopyFacts, found: Read) -> None:
        self._lacking[facts.key] = Lack(facts.key, str(found), tuple(self._live.names(facts.key)))
        if len(self._lacking) > LACKING_MAX:
            raise BackupError(
                "backup_source",
                f"More than {LACKING_MAX} packages cannot be read in {self._source.folder / BLOBS}.",
                "Is its volume mounted, and the catalog that of this folder?",
            )

    def _settle(self, filler: Filler, state: str) -> int:
        """Take states of the catalog until one is found whose copies are all here; when that one was taken."""
        folder = self._place.path / state
        fs.mkdir(folder, 0o700)
        for _ in range(ROUNDS_MAX):
            with suppress(FileNotFoundError):
                fs.unlink(folder / CATALOG)
            made_at = self._now_s()
            self._live.snapshot(folder / CATALOG, lambda done: self._tell(self._progress.catalog(done)))
            fs.chmod(str(folder / CATALOG), 0o600)
            with CatalogFile(folder / CATALOG, still=True) as taken:
                # What an earlier back-up found lacking may have been mended since.
                mended = [] if self._old is None else taken.find(list(self._old.lacking))
                if self._old is not None:
                    taken.compare(self._place.catalog)
                missing = self._fill(filler, mended) + self._fill(filler, taken.copies())
            # What the server lists still is missing for good: its next state would list it too.
            lost = self._live.find([each.key for each in missing])
            for each in lost:
                self._lack(each, Read(MISSING))
            if len(lost) == len(missing):
                return made_at
        raise BackupError(
            "backup_unsettled",
            "The server removed packages faster than they could be copied.",
            "Make the back-up again when no `entrepot gc` runs.",
        )

    def _seal(self, state: str, made_at: int, blobs_fd: int) -> Manifest:
        """Put the small files beside the catalog, make everything durable, and say that it is whole."""
        folder = self._place.path / state
        digests = {CATALOG: digest_of(folder / CATALOG)}
        for name, content in self._small.items():
            fs.write_small_atomically(folder / name, content, mode=0o600)
            digests[name] = hashlib.sha256(content).hexdigest()
        with CatalogFile(folder / CATALOG, still=True) as taken:
            total = taken.sum()
            listed = {each.key for each in taken.find(list(self._lacking))}
            made = Manifest(
                manifests.FORMAT, self._installation, made_at, self._source.version, self._source.data_format,
                str(taken.revision), state, digests, fs.stat(folder / CATALOG).st_size, total.copies, total.size_bytes,
                {key: lack.why for key, lack in self._lacking.items() if key in listed},
            )  # fmt: skip
        fs.syncfs(blobs_fd)
        self._sealing = True
        made.write(self._place.path)
        return made

    def _sealed(self) -> bool:
        """Whether the new manifest may be in place, although writing it failed: then both states have to stay."""
        if not self._sealing:
            return False
        try:
            return manifests.read(self._place.path) != self._old
        except BackupError:
            return True

    def _undo(self, filler: Filler | None, *, torn_before: bool) -> None:
        """Leave the folder as it was found; what cannot be removed is found by the next back-up."""
        with suppress(OSError):
            if filler is not None:
                filler.undo()
            self._place.drop_states(None if self._old is None else self._old.state)
            if not torn_before:
                self._place.end()

    def _tidy(self, made: Manifest, new_keys: Sequence[str], blobs_fd: int, *, torn_before: bool) -> int:
        """Remove what the new manifest does not speak of: what the last one did, and what was collected since it was
        copied. How many copies. What fails is left to the next back-up: this one is whole.
        """
        removed = 0
        with suppress(OSError, CatalogFileError, BackupError):
            if self._old is not None:
                self._live.compare(None)  # lets go of the old catalog's file
                with CatalogFile(self._place.path / self._old.state / CATALOG, still=True) as old:
                    old.compare(self._place.path / made.state / CATALOG)
                    removed += self._place.drop_copies((each.key for each in old.copies()), blobs_fd)
            self._place.manifest = made
            with self._place.open_catalog() as catalog:
                listed = {each.key for each in catalog.find(new_keys)}
            self._place.drop_copies([key for key in new_keys if key not in listed], blobs_fd)
            if torn_before:
                removed += self._place.drop_copies(self._place.strangers(blobs_fd), blobs_fd)
            self._place.drop_states(made.state)
            self._place.end()
        return removed


def _lacks_inodes(now: Measure, copies: int) -> bool:
    return now.inodes_known and copies + _SLACK_INODES > now.inodes_free


def _read(path: Path) -> bytes | None:
    """A small file; None where there is none. Raises OSError."""
    try:
        return fs.read_small(path)
    except FileNotFoundError:
        return None
