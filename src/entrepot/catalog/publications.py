"""Scopes, their changes, and what publications leave behind: the SQL under ``publish``.

Every function takes a connection; the caller owns the transaction. A publication becomes visible in one transaction
that is
conditional on the lease's epoch (:func:`save_publication`), so a writer that was paused or replaced never shows
anything.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, and_, bindparam, delete, func, insert, or_, select, update

from entrepot.catalog import schema as s
from entrepot.catalog.prepared import Prepared


@dataclass(frozen=True, slots=True)
class ScopeRow:
    """One scope: what one signature covers."""

    id: int
    repository_id: int
    distribution: str
    format: str
    name: str
    last_change: int
    published_change: int
    generation: int
    epoch: int
    holder: str | None
    lease_until: int | None
    purged_change: int


@dataclass(frozen=True, slots=True)
class SegmentRow:
    """A stored segment and where its bytes lie."""

    id: int
    copy_key: str
    entries: int
    plain_size_bytes: int
    gz_size_bytes: int
    plain_sha256: str
    gz_sha256: str


@dataclass(frozen=True, slots=True)
class NewSegment:
    """A segment whose bytes are durable under ``copy_key`` but which has no row yet."""

    copy_key: str
    entries: int
    plain_size_bytes: int
    gz_size_bytes: int
    plain_sha256: str
    gz_sha256: str


@dataclass(frozen=True, slots=True)
class DeltaRow:
    """One publication's addition to a tail, in one stream."""

    stream: str
    position: int
    content: bytes
    plain_size_bytes: int
    crc32: int


@dataclass(frozen=True, slots=True)
class VersionRow:
    """One immutable index file: base, how many deltas of its tail, and the closing bytes."""

    sha256: str
    size_bytes: int
    logical_path: str
    kind: str
    base_id: int
    stream: str
    position: int
    trailer: bytes
    created_at: int


@dataclass(frozen=True, slots=True)
class DocumentRow:
    """A small whole file of a publication."""

    name: str
    content_type: str
    sha256: str
    content: bytes


@dataclass(frozen=True, slots=True)
class PublicationRow:
    """The visible generation of a scope."""

    id: int
    generation: int
    change: int
    published_at: int
    date_s: int
    second_shared: bool
    state: str


@dataclass(frozen=True, slots=True)
class NewPublication:
    """All that one transaction makes visible; ``versions`` are the current index files that were not current before."""

    scope_id: int
    epoch: int
    generation: int
    previous_change: int
    change: int
    now_s: int
    date_s: int
    second_shared: bool
    state: str
    deltas: Sequence[tuple[int, DeltaRow]]
    versions: Sequence[VersionRow]
    retired: Sequence[VersionRow]
    documents: Sequence[DocumentRow]


class Fenced(Exception):
    """Another writer took the scope over (or published) since this one read it; nothing was written."""


_SCOPE_COLUMNS = (
    s.scope.c.id,
    s.scope.c.repository_id,
    s.scope.c.distribution,
    s.scope.c.format,
    s.scope.c.name,
    s.scope.c.last_change,
    s.scope.c.published_change,
    s.scope.c.generation,
    s.scope.c.epoch,
    s.scope.c.holder,
    s.scope.c.lease_until,
    s.scope.c.purged_change,
)
_BY_ID = Prepared(select(*_SCOPE_COLUMNS).where(s.scope.c.id == bindparam("in_id")))


def dirty_scopes(conn: Connection) -> list[int]:
    """Ids of the scopes whose changes are not all published."""
    rows = conn.execute(
        select(s.scope.c.id).where(s.scope.c.last_change > s.scope.c.published_change).order_by(s.scope.c.id)
    )
    return [row[0] for row in rows]


def published(conn: Connection, repository_id: int) -> list[ScopeRow]:
    """The scopes of a repository of which a generation is visible, by distribution and name."""
    query = select(*_SCOPE_COLUMNS).where(s.scope.c.repository_id == repository_id, s.scope.c.generation > 0)
    return [ScopeRow(*tuple(row)) for row in conn.execute(query.order_by(s.scope.c.distribution, s.scope.c.name))]


def scope_by_id(conn: Connection, scope_id: int) -> ScopeRow | None:
    """The scope, or None."""
    row = _BY_ID.first(conn, {"in_id": scope_id})
    return ScopeRow(*row) if row else None


