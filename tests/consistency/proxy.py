"""A reverse proxy that lets a test act between two requests of a client: publish, refuse, or cut the answer short."""

import http.client
import threading
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self

_PER_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "date", "server"})


@dataclass(frozen=True, slots=True)
class Asked:
    """One request as the client sent it, and the status that it got. ``connection`` numbers the client's connections;
    ``range_`` is its Range header.
    """

    connection: int
    method: str
    path: str
    range_: str
    status: int

    @property
    def name(self) -> str:
        """The last segment of the path."""
        return self.path.rpartition("/")[2]


@dataclass(frozen=True, slots=True)
class Act:
    """What to do with a request: answer ``status`` without asking the server, or send only the first ``cut_at`` bytes
    of the body and then break the connection.
    """

    status: int = 0
    cut_at: int | None = None


Hook = Callable[[str, str], Act | None]


class Proxy:
    """Forwards to ``upstream`` (address, port), one connection for each of the client's. ``before(method, path)`` runs
    before each request is passed on, in the thread of its connection.
    """

    def __init__(self, upstream: tuple[str, int], before: Hook = lambda method, path: None) -> None:
        self.before = before
        self.asked: list[Asked] = []
        self._connections = 0
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self, upstream))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def number(self) -> int:
        """The number of a new connection."""
        with self._lock:
            self._connections += 1
            return self._connections

    def note(self, asked: Asked) -> None:
        """Remember a request."""
        with self._lock:
            self.asked.append(asked)

    def take(self) -> list[Asked]:
        """The requests since the last call."""
        with self._lock:
            taken, self.asked = self.asked, []
            return taken


def _handler(proxy: Proxy, upstream: tuple[str, int]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 60

        def setup(self) -> None:
            super().setup()
            self.number = proxy.number()
            self.upstream = http.client.HTTPConnection(*upstream, timeout=60)

        def finish(self) -> None:
            self.upstream.close()
            super().finish()

        def do_GET(self) -> None:
            act = proxy.before(self.command, self.path) or Act()
            if act.status:
                self._answer(act.status, {}, b"", None)
                return
            headers = {name: value for name, value in self.headers.items() if name.lower() not in _PER_HOP}
            self.upstream.request(self.command, self.path, headers=headers)
            answer = self.upstream.getresponse()
            body = answer.read()
            kept = {name: value for name, value in answer.getheaders() if name.lower() not in _PER_HOP}
            self._answer(answer.status, kept, body, act.cut_at)

        def do_HEAD(self) -> None:
            self.do_GET()

        def _answer(self, status: int, headers: dict[str, str], body: bytes, cut_at: int | None) -> None:
            range_ = self.headers.get("Range", "")
            proxy.note(Asked(self.number, self.command, self.path, range_, status))
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            if "Content-Length" not in headers and "content-length" not in headers:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body if cut_at is None else body[:cut_at])
            if cut_at is not None and cut_at < len(body):
                self.close_connection = True

        def log_message(self, *_: object) -> None:
            pass

    return Handler
