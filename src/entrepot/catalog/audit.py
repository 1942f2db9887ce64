"""The audit trail: one row for every change, written in the change's own transaction, never changed or removed."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, delete, select

from entrepot.catalog.prepared import Prepared
from entrepot.catalog.schema import audit
from entrepot.model.limits import AUDIT_SCAN_ROWS_MAX, PAGE_ROWS_MAX


@dataclass(frozen=True, slots=True)
class Actor:
    """Who makes a change: a token as ``name#id``, ``cli`` or ``server``; ``address`` is the client's, when there is
    one.
    """

    name: str
    address: str | None = None


SERVER = Actor("server")

_INSERT = Prepared(audit.insert(), ("at", "actor", "address", "action", "subject", "detail"))
_PAGE = select(audit).where(audit.c.id < bindparam("before")).order_by(audit.c.id.desc()).limit(bindparam("rows"))


@dataclass(frozen=True, slots=True)
class AuditRow:
    """One change: ``at`` in seconds since 1970 UTC, ``action`` as ``noun.verb``, ``subject`` the thing changed,
    ``detail`` its figures.
    """

    id: int
    at: int
    actor: str
    address: str | None
    action: str
    subject: str
    detail: Mapping[str, object]


def record(
    conn: Connection, at: int, actor: Actor, action: str, subject: str, detail: Mapping[str, object] | None = None
) -> None:
    """Write one row in the caller's transaction. ``detail`` must be JSON-able and hold no secret."""
    _INSERT.run(
        conn,
        {
            "at": at,
            "actor": actor.name,
            "address": actor.address,
            "action": action,
            "subject": subject,
            "detail": json.dumps(detail or {}, separators=(",", ":"), ensure_ascii=False),
        },
    )


def forget_files(conn: Connection, repository_id: int, subjects: Sequence[str]) -> int:
    """Take away the rows about files of a repository, by their subjects; returns how many. Only for a node's own
    samples, of which nothing is left: the trail of people's changes is never cut.
    """
    # `record` is who writes the details: compact, and the repository first.
    of_repository = audit.c.detail.startswith(f'{{"repository":{repository_id},', autoescape=True)
    return conn.execute(delete(audit).where(audit.c.subject.in_(list(subjects)), of_repository)).rowcount


def page(
    conn: Connection, *, before_id: int | None = None, rows: int = 100, subject: str | None = None
) -> tuple[AuditRow, ...]:
    """The newest rows first, those with an id under ``before_id``; at most ``PAGE_ROWS_MAX``; of one ``subject`` when
    given.
    """
    query = _PAGE if subject is None else _PAGE.where(audit.c.subject == subject)
    found = conn.execute(
        query, {"before": before_id if before_id is not None else 2**62, "rows": min(rows, PAGE_ROWS_MAX)}
    )
    return tuple(
        AuditRow(row.id, row.at, row.actor, row.address, row.action, row.subject, json.loads(row.detail))
        for row in found
    )


def search(
    conn: Connection, wanted: Callable[[AuditRow], bool], *, before_id: int | None, rows: int
) -> tuple[tuple[AuditRow, ...], int | None]:
    """The newest rows that are ``wanted``, at most ``rows``, and the ``before_id`` to go on with; None at the end.

    Looks at no more than ``AUDIT_SCAN_ROWS_MAX`` rows: fewer than ``rows`` may be found though there are more.
    """
    found: list[AuditRow] = []
    for _ in range(AUDIT_SCAN_ROWS_MAX // PAGE_ROWS_MAX):
        looked_at = page(conn, before_id=before_id, rows=PAGE_ROWS_MAX)
        for row in looked_at:
            before_id = row.id
            if wanted(row):
                found.append(row)
                if len(found) >= rows:
                    return tuple(found), before_id
        if len(looked_at) < PAGE_ROWS_MAX:
            return tuple(found), None
    return tuple(found), before_id
