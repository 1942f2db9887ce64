"""Tokens: 48 hexadecimal characters that only their owner ever sees; the catalog holds their SHA-256."""

import hmac
import json
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any

from sqlalchemy import Connection, Row, bindparam, func, or_, select, update

from entrepot.catalog import audit
from entrepot.catalog.schema import owner, token
from entrepot.model.errors import Refusal
from entrepot.model.limits import MACHINE_TOKENS_MAX, TOKEN_TOUCH_S
from entrepot.model.nouns import OPERATOR, RepositoryName, Role

TOKEN_BYTES = 24
"""192 random bits: nobody guesses one, so one round of SHA-256 keeps it and a check costs a microsecond."""


@dataclass(frozen=True, slots=True)
class TokenRow:
    """One token. ``repositories``: the ``USER/REPO`` it is for, None for all of the owner's; ``parent_id``: the
    token that a machine made this one with. Times in seconds since 1970 UTC.
    """

    id: int
    owner: str
    name: str
    role: Role
    repositories: tuple[str, ...] | None
    created_at: int
    expires_at: int | None
    revoked_at: int | None
    last_used_at: int | None
    parent_id: int | None = None

    @property
    def actor_name(self) -> str:
        """As the audit trail names it."""
        return f"{self.name}#{self.id}"

    @property
    def is_operator(self) -> bool:
        """Whether it may act for every owner: role admin of the first owner, without a list of repositories."""
        return self.owner == OPERATOR and self.role is Role.ADMIN and self.repositories is None

    def expired(self, now_s: int) -> bool:
        """Whether its time is over."""
        return self.expires_at is not None and self.expires_at <= now_s


_QUERY = select(
    token.c.id,
    owner.c.name.label("owner_name"),
    token.c.name,
    token.c.role,
    token.c.repositories,
    token.c.created_at,
    token.c.expires_at,
    token.c.revoked_at,
    token.c.last_used_at,
    token.c.parent_id,
    token.c.hash,
).select_from(token.join(owner, owner.c.id == token.c.owner_id))
_BY_HASH = _QUERY.where(token.c.hash == bindparam("in_hash"))
_TOUCH = (
    update(token)
    .where(
        token.c.id == bindparam("in_id"),
        or_(token.c.last_used_at.is_(None), token.c.last_used_at <= bindparam("before")),
    )
    .values(last_used_at=bindparam("at"))
)


def _row(row: Row[*tuple[Any, ...]]) -> TokenRow:
    return TokenRow(
        row.id,
        row.owner_name,
        row.name,
        Role(row.role),
        tuple(json.loads(row.repositories)) if row.repositories is not None else None,
        row.created_at,
        row.expires_at,
        row.revoked_at,
        row.last_used_at,
        row.parent_id,
    )


def hash_text(text: str) -> str:
    """What the catalog keeps of a token's text."""
    return sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def new_text() -> str:
    """A new token: 48 hexadecimal characters."""
    return secrets.token_hex(TOKEN_BYTES)


def derived_text(secret: bytes, purpose: str, name: str) -> str:
    """The token that is the same each time for the same name: HMAC-SHA256 (RFC 2104) of purpose and name, 48
    hexadecimal characters.

    ``secret`` is the server's, not in the catalog. Purpose and name are kept apart by a NUL byte, which neither may
    hold. Raises Refusal("field_invalid") for a NUL byte.
    """
    if "\0" in purpose or "\0" in name:
        raise Refusal("field_invalid", "A name cannot hold a NUL character.", field="name")
    message = f"{purpose}\0{name}".encode("utf-8", "surrogateescape")
    return hmac.new(secret, message, sha256).digest()[:TOKEN_BYTES].hex()


def has_owner(conn: Connection, name: str) -> bool:
    """Whether there is an owner of this name."""
    return conn.execute(select(owner.c.id).where(owner.c.name == name)).first() is not None


def ensure_owner(conn: Connection, name: str, now_s: int, *, actor: audit.Actor = audit.SERVER) -> int:
    """The id of the owner of this name, made when it is missing. Raises Refusal("repository_name_invalid")."""
    RepositoryName.parse(f"{name}/x")
    found = conn.execute(select(owner.c.id).where(owner.c.name == name)).scalar()
    if found is not None:
        return int(found)
    owner_id = conn.execute(owner.insert().returning(owner.c.id), {"name": name, "created_at": now_s}).scalar_one()
    audit.record(conn, now_s, actor, "owner.create", name)
    return int(owner_id)


def create(
    conn: Connection,
    owner_name: str,
    name: str,
    role: Role,
    repositories: Iterable[str] | None,
    expires_at: int | None,
    now_s: int,
    *,
    text: str | None = None,
    actor: audit.Actor = audit.SERVER,
) -> tuple[TokenRow, str]:
    """Make a token (and its owner, when missing) and return it with its text, which is never shown again.

    ``text`` is given for derived tokens only. Raises Refusal("repository_name_invalid") for a name in
    ``repositories`` or an owner that cannot be one.
    """
    names = None if repositories is None else sorted({str(RepositoryName.parse(each)) for each in repositories})
    owner_id = ensure_owner(conn, owner_name, now_s, actor=actor)
    secret = text if text is not None else new_text()
    values = {
        "owner_id": owner_id,
        "name": name,
        "hash": hash_text(secret),
        "role": role.value,
        "repositories": None if names is None else json.dumps(names),
        "created_at": now_s,
        "expires_at": expires_at,
    }
    token_id = conn.execute(token.insert().returning(token.c.id), values).scalar_one()
    detail = {"id": token_id, "role": role.value, "repositories": names, "expires_at": expires_at}
    audit.record(conn, now_s, actor, "token.create", f"{owner_name}/{name}", detail)
    return _row(conn.execute(_QUERY.where(token.c.id == token_id)).one()), secret


