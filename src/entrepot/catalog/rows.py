"""The values that go into and come out of ``catalog.files``."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Row, func, select

from entrepot.catalog.schema import blob, copy, file
from entrepot.model.nouns import Digests, Ticket


@dataclass(frozen=True, slots=True)
class Needed:
    """A file that another one cannot be used without: path below the distribution (or a bare file name), size in
    bytes, digests.
    """

    path: str
    size_bytes: int | None
    digests: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class FileFacts:
    """What inspection found out: the plain fields of ``formats.protocol.PackageFacts`` that the catalog keeps.

    ``member``: the file is of use only as a part of another one (a source tarball); it is held until some file
    requires it.
    """

    type: str
    name: str
    version: str
    architecture: str
    filename: str
    path: str
    conflict_key: str
    order_key: bytes
    epoch: int | None = None
    release: str | None = None
    part: str | None = None
    fragments: Mapping[str, bytes] = field(default_factory=dict)
    requires: tuple[Needed, ...] = ()
    replaces: bool = False
    member: bool = False
    metadata: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class NewFile:
    """One received and inspected file on its way into one distribution of one repository; ``uploader`` is the token's
    name, ``actor`` the token as the audit trail names it (None: as ``uploader``).
    """

    repository_id: int
    distribution: str
    format: str
    facts: FileFacts
    digests: Digests
    size_bytes: int
    uploader: str
    address: str | None = None
    actor: str | None = None
    store: str = "folder"


@dataclass(frozen=True, slots=True)
class ScopeUse:
    """A scope that must exist once the file is in; ``listed``: the scope lists the file.

    ``parts``: every part that the scope's indexes list. When the scope comes into being with this file, the files
    that are there already under those parts are put in as well (noarch packages, when the first one of a new
    architecture arrives).
    """

    name: str
    format: str
    listed: bool
    parts: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class CommitOutcome:
    """What became of a file.

    ``tickets``: what to wait for until it is installable. ``created``: False when these very bytes were there already
    under this name. ``copy_used``: False when a copy of the bytes was there already: the caller drops its own.
    ``held``: kept, but in no index until what it needs is there. ``released``: files that were held for this one and
    are listed now. ``replaced``: the file whose place it took.
    """

    file_id: int
    tickets: tuple[Ticket, ...]
    created: bool
    copy_used: bool
    held: bool
    released: tuple[int, ...] = ()
    replaced: int | None = None


@dataclass(frozen=True, slots=True)
class FileRow:
    """One package file as the catalog holds it. Times in seconds since 1970 UTC; ``copy_key`` None when its bytes are
    gone.
    """

    id: int
    repository_id: int
    distribution: str
    format: str
    type: str
    name: str
    version: str
    epoch: int | None
    release: str | None
    architecture: str
    filename: str
    path: str
    conflict_key: str
    part: str | None
    size_bytes: int
    metadata: Mapping[str, object]
    uploader: str
    created_at: int
    held_until: int | None
    yanked_at: int | None
    replaced_by: int | None
    sha256: str
    md5: str | None
    sha1: str | None
    sha512: str | None
    copy_key: str | None

    @property
    def digests(self) -> Digests:
        """The file's digests."""
        return Digests(self.sha256, self.md5, self.sha1, self.sha512)


@dataclass(frozen=True, slots=True)
class ListedRow:
    """A file of a document scope, as a format's ``documents`` need it."""

    path: str
    name: str
    version: str
    created_at: int
    metadata: Mapping[str, object]


# One copy of each blob: a blob has one copy nearly always, and any will do.
_one_copy = select(func.min(copy.c.key)).where(copy.c.blob_id == file.c.blob_id).scalar_subquery()

FILE_QUERY = select(
    file.c.id,
    file.c.repository_id,
    file.c.distribution,
    file.c.format,
    file.c.type,
    file.c.name,
    file.c.version,
    file.c.epoch,
    file.c.release,
    file.c.architecture,
    file.c.filename,
    file.c.path,
    file.c.conflict_key,
    file.c.part,
    file.c.size_bytes,
    file.c.metadata,
    file.c.uploader,
    file.c.created_at,
    file.c.held_until,
    file.c.yanked_at,
    file.c.replaced_by,
    blob.c.sha256,
    blob.c.md5,
    blob.c.sha1,
    blob.c.sha512,
    _one_copy.label("copy_key"),
).select_from(file.join(blob, blob.c.id == file.c.blob_id))
"""Every column of :class:`FileRow`, in its order."""

_METADATA = 15


def file_row(row: Row[*tuple[Any, ...]]) -> FileRow:
    """A row of :data:`FILE_QUERY` as a value."""
    values = list(row)
    values[_METADATA] = json.loads(str(values[_METADATA]))
    return FileRow(*values)


def to_json(value: object) -> str:
    """Compact JSON, as the catalog keeps it."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
