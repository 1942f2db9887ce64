"""A node's life: first start, its folder, probes, stopping in order, and the fallback HTTP server."""

import base64
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.builders import deb_bytes
from tests.support.server import ServerProcess

ENV = {
    "ENTREPOT_SIGNING_DEFAULT_ALGORITHM": "ed25519",
    "ENTREPOT_SIGNING_SPARE_KEYS": "0",
    "ENTREPOT_SERVER_DRAIN_WAIT_S": "0",
    "ENTREPOT_UPLOAD_INSPECTION_PROCESSES": "1",
}


@pytest.fixture(params=["granian", "uvicorn"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ServerProcess]:
    """A server of its own for each test, on each HTTP server."""
    with ServerProcess(tmp_path / "data", env=ENV, args=["--http-server", request.param]) as running:
        yield running


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """One server for what no HTTP server of the main port has a part in: probes and the folder's lock."""
    with ServerProcess(tmp_path_factory.mktemp("node") / "data", env=ENV) as running:
        yield running


def client(server: ServerProcess) -> httpx.Client:
    """A client with the administrator's token."""
    return httpx.Client(base_url=server.url, auth=(server.admin_token, ""), timeout=30, trust_env=False)


def probe(server: ServerProcess, path: str) -> httpx.Response:
    """A probe's answer from the admin address."""
    return httpx.get(f"http://127.0.0.1:{server.port + 1}{path}", trust_env=False, timeout=5)


def test_the_first_start_makes_secrets_for_its_user_alone(server: ServerProcess) -> None:
    """Goal: admin-token and secret are 0600, the log holds neither, and the second start changes neither."""
    names = ("admin-token", "secret")
    before = {name: (server.data / name).read_text() for name in names}
    for name in names:
        assert stat.S_IMODE((server.data / name).stat().st_mode) == 0o600
        assert before[name].strip() not in server.log()
    assert stat.S_IMODE(server.data.stat().st_mode) == 0o700
    assert (server.data / "format").read_text() == "1\n"
    until = time.monotonic() + 30
    while "curl --fail-with-body -sS -T PACKAGE.deb" not in server.log():  # printed by a thread of its own
        assert time.monotonic() < until
        time.sleep(0.02)
    with client(server) as admin:
        repositories = admin.get("/api/v1/repos.json").json()
    server.restart()
    assert {name: (server.data / name).read_text() for name in names} == before
    with client(server) as admin:
        assert admin.get("/api/v1/repos.json").json() == repositories


def test_what_was_acknowledged_is_served_after_a_kill(server: ServerProcess) -> None:
    """Goal: 201 survives kill -9. Method: push, kill, start, read index and package."""
    content = deb_bytes("kept", "1")
    with client(server) as admin:
        admin.post("/api/v2/repos", json={"name": "acme/r"}).raise_for_status()
        assert admin.put("/acme/r/debian/bookworm/kept_1_amd64.deb", content=content).status_code == 201
        before = admin.get("/acme/r/debian/dists/bookworm/InRelease").content
        server.kill9()
        server.start()
        assert admin.get("/acme/r/debian/dists/bookworm/InRelease").content == before
        index = admin.get("/acme/r/debian/dists/bookworm/main/binary-amd64/Packages").text
        path = next(line.partition(" ")[2] for line in index.splitlines() if line.startswith("Filename:"))
        assert admin.get(f"/acme/r/debian/{path}").content == content


def test_sigterm_lets_an_upload_finish_and_ends_with_0(server: ServerProcess) -> None:
    """Goal: a stopping node says so, takes nothing new, and finishes what it holds. Method: SIGTERM in mid-body."""
    content = deb_bytes("slow", "1", files={"usr/share/x": os.urandom(3_000_000)})
    with client(server) as admin:
        admin.post("/api/v2/repos", json={"name": "acme/r"}).raise_for_status()
    server.stop()
    server.start(env={"ENTREPOT_SERVER_DRAIN_WAIT_S": "3"})
    with client(server) as admin, socket.create_connection((server.address, server.port), timeout=20) as upload:
        head = f"PUT /acme/r/debian/bookworm/slow_1_amd64.deb HTTP/1.1\r\nHost: x\r\nContent-Length: {len(content)}\r\n"
        basic = base64.b64encode(f"{server.admin_token}:".encode()).decode()
        head += f"Authorization: Basic {basic}\r\n\r\n"
        upload.sendall(head.encode() + content[:1_000_000])
        time.sleep(0.3)
        assert probe(server, "/readyz").status_code == 200
        os.kill(server.pid, signal.SIGTERM)
        time.sleep(0.3)
        assert probe(server, "/readyz").status_code == 503
        assert probe(server, "/readyz/upload").status_code == 503
        assert probe(server, "/livez").status_code == 200
        refused = admin.put("/acme/r/debian/bookworm/new_1_amd64.deb", content=deb_bytes("new", "1"))
        assert (refused.status_code, refused.json()["code"]) == (503, "stopping")
        assert int(refused.headers["retry-after"]) >= 5
        upload.sendall(content[1_000_000:])
        assert upload.recv(65536).startswith(b"HTTP/1.1 201")
    assert server.wait() == 0
    assert all(each.path.startswith("blobs/") for each in server.leftovers())


def test_probes_answer_on_their_own_port(node: ServerProcess) -> None:
    """Goal: every endpoint answers; nothing but GET is taken; metrics are Prometheus text."""
    for path in ("/livez", "/readyz", "/readyz/upload", "/statusz", "/metrics"):
        assert probe(node, path).status_code == 200, path
    status = probe(node, "/statusz").json()
    assert status["checks"]["storage"] == {"ok": True, "cause": ""}
    assert status["loop_age_s"] < 5
    assert "entrepot_requests_total" in probe(node, "/metrics").text
    assert probe(node, "/nothing").status_code == 404
    assert httpx.post(f"http://127.0.0.1:{node.port + 1}/livez", trust_env=False).status_code == 405
    with socket.create_connection(("127.0.0.1", node.port + 1), timeout=10) as connection:
        connection.sendall(b"x" * 100_000)
        assert b"200" not in connection.recv(100)
    assert probe(node, "/livez").status_code == 200


def test_one_folder_belongs_to_one_node(node: ServerProcess, tmp_path: Path) -> None:
    """Goal: a second node on the folder, a strange folder and a later format are refused with a sentence and a code."""
    program = [str(Path(sys.executable).with_name("entrepot")), "serve", "--listen", "127.0.0.1:0", "--data"]
    strange = tmp_path / "strange"
    strange.mkdir()
    (strange / "photo.jpg").touch()
    later = tmp_path / "later"
    later.mkdir()
    (later / "format").write_text("99\n")
    for folder, words in ((node.data, "is running on this data folder"), (strange, "photo.jpg"), (later, "99")):
        ended = subprocess.run([*program, str(folder)], capture_output=True, text=True, timeout=30, check=False)
        assert ended.returncode == 1
        assert words in ended.stderr
        assert "Traceback" not in ended.stderr
    assert sorted(each.name for each in strange.iterdir()) == ["lock", "photo.jpg"]
