"""A small client: one kept connection, one request at a time, nothing between the clock and the socket."""

import base64
import http.client
import json
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Self
from urllib.parse import urlencode, urlsplit

from tests.support.server import ServerProcess


class Client:
    """Talks to one server as the holder of one token. Not for two threads at once."""

    def __init__(self, url: str, token: str) -> None:
        parts = urlsplit(url)
        assert parts.hostname is not None
        self._connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=120)
        self._headers = {"Authorization": "Basic " + base64.b64encode(f"{token}:".encode()).decode()}

    @classmethod
    def of(cls, server: ServerProcess) -> Self:
        """A client with the administrator's token."""
        return cls(server.url, server.admin_token)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    def request(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, Mapping[str, str], bytes]:
        """(status, headers, body)."""
        self._connection.request(method, path, body, {**self._headers, **(headers or {})})
        answer = self._connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()

    def reconnect(self) -> None:
        """Begin a new connection: the server closes one that was idle for long."""
        self._connection.close()
        self._connection.connect()

    def put(self, path: str, content: bytes) -> float:
        """Send a package; the seconds until the answer. Raises AssertionError for any status but 201."""
        started = time.perf_counter()
        status, _, body = self.request("PUT", path, content)
        elapsed = time.perf_counter() - started
        assert status == 201, (status, body[:500])
        return elapsed

    def create_repository(self, name: str) -> None:
        """Make a repository unless it is there."""
        form = urlencode({"repository[name]": name}).encode()
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        status, _, _ = self.request("GET", f"/api/v1/repos/{name}.json")
        if status == 404:
            status, _, body = self.request("POST", "/api/v1/repos.json", form, headers)
            assert status == 201, (status, body[:500])

    def json(self, path: str) -> object:
        """A GET whose answer is JSON."""
        status, _, body = self.request("GET", path)
        assert status == 200, (status, body[:500])
        return json.loads(body)
