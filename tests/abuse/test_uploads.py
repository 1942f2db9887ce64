"""Uploads meant to hold what they do not use: slow, in crumbs, endless, absurdly large, too many at once. After each,
nothing of them is left: no descriptor, no thread, no reservation, no file.
"""

import contextlib
import socket
import sqlite3
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.builders import deb_bytes
from tests.support.ports import free_port
from tests.support.server import ServerProcess
from tests.web.conftest import ENV, basic, make_repository, wait_until

KIB = 1 << 10
SLOTS = 8
UPLOAD_BYTES_MAX = 8 << 20
TEN_TB = 10 * 1000**4
THREADS_MAX = 80  # of server and child, with every pool filled (32 commit) and 4 worker threads of each kind


@dataclass(frozen=True, slots=True)
class Traces:
    """What uploads could leave behind in a server that is idle."""

    strays: tuple[str, ...]
    sockets: int
    reservations: int
    threads: int


class Site:
    """A server with few slots, one repository, and a client with the administrator's token."""

    def __init__(self, server: ServerProcess, probes: str, client: httpx.Client) -> None:
        self.server = server
        self.client = client
        self.repository = make_repository(client)
        self._probes = probes

    def status(self) -> Any:
        """/statusz."""
        return httpx.get(f"http://{self._probes}/statusz", trust_env=False, timeout=30).json()

    def reservations(self) -> int:
        """How many uploads hold room on the volume."""
        return int(self.status()["reservations"]["count"])

    def traces(self) -> Traces:
        """What is held right now; strays are files that no row of the catalog names."""
        server = self.server
        present = [each.path for each in server.leftovers()]
        with contextlib.closing(
            sqlite3.connect(f"file:{server.data}/catalog.db?mode=ro", uri=True, timeout=60)
        ) as conn:
            known = {row[0] for row in conn.execute("SELECT key FROM copy")}
        return Traces(
            strays=tuple(path for path in present if path.rpartition("/")[2] not in known),
            sockets=sum(target.startswith("socket:") for target in server.fds()),
            reservations=self.reservations(),
            threads=server.threads(),
        )

    def path(self, name: str) -> str:
        """Where a package is sent."""
        return f"/{self.repository}/debian/bookworm/{name}_1.0_amd64.deb"

    def put(self, name: str, content: Any = None) -> httpx.Response:
        """PUT a package."""
        body = deb_bytes(name, "1.0") if content is None else content
        return self.client.put(self.path(name), content=body)

    def begin(self, name: str, headers: str, line: str = "") -> socket.socket:
        """A connection with the head of a PUT sent, or of another request."""
        connection = socket.create_connection((self.server.address, self.server.port), timeout=120)
        token = basic(self.server.admin_token)
        line = line or f"PUT {self.path(name)}"
        head = f"{line} HTTP/1.1\r\nHost: x\r\nAuthorization: {token}\r\n{headers}\r\n\r\n"
        connection.sendall(head.encode())
        return connection

    def crowd(self, count: int, prefix: str) -> Counter[tuple[int, bool]]:
        """So many uploads at once: (status, whether Retry-After was there)."""
        contents = [deb_bytes(f"{prefix}{number}", "1.0") for number in range(count)]
        limits = httpx.Limits(max_connections=count)
        gate = threading.Barrier(count)
        with httpx.Client(
            base_url=self.server.url, auth=(self.server.admin_token, ""), timeout=120, trust_env=False, limits=limits
        ) as client:

            def one(number: int) -> tuple[int, bool]:
                gate.wait(120)
                answer = client.put(self.path(f"{prefix}{number}"), content=contents[number])
                return answer.status_code, "retry-after" in answer.headers

            with ThreadPoolExecutor(count) as threads:
                return Counter(threads.map(one, range(count)))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The server of this module, warmed up by some uploads."""
    probes = f"127.0.0.1:{free_port()}"
    env = ENV | {
        "ENTREPOT_SERVER_ADMIN_LISTEN": probes,
        "ENTREPOT_UPLOAD_UPLOADS_AT_ONCE_MAX": str(SLOTS),
        "ENTREPOT_UPLOAD_UPLOAD_BYTES_MAX": str(UPLOAD_BYTES_MAX),
        "ENTREPOT_SERVER_WORKER_THREADS": "4",
    }
    data: Path = tmp_path_factory.mktemp("abuse") / "data"
    with ServerProcess(data, env=env) as running:
        auth = (running.admin_token, "")
        with httpx.Client(base_url=running.url, auth=auth, timeout=120, trust_env=False) as client:
            site = Site(running, probes, client)
            site.crowd(16, "warm")
            yield site


@pytest.fixture
def clean(site: Site) -> Iterator[Site]:
    """The same, and after the test everything that it held is given back."""
    wait_until(lambda: site.reservations() == 0, 60.0)
    before = site.traces()
    yield site

    def settled() -> bool:
        found = site.traces()
        within = found.sockets <= before.sockets and found.threads <= THREADS_MAX
        return within and not found.reservations and not found.strays

    with contextlib.suppress(AssertionError):
        wait_until(settled, 60.0)
    assert settled(), (before, site.traces())


def test_slow_bodies_are_few_and_end(clean: Site) -> None:
    """Goal: a byte a second holds a slot and its room no longer than a window of the minimum rate; others are told to
    come back meanwhile. Method: all slots taken by trickles; an upload beside them; then their answers.
    """
    stop = threading.Event()
    with ExitStack() as stack:
        slow = [
            stack.enter_context(clean.begin(f"slow{number}", f"Content-Length: {64 * KIB}")) for number in range(SLOTS)
        ]

        def trickle() -> None:
            while not stop.wait(1.0):
                for connection in slow:
                    try:
                        connection.send(b"!")
                    except OSError:
                        return  # ended, as it should be

        feeder = threading.Thread(target=trickle)
        feeder.start()
        stack.callback(feeder.join)
        stack.callback(stop.set)
        wait_until(lambda: clean.reservations() == SLOTS, 60.0)
        beside = clean.put("beside")
        assert (beside.status_code, beside.json()["code"]) == (503, "busy")
        assert int(beside.headers["retry-after"]) > 0
        answers = [connection.recv(65536) for connection in slow]
        assert all(answer.startswith(b"HTTP/1.1 408 ") for answer in answers), answers
        assert all(b'"code":"upload_too_slow"' in answer for answer in answers)
    assert clean.put("beside").status_code == 201


def test_a_body_in_crumbs_is_a_body(clean: Site) -> None:
    """Goal: thousands of chunks of one byte cost time, nothing else. Method: a package in chunks of one byte each."""
    content = deb_bytes("crumbs", "1.0", files={"usr/x": bytes(range(256)) * 40}, data_compression="none")
    frame = b"".join(b"1\r\n%c\r\n" % byte for byte in content) + b"0\r\n\r\n"
    with clean.begin("crumbs", "Transfer-Encoding: chunked") as connection:
        connection.sendall(frame)
        assert connection.recv(65536).startswith(b"HTTP/1.1 201 ")
    assert len(content) > 10_000


WAYS_IN = {
    "put": "",
    "form": "POST /api/v1/repos/{repository}/packages.json",
    "contents": "POST /api/v1/repos/{repository}/packages/contents.json",
    "push": "POST /api/v2/repos/{repository}/packages?filename=huge_1_all.deb&distribution=debian/bookworm",
}


@pytest.mark.parametrize("expect", ["", "\r\nExpect: 100-continue"], ids=["plain", "expect"])
@pytest.mark.parametrize("way", WAYS_IN)
def test_ten_terabytes_are_refused_by_their_head(clean: Site, expect: str, way: str) -> None:
    """Goal: what can never fit is a 413 with both numbers and the remedy before a byte of it; so on every way in.
    Method: a declared 10 TB, of which nothing is sent.
    """
    headers = f"Content-Type: multipart/form-data; boundary=x\r\nContent-Length: {TEN_TB}{expect}"
    with clean.begin("huge", headers, WAYS_IN[way].format(repository=clean.repository)) as connection:
        answer = connection.recv(65536)
    assert answer.startswith(b"HTTP/1.1 413 "), answer
    assert b'"code":"too_large"' in answer
    assert f'"size_bytes":{TEN_TB}'.encode() in answer
    assert f'"upload_bytes_max":{UPLOAD_BYTES_MAX}'.encode() in answer
    assert b"raise `upload.upload_bytes_max`" in answer


@pytest.mark.parametrize("length", ["-1", "1e3", "0x10", "9" * 40, "5, 5"])
def test_a_length_that_is_none(clean: Site, length: str) -> None:
    """Goal: a Content-Length that is no number, or no 64-bit one, never becomes a package or an error of ours. Method:
    odd ones; the connection is closed or the request refused.
    """
    with clean.begin("odd", f"Content-Length: {length}") as connection:
        connection.shutdown(socket.SHUT_WR)
        answer = connection.recv(65536)
    assert not answer or answer.startswith(b"HTTP/1.1 4"), answer
    assert clean.client.get(f"{clean.path('odd')}").status_code in (404, 405)


def test_a_body_that_never_ends_is_cut_at_the_limit(clean: Site) -> None:
    """Goal: no declared length is no way around the limit; room is taken in steps and given back. Method: an endless
    chunked body.
    """
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        while sent < 40 * UPLOAD_BYTES_MAX:
            sent += 64 * KIB
            yield bytes(64 * KIB)

    try:
        answer = clean.put("endless", endless())
    except httpx.WriteError:
        answer = None  # the bounded rest was read, then the connection closed under the sender
    assert answer is None or (answer.status_code, answer.json()["code"]) == (413, "too_large")
    assert sent < 40 * UPLOAD_BYTES_MAX


def test_two_hundred_at_once(clean: Site) -> None:
    """Goal: beyond the slots uploads wait a moment or are told to come back; none is an error, none is lost. Method:
    200 connections against 8 slots.
    """
    answers = clean.crowd(200, "crowd")
    assert {status for status, _retry in answers} <= {201, 202, 503}, answers
    assert (503, False) not in answers
    stored = sum(count for (status, _retry), count in answers.items() if status != 503)
    listed = clean.client.get(f"/api/v1/repos/{clean.repository}/search.json?q=crowd&per_page=1").headers["total"]
    assert int(listed) == stored
