"""One server follows another on a port that stays open: what systemd's socket activation does, with real processes."""

import base64
import contextlib
import hashlib
import os
import re
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from entrepot.node.activation import address_text, inherited
from entrepot.node.connections import Connection, sending
from entrepot.node.ports import AddressError
from tests.support.builders import deb_bytes
from tests.support.ports import free_port
from tests.support.readers import Keeping, Readers, anew, late
from tests.support.server import ServerProcess

pytestmark = pytest.mark.timeout(300)

ENV = {
    "ENTREPOT_SIGNING_DEFAULT_ALGORITHM": "ed25519",
    "ENTREPOT_SIGNING_SPARE_KEYS": "0",
    "ENTREPOT_UPLOAD_INSPECTION_PROCESSES": "1",
}
ADMIN_HOST = "127.0.0.2"  # the readers' own ports are on 127.0.0.1, and one of them may take any that is let go
LIMIT_S = 60.0
LARGE_BYTES = 24 << 20  # more than all buffers take
INDEX = "/acme/tools/debian/dists/bookworm/main/binary-amd64/Packages"


@pytest.fixture
def port() -> Iterator[socket.socket]:
    """The open port, in the test's hands as it would be in systemd's."""
    with socket.create_server(("127.0.0.1", free_port()), backlog=1024) as listener:
        yield listener


def fill(server: ServerProcess) -> tuple[list[str], str, str]:
    """Push a small package and a large one: paths to read, the large one's path, and its digest."""
    large = deb_bytes("large", "1", files={"usr/share/x": os.urandom(LARGE_BYTES)})
    with httpx.Client(base_url=server.url, auth=(server.admin_token, ""), timeout=60, trust_env=False) as admin:
        admin.post("/api/v2/repos", json={"name": "acme/tools"}).raise_for_status()
        for name, content in (("small", deb_bytes("small", "1")), ("large", large)):
            admin.put(f"/acme/tools/debian/bookworm/{name}_1_amd64.deb", content=content).raise_for_status()
        index = admin.get(INDEX).text
    found = {
        path.rpartition("/")[2]: f"/acme/tools/debian/{path}" for path in re.findall(r"^Filename: (.*)$", index, re.M)
    }
    paths = [INDEX, "/acme/tools/debian/dists/bookworm/InRelease", found["small_1_amd64.deb"], "/acme/tools"]
    return paths, found["large_1_amd64.deb"], hashlib.sha256(large).hexdigest()


class Download:
    """A file that is asked for now and taken later; some of it waits in buffers meanwhile."""

    def __init__(self, server: ServerProcess, path: str) -> None:
        self._connection = socket.create_connection((server.address, server.port), timeout=LIMIT_S)
        self._connection.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        self._taken = bytearray(self._connection.recv(4096))
        assert self._taken.startswith(b"HTTP/1.1 200")

    def end(self) -> str:
        """Take the rest: the digest of all."""
        with self._connection:
            while piece := self._connection.recv(1 << 20):
                self._taken += piece
        return hashlib.sha256(self._taken.partition(b"\r\n\r\n")[2]).hexdigest()


class Upload:
    """A package of which one half is sent now and the other one later."""

    def __init__(self, server: ServerProcess) -> None:
        self._content = deb_bytes("held", "1")
        basic = base64.b64encode(f"{server.admin_token}:".encode()).decode()
        head = "PUT /acme/tools/debian/bookworm/held_1_amd64.deb HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        head += f"Content-Length: {len(self._content)}\r\nAuthorization: Basic {basic}\r\n\r\n"
        self._connection = socket.create_connection((server.address, server.port), timeout=LIMIT_S)
        self._connection.sendall(head.encode() + self._content[:100])
        end = time.monotonic() + LIMIT_S
        while "\nentrepot_uploads_in_flight 1.0\n" not in probe(server, "/metrics").text:
            assert time.monotonic() < end

    def end(self) -> str:
        """Send the rest: the status."""
        with self._connection:
            self._connection.sendall(self._content[100:])
            return self._connection.recv(65536).decode().split()[1]


def probe(server: ServerProcess, path: str) -> httpx.Response:
    """A probe's answer from the admin address."""
    return httpx.get(f"http://{ADMIN_HOST}:{server.port + 1}{path}", trust_env=False, timeout=10)


def check_reads_go_on(server: ServerProcess, readers: Readers) -> None:
    """The server was told to end and waits for somebody: reads are served and asked for, uploads are not."""
    end = time.monotonic() + LIMIT_S
    while probe(server, "/readyz/upload").status_code != 503:
        assert time.monotonic() < end
    assert probe(server, "/readyz").status_code == 200
    refused = httpx.put(
        f"{server.url}/acme/tools/debian/bookworm/new_1_amd64.deb", auth=(server.admin_token, ""),
        content=deb_bytes("new", "1"), trust_env=False, timeout=LIMIT_S,
    )  # fmt: skip
    assert (refused.status_code, refused.json()["code"]) == (503, "stopping")
    before = sum(readers.counts.values())
    while sum(readers.counts.values()) < before + 10:
        assert time.monotonic() < end, "nobody reads while one is waited for"
        time.sleep(0.01)
    assert server.poll() is None


