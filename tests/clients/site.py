"""One running server as several people see it: from this machine over HTTP, from another one over HTTPS, and through
somebody who changes the answers; and a full account of what the server still holds afterwards.
"""

import hashlib
import http.client
import itertools
import sqlite3
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, fields
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx

from tests.support.curl import Answer, curl
from tests.support.server import ServerProcess

Edit = Callable[[str, bytes], bytes]

SETTLE_LIMIT_S = 15.0
POLL_S = 0.05
# Every pool at its largest with `WORKERS` worker threads, inspection in one child, and what granian and the children
# bring: a thread for each request would pass it within one flow.
WORKERS = 4
POOL_THREADS_MAX = 3 * WORKERS + 32 + 8
SOCKETS_MAX = 64
DESCRIPTORS_MAX = 32  # of one kind
KEPT_OPEN = ("/blobs", "/catalog.db", "/catalog.db-shm", "/catalog.db-wal", "/incoming", "/lock")
NAMELESS = ("anon_inode:", "pipe:", "socket:", "/dev/", "/memfd:")
HOP_HEADERS = frozenset({"connection", "keep-alive", "transfer-encoding", "content-length", "host", "te", "trailer"})
VALIDATORS = frozenset({"etag", "last-modified", "content-length", "transfer-encoding", "connection", "content-range"})

