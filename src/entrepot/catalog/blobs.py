"""Blobs and copies: what may be collected, what is known, what is still to be computed.

Collection deletes the row first, in its own transaction, and the bytes after it: a crash between leaves bytes without
a row, which the walk of the data folder finds by :func:`known_keys`, never a row without bytes.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, and_, delete, exists, func, or_, select, update

from entrepot.catalog import audit, quotas
from entrepot.catalog.schema import (
    blob,
    copy,
    file,
    fragment,
    membership,
    requirement,
    scope,
    segment,
)
from entrepot.model.limits import CATALOG_ROWS_MAX
from entrepot.model.nouns import Digests


@dataclass(frozen=True, slots=True)
class CopyRow:
    """Where a blob's bytes lie: ``key`` in ``store``."""

    key: str
    store: str
    blob_id: int
    sha256: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class StoreSum:
    """What the catalog knows to lie in one store."""

    store: str
    copies: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Collectable:
    """What a collection would free: yanked files past their time, and the bytes that nothing else refers to."""

    files: int
    blobs: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Removable:
    """A yanked file that may be forgotten; ``subject`` is what the audit trail calls it."""

    id: int
    repository_id: int
    blob_id: int
    subject: str


_COPY_QUERY = select(copy.c.key, copy.c.store, copy.c.blob_id, blob.c.sha256, copy.c.size_bytes).select_from(
    copy.join(blob, blob.c.id == copy.c.blob_id)
)


def _past(yanked_before: int) -> ColumnElement[bool]:
    """Yanked before then, and shown as gone by every scope that listed it: a publication may still read it until
    then.
    """
    waiting = exists().where(
        membership.c.file_id == file.c.id,
        membership.c.scope_id == scope.c.id,
        or_(membership.c.removed_change.is_(None), membership.c.removed_change > scope.c.published_change),
    )
    return and_(file.c.yanked_at.is_not(None), file.c.yanked_at < yanked_before, ~waiting)


def _unreferenced(created_before: int) -> ColumnElement[bool]:
    return and_(
        blob.c.created_at < created_before,
        ~exists().where(file.c.blob_id == blob.c.id),
        ~exists().where(segment.c.blob_id == blob.c.id),
    )


def purge_yanked(
    conn: Connection,
    yanked_before: int,
    now_s: int,
    *,
    replaced_only: bool = False,
    limit: int = CATALOG_ROWS_MAX,
    actor: audit.Actor = audit.SERVER,
) -> int:
    """Forget up to ``limit`` files that were yanked before ``yanked_before`` (``replaced_only``: those that nobody
    asked to be yanked, because another file took their name or a keep rule took them out); there is no way back.
    Returns how many.

    Call it until it returns 0, each time in its own transaction; then :func:`collect`.
    """
    rows = removable(conn, yanked_before, replaced_only=replaced_only, limit=limit)
    purge(conn, rows)
    for row in rows:
        detail = {"repository": row.repository_id, "file": row.id}
        audit.record(conn, now_s, actor, "file.purge", row.subject, detail)
    return len(rows)


def removable(
    conn: Connection,
    yanked_before: int,
    *,
    repository_id: int | None = None,
    replaced_only: bool = False,
    limit: int = CATALOG_ROWS_MAX,
) -> tuple[Removable, ...]:
    """The first ``limit`` files that were yanked before then and that no index shows any more; of one repository, or of
    all; ``replaced_only`` as in :func:`purge_yanked`.
    """
    query = select(file.c.id, file.c.repository_id, file.c.blob_id, file.c.distribution, file.c.path)
    query = query.where(_past(yanked_before))
    if repository_id is not None:
        query = query.where(file.c.repository_id == repository_id)
    if replaced_only:
        query = query.where(or_(file.c.replaced_by.is_not(None), file.c.superseded == 1))
    rows = conn.execute(query.order_by(file.c.id).limit(limit))
    return tuple(Removable(row.id, row.repository_id, row.blob_id, f"{row.distribution}/{row.path}") for row in rows)


def purge(conn: Connection, rows: Sequence[Removable]) -> None:
    """Forget these files; their bytes become unreferenced."""
    file_ids = [row.id for row in rows]
    _note_purged(conn, file_ids)
    forget(conn, file_ids)


def _note_purged(conn: Connection, file_ids: Sequence[int]) -> None:
    """Tell the scopes that listed these files which removals nobody can look up any more: a base that was built before
    such a removal must not be shown."""
    removed = conn.execute(
        select(membership.c.scope_id, func.max(membership.c.removed_change))
        .where(membership.c.file_id.in_(file_ids), membership.c.removed_change.is_not(None))
        .group_by(membership.c.scope_id)
        .order_by(membership.c.scope_id)
    ).all()
    for scope_id, change in removed:
        older = and_(scope.c.id == scope_id, scope.c.purged_change < change)
        conn.execute(update(scope).where(older).values(purged_change=change))


def forget(conn: Connection, file_ids: Sequence[int]) -> None:
    """Delete the rows of at most ``CATALOG_ROWS_MAX`` files that no index lists; their bytes become unreferenced."""
    if file_ids:
        quotas.uncharge_collected(conn, file_ids)
        for table in (fragment, membership, requirement):
            conn.execute(delete(table).where(table.c.file_id.in_(file_ids)))
        conn.execute(delete(file).where(file.c.id.in_(file_ids)))