def renew(
    conn: Connection,
    owner_name: str,
    name: str,
    role: Role,
    repositories: Iterable[str],
    now_s: int,
    *,
    actor: audit.Actor = audit.SERVER,
) -> tuple[int, str]:
    """The one token of this name with a new text, as (id, text); made when it is missing. Its text until now is worth
    nothing any more. For tokens whose text lives in a process's memory alone.
    """
    known = select(token.c.id).select_from(token.join(owner, owner.c.id == token.c.owner_id))
    found = conn.execute(known.where(owner.c.name == owner_name, token.c.name == name).order_by(token.c.id)).scalar()
    if found is None:
        row, secret = create(conn, owner_name, name, role, repositories, None, now_s, actor=actor)
        return row.id, secret
    secret = new_text()
    values = {"hash": hash_text(secret), "role": role.value, "repositories": json.dumps(sorted(repositories))}
    conn.execute(update(token).where(token.c.id == found).values(**values, revoked_at=None))
    audit.record(conn, now_s, actor, "token.renew", f"{owner_name}/{name}", {"id": found, "role": role.value})
    return int(found), secret


def of_machine(
    conn: Connection,
    parent: TokenRow,
    repository: RepositoryName,
    name: str,
    text: str,
    now_s: int,
    *,
    actor: audit.Actor = audit.SERVER,
) -> TokenRow:
    """The token of ``text``, which a machine called ``name`` may read ``repository`` with; made when it is missing. It
    is its parent's: revoked with it, and over when that one is.

    Raises Refusal: ``repository_not_allowed`` when ``parent`` is such a token itself, which would make tokens that
    outlive it; ``token_revoked`` when this one or ``parent`` was taken away; ``field_invalid`` for too many of one
    parent.
    """
    check_maker(conn, parent)
    if parent.parent_id is not None:
        raise Refusal("repository_not_allowed", "The token was made for one machine; it makes no other tokens.")
    there = by_text(conn, text)
    if there is not None:
        if there.revoked_at is not None:
            raise Refusal("token_revoked", "This machine's token was revoked; set it up under another name.")
        return there
    count = select(func.count()).select_from(token).where(token.c.parent_id == parent.id)
    if conn.execute(count).scalar_one() >= MACHINE_TOKENS_MAX:
        raise Refusal(
            "field_invalid", f"The token has made {MACHINE_TOKENS_MAX} tokens; make another to set machines up with.",
            field="name",
        )  # fmt: skip
    made, _ = create(
        conn, parent.owner, name, Role.READ, [str(repository)], parent.expires_at, now_s, text=text, actor=actor
    )
    conn.execute(update(token).where(token.c.id == made.id).values(parent_id=parent.id))
    return replace(made, parent_id=parent.id)


def check_maker(conn: Connection, maker: TokenRow) -> None:
    """See that the token that a request makes another one with is not revoked meanwhile: the new one would outlive it.
    In the transaction that makes it. Raises Refusal("token_revoked").
    """
    now = by_id(conn, maker.id)
    if now is None or now.revoked_at is not None:
        raise Refusal("token_revoked")


def by_text(conn: Connection, text: str) -> TokenRow | None:
    """The token of this text, revoked and expired ones too (the caller judges them); None when it is unknown."""
    wanted = hash_text(text)
    row = conn.execute(_BY_HASH, {"in_hash": wanted}).first()
    # The index compares hashes, not texts, so its timing tells nothing that helps to guess one; this makes the answer
    # independent of it.
    if row is None or not hmac.compare_digest(str(row.hash), wanted):
        return None
    return _row(row)


def by_id(conn: Connection, token_id: int) -> TokenRow | None:
    """The token of this id, revoked and expired ones too (the caller judges them)."""
    row = conn.execute(_QUERY.where(token.c.id == token_id)).first()
    return None if row is None else _row(row)


def list_tokens(conn: Connection, owner_name: str | None = None) -> tuple[TokenRow, ...]:
    """Tokens that are not revoked, of one owner or of all, oldest first."""
    query = _QUERY.where(token.c.revoked_at.is_(None)).order_by(token.c.id)
    if owner_name is not None:
        query = query.where(owner.c.name == owner_name)
    return tuple(_row(row) for row in conn.execute(query))


def revoke(conn: Connection, token_id: int, now_s: int, *, actor: audit.Actor = audit.SERVER) -> None:
    """End a token for good, and those that machines made with it; a second time changes nothing.

    Raises Refusal("not_found") when there is no such token.
    """
    row = conn.execute(_QUERY.where(token.c.id == token_id)).first()
    if row is None:
        raise Refusal("not_found", "There is no token of this id; `entrepot token list` shows all.")
    if row.revoked_at is None:
        ended = or_(token.c.id == token_id, token.c.parent_id == token_id)
        conn.execute(update(token).where(ended, token.c.revoked_at.is_(None)).values(revoked_at=now_s))
        audit.record(conn, now_s, actor, "token.revoke", f"{row.owner_name}/{row.name}", {"id": token_id})


def touch(conn: Connection, token_id: int, now_s: int) -> bool:
    """Note that the token was used, at most once in ``TOKEN_TOUCH_S`` seconds; True when the row changed."""
    values = {"in_id": token_id, "at": now_s, "before": now_s - TOKEN_TOUCH_S}
    return conn.execute(_TOUCH, values).rowcount == 1
