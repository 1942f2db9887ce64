"""Repositories: USER/REPO."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Row, Select, bindparam, func, select, update

from entrepot.catalog import audit, schema
from entrepot.catalog.schema import owner, repository
from entrepot.model.errors import Refusal
from entrepot.model.limits import CATALOG_ROWS_MAX
from entrepot.model.nouns import CANARY_OWNER, RepositoryName


@dataclass(frozen=True, slots=True)
class RepositoryRow:
    """One repository. Times in seconds since 1970 UTC; ``used_bytes`` and ``file_count`` cover the files that are not
    yanked. Either quota is None when there is none.
    """

    id: int
    owner_id: int
    name: RepositoryName
    private: bool
    created_at: int
    last_push_at: int | None
    quota_bytes: int | None
    used_bytes: int
    file_count: int
    yanked_bytes: int
    owner_quota_bytes: int | None

    @property
    def limited(self) -> bool:
        """Whether a quota bounds what it may hold."""
        return self.quota_bytes is not None or self.owner_quota_bytes is not None


_QUERY = (
    select(
        repository.c.id,
        repository.c.owner_id,
        owner.c.name.label("owner_name"),
        repository.c.name,
        repository.c.private,
        repository.c.created_at,
        repository.c.last_push_at,
        repository.c.quota_bytes,
        repository.c.used_bytes,
        repository.c.file_count,
        repository.c.yanked_bytes,
        owner.c.quota_bytes.label("owner_quota_bytes"),
    )
    .select_from(repository.join(owner, owner.c.id == repository.c.owner_id))
    .where(repository.c.deleted_at.is_(None))
)
_BY_NAME = _QUERY.where(owner.c.name == bindparam("in_owner"), repository.c.name == bindparam("in_name"))
_BY_OWNER = _QUERY.where(owner.c.name == bindparam("in_owner")).order_by(repository.c.name)


def _row(row: Row[*tuple[Any, ...]]) -> RepositoryRow:
    return RepositoryRow(
        row.id,
        row.owner_id,
        RepositoryName(row.owner_name, row.name),
        bool(row.private),
        row.created_at,
        row.last_push_at,
        row.quota_bytes,
        row.used_bytes,
        row.file_count,
        row.yanked_bytes,
        row.owner_quota_bytes,
    )


def create(
    conn: Connection,
    name: RepositoryName,
    private: bool,
    now_s: int,
    *,
    quota_bytes: int | None = None,
    actor: audit.Actor = audit.SERVER,
) -> RepositoryRow:
    """Make a repository under an owner that exists. Raises Refusal("repository_exists"), Refusal("not_found") for no
    such owner.
    """
    if find(conn, name) is not None:
        raise Refusal("repository_exists", value=str(name))
    owner_id = conn.execute(select(owner.c.id).where(owner.c.name == name.owner)).scalar()
    if owner_id is None:
        raise Refusal("not_found", f"There is no owner {name.owner}; repositories are made under an owner's name.")
    values = {
        "owner_id": owner_id,
        "name": name.name,
        "private": int(private),
        "created_at": now_s,
        "quota_bytes": quota_bytes,
        "used_bytes": 0,
        "file_count": 0,
    }
    conn.execute(repository.insert(), values)
    audit.record(conn, now_s, actor, "repository.create", str(name), {"private": private})
    return get(conn, name)


def find(conn: Connection, name: RepositoryName) -> RepositoryRow | None:
    """The repository of this name, or None."""
    row = conn.execute(_BY_NAME, {"in_owner": name.owner, "in_name": name.name}).first()
    return _row(row) if row is not None else None


def get(conn: Connection, name: RepositoryName) -> RepositoryRow:
    """The repository of this name. Raises Refusal("repository_unknown")."""
    found = find(conn, name)
    if found is None:
        raise Refusal("repository_unknown", value=str(name))
    return found


def by_id(conn: Connection, repository_id: int) -> RepositoryRow | None:
    """The repository of this id, or None when it is gone."""
    row = conn.execute(_QUERY.where(repository.c.id == repository_id)).first()
    return _row(row) if row is not None else None


def list_for_owner(conn: Connection, owner_name: str) -> tuple[RepositoryRow, ...]:
    """The repositories of one owner, by name."""
    return tuple(_row(row) for row in conn.execute(_BY_OWNER, {"in_owner": owner_name}))


def list_named(conn: Connection, names: Iterable[str]) -> tuple[RepositoryRow, ...]:
    """Those of these repositories (USER/REPO) that there are, by name, whoever owns them."""
    rows = (find(conn, RepositoryName.parse(each)) for each in sorted(set(names)))
    return tuple(row for row in rows if row is not None)


def list_all(conn: Connection) -> tuple[RepositoryRow, ...]:
    """Every repository, by owner and name; not those in which nodes try themselves out."""
    query: Select[tuple[object, ...]] = _QUERY.where(owner.c.name != CANARY_OWNER)
    query = query.order_by(owner.c.name, repository.c.name)
    return tuple(_row(row) for row in conn.execute(query))


def set_quota(
    conn: Connection, repository_id: int, quota_bytes: int | None, now_s: int, *, actor: audit.Actor = audit.SERVER
) -> None:
    """Change the quota; None for none. Raises Refusal("repository_unknown")."""
    _change(conn, repository_id, now_s, "repository.quota", {"quota_bytes": quota_bytes}, actor)


def set_private(
    conn: Connection, repository_id: int, private: bool, now_s: int, *, actor: audit.Actor = audit.SERVER
) -> None:
    """Make the repository private or public. Raises Refusal("repository_unknown")."""
    _change(conn, repository_id, now_s, "repository.private", {"private": int(private)}, actor)


def delete(conn: Connection, repository_id: int, now_s: int, *, actor: audit.Actor = audit.SERVER) -> None:
    """Delete the repository: gone for everyone at once, its rows and bytes follow with :func:`purge_deleted`.

    Raises Refusal("repository_unknown").
    """
    _change(conn, repository_id, now_s, "repository.delete", {"deleted_at": now_s}, actor)


def _change(
    conn: Connection, repository_id: int, now_s: int, action: str, values: dict[str, int | None], actor: audit.Actor
) -> None:
    found = by_id(conn, repository_id)
    if found is None:
        raise Refusal("repository_unknown")
    conn.execute(update(repository).where(repository.c.id == repository_id).values(values))
    audit.record(conn, now_s, actor, action, str(found.name), dict(values))


# Tables whose rows belong to a repository through a scope or a file, in the order in which they can go.
_OF_SCOPE = (schema.index_version, schema.publication, schema.index_base, schema.segment, schema.membership)
_OF_FILE = (schema.fragment, schema.requirement)


def purge_deleted(conn: Connection, limit: int = CATALOG_ROWS_MAX) -> int:
    """Remove up to about ``limit`` rows of deleted repositories; returns how many, 0 when nothing is left.

    Blobs stay for :mod:`entrepot.catalog.blobs` to collect. Call it again, each time in a transaction of its own,
    until it returns 0.
    """
    gone = conn.execute(select(repository.c.id).where(repository.c.deleted_at.is_not(None)).limit(1)).scalar()
    if gone is None:
        return 0
    scopes = list(
        conn.execute(select(schema.scope.c.id).where(schema.scope.c.repository_id == gone).limit(limit)).scalars()
    )
    removed = _purge_scopes(conn, scopes, limit)
    if removed:
        return removed
    wanted = select(schema.file.c.id).where(schema.file.c.repository_id == gone).limit(limit)
    files = list(conn.execute(wanted).scalars())
    if files:
        for table in _OF_FILE:
            conn.execute(sa.delete(table).where(table.c.file_id.in_(files)))
        conn.execute(sa.delete(schema.file).where(schema.file.c.id.in_(files)))
        return len(files)
    conn.execute(sa.delete(schema.keep_rule).where(schema.keep_rule.c.repository_id == gone))
    conn.execute(sa.delete(schema.part).where(schema.part.c.repository_id == gone))
    for table in (schema.signing_key, schema.package_key):
        conn.execute(sa.delete(table).where(table.c.repository_id == gone))
    conn.execute(sa.delete(repository).where(repository.c.id == gone))
    return 1


def _purge_scopes(conn: Connection, scopes: list[int], limit: int) -> int:
    """Remove rows below these scopes, in order; the scopes themselves once nothing is below them."""
    if not scopes:
        return 0
    publications = select(schema.publication.c.id).where(schema.publication.c.scope_id.in_(scopes))
    conn.execute(sa.delete(schema.document).where(schema.document.c.publication_id.in_(publications)))
    for table in _OF_SCOPE:
        if table is schema.index_base:
            bases = select(schema.index_base.c.id).where(schema.index_base.c.scope_id.in_(scopes))
            conn.execute(sa.delete(schema.tail_delta).where(schema.tail_delta.c.base_id.in_(bases)))
        if table is schema.membership:
            page = select(table.c.id).where(table.c.scope_id.in_(scopes)).limit(limit)
            removed = conn.execute(sa.delete(table).where(table.c.id.in_(page))).rowcount
        else:
            removed = conn.execute(sa.delete(table).where(table.c.scope_id.in_(scopes))).rowcount
        if removed:
            return removed
    return conn.execute(sa.delete(schema.scope).where(schema.scope.c.id.in_(scopes))).rowcount


def totals(conn: Connection) -> tuple[int, int]:
    """(repositories, package files that are not yanked) of the whole installation."""
    query = select(func.count(), func.coalesce(func.sum(repository.c.file_count), 0)).where(
        repository.c.deleted_at.is_(None)
    )
    row = conn.execute(query).one()
    return int(row[0]), int(row[1])
