"""The catalog's connections: one writer, a few readers, and what SQLite needs to survive a kill and a full volume.

* Write-ahead log with ``synchronous=FULL``: a commit is on the disk when it returns
  (https://sqlite.org/pragma.html#pragma_synchronous).
* The log is never truncated in normal life and its file is filled once at start, and some rows of random bytes keep
  room inside the database file: commits of deletes then find their pages on a volume with no free block left.
* One writer connection behind :class:`~entrepot.catalog.lane.Lane`; it is opened first and closed last, because
  SQLite removes the log with the last connection.
* Readers are in ``query_only`` mode; each ``read()`` is one snapshot.
"""

import contextlib
import errno
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from sqlalchemy import Connection, create_engine, event, exc, func, select
from sqlalchemy.engine import make_url
from sqlalchemy.pool import QueuePool, StaticPool

from entrepot.catalog import installation, revision, schema
from entrepot.catalog.lane import Lane, Turn
from entrepot.disk.volume import Observer, Unobserved
from entrepot.model import limits
from entrepot.model.errors import Refusal

T = TypeVar("T")

PAGE_BYTES = 4096
WRITER_CACHE_BYTES = 32 * limits.MIB
READER_CACHE_BYTES = 4 * limits.MIB
SPARE_ROW_BYTES = 256 * limits.KIB

# What is not the caller's mistake: the volume, another process, memory, or a damaged file.
_TROUBLE = (
    "SQLITE_FULL",
    "SQLITE_IOERR",
    "SQLITE_BUSY",
    "SQLITE_LOCKED",
    "SQLITE_CANTOPEN",
    "SQLITE_READONLY",
    "SQLITE_NOMEM",
    "SQLITE_CORRUPT",
    "SQLITE_NOTADB",
    "SQLITE_PROTOCOL",
)

# What SQLite says of the volume itself, the more exact names first.
_VOLUME_TROUBLE = {
    "SQLITE_FULL": errno.ENOSPC,
    "SQLITE_IOERR_SHMSIZE": errno.ENOSPC,
    "SQLITE_IOERR_NOMEM": None,
    "SQLITE_IOERR": errno.EIO,
    "SQLITE_READONLY": errno.EROFS,
}


