"""Files that cannot be used without others: a .dsc and its tarballs.

A file whose ``requires`` are not all here is kept but *held*: charged, in no index, gone after a day. The last member
that arrives releases it. A ``member`` that no file requires yet is held the same way. The requirements stay known for
good, so that a member's yank and return can be judged too.

A yank forgets the day but not the scopes (``held_scopes``): a file that comes back is held anew until it is seen to be
whole.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, bindparam, or_, select, update

from entrepot.catalog import scopes
from entrepot.catalog.prepared import Prepared
from entrepot.catalog.rows import FILE_QUERY, Needed, NewFile, ScopeUse, file_row, to_json
from entrepot.catalog.schema import blob, file, membership, requirement, scope
from entrepot.model.errors import Refusal
from entrepot.model.limits import HELD_S
from entrepot.model.nouns import Digests


@dataclass(frozen=True, slots=True)
class Released:
    """A file that was held and is whole now, and the scopes that list it from here on."""

    entry: scopes.Entry
    uses: tuple[ScopeUse, ...]


@dataclass(frozen=True, slots=True)
class Present:
    """A file that is here or about to be: the names under which others may require it, and its bytes."""

    repository_id: int
    distribution: str
    path: str
    filename: str
    digests: Digests
    size_bytes: int


_DEPENDANTS = Prepared(
    select(
        requirement.c.file_id,
        requirement.c.size_bytes,
        requirement.c.digests,
        file.c.held_until,
        file.c.filename,
    )
    .select_from(requirement.join(file, file.c.id == requirement.c.file_id))
    .where(
        requirement.c.repository_id == bindparam("in_repository"),
        requirement.c.distribution == bindparam("in_distribution"),
        or_(requirement.c.path == bindparam("in_path"), requirement.c.path == bindparam("in_filename")),
        file.c.yanked_at.is_(None),
    )
)
_OF_PLACE = (
    select(file.c.id, file.c.size_bytes, file.c.yanked_at, blob.c.sha256, blob.c.md5, blob.c.sha1, blob.c.sha512)
    .select_from(file.join(blob, blob.c.id == file.c.blob_id))
    .where(
        file.c.repository_id == bindparam("in_repository"),
        file.c.distribution == bindparam("in_distribution"),
        file.c.replaced_by.is_(None),
    )
)
_BY_NAME = _OF_PLACE.where(file.c.yanked_at.is_(None))
_BY_PATH = _BY_NAME.where(file.c.path == bindparam("in_path"))
_BY_FILENAME = _BY_NAME.where(file.c.filename == bindparam("in_path"))
_REQUIREMENTS = select(requirement.c.path, requirement.c.size_bytes, requirement.c.digests).where(
    requirement.c.file_id == bindparam("in_file")
)
_HELD_FILE = select(file.c.id, file.c.part, file.c.order_key, file.c.held_scopes).where(
    file.c.id == bindparam("in_file"), file.c.held_until.is_not(None)
)
_HELD_OF_PARTS = select(file.c.id, file.c.held_scopes).where(
    file.c.repository_id == bindparam("in_repository"),
    file.c.distribution == bindparam("in_distribution"),
    file.c.held_until.is_not(None),
    file.c.part.in_(bindparam("in_parts", expanding=True)),
)
_WIDEN = update(file).where(file.c.id == bindparam("in_file")).values(held_scopes=bindparam("scopes"))
_HOLD = (
    update(file)
    .where(file.c.id == bindparam("in_file"))
    .values(held_until=bindparam("until"), held_scopes=bindparam("scopes"))
)
_NAMES = select(file.c.repository_id, file.c.distribution, file.c.path, file.c.filename, file.c.held_scopes).where(
    file.c.id == bindparam("in_file")
)
_REQUIRED = (
    select(requirement.c.file_id)
    .where(
        requirement.c.repository_id == bindparam("in_repository"),
        requirement.c.distribution == bindparam("in_distribution"),
        or_(requirement.c.path == bindparam("in_path"), requirement.c.path == bindparam("in_filename")),
    )
    .limit(1)
)
_FREE = update(file).where(file.c.id == bindparam("in_file")).values(held_until=None, held_scopes=None)
_SCOPES_OF = (
    select(scope.c.name, scope.c.format)
    .select_from(membership.join(scope, scope.c.id == membership.c.scope_id))
    .where(membership.c.file_id == bindparam("in_file"), membership.c.removed_change.is_(None))
)


def _agree(needed: Mapping[str, str], size_bytes: int | None, have: Mapping[str, str | None], have_bytes: int) -> bool:
    """True when every digest that both sides know is equal, and the size; at least one digest must have been
    compared.
    """
    if size_bytes is not None and size_bytes != have_bytes:
        return False
    compared = [have[name] == value.lower() for name, value in needed.items() if have.get(name)]
    return bool(compared) and all(compared)


def _have(known: Digests | Row[*tuple[Any, ...]]) -> dict[str, str | None]:
    """The digests of bytes that are here, by algorithm."""
    return {"sha256": known.sha256, "md5": known.md5, "sha1": known.sha1, "sha512": known.sha512}


def _find(conn: Connection, repository_id: int, distribution: str, needed: Needed) -> int | None:
    """The file that is here under the needed name, or None. Raises Refusal("digest_mismatch") when it has other
    bytes.
    """
    names = {"in_repository": repository_id, "in_distribution": distribution, "in_path": needed.path}
    row = conn.execute(_BY_PATH if "/" in needed.path else _BY_FILENAME, names).first()
    if row is None:
        return None
    if not _agree(needed.digests, needed.size_bytes, _have(row), row.size_bytes):
        raise Refusal(
            "digest_mismatch",
            f"{needed.path} is here already with other content than this file names; yank it first, "
            "or send the files that belong together.",
            field=needed.path,
        )
    return int(row.id)


def missing(conn: Connection, repository_id: int, distribution: str, requires: Sequence[Needed]) -> list[str]:
    """The paths in ``requires`` that are not here. Raises Refusal("digest_mismatch") for one that is here with other
    bytes.
    """
    return [needed.path for needed in requires if _find(conn, repository_id, distribution, needed) is None]


def dependants(conn: Connection, present: Present) -> list[tuple[int, bool]]:
    """The files that require this one, with whether they are held.

    Raises Refusal("digest_mismatch") when one of them requires other bytes under this name.
    """
    names = {
        "in_repository": present.repository_id,
        "in_distribution": present.distribution,
        "in_path": present.path,
        "in_filename": present.filename,
    }
    have = _have(present.digests)
    found: list[tuple[int, bool]] = []
    for file_id, size_bytes, wanted, held_until, filename in _DEPENDANTS.all(conn, names):
        if not _agree(json.loads(wanted), size_bytes, have, present.size_bytes):
            raise Refusal(
                "digest_mismatch",
                f"{present.filename} has other content than {filename} names; send the right file, or yank {filename}.",
                field=present.filename,
            )
        found.append((file_id, held_until is not None))
    return found


def require(conn: Connection, file_id: int, new: NewFile) -> None:
    """Remember what the file needs."""
    conn.execute(
        requirement.insert(),
        [
            {
                "file_id": file_id,
                "path": path,
                "repository_id": new.repository_id,
                "distribution": new.distribution,
                "size_bytes": needed.size_bytes,
                "digests": to_json(dict(needed.digests)),
            }
            for path, needed in {needed.path: needed for needed in new.facts.requires}.items()
        ],
    )


def _free(conn: Connection, file_id: int) -> Released | None:
    """Hold the file no longer; None when it was not held."""
    row = conn.execute(_HELD_FILE, {"in_file": file_id}).first()
    if row is None:
        return None
    conn.execute(_FREE, {"in_file": file_id})
    uses = tuple(ScopeUse(name, kind, listed=True) for name, kind in json.loads(row.held_scopes or "[]"))
    return Released(scopes.Entry(row.id, row.part, row.order_key), uses)


def free_members(conn: Connection, new: NewFile, requires: Sequence[Needed]) -> list[Released]:
    """The members of a whole file are held no longer; those that were."""
    members = [_find(conn, new.repository_id, new.distribution, needed) for needed in requires]
    freed = [_free(conn, member) for member in members if member is not None]
    return [each for each in freed if each is not None]


def release(
    conn: Connection, repository_id: int, distribution: str, waiting: Sequence[tuple[int, bool]]
) -> list[Released]:
    """Free those of the ``waiting`` files that are held and lack nothing now, and their members; returns all that
    were held.
    """
    released: list[Released] = []
    for file_id, is_held in waiting:
        if not is_held:
            continue
        members = [_find(conn, repository_id, distribution, needed) for needed in requirements(conn, file_id)]
        whole = [member for member in members if member is not None]
        if len(whole) < len(members):
            continue
        for freed in (file_id, *whole):
            each = _free(conn, freed)
            if each is not None:
                released.append(each)
    return released


def requirements(conn: Connection, file_id: int) -> list[Needed]:
    """What the file needs, as its commit remembered it."""
    return [
        Needed(row.path, row.size_bytes, json.loads(row.digests))
        for row in conn.execute(_REQUIREMENTS, {"in_file": file_id})
    ]


def hold_again(conn: Connection, file_id: int, former: Iterable[tuple[str, str]], now_s: int) -> bool:
    """Hold a file that comes back if it is one of a set; False when it is not. Follow with :func:`settle`.

    Args: ``former`` the (name, format) of each scope that ever listed it.
    """
    row = conn.execute(_NAMES, {"in_file": file_id}).one()
    names = {
        "in_repository": row.repository_id,
        "in_distribution": row.distribution,
        "in_path": row.path,
        "in_filename": row.filename,
    }
    of_a_set = row.held_scopes is not None or bool(requirements(conn, file_id))
    if not of_a_set and conn.execute(_REQUIRED, names).first() is None:
        return False
    wanted = {(name, kind) for name, kind in json.loads(row.held_scopes or "[]")} | set(former)
    conn.execute(_HOLD, {"in_file": file_id, "until": now_s + HELD_S, "scopes": to_json(sorted(wanted))})
    return True


def settle(conn: Connection, file_id: int) -> list[Released]:
    """Free what is whole now that this held file is back: itself, those that waited for it, and their members.

    Raises Refusal("digest_mismatch") when a set would mix with other bytes.
    """
    row = file_row(conn.execute(FILE_QUERY.where(file.c.id == file_id)).one())
    present = Present(row.repository_id, row.distribution, row.path, row.filename, row.digests, row.size_bytes)
    waiting = dependants(conn, present)
    released: list[Released] = []
    if any(not is_held for _id, is_held in waiting):
        freed = _free(conn, file_id)
        released += [freed] if freed is not None else []
    if requirements(conn, file_id):
        waiting.append((file_id, True))
    return released + release(conn, row.repository_id, row.distribution, waiting)


def members_away(conn: Connection, file_id: int) -> list[int]:
    """The yanked files that this file needs: under each name that no live file has, the newest one with the right
    bytes.
    """
    row = conn.execute(_NAMES, {"in_file": file_id}).one()
    found: list[int] = []
    for needed in requirements(conn, file_id):
        names = {"in_repository": row.repository_id, "in_distribution": row.distribution, "in_path": needed.path}
        column = file.c.path if "/" in needed.path else file.c.filename
        query = _OF_PLACE.where(column == bindparam("in_path"))
        candidates = conn.execute(query.order_by(file.c.yanked_at.desc(), file.c.id.desc()), names).all()
        if any(each.yanked_at is None for each in candidates):
            continue
        for each in candidates:
            if _agree(needed.digests, needed.size_bytes, _have(each), each.size_bytes):
                found.append(int(each.id))
                break
    return found


def widen(conn: Connection, repository_id: int, distribution: str, use: ScopeUse) -> None:
    """A scope comes about that lists ``use.parts``: the held files of these parts belong to it too, once they are free.

    Without that, a file that is held while the scope is made would be missing from it for ever.
    """
    if not use.parts:
        return
    names = {"in_repository": repository_id, "in_distribution": distribution, "in_parts": sorted(use.parts)}
    for row in conn.execute(_HELD_OF_PARTS, names).all():
        known = json.loads(row.held_scopes or "[]")
        if [use.name, use.format] not in known:
            conn.execute(_WIDEN, {"in_file": row.id, "scopes": to_json([*known, [use.name, use.format]])})


def scope_uses(conn: Connection, file_id: int) -> Iterator[tuple[str, ScopeUse]]:
    """The scopes that list the file now, by name; ``listed`` is False: what takes its place is not theirs."""
    for name, kind in conn.execute(_SCOPES_OF, {"in_file": file_id}).all():
        yield name, ScopeUse(name, kind, listed=False)
