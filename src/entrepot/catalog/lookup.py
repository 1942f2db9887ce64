"""Finding files: by address for readers, by name for people, by scope for publications."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from sqlalchemy import ColumnElement, Connection, and_, bindparam, false, func, or_, select, true

from entrepot.catalog.rows import FILE_QUERY, FileRow, ListedRow, file_row
from entrepot.catalog.schema import blob, file, membership, repository, scope
from entrepot.model.errors import Refusal
from entrepot.model.limits import CATALOG_ROWS_MAX, FILENAME_CHARS_MAX, MATCH_FILES_MAX, PAGE_ROWS_MAX

_BY_PATH = FILE_QUERY.where(
    file.c.repository_id == bindparam("in_repository"),
    file.c.distribution == bindparam("in_distribution"),
    file.c.path == bindparam("in_path"),
    file.c.yanked_at.is_(None),
).limit(1)
_BY_PATH_AND_DIGEST = FILE_QUERY.where(
    file.c.repository_id == bindparam("in_repository"),
    file.c.distribution == bindparam("in_distribution"),
    file.c.path == bindparam("in_path"),
    file.c.yanked_at.is_(None),
    blob.c.sha256 >= bindparam("in_low"),
    blob.c.sha256 < bindparam("in_high"),
).limit(1)
_BY_SHA256 = FILE_QUERY.where(
    blob.c.sha256 == bindparam("in_sha256"),
    file.c.repository_id == bindparam("in_repository"),
    file.c.yanked_at.is_(None),
).order_by(file.c.id)
_LISTED = (
    select(file.c.path, file.c.name, file.c.version, file.c.created_at, file.c.metadata)
    .select_from(membership.join(file, file.c.id == membership.c.file_id))
    .where(
        membership.c.scope_id == bindparam("in_scope"),
        membership.c.added_change <= bindparam("at_change"),
        membership.c.removed_change.is_(None) | (membership.c.removed_change > bindparam("at_change")),
    )
    .order_by(membership.c.order_key, membership.c.id)
)
_PENDING = (
    select(membership.c.file_id)
    .select_from(membership.join(scope, scope.c.id == membership.c.scope_id))
    .where(
        membership.c.file_id.in_(bindparam("in_files", expanding=True)),
        membership.c.removed_change.is_(None),
        membership.c.added_change > scope.c.published_change,
    )
)

_WILD = frozenset("*?[")
EPOCH_DIGITS_MAX = 10


@dataclass(frozen=True, slots=True)
class Filters:
    """Which files to list; None means any. ``filename_part`` is a substring; ``family`` the first half of a
    distribution.
    """

    distribution: str | None = None
    family: str | None = None
    types: tuple[str, ...] | None = None
    name: str | None = None
    version: str | None = None
    release: str | None = None
    architecture: str | None = None
    filename_part: str | None = None
    yanked: bool = False


@dataclass(frozen=True, slots=True)
class Page:
    """Rows ``offset`` … ``offset + rows - 1`` of a listing, newest first; at most ``PAGE_ROWS_MAX`` rows."""

    offset: int = 0
    rows: int = 30


def find_by_path(
    conn: Connection, repository_id: int, distribution: str, path: str, sha256_prefix: str | None = None
) -> FileRow | None:
    """The live file at this path, when its digest begins as the location says (lower-case hex); None when there is
    none.
    """
    names: dict[str, object] = {"in_repository": repository_id, "in_distribution": distribution, "in_path": path}
    if sha256_prefix is None:
        row = conn.execute(_BY_PATH, names).first()
    else:
        # "g" sorts after every hex digit: the range holds exactly the digests with this prefix.
        row = conn.execute(
            _BY_PATH_AND_DIGEST, {**names, "in_low": sha256_prefix, "in_high": sha256_prefix + "g"}
        ).first()
    return file_row(row) if row is not None else None


def find_by_sha256(
    conn: Connection, repository_id: int, sha256: str, limit: int = CATALOG_ROWS_MAX
) -> tuple[FileRow, ...]:
    """The live files of the repository that have these bytes, in any distribution."""
    names = {"in_sha256": sha256, "in_repository": repository_id}
    return tuple(file_row(row) for row in conn.execute(_BY_SHA256.limit(limit), names))


def by_ids(conn: Connection, file_ids: Sequence[int]) -> tuple[FileRow, ...]:
    """The files of these ids that exist, yanked ones too, in the order of their ids."""
    rows: list[FileRow] = []
    wanted = sorted(set(file_ids))
    for start in range(0, len(wanted), CATALOG_ROWS_MAX):
        query = FILE_QUERY.where(file.c.id.in_(wanted[start : start + CATALOG_ROWS_MAX])).order_by(file.c.id)
        rows.extend(file_row(row) for row in conn.execute(query))
    return tuple(rows)


def list_files(
    conn: Connection, repository_id: int, filters: Filters | None = None, page: Page | None = None
) -> tuple[FileRow, ...]:
    """One page of a repository's files, newest first."""
    where, wanted = _conditions(repository_id, filters or Filters()), page or Page()
    query = FILE_QUERY.where(where).order_by(file.c.id.desc())
    query = query.offset(max(0, wanted.offset)).limit(min(wanted.rows, PAGE_ROWS_MAX))
    return tuple(file_row(row) for row in conn.execute(query))


