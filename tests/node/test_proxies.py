"""nginx and HAProxy with the very configurations that docs/https.md shows, before a real server; and what a client may
claim about itself.
"""

import os
import re
import shutil
import signal
import socket
import sqlite3
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.support.builders import deb_bytes
from tests.support.curl import Answer, curl
from tests.support.ports import free_port, wait_for_port
from tests.support.process import kill_group
from tests.support.server import ServerProcess
from tests.support.tls import CertificateAuthority

pytestmark = [pytest.mark.timeout(300), pytest.mark.clients]

PAGE = Path(__file__).resolve().parents[2] / "docs" / "https.md"
ENV = {
    "ENTREPOT_SIGNING_DEFAULT_ALGORITHM": "ed25519",
    "ENTREPOT_SIGNING_SPARE_KEYS": "1",
    "ENTREPOT_SERVER_DRAIN_WAIT_S": "0",
    "ENTREPOT_UPLOAD_INSPECTION_PROCESSES": "1",
}
PUBLIC_URL = "https://packages.example.org"
CLIENT, SPOOFED = "127.0.0.5", "203.0.113.77"
LIMIT_S = 30.0
MIB = 1 << 20
LARGE_BYTES = 24 * MIB
FOLDERS = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


def shown(language: str) -> str:
    """The page's configuration for a proxy."""
    found = re.search(rf"^```{language}\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[1]


def replaced(text: str, pairs: dict[str, str]) -> str:
    """With addresses and files of the test; each must be there."""
    for old, new in pairs.items():
        assert old in text, old
        text = text.replace(old, new)
    return text


@dataclass(frozen=True)
class Front:
    """A proxy and what is behind it."""

    server: ServerProcess
    port: int
    ca_file: Path
    folder: Path

    def curl(self, path: str, *args: str | Path, **options: object) -> Answer:
        """Through the proxy, from CLIENT, by the name that the certificate has."""
        where = ("--resolve", f"packages.example.org:{self.port}:127.0.0.1", "--interface", CLIENT)
        url = f"https://packages.example.org:{self.port}{path}"
        return curl(url, *where, *args, ca_file=self.ca_file, **options)  # type: ignore[arg-type]

    def connect(self) -> ssl.SSLSocket:
        """A connection through the proxy, HTTP/1.1."""
        context = ssl.create_default_context(cafile=self.ca_file)
        context.set_alpn_protocols(["http/1.1"])
        plain = socket.create_connection(("127.0.0.1", self.port), LIMIT_S, (CLIENT, 0))
        return context.wrap_socket(plain, server_hostname="packages.example.org")

    def metric(self, name: str) -> float:
        """A metric of the server."""
        text = httpx.get(f"http://127.0.0.1:{self.server.port + 1}/metrics", trust_env=False).text
        return float(next(line for line in text.splitlines() if line.startswith(f"entrepot_{name} ")).split()[1])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """One server, which trusts proxies on 127.0.0.1; it has a repository and a large package."""
    data = tmp_path_factory.mktemp("proxied") / "data"
    args = ["--trusted-proxy", "127.0.0.1", "--trusted-proxy", "192.0.2.0/24"]
    with ServerProcess(data, env=ENV, args=args, public_url=PUBLIC_URL) as running:
        with httpx.Client(base_url=running.url, auth=(running.admin_token, ""), timeout=30, trust_env=False) as admin:
            admin.post("/api/v2/repos", json={"name": "acme/r"}).raise_for_status()
        yield running


@contextmanager
def started(command: list[str | Path], folder: Path, port: int) -> Iterator[None]:
    """A proxy in a process group of its own."""
    with (folder / "log").open("ab") as log:
        running = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    try:
        wait_for_port("127.0.0.1", port, LIMIT_S)
        yield
    finally:
        kill_group(running.pid, signal.SIGTERM)
        running.wait(30)


@contextmanager
def nginx(folder: Path, port: int, upstream: str) -> Iterator[None]:
    """nginx with the page's file in its `http` block."""
    own = replaced(
        shown("nginx"),
        {
            "127.0.0.1:8420": upstream, "listen 443": f"listen 127.0.0.1:{port}",
            "/etc/ssl/packages.pem": f"{folder}/server.pem", "/etc/ssl/packages.key": f"{folder}/server.key",
        },
    )  # fmt: skip
    temporary = "".join(f"{each}_temp_path {folder}/{each};\n" for each in FOLDERS)
    text = f"daemon off; master_process off; pid {folder}/pid; error_log {folder}/error.log info;\n"
    text += f"events {{}}\nhttp {{ access_log {folder}/access.log;\n{temporary}{own}}}\n"
    (folder / "nginx.conf").write_text(text)
    with started(["nginx", "-p", folder, "-c", folder / "nginx.conf"], folder, port):
        yield
    written = [path for each in FOLDERS for path in (folder / each).rglob("*") if path.is_file()]
    assert written == [], "nginx buffered on its own disk"
    assert "a client request body is buffered" not in (folder / "error.log").read_text()


@contextmanager
def haproxy(folder: Path, port: int, upstream: str) -> Iterator[None]:
    """HAProxy with the page's file."""
    (folder / "both.pem").write_bytes((folder / "server.pem").read_bytes() + (folder / "server.key").read_bytes())
    host, _, upstream_port = upstream.partition(":")
    text = replaced(
        shown("haproxy"),
        {
            "127.0.0.1:8420 port 8421": f"{host}:{upstream_port} port {int(upstream_port) + 1}",
            "bind :443": f"bind 127.0.0.1:{port}", "/etc/haproxy/packages.pem": f"{folder}/both.pem",
        },
    )  # fmt: skip
    (folder / "haproxy.cfg").write_text(text)
    with started([shutil.which("haproxy") or "/usr/sbin/haproxy", "-db", "-f", folder / "haproxy.cfg"], folder, port):
        yield


PROXIES = {"nginx": nginx, "haproxy": haproxy}


@pytest.fixture(scope="module", params=sorted(PROXIES))
def front(
    request: pytest.FixtureRequest, server: ServerProcess, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Front]:
    """Each proxy in turn."""
    folder, port = tmp_path_factory.mktemp(request.param), free_port()
    authority = CertificateAuthority(folder / "ca")
    authority.issue(folder, ["packages.example.org"])
    with PROXIES[request.param](folder, port, f"127.0.0.1:{server.port}"):
        yield Front(server, port, authority.ca_file, folder)


def line_of(server: ServerProcess, request_id: str) -> str:
    """The log line of a request."""
    end = time.monotonic() + LIMIT_S
    while True:
        found = [line for line in server.log().splitlines() if request_id in line]
        if found:
            return found[0]
        assert time.monotonic() < end, request_id
        time.sleep(0.05)


def test_large_bodies_pass_in_both_directions(front: Front, tmp_path: Path) -> None:
    """Goal: no limit and no buffer of the proxy's own: a package of 24 MiB is taken and comes back, as curl sends it,
    with `Expect`, and once without a length.
    """
    name = f"{front.folder.name.rstrip('0123456789')}-large"
    package = tmp_path / f"{name}_1_amd64.deb"
    package.write_bytes(deb_bytes(name, "1", files={"usr/share/x": os.urandom(LARGE_BYTES)}))
    place, user = f"/acme/r/debian/bookworm/{package.name}", f"{front.server.admin_token}:"
    taken = front.curl(place, upload=package, user=user)
    assert (taken.status, taken.interim) == (201, (100,) if taken.interim else ()), taken.text
    again = front.curl(place, upload=package, user=user, headers=["Transfer-Encoding: chunked"])
    assert again.status == 200, again.text
    back = front.curl(f"/acme/r/packages/debian/bookworm/{package.name}/download")
    assert (back.status, back.body) == (200, package.read_bytes())


def test_an_upload_goes_straight_through(front: Front) -> None:
    """Goal: the proxy buffers no request. Method: half of a body is sent, and the server has it while the client waits;
    then the rest, and the answer.
    """
    name = f"{front.folder.name.rstrip('0123456789')}-half"
    content = deb_bytes(name, "1", files={"usr/share/x": os.urandom(4 * MIB)})
    head = (
        f"PUT /acme/r/debian/bookworm/{name}_1_amd64.deb HTTP/1.1\r\nHost: packages.example.org\r\n"
        f"Authorization: Bearer {front.server.admin_token}\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    half = len(content) // 2
    with front.connect() as upload:
        upload.sendall(head.encode() + content[:half])
        end = time.monotonic() + LIMIT_S
        while front.metric("in_flight_bytes") < MIB:
            assert time.monotonic() < end, "the first half does not arrive"
            time.sleep(0.05)
        upload.sendall(content[half:])
        assert upload.recv(65536).startswith(b"HTTP/1.1 201")


def test_a_refusal_is_seen_and_not_a_reset(front: Front, tmp_path: Path) -> None:
    """Goal: a large upload with a wrong token ends with the server's 401 and its code, with and without `Expect`, time
    and again: what is left of one is never taken for the next. Method: curl over HTTP/2 (HAProxy) and HTTP/1.1.

    Seen to fail, with HAProxy, when the refusal leaves the connection open.
    """
    package = tmp_path / "refused_1_amd64.deb"
    package.write_bytes(os.urandom(8 * MIB))
    for headers in ([], ["Expect:"]) * 4:
        answer = front.curl(f"/acme/r/debian/bookworm/{package.name}", upload=package, user="0:", headers=headers)
        assert (answer.status, answer.headers["x-entrepot-code"]) == (401, "token_unknown")


def test_connections_to_the_server_are_kept(front: Front) -> None:
    """Goal: requests share a connection behind the proxy. Method: thirty requests of one client; connections that the
    proxy closed would be in TIME_WAIT.
    """

    def closed() -> int:
        remote = f":{front.server.port:04X}"
        rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        return sum(row[2].endswith(remote) and row[3] == "06" for row in rows)

    before = closed()
    context = ssl.create_default_context(cafile=front.ca_file)
    context.check_hostname = False
    with httpx.Client(base_url=f"https://127.0.0.1:{front.port}", verify=context, trust_env=False) as client:
        for _ in range(30):
            assert client.get("/livez").status_code == 200
    assert closed() - before < 5


def test_the_client_s_address_is_the_one_that_connected(front: Front) -> None:
    """Goal: log and audit trail name the client, whatever it claims about itself in headers of its own."""
    claims = (f"X-Forwarded-For: {SPOOFED}", f"X-Forwarded-For: {SPOOFED}, 192.0.2.1", f"X-Real-IP: {SPOOFED}")
    for number, claim in enumerate(claims):
        name = f"acme/{front.folder.name.rstrip('0123456789')}{number}"
        body = ("--json", f'{{"name": "{name}"}}')
        answer = front.curl("/api/v2/repos", *body, user=f"{front.server.admin_token}:", headers=[claim])
        assert answer.status == 201, answer.text
        assert f'"address":"{CLIENT}"' in line_of(front.server, answer.headers["x-request-id"]).replace(": ", ":")
        assert audit_addresses(front.server, name) == {CLIENT}


def audit_addresses(server: ServerProcess, subject: str) -> set[str]:
    """From where a thing was changed, as the audit trail has it."""
    with closing(sqlite3.connect(f"file:{server.data}/catalog.db?mode=ro", uri=True)) as catalog:
        rows = catalog.execute(
            "SELECT address FROM audit WHERE subject = ? AND actor != 'server'", (subject,)
        ).fetchall()
    return {address for (address,) in rows}


def test_nobody_else_is_believed(server: ServerProcess) -> None:
    """Goal: from an address that is no trusted proxy, forwarded headers change neither the address in log and audit
    trail nor a URL; from a trusted one they change the address and no URL. Method: requests straight to the server
    from two addresses of loopback, with every such header.

    Seen to fail with every peer trusted.
    """
    claims = {
        "X-Forwarded-For": SPOOFED, "X-Forwarded-Host": "evil.example.com", "X-Forwarded-Proto": "http",
        "X-Forwarded-Port": "81", "Forwarded": f"for={SPOOFED};host=evil.example.com;proto=http", "X-Real-IP": SPOOFED,
        "Host": "evil.example.com",
    }  # fmt: skip
    for source, believed in (("127.0.0.9", "127.0.0.9"), ("127.0.0.1", SPOOFED)):
        name = f"acme/direct{source.rpartition('.')[2]}"
        transport = httpx.HTTPTransport(local_address=source)
        auth = (server.admin_token, "")
        with httpx.Client(base_url=server.url, transport=transport, auth=auth, headers=claims) as client:
            made = client.post("/api/v2/repos", json={"name": name})
            assert made.status_code == 201, made.text
            assert made.json()["url"] == f"{PUBLIC_URL}/{name}"
            for path in (f"/{name}", f"/api/v1/repos/{name}/packages.json"):
                answer = client.get(path)
                assert "evil.example.com" not in answer.text + str(answer.headers)
        assert audit_addresses(server, name) == {believed}
        assert f'"{believed}"' in line_of(server, made.headers["x-request-id"])
