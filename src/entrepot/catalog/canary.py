"""The repository in which a node tries itself out: made at first need, and emptied after each run.

Its owner's name is reserved, it is private, and no list shows it. What a run adds is taken away again, the run's own
rows of the audit trail too: a catalog does not grow by a node that only tries whether it works.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, func, select

from entrepot.catalog import audit, blobs, repositories, retention, tokens, yank
from entrepot.catalog.repositories import RepositoryRow
from entrepot.catalog.schema import file
from entrepot.model.limits import CATALOG_ROWS_MAX
from entrepot.model.nouns import CANARY_OWNER, RepositoryName, Role, Ticket


@dataclass(frozen=True, slots=True)
class Cleared:
    """What :func:`clear` leaves to its caller: ``tickets`` of the removals that it began, ``copies`` whose bytes are to
    be deleted once this is committed, and how many files of each format no publication has shown as removed yet.
    """

    tickets: tuple[Ticket, ...]
    copies: tuple[blobs.CopyRow, ...]
    left: Mapping[str, int]


def open_repository(conn: Connection, node: str, now_s: int) -> RepositoryRow:
    """The repository of this node, made when it is missing."""
    name = RepositoryName(CANARY_OWNER, node)
    found = repositories.find(conn, name)
    if found is not None:
        return found
    tokens.ensure_owner(conn, CANARY_OWNER, now_s)
    return repositories.create(conn, name, True, now_s)


def new_token(conn: Connection, node: str, now_s: int) -> tuple[int, str]:
    """The node's token for its repository with a new text, as (id, text); the old text is worth nothing any more."""
    name = RepositoryName(CANARY_OWNER, node)
    # It yanks what it pushed.
    return tokens.renew(conn, CANARY_OWNER, f"canary-{node}", Role.ADMIN, [str(name)], now_s)


def clear(conn: Connection, repository_id: int, now_s: int) -> Cleared:
    """Yank every sample that an earlier run left, and forget all whose removal is published, with their old indexes and
    audit rows.
    """
    live = select(file.c.id).where(file.c.repository_id == repository_id, file.c.yanked_at.is_(None))
    ids = list(conn.execute(live.limit(CATALOG_ROWS_MAX)).scalars())
    tickets = yank.yank(conn, ids, now_s) if ids else ()
    gone = blobs.removable(conn, now_s + 1, repository_id=repository_id)
    copies: tuple[blobs.CopyRow, ...] = ()
    if gone:
        blobs.purge(conn, gone)
        audit.forget_files(conn, repository_id, [each.subject for each in gone])
        copies = blobs.collect(conn, now_s + 1, among=[each.blob_id for each in gone])
    retention.drop_old_of(conn, repository_id)
    left = select(file.c.format, func.count()).where(file.c.repository_id == repository_id).group_by(file.c.format)
    return Cleared(tickets, copies, {row[0]: int(row[1]) for row in conn.execute(left)})