class Catalog:
    """The catalog of one installation.

    Args: ``url`` a SQLAlchemy URL of a SQLite file (``sqlite:////data/catalog.db``); ``readers`` the number of reader
    connections, each opened at its first use; ``observer`` is told of the trouble of the volume. Call :meth:`migrate`
    before anything else. Raises ValueError for another kind of URL and Refusal("catalog_failed") when the file cannot
    be opened.
    """

    shared = False
    """Whether several nodes may have this catalog: a SQLite file belongs to one."""

    def __init__(self, url: str, *, readers: int = limits.CATALOG_READERS, observer: Observer | None = None) -> None:
        parsed = make_url(url)
        if parsed.get_backend_name() != "sqlite" or parsed.database in (None, "", ":memory:"):
            raise ValueError("the catalog is a SQLite file: sqlite:////DIR/catalog.db")
        self.url = url
        self._observer = observer or Unobserved()
        connect_args = {"check_same_thread": False, "isolation_level": None, "timeout": limits.CATALOG_WAIT_S}
        self._write_engine = create_engine(url, connect_args=connect_args, poolclass=StaticPool, query_cache_size=1000)
        event.listen(self._write_engine, "connect", _prepare_writer)
        event.listen(self._write_engine, "begin", _begin_immediate)
        with self._translated():
            self._writer = self._write_engine.connect()
        self._read_engine = create_engine(
            url,
            connect_args=connect_args,
            poolclass=QueuePool,
            pool_size=readers,
            max_overflow=0,
            pool_timeout=limits.CATALOG_WAIT_S,
            query_cache_size=1000,
        )
        event.listen(self._read_engine, "connect", _prepare_reader)
        event.listen(self._read_engine, "begin", _begin_deferred)
        self._lane = Lane(
            self._run_batch,
            batch_max=limits.CATALOG_BATCH_MAX,
            queue_max=limits.CATALOG_QUEUE_MAX,
            wait_s=limits.CATALOG_WAIT_S,
        )
        self._closed = False

    # ------------------------------------------------------------------------------------------------ transactions

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection that sees one state of the catalog for the length of the block and cannot change it.

        Keep the block short: the log cannot be reused while it is open. Raises Refusal("busy") when no reader gets
        free, Refusal("catalog_failed") when the volume fails.
        """
        with self._translated(writing=False), self._read_engine.connect() as conn:
            yield conn

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """The writer's connection in a transaction of its own: committed and durable at the end of the block, rolled
        back on an error.

        For long changes; small ones share a commit through :meth:`submit`. Not from inside another write. Raises
        Refusal("busy", "catalog_failed").
        """
        with self._lane.alone(), self._translated():
            transaction = self._writer.begin()
            try:
                yield self._writer
                with self._observer.syncing():
                    transaction.commit()
            except BaseException:
                self._abandon()
                raise

    def submit(self, work: Callable[[Connection], T]) -> T:
        """Run ``work(conn)`` and return its result once the commit that holds it is durable.

        Changes that are submitted at the same time share one commit, each in a savepoint: one that raises is undone
        alone, and its caller gets what it raised. When the commit itself fails, every change of the batch is undone
        and every caller gets Refusal("catalog_failed"). ``work`` may run on another caller's thread. Raises
        Refusal("busy") when the lane is full.
        """
        result: T = self._lane.submit(work)
        return result

    def _run_batch(self, turns: Sequence[Turn]) -> None:
        try:
            with self._translated():
                transaction = self._writer.begin()
                self._run_turns(turns)
                with self._observer.syncing():
                    transaction.commit()
        except BaseException as error:
            self._abandon()
            lost = error if isinstance(error, Refusal) else Refusal("catalog_failed")
            for turn in turns:
                turn.result = None
                turn.error = turn.error or lost
            if not isinstance(error, (Refusal, exc.SQLAlchemyError)):
                raise

    def _run_turns(self, turns: Sequence[Turn]) -> None:
        driver = self._driver()
        for turn in turns:
            assert turn.work is not None
            driver.execute("SAVEPOINT turn")
            try:
                with self._translated():
                    turn.result = turn.work(self._writer)
            except Exception as error:
                turn.error = error
            # SQLite undoes the whole transaction by itself on some errors (full volume, I/O); the neighbours' changes
            # are gone too then, and a savepoint would silently start another transaction.
            if not driver.in_transaction:
                raise Refusal(
                    "catalog_failed", "The catalog lost the transaction; nothing was kept. Send the file again."
                )
            if turn.error is not None:
                driver.execute("ROLLBACK TO turn")
            driver.execute("RELEASE turn")

    @contextmanager
    def _translated(self, *, writing: bool = True) -> Iterator[None]:
        """Turn the driver's trouble with the volume into Refusal("catalog_failed") and tell the observer of it;
        anything else passes."""
        try:
            yield
        except exc.TimeoutError:
            raise Refusal("busy", "Every reader of the catalog is busy; send it again.") from None
        except exc.DBAPIError as error:
            raise self._refusal(error.orig, writing) or error from error
        except sqlite3.Error as error:
            raise self._refusal(error, writing) or error from error

    def _refusal(self, error: BaseException | None, writing: bool) -> Refusal | None:
        name = getattr(error, "sqlite_errorname", "")
        if not name.startswith(_TROUBLE):
            return None
        number = next((number for prefix, number in _VOLUME_TROUBLE.items() if name.startswith(prefix)), None)
        if number is not None:
            self._observer.failed(OSError(number, f"SQLite says {name}"), writing=writing, vital=True)
        return Refusal("catalog_failed", cause=name)

    def _driver(self) -> sqlite3.Connection:
        driver = self._writer.connection.driver_connection
        assert isinstance(driver, sqlite3.Connection)
        return driver

    def _abandon(self) -> None:
        """End the writer's transaction without keeping it, whatever state the driver is in."""
        with contextlib.suppress(exc.SQLAlchemyError, sqlite3.Error):
            transaction = self._writer.get_transaction()
            if transaction is not None:
                transaction.rollback()
        driver = self._driver()
        if driver.in_transaction:
            with contextlib.suppress(sqlite3.Error):
                driver.execute("ROLLBACK")

    # ------------------------------------------------------------------------------------------------ life

    def migrate(self, preserve: Callable[[str], None] | None = None) -> None:
        """Make a new catalog, or bring an old one to this version's schema. Call once, before other threads use it.

        Args: ``preserve`` is called with the schema of an old catalog before it is changed; what it raises ends the
        migration. Raises :class:`~entrepot.catalog.revision.CatalogTooNew` for a catalog of a later version,
        Refusal("catalog_failed").
        """
        with self._lane.alone(), self._translated():
            old = revision.outdated(self._writer)
            if old is not None and preserve is not None:
                preserve(old)
            revision.bring_up_to_date(self._writer)
        # No room for these is no reason not to start: the way back begins with a start.
        with contextlib.suppress(Refusal):
            self.submit(installation.ensure)
            self.ensure_spare()

    def ensure_spare(self) -> None:
        """Fill the log's file and keep :data:`~entrepot.model.limits.CATALOG_SPARE_BYTES` of room inside the database
        file.

        At start, and when a volume that was full has room again. Raises Refusal("catalog_failed") when there is no
        room.
        """
        rows = limits.CATALOG_SPARE_BYTES // SPARE_ROW_BYTES
        # What an earlier process left in the log when it was killed stands before what is written now, unless all of it
        # is copied first: each start after a kill would make the log longer by the whole spare room.
        self.checkpoint()
        with self.write() as conn:
            conn.execute(schema.spare.delete())
            # Random, so that no file system stores them as a hole or packed.
            conn.exec_driver_sql(
                "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?) "
                "INSERT INTO spare (content) SELECT randomblob(?) FROM n",
                (rows, SPARE_ROW_BYTES),
            )

    def release_spare(self) -> None:
        """Give the kept room to the changes that come next: when a volume sheds its load, before it is full.

        Raises Refusal("catalog_failed").
        """
        with self.write() as conn:
            conn.execute(schema.spare.delete())

    def spare_bytes(self) -> int:
        """The room that is kept inside the database file: held rows and free pages."""
        with self.read() as conn:
            held = conn.execute(select(func.count()).select_from(schema.spare)).scalar_one() * SPARE_ROW_BYTES
            free = conn.exec_driver_sql("PRAGMA freelist_count").scalar_one() * PAGE_BYTES
        return int(held + free)

    def checkpoint(self) -> bool:
        """Copy the log into the database file as far as open readers allow; True when all of it was copied."""
        with self._lane.alone(), self._translated():
            _busy, pages, copied = self._driver().execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        return bool(pages == copied)

    def check_integrity(self) -> list[str]:
        """What ``PRAGMA quick_check`` finds wrong, at most 100 lines; empty when the file is sound. Reads the whole
        file.
        """
        with self.read() as conn:
            found = [str(row[0]) for row in conn.exec_driver_sql("PRAGMA quick_check(100)")]
            foreign = [f"dangling reference: {tuple(row)}" for row in conn.exec_driver_sql("PRAGMA foreign_key_check")]
        return [line for line in found if line != "ok"] + foreign[:100]

    def close(self) -> None:
        """Close every connection, the writer last: SQLite then copies the log into the database file and removes it."""
        if self._closed:
            return
        self._closed = True
        with self._lane.alone():
            self._read_engine.dispose()
            self._writer.close()
            self._write_engine.dispose()