def find_scope(conn: Connection, repository_id: int, distribution: str, name: str) -> ScopeRow | None:
    """The scope of this name, or None."""
    query = select(*_SCOPE_COLUMNS).where(
        s.scope.c.repository_id == repository_id, s.scope.c.distribution == distribution, s.scope.c.name == name
    )
    row = conn.execute(query).first()
    return ScopeRow(*tuple(row)) if row else None


def claim(conn: Connection, scope_id: int, holder: str, now_s: int, lease_s: int) -> int | None:
    """Take the scope's lease: returns the new epoch, or None while another holder's lease runs.

    A publication of an older epoch can never be saved afterwards.
    """
    query = (
        update(s.scope)
        .where(
            s.scope.c.id == scope_id,
            or_(
                s.scope.c.holder.is_(None),
                s.scope.c.holder == holder,
                s.scope.c.lease_until.is_(None),
                s.scope.c.lease_until <= now_s,
            ),
        )
        .values(epoch=s.scope.c.epoch + 1, holder=holder, lease_until=now_s + lease_s)
        .returning(s.scope.c.epoch)
    )
    row = conn.execute(query).first()
    return int(row[0]) if row else None


_PARTS = Prepared(
    select(s.part.c.part).where(
        s.part.c.repository_id == bindparam("in_repository"), s.part.c.distribution == bindparam("in_distribution")
    )
)


def known_parts(conn: Connection, repository_id: int, distribution: str) -> frozenset[str]:
    """The parts that this distribution of the repository has ever held."""
    values = {"in_repository": repository_id, "in_distribution": distribution}
    return frozenset(row[0] for row in _PARTS.all(conn, values))


def latest(conn: Connection, scope_id: int) -> PublicationRow | None:
    """The visible publication of a scope, or None before its first."""
    p = s.publication.c
    query = select(p.id, p.generation, p.change, p.published_at, p.date_s, p.second_shared, p.state)
    row = conn.execute(query.where(p.scope_id == scope_id).order_by(p.generation.desc()).limit(1)).first()
    return PublicationRow(row[0], row[1], row[2], row[3], row[4], bool(row[5]), row[6]) if row else None


def newest_date(conn: Connection) -> int:
    """The latest date of any publication, in seconds since 1970; 0 when there is none. Reads every row."""
    return int(conn.execute(select(func.max(s.publication.c.date_s))).scalar() or 0)


def documents(conn: Connection, publication_id: int) -> list[DocumentRow]:
    """The documents of a publication."""
    d = s.document.c
    rows = conn.execute(select(d.name, d.content_type, d.sha256, d.content).where(d.publication_id == publication_id))
    return [DocumentRow(*row) for row in rows]


def base_manifest(conn: Connection, base_id: int) -> tuple[str, int, str]:
    """(index name, base change, manifest JSON) of a base. Raises KeyError when it is gone."""
    b = s.index_base.c
    row = conn.execute(select(b.index_name, b.base_change, b.manifest).where(b.id == base_id)).first()
    if row is None:
        raise KeyError(base_id)
    return row[0], row[1], row[2]


def segments(conn: Connection, ids: Sequence[int]) -> dict[int, SegmentRow]:
    """Segments by id, with the key of one copy of their bytes."""
    found: dict[int, SegmentRow] = {}
    g = s.segment.c
    for start in range(0, len(ids), 500):
        query = (
            select(g.id, s.copy.c.key, g.entries, g.plain_size_bytes, g.gz_size_bytes, g.plain_sha256, g.gz_sha256)
            .select_from(s.segment.join(s.copy, s.copy.c.blob_id == g.blob_id))
            .where(g.id.in_(list(ids[start : start + 500])))
        )
        for row in conn.execute(query):
            found[row[0]] = SegmentRow(*row)
    return found


def deltas(conn: Connection, base_id: int, stream: str, position: int) -> list[DeltaRow]:
    """Deltas 0 … position-1 of a tail in one stream, in order."""
    t = s.tail_delta.c
    query = select(t.stream, t.position, t.content, t.plain_size_bytes, t.crc32)
    query = query.where(t.base_id == base_id, t.stream == stream, t.position < position).order_by(t.position)
    return [DeltaRow(*row) for row in conn.execute(query)]


def version_by_sha256(conn: Connection, scope_id: int, sha256: str) -> VersionRow | None:
    """A kept index file of the scope by its digest, of whatever generation."""
    v = s.index_version.c
    query = select(
        v.sha256, v.size_bytes, v.logical_path, v.kind, v.base_id, v.stream, v.position, v.trailer, v.created_at
    )
    row = conn.execute(query.where(v.scope_id == scope_id, v.sha256 == sha256)).first()
    return VersionRow(*row) if row else None


