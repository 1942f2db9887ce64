"""Keep rules: how many versions of each package a repository keeps, and which files are beyond that.

What a version is, and which of two is newer, the format says (``Format.version_lines`` and the files' order keys).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, and_, delete, func, select, update

from entrepot.catalog import audit, yank
from entrepot.catalog.schema import blob, copy, file, keep_rule, requirement, segment
from entrepot.model.limits import CATALOG_ROWS_MAX, MATCH_FILES_MAX
from entrepot.model.nouns import Ticket

EVERYWHERE = ""
"""The distribution of a rule for all that have none of their own."""

Lines = Mapping[str, Mapping[str, tuple[str, ...]]]
"""Format → its ``version_lines``."""

_FIELDS: Mapping[str, ColumnElement[str]] = {
    "type": file.c.type,
    "name": file.c.name,
    "architecture": file.c.architecture,
}


@dataclass(frozen=True, slots=True)
class KeepRule:
    """So many ``versions`` of each package are kept in ``distribution``; None: in every one without a rule of its
    own.
    """

    distribution: str | None
    versions: int


@dataclass(frozen=True, slots=True)
class Freed:
    """What the end of some files gives back: true bytes, each blob once and none that something else needs."""

    files: int
    blobs: int
    size_bytes: int


def rules(conn: Connection, repository_id: int) -> tuple[KeepRule, ...]:
    """A repository's rules; the one for all distributions first."""
    query = select(keep_rule.c.distribution, keep_rule.c.versions).where(keep_rule.c.repository_id == repository_id)
    return tuple(KeepRule(row[0] or None, row[1]) for row in conn.execute(query.order_by(keep_rule.c.distribution)))


def with_rules(conn: Connection) -> tuple[int, ...]:
    """The repositories that have any."""
    query = select(keep_rule.c.repository_id).distinct().order_by(keep_rule.c.repository_id)
    return tuple(conn.execute(query).scalars())


def set_rule(
    conn: Connection,
    repository_id: int,
    subject: str,
    distribution: str | None,
    versions: int | None,
    now_s: int,
    *,
    actor: audit.Actor = audit.SERVER,
) -> None:
    """Set a rule; ``versions`` None takes it away. ``subject`` is what the audit trail calls the repository."""
    where = and_(keep_rule.c.repository_id == repository_id, keep_rule.c.distribution == (distribution or EVERYWHERE))
    conn.execute(delete(keep_rule).where(where))
    if versions is not None:
        values = {"repository_id": repository_id, "distribution": distribution or EVERYWHERE, "versions": versions}
        conn.execute(keep_rule.insert(), values)
    detail = {"distribution": distribution, "versions": versions}
    audit.record(conn, now_s, actor, "repository.keep", subject, detail)


def newest_file(conn: Connection, repository_id: int) -> int:
    """The highest id of any file of the repository: whether a rule may have something new to do."""
    return int(conn.execute(select(func.max(file.c.id)).where(file.c.repository_id == repository_id)).scalar() or 0)