_names = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a client stands. `url` reaches the server from there, `tampered_url` the same through the `Tamperer`.

    `prefix` runs a command there; `ca_file` and `trust_store` hold the private authority where HTTPS is used.
    """

    name: str
    url: str
    tampered_url: str
    prefix: tuple[str, ...] = ()
    ca_file: Path | None = None
    trust_store: Path | None = None

    @property
    def authority(self) -> str:
        """HOST:PORT."""
        return self.url.partition("://")[2]

    def curl(self, path: str, *args: str | Path, **options: object) -> Answer:
        """Run curl from there for a path of the server (or for one that a file name is added to)."""
        return curl(
            f"{self.url}/{path.lstrip('/')}",
            *args,
            ca_file=self.ca_file,
            prefix=self.prefix,
            **options,  # type: ignore[arg-type]
        )


class _Relay(BaseHTTPRequestHandler):
    """Hands one request on and its answer back, changed."""

    protocol_version = "HTTP/1.1"
    server: "Tamperer"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        with closing(self.server.connect()) as upstream:
            skipped = HOP_HEADERS | {"range", "if-none-match", "if-modified-since"}
            headers = {name: value for name, value in self.headers.items() if name.lower() not in skipped}
            upstream.request(self.command, self.path, headers=headers)
            answer = upstream.getresponse()
            body = answer.read()
        changed = self.server.edit(self.path, body) if answer.status == 200 else body
        if changed != body:
            self.server.changed.append(self.path)
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in VALIDATORS:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(changed)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(changed)


class Tamperer(ThreadingHTTPServer):
    """Somebody between client and server. `edit` gets path and body of each 200; `changed` lists what it changed."""

    daemon_threads = True

    def __init__(self, upstream: tuple[str, int], ca_file: Path | None = None) -> None:
        self.upstream = upstream
        self.context = None if ca_file is None else ssl.create_default_context(cafile=ca_file)
        self.edit: Edit = lambda path, body: body
        self.changed: list[str] = []
        super().__init__(("127.0.0.1", 0), _Relay)

    def connect(self) -> http.client.HTTPConnection:
        """A connection to the server."""
        if self.context is None:
            return http.client.HTTPConnection(*self.upstream, timeout=30)
        return http.client.HTTPSConnection(*self.upstream, timeout=30, context=self.context)

    @property
    def authority(self) -> str:
        """HOST:PORT."""
        return f"127.0.0.1:{self.server_address[1]}"

    @contextmanager
    def editing(self, edit: Edit) -> Iterator[None]:
        """Change answers with `edit` for the length of the block, in which it must have found something to change."""
        self.edit, self.changed = edit, []
        try:
            yield
            assert self.changed, "nothing was changed: the test would show nothing"
        finally:
            self.edit = lambda path, body: body


@contextmanager
def tamperer(upstream: tuple[str, int], ca_file: Path | None = None) -> Iterator[Tamperer]:
    """Run one in a thread; `ca_file` is what a server with TLS is checked with."""
    running = Tamperer(upstream, ca_file)
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield running
    finally:
        running.shutdown()
        thread.join()
        running.server_close()


@dataclass(frozen=True, slots=True)
class Left:
    """What a server holds that nobody asked it to keep; the default is nothing at all.

    `strays` are files without a row, or of another size than it says, `lost` are rows without a file, `unreferenced`
    are blobs that neither a package nor an index refers to.
    """

    strays: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()
    unreferenced: tuple[str, ...] = ()
    deleted_but_open: tuple[str, ...] = ()
    descriptors: tuple[str, ...] = ()
    threads_too_many: int = 0
    reservations: tuple[tuple[str, int], ...] = (("bytes", 0), ("count", 0), ("inodes", 0))
    gauges: tuple[tuple[str, float], ...] = (
        ("dirty_scopes", 0.0),
        ("in_flight_bytes", 0.0),
        ("reservation_bytes", 0.0),
        ("uploads_in_flight", 0.0),
    )


@dataclass(slots=True)
class Site:
    """A server and who may reach it. `near` is this machine, `far` another one, with a private authority."""

    server: ServerProcess
    admin_address: str
    admin: httpx.Client
    threads_at_start: int
    near: Place
    far: Place
    tamperer: Tamperer
    made: list[str] = field(default_factory=list)

    @property
    def token(self) -> str:
        """The administrator's token."""
        return self.server.admin_token

    def repository(self, *, private: bool = False, owner: str = "acme") -> str:
        """A new repository; its USER/REPO."""
        name = f"{owner}/r{next(_names)}"
        self.admin.post("/api/v2/repos", json={"name": name, "private": private}).raise_for_status()
        self.made.append(name)
        return name

    def repository_at(self, place: Place) -> tuple[str, str]:
        """A new repository for clients at `place`, and the token that they read it with: on another machine a private
        one, as customers have it; on this one a public one, and no token.
        """
        private = place.name == "machine"
        name = self.repository(private=private)
        return name, self.read_token(name) if private else ""

    def read_token(self, repository: str) -> str:
        """A token that may read this repository and nothing else."""
        owner = repository.partition("/")[0]
        body = {"name": f"read-{next(_names)}", "role": "read", "owner": owner, "repositories": [repository]}
        return str(self.admin.post("/api/v2/tokens", json=body).raise_for_status().json()["token"])

    def push(self, place: Place, repository: str, distribution: str, file: Path, *, status: int = 201) -> Answer:
        """`curl -T FILE -u TOKEN: …/USER/REPO/DISTRIBUTION/`, which must answer with `status`."""
        answer = place.curl(f"{repository}/{distribution}/", upload=file, user=f"{self.token}:")
        assert answer.status == status, f"{file.name}: {answer.status} {answer.text}"
        return answer

    def yank(self, repository: str, distribution: str, filename: str) -> None:
        """packagecloud's DELETE; gone from the index when it returns."""
        answer = self.admin.delete(f"/api/v1/repos/{repository}/{distribution}/{filename}")
        assert (answer.status_code, answer.content) == (200, b"{}"), answer.text

    def key(self, repository: str, folder: Path) -> Path:
        """The repository's public key as a file."""
        path = folder / f"{repository.replace('/', '_')}.asc"
        path.write_bytes(self.admin.get(f"/{repository}/gpgkey").raise_for_status().content)
        return path

    def listed(self, repository: str) -> list[str]:
        """FAMILY/VERSION/FILENAME of every file that is listed, sorted."""
        found: list[str] = []
        for page in itertools.count(1):
            answer = self.admin.get(f"/api/v1/repos/{repository}/packages.json?per_page=250&page={page}")
            rows = answer.raise_for_status().json()
            found += [f"{row['distro_version']}/{row['filename']}" for row in rows]
            if len(rows) < 250:
                return sorted(found)
        raise AssertionError

    def left(self) -> Left:
        """What is left right now."""
        status = httpx.get(f"http://{self.admin_address}/statusz", trust_env=False).raise_for_status().json()
        text = httpx.get(f"http://{self.admin_address}/metrics", trust_env=False).raise_for_status().text
        on_disk, deleted = {}, []
        for each in self.server.leftovers():
            if each.deleted:
                deleted.append(f"{each.path} {each.size_bytes}")
            else:
                on_disk[each.path] = each.size_bytes
        rows, unreferenced = _rows(self.server.data)
        known = {f"blobs/{key[:2]}/{key}": size for key, size in rows.items()}
        return Left(
            strays=tuple(sorted(path for path, size in on_disk.items() if known.get(path) != size)),
            lost=tuple(sorted(path for path in known if path not in on_disk)),
            unreferenced=unreferenced,
            deleted_but_open=tuple(deleted),
            descriptors=self._descriptors(),
            threads_too_many=max(0, self.server.threads() - self.threads_at_start - POOL_THREADS_MAX),
            reservations=tuple(sorted(status["reservations"].items())),
            gauges=_gauges(text, dict(Left().gauges)),
        )

    def _descriptors(self) -> tuple[str, ...]:
        """Descriptors that a server at rest has no use for: other files than its own, or too many of one kind."""
        kept = {str(self.server.data) + name for name in KEPT_OPEN} | {str(self.server.log_path)}
        targets = [target.removesuffix(" (deleted)") for target in self.server.fds()]
        odd = [each for each in targets if each not in kept and not each.startswith(NAMELESS)]
        for kind in {*kept, *NAMELESS}:
            count = sum(each == kind or (kind in NAMELESS and each.startswith(kind)) for each in targets)
            if count > (SOCKETS_MAX if kind == "socket:" else DESCRIPTORS_MAX):
                odd.append(f"{count} × {kind}")
        return tuple(sorted(odd))

    def check_left(self, repository: str, files: Iterable[str]) -> None:
        """After a flow: the repository lists exactly `files` (FAMILY/VERSION/FILENAME) and nothing else is held.

        What ends a moment after the answer (a connection, a descriptor) has `SETTLE_LIMIT_S` seconds for it.
        """
        assert self.listed(repository) == sorted(files)
        end = time.monotonic() + SETTLE_LIMIT_S
        while (now := self.left()) != Left() and time.monotonic() < end:
            time.sleep(POLL_S)
        assert now == Left(), "\n".join(f"{each.name}: {getattr(now, each.name)}" for each in fields(now))