def count_files(conn: Connection, repository_id: int, filters: Filters | None = None) -> int:
    """How many files :func:`list_files` would list in all."""
    if filters is None or filters == Filters():
        # Kept as a sum: listing a repository does not count its rows.
        kept = select(repository.c.file_count).where(repository.c.id == repository_id)
        return int(conn.execute(kept).scalar() or 0)
    where = _conditions(repository_id, filters)
    return int(conn.execute(select(func.count()).select_from(file).where(where)).scalar_one())


def _conditions(repository_id: int, filters: Filters) -> ColumnElement[bool]:
    wanted: list[ColumnElement[bool]] = [file.c.repository_id == repository_id]
    if not filters.yanked:
        wanted.append(file.c.yanked_at.is_(None))
    equal = {
        file.c.distribution: filters.distribution,
        file.c.name: filters.name,
        file.c.version: filters.version,
        file.c.release: filters.release,
        file.c.architecture: filters.architecture,
    }
    wanted.extend(column == value for column, value in equal.items() if value is not None)
    if filters.family is not None:
        # "0" follows "/": every distribution of the family and no other.
        wanted.append(and_(file.c.distribution >= f"{filters.family}/", file.c.distribution < f"{filters.family}0"))
    if filters.types is not None:
        wanted.append(file.c.type.in_(filters.types))
    if filters.filename_part and len(filters.filename_part) > FILENAME_CHARS_MAX:
        wanted.append(false())  # no name is that long, and SQLite refuses patterns above 50,000 bytes
    elif filters.filename_part:
        wanted.append(file.c.filename.contains(filters.filename_part, autoescape=True))
    return and_(*wanted)