def collect(
    conn: Connection, created_before: int, *, among: Sequence[int] | None = None, limit: int = CATALOG_ROWS_MAX
) -> tuple[CopyRow, ...]:
    """Delete up to ``limit`` blobs that no file and no index segment refers to; returns their copies, whose bytes go
    after the commit.

    ``created_before`` keeps blobs whose row is younger than any change in flight. An upload of the same bytes that
    commits first keeps the blob; one that commits later brings its own copy under another key. ``among`` looks at
    these blobs (at most ``CATALOG_ROWS_MAX``) instead of all.
    """
    query = select(blob.c.id).where(_unreferenced(created_before)).order_by(blob.c.id).limit(limit)
    if among is not None:
        query = query.where(blob.c.id.in_(among))
    ids = list(conn.execute(query).scalars())
    if not ids:
        return ()
    copies = tuple(
        CopyRow(*row) for row in conn.execute(_COPY_QUERY.where(copy.c.blob_id.in_(ids)).order_by(copy.c.key))
    )
    conn.execute(delete(copy).where(copy.c.blob_id.in_(ids)))
    conn.execute(delete(blob).where(blob.c.id.in_(ids)))
    return copies


def collectable(conn: Connection, yanked_before: int, created_before: int, block_bytes: int = 1) -> Collectable:
    """What :func:`purge_yanked` and :func:`collect` would free now: true bytes, each blob once, shared ones not at all.
    ``block_bytes``: each copy's size is rounded up to so many, as on the volume.

    Reads every blob's references once.
    """
    taken = (copy.c.size_bytes + (block_bytes - 1)) // block_bytes * block_bytes
    past = select(file.c.id).where(_past(yanked_before))
    files = int(conn.execute(select(func.count()).select_from(past.subquery())).scalar_one())
    kept = exists().where(file.c.blob_id == blob.c.id, file.c.id.not_in(past))
    where = and_(blob.c.created_at < created_before, ~kept, ~exists().where(segment.c.blob_id == blob.c.id))
    query = select(func.count(), func.coalesce(func.sum(taken), 0)).select_from(
        blob.join(copy, copy.c.blob_id == blob.c.id)
    )
    row = conn.execute(query.where(where)).one()
    return Collectable(files, int(row[0]), int(row[1]))


def known_keys(conn: Connection, low: str, high: str) -> frozenset[str]:
    """The keys of copies from ``low`` to below ``high``: what should lie in some of a store's folders. One range of the
    primary key.
    """
    return frozenset(conn.execute(select(copy.c.key).where(copy.c.key >= low, copy.c.key < high)).scalars())


def which_known(conn: Connection, keys: Iterable[str]) -> frozenset[str]:
    """Those of ``keys`` that a row knows."""
    wanted = list(keys)
    found: set[str] = set()
    for start in range(0, len(wanted), CATALOG_ROWS_MAX):
        query = select(copy.c.key).where(copy.c.key.in_(wanted[start : start + CATALOG_ROWS_MAX]))
        found.update(conn.execute(query).scalars())
    return frozenset(found)


def sums(conn: Connection, block_bytes: int = 1) -> tuple[StoreSum, ...]:
    """Known copies and bytes of each store, from an index that covers the question. ``block_bytes``: each copy's size
    is rounded up to so many, as on the volume.
    """
    taken = (copy.c.size_bytes + (block_bytes - 1)) // block_bytes * block_bytes
    query = select(copy.c.store, func.count(), func.sum(taken)).group_by(copy.c.store).order_by(copy.c.store)
    return tuple(StoreSum(row[0], int(row[1]), int(row[2])) for row in conn.execute(query))


def lacking_digests(conn: Connection, after: int = 0, limit: int = CATALOG_ROWS_MAX) -> tuple[CopyRow, ...]:
    """One page of copies whose blob lacks md5, sha1 or sha512, by blob id above ``after``; segments' blobs are left
    out.
    """
    some_file = exists().where(file.c.blob_id == blob.c.id)
    lacking = or_(blob.c.md5.is_(None), blob.c.sha1.is_(None), blob.c.sha512.is_(None))
    query = _COPY_QUERY.where(blob.c.id > after, lacking, some_file).order_by(blob.c.id, copy.c.key).limit(limit)
    return tuple(CopyRow(*row) for row in conn.execute(query))


def set_digests(conn: Connection, digests: Digests) -> bool:
    """Fill in digests of the blob with this sha256; those that are None stay. False when the blob is gone."""
    given = {"md5": digests.md5, "sha1": digests.sha1, "sha512": digests.sha512}
    values = {name: value for name, value in given.items() if value is not None}
    if not values:
        return False
    return conn.execute(update(blob).where(blob.c.sha256 == digests.sha256).values(values)).rowcount == 1


def find(conn: Connection, sha256: str) -> CopyRow | None:
    """A copy of these bytes, or None: what a client asks before it sends them. Says nothing about who may read them."""
    row = conn.execute(_COPY_QUERY.where(blob.c.sha256 == sha256).order_by(copy.c.key).limit(1)).first()
    return CopyRow(*row) if row is not None else None


def drop_copies(conn: Connection, keys: Sequence[str]) -> int:
    """Forget copies whose bytes are lost; a blob left without one takes the next upload's. Returns how many rows
    went.
    """
    return conn.execute(delete(copy).where(copy.c.key.in_(list(keys)))).rowcount if keys else 0
