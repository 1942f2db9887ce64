"""The catalog's schema version: made at once when the file is new, migrated by Alembic when it is old, refused when
it is newer.
"""

from sqlalchemy import Connection, inspect, text

from entrepot.catalog.schema import metadata

HEAD = "0008"
"""The newest revision under ``migrations/versions``; a test holds the two together."""

BASE = "base"
"""Before the first revision, as Alembic calls it."""

_STAMP = "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY)"


class CatalogTooNew(Exception):
    """The catalog was written by a later version of Entrepot, or is another program's database; nothing was changed."""


def current(conn: Connection) -> str | None:
    """The revision of the catalog; None when the database has no tables. Raises :class:`CatalogTooNew` for tables
    that are not ours.
    """
    names = set(inspect(conn).get_table_names())
    if not names:
        return None
    if "alembic_version" not in names:
        raise CatalogTooNew("it holds tables of another program")
    return str(conn.execute(text("SELECT version_num FROM alembic_version")).scalar() or BASE)


def outdated(conn: Connection) -> str | None:
    """The revision of a catalog that has to be migrated; None for a new one, a current one, and one of a later
    version. Raises :class:`CatalogTooNew` for tables that are not ours.
    """
    with conn.begin():
        found = current(conn)
    return None if found is None or found >= HEAD else found


def bring_up_to_date(conn: Connection) -> None:
    """Create or migrate, each in one transaction. Raises :class:`CatalogTooNew`."""
    with conn.begin():
        found = current(conn)
        if found == HEAD:
            return
        if found is None:
            metadata.create_all(conn)
            conn.execute(text(_STAMP))
            conn.execute(text("INSERT INTO alembic_version (version_num) VALUES (:head)"), {"head": HEAD})
            return
    upgrade(conn)


def upgrade(conn: Connection, to: str = HEAD) -> None:
    """Run the chain of migrations up to revision ``to``. Raises :class:`CatalogTooNew` when the catalog's revision is
    not in it.
    """
    # Alembic costs 0.2 s to import: only when there is something to migrate.
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", "entrepot.catalog:migrations")
    config.attributes["connection"] = conn
    try:
        command.upgrade(config, to)
    except CommandError as error:
        raise CatalogTooNew("a later version of Entrepot wrote it") from error
