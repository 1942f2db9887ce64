"""A catalog file read from beside the server that owns it, or lying in a back-up: for back-up, verify and doctor.

The connection is read-only, so it never checkpoints: the log keeps its room for a full volume, whoever closes last.
Readers do not hold up the server's writer; a long read only keeps its log from being used again.
"""

import errno
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

from entrepot.catalog.damage import NAMES_OF_COPY
from entrepot.catalog.installation import KEY as INSTALLATION_KEY
from entrepot.catalog.revision import HEAD
from entrepot.model import limits
from entrepot.model.nouns import OPERATOR, Role

PAGE_ROWS = 2000
# Pages between two looks at how far a snapshot is: 8 MiB.
_STEP_PAGES = 2048


class CatalogFileError(Exception):
    """A catalog file cannot be read; the message says why."""


@dataclass(frozen=True, slots=True)
class CopyFacts:
    """What the catalog says of one copy: the name and the length of its file, and the sha256 of its bytes."""

    key: str
    sha256: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Sum:
    """How many copies, and their bytes."""

    copies: int
    size_bytes: int


_FACTS = "SELECT c.key, b.sha256, c.size_bytes FROM copy c JOIN blob b ON b.id = c.blob_id WHERE "
_NOT_THERE = "NOT EXISTS (SELECT 1 FROM other.copy o WHERE o.key = c.key)"


