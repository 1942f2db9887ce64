"""A received file becomes a row: one function, in the caller's transaction."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from sqlalchemy import Connection, bindparam, func, select, update

from entrepot.catalog import audit, held, quotas, scopes
from entrepot.catalog.prepared import Prepared
from entrepot.catalog.rows import CommitOutcome, FileFacts, NewFile, ScopeUse, to_json
from entrepot.catalog.schema import blob, copy, file, fragment, part
from entrepot.model.errors import Refusal
from entrepot.model.limits import HELD_S, SCOPES_PER_FILE_MAX
from entrepot.model.nouns import Digests, Ticket

_one_copy = select(func.min(copy.c.key)).where(copy.c.blob_id == blob.c.id).scalar_subquery()
_BLOB = Prepared(
    select(blob.c.id, _one_copy, blob.c.md5, blob.c.sha1, blob.c.sha512).where(blob.c.sha256 == bindparam("in_sha256"))
)
_NEW_BLOB = Prepared(
    blob.insert().returning(blob.c.id), ("sha256", "size_bytes", "md5", "sha1", "sha512", "created_at")
)
_NEW_COPY = Prepared(copy.insert(), ("key", "blob_id", "store", "size_bytes", "created_at"))
_NAMESAKE = Prepared(
    select(file.c.id, file.c.blob_id, file.c.size_bytes, file.c.held_until).where(
        file.c.repository_id == bindparam("in_repository"),
        file.c.distribution == bindparam("in_distribution"),
        file.c.conflict_key == bindparam("in_key"),
        file.c.yanked_at.is_(None),
    )
)
_NEW_FILE = Prepared(
    file.insert().returning(file.c.id),
    [column.name for column in file.c if column.name not in ("id", "yanked_at", "replaced_by")],
)
_NEW_FRAGMENT = Prepared(fragment.insert(), ("file_id", "stream", "content"))
_YANK_REPLACED = update(file).where(file.c.id == bindparam("in_id")).values(yanked_at=bindparam("at"), held_until=None)
_REPLACED_BY = update(file).where(file.c.id == bindparam("in_id")).values(replaced_by=bindparam("by"))
_KNOWN_PART = Prepared(
    select(part.c.part).where(
        part.c.repository_id == bindparam("in_repository"),
        part.c.distribution == bindparam("in_distribution"),
        part.c.part == bindparam("in_part"),
    )
)
_NEW_PART = Prepared(part.insert(), ("repository_id", "distribution", "part"))
_PARTS = Prepared(
    select(part.c.part).where(
        part.c.repository_id == bindparam("in_repository"), part.c.distribution == bindparam("in_distribution")
    )
)


@dataclass(slots=True)
class _Change:
    """What one commit does to one scope."""

    use: ScopeUse
    added: list[scopes.Entry] = field(default_factory=list)
    removed: list[int] = field(default_factory=list)


def parts(conn: Connection, repository_id: int, distribution: str) -> frozenset[str]:
    """The parts that the distribution has ever held; which indexes exist follows from them."""
    rows = _PARTS.all(conn, {"in_repository": repository_id, "in_distribution": distribution})
    return frozenset(row[0] for row in rows)


def commit_file(
    conn: Connection, new: NewFile, copy_key: str | None, uses: Sequence[ScopeUse], now_s: int
) -> CommitOutcome:
    """Put one file into one distribution: blob, copy, row, fragments, memberships, change numbers, charge, audit row.

    Args: ``copy_key`` where the caller's durable copy of the bytes lies, None when it relies on bytes that are here
    already; ``uses`` every scope that must exist once the file is in, computed inside this transaction from
    :func:`parts` and the file's own part. For several distributions call it once for each, in sorted order, in one
    transaction; only the first call that reports ``copy_used`` keeps the copy.

    Raises Refusal: name_taken, quota_exceeded, repository_unknown, digest_mismatch (a file that it needs is here with
    other bytes), not_found (``copy_key`` is None and the bytes are gone), package_hostile (more scopes than any
    package has).
    """
    if len(uses) > SCOPES_PER_FILE_MAX:
        raise Refusal("package_hostile", f"A file belongs to at most {SCOPES_PER_FILE_MAX} indexes.")
    facts = new.facts
    stored = _find_bytes(conn, new, copy_key, now_s)
    namesake = _NAMESAKE.first(
        conn,
        {"in_repository": new.repository_id, "in_distribution": new.distribution, "in_key": facts.conflict_key},
    )
    if namesake is not None and namesake[1] == stored.blob_id:
        return _already_there(conn, namesake[0], stored, is_held=namesake[3] is not None)
    if namesake is not None and not facts.replaces:
        raise Refusal("name_taken", field="filename", value=facts.filename)
    blob_id = stored.blob_id if stored.blob_id is not None else _insert_blob(conn, new, str(copy_key), now_s)
    _charge(conn, new, namesake[2] if namesake is not None else None, now_s)
    missing = held.missing(conn, new.repository_id, new.distribution, facts.requires)
    present = held.Present(new.repository_id, new.distribution, facts.path, facts.filename, new.digests, new.size_bytes)
    dependants = held.dependants(conn, present)
    wanted = any(not dependant_held for _id, dependant_held in dependants)
    is_held = bool(missing) or (facts.member and not wanted)
    changes = {use.name: _Change(use) for use in uses}
    removed = _replace(conn, changes, namesake[0], now_s) if namesake is not None else None
    file_id = _insert_file(conn, new, blob_id, now_s, [use for use in uses if use.listed] if is_held else None)
    if removed is not None:
        conn.execute(_REPLACED_BY, {"in_id": removed, "by": file_id})
    if facts.requires:
        held.require(conn, file_id, new)
    freed: list[held.Released] = []
    if not is_held:
        entry = scopes.Entry(file_id, facts.part, facts.order_key)
        for change in changes.values():
            if change.use.listed:
                change.added.append(entry)
        freed = held.free_members(conn, new, facts.requires)
    freed += held.release(conn, new.repository_id, new.distribution, dependants)
    for each in freed:
        for use in each.uses:
            changes.setdefault(use.name, _Change(use)).added.append(each.entry)
    freed_ids = {each.entry.file_id for each in freed}
    outcome = CommitOutcome(
        file_id=file_id,
        tickets=_apply(conn, new, changes),
        created=True,
        copy_used=stored.copy_used,
        held=is_held and file_id not in freed_ids,
        released=tuple(sorted(freed_ids - {file_id})),
        replaced=removed,
    )
    _audit(conn, new, outcome, now_s)
    return outcome


@dataclass(frozen=True, slots=True)
class _Stored:
    """The blob of the new file's digest (None: no row yet), and whether the caller's copy becomes one of the
    catalog's.
    """

    blob_id: int | None
    copy_used: bool


def _find_bytes(conn: Connection, new: NewFile, copy_key: str | None, now_s: int) -> _Stored:
    """Look for a live copy of the same digest; a row that outlived its copies takes the caller's."""
    row = _BLOB.first(conn, {"in_sha256": new.digests.sha256})
    if row is not None and row[1] is not None:
        _fill_digests(conn, row[0], new.digests, row[2:5])
        return _Stored(row[0], copy_used=False)
    if copy_key is None:
        raise Refusal("not_found", "The bytes of this digest are not here any more; send the file itself.")
    if row is not None:
        _insert_copy(conn, new, row[0], copy_key, now_s)
    return _Stored(row[0] if row is not None else None, copy_used=True)