def beyond(conn: Connection, repository_id: int, found: Sequence[KeepRule], lines: Lines) -> tuple[int, ...]:
    """The live files that the rules ``found`` do not keep, whole sets of them, at most ``MATCH_FILES_MAX``.

    Held files are left alone: they are in no index, and go by themselves.
    """
    versions = {rule.distribution: rule.versions for rule in found}
    ids: set[int] = set()
    for distribution, type_, columns in _lines(conn, repository_id, lines):
        kept = versions.get(distribution, versions.get(None))
        if kept is not None:
            ids.update(_older(conn, repository_id, distribution, type_, columns, kept))
    chosen = sorted(ids)[:MATCH_FILES_MAX]
    while len(whole := _whole(conn, chosen)) > MATCH_FILES_MAX:
        chosen = chosen[: len(chosen) // 2]  # sets are never cut
    return whole


def _lines(conn: Connection, repository_id: int, lines: Lines) -> Iterator[tuple[str, str | None, tuple[str, ...]]]:
    """(distribution, type, columns) of each kind of line that the repository has; type None: files of every type are in
    one line.
    """
    query = (
        select(file.c.distribution, file.c.format, file.c.type)
        .where(file.c.repository_id == repository_id, file.c.yanked_at.is_(None))
        .distinct()
        .order_by(file.c.distribution, file.c.format, file.c.type)
    )
    seen: set[tuple[str, str]] = set()
    for distribution, format_name, type_ in conn.execute(query).all():
        known = lines.get(format_name, {})
        if type_ in known:
            yield distribution, type_, known[type_]
        elif "" in known and (distribution, format_name) not in seen:
            seen.add((distribution, format_name))
            yield distribution, None, known[""]


def _older(
    conn: Connection, repository_id: int, distribution: str, type_: str | None, columns: Sequence[str], kept: int
) -> list[int]:
    """Live files of one kind (``type_`` None: of every kind) whose version is not among the newest ``kept`` of its
    line.
    """
    of_line = [_FIELDS[name] for name in columns]
    # A version is what three columns say; None and nothing are one epoch and one release.
    epoch, release = func.coalesce(file.c.epoch, 0), func.coalesce(file.c.release, "")
    live = [
        file.c.repository_id == repository_id,
        file.c.distribution == distribution,
        file.c.yanked_at.is_(None),
        file.c.held_until.is_(None),
    ]
    if type_ is not None:
        live.append(file.c.type == type_)
    versions = (
        select(
            *of_line,
            file.c.version,
            epoch.label("of_epoch"),
            release.label("of_release"),
            func.max(file.c.order_key).label("newest"),
        )
        .where(*live)
        .group_by(*of_line, file.c.version, epoch, release)
        .subquery()
    )
    rank = func.row_number().over(
        partition_by=[versions.c[name] for name in columns], order_by=versions.c.newest.desc()
    )
    ranked = select(versions, rank.label("place")).subquery()
    same = and_(
        *(_FIELDS[name] == ranked.c[name] for name in columns),
        file.c.version == ranked.c.version,
        epoch == ranked.c.of_epoch,
        release == ranked.c.of_release,
    )
    query = select(file.c.id).select_from(file.join(ranked, same)).where(*live, ranked.c.place > kept)
    return list(conn.execute(query.order_by(file.c.id)).scalars())


def _whole(conn: Connection, file_ids: Sequence[int]) -> tuple[int, ...]:
    """``file_ids`` and the members that go with those that require some; only these are asked one by one."""
    requiring: list[int] = []
    for start in range(0, len(file_ids), CATALOG_ROWS_MAX):
        page = file_ids[start : start + CATALOG_ROWS_MAX]
        query = select(requirement.c.file_id).where(requirement.c.file_id.in_(page)).distinct()
        requiring += conn.execute(query).scalars()
    return tuple(sorted({*file_ids, *yank.whole_sets(conn, requiring)}))


def supersede(conn: Connection, file_ids: Sequence[int], now_s: int) -> tuple[Ticket, ...]:
    """Yank these files for a rule: one change of each scope, and their bytes go by themselves a while later."""
    tickets = yank.yank(conn, file_ids, now_s, action="file.supersede")
    for start in range(0, len(file_ids), CATALOG_ROWS_MAX):
        page = list(file_ids[start : start + CATALOG_ROWS_MAX])
        conn.execute(update(file).where(file.c.id.in_(page), file.c.yanked_at == now_s).values(superseded=1))
    return tickets


def freed(conn: Connection, file_ids: Sequence[int], block_bytes: int = 1) -> Freed:
    """What forgetting these files would give back, once they are collected. ``block_bytes``: each copy's size is
    rounded up to so many, as on the volume.
    """
    mine: dict[int, int] = {}
    for start in range(0, len(file_ids), CATALOG_ROWS_MAX):
        page = list(file_ids[start : start + CATALOG_ROWS_MAX])
        for blob_id in conn.execute(select(file.c.blob_id).where(file.c.id.in_(page))).scalars():
            mine[blob_id] = mine.get(blob_id, 0) + 1
    blobs, size_bytes = 0, 0
    wanted = sorted(mine)
    taken = (copy.c.size_bytes + (block_bytes - 1)) // block_bytes * block_bytes
    for start in range(0, len(wanted), CATALOG_ROWS_MAX):
        page = wanted[start : start + CATALOG_ROWS_MAX]
        users = select(func.count()).where(file.c.blob_id == blob.c.id).scalar_subquery()
        bytes_ = select(func.coalesce(func.sum(taken), 0)).where(copy.c.blob_id == blob.c.id).scalar_subquery()
        in_index = select(func.count()).where(segment.c.blob_id == blob.c.id).scalar_subquery()
        for blob_id, count, size, segments in conn.execute(
            select(blob.c.id, users, bytes_, in_index).where(blob.c.id.in_(page))
        ):
            if count == mine[blob_id] and not segments:
                blobs += 1
                size_bytes += int(size)
    return Freed(len(file_ids), blobs, size_bytes)
