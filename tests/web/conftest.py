"""A running server for the tests of its HTTP surface."""

import base64
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.server import ServerProcess

ENV = {
    "ENTREPOT_SIGNING_DEFAULT_ALGORITHM": "ed25519",
    "ENTREPOT_SIGNING_SPARE_KEYS": "1",
    "ENTREPOT_SERVER_DRAIN_WAIT_S": "0",
    "ENTREPOT_UPLOAD_INSPECTION_PROCESSES": "1",
}


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """One server for all tests of a worker; each test makes its own repositories."""
    data: Path = tmp_path_factory.mktemp("server") / "data"
    with ServerProcess(data, env=ENV) as running:
        yield running


@pytest.fixture
def admin(server: ServerProcess) -> Iterator[httpx.Client]:
    """A client with the administrator's token."""
    with httpx.Client(base_url=server.url, auth=(server.admin_token, ""), timeout=30, trust_env=False) as client:
        yield client


@pytest.fixture
def anybody(server: ServerProcess) -> Iterator[httpx.Client]:
    """A client without a token."""
    with httpx.Client(base_url=server.url, timeout=30, trust_env=False) as client:
        yield client


_made = 0


def make_repository(admin: httpx.Client, *, private: bool = False, owner: str = "acme") -> str:
    """A new repository of its own; its ``USER/REPO``."""
    global _made
    _made += 1
    name = f"{owner}/repo{_made}"
    admin.post("/api/v2/repos", json={"name": name, "private": private}).raise_for_status()
    return name


def make_token(
    admin: httpx.Client,
    role: str,
    *,
    owner: str = "acme",
    repositories: list[str] | None = None,
    lives_s: int | None = None,
) -> str:
    """The text of a new token."""
    body = {
        "name": f"{role}-token",
        "role": role,
        "owner": owner,
        "repositories": repositories,
        "expires_in_s": lives_s,
    }
    answer = admin.post("/api/v2/tokens", json=body)
    answer.raise_for_status()
    return str(answer.json()["token"])


def sample(server: ServerProcess, series: str) -> float:
    """One series of /metrics; 0 when it is not there yet."""
    text = httpx.get(f"http://{server.address}:{server.port + 1}/metrics", timeout=30, trust_env=False).text
    return next((float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(series + " ")), 0.0)


def basic(token: str) -> str:
    """The Authorization header of a token as Basic user name."""
    return "Basic " + base64.b64encode(f"{token}:".encode()).decode()


def raw_request(server: ServerProcess, data: bytes, timeout_s: float = 20.0) -> bytes:
    """Send everything, only then read to the end of the answer (or of the connection)."""
    with socket.create_connection((server.address, server.port), timeout=timeout_s) as connection:
        connection.sendall(data)
        answer = b""
        while b"\r\n\r\n" not in answer or len(answer.partition(b"\r\n\r\n")[2]) < _length(answer):
            piece = connection.recv(65536)
            if not piece:
                break
            answer += piece
        return answer


def _length(answer: bytes) -> int:
    for line in answer.partition(b"\r\n\r\n")[0].lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line.partition(b":")[2])
    return 0


def wait_until(condition: Callable[[], bool], timeout_s: float = 15.0) -> None:
    """Return once ``condition`` holds; AssertionError after ``timeout_s`` seconds."""
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "the condition did not come true in time"
        time.sleep(0.05)