def _already_there(conn: Connection, file_id: int, stored: _Stored, *, is_held: bool) -> CommitOutcome:
    """The same bytes under the same name: no index changes, and the tickets are those of the first time."""
    listed = scopes.listing(conn, [file_id])
    tickets = tuple(Ticket(scope_id, change) for scope_id, files in listed.items() for _file, change in files)
    return CommitOutcome(file_id, tickets, created=False, copy_used=stored.copy_used, held=is_held)


def _charge(conn: Connection, new: NewFile, replaced_bytes: int | None, now_s: int) -> None:
    """Charge the new file; the one that it replaces is charged as a yanked one from here on."""
    old_bytes = replaced_bytes or 0
    files = 0 if replaced_bytes is not None else 1
    used_bytes = new.size_bytes - old_bytes
    if not quotas.charge(
        conn, new.repository_id, used_bytes=used_bytes, yanked_bytes=old_bytes, files=files, pushed_at=now_s
    ):
        raise Refusal("repository_unknown")


def _insert_blob(conn: Connection, new: NewFile, copy_key: str, now_s: int) -> int:
    digests = new.digests
    (blob_id,) = _NEW_BLOB.one(
        conn,
        {
            "sha256": digests.sha256,
            "size_bytes": new.size_bytes,
            "md5": digests.md5,
            "sha1": digests.sha1,
            "sha512": digests.sha512,
            "created_at": now_s,
        },
    )
    _insert_copy(conn, new, blob_id, copy_key, now_s)
    return int(blob_id)


