"""What owners and repositories may hold, and the one place where that is charged.

A file is charged with its size, once for each distribution that it was pushed to: bytes that lie once because they are
equal are charged as often as they are listed, so that nobody's bill depends on what others push. Held files count like
listed ones. Yanked and replaced files count until they are collected, because until then they can come back and their
bytes lie on the volume.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, func, select, update

from entrepot.catalog import audit
from entrepot.catalog.prepared import Prepared
from entrepot.catalog.schema import file, owner, repository
from entrepot.model.errors import Refusal
from entrepot.model.nouns import CANARY_OWNER, RepositoryName

OWNER = "owner"
REPOSITORY = "repository"

_charged = repository.c.used_bytes + repository.c.yanked_bytes
_owner_quota = select(owner.c.quota_bytes).where(owner.c.id == repository.c.owner_id).correlate(repository)
_CHARGE = Prepared(
    update(repository)
    .where(repository.c.id == bindparam("in_repository"), repository.c.deleted_at.is_(None))
    .values(
        last_push_at=func.coalesce(bindparam("pushed_at"), repository.c.last_push_at),
        used_bytes=repository.c.used_bytes + bindparam("more_used"),
        yanked_bytes=repository.c.yanked_bytes + bindparam("more_yanked"),
        file_count=repository.c.file_count + bindparam("more_files"),
    )
    .returning(repository.c.quota_bytes, _charged, _owner_quota.scalar_subquery())
)
# Locked before the sum is taken (where the engine has row locks): two repositories of one owner may commit at once.
_owner_of = select(repository.c.owner_id).where(repository.c.id == bindparam("in_repository"))
_LOCK_OWNER = Prepared(select(owner.c.id).where(owner.c.id == _owner_of.scalar_subquery()).with_for_update())
_live = repository.alias()
_OWNER_SUMS = (
    select(
        func.count(_live.c.id),
        func.coalesce(func.sum(_live.c.file_count), 0),
        func.coalesce(func.sum(_live.c.used_bytes), 0),
        func.coalesce(func.sum(_live.c.yanked_bytes), 0),
    )
    .select_from(_live)
    .where(_live.c.owner_id == bindparam("in_owner"), _live.c.deleted_at.is_(None))
)
_REPOSITORY = (
    select(
        repository.c.owner_id,
        repository.c.name,
        owner.c.name.label("owner_name"),
        repository.c.quota_bytes,
        repository.c.used_bytes,
        repository.c.yanked_bytes,
        owner.c.quota_bytes.label("owner_quota_bytes"),
    )
    .select_from(repository.join(owner, owner.c.id == repository.c.owner_id))
    .where(repository.c.id == bindparam("in_repository"), repository.c.deleted_at.is_(None))
)
_OWNERS = select(owner.c.id, owner.c.name, owner.c.quota_bytes).order_by(owner.c.name)


@dataclass(frozen=True, slots=True)
class Usage:
    """What an owner or a repository (``kind``) holds and may hold, in bytes; ``quota_bytes`` None: as much as fits.

    ``used_bytes`` are of files that are not yanked; ``charged_bytes``, which the quota bounds, are all.
    """

    kind: str
    id: int
    name: str
    used_bytes: int
    yanked_bytes: int
    quota_bytes: int | None

    @property
    def charged_bytes(self) -> int:
        """What counts: yanked files too, until they are collected."""
        return self.used_bytes + self.yanked_bytes

    def exceeded(self, needed_bytes: int) -> Refusal:
        """The refusal of an upload that needs ``needed_bytes`` more than there are."""
        command = "repo" if self.kind == REPOSITORY else "owner"
        yanked = f", {self.yanked_bytes} of them by yanked files that `entrepot gc` frees" if self.yanked_bytes else ""
        return Refusal(
            "quota_exceeded",
            f"The {self.kind} {self.name} may hold {self.quota_bytes} bytes; {self.charged_bytes} are used{yanked}, and"
            f" this needs {needed_bytes} more. Yank what is old and have `entrepot gc` run, or ask for more:"
            f" `entrepot {command} quota {self.name} SIZE`.",
            quota_of=self.kind, quota_name=self.name, quota_bytes=self.quota_bytes, used_bytes=self.charged_bytes,
            yanked_bytes=self.yanked_bytes, needed_bytes=needed_bytes, available_bytes=self._left(0),
        )  # fmt: skip

    def promised(self, needed_bytes: int, reserved_bytes: int) -> Refusal:
        """The refusal of an upload that would fit if ``reserved_bytes`` were not promised to others under way."""
        return Refusal(
            "quota_reserved",
            f"Of the {self.quota_bytes} bytes that the {self.kind} {self.name} may hold, {self.charged_bytes} are used"
            f" and {reserved_bytes} promised to uploads under way; this needs {needed_bytes}. Send it again when they"
            " have ended.",
            quota_of=self.kind, quota_name=self.name, quota_bytes=self.quota_bytes, used_bytes=self.charged_bytes,
            reserved_bytes=reserved_bytes, needed_bytes=needed_bytes, available_bytes=self._left(reserved_bytes),
        )  # fmt: skip

    def _left(self, reserved_bytes: int) -> int:
        """What the quota still has; where none was set nobody asks."""
        return max(0, (self.quota_bytes or 0) - self.charged_bytes - reserved_bytes)


@dataclass(frozen=True, slots=True)
class OwnerRow:
    """One owner with the sums over its repositories."""

    usage: Usage
    repositories: int
    files: int


def charge(
    conn: Connection,
    repository_id: int,
    *,
    used_bytes: int = 0,
    yanked_bytes: int = 0,
    files: int = 0,
    pushed_at: int | None = None,
) -> bool:
    """Add to a repository's sums, all of which may be negative; False when the repository is gone.

    Raises Refusal("quota_exceeded") when the change adds bytes and they exceed the quota of the repository or of its
    owner: this answer binds, for it is given in the transaction that takes the room.
    """
    row = _CHARGE.first(
        conn,
        {
            "in_repository": repository_id,
            "pushed_at": pushed_at,
            "more_used": used_bytes,
            "more_yanked": yanked_bytes,
            "more_files": files,
        },
    )
    if row is None:
        return False
    quota_bytes, charged_bytes, owner_quota_bytes = row
    more_bytes = used_bytes + yanked_bytes
    over = quota_bytes is not None and charged_bytes > quota_bytes
    if more_bytes > 0 and (over or owner_quota_bytes is not None):
        _LOCK_OWNER.first(conn, {"in_repository": repository_id})
        for usage in usages(conn, repository_id):
            if usage.quota_bytes is not None and usage.charged_bytes > usage.quota_bytes:
                raise _before(usage, more_bytes).exceeded(more_bytes)
    return True


def _before(usage: Usage, more_bytes: int) -> Usage:
    """The usage without what this transaction added and will not keep."""
    return Usage(usage.kind, usage.id, usage.name, usage.used_bytes - more_bytes, usage.yanked_bytes, usage.quota_bytes)


def uncharge_collected(conn: Connection, file_ids: Sequence[int]) -> None:
    """Stop charging yanked files, which are about to be forgotten."""
    query = (
        select(file.c.repository_id, func.sum(file.c.size_bytes))
        .where(file.c.id.in_(list(file_ids)), file.c.yanked_at.is_not(None))
        .group_by(file.c.repository_id)
        .order_by(file.c.repository_id)
    )
    for repository_id, size_bytes in conn.execute(query).all():
        charge(conn, repository_id, yanked_bytes=-int(size_bytes))


def usages(conn: Connection, repository_id: int) -> tuple[Usage, ...]:
    """The usage of a repository and of its owner; empty when the repository is gone. The owner's sums are taken only
    when it has a quota, and are 0 otherwise.
    """
    row = conn.execute(_REPOSITORY, {"in_repository": repository_id}).first()
    if row is None:
        return ()
    name = RepositoryName(row.owner_name, row.name)
    own = Usage(REPOSITORY, repository_id, str(name), row.used_bytes, row.yanked_bytes, row.quota_bytes)
    if row.owner_quota_bytes is None:
        return own, Usage(OWNER, row.owner_id, row.owner_name, 0, 0, None)
    return own, _owner(conn, row.owner_id, row.owner_name, row.owner_quota_bytes).usage


def find_owner(conn: Connection, name: str) -> OwnerRow:
    """The owner of this name. Raises Refusal("not_found")."""
    row = conn.execute(_OWNERS.where(owner.c.name == name)).first()
    if row is None:
        raise Refusal("not_found", "There is no such owner; `entrepot owner list` shows all.", owner=name[:200])
    return _owner(conn, row.id, row.name, row.quota_bytes)


def list_owners(conn: Connection) -> tuple[OwnerRow, ...]:
    """Every owner but the canary's, by name."""
    rows = conn.execute(_OWNERS.where(owner.c.name != CANARY_OWNER)).all()
    return tuple(_owner(conn, row.id, row.name, row.quota_bytes) for row in rows)


def _owner(conn: Connection, owner_id: int, name: str, quota_bytes: int | None) -> OwnerRow:
    count, files, used_bytes, yanked_bytes = conn.execute(_OWNER_SUMS, {"in_owner": owner_id}).one()
    usage = Usage(OWNER, owner_id, name, int(used_bytes), int(yanked_bytes), quota_bytes)
    return OwnerRow(usage, int(count), int(files))


def set_owner_quota(
    conn: Connection, name: str, quota_bytes: int | None, now_s: int, *, actor: audit.Actor = audit.SERVER
) -> OwnerRow:
    """Bound the sum over an owner's repositories; None for no bound. Raises Refusal("not_found")."""
    found = find_owner(conn, name)
    conn.execute(update(owner).where(owner.c.id == found.usage.id).values(quota_bytes=quota_bytes))
    detail = {"quota_bytes": quota_bytes, "before_bytes": found.usage.quota_bytes}
    audit.record(conn, now_s, actor, "owner.quota", name, detail)
    return find_owner(conn, name)
