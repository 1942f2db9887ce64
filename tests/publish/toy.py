"""A catalog with one scope and a tiny two-stream format: what the publication tests stand on."""

import gzip
import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from sqlalchemy import Connection, insert, update

from entrepot.catalog import publications as sql
from entrepot.catalog import schema as s
from entrepot.catalog.engine import Catalog
from entrepot.disk.ledger import Ledger
from entrepot.disk.volume import Volume
from entrepot.formats.protocol import (
    OCTETS,
    Document,
    IndexReader,
    IndexSpec,
    Inspection,
    InstallFile,
    InstallInput,
    Located,
    Manifest,
    ManifestInput,
    Needs,
    Sample,
    SetupInput,
    SetupLines,
    Signature,
    StreamSpec,
    Target,
    Upload,
)
from entrepot.model.nouns import Ticket
from entrepot.observe.clock import Clock, FixedClock
from entrepot.publish.publisher import Publisher
from entrepot.publish.reader import IndexView, Reader
from entrepot.publish.scope import Identity
from entrepot.publish.segments import SegmentStore
from entrepot.signing.make import generate
from entrepot.signing.signer import Signer
from entrepot.storage.folder import FolderStore
from entrepot.streams.window import Window

MADE_S = 1_750_000_000


class ToyFormat:
    """Two streams in the same order, a head that counts, a foot, a signed JSON manifest."""

    name = "toy"
    mounts: tuple[str, ...] = ()
    nameless_suffix = ""
    installs: Mapping[str, bool] = {}
    signatures: tuple[Signature, ...] = (
        Signature("manifest", "manifest.clear", "clear"),
        Signature("manifest", "manifest.sig", "detached"),
    )
    type_filters: Mapping[str, tuple[str, ...]] = {}
    version_lines: Mapping[str, tuple[str, ...]] = {}

    def route(self, method: str, path: str) -> Target | None:
        """No addresses: the tests read through the Reader."""
        return None

    def address(self, distribution: str, scope: str, name: str) -> str:
        """Nowhere: see above."""
        raise NotImplementedError

    def needs(self, path: str) -> Needs:
        """Nothing."""
        return Needs(0, 0)

    def inspect(self, upload: Upload, window: Window) -> Inspection:
        """Nothing is uploaded."""
        return Inspection(None)

    def indexes(self, distribution: str, parts: frozenset[str]) -> tuple[IndexSpec, ...]:
        """One index per part but ``all``, which every index lists; ``x`` exists by default."""
        names = sorted((parts | {"x"}) - {"all"})
        return tuple(
            IndexSpec(
                "",
                name,
                frozenset({name, "all"}),
                (
                    StreamSpec("one", f"{name}/one", f"{name}/one.gz"),
                    StreamSpec("two", f"{name}/two", f"{name}/two.gz"),
                ),
            )
            for name in names
        )

    def head(self, stream: str, entries: int) -> bytes:
        """Only stream two has a head."""
        return b"<two n=%d>\n" % entries if stream == "two" else b""

    def foot(self, stream: str) -> bytes:
        """Only stream two has a foot."""
        return b"</two>\n" if stream == "two" else b""

    def manifest(self, request: ManifestInput) -> Manifest:
        """Digests and sizes of every form of every stream."""
        listed = {
            path: [size, digest]
            for index in request.indexes
            for stream in index.streams
            for path, size, digest in (
                (stream.gz_path, stream.gz_size_bytes, stream.gz_sha256),
                (stream.plain_path, stream.plain_size_bytes, stream.plain_sha256),
            )
        }
        content = {"date": request.date_s, "generation": request.generation, "files": listed}
        text = json.dumps(content, indent=1).encode() + b"\n"
        return Manifest(
            (Document("manifest", text, "application/json"),),
            self.signatures,
            "key",
        )

    def content_type(self, filename: str) -> str:
        """Nothing is known of a toy."""
        return OCTETS

    def in_group(self, path: str, group: str) -> bool:
        """Never."""
        return False

    def setup(self, request: SetupInput) -> Iterable[SetupLines]:
        """None."""
        return ()

    def install(self, name: str, request: InstallInput) -> InstallFile:
        """None."""
        raise NotImplementedError

    def sample(self, serial: int, payload_bytes: int) -> Sample:
        """No node tries itself out with toys."""
        raise NotImplementedError

    def locate(self, sample: Sample, reader: IndexReader) -> tuple[Located, ...]:
        """There is no sample to look for."""
        raise NotImplementedError


