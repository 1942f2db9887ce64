"""Taking files out of the indexes, and back in: one call is one change of each scope it touches, so one publication."""

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Connection, Row, bindparam, select, update

from entrepot.catalog import audit, held, quotas, scopes
from entrepot.catalog.rows import FILE_QUERY, FileRow, file_row
from entrepot.catalog.schema import file, membership, requirement, scope
from entrepot.model.errors import Refusal
from entrepot.model.limits import CATALOG_ROWS_MAX, MATCH_FILES_MAX
from entrepot.model.nouns import Ticket

_YANK = update(file).where(file.c.id == bindparam("in_id")).values(yanked_at=bindparam("at"), held_until=None)
_RETURN = update(file).where(file.c.id == bindparam("in_id")).values(yanked_at=None, replaced_by=None, superseded=0)
_NAMESAKE = select(file.c.id).where(
    file.c.repository_id == bindparam("in_repository"),
    file.c.distribution == bindparam("in_distribution"),
    file.c.conflict_key == bindparam("in_key"),
    file.c.yanked_at.is_(None),
)

_THIS = file.alias()
_REQUIRING = (
    select(requirement.c.file_id)
    .select_from(_THIS)
    .join(
        requirement,
        (requirement.c.repository_id == _THIS.c.repository_id)
        & (requirement.c.distribution == _THIS.c.distribution)
        & requirement.c.path.in_((_THIS.c.path, _THIS.c.filename)),
    )
    .join(file, file.c.id == requirement.c.file_id)
    .where(_THIS.c.id == bindparam("in_file"))
)


def yank(
    conn: Connection,
    file_ids: Sequence[int],
    now_s: int,
    *,
    actor: audit.Actor = audit.SERVER,
    action: str = "file.yank",
) -> tuple[Ticket, ...]:
    """Take these files out of every index that lists them; their bytes stay until collection. Already yanked ones are
    passed over.

    Returns a ticket for each scope that changed. Raises Refusal("field_invalid") for more than ``MATCH_FILES_MAX``
    files.
    """
    rows = [row for row in _rows(conn, file_ids) if row.yanked_at is None]
    listed = scopes.listing(conn, [row.id for row in rows])
    tickets: list[Ticket] = []
    for scope_id, entries in listed.items():
        ticket = scopes.advance_id(conn, scope_id)
        scopes.remove(conn, ticket, [file_id for file_id, _change in entries])
        tickets.append(ticket)
    if rows:
        conn.execute(_YANK, [{"in_id": row.id, "at": now_s} for row in rows])
    _charge(conn, rows, -1)
    for row in rows:
        audit.record(conn, now_s, actor, action, _subject(row), {"repository": row.repository_id, "file": row.id})
    return tuple(tickets)


def unyank(
    conn: Connection, file_ids: Sequence[int], now_s: int, *, actor: audit.Actor = audit.SERVER
) -> tuple[Ticket, ...]:
    """Put yanked files back into the scopes that listed them. Files that are not yanked are passed over; one of a set
    that is not whole is held again, for a day from now.

    Raises Refusal: name_taken (another file took the name meanwhile), digest_mismatch (one of its set is here with
    other bytes), field_invalid (too many files). Never for the quota: yanked files are charged all along.
    """
    rows = _may_return(conn, file_ids)
    if rows:
        conn.execute(_RETURN, [{"in_id": row.id} for row in rows])
    _charge(conn, rows, 1)
    tickets = _list_again(conn, rows, now_s)
    for row in rows:
        audit.record(
            conn, now_s, actor, "file.unyank", _subject(row), {"repository": row.repository_id, "file": row.id}
        )
    return tickets


def check_unyank(conn: Connection, file_ids: Sequence[int]) -> None:
    """What a dry run of :func:`unyank` can know beforehand: raises its Refusal("name_taken")."""
    _may_return(conn, file_ids)


def _may_return(conn: Connection, file_ids: Sequence[int]) -> list[Row[*tuple[Any, ...]]]:
    """Those of the files that are yanked. Raises Refusal("name_taken") for one whose name a live file has, or another
    of them.
    """
    rows = [row for row in _rows(conn, file_ids) if row.yanked_at is not None]
    taken: set[tuple[int, str, str]] = set()
    for row in rows:
        key = (row.repository_id, row.distribution, row.conflict_key)
        names = dict(zip(("in_repository", "in_distribution", "in_key"), key, strict=True))
        if key in taken or conn.execute(_NAMESAKE, names).first() is not None:
            raise Refusal("name_taken", field="filename", value=row.filename)
        taken.add(key)
    return rows


def _list_again(conn: Connection, rows: Sequence[Row[*tuple[Any, ...]]], now_s: int) -> tuple[Ticket, ...]:
    """Add returned files to their scopes, and whatever they make whole; hold those of sets that are not."""
    former = _former_scopes(conn, [row.id for row in rows])
    added: dict[tuple[str, str, int], list[scopes.Entry]] = {}
    of_sets = []
    for row in rows:
        mine = former.get(row.id, set())
        if held.hold_again(conn, row.id, mine, now_s):
            of_sets.append(row)
            continue
        for name, _format in mine:
            entry = scopes.Entry(row.id, row.part, row.order_key)
            added.setdefault((row.distribution, name, row.repository_id), []).append(entry)
    for row in of_sets:
        for each in held.settle(conn, row.id):
            for use in each.uses:
                added.setdefault((row.distribution, use.name, row.repository_id), []).append(each.entry)
    tickets: list[Ticket] = []
    for distribution, name, repository_id in sorted(added):
        ticket = scopes.advance(conn, repository_id, distribution, name)
        if ticket is not None:  # a scope, once made, stays
            scopes.add(conn, ticket, added[distribution, name, repository_id])
            tickets.append(ticket)
    return tuple(tickets)


