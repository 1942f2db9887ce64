"""The real HAProxy, with the file that docs/load-balancer.md shows, in front of two real servers."""

import os
import re
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.support.ports import free_port, wait_for_port
from tests.support.process import kill_group
from tests.support.server import ServerProcess
from tests.support.volumes import MIB, tmpfs

pytestmark = [pytest.mark.timeout(400), pytest.mark.clients]

PAGE = Path(__file__).resolve().parents[2] / "docs" / "load-balancer.md"
LIMIT_S = 90.0
ENV = {
    "ENTREPOT_SIGNING_DEFAULT_ALGORITHM": "ed25519",
    "ENTREPOT_SIGNING_SPARE_KEYS": "0",
    "ENTREPOT_UPLOAD_INSPECTION_PROCESSES": "1",
    "ENTREPOT_DISK_LEAVE_S": "0",
    "ENTREPOT_SERVER_DRAIN_WAIT_S": "600",
}


def node(data: Path, agent_port: int) -> ServerProcess:
    """A server with an agent-check; its log lies beside nothing that is full."""
    log_path = data.parent.with_name(data.parent.name + ".log")
    return ServerProcess(data, env=ENV | {"ENTREPOT_SERVER_AGENT_LISTEN": f"127.0.0.1:{agent_port}"}, log_path=log_path)


@contextmanager
def haproxy(folder: Path, nodes: list[tuple[ServerProcess, int]]) -> Iterator[str]:
    """HAProxy with the page's file: only addresses and ports differ, and each answer says which node gave it."""
    shown = re.search(r"^```haproxy\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert shown is not None
    port = free_port()
    text = shown[1].replace("bind :8080", f"bind 127.0.0.1:{port}\n    http-response set-header X-Node %s")
    for number, (server, agent_port) in enumerate(nodes, 1):
        text = text.replace(
            f"node{number}.example.org:8420 port 8421", f"127.0.0.1:{server.port} port {server.port + 1}"
        )
        text = re.sub(rf"(server node{number} .*agent-port) 8422", rf"\g<1> {agent_port}", text)
    (folder / "haproxy.cfg").write_text(text)
    program = shutil.which("haproxy") or "/usr/sbin/haproxy"
    with (folder / "haproxy.log").open("ab") as log:
        running = subprocess.Popen(
            [program, "-db", "-f", folder / "haproxy.cfg"], stdout=log, stderr=log, start_new_session=True
        )
    try:
        wait_for_port("127.0.0.1", port, LIMIT_S)
        yield f"http://127.0.0.1:{port}"
    finally:
        kill_group(running.pid, signal.SIGTERM)
        running.wait(30)


def who(url: str, method: str, times: int = 100) -> Counter[str]:
    """Which node answers how many of so many requests; ``none`` is HAProxy itself."""
    found: Counter[str] = Counter()
    with httpx.Client(trust_env=False, timeout=30) as client:
        for _ in range(times):
            found[client.request(method, f"{url}/admin/main/debian/dists/x").headers.get("x-node", "none")] += 1
    return found


def until(url: str, what: str, low: float, high: float, *, method: str = "PUT") -> Counter[str]:
    """Wait until node2's share of uploads (GET: of reads) lies between two figures; the last count."""
    end = time.monotonic() + LIMIT_S
    while True:
        counts = who(url, method)
        if low <= counts["node2"] <= high and counts["none"] == 0:
            return counts
        assert time.monotonic() < end, f"{what}: {counts}"
        time.sleep(0.2)


@pytest.mark.fault
def test_traffic_follows_the_room(tmp_path: Path) -> None:
    """Goal: uploads leave a node whose volume is full, all but one in a hundred, while its reads go on; they come back
    with the room; and a stopping node gets none at all. Method: two real servers, one on a small tmpfs that is filled
    and emptied; requests that need no token tell who got them.
    """
    agents = (free_port(), free_port())
    with (
        tmpfs(tmp_path / "one", 256 * MIB) as _first,
        tmpfs(tmp_path / "two", 256 * MIB) as second,
        node(tmp_path / "one" / "data", agents[0]) as one,
        node(tmp_path / "two" / "data", agents[1]) as two,
        haproxy(tmp_path, [(one, agents[0]), (two, agents[1])]) as url,
    ):
        until(url, "both are well", 40, 60)
        filler = second.fill()
        until(url, "the full one loses its uploads", 0, 3)
        reads = who(url, "GET")
        assert 40 <= reads["node2"] <= 60, f"reads left it too: {reads}"
        filler.unlink()
        until(url, "they come back with the room", 40, 60)
        os.kill(two.pid, signal.SIGTERM)  # drains for ten minutes: its port stays open
        until(url, "a stopping node gets none", 0, 0)
        until(url, "nor a read", 0, 0, method="GET")
