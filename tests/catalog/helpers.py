"""Builders for the catalog's tests: a catalog on a real file, and files in code."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection

from entrepot.catalog import files, repositories, tokens
from entrepot.catalog.engine import Catalog
from entrepot.catalog.rows import CommitOutcome, FileFacts, Needed, NewFile, ScopeUse
from entrepot.model.nouns import Digests, RepositoryName

NOW = 1_700_000_000
NAME = RepositoryName("acme", "tools")
DISTRIBUTION = "debian/bookworm"
APT = (ScopeUse("bookworm", "debian", listed=True),)


def open_catalog(folder: Path) -> Catalog:
    """A migrated catalog in ``folder``."""
    catalog = Catalog(f"sqlite:///{folder}/catalog.db")
    catalog.migrate()
    return catalog


@contextmanager
def catalog_with_repository(folder: Path) -> Iterator[tuple[Catalog, int]]:
    """A catalog with one repository, and its id."""
    catalog = open_catalog(folder)
    try:
        yield catalog, catalog.submit(make_repository)
    finally:
        catalog.close()


def make_repository(conn: Connection) -> int:
    """acme/tools, public."""
    tokens.ensure_owner(conn, NAME.owner, NOW)
    return repositories.create(conn, NAME, False, NOW).id


def digests(content: str) -> Digests:
    """The digests of some bytes."""
    data = content.encode()
    return Digests(hashlib.sha256(data).hexdigest(), md5=hashlib.md5(data).hexdigest())


def needed(path: str, content: str) -> Needed:
    """A requirement for ``path`` with these bytes."""
    return Needed(path, len(content), {"sha256": digests(content).sha256})


def a_deb(
    repository_id: int,
    name: str,
    version: str = "1.0",
    *,
    content: str | None = None,
    distribution: str = DISTRIBUTION,
    part: str | None = "main:amd64",
    requires: tuple[Needed, ...] = (),
    replaces: bool = False,
    member: bool = False,
    filename: str | None = None,
) -> NewFile:
    """A small .deb as intake would hand it over."""
    body = content if content is not None else f"{name} {version}"
    stanza = (
        f"Package: {name}\nVersion: {version}\nArchitecture: amd64\nDescription: made for a test\n" + "X" * 500 + "\n\n"
    )
    filename = filename or f"{name}_{version}_amd64.deb"
    facts = FileFacts(
        type="deb",
        name=name,
        version=version,
        architecture="amd64",
        filename=filename,
        path=filename,
        conflict_key=filename,
        order_key=f"{name}\0{version}".encode(),
        part=part,
        fragments={"Packages": stanza.encode()} if part else {},
        requires=requires,
        replaces=replaces,
        member=member,
        metadata={"summary": "made for a test", "licenses": []},
    )
    return NewFile(repository_id, distribution, "debian", facts, digests(body), len(body), "ci")


def put(
    catalog: Catalog, new: NewFile, copy_key: str | None = None, uses: tuple[ScopeUse, ...] = APT, now_s: int = NOW
) -> CommitOutcome:
    """Commit one file; its copy's key is made of its name when none is given."""
    key = (
        copy_key
        if copy_key is not None
        else f"copy-of-{new.facts.filename}-{new.digests.sha256[:8]}-{new.distribution}"
    )
    return catalog.submit(lambda conn: files.commit_file(conn, new, key, uses, now_s))


def listed(conn: Connection, scope_id: int, change: int | None = None) -> list[str]:
    """The paths that a scope lists at a change."""
    return [row.path for row in files.listed_files(conn, scope_id, change)]
