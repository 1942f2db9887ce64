"""A node ends itself: real servers, a cause that stays, a supervisor of a few lines, and a volume without a byte."""

import base64
import os
import re
import signal
import socket
import time
from pathlib import Path

import httpx
import pytest

from tests.node.impatient import NEVER, command
from tests.support.builders import deb_bytes
from tests.support.server import ServerProcess
from tests.support.volumes import MIB, tmpfs

pytestmark = pytest.mark.timeout(400)

END_S_MAX = 60.0
AGE_S_MIN = 15.0
ENV = {
    "ENTREPOT_SIGNING_DEFAULT_ALGORITHM": "ed25519",
    "ENTREPOT_SIGNING_SPARE_KEYS": "0",
    "ENTREPOT_SERVER_DRAIN_WAIT_S": "0",
    "ENTREPOT_UPLOAD_INSPECTION_PROCESSES": "1",
    # A cause that no restart cures: a Python server with its libraries takes more from its first second on.
    "ENTREPOT_NODE_MEMORY_BYTES_MAX": str(64 * MIB),
}
SUPERVISED = {"ENTREPOT_NODE_SUPERVISED": "true"}


def probe(server: ServerProcess, path: str) -> httpx.Response:
    """A probe's answer from the admin address."""
    return httpx.get(f"http://127.0.0.1:{server.port + 1}{path}", trust_env=False, timeout=10)


def wait_for(what: str, holds: object, limit_s: float = END_S_MAX) -> None:
    """Return once ``holds()`` is true; AssertionError after ``limit_s``."""
    assert callable(holds)
    end = time.monotonic() + limit_s
    while not holds():
        assert time.monotonic() < end, f"not in {limit_s} s: {what}"
        time.sleep(0.05)


def begin_upload(server: ServerProcess, content: bytes, sent: int) -> socket.socket:
    """Send the head and the first bytes of an upload."""
    basic = base64.b64encode(f"{server.admin_token}:".encode()).decode()
    head = (
        f"PUT /admin/main/debian/bookworm/slow_1_amd64.deb HTTP/1.1\r\nHost: x\r\nContent-Length: {len(content)}\r\n"
        f"Authorization: Basic {basic}\r\n\r\n"
    )
    upload = socket.create_connection((server.address, server.port), timeout=END_S_MAX)
    upload.sendall(head.encode() + content[:sent])
    return upload


def upload_begun(server: ServerProcess) -> bool:
    """Whether an upload is being received."""
    return "\nentrepot_uploads_in_flight 1.0\n" in probe(server, "/metrics").text


def test_a_retiring_node_finishes_what_it_holds(tmp_path: Path) -> None:
    """Goal: the node says RECYCLE, takes nothing new, serves reads, finishes the upload in flight, and ends with 75.
    Method: the upload is held half-way over the moment of retirement.
    """
    content = deb_bytes("slow", "1", files={"usr/share/x": os.urandom(3_000_000)})
    with ServerProcess(tmp_path / "data", command=command(AGE_S_MIN=NEVER), env=ENV | SUPERVISED) as server:
        with begin_upload(server, content, 1_000_000) as upload:
            wait_for("the upload is in", lambda: upload_begun(server))
            os.kill(server.pid, signal.SIGUSR2)
            wait_for("503", lambda: probe(server, "/readyz/upload").status_code == 503)
            said = probe(server, "/readyz/upload")
            assert (said.headers["x-entrepot-state"], said.text) == ("RECYCLE", "stopping\n")
            assert probe(server, "/statusz").json()["node_state"] == "RECYCLE"
            metrics = probe(server, "/metrics").text
            assert 'entrepot_retirements_total{cause="memory"} 1.0' in metrics
            assert 'entrepot_node_state{state="RECYCLE"} 1.0' in metrics
            with httpx.Client(base_url=server.url, auth=(server.admin_token, ""), trust_env=False, timeout=30) as admin:
                refused = admin.put("/admin/main/debian/bookworm/new_1_amd64.deb", content=deb_bytes("new", "1"))
                assert (refused.status_code, refused.json()["code"]) == (503, "stopping")
                assert "retry-after" in refused.headers
                assert admin.get("/api/v1/repos.json").status_code == 200
            assert server.poll() is None
            upload.sendall(content[1_000_000:])
            assert upload.recv(65536).startswith(b"HTTP/1.1 201")
        assert server.wait(END_S_MAX) == 75
        assert all(each.path.startswith("blobs/") for each in server.leftovers())