class Bed:
    """A catalog, a store and one toy scope in ``folder``; files are put into the catalog without bytes of their own."""

    def __init__(self, folder: Path, clock: Clock | None = None) -> None:
        self.folder = folder
        self.clock = clock or FixedClock()
        folder.mkdir(exist_ok=True)
        self.catalog = Catalog(f"sqlite:///{folder}/catalog.db")
        self.catalog.migrate()
        self.store = FolderStore(folder, Ledger(Volume(folder)))
        self.segments = SegmentStore(self.store)
        self.signer = Signer([KEY.secret_armored])
        self.reader = Reader(self.catalog, self.segments, self.clock)
        with self.catalog.write() as conn:
            conn.execute(insert(s.owner).values(id=1, name="o", created_at=1))
            conn.execute(insert(s.repository).values(id=1, owner_id=1, name="r", private=0, created_at=1))
            conn.execute(insert(s.blob).values(id=1, sha256="0" * 64, size_bytes=1, created_at=1))
            conn.execute(
                insert(s.scope).values(
                    id=1,
                    repository_id=1,
                    distribution="toy/1",
                    format="toy",
                    name="",
                    last_change=1,
                    published_change=0,
                    generation=0,
                    epoch=0,
                )
            )

    def publisher(self, holder: str = "node") -> Publisher:
        """A publisher over this catalog (not started)."""
        return Publisher(
            self.catalog,
            self.segments,
            {"toy": ToyFormat()},
            lambda _: self.signer,
            lambda _: Identity("host/o/r", "r"),
            self.clock,
            holder=holder,
            on_shown=self.reader.on_shown,
        )

    def close(self) -> None:
        """Close catalog and store."""
        self.store.close()
        self.catalog.close()

    # ------------------------------------------------------------------ changes

    def add(self, names: list[str], part: str = "x") -> Ticket:
        """Put files of these names into the scope as one change."""
        return self.catalog.submit(lambda conn: self._add(conn, names, part))

    def _add(self, conn: Connection, names: list[str], part: str) -> Ticket:
        change = self._next_change(conn)
        if conn.execute(s.part.select().where(s.part.c.part == part)).first() is None:
            conn.execute(insert(s.part).values(repository_id=1, distribution="toy/1", part=part))
        for name in names:
            file_id = conn.execute(
                insert(s.file)
                .values(
                    repository_id=1,
                    distribution="toy/1",
                    format="toy",
                    type="toy",
                    name=name,
                    version="1",
                    architecture=part,
                    filename=name,
                    path=name,
                    conflict_key=name,
                    order_key=name.encode(),
                    part=part,
                    blob_id=1,
                    size_bytes=1,
                    metadata="{}",
                    uploader="t",
                    created_at=1,
                )
                .returning(s.file.c.id)
            ).scalar_one()
            rows = [{"file_id": file_id, "stream": stream, "content": entry(name, stream)} for stream in ("one", "two")]
            conn.execute(insert(s.fragment), rows)
            conn.execute(
                insert(s.membership).values(
                    scope_id=1, file_id=file_id, part=part, order_key=name.encode(), added_change=change
                )
            )
        return Ticket(1, change)

    def remove(self, names: list[str]) -> Ticket:
        """Take files out of the scope as one change."""

        def work(conn: Connection) -> Ticket:
            change = self._next_change(conn)
            files = s.file.select().where(s.file.c.name.in_(names), s.file.c.yanked_at.is_(None))
            ids = [row.id for row in conn.execute(files)]
            alive = s.membership.c.file_id.in_(ids) & s.membership.c.removed_change.is_(None)
            conn.execute(update(s.membership).where(alive).values(removed_change=change))
            conn.execute(update(s.file).where(s.file.c.id.in_(ids)).values(yanked_at=2))
            return Ticket(1, change)

        return self.catalog.submit(work)

    def _next_change(self, conn: Connection) -> int:
        query = update(s.scope).where(s.scope.c.id == 1).values(last_change=s.scope.c.last_change + 1)
        return int(conn.execute(query.returning(s.scope.c.last_change)).scalar_one())

    # ------------------------------------------------------------------ what clients see

    def fetch(self, path: str) -> bytes:
        """A file of the visible generation, its size and digest checked against the view."""
        view = self.reader.entry(1, "toy/1", "", path)
        assert view is not None, path
        content = view.content if isinstance(view.content, bytes) else b"".join(view.content.iterate())
        assert len(content) == view.size_bytes, path
        assert hashlib.sha256(content).hexdigest() == view.sha256, path
        return content

    def listing(self, index: str = "x") -> list[str]:
        """The names that the visible generation lists, in order; every form of every stream checked on the way."""
        # By digest, as clients do: a merge may publish between two reads by name.
        files: dict[str, bytes] = {}
        for path, (size, digest) in json.loads(self.fetch("manifest"))["files"].items():
            content = self.by_digest(digest)
            assert content is not None, path
            assert (len(content), hashlib.sha256(content).hexdigest()) == (size, digest), path
            files[path] = content
        names: dict[str, list[str]] = {}
        for stream in ("one", "two"):
            plain = files[f"{index}/{stream}"]
            assert gzip.decompress(files[f"{index}/{stream}.gz"]) == plain
            names[stream] = parse(plain, stream)
        assert names["one"] == names["two"]
        return names["one"]

    def by_digest(self, sha256: str) -> bytes | None:
        """An index file of any kept generation."""
        view = self.reader.by_digest(1, "toy/1", "", sha256)
        if view is None:
            return None
        assert isinstance(view, IndexView)
        return b"".join(view.iterate())

    def stored_keys(self) -> set[str]:
        """The keys of all stored copies."""
        keys: list[str] = []
        while page := self.store.iterate(keys[-1] if keys else None):
            keys.extend(info.key for info in page)
        return set(keys)

    def known_keys(self) -> set[str]:
        """The keys of all copies that a row names."""
        with self.catalog.read() as conn:
            return {row[0] for row in conn.execute(s.copy.select().with_only_columns(s.copy.c.key))}


def entry(name: str, stream: str) -> bytes:
    """One rendered entry."""
    return f"{stream} {name} {'.' * (len(name) * 7 % 60)}\n".encode()


def parse(plain: bytes, stream: str) -> list[str]:
    """The names in a plain stream, head and foot checked."""
    lines = plain.decode().splitlines()
    if stream == "two":
        assert lines[0].startswith("<two n=")
        assert lines[-1] == "</two>"
        lines = lines[1:-1]
    assert all(line.startswith(stream + " ") for line in lines)
    return [line.split(" ")[1] for line in lines]


def epoch_of(bed: Bed) -> int:
    """The lease epoch of the scope."""
    with bed.catalog.read() as conn:
        row = sql.scope_by_id(conn, 1)
    assert row is not None
    return row.epoch


KEY = generate("ed25519", "Toy <toy@example.invalid>", MADE_S)
