"""Signing keys that the server's secret does not open: all keys to be tried, and the end of those that are lost."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, select, update

from entrepot.catalog import audit, scopes
from entrepot.catalog.schema import owner, repository, scope, signing_key


@dataclass(frozen=True, slots=True)
class SealedKey:
    """A key that is not retired; ``repository`` is USER/REPO, None while it is spare."""

    id: int
    repository_id: int | None
    repository: str | None
    fingerprint: str
    secret_sealed: bytes


_k = signing_key.c
_SEALED = (
    select(_k.id, _k.repository_id, owner.c.name, repository.c.name, _k.fingerprint, _k.secret_sealed)
    .select_from(
        signing_key.outerjoin(repository, repository.c.id == _k.repository_id).outerjoin(
            owner, owner.c.id == repository.c.owner_id
        )
    )
    .where(_k.retired_at.is_(None), repository.c.deleted_at.is_(None))
    .order_by(_k.id)
)


def sealed_keys(conn: Connection) -> Iterator[SealedKey]:
    """Every key that is not retired, one at a time: there may be thousands, of some KB each."""
    for key_id, repository_id, owner_name, name, fingerprint, sealed in conn.execute(_SEALED):
        yield SealedKey(key_id, repository_id, f"{owner_name}/{name}" if name else None, fingerprint, sealed)


def give_up(conn: Connection, lost: Sequence[SealedKey], now_s: int) -> None:
    """Retire keys. What their repositories have published becomes dirty: it is signed anew, by keys that are made then.
    The rows stay, so that nothing is gone should the secret be found.
    """
    for key in lost:
        conn.execute(update(signing_key).where(_k.id == key.id).values(retired_at=now_s))
        audit.record(conn, now_s, audit.SERVER, "key.lost", key.fingerprint, {"repository": key.repository_id})
    for repository_id in sorted({key.repository_id for key in lost if key.repository_id is not None}):
        query = select(scope.c.id).where(scope.c.repository_id == repository_id)
        for scope_id in conn.execute(query.order_by(scope.c.distribution, scope.c.name)).scalars().all():
            scopes.advance_id(conn, scope_id)