def test_a_cause_that_stays_makes_no_loop(tmp_path: Path) -> None:
    """Goal: a node whose trouble no restart cures is started again at most once in the least age. Method: the real
    server below a supervisor of a few lines, with that age cut from ten minutes to fifteen seconds; the cause is there
    all the time.
    """
    with ServerProcess(tmp_path / "data", command=command(AGE_S_MIN=AGE_S_MIN), env=ENV | SUPERVISED) as server:
        assert server.wait(END_S_MAX) == 75
        (age_s,) = re.findall(r'"event": "retiring".*"age_s": ([\d.]+)', server.log())
        assert float(age_s) >= AGE_S_MIN
        server.start()
        wait_for("too young", lambda: "younger" in probe(server, "/statusz").json()["retirement"]["held_by"])
        assert server.stop() == 0


def test_nobody_there_nobody_ends(tmp_path: Path) -> None:
    """Goal: without a supervisor a node stays, whatever its age and trouble, and says what holds it."""
    with ServerProcess(tmp_path / "data", command=command(AGE_S_MIN=0.0), env=ENV) as server:
        wait_for("alone", lambda: "start this node" in probe(server, "/statusz").json()["retirement"]["held_by"])
        assert probe(server, "/readyz/upload").status_code == 200
        assert server.stop() == 0


@pytest.mark.fault
def test_the_way_out_needs_no_disk(tmp_path: Path) -> None:
    """Goal: a node retires, and starts again, while its volume has not one byte. Method: a tmpfs that another program
    has filled; 75, then reads and probes of the next process.
    """
    with (
        tmpfs(tmp_path / "disk", 128 * MIB) as volume,
        ServerProcess(
            volume.path / "data", command=command(AGE_S_MIN=NEVER), env=ENV | SUPERVISED, log_path=tmp_path / "log"
        ) as server,
    ):
        token = server.admin_token
        volume.fill()
        assert volume.available_bytes() == 0
        os.kill(server.pid, signal.SIGUSR2)
        assert server.wait(END_S_MAX) == 75
        volume.fill()  # the catalog's log goes with a clean end
        server.start(env={"ENTREPOT_NODE_SUPERVISED": "false"})
        said = probe(server, "/readyz/upload")
        assert (said.status_code, said.headers["x-entrepot-state"]) == (200, "READONLY")
        with httpx.Client(base_url=server.url, auth=(token, ""), trust_env=False, timeout=30) as admin:
            assert admin.get("/api/v1/repos.json").status_code == 200
        assert server.stop() == 0


def test_a_signal_counts_more_than_a_retirement(tmp_path: Path) -> None:
    """Goal: who stops a retiring node gets 0, at once: its supervisor must not start it again. Method: SIGTERM while an
    upload holds the retirement open.
    """
    settings = ENV | SUPERVISED | {"ENTREPOT_SERVER_STOP_WAIT_S": "0.2"}
    with ServerProcess(tmp_path / "data", command=command(AGE_S_MIN=NEVER), env=settings) as server:
        upload = begin_upload(server, b"x" * 1000, 10)
        wait_for("the upload is in", lambda: upload_begun(server))
        os.kill(server.pid, signal.SIGUSR2)
        wait_for("503", lambda: probe(server, "/readyz").status_code == 503)
        os.kill(server.pid, signal.SIGTERM)
        assert server.wait(END_S_MAX) == 0
        upload.close()
