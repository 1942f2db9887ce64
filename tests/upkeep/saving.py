"""A data folder with a real catalog and store, and what tests of back-ups ask of it and of a folder of back-ups."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from entrepot.catalog.engine import Catalog
from entrepot.disk.ledger import Ledger
from entrepot.disk.volume import Volume
from entrepot.model import limits
from entrepot.node.folder import FORMAT, SAVED_FILES
from entrepot.observe.clock import FixedClock
from entrepot.storage.folder import FolderStore
from entrepot.upkeep.backup.check import Checked, check_backup
from entrepot.upkeep.backup.filler import Lack
from entrepot.upkeep.backup.progress import Progress, Tell
from entrepot.upkeep.backup.save import Saved, Source, save
from entrepot.upkeep.collect import Collector
from tests.catalog.helpers import NOW, a_deb, catalog_with_repository, put

SECRET = "ab" * 32


def quiet(_now: Progress) -> None:
    """Progress that nobody looks at."""


@dataclass
class Bed:
    """A data folder ``data`` and a folder of back-ups ``dest``, whose clock stands still."""

    data: Path
    dest: Path
    catalog: Catalog
    repository_id: int
    store: FolderStore
    clock: FixedClock = field(default_factory=lambda: FixedClock(NOW + 1000))

    @property
    def source(self) -> Source:
        """What is saved."""
        return Source(self.data, SAVED_FILES, FORMAT, "1.2.3")

    def add(self, name: str, size_bytes: int = 100) -> str:
        """One package of so many bytes with its row; its copy's key."""
        content = (name + " ").ljust(size_bytes, "x")
        with self.store.stage(len(content)) as staged:
            staged.write(content.encode())
            key = staged.commit(hashlib.sha256(content.encode()).hexdigest())
        put(self.catalog, a_deb(self.repository_id, name, content=content), key)
        self.store.confirm([key])
        return key

    def remove(self, name: str) -> None:
        """Yank and collect one package, as a server does: rows first, bytes after."""
        with self.catalog.write() as conn:
            where = f"(SELECT id FROM file WHERE name = '{name}')"
            for table in ("fragment", "membership", "requirement"):
                conn.exec_driver_sql(f"DELETE FROM {table} WHERE file_id IN {where}")
            conn.exec_driver_sql(f"DELETE FROM file WHERE name = '{name}'")
        Collector(self.catalog, self.store, self.clock).free_unreferenced()

    def path(self, key: str) -> Path:
        """A copy's file."""
        return self.data / "blobs" / key[:2] / key

    def save(self, tell: Tell = quiet) -> Saved:
        """Make a back-up."""
        return save(self.source, self.dest, self.clock.now_s, tell)

    def check(self) -> tuple[Checked, list[Lack]]:
        """Read the back-up whole; what was reported."""
        found: list[Lack] = []
        return check_backup(self.dest, quiet, found.append)[1], found

    def held(self) -> set[str]:
        """The copies that the back-up holds, by name."""
        return {path.name for path in (self.dest / "blobs").glob("??/*")}


def objects(folder: Path) -> dict[str, bytes]:
    """Every file below a folder with its content, without the lock."""
    paths = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != "lock")
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


@contextmanager
def small_catalogs(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Catalogs without the room that they keep for a full volume: sixteen megabytes that every back-up would copy."""
    with monkeypatch.context() as patched:
        patched.setattr(limits, "CATALOG_SPARE_BYTES", 0)
        yield


@contextmanager
def bed_in(folder: Path) -> Iterator[Bed]:
    """A bed below an existing folder."""
    data = folder / "data"
    data.mkdir(mode=0o700)
    (data / "secret").write_text(SECRET)
    (data / "entrepot.toml").write_text("[server]\n")
    with (
        catalog_with_repository(data) as (catalog, repository_id),
        FolderStore(data, Ledger(Volume(data))) as store,
    ):
        yield Bed(data, folder / "dest", catalog, repository_id, store)