def _gauges(text: str, wanted: dict[str, float]) -> tuple[tuple[str, float], ...]:
    """The sum of each wanted gauge over its labels; every one must be there."""
    found: dict[str, float] = {}
    for line in text.splitlines():
        name, _, value = line.rpartition(" ")
        short = name.partition("{")[0].removeprefix("entrepot_")
        if not line.startswith("#") and short in wanted:
            found[short] = found.get(short, 0.0) + float(value)
    assert found.keys() == wanted.keys()
    return tuple(sorted(found.items()))


def _rows(data: Path) -> tuple[dict[str, int], tuple[str, ...]]:
    """(size of each copy that the catalog knows, digests of blobs that nothing refers to)."""
    with closing(sqlite3.connect(f"file:{data}/catalog.db?mode=ro", uri=True)) as catalog:
        rows = dict(catalog.execute("SELECT key, size_bytes FROM copy").fetchall())
        loose = catalog.execute(
            "SELECT sha256 FROM blob WHERE id NOT IN (SELECT blob_id FROM file)"
            " AND id NOT IN (SELECT blob_id FROM segment WHERE blob_id IS NOT NULL)"
        ).fetchall()
    return rows, tuple(sorted(sha256 for (sha256,) in loose))


def sha256_of(paths: Sequence[Path]) -> dict[str, str]:
    """File name → SHA-256."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}
