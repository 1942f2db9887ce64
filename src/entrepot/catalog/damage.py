"""Copies whose bytes are not what the catalog says, as the scrub found them; and how far the scrub is."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

from sqlalchemy import Connection, delete, func, select, update

from entrepot.catalog.blobs import CopyRow
from entrepot.catalog.schema import blob, copy, damage, meta

_OWNER = "(SELECT name FROM owner WHERE id = r.owner_id) || '/' || r.name"
NAMES_OF_COPY = f"""
    SELECT {_OWNER} || '/' || f.distribution || '/' || f.path
        || CASE WHEN f.yanked_at IS NULL THEN '' ELSE ' (yanked)' END
    FROM copy c JOIN file f ON f.blob_id = c.blob_id JOIN repository r ON r.id = f.repository_id
    WHERE c.key = ?1
    UNION ALL
    SELECT DISTINCT 'an index of ' || {_OWNER} || '/' || s.distribution
    FROM copy c JOIN segment g ON g.blob_id = c.blob_id JOIN scope s ON s.id = g.scope_id
        JOIN repository r ON r.id = s.repository_id
    WHERE c.key = ?1
    LIMIT 5"""
"""SQLite: what a copy's bytes are for, at most five: files as USER/REPO/DISTRO/VERSION/PATH, and indexes."""

_PLACE = "scrub"


@dataclass(frozen=True, slots=True)
class Damage:
    """A copy that is missing or damaged: since when it is known (seconds since 1970 UTC), ``why``, and what its bytes
    are.
    """

    key: str
    found_at: int
    why: str
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Place:
    """How far the scrub is: the round that runs began at ``began_at`` (None: none runs) and has seen every key up to
    ``after``, so many copies and bytes; the last complete one ended at ``ended_at`` (None: none yet), and the next is
    due at ``due_at``. Seconds since 1970 UTC.
    """

    after: str = ""
    began_at: int | None = None
    ended_at: int | None = None
    due_at: int = 0
    copies: int = 0
    size_bytes: int = 0

    def seen(self, key: str, size_bytes: int) -> "Place":
        """One copy further."""
        return replace(self, after=key, copies=self.copies + 1, size_bytes=self.size_bytes + size_bytes)


def load_place(conn: Connection) -> Place:
    """Where an earlier process got to."""
    text = conn.execute(select(meta.c.value).where(meta.c.key == _PLACE)).scalar()
    return Place() if text is None else Place(**json.loads(text))


def save_place(conn: Connection, place: Place) -> None:
    """Keep how far the scrub is."""
    value = json.dumps(asdict(place))
    if not conn.execute(update(meta).where(meta.c.key == _PLACE).values(value=value)).rowcount:
        conn.execute(meta.insert().values(key=_PLACE, value=value))


def copies_after(conn: Connection, key: str, limit: int) -> list[CopyRow]:
    """The next copies by key."""
    query = select(copy.c.key, copy.c.store, copy.c.blob_id, blob.c.sha256, copy.c.size_bytes)
    query = query.select_from(copy.join(blob, blob.c.id == copy.c.blob_id)).where(copy.c.key > key)
    return [CopyRow(*row) for row in conn.execute(query.order_by(copy.c.key).limit(limit))]


def damaged_copies(conn: Connection, limit: int) -> list[CopyRow]:
    """The copies that are known to be damaged and that a row still names."""
    query = select(copy.c.key, copy.c.store, copy.c.blob_id, blob.c.sha256, copy.c.size_bytes)
    query = query.select_from(damage.join(copy, copy.c.key == damage.c.key).join(blob, blob.c.id == copy.c.blob_id))
    return [CopyRow(*row) for row in conn.execute(query.order_by(copy.c.key).limit(limit))]


def note(conn: Connection, key: str, why: str, now_s: int) -> bool:
    """Keep that a copy is damaged, if a row still names it; whether that is news."""
    if conn.execute(select(copy.c.key).where(copy.c.key == key)).first() is None:
        return False
    if conn.execute(update(damage).where(damage.c.key == key).values(why=why)).rowcount:
        return False
    conn.execute(damage.insert().values(key=key, found_at=now_s, why=why))
    return True


def forget(conn: Connection, keys: Sequence[str]) -> None:
    """These copies are whole; and damage of copies that no row names any more is nobody's business."""
    conn.execute(delete(damage).where(damage.c.key.in_(list(keys)) | damage.c.key.not_in(select(copy.c.key))))


def count(conn: Connection) -> int:
    """How many copies that a row names are damaged."""
    joined = damage.join(copy, copy.c.key == damage.c.key)
    return int(conn.execute(select(func.count()).select_from(joined)).scalar_one())


def listed(conn: Connection, limit: int) -> list[Damage]:
    """The first damaged copies, by key."""
    query = select(damage.c.key, damage.c.found_at, damage.c.why).join(copy, copy.c.key == damage.c.key)
    rows = conn.execute(query.order_by(damage.c.key).limit(limit)).all()
    return [Damage(row[0], row[1], row[2], names(conn, row[0])) for row in rows]


def names(conn: Connection, key: str) -> tuple[str, ...]:
    """What a copy's bytes are for; see :data:`NAMES_OF_COPY`."""
    return tuple(str(row[0]) for row in conn.exec_driver_sql(NAMES_OF_COPY, (key,)))