# ---------------------------------------------------------------------------------------------------- connections


def _pragmas(driver: Any, *lines: str) -> None:
    for line in lines:
        driver.execute(f"PRAGMA {line}")


def _prepare_writer(driver: Any, _record: object) -> None:
    _pragmas(
        driver,
        f"page_size = {PAGE_BYTES}",
        "journal_mode = WAL",
        "synchronous = FULL",
        "foreign_keys = ON",
        "temp_store = MEMORY",
        # Debian's SQLite overwrites what is deleted; on a full volume there is no room in the log for that. What is
        # deleted here is no secret: tokens are hashes, keys are sealed.
        "secure_delete = OFF",
        f"cache_size = -{WRITER_CACHE_BYTES // limits.KIB}",
        f"wal_autocheckpoint = {limits.CATALOG_WAL_PAGES}",
        f"journal_size_limit = {limits.CATALOG_WAL_BYTES_MAX}",
    )


def _prepare_reader(driver: Any, _record: object) -> None:
    _pragmas(
        driver,
        "query_only = ON",
        "temp_store = MEMORY",
        f"cache_size = -{READER_CACHE_BYTES // limits.KIB}",
        "wal_autocheckpoint = 0",
    )


def _begin_immediate(conn: Connection) -> None:
    # At once, not at the first write: a transaction that read first could otherwise fail at its first write.
    conn.connection.driver_connection.execute("BEGIN IMMEDIATE")  # type: ignore[union-attr]


def _begin_deferred(conn: Connection) -> None:
    conn.connection.driver_connection.execute("BEGIN")  # type: ignore[union-attr]
