"""Change numbers and memberships: what a scope lists at each of its changes.

A change locks its scopes by advancing their numbers, always in the order of (distribution, name), so that two changes
never wait for each other in a circle; row ids are not the order of commits, change numbers are.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, case, literal, select, update

from entrepot.catalog.prepared import Prepared
from entrepot.catalog.schema import file, membership, scope
from entrepot.model.limits import CATALOG_ROWS_MAX
from entrepot.model.nouns import Ticket


@dataclass(frozen=True, slots=True)
class Entry:
    """A file as a scope lists it."""

    file_id: int
    part: str | None
    order_key: bytes


_ADVANCE = Prepared(
    update(scope)
    .where(
        scope.c.repository_id == bindparam("in_repository"),
        scope.c.distribution == bindparam("in_distribution"),
        scope.c.name == bindparam("in_name"),
    )
    .values(last_change=scope.c.last_change + 1)
    .returning(scope.c.id, scope.c.last_change)
)
_ADVANCE_ID = (
    update(scope)
    .where(scope.c.id == bindparam("in_id"))
    .values(last_change=scope.c.last_change + 1)
    .returning(scope.c.last_change)
)
_CREATE = scope.insert().returning(scope.c.id)
_EXISTS = Prepared(
    select(scope.c.id).where(
        scope.c.repository_id == bindparam("in_repository"),
        scope.c.distribution == bindparam("in_distribution"),
        scope.c.name == bindparam("in_name"),
    )
)
_ADD = Prepared(membership.insert(), ("scope_id", "file_id", "part", "order_key", "added_change"))
_REMOVE = (
    update(membership)
    .where(
        membership.c.scope_id == bindparam("in_scope"),
        membership.c.file_id == bindparam("in_file"),
        membership.c.removed_change.is_(None),
    )
    .values(removed_change=bindparam("at_change"))
)


def exists(conn: Connection, repository_id: int, distribution: str, name: str) -> bool:
    """True when the scope is there."""
    values = {"in_repository": repository_id, "in_distribution": distribution, "in_name": name}
    return _EXISTS.first(conn, values) is not None


def advance(conn: Connection, repository_id: int, distribution: str, name: str) -> Ticket | None:
    """Lock the scope and give it its next change number; None when there is no such scope."""
    values = {"in_repository": repository_id, "in_distribution": distribution, "in_name": name}
    row = _ADVANCE.first(conn, values)
    return Ticket(row[0], row[1]) if row is not None else None


def advance_id(conn: Connection, scope_id: int) -> Ticket:
    """Lock the scope of this id and give it its next change number."""
    return Ticket(scope_id, int(conn.execute(_ADVANCE_ID, {"in_id": scope_id}).scalar_one()))


def create(
    conn: Connection, repository_id: int, distribution: str, format_name: str, name: str, parts: Iterable[str]
) -> Ticket:
    """Insert a scope at its first change, with every file of the distribution whose part is in ``parts``.

    Yanked ones get a row that begins and ends at that change: never listed, but remembered for unyank. Held ones are
    not put in.
    """
    scope_id = conn.execute(
        _CREATE,
        {
            "repository_id": repository_id,
            "distribution": distribution,
            "format": format_name,
            "name": name,
            "last_change": 1,
            "published_change": 0,
            "generation": 0,
            "epoch": 0,
        },
    ).scalar_one()
    wanted = sorted(parts)
    if wanted:
        there = select(
            literal(scope_id),
            file.c.id,
            file.c.part,
            file.c.order_key,
            literal(1),
            case((file.c.yanked_at.is_not(None), 1), else_=None),
        ).where(
            file.c.repository_id == repository_id,
            file.c.distribution == distribution,
            file.c.held_until.is_(None),
            file.c.part.in_(wanted),
        )
        columns = ["scope_id", "file_id", "part", "order_key", "added_change", "removed_change"]
        conn.execute(membership.insert().from_select(columns, there.order_by(file.c.id)))
    return Ticket(scope_id, 1)


def add(conn: Connection, ticket: Ticket, entries: Sequence[Entry]) -> None:
    """List ``entries`` in the scope from the ticket's change on."""
    _ADD.many(
        conn,
        [
            {
                "scope_id": ticket.scope_id,
                "file_id": entry.file_id,
                "part": entry.part,
                "order_key": entry.order_key,
                "added_change": ticket.change,
            }
            for entry in entries
        ],
    )


def remove(conn: Connection, ticket: Ticket, file_ids: Sequence[int]) -> None:
    """Take files out of the scope at the ticket's change."""
    conn.execute(
        _REMOVE, [{"in_scope": ticket.scope_id, "in_file": file_id, "at_change": ticket.change} for file_id in file_ids]
    )


def listing(conn: Connection, file_ids: Sequence[int]) -> dict[int, list[tuple[int, int]]]:
    """The scopes that list these files now, in the order in which they must be locked: scope id → (file id, change
    that added it).
    """
    found: list[tuple[str, str, int, int, int]] = []
    for start in range(0, len(file_ids), CATALOG_ROWS_MAX):
        page = file_ids[start : start + CATALOG_ROWS_MAX]
        query = (
            select(scope.c.distribution, scope.c.name, scope.c.id, membership.c.file_id, membership.c.added_change)
            .select_from(membership.join(scope, scope.c.id == membership.c.scope_id))
            .where(membership.c.file_id.in_(page), membership.c.removed_change.is_(None))
        )
        found.extend(tuple(row) for row in conn.execute(query))
    listed: dict[int, list[tuple[int, int]]] = {}
    for _distribution, _name, scope_id, file_id, change in sorted(found):
        listed.setdefault(scope_id, []).append((file_id, change))
    return listed
