"""What holds the bytes: by repository, and by what would have to happen for them to go. True bytes: each blob once.

Reads every file's reference to its blob: seconds at a million files, so it is asked by people and not by probes.
"""

from dataclasses import dataclass

from sqlalchemy import Connection, Subquery, and_, case, func, select, text

from entrepot.catalog.schema import copy, file, owner, repository, scope, segment
from entrepot.model.nouns import CANARY_OWNER


@dataclass(frozen=True, slots=True)
class Holding:
    """What one repository holds. ``name`` None: all those that are deleted and not yet removed together.

    ``package_bytes`` are its packages', of which ``own_bytes`` are in no other repository: what deleting it would free,
    with ``index_bytes``. ``yanked_bytes``: the part of ``package_bytes`` that only its yanked files need.
    """

    name: str | None
    files: int
    package_bytes: int
    own_bytes: int
    yanked_bytes: int
    index_bytes: int


@dataclass(frozen=True, slots=True)
class Waiting:
    """Yanked files that nobody has to ask for to be collected: another one took their name, or a keep rule took them
    out.
    """

    files: int
    size_bytes: int


def by_repository(conn: Connection, block_bytes: int = 1) -> list[Holding]:
    """Every repository that holds anything, the largest first. ``block_bytes``: each copy's size is rounded up to so
    many, as on the volume.
    """
    taken = _taken(block_bytes)
    uses = (
        select(
            file.c.repository_id,
            file.c.blob_id,
            func.count().label("files"),
            func.max(case((file.c.yanked_at.is_(None), 1), else_=0)).label("live"),
        )
        .group_by(file.c.repository_id, file.c.blob_id)
        .subquery()
    )
    users = select(uses.c.blob_id, func.count().label("users")).group_by(uses.c.blob_id).subquery()
    size, alone = taken.c.size_bytes, users.c.users == 1
    packages = conn.execute(
        select(
            uses.c.repository_id,
            func.sum(uses.c.files),
            func.sum(size),
            func.sum(case((alone, size), else_=0)),
            func.sum(case((uses.c.live == 0, size), else_=0)),
        )
        .select_from(uses.join(users, users.c.blob_id == uses.c.blob_id).join(taken, taken.c.blob_id == uses.c.blob_id))
        .group_by(uses.c.repository_id)
    ).all()
    found = {int(row[0]): [int(each) for each in row[1:]] for row in packages}
    return _named(conn, found, _index_bytes(conn, taken))


def _taken(block_bytes: int) -> Subquery:
    """What each blob's copies take on the volume."""
    rounded = (copy.c.size_bytes + (block_bytes - 1)) // block_bytes * block_bytes
    return select(copy.c.blob_id, func.sum(rounded).label("size_bytes")).group_by(copy.c.blob_id).subquery()


def _index_bytes(conn: Connection, taken: Subquery) -> dict[int, int]:
    """Repository → bytes of its index segments, old generations' too."""
    uses = (
        select(scope.c.repository_id, segment.c.blob_id)
        .select_from(segment.join(scope, scope.c.id == segment.c.scope_id))
        .distinct()
        .subquery()
    )
    query = select(uses.c.repository_id, func.sum(taken.c.size_bytes)).select_from(
        uses.join(taken, taken.c.blob_id == uses.c.blob_id)
    )
    return {int(row[0]): int(row[1]) for row in conn.execute(query.group_by(uses.c.repository_id))}


def _named(conn: Connection, packages: dict[int, list[int]], indexes: dict[int, int]) -> list[Holding]:
    query = select(repository.c.id, owner.c.name, repository.c.name, repository.c.deleted_at).select_from(
        repository.join(owner, owner.c.id == repository.c.owner_id)
    )
    listed: list[Holding] = []
    gone = [0, 0, 0, 0, 0]
    for repository_id, owner_name, name, deleted_at in conn.execute(query):
        figures = [*packages.get(repository_id, [0, 0, 0, 0]), indexes.get(repository_id, 0)]
        if deleted_at is not None:
            gone = [before + more for before, more in zip(gone, figures, strict=True)]
        elif any(figures):
            listed.append(Holding(f"{owner_name}/{name}", *figures))
    listed.sort(key=lambda each: (-(each.package_bytes + each.index_bytes), each.name))
    return [*listed, Holding(None, *gone)] if any(gone) else listed


def going_by_themselves(conn: Connection, block_bytes: int = 1) -> Waiting:
    """What will go without anybody's asking, once `publication.keep_replaced_s` is over."""
    mine = and_(file.c.yanked_at.is_not(None), (file.c.replaced_by.is_not(None)) | (file.c.superseded == 1))
    uses = (
        select(file.c.blob_id, func.sum(case((mine, 0), else_=1)).label("others"), func.sum(case((mine, 1), else_=0)))
        .group_by(file.c.blob_id)
        .having(func.sum(case((mine, 1), else_=0)) > 0)
        .subquery()
    )
    taken = _taken(block_bytes)
    size_bytes = conn.execute(
        select(func.coalesce(func.sum(taken.c.size_bytes), 0))
        .select_from(uses.join(taken, taken.c.blob_id == uses.c.blob_id))
        .where(uses.c.others == 0)
    ).scalar_one()
    files = conn.execute(select(func.count()).select_from(file).where(mine)).scalar_one()
    return Waiting(int(files), int(size_bytes))


def database_bytes(conn: Connection) -> int:
    """The catalog's file, without its log. SQLite."""
    pages = conn.execute(text("PRAGMA page_count")).scalar_one()
    page_bytes = conn.execute(text("PRAGMA page_size")).scalar_one()
    return int(pages) * int(page_bytes)


def is_nodes_own(name: str | None) -> bool:
    """Whether a repository is one in which a node tries itself out."""
    return name is not None and name.partition("/")[0] == CANARY_OWNER
