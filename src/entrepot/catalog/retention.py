"""Old index generations: which versions are past their time, and what nothing refers to any more.

A version is a row; what it costs is its row, the deltas of tails that are not current and the segments of bases that
are not current. Deletion goes from the top: versions, then bases without a version (with their deltas), then segments
in no base. The segments' blobs are left to the collector of unreferenced blobs.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, Select, delete, exists, func, select

from entrepot.catalog import schema as s

# What one version's row and its share of the indexes on it take in the database, measured over 10,000 rows.
VERSION_ROW_BYTES = 400
_PAGE = 500


@dataclass(frozen=True, slots=True)
class RetiredVersion:
    """A version that is not current any more."""

    scope_id: int
    sha256: str
    logical_path: str
    created_at: int
    retired_at: int


@dataclass(frozen=True, slots=True)
class OldBytes:
    """What old generations hold."""

    versions: int
    database_bytes: int
    segment_bytes: int
    segments: int

    @property
    def total_bytes(self) -> int:
        """Bytes in the database and in the blob store."""
        return self.database_bytes + self.segment_bytes


def retired(conn: Connection, before_s: int, limit: int) -> list[RetiredVersion]:
    """Versions retired before ``before_s``, the oldest first."""
    v = s.index_version.c
    query = select(v.scope_id, v.sha256, v.logical_path, v.created_at, v.retired_at)
    query = query.where(v.retired_at < before_s).order_by(v.retired_at).limit(limit)
    return [RetiredVersion(*row) for row in conn.execute(query)]


def drop_versions(conn: Connection, versions: Sequence[RetiredVersion]) -> int:
    """Forget these versions unless they became current again meanwhile; returns how many."""
    v = s.index_version.c
    count = 0
    for item in versions:
        same = (v.scope_id == item.scope_id) & (v.sha256 == item.sha256) & (v.logical_path == item.logical_path)
        count += conn.execute(delete(s.index_version).where(same, v.retired_at == item.retired_at)).rowcount
    return count


def drop_old_of(conn: Connection, repository_id: int) -> None:
    """Forget every index of a repository that is not current, whatever its age, and what only those need."""
    scopes = select(s.scope.c.id).where(s.scope.c.repository_id == repository_id)
    v = s.index_version.c
    conn.execute(delete(s.index_version).where(v.scope_id.in_(scopes), v.retired_at.is_not(None)))
    while drop_unused_bases(conn, scopes):
        pass
    drop_unused_segments(conn, scopes)


def drop_unused_bases(conn: Connection, scopes: Select[tuple[int]] | None = None) -> int:
    """Delete bases that no version refers to, with their deltas; returns how many. A base is inserted together with
    its versions. ``scopes`` limits it to theirs.
    """
    b = s.index_base.c
    query = select(b.id).where(~exists().where(s.index_version.c.base_id == b.id))
    if scopes is not None:
        query = query.where(b.scope_id.in_(scopes))
    unused = [row[0] for row in conn.execute(query.limit(_PAGE))]
    if unused:
        conn.execute(delete(s.tail_delta).where(s.tail_delta.c.base_id.in_(unused)))
        conn.execute(delete(s.index_base).where(s.index_base.c.id.in_(unused)))
    return len(unused)


def drop_unused_segments(conn: Connection, scopes: Select[tuple[int]] | None = None) -> int:
    """Delete segments that no base lists; returns how many. Their blobs become unreferenced. ``scopes`` limits it to
    theirs: segments are shared by bases of one scope only.
    """
    bases, segments = None, select(s.segment.c.id)
    if scopes is not None:
        bases = select(s.index_base.c.id).where(s.index_base.c.scope_id.in_(scopes))
        segments = segments.where(s.segment.c.scope_id.in_(scopes))
    used = _segments_of(conn, bases)
    present = [row[0] for row in conn.execute(segments)]
    unused = [number for number in present if number not in used]
    for start in range(0, len(unused), _PAGE):
        conn.execute(delete(s.segment).where(s.segment.c.id.in_(unused[start : start + _PAGE])))
    return len(unused)


def _segments_of(conn: Connection, base_ids: Select[tuple[int]] | None) -> set[int]:
    query = select(s.index_base.c.manifest)
    if base_ids is not None:
        query = query.where(s.index_base.c.id.in_(base_ids))
    used: set[int] = set()
    for (text,) in conn.execute(query):
        used.update(number for item in json.loads(text)["ranges"] for number in item["segments"].values())
    return used


def old_bytes(conn: Connection) -> OldBytes:
    """What is kept for old generations only."""
    v = s.index_version.c
    versions = int(
        conn.execute(select(func.count()).select_from(s.index_version).where(v.retired_at.is_not(None))).scalar_one()
    )
    # A subquery, not a list: a server has more current bases than a statement takes parameters.
    current = select(v.base_id).where(v.retired_at.is_(None)).distinct()
    t = s.tail_delta.c
    deltas = conn.execute(select(func.coalesce(func.sum(func.length(t.content)), 0)).where(t.base_id.not_in(current)))
    manifests = conn.execute(
        select(func.coalesce(func.sum(func.length(s.index_base.c.manifest)), 0)).where(
            s.index_base.c.id.not_in(current)
        )
    )
    database = versions * VERSION_ROW_BYTES + int(deltas.scalar_one()) + int(manifests.scalar_one())
    live = _segments_of(conn, current)
    sizes = conn.execute(select(s.segment.c.id, s.segment.c.gz_size_bytes))
    old = [size for number, size in sizes if number not in live]
    return OldBytes(versions, database, sum(old), len(old))