def _insert_copy(conn: Connection, new: NewFile, blob_id: int, copy_key: str, now_s: int) -> None:
    _NEW_COPY.run(
        conn,
        {
            "key": copy_key,
            "blob_id": blob_id,
            "store": new.store,
            "size_bytes": new.size_bytes,
            "created_at": now_s,
        },
    )


def _fill_digests(conn: Connection, blob_id: int, digests: Digests, known: Sequence[str | None]) -> None:
    """A blob that came in for one format may lack digests that another one needs."""
    given = {"md5": digests.md5, "sha1": digests.sha1, "sha512": digests.sha512}
    new = {name: value for (name, value), old in zip(given.items(), known, strict=True) if value and not old}
    if new:
        conn.execute(update(blob).where(blob.c.id == blob_id).values(new))


def _replace(conn: Connection, changes: dict[str, _Change], old_id: int, now_s: int) -> int:
    """Take the old file of this name out of every scope that lists it."""
    for name, use in held.scope_uses(conn, old_id):
        changes.setdefault(name, _Change(use)).removed.append(old_id)
    conn.execute(_YANK_REPLACED, {"in_id": old_id, "at": now_s})
    return old_id


def _insert_file(conn: Connection, new: NewFile, blob_id: int, now_s: int, held_for: Sequence[ScopeUse] | None) -> int:
    facts = new.facts
    (file_id,) = _NEW_FILE.one(
        conn,
        {
            "repository_id": new.repository_id,
            "distribution": new.distribution,
            "format": new.format,
            "type": facts.type,
            "name": facts.name,
            "version": facts.version,
            "epoch": facts.epoch,
            "release": facts.release,
            "architecture": facts.architecture,
            "filename": facts.filename,
            "path": facts.path,
            "conflict_key": facts.conflict_key,
            "order_key": facts.order_key,
            "part": facts.part,
            "blob_id": blob_id,
            "size_bytes": new.size_bytes,
            "metadata": to_json(dict(facts.metadata)),
            "held_scopes": to_json([[use.name, use.format] for use in held_for]) if held_for is not None else None,
            "uploader": new.uploader,
            "created_at": now_s,
            "held_until": now_s + HELD_S if held_for is not None else None,
        },
    )
    if facts.fragments:
        _NEW_FRAGMENT.many(
            conn,
            [{"file_id": file_id, "stream": stream, "content": content} for stream, content in facts.fragments.items()],
        )
    if facts.part is not None:
        _know_part(conn, new, facts)
    return int(file_id)


def _know_part(conn: Connection, new: NewFile, facts: FileFacts) -> None:
    names = {"in_repository": new.repository_id, "in_distribution": new.distribution, "in_part": facts.part}
    if _KNOWN_PART.first(conn, names) is None:
        values = {"repository_id": new.repository_id, "distribution": new.distribution, "part": facts.part}
        _NEW_PART.run(conn, values)


def _apply(conn: Connection, new: NewFile, changes: dict[str, _Change]) -> tuple[Ticket, ...]:
    """Advance, in order of name, each scope that changes; make those that are missing."""
    tickets: list[Ticket] = []
    for name in sorted(changes):
        change = changes[name]
        touched = bool(change.added or change.removed)
        if not touched and scopes.exists(conn, new.repository_id, new.distribution, name):
            continue
        ticket = scopes.advance(conn, new.repository_id, new.distribution, name) if touched else None
        if ticket is None:
            ticket = scopes.create(conn, new.repository_id, new.distribution, change.use.format, name, change.use.parts)
            held.widen(conn, new.repository_id, new.distribution, change.use)
            # The files of its parts are in already, this one among them.
            added = [entry for entry in change.added if entry.part is None or entry.part not in change.use.parts]
        else:
            added = change.added
        if added:
            scopes.add(conn, ticket, added)
        if change.removed:
            scopes.remove(conn, ticket, change.removed)
        tickets.append(ticket)
    return tuple(tickets)


def _audit(conn: Connection, new: NewFile, outcome: CommitOutcome, now_s: int) -> None:
    detail: dict[str, object] = {
        "repository": new.repository_id,
        "file": outcome.file_id,
        "sha256": new.digests.sha256,
        "bytes": new.size_bytes,
    }
    if outcome.held:
        detail["held"] = True
    if outcome.released:
        detail["released"] = outcome.released
    if outcome.replaced is not None:
        detail["replaced"] = outcome.replaced
    subject = f"{new.distribution}/{new.facts.path}"
    # Several tokens may have one name: only the number says which it was.
    actor = audit.Actor(new.actor or new.uploader, new.address)
    audit.record(conn, now_s, actor, "file.add", subject, detail)