def whole_sets(conn: Connection, file_ids: Sequence[int]) -> tuple[int, ...]:
    """``file_ids`` and what falls with them: members that no other live file requires, and files that require one of
    them.

    For callers of :func:`yank`, so that a dry run shows what the yank will do.
    """
    chosen = set(file_ids)
    for file_id in file_ids:
        chosen.update(_dependants(conn, file_id))
    for file_id in tuple(chosen):
        for member in _members(conn, file_id):
            if set(_dependants(conn, member)) <= chosen:
                chosen.add(member)
    return tuple(sorted(chosen))


def sets_to_return(conn: Connection, file_ids: Sequence[int]) -> tuple[int, ...]:
    """``file_ids``, all yanked, and what comes back with them: files that fell at the same moment because they require
    one of them, and the yanked members of all.

    For callers of :func:`unyank`; the counterpart of :func:`whole_sets`.
    """
    chosen = set(file_ids)
    for file_id in file_ids:
        chosen.update(_fallen(conn, file_id))
    for file_id in tuple(chosen):
        chosen.update(held.members_away(conn, file_id))
    return tuple(sorted(chosen))


def expired_held(conn: Connection, now_s: int, limit: int = CATALOG_ROWS_MAX) -> tuple[FileRow, ...]:
    """Held files whose day is over; :func:`yank` them with ``action="file.expire"``."""
    query = FILE_QUERY.where(file.c.held_until <= now_s).order_by(file.c.held_until, file.c.id).limit(limit)
    return tuple(file_row(row) for row in conn.execute(query))


def _pages(ids: Sequence[int]) -> Iterable[Sequence[int]]:
    return (ids[start : start + CATALOG_ROWS_MAX] for start in range(0, len(ids), CATALOG_ROWS_MAX))


def _rows(conn: Connection, file_ids: Sequence[int]) -> list[Row[*tuple[Any, ...]]]:
    """The files, in the order of their ids."""
    if len(file_ids) > MATCH_FILES_MAX:
        raise Refusal("field_invalid", f"At most {MATCH_FILES_MAX} files at a time; name fewer.")
    wanted = sorted(set(file_ids))
    columns = (
        file.c.id,
        file.c.repository_id,
        file.c.distribution,
        file.c.path,
        file.c.filename,
        file.c.conflict_key,
        file.c.part,
        file.c.order_key,
        file.c.size_bytes,
        file.c.yanked_at,
    )
    rows: list[Row[*tuple[Any, ...]]] = []
    for page in _pages(wanted):
        rows.extend(conn.execute(select(*columns).where(file.c.id.in_(page)).order_by(file.c.id)))
    return rows


def _subject(row: Row[*tuple[Any, ...]]) -> str:
    return f"{row.distribution}/{row.path}"


def _charge(conn: Connection, rows: Sequence[Row[*tuple[Any, ...]]], sign: int) -> None:
    """Move the charge of these files to the yanked ones (-1) or back (1); the quota sees no difference."""
    totals: dict[int, tuple[int, int]] = {}
    for row in rows:
        size_bytes, count = totals.get(row.repository_id, (0, 0))
        totals[row.repository_id] = (size_bytes + row.size_bytes, count + 1)
    for repository_id in sorted(totals):
        size_bytes, count = totals[repository_id]
        more_bytes = sign * size_bytes
        quotas.charge(conn, repository_id, used_bytes=more_bytes, yanked_bytes=-more_bytes, files=sign * count)


def _former_scopes(conn: Connection, file_ids: Sequence[int]) -> dict[int, set[tuple[str, str]]]:
    """The (name, format) of every scope that ever listed these files, by file."""
    found: dict[int, set[tuple[str, str]]] = {}
    for page in _pages(file_ids):
        query = (
            select(membership.c.file_id, scope.c.name, scope.c.format)
            .select_from(membership.join(scope, scope.c.id == membership.c.scope_id))
            .where(membership.c.file_id.in_(page))
        )
        for file_id, name, kind in conn.execute(query):
            found.setdefault(file_id, set()).add((name, kind))
    return found


def _dependants(conn: Connection, file_id: int) -> list[int]:
    """Live files that require this one."""
    return list(conn.execute(_REQUIRING.where(file.c.yanked_at.is_(None)), {"in_file": file_id}).scalars())


def _fallen(conn: Connection, file_id: int) -> list[int]:
    """Files that require this one and were yanked at the same moment; of several of one name the last."""
    query = _REQUIRING.where(file.c.yanked_at == _THIS.c.yanked_at, file.c.replaced_by.is_(None))
    query = query.add_columns(file.c.conflict_key).order_by(file.c.id)
    return list({key: found for found, key in conn.execute(query, {"in_file": file_id})}.values())


def _members(conn: Connection, file_id: int) -> list[int]:
    """Live files that this one requires."""
    query = (
        select(file.c.id)
        .select_from(requirement)
        .join(
            file,
            (file.c.repository_id == requirement.c.repository_id)
            & (file.c.distribution == requirement.c.distribution)
            & ((file.c.path == requirement.c.path) | (file.c.filename == requirement.c.path)),
        )
        .where(requirement.c.file_id == file_id, file.c.yanked_at.is_(None))
    )
    return [int(row[0]) for row in conn.execute(query)]
