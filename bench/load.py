"""Fill a stopped data folder with many packages in a minute.

Every package is a real one: its bytes are in the blob folder, each format's own inspection made its facts, and the
catalog's own ``commit_file`` wrote its rows, so that indexes, file routes and yank see nothing unusual. What is left
out are the socket, the child process and the fsync of each file (the whole volume is synced when it is taken).
"""

import hashlib
import itertools
import secrets
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection

from bench.synthetic import Item
from entrepot.catalog import files as catalog_files
from entrepot.catalog.engine import Catalog
from entrepot.catalog.files import NewFile
from entrepot.formats.protocol import Format, PackageFacts, Upload
from entrepot.formats.registry import formats
from entrepot.intake.commit import scope_uses, to_file_facts
from entrepot.model.nouns import Digests, Ticket
from entrepot.storage.sweep import SEALED_MODE
from entrepot.streams.window import Window

BATCH = 2000


@dataclass(frozen=True, slots=True)
class Place:
    """Where the packages go."""

    repository_id: int
    distribution: str
    format: str


@dataclass(frozen=True, slots=True)
class Ready:
    """A package as intake hands it to the catalog."""

    facts: PackageFacts
    digests: Digests
    size_bytes: int


def inspected(item: Item, place: Place) -> Ready:
    """What inspection says of a package."""
    fmt = formats()[place.format]
    content = item.content
    sha256 = hashlib.sha256(content).hexdigest()
    upload = Upload(place.distribution, item.filename, len(content), Digests(sha256))
    facts = fmt.inspect(upload, Window.of_bytes(content)).package
    assert facts is not None, item.filename
    # All digests, as upkeep leaves them: an old repository has nothing for it to do.
    legacy = {name: hashlib.new(name, content, usedforsecurity=False).hexdigest() for name in ("md5", "sha1", "sha512")}
    return Ready(facts, Digests(sha256, **legacy), len(content))


def commit(conn: Connection, place: Place, ready: Ready, copy_key: str, now_s: int) -> tuple[Ticket, ...]:
    """The rows of one package, as intake writes them."""
    fmt: Format = formats()[place.format]
    new = NewFile(
        repository_id=place.repository_id,
        distribution=place.distribution,
        format=place.format,
        facts=to_file_facts(ready.facts),
        digests=ready.digests,
        size_bytes=ready.size_bytes,
        uploader="bench",
    )
    uses = scope_uses(conn, fmt, place.repository_id, place.distribution, ready.facts)
    return catalog_files.commit_file(conn, new, copy_key, uses, now_s).tickets


def new_key() -> str:
    """The key of a copy in the folder store."""
    return secrets.token_hex(16)


def fill(catalog: Catalog, blobs: Path, place: Place, items: Iterable[Item], now_s: int) -> int:
    """Put the packages in; returns how many. Nobody else may use the folder meanwhile."""
    count = 0
    for batch in batches(items, BATCH):
        rows: list[tuple[Ready, str]] = []
        for item in batch:
            key = new_key()
            write_copy(blobs, key, item.content)
            rows.append((inspected(item, place), key))
        catalog.submit(lambda conn, rows=rows: [commit(conn, place, ready, key, now_s) for ready, key in rows])
        count += len(rows)
    return count


def write_copy(blobs: Path, key: str, content: bytes) -> None:
    """One copy where the folder store keeps it."""
    folder = blobs / key[:2]
    folder.mkdir(exist_ok=True)
    (folder / key).write_bytes(content)
    (folder / key).chmod(SEALED_MODE)


def batches(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Lists of at most ``size``."""
    iterator = iter(items)
    while batch := list(itertools.islice(iterator, size)):
        yield batch
