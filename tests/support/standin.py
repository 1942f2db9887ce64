"""A small HTTP file server for the helpers' own tests: GET, HEAD and PUT in a folder, optionally behind Basic.

It also takes `serve --data DIR --listen HOST:PORT --public-url URL` as a program (`python -m tests.support.standin`),
with `/livez` and `DIR/admin-token`, so that `ServerProcess` can be tested without the product.
"""

import argparse
import base64
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

TOKEN = "0" * 48


class Handler(SimpleHTTPRequestHandler):
    """Serves `server.folder`; writes need nothing, or the login of the server when it has one."""

    protocol_version = "HTTP/1.1"
    server: "StandIn"

    def __init__(self, request: object, address: tuple[str, int], server: "StandIn") -> None:
        super().__init__(request, address, server, directory=str(server.folder))  # type: ignore[arg-type]

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
        self.server.lines.append(f"{self.client_address[0]} {format % args}")

    def refused(self) -> bool:
        """Answer 401 and return True if the login is wrong."""
        if not self.server.login:
            return False
        wanted = "Basic " + base64.b64encode(self.server.login.encode()).decode()
        if self.headers.get("Authorization") == wanted:
            return False
        self.answer(401, {"WWW-Authenticate": 'Basic realm="stand-in"'})
        return True

    def answer(self, status: int, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": "0", **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()

    def do_GET(self) -> None:
        if self.path == "/livez":
            self.answer(200)
        elif not self.refused():
            super().do_GET()

    def do_HEAD(self) -> None:
        if not self.refused():
            super().do_HEAD()

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        if self.refused():
            return
        target = self.server.folder / unquote(urlsplit(self.path).path).lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(body)
        self.answer(201)


class StandIn(ThreadingHTTPServer):
    """The server; `lines` collects its access log."""

    daemon_threads = True

    def __init__(self, folder: Path, login: str = "", address: str = "127.0.0.1", port: int = 0) -> None:
        self.folder = folder
        self.login = login
        self.lines: list[str] = []
        super().__init__((address, port), Handler)

    @property
    def url(self) -> str:
        """Base URL without a trailing slash."""
        return f"http://{self.server_address[0]!s}:{self.server_address[1]}"


@contextmanager
def standin(folder: Path, login: str = "", address: str = "127.0.0.1") -> Iterator[StandIn]:
    """Serve a folder from a thread for the length of the block."""
    server = StandIn(folder, login, address)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def main() -> None:
    """Serve as a program with `serve`'s command line; SIGTERM ends it with 0."""
    parser = argparse.ArgumentParser()
    parser.add_argument("command", choices=["serve"])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--listen", required=True)
    parser.add_argument("--public-url", required=True)
    options = parser.parse_args()
    for folder in ("blobs", "incoming"):
        (options.data / folder).mkdir(parents=True, exist_ok=True)
    token = options.data / "admin-token"
    token.write_text(TOKEN + "\n")
    token.chmod(0o600)
    address, _, port = options.listen.rpartition(":")
    sys.stdout.write(f"listening on {options.listen} with fault {os.environ.get('ENTREPOT_FAULT', 'none')}\n")
    sys.stdout.flush()
    server = StandIn(options.data / "blobs", address=address, port=int(port))
    held = os.open(options.data / "incoming", os.O_TMPFILE | os.O_RDWR)
    os.write(held, b"x" * 4096)
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    server.serve_forever(poll_interval=0.05)


if __name__ == "__main__":
    main()