def test_no_read_fails_while_one_server_follows_another(port: socket.socket, tmp_path: Path) -> None:
    """Goal: on an open port a server is replaced and nobody who reads notices more than a pause: new connections, kept
    ones, those whose request comes late; an upload and a download that began before end well, and nobody waits for
    them. Method: readers without a pause and without a retry, SIGTERM, the next process. Seen to fail without ``hush``
    (connections that were accepted got no answer), and without the wait for requests in flight (nobody was answered
    meanwhile).
    """
    admin_address = f"{ADMIN_HOST}:{port.getsockname()[1] + 1}"
    with ServerProcess(tmp_path / "data", env=ENV, listener=port, args=["--admin-listen", admin_address]) as server:
        paths, large, digest = fill(server)
        readers = Readers(server.address, server.port, paths)
        for number in range(2):
            readers.start(f"anew{number}", anew)
            readers.start(f"late{number}", late)
            readers.start(f"keeping{number}", Keeping())
        try:
            for begin, ended in ((lambda: Upload(server), "201"), (lambda: Download(server, large), digest)):
                held: Upload | Download = begin()
                os.kill(server.pid, signal.SIGTERM)
                check_reads_go_on(server, readers)
                assert held.end() == ended
                assert server.wait(LIMIT_S) == 0
                server.start()
        finally:
            readers.stop()
        assert not readers.failures
        assert len(readers.counts) == 6
        assert probe(server, "/readyz/upload").status_code == 200


def test_what_lies_in_buffers_is_being_sent() -> None:
    """Goal: a connection whose peer has not taken everything counts as sending until it has, also when the server has
    written all of it; silent ones, those of other ports and what took a descriptor over do not. Method: real sockets.
    """
    with (
        socket.create_server(("127.0.0.1", 0)) as main,
        socket.create_server(("127.0.0.1", 0)) as other,
        contextlib.ExitStack() as stack,
    ):
        pairs = []
        for listener in (main, main, other):
            peer = stack.enter_context(socket.create_connection(listener.getsockname()))
            pairs.append((peer, stack.enter_context(listener.accept()[0])))
        (slow, to_slow), (_, silent), (_, elsewhere) = pairs
        for full in (to_slow, elsewhere):
            full.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                while full.send(bytes(1 << 20)):
                    pass
        port = main.getsockname()[1]
        (found,) = sending(port)
        assert found == Connection(to_slow.fileno(), slow.getsockname())
        assert sending(port, [found, Connection(silent.fileno(), slow.getsockname())]) == [found]
        to_slow.shutdown(socket.SHUT_WR)
        while slow.recv(1 << 20):
            pass
        end = time.monotonic() + LIMIT_S
        while sending(port, [found]):
            assert time.monotonic() < end
        assert sending(port) == []


def test_what_else_may_be_passed() -> None:
    """Goal: only one TCP socket that listens is taken, and only by the process that it is for; anything else is a
    sentence about the socket unit. Method: every other kind of socket, as it would lie at descriptor 3.
    """
    pid = os.getpid()

    def env(count: str = "1", for_pid: int = pid) -> dict[str, str]:
        return {"LISTEN_PID": str(for_pid), "LISTEN_FDS": count, "LISTEN_FDNAMES": "a", "PATH": "/bin"}

    for given in ({}, {"PATH": "/bin"}, env(for_pid=pid + 1)):
        assert inherited(given, pid) is None
        assert not [name for name in given if name.startswith("LISTEN")]
    for count in ("0", "2", "", "x"):
        with pytest.raises(AddressError, match="one ListenStream="):
            inherited(env(count), pid)
    with (
        socket.socket(socket.AF_UNIX) as of_unix,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams,
        socket.socket() as silent,
        Path("/dev/null").open() as no_socket,
    ):
        of_unix.bind("")
        of_unix.listen()
        for other in (of_unix, datagrams, silent, no_socket):
            fd = os.dup(other.fileno())
            with pytest.raises(AddressError, match="Accept=no"):
                inherited(env(), pid, first_fd=fd)
            with contextlib.suppress(OSError):
                os.close(fd)  # a socket's object has closed it already
    with pytest.raises(AddressError, match="Accept=no"):
        inherited(env(), pid, first_fd=fd)
    for host, family in (("127.0.0.1", socket.AF_INET), ("::1", socket.AF_INET6)):
        with socket.create_server((host, 0), family=family) as listener:
            fd = os.dup(listener.fileno())
            os.set_inheritable(fd, True)
            taken = inherited(env(), pid, first_fd=fd)
            assert taken is not None
            with taken:
                assert not taken.get_inheritable()
                assert address_text(taken) == f"{'[::1]' if ':' in host else host}:{listener.getsockname()[1]}"
