"""Signing keys: sealed secrets (the secret that opens them is not in the catalog), made ahead and given out to
repositories, or brought along; and the public keys of packages that were signed elsewhere.
"""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, bindparam, delete, func, or_, select, update

from entrepot.catalog import audit, scopes
from entrepot.catalog.prepared import Prepared
from entrepot.catalog.schema import owner, package_key, publication, repository, scope, signing_key
from entrepot.model.errors import Refusal
from entrepot.model.limits import PACKAGE_KEYS_MAX, SIGNING_KEYS_MAX
from entrepot.model.nouns import RepositoryName, Ticket


@dataclass(frozen=True, slots=True)
class KeyRow:
    """One OpenPGP key; ``repository_id`` None while it is spare. Times in seconds since 1970 UTC; ``expires_at`` None
    for never, ``retired_at`` None while it signs.
    """

    id: int
    repository_id: int | None
    algorithm: str
    fingerprint: str
    user_id: str
    imported: bool
    public_armored: str
    secret_sealed: bytes
    created_at: int
    expires_at: int | None
    retired_at: int | None

    def signs(self, now_s: int) -> bool:
        """Whether it signs now: an expired key would only make what clients refuse."""
        return self.retired_at is None and (self.expires_at is None or self.expires_at > now_s)


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key to be kept, its secret sealed."""

    algorithm: str
    fingerprint: str
    user_id: str
    public_armored: str
    secret_sealed: bytes
    expires_at: int | None = None
    imported: bool = False


@dataclass(frozen=True, slots=True)
class PackageKeyRow:
    """A public key by which packages of a repository were signed elsewhere; served under ``name``."""

    name: str
    fingerprint: str
    user_id: str
    public_armored: str
    created_at: int
    expires_at: int | None


@dataclass(frozen=True, slots=True)
class Ending:
    """A key that signs now and has an end."""

    repository: RepositoryName
    fingerprint: str
    expires_at: int


_COLUMNS = (
    signing_key.c.id,
    signing_key.c.repository_id,
    signing_key.c.algorithm,
    signing_key.c.fingerprint,
    signing_key.c.user_id,
    signing_key.c.imported,
    signing_key.c.public_armored,
    signing_key.c.secret_sealed,
    signing_key.c.created_at,
    signing_key.c.expires_at,
    signing_key.c.retired_at,
)
_QUERY = select(*_COLUMNS)
_IN_ORDER = (signing_key.c.created_at, signing_key.c.id)
_OF_REPOSITORY = _QUERY.where(signing_key.c.repository_id == bindparam("in_repository")).order_by(*_IN_ORDER)
_UNENDED = or_(signing_key.c.expires_at.is_(None), signing_key.c.expires_at > bindparam("now_s"))
_SIGNING = Prepared(
    select(signing_key.c.id)
    .where(signing_key.c.repository_id == bindparam("in_repository"), signing_key.c.retired_at.is_(None), _UNENDED)
    .order_by(*_IN_ORDER)
)
_spare = (
    select(func.min(signing_key.c.id))
    .where(
        signing_key.c.repository_id.is_(None),
        signing_key.c.retired_at.is_(None),
        signing_key.c.algorithm == bindparam("in_algorithm"),
    )
    .scalar_subquery()
)
_TAKE = (
    update(signing_key)
    .where(signing_key.c.id == _spare)
    .values(repository_id=bindparam("to_repository"))
    .returning(signing_key.c.id)
)
_PACKAGE_KEYS = (
    select(
        package_key.c.name,
        package_key.c.fingerprint,
        package_key.c.user_id,
        package_key.c.public_armored,
        package_key.c.created_at,
        package_key.c.expires_at,
    )
    .where(package_key.c.repository_id == bindparam("in_repository"))
    .order_by(package_key.c.id)
)


def _row(row: Row[*tuple[Any, ...]]) -> KeyRow:
    values = {**row._mapping, "imported": bool(row.imported)}
    return KeyRow(**values)


def add(
    conn: Connection,
    new: NewKey,
    now_s: int,
    *,
    repository_id: int | None = None,
    actor: audit.Actor = audit.SERVER,
) -> KeyRow:
    """Keep a key: spare, or a repository's own. The same key again takes the place of what was known of it (its end was
    moved, or it had been retired) and keeps its place in the order.

    Raises Refusal("field_invalid") when the repository has as many keys as it may.
    """
    created_at = now_s
    if repository_id is not None:
        there = history(conn, repository_id)
        created_at = _place(there, now_s)
        known = next((row for row in there if row.fingerprint == new.fingerprint), None)
        if known is not None:
            created_at = known.created_at
            conn.execute(delete(signing_key).where(signing_key.c.id == known.id))
        elif sum(row.retired_at is None for row in there) >= SIGNING_KEYS_MAX:
            raise Refusal(
                "field_invalid", f"A repository has at most {SIGNING_KEYS_MAX} keys; retire one first.", field="key"
            )
    values = {
        "repository_id": repository_id,
        "algorithm": new.algorithm,
        "fingerprint": new.fingerprint,
        "user_id": new.user_id,
        "imported": int(new.imported),
        "public_armored": new.public_armored,
        "secret_sealed": new.secret_sealed,
        "created_at": created_at,
        "expires_at": new.expires_at,
    }
    key_id = conn.execute(signing_key.insert().returning(signing_key.c.id), values).scalar_one()
    detail = {"repository": repository_id, "algorithm": new.algorithm, "imported": new.imported}
    audit.record(conn, now_s, actor, "key.add", new.fingerprint, detail)
    return by_id(conn, key_id)


def take_spare(
    conn: Connection, algorithm: str, repository_id: int, now_s: int, *, actor: audit.Actor = audit.SERVER
) -> KeyRow | None:
    """Give the oldest spare key of this algorithm to a repository; None when there is none."""
    taken = conn.execute(_TAKE, {"in_algorithm": algorithm, "to_repository": repository_id}).scalar()
    if taken is None:
        return None
    # It is as old as its use: the keys of a repository are in the order in which they came to it.
    there = [row for row in history(conn, repository_id) if row.id != taken]
    conn.execute(update(signing_key).where(signing_key.c.id == taken).values(created_at=_place(there, now_s)))
    row = by_id(conn, taken)
    audit.record(conn, now_s, actor, "key.assign", row.fingerprint, {"repository": repository_id})
    return row


def _place(there: list[KeyRow], now_s: int) -> int:
    """When a key came that comes after those that are there, even within their second."""
    return max([now_s, *(row.created_at + 1 for row in there)])


def by_id(conn: Connection, key_id: int) -> KeyRow:
    """The key of this id. Raises Refusal("not_found")."""
    row = conn.execute(_QUERY.where(signing_key.c.id == key_id)).first()
    if row is None:
        raise Refusal("not_found", "There is no key of this id.")
    return _row(row)


def spare_count(conn: Connection, algorithm: str) -> int:
    """How many keys of this algorithm are waiting for a repository."""
    where = (
        signing_key.c.repository_id.is_(None),
        signing_key.c.retired_at.is_(None),
        signing_key.c.algorithm == algorithm,
    )
    return int(conn.execute(select(func.count()).select_from(signing_key).where(*where)).scalar_one())


def for_repository(conn: Connection, repository_id: int) -> list[KeyRow]:
    """The keys that clients are told of, oldest first: one, or more while a rotation overlaps; expired ones too."""
    return [row for row in history(conn, repository_id) if row.retired_at is None]


def history(conn: Connection, repository_id: int) -> list[KeyRow]:
    """Every key that a repository has or had, oldest first."""
    return [_row(row) for row in conn.execute(_OF_REPOSITORY, {"in_repository": repository_id})]


def in_use(conn: Connection) -> dict[int, list[KeyRow]]:
    """The keys that are not retired, oldest first, by the id of their repository."""
    found: dict[int, list[KeyRow]] = {}
    used = _QUERY.where(signing_key.c.repository_id.is_not(None), signing_key.c.retired_at.is_(None))
    for row in conn.execute(used.order_by(*_IN_ORDER)):
        found.setdefault(row.repository_id, []).append(_row(row))
    return found


def signing_ids(conn: Connection, repository_id: int, now_s: int) -> tuple[int, ...]:
    """Ids of the keys that sign for a repository now, oldest first. A key that changes has another id."""
    return tuple(int(row[0]) for row in _SIGNING.all(conn, {"in_repository": repository_id, "now_s": now_s}))


def find(conn: Connection, repository_id: int, name: str) -> KeyRow:
    """The key of a repository by its fingerprint, or by the last 8 or more digits of it, in either case.

    Raises Refusal: ``not_found``; ``field_invalid`` when several end so.
    """
    wanted = name.upper().removeprefix("0X").replace(" ", "")
    found = [row for row in history(conn, repository_id) if len(wanted) >= 8 and row.fingerprint.endswith(wanted)]
    if not found:
        raise Refusal("not_found", "The repository has no such key; `entrepot key list USER/REPO` shows all.")
    if len(found) > 1:
        raise Refusal("field_invalid", "Several keys end so; give the whole fingerprint.", field="fingerprint")
    return found[0]


def retire(conn: Connection, row: KeyRow, now_s: int, *, actor: audit.Actor = audit.SERVER) -> None:
    """End the use of a key; its row stays, so that it can come back. Raises nothing."""
    conn.execute(update(signing_key).where(signing_key.c.id == row.id).values(retired_at=now_s))
    audit.record(conn, now_s, actor, "key.retire", row.fingerprint, {"repository": row.repository_id})


def exported(conn: Connection, row: KeyRow, now_s: int, *, actor: audit.Actor) -> None:
    """Note that somebody took the secret key away."""
    audit.record(conn, now_s, actor, "key.export", row.fingerprint, {"repository": row.repository_id})


def sign_again(conn: Connection, repository_id: int, formats: frozenset[str]) -> tuple[Ticket, ...]:
    """Make every scope of these formats dirty: what is published is to be signed by other keys now."""
    s = scope.c
    query = select(s.id).where(s.repository_id == repository_id, s.format.in_(sorted(formats)))
    ids = conn.execute(query.order_by(s.distribution, s.name)).scalars().all()
    return tuple(scopes.advance_id(conn, scope_id) for scope_id in ids)


def has_published(conn: Connection, repository_id: int, formats: frozenset[str]) -> bool:
    """Whether a client may have seen an index of the repository that was signed."""
    query = (
        select(publication.c.id)
        .select_from(publication.join(scope, scope.c.id == publication.c.scope_id))
        .where(scope.c.repository_id == repository_id, scope.c.format.in_(sorted(formats)))
    )
    return conn.execute(query.limit(1)).first() is not None


def endings(conn: Connection, now_s: int) -> list[Ending]:
    """The keys that sign now and have an end, the nearest first."""
    k = signing_key.c
    joined = signing_key.join(repository, repository.c.id == k.repository_id)
    query = (
        select(owner.c.name, repository.c.name, k.fingerprint, k.expires_at)
        .select_from(joined.join(owner, owner.c.id == repository.c.owner_id))
        .where(k.retired_at.is_(None), k.expires_at > now_s, repository.c.deleted_at.is_(None))
        .order_by(k.expires_at, k.id)
    )
    return [Ending(RepositoryName(row[0], row[1]), row[2], row[3]) for row in conn.execute(query)]


# ------------------------------------------------------------------------------------------------ package keys


def package_keys(conn: Connection, repository_id: int) -> list[PackageKeyRow]:
    """The public keys of signed packages, in the order in which they came."""
    return [PackageKeyRow(*row) for row in conn.execute(_PACKAGE_KEYS, {"in_repository": repository_id})]


def package_key_of(conn: Connection, repository_id: int, name: str) -> PackageKeyRow:
    """The one of this name. Raises Refusal("not_found")."""
    row = conn.execute(_PACKAGE_KEYS.where(package_key.c.name == name), {"in_repository": repository_id}).first()
    if row is None:
        raise Refusal("not_found", "There is no package key of this name; `entrepot key list USER/REPO` shows all.")
    return PackageKeyRow(*row)


def add_package_key(
    conn: Connection, repository_id: int, row: PackageKeyRow, now_s: int, *, actor: audit.Actor = audit.SERVER
) -> None:
    """Keep one; the same key again takes the place of what was known of it, under its new name.

    Raises Refusal("field_invalid") for a name that another key has, and for too many.
    """
    there = package_keys(conn, repository_id)
    if any(each.name == row.name and each.fingerprint != row.fingerprint for each in there):
        raise Refusal("field_invalid", "Another package key has this name.", field="name", value=row.name)
    if len(there) >= PACKAGE_KEYS_MAX and all(each.fingerprint != row.fingerprint for each in there):
        raise Refusal("field_invalid", f"A repository has at most {PACKAGE_KEYS_MAX} package keys.", field="key")
    same = (package_key.c.repository_id == repository_id, package_key.c.fingerprint == row.fingerprint)
    conn.execute(delete(package_key).where(*same))
    values = {name: getattr(row, name) for name in ("name", "fingerprint", "user_id", "public_armored", "created_at")}
    conn.execute(package_key.insert(), {**values, "repository_id": repository_id, "expires_at": row.expires_at})
    audit.record(conn, now_s, actor, "package_key.add", row.fingerprint, {"repository": repository_id})


def remove_package_key(
    conn: Connection, repository_id: int, name: str, now_s: int, *, actor: audit.Actor = audit.SERVER
) -> None:
    """Serve it no more. Raises Refusal("not_found")."""
    found = package_key_of(conn, repository_id, name)
    wanted = (package_key.c.repository_id == repository_id, package_key.c.name == name)
    conn.execute(delete(package_key).where(*wanted))
    audit.record(conn, now_s, actor, "package_key.remove", found.fingerprint, {"repository": repository_id})