class CatalogFile:
    """One catalog file, open for reading. Every method may raise :class:`CatalogFileError`. For one thread."""

    def __init__(self, path: Path, *, still: bool = False) -> None:
        """Args: ``still``: nobody writes it (it lies in a back-up); else a server may.

        Raises CatalogFileError when there is no such file, or when it is no catalog.
        """
        self.path = path
        self._has_other = False
        with self._translated():
            self._driver = sqlite3.connect(
                _uri(path, still=still), uri=True, isolation_level=None, timeout=limits.CATALOG_WAIT_S
            )
        try:
            with self._translated():
                self._driver.execute("PRAGMA temp_store = MEMORY")
            self.revision = str(self._one("SELECT version_num FROM alembic_version")[0])
        except BaseException:
            self._driver.close()
            raise

    def close(self) -> None:
        """Close; any number of times."""
        self._driver.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # ------------------------------------------------------------------ facts

    @property
    def too_new(self) -> bool:
        """Whether a later version of Entrepot wrote it. Revisions are numbers of four digits."""
        return self.revision > HEAD

    def installation(self) -> str | None:
        """The installation's id; None for a catalog that has had no start since there is one."""
        row = self._first("SELECT value FROM meta WHERE key = ?", INSTALLATION_KEY)
        return None if row is None else str(row[0])

    def size_bytes(self) -> int:
        """What a snapshot of it takes."""
        return int(self._one("PRAGMA page_count")[0]) * int(self._one("PRAGMA page_size")[0])

    def newest_date(self) -> int:
        """The latest date of any publication, in seconds since 1970 UTC; 0 when there is none."""
        return int(self._one("SELECT coalesce(max(date_s), 0) FROM publication")[0])

    def sum(self, block_bytes: int = 1) -> Sum:
        """All copies; each rounded up to ``block_bytes``, as on a volume. With another catalog beside it
        (:meth:`compare`), those that the other one does not have.
        """
        where = _NOT_THERE if self._has_other else "1"
        rounded = "(c.size_bytes + ? - 1) / ? * ?"
        query = f"SELECT count(*), coalesce(sum({rounded}), 0) FROM copy c WHERE {where}"
        row = self._one(query, block_bytes, block_bytes, block_bytes)
        return Sum(int(row[0]), int(row[1]))

    def compare(self, path: Path | None) -> None:
        """From now on :meth:`sum` and :meth:`copies` leave out what the catalog file at ``path``, which nobody writes,
        has too; None: nothing.
        """
        with self._translated():
            if self._has_other:
                self._driver.execute("DETACH DATABASE other")
                self._has_other = False
            if path is not None:
                self._driver.execute("ATTACH DATABASE ? AS other", (_uri(path, still=True),))
                self._has_other = True

    def copies(self) -> Iterator[CopyFacts]:
        """Every copy, by key. Each page is a read of its own, so that the server's log is not held: a live catalog may
        change in between.
        """
        where = f"c.key > ? {f'AND {_NOT_THERE}' if self._has_other else ''} ORDER BY c.key LIMIT ?"
        after = ""
        while page := self._all(_FACTS + where, after, PAGE_ROWS):
            yield from (CopyFacts(*row) for row in page)
            after = page[-1][0]

    def find(self, keys: Sequence[str]) -> list[CopyFacts]:
        """Those of these copies that have a row."""
        found: list[CopyFacts] = []
        for start in range(0, len(keys), limits.CATALOG_ROWS_MAX):
            page = list(keys[start : start + limits.CATALOG_ROWS_MAX])
            found += (CopyFacts(*row) for row in self._all(f"{_FACTS} c.key IN ({', '.join('?' * len(page))})", *page))
        return found

    def names(self, key: str) -> list[str]:
        """What a copy's bytes are for, at most five: files as USER/REPO/DISTRO/VERSION/PATH, and indexes."""
        return [str(row[0]) for row in self._all(NAMES_OF_COPY, key)]

    def faults(self) -> list[str]:
        """What SQLite finds wrong with the file, at most 100 lines; empty when it is sound. Reads the whole file."""
        found = [str(row[0]) for row in self._all("PRAGMA quick_check(100)")]
        foreign = [f"dangling reference: {tuple(row)}" for row in self._all("PRAGMA foreign_key_check")]
        return [line for line in found if line != "ok"] + foreign[:100]

    def sealed_keys(self) -> list[tuple[str, bytes]]:
        """Fingerprint and sealed secret of every signing key in use."""
        query = "SELECT fingerprint, secret_sealed FROM signing_key WHERE retired_at IS NULL ORDER BY id"
        return [(str(row[0]), bytes(row[1])) for row in self._all(query)]

    def keys_ending(self, before_s: int) -> list[tuple[str, int]]:
        """Fingerprint and end (seconds since 1970 UTC) of the signing keys of repositories that end before then."""
        query = """
            SELECT DISTINCT fingerprint, expires_at FROM signing_key
            WHERE retired_at IS NULL AND repository_id IS NOT NULL AND expires_at < ? ORDER BY expires_at"""
        return [(str(row[0]), int(row[1])) for row in self._all(query, before_s)]

    def operator_tokens(self, now_s: int) -> int:
        """How many valid tokens may act for every owner."""
        query = """
            SELECT count(*) FROM token t JOIN owner o ON o.id = t.owner_id
            WHERE o.name = ? AND t.role = ? AND t.repositories IS NULL AND t.revoked_at IS NULL
                AND coalesce(t.expires_at, ?) >= ?"""
        return int(self._one(query, OPERATOR, Role.ADMIN.value, now_s, now_s)[0])

    def tokens_ending(self, now_s: int, before_s: int) -> list[str]:
        """OWNER/NAME of the tokens that are used and end between these moments, the first one first."""
        query = """
            SELECT o.name || '/' || t.name FROM token t JOIN owner o ON o.id = t.owner_id
            WHERE t.revoked_at IS NULL AND t.last_used_at IS NOT NULL AND t.expires_at BETWEEN ? AND ?
            ORDER BY t.expires_at LIMIT 20"""
        return [str(row[0]) for row in self._all(query, now_s, before_s)]

    def damaged(self) -> int:
        """How many copies the scrub knows to be missing or damaged."""
        return int(self._one("SELECT count(*) FROM damage d JOIN copy c ON c.key = d.key")[0])

    # ------------------------------------------------------------------ a copy of the whole

    def snapshot(self, target: Path, tell: Callable[[int], None] = lambda _bytes: None) -> None:
        """Write one state of the catalog, as it is now, to the file ``target``, which must not exist. Not synced.

        The state is held by a read transaction, so that what the server writes meanwhile neither gets in nor begins
        the copy anew. Args: ``tell`` hears of the bytes that are done. Raises OSError: ENOSPC or EIO of the target's
        volume.
        """
        page_bytes = int(self._one("PRAGMA page_size")[0])
        with self._translated(writing=True), _closing(sqlite3.connect(target, isolation_level=None)) as copy:
            # Without memory that processes share, which some network file systems lack; nobody else opens this file.
            copy.execute("PRAGMA locking_mode = EXCLUSIVE")
            self._driver.execute("BEGIN")
            try:
                self._driver.execute("SELECT count(*) FROM alembic_version").fetchone()
                self._driver.backup(
                    copy, pages=_STEP_PAGES, progress=lambda _s, left, total: tell((total - left) * page_bytes)
                )
            finally:
                self._driver.execute("ROLLBACK")
            # A file of its own: whoever reads it needs no log beside it, and no right to write there.
            copy.execute("PRAGMA journal_mode = DELETE")

    # ------------------------------------------------------------------ the driver

    def _all(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        with self._translated():
            return self._driver.execute(query, values).fetchall()

    def _first(self, query: str, *values: Any) -> tuple[Any, ...] | None:
        with self._translated():
            row: tuple[Any, ...] | None = self._driver.execute(query, values).fetchone()
        return row

    def _one(self, query: str, *values: Any) -> tuple[Any, ...]:
        row = self._first(query, *values)
        if row is None:
            raise CatalogFileError(f"{self.path}: a row is missing; it is no catalog of Entrepot")
        return row

    @contextmanager
    def _translated(self, *, writing: bool = False) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            name = getattr(error, "sqlite_errorname", "") or type(error).__name__
            if writing and name.startswith("SQLITE_FULL"):
                raise OSError(errno.ENOSPC, "No space left for the copy of the catalog") from error
            if writing and name.startswith("SQLITE_IOERR"):
                raise OSError(errno.EIO, f"The copy of the catalog failed ({name})") from error
            raise CatalogFileError(f"{self.path}: {error} ({name})") from error


@contextmanager
def _closing(driver: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    try:
        yield driver
    finally:
        with suppress(sqlite3.Error):
            driver.close()


def _uri(path: Path, *, still: bool) -> str:
    return f"file:{quote(str(path.absolute()))}?mode=ro{'&immutable=1' if still else ''}"
