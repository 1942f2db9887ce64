"""The engine: schema versions, kills, full volumes, start-up."""

import contextlib
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from importlib.resources import files as resources
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, inspect

from entrepot.catalog import files, repositories, revision, tokens
from entrepot.catalog.engine import Catalog
from entrepot.catalog.schema import metadata
from entrepot.model import limits
from entrepot.model.errors import Refusal
from entrepot.model.nouns import Role
from tests.catalog.helpers import (
    APT,
    DISTRIBUTION,
    NAME,
    NOW,
    a_deb,
    catalog_with_repository,
    make_repository,
    open_catalog,
    put,
)

# ------------------------------------------------------------------------------------------------ versions


def schema_of(conn: Connection) -> dict[str, object]:
    """Tables with columns, keys and indexes, as the database itself tells them."""
    look = inspect(conn)
    found: dict[str, object] = {}
    for table in look.get_table_names():
        found[table] = (
            [(c["name"], str(c["type"]), c["nullable"], c["default"]) for c in look.get_columns(table)],
            look.get_pk_constraint(table)["constrained_columns"],
            sorted((tuple(f["constrained_columns"]), f["referred_table"]) for f in look.get_foreign_keys(table)),
            sorted(tuple(u["column_names"]) for u in look.get_unique_constraints(table)),
            sorted(
                (
                    i["name"],
                    tuple(i["column_names"]),
                    i["unique"],
                    {k: str(v) for k, v in i["dialect_options"].items()}.__repr__(),
                )
                for i in look.get_indexes(table)
            ),
        )
    return found


def test_the_chain_of_migrations_makes_the_schema(tmp_path: Path) -> None:
    """Goal: an upgraded catalog equals a new one. Method: run all revisions on one file, create_all on another,
    compare.
    """
    with create_engine(f"sqlite:///{tmp_path}/chain.db").connect() as chain:
        revision.upgrade(chain)
        assert compare_metadata(MigrationContext.configure(chain), metadata) == []
        by_chain = schema_of(chain)
    catalog = open_catalog(tmp_path)
    with catalog.read() as conn:
        at_once = schema_of(conn)
        assert revision.current(conn) == revision.HEAD
    catalog.close()
    assert set(by_chain) == {table.name for table in metadata.sorted_tables} | {"alembic_version"}
    assert by_chain == at_once


def test_head_is_the_last_revision_of_the_package() -> None:
    """Goal: the constant that spares Alembic's import is right. Method: ask Alembic; the files are reachable as
    package data.
    """
    config = Config()
    config.set_main_option("script_location", "entrepot.catalog:migrations")
    assert ScriptDirectory.from_config(config).get_heads() == [revision.HEAD]
    assert resources("entrepot.catalog").joinpath("migrations", "env.py").is_file()
    assert resources("entrepot.catalog").joinpath("distributions.toml").is_file()


def test_an_old_catalog_is_migrated(tmp_path: Path) -> None:
    """Goal: migrate() takes an older catalog through the chain, on the writer's own connection. Method: stamp a file as
    before the first revision, migrate, use it; a second migrate changes nothing.
    """
    raw = sqlite3.connect(tmp_path / "catalog.db")
    raw.execute("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY)")
    raw.commit()
    raw.close()
    with catalog_with_repository(tmp_path) as (catalog, repository_id):
        with catalog.read() as conn:
            assert revision.current(conn) == revision.HEAD
        put(catalog, a_deb(repository_id, "hello"))
        catalog.migrate()
        assert catalog.check_integrity() == []


@pytest.mark.parametrize("statement", ["UPDATE alembic_version SET version_num = '9999'", "DROP TABLE alembic_version"])
def test_a_catalog_of_a_later_version_is_left_alone(tmp_path: Path, statement: str) -> None:
    """Goal: going back never damages. Method: a stamp from the future, and a database that is not ours; both are
    refused.
    """
    open_catalog(tmp_path).close()
    with sqlite3.connect(tmp_path / "catalog.db") as raw:
        raw.execute(statement)
    raw.close()
    before = (tmp_path / "catalog.db").read_bytes()
    catalog = Catalog(f"sqlite:///{tmp_path}/catalog.db")
    with pytest.raises(revision.CatalogTooNew):
        catalog.migrate()
    catalog.close()
    assert (tmp_path / "catalog.db").read_bytes() == before


def test_only_sqlite_files() -> None:
    """Goal: a wrong setting is told at start. Method: other kinds of URL."""
    for url in ("sqlite://", "sqlite:///:memory:"):
        with pytest.raises(ValueError, match="SQLite file"):
            Catalog(url)


# ------------------------------------------------------------------------------------------------ durability

