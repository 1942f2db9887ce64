"""Which entries a scope lists at which change: the SQL that publications read.

An entry is listed at change C when it was added at or before C and not removed at or before C.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, bindparam, func, literal, or_, select, tuple_

from entrepot.catalog import schema as s
from entrepot.catalog.prepared import Prepared


@dataclass(frozen=True, slots=True)
class EntryRow:
    """One membership of a file in a scope."""

    id: int
    file_id: int
    part: str | None
    order_key: bytes
    added_change: int


_ENTRY_COLUMNS = (
    s.membership.c.id,
    s.membership.c.file_id,
    s.membership.c.part,
    s.membership.c.order_key,
    s.membership.c.added_change,
)
_ALIVE = or_(s.membership.c.removed_change.is_(None), s.membership.c.removed_change > bindparam("alive_at"))
_ADDED = Prepared(
    select(*_ENTRY_COLUMNS)
    .where(
        s.membership.c.scope_id == bindparam("in_scope"),
        s.membership.c.added_change > bindparam("after"),
        s.membership.c.added_change <= bindparam("upto"),
        _ALIVE,
    )
    .order_by(s.membership.c.added_change, s.membership.c.id)
    .limit(bindparam("rows_max"))
)
_REMOVED = Prepared(
    select(*_ENTRY_COLUMNS).where(
        s.membership.c.scope_id == bindparam("in_scope"),
        s.membership.c.removed_change > bindparam("after"),
        s.membership.c.removed_change <= bindparam("upto"),
        s.membership.c.added_change <= bindparam("after"),
    )
)
_ALL_ROWS = 2**31
_FEW = 16
_FRAGMENTS_OF_ONE = Prepared(
    select(s.fragment.c.file_id, s.fragment.c.stream, s.fragment.c.content).where(
        s.fragment.c.file_id == bindparam("in_file")
    )
)
_FRAGMENTS = select(s.fragment.c.file_id, s.fragment.c.stream, s.fragment.c.content).where(
    s.fragment.c.file_id.in_(bindparam("file_ids", expanding=True))
)


def additions(
    conn: Connection, scope_id: int, after: int, upto: int, alive_at: int, limit: int | None = None
) -> list[EntryRow]:
    """Entries added in (after, upto] and still there at change ``alive_at``, in upload order."""
    values = {"in_scope": scope_id, "after": after, "upto": upto, "alive_at": alive_at}
    rows = _ADDED.all(conn, {**values, "rows_max": _ALL_ROWS if limit is None else limit})
    return [EntryRow(*row) for row in rows]


def removals(conn: Connection, scope_id: int, after: int, upto: int) -> list[EntryRow]:
    """Entries that were listed at change ``after`` and are not at ``upto``."""
    rows = _REMOVED.all(conn, {"in_scope": scope_id, "after": after, "upto": upto})
    return [EntryRow(*row) for row in rows]


def fragments(conn: Connection, file_ids: Sequence[int]) -> dict[tuple[int, str], bytes]:
    """The rendered entries of these files: (file id, stream) → bytes. At most a few thousand ids; queried in pages."""
    found: dict[tuple[int, str], bytes] = {}
    if len(file_ids) <= _FEW:
        for each in file_ids:
            for file_id, stream, content in _FRAGMENTS_OF_ONE.all(conn, {"in_file": each}):
                found[file_id, stream] = content
        return found
    for start in range(0, len(file_ids), 500):
        # All at once: row by row the library's own work costs more than the rows.
        for file_id, stream, content in conn.execute(_FRAGMENTS, {"file_ids": file_ids[start : start + 500]}).all():
            found[file_id, stream] = content
    return found


@dataclass(frozen=True, slots=True)
class KeyRange:
    """Entries of ``parts`` with (order_key, id) in (low, high]; None is open. In the base: added up to
    ``added_upto``, alive at ``alive_at``."""

    scope_id: int
    parts: frozenset[str]
    added_upto: int
    alive_at: int
    low: tuple[bytes, int] | None
    high: tuple[bytes, int] | None

    def condition(self) -> Any:
        """The WHERE clause."""
        key = tuple_(s.membership.c.order_key, s.membership.c.id)
        added: ColumnElement[int] = s.membership.c.added_change
        if self.low is not None or self.high is not None:
            # An expression, so that SQLite looks the keys up in membership_order and does not walk the whole scope by
            # its changes: 2 ms instead of 50 in a scope of 100,000.
            added = added + literal(0)
        clauses = [
            s.membership.c.scope_id == self.scope_id,
            s.membership.c.part.in_(sorted(self.parts)),
            added <= self.added_upto,
            or_(s.membership.c.removed_change.is_(None), s.membership.c.removed_change > self.alive_at),
        ]
        if self.low is not None:
            clauses.append(key > self.low)
        if self.high is not None:
            clauses.append(key <= self.high)
        return and_(*clauses)


def count_range(conn: Connection, wanted: KeyRange) -> int:
    """How many entries the range holds."""
    return int(conn.execute(select(func.count()).select_from(s.membership).where(wanted.condition())).scalar_one())


def range_entries(conn: Connection, wanted: KeyRange, limit: int) -> list[EntryRow]:
    """The first ``limit`` entries of the range in order of (order_key, id)."""
    query = (
        select(*_ENTRY_COLUMNS)
        .where(wanted.condition())
        .order_by(s.membership.c.order_key, s.membership.c.id)
        .limit(limit)
    )
    return [EntryRow(*row) for row in conn.execute(query).all()]


def count_additions(conn: Connection, scope_id: int, after: int, upto: int) -> int:
    """How many entries were added in (after, upto] (removed ones included)."""
    query = select(func.count()).select_from(s.membership)
    query = query.where(
        s.membership.c.scope_id == scope_id, s.membership.c.added_change > after, s.membership.c.added_change <= upto
    )
    return int(conn.execute(query).scalar_one())
