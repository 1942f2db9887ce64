"""Looks at every byte of a back-up, or of the data folder of a server that may be running."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from entrepot.catalog.beside import CatalogFile, CatalogFileError, CopyFacts
from entrepot.disk import fs
from entrepot.storage.sweep import copy_path
from entrepot.upkeep.backup.errors import BackupError
from entrepot.upkeep.backup.filler import MISSING, UNREADABLE, Folders, Lack, Read, digest_of, pour, wrong_length
from entrepot.upkeep.backup.manifest import Manifest
from entrepot.upkeep.backup.place import BLOBS, CATALOG, Place
from entrepot.upkeep.backup.progress import Progress, Tell


@dataclass(frozen=True, slots=True)
class Checked:
    """What a look at everything came to. ``faults`` are of the catalog and the small files, in sentences; ``bad`` the
    number of copies that were reported.
    """

    copies: int
    size_bytes: int
    faults: tuple[str, ...]
    bad: int

    @property
    def sound(self) -> bool:
        """Whether everything is there and whole."""
        return not self.faults and not self.bad


def check_backup(path: Path, tell: Tell, report: Callable[[Lack], None]) -> tuple[Manifest, Checked]:
    """Read a whole back-up. ``report`` hears of each copy that is missing or damaged, those too that were when it was
    made.

    Raises BackupError: those of :meth:`Place.to_read` and :meth:`Place.open_catalog`.
    """
    with Place.to_read(path) as place, Folders() as folders:
        faults = small_faults(place)
        with place.open_catalog() as catalog:
            faults += [f"{CATALOG}: {line}" for line in catalog.faults()]
            try:
                blobs = folders.open(path / BLOBS)
            except OSError as error:
                raise BackupError(
                    "backup_damaged", f"{path / BLOBS}: {error.strerror}.", "Use another back-up."
                ) from None
            checked = _check(catalog, blobs, tuple(faults), tell, report)
        return place.whole, checked


def small_faults(place: Place) -> list[str]:
    """What is wrong with the files of the state, in sentences: the catalog's file too. Reads them whole."""
    found = []
    for name, sha256 in sorted(place.whole.files.items()):
        file = place.path / place.whole.state / name
        try:
            if digest_of(file) != sha256:
                found.append(f"{file} is damaged: its bytes are not those of its sha256")
        except OSError as error:
            found.append(f"{file} cannot be read: {error.strerror}")
    return found


def check_folder(folder: Path, tell: Tell, report: Callable[[Lack], None]) -> Checked:
    """Read every copy in a data folder; a server may run on it. Raises BackupError ``backup_source``."""
    try:
        with CatalogFile(folder / CATALOG) as catalog, Folders() as folders:
            faults = tuple(f"{CATALOG}: {line}" for line in catalog.faults())
            return _check(catalog, folders.open(folder / BLOBS), faults, tell, report)
    except (CatalogFileError, OSError) as error:
        what = f"{error}" if isinstance(error, CatalogFileError) else f"{folder / BLOBS}: {error.strerror}"
        remedy = "Name a data folder or a back-up, and be a user who may read all of it."
        raise BackupError("backup_source", f"{what}.", remedy) from error


def _check(
    catalog: CatalogFile, blobs_fd: int, faults: tuple[str, ...], tell: Tell, report: Callable[[Lack], None]
) -> Checked:
    total = catalog.sum()
    progress = Progress(0, total.copies, 0, total.size_bytes)
    bad = 0
    for facts in catalog.copies():
        found = pour(blobs_fd, facts, None)
        progress = progress.more(facts.size_bytes)
        tell(progress)
        # What was collected since its row was read is missing by right.
        if found.why and (found.why != MISSING or catalog.find([facts.key])):
            bad += 1
            report(Lack(facts.key, str(found), tuple(catalog.names(facts.key))))
    return Checked(progress.copies_done, progress.bytes_done, faults, bad)


def absent(catalog: CatalogFile, blobs_fd: int) -> Iterable[tuple[CopyFacts, Read]]:
    """The copies whose files are not there, or not of their length, and which of the two; nothing is read."""
    for facts in catalog.copies():
        try:
            size_bytes = fs.stat(copy_path(facts.key), dir_fd=blobs_fd).st_size
        except FileNotFoundError:
            yield facts, Read(MISSING)
        except OSError as error:
            yield facts, Read(UNREADABLE, error.strerror or str(error))
        else:
            if size_bytes != facts.size_bytes:
                yield facts, wrong_length(size_bytes, facts)