def current_versions(conn: Connection, scope_id: int) -> dict[str, VersionRow]:
    """The index files of the visible generation: logical path → version."""
    v = s.index_version.c
    query = select(
        v.sha256, v.size_bytes, v.logical_path, v.kind, v.base_id, v.stream, v.position, v.trailer, v.created_at
    )
    rows = [VersionRow(*row) for row in conn.execute(query.where(v.scope_id == scope_id, v.retired_at.is_(None)))]
    return {row.logical_path: row for row in rows}


def known_copies(conn: Connection, keys: Sequence[str]) -> list[str]:
    """Those of these keys (at most 10,000) that a row names."""
    return list(conn.execute(select(s.copy.c.key).where(s.copy.c.key.in_(keys))).scalars())


def insert_base(conn: Connection, scope_id: int, index_name: str, base_change: int, manifest: str, now_s: int) -> int:
    """Insert a base; returns its id."""
    query = insert(s.index_base).values(
        scope_id=scope_id, index_name=index_name, base_change=base_change, manifest=manifest, created_at=now_s
    )
    return int(conn.execute(query.returning(s.index_base.c.id)).scalar_one())


_BLOB = Prepared(select(s.blob.c.id).where(s.blob.c.sha256 == bindparam("in_sha256")))
_NEW_BLOB = Prepared(insert(s.blob).returning(s.blob.c.id), ("sha256", "size_bytes", "created_at"))
_HELD_COPY = Prepared(
    select(func.min(s.copy.c.key))
    .where(s.copy.c.blob_id == bindparam("in_blob"), s.copy.c.store == bindparam("in_store"))
    .group_by(s.copy.c.blob_id)
)
_NEW_COPY = Prepared(insert(s.copy), [column.name for column in s.copy.c])
_NEW_SEGMENT = Prepared(
    insert(s.segment).returning(s.segment.c.id), [column.name for column in s.segment.c if column.name != "id"]
)


def insert_segment(conn: Connection, scope_id: int, new: NewSegment, store: str, now_s: int) -> tuple[int, str]:
    """Insert a segment with its blob and copy; returns the segment's id and the key of its bytes.

    Bytes that the store holds already (the same entries, built before) keep their copy: the caller's own is then named
    by no row, and the caller deletes it. Without that, yank and unyank in turn would add a copy each time.
    """
    row = _BLOB.first(conn, {"in_sha256": new.gz_sha256})
    if row is None:
        row = _NEW_BLOB.one(conn, {"sha256": new.gz_sha256, "size_bytes": new.gz_size_bytes, "created_at": now_s})
    (blob_id,) = row
    held = _HELD_COPY.first(conn, {"in_blob": blob_id, "in_store": store})
    if held is None:
        copy = {"key": new.copy_key, "blob_id": blob_id, "store": store, "size_bytes": new.gz_size_bytes}
        _NEW_COPY.run(conn, {**copy, "created_at": now_s})
    (segment_id,) = _NEW_SEGMENT.one(
        conn,
        {
            "scope_id": scope_id,
            "blob_id": blob_id,
            "entries": new.entries,
            "plain_size_bytes": new.plain_size_bytes,
            "gz_size_bytes": new.gz_size_bytes,
            "plain_sha256": new.plain_sha256,
            "gz_sha256": new.gz_sha256,
        },
    )
    return int(segment_id), held[0] if held is not None else new.copy_key


_MOVE = Prepared(
    update(s.scope)
    .where(
        s.scope.c.id == bindparam("in_id"),
        s.scope.c.epoch == bindparam("in_epoch"),
        s.scope.c.published_change == bindparam("before"),
    )
    .values(
        published_change=bindparam("change"),
        published_at=bindparam("at"),
        generation=bindparam("new_generation"),
        lease_until=bindparam("until"),
    )
    .returning(s.scope.c.id)
)
_NEW_DELTA = Prepared(insert(s.tail_delta), [column.name for column in s.tail_delta.c])
_RETIRE = Prepared(
    update(s.index_version)
    .where(
        s.index_version.c.scope_id == bindparam("in_scope"),
        s.index_version.c.sha256 == bindparam("in_sha256"),
        s.index_version.c.logical_path == bindparam("in_path"),
        s.index_version.c.retired_at.is_(None),
    )
    .values(retired_at=bindparam("at"))
)
_OLD_VERSION = Prepared(
    select(s.index_version.c.sha256).where(
        s.index_version.c.scope_id == bindparam("in_scope"),
        s.index_version.c.sha256 == bindparam("in_sha256"),
        s.index_version.c.logical_path == bindparam("in_path"),
    )
)
_NEW_VERSION = Prepared(
    insert(s.index_version), [column.name for column in s.index_version.c if column.name != "retired_at"]
)
_NEW_PUBLICATION = Prepared(
    insert(s.publication).returning(s.publication.c.id),
    [column.name for column in s.publication.c if column.name != "id"],
)
_NEW_DOCUMENT = Prepared(insert(s.document), [column.name for column in s.document.c])
_OLDER = Prepared(
    select(s.publication.c.id).where(
        s.publication.c.scope_id == bindparam("in_scope"), s.publication.c.id != bindparam("in_id")
    )
)
_DROP_DOCUMENTS = Prepared(delete(s.document).where(s.document.c.publication_id == bindparam("in_id")))
_DROP_PUBLICATION = Prepared(delete(s.publication).where(s.publication.c.id == bindparam("in_id")))