def match(
    conn: Connection,
    repository_id: int,
    distribution: str | None = None,
    *,
    filename: str | None = None,
    name: str | None = None,
    version: str | None = None,
    yanked: bool = False,
) -> tuple[FileRow, ...]:
    """The files to act on: by file name (a glob of ``*``, ``?`` and ``[…]``), or by name and version; in one
    distribution or all.

    ``version`` is one as apt and dnf show it, ``[EPOCH:]VERSION[-RELEASE]``; what it leaves out may be anything.
    ``yanked`` asks for the yanked ones instead of the live ones: under each name the last one that was, and none whose
    place another upload took. Raises Refusal("field_invalid") when neither a file name nor a name is given, or when
    more than ``MATCH_FILES_MAX`` files match.
    """
    if filename is None and name is None:
        raise Refusal(
            "field_invalid", "Say which files: a file name, a pattern, or a name and a version.", field="filename"
        )
    state = file.c.yanked_at.is_not(None) if yanked else file.c.yanked_at.is_(None)
    where: list[ColumnElement[bool]] = [file.c.repository_id == repository_id, state]
    if distribution is not None:
        # An expression, so that SQLite looks names up in file_filename or file_name and does not walk the whole
        # distribution in file_live_key: 0.2 ms instead of 110 among 100,000 files.
        where.append(file.c.distribution.concat("") == distribution)
    if name is not None:
        where.append(file.c.name == name)
    if version is not None:
        where.append(_of_version(version))
    if filename is not None:
        where.append(_begins(filename))
    if yanked:
        where.append(file.c.replaced_by.is_(None))
    query = select(file.c.id, file.c.filename, file.c.distribution, file.c.conflict_key).where(and_(*where))
    # In order of yank, so that of several yanked files of one name the newest stays; live ones have one of each.
    found: dict[tuple[str, str], int] = {}
    for file_id, candidate, place, key in conn.execute(query.order_by(file.c.yanked_at, file.c.id)):
        if filename is None or fnmatchcase(candidate, filename):
            found[place, key] = file_id
            if len(found) > MATCH_FILES_MAX:
                raise Refusal(
                    "field_invalid", f"More than {MATCH_FILES_MAX} files match; narrow the pattern.", field="filename"
                )
    return by_ids(conn, list(found.values()))


def _of_version(text: str) -> ColumnElement[bool]:
    """``[EPOCH:]VERSION[-RELEASE]`` against the columns: a Debian version holds its revision, an rpm one does not."""
    ways = [file.c.version == text]
    epoch, colon, rest = text.rpartition(":")
    of_epoch: ColumnElement[bool] = true()
    if colon and epoch.isascii() and epoch.isdigit() and len(epoch) <= EPOCH_DIGITS_MAX:
        of_epoch = func.coalesce(file.c.epoch, 0) == int(epoch)
        ways.append(and_(of_epoch, file.c.version == rest))
    version, dash, release = rest.rpartition("-")
    if dash and "-" not in version:  # else the hyphens are a Debian version's own
        ways.append(and_(of_epoch, file.c.version == version, file.c.release == release))
    return or_(*ways)


def _begins(pattern: str) -> ColumnElement[bool]:
    """What the index can do for a glob: equality, or the range of names that begin as the pattern does."""
    literal = pattern
    for position, character in enumerate(pattern):
        if character in _WILD:
            literal = pattern[:position]
            break
    if literal == pattern:
        return file.c.filename == pattern
    return and_(file.c.filename >= literal, file.c.filename < literal + "\U0010ffff")


def listed_files(conn: Connection, scope_id: int, change: int | None = None) -> tuple[ListedRow, ...]:
    """What a scope lists at ``change`` (None: now), in order of name and version; for scopes whose documents are made
    whole.
    """
    at = 2**62 if change is None else change
    rows = conn.execute(_LISTED, {"in_scope": scope_id, "at_change": at})
    return tuple(ListedRow(row[0], row[1], row[2], row[3], json.loads(row[4])) for row in rows)


def indexed(conn: Connection, rows: Sequence[FileRow]) -> frozenset[int]:
    """The ids of those files that every index which lists them shows already; yanked and held ones are not among
    them.
    """
    live = [row.id for row in rows if row.yanked_at is None and row.held_until is None]
    pending: set[int] = set()
    for start in range(0, len(live), CATALOG_ROWS_MAX):
        pending.update(row[0] for row in conn.execute(_PENDING, {"in_files": live[start : start + CATALOG_ROWS_MAX]}))
    return frozenset(live) - pending


def distributions_of(conn: Connection, repository_id: int) -> tuple[str, ...]:
    """The distributions of the repository that hold a live file, in alphabetical order."""
    query = (
        select(file.c.distribution)
        .where(file.c.repository_id == repository_id, file.c.yanked_at.is_(None))
        .distinct()
        .order_by(file.c.distribution)
        .limit(PAGE_ROWS_MAX)
    )
    return tuple(row[0] for row in conn.execute(query))
