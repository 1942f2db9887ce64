"""A small real HTTP server in a thread whose answers to uploads a test writes down beforehand."""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from entrepot.client.config import Connection
from entrepot.client.observer import Outcome, Report
from entrepot.client.push import Options, Push
from entrepot.client.resume import Remembered
from entrepot.client.retry import Wait
from entrepot.client.selection import KINDS, Item
from entrepot.client.session import Session
from entrepot.client.target import PushTarget

# A step answers one upload; the last one of a script answers all that follow.
Step = Callable[["Handler"], None]


class Handler(BaseHTTPRequestHandler):
    """Knows `have` and `packages`, and leaves the answer of the latter to the script."""

    protocol_version = "HTTP/1.1"
    server: "Fake"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
        """Nothing."""

    def answer(self, status: int, document: Any, **headers: str) -> None:
        """A JSON answer."""
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def body(self) -> bytes:
        """The whole request body."""
        return self.rfile.read(int(self.headers.get("Content-Length", "0")))

    @property
    def query(self) -> dict[str, list[str]]:
        """The query's fields."""
        return parse_qs(urlsplit(self.path).query)

    def do_GET(self) -> None:
        """Whatever a test wants to be told."""
        self.server.gets.append(self.path)
        self.server.next_step()(self)

    def do_POST(self) -> None:
        """`have`, or the next step of the script."""
        path = urlsplit(self.path).path
        if path.endswith("/have"):
            self.server.have(self)
            return
        with self.server.lock:
            self.server.uploads.append(self.query.get("filename", [""])[0])
            self.server.now += 1
            self.server.most = max(self.server.most, self.server.now)
        try:
            self.server.next_step()(self)
        finally:
            with self.server.lock:
                self.server.now -= 1


class Fake(ThreadingHTTPServer):
    """The server. `uploads` are the names of files sent, in order; `known` are digests that `have` knows; from its
    `gone_from`-th question on there is no repository.
    """

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, *script: Step) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.script = list(script)
        self.uploads: list[str] = []
        self.gets: list[str] = []
        self.known: dict[str, list[dict[str, Any]]] = {}
        self.asked = 0
        self.most = 0
        self.now = 0
        self.lock = threading.Lock()
        self.on_have: Callable[[int], None] = lambda _: None
        self.gone_from: int | None = None

    @property
    def url(self) -> str:
        """Base URL."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def next_step(self) -> Step:
        """The script's next step; its last one for ever."""
        with self.lock:
            return self.script.pop(0) if len(self.script) > 1 else self.script[0]

    def have(self, handler: Handler) -> None:
        """Answer from `known`."""
        asked = json.loads(handler.body())["files"]
        self.asked += 1
        self.on_have(self.asked)
        if self.gone_from is not None and self.asked >= self.gone_from:
            detail = "There is no such repository."
            handler.answer(404, {"code": "repository_unknown", "detail": detail, "status": 404})
            return
        rows = [
            {"sha256": each["sha256"], "bytes": False, "files": self.known.get(each["sha256"], [])} for each in asked
        ]
        handler.answer(200, {"files": rows})

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that go away are part of the tests."""


@contextmanager
def fake(*script: Step) -> Iterator[Fake]:
    """Serve for the length of the block."""
    server = Fake(*script)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def created(handler: Handler) -> None:
    """201 after the whole body."""
    handler.body()
    handler.answer(201, {"status": "created", "indexed": True, "files": []})


def refuse(status: int, code: str, **headers: str) -> Step:
    """A step that reads the body and answers with a problem document."""

    def step(handler: Handler) -> None:
        handler.body()
        handler.answer(status, {"code": code, "detail": f"Refused: {code}.", "status": status}, **headers)

    return step


def cut(handler: Handler) -> None:
    """Take a little of the body, then break the connection."""
    handler.rfile.read(1000)
    handler.connection.shutdown(socket.SHUT_RDWR)
    handler.close_connection = True


class Recorder:
    """An observer that keeps everything."""

    def __init__(self) -> None:
        self.waits: list[Wait] = []
        self.outcomes: list[Outcome] = []
        self.restarts: list[Item] = []

    def begin(self, files: int, size_bytes: int) -> None:
        """Ignored."""

    def hashed(self, size_bytes: int) -> None:
        """Ignored."""

    def started(self, item: Item, size_bytes: int) -> None:
        """Kept."""
        self.restarts.append(item)

    def sent(self, item: Item, size_bytes: int) -> None:
        """Ignored."""

    def waiting(self, item: Item | None, wait: Wait) -> None:
        """Kept."""
        self.waits.append(wait)

    def done(self, outcome: Outcome) -> None:
        """Kept."""
        self.outcomes.append(outcome)

    def end(self, report: Report) -> None:
        """Ignored."""

    def close(self) -> None:
        """Ignored."""


def connection(url: str) -> Connection:
    """How to reach a fake server."""
    return Connection(url, "0" * 48, None, None, None, {})


def push_files(
    server: Fake,
    paths: list[Path],
    options: Options | None = None,
    *,
    items: tuple[Item, ...] | None = None,
    recorder: Recorder | None = None,
    retry_for_s: float = 30.0,
) -> Report:
    """Push files, or ``items`` of a selection, to debian/bookworm of acme/prod."""
    items = items if items is not None else tuple(Item(path, path.name) for path in paths)
    with Session(connection(server.url), retry_for_s=retry_for_s, jitter=lambda: 0.0) as session:
        target = PushTarget("acme/prod", ("debian/bookworm",))
        observer = recorder or Recorder()
        return Push(session, target, KINDS["deb"], items, options or Options(), observer, Remembered(None)).run()