def save_publication(conn: Connection, new: NewPublication, lease_until: int) -> int:
    """Make one publication visible; returns its id. Raises :class:`Fenced` (write nothing then) when the epoch is not
    ours any more."""
    moved = _MOVE.first(
        conn,
        {
            "in_id": new.scope_id,
            "in_epoch": new.epoch,
            "before": new.previous_change,
            "change": new.change,
            "at": new.now_s,
            "new_generation": new.generation,
            "until": lease_until,
        },
    )
    if moved is None:
        raise Fenced(f"scope {new.scope_id}: epoch {new.epoch} is over")
    _NEW_DELTA.many(conn, [_delta_values(base_id, delta) for base_id, delta in new.deltas])
    for old in new.retired:
        values = {"in_scope": new.scope_id, "in_sha256": old.sha256, "in_path": old.logical_path, "at": new.now_s}
        _RETIRE.run(conn, values)
    for version in new.versions:
        _put_version(conn, new.scope_id, version)
    (publication_id,) = _NEW_PUBLICATION.one(
        conn,
        {
            "scope_id": new.scope_id,
            "generation": new.generation,
            "change": new.change,
            "epoch": new.epoch,
            "published_at": new.now_s,
            "date_s": new.date_s,
            "second_shared": int(new.second_shared),
            "state": new.state,
        },
    )
    _NEW_DOCUMENT.many(conn, [_document_values(publication_id, document) for document in new.documents])
    _drop_older(conn, new.scope_id, publication_id)
    return int(publication_id)


def _delta_values(base_id: int, delta: DeltaRow) -> Mapping[str, Any]:
    return {
        "base_id": base_id,
        "stream": delta.stream,
        "position": delta.position,
        "content": delta.content,
        "plain_size_bytes": delta.plain_size_bytes,
        "crc32": delta.crc32,
    }


def _document_values(publication_id: int, document: DocumentRow) -> Mapping[str, Any]:
    return {
        "publication_id": publication_id,
        "name": document.name,
        "content_type": document.content_type,
        "sha256": document.sha256,
        "content": document.content,
    }


def _put_version(conn: Connection, scope_id: int, version: VersionRow) -> None:
    """Insert a version; when the index is back at an older content, that version becomes current again."""
    key = {"in_scope": scope_id, "in_sha256": version.sha256, "in_path": version.logical_path}
    if _OLD_VERSION.first(conn, key) is not None:
        v = s.index_version
        same = and_(v.c.scope_id == scope_id, v.c.sha256 == version.sha256, v.c.logical_path == version.logical_path)
        conn.execute(
            update(v)
            .where(same)
            .values(
                retired_at=None,
                kind=version.kind,
                base_id=version.base_id,
                stream=version.stream,
                position=version.position,
                trailer=version.trailer,
            )
        )
        return
    _NEW_VERSION.run(
        conn,
        {
            "scope_id": scope_id,
            "sha256": version.sha256,
            "size_bytes": version.size_bytes,
            "logical_path": version.logical_path,
            "kind": version.kind,
            "base_id": version.base_id,
            "stream": version.stream,
            "position": version.position,
            "trailer": version.trailer,
            "created_at": version.created_at,
        },
    )


def _drop_older(conn: Connection, scope_id: int, keep_id: int) -> None:
    """Forget earlier publications' documents: old index files live on as versions, old entry points are never served
    again."""
    for (older,) in _OLDER.all(conn, {"in_scope": scope_id, "in_id": keep_id}):
        _DROP_DOCUMENTS.run(conn, {"in_id": older})
        _DROP_PUBLICATION.run(conn, {"in_id": older})