CHILD = """
import sys, threading
from pathlib import Path
from tests.catalog.helpers import a_deb, open_catalog, put
catalog = open_catalog(Path(sys.argv[1]))
def upload(lane):
    number = 0
    while True:
        name = f"p{lane}-{number}"
        outcome = put(catalog, a_deb(1, name))
        sys.stdout.write(f"{name} {outcome.tickets[0].change}\\n")
        sys.stdout.flush()
        number += 1
for lane in range(4):
    threading.Thread(target=upload, args=(lane,)).start()
"""


@pytest.mark.fault
@pytest.mark.parametrize("after", [3, 40, 200])
def test_kill_during_commits(tmp_path: Path, after: int) -> None:
    """Goal: what was acknowledged is there after SIGKILL, with its change number, and the file is sound.

    Method: a child commits in four threads and prints each acknowledgement; it is killed after ``after`` of them.
    """
    catalog = open_catalog(tmp_path)
    catalog.submit(make_repository)
    catalog.close()
    child = subprocess.Popen([sys.executable, "-c", CHILD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    acknowledged: dict[str, int] = {}
    for line in child.stdout:
        if not line.endswith("\n"):
            break
        name, change = line.split()
        acknowledged[name] = int(change)
        if len(acknowledged) == after:
            child.send_signal(signal.SIGKILL)
    assert child.wait(30) == -signal.SIGKILL
    child.stdout.close()
    catalog = open_catalog(tmp_path)
    assert catalog.check_integrity() == []
    with catalog.read() as conn:
        rows = conn.exec_driver_sql(
            "SELECT f.name, m.added_change FROM file f JOIN membership m ON m.file_id = f.id "
            "JOIN fragment g ON g.file_id = f.id JOIN blob b ON b.id = f.blob_id JOIN copy c ON c.blob_id = b.id"
        ).all()
        repository = repositories.get(conn, NAME)
        last = conn.exec_driver_sql("SELECT last_change FROM scope").scalar_one()
    there = {str(row[0]): int(row[1]) for row in rows}
    assert acknowledged.items() <= there.items()
    assert len(acknowledged) >= after
    assert repository.file_count == len(rows) == last
    put(catalog, a_deb(1, "afterwards"))
    catalog.close()


# ------------------------------------------------------------------------------------------------ full volumes


@pytest.fixture
def small_volume(tmp_path: Path) -> Iterator[Path]:
    """A tmpfs of 64 MiB."""
    if os.geteuid() != 0:
        pytest.fail("this test mounts a volume and needs root")
    place = tmp_path / "volume"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(place)], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def fill(place: Path) -> Path:
    """Take every free block of the volume."""
    ballast = place / "ballast"
    with ballast.open("wb", buffering=0) as stream:
        for size in (1 << 20, 4096):
            try:
                while True:
                    stream.write(b"x" * size)
            except OSError:
                continue
    assert os.statvfs(place).f_bavail == 0
    return ballast


@pytest.mark.fault
def test_the_way_back_at_zero_bytes_free(small_volume: Path) -> None:
    """Goal: reads, token checks, yank and collection work on a volume without a free block, and all of it is durable.

    Method: 300 files, fill the volume to the last block, release the spare room, yank 200 of them one by one, purge;
    then make room, and look again after a restart.
    """
    with catalog_with_repository(small_volume) as (catalog, repository_id):
        ids = [put(catalog, a_deb(repository_id, f"p{number}")).file_id for number in range(300)]
        _row, text = catalog.submit(lambda conn: tokens.create(conn, "acme", "ci", Role.PUSH, None, None, NOW))
        ballast = fill(small_volume)
        with catalog.read() as conn:
            assert tokens.by_text(conn, text) is not None
            assert files.count_files(conn, repository_id) == 300
        catalog.release_spare()
        for file_id in ids[:200]:
            catalog.submit(lambda conn, each=file_id: files.yank(conn, [each], NOW))  # type: ignore[misc]
        token = catalog.submit(lambda conn: tokens.touch(conn, 1, NOW + 100))
        assert token
        assert os.statvfs(small_volume).f_bavail == 0
        with catalog.read() as conn:
            assert files.count_files(conn, repository_id) == 100
        ballast.unlink()
        catalog.ensure_spare()
        put(catalog, a_deb(repository_id, "afterwards"))
    with Reopened(small_volume) as again, again.read() as conn:
        assert files.count_files(conn, 1) == 101
        assert again.check_integrity() == []


@pytest.mark.fault
def test_starts_after_kills_take_no_more_room(tmp_path: Path) -> None:
    """Goal: a server that is killed again and again does not fill its volume with the catalog's log. Method: five
    starts, each on the files as they lie while the one before is still open. Seen to fail without the checkpoint before
    the spare room is made: the log grew by sixteen mebibytes with each start.
    """
    sizes = []
    folder = tmp_path / "0"
    folder.mkdir()
    with contextlib.ExitStack() as stack:
        for number in range(1, 6):
            stack.callback(open_catalog(folder).close)
            sizes.append((folder / "catalog.db-wal").stat().st_size)
            folder = Path(shutil.copytree(folder, tmp_path / str(number)))
            (folder / "catalog.db-shm").unlink()  # memory of the process that is gone
    assert max(sizes) < sizes[0] + limits.MIB, sizes


class Reopened:
    """A catalog opened for a block."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __enter__(self) -> Catalog:
        self.catalog = open_catalog(self._folder)
        return self.catalog

    def __exit__(self, *_error: object) -> None:
        self.catalog.close()


@pytest.mark.fault
def test_uploads_until_nothing_fits(small_volume: Path) -> None:
    """Goal: when the log itself has no room, the change is refused, undone and tried again later; nothing is torn.

    Method: fill the volume, commit until refused, compare the catalog with what was acknowledged, make room, commit.
    """
    with catalog_with_repository(small_volume) as (catalog, repository_id):
        put(catalog, a_deb(repository_id, "first"))
        ballast = fill(small_volume)
        kept = 1
        body = "x" * 200_000

        def big(number: int) -> None:
            new = a_deb(repository_id, f"big{number}")
            new.facts.fragments["Packages"] = body.encode()  # type: ignore[index]
            put(catalog, new)

        refused = None
        for number in range(2000):
            try:
                big(number)
                kept += 1
            except Refusal as refusal:
                refused = refusal
                break
        assert refused is not None, "the volume never got full"
        assert refused.code == "catalog_failed"
        assert refused.numbers["cause"] == "SQLITE_FULL"
        with catalog.read() as conn:
            assert files.count_files(conn, repository_id) == kept
            assert repositories.get(conn, NAME).file_count == kept
        with pytest.raises(Refusal, match="catalog_failed"):
            big(5000)
        ballast.unlink()
        big(6000)
        assert catalog.check_integrity() == []
        with catalog.read() as conn:
            assert files.count_files(conn, repository_id) == kept + 1


@pytest.mark.fault
def test_a_batch_that_meets_a_full_volume_fails_whole(small_volume: Path) -> None:
    """Goal: no caller is told yes for a change that a neighbour's failure undid. Method: one batch whose commit
    cannot be written.
    """
    with catalog_with_repository(small_volume) as (catalog, repository_id):
        put(catalog, a_deb(repository_id, "first"))
        fill(small_volume)
        huge = b"x" * (32 * limits.MIB)

        def change(conn: Connection, number: int) -> None:
            new = a_deb(repository_id, f"p{number}")
            if number == 1:
                new.facts.fragments["Packages"] = huge  # type: ignore[index]
            files.commit_file(conn, new, f"key-{number}", APT, NOW)

        from entrepot.catalog.lane import Turn

        turns = [Turn(lambda conn, n=number: change(conn, n)) for number in range(3)]  # type: ignore[misc]
        with catalog._lane.alone():
            catalog._run_batch(turns)
        assert [getattr(turn.error, "code", None) for turn in turns] == ["catalog_failed"] * 3
        with catalog.read() as conn:
            assert files.count_files(conn, repository_id) == 1
            assert files.find_by_path(conn, repository_id, DISTRIBUTION, "p0_1.0_amd64.deb") is None


@pytest.mark.fault
def test_start_on_a_full_volume(small_volume: Path) -> None:
    """Goal: after a kill the catalog opens on a full volume. Method: leave the log behind as a kill does, fill, open,
    read, yank.
    """
    with catalog_with_repository(small_volume) as (catalog, repository_id):
        kept = put(catalog, a_deb(repository_id, "first")).file_id
        left = {path.name: path.read_bytes() for path in small_volume.iterdir()}
    for name, content in left.items():
        (small_volume / name).write_bytes(content)
    fill(small_volume)
    catalog = open_catalog(small_volume)
    with catalog.read() as conn:
        assert files.count_files(conn, repository_id) == 1
    catalog.release_spare()
    catalog.submit(lambda conn: files.yank(conn, [kept], NOW))
    with catalog.read() as conn:
        assert files.count_files(conn, repository_id) == 0
    catalog.close()


# ------------------------------------------------------------------------------------------------ life


def test_the_log_stays_bounded_and_filled(tmp_path: Path) -> None:
    """Goal: the log's file keeps its blocks and stays under its bound. Method: 2,000 commits; watch its size."""
    with catalog_with_repository(tmp_path) as (catalog, repository_id):
        log = tmp_path / "catalog.db-wal"
        sizes = set()
        for batch in range(20):

            def bulk(conn: Connection, batch: int = batch) -> None:
                for number in range(100):
                    files.commit_file(conn, a_deb(repository_id, f"p{batch}-{number}"), f"k{batch}-{number}", APT, NOW)

            catalog.submit(bulk)
            sizes.add(log.stat().st_size)
        assert min(sizes) >= limits.CATALOG_SPARE_BYTES
        assert max(sizes) <= limits.CATALOG_WAL_BYTES_MAX
        assert catalog.spare_bytes() >= limits.CATALOG_SPARE_BYTES
        assert catalog.checkpoint()
