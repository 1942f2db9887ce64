"""The one line of each request, and a standard output that nobody reads."""

import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.disk.mounts import needs_root, tmpfs
from tests.support.deb import deb_bytes
from tests.support.ports import free_port
from tests.support.process import kill_group, without_proxies
from tests.support.server import ServerProcess
from tests.web.conftest import ENV, basic, make_repository, raw_request, sample, wait_until

PIPE_BYTES = 4096  # the smallest that Linux makes
LINE_BYTES_MIN = 250


def lines(text: str, path: str) -> list[dict[str, Any]]:
    """The request lines of one path."""
    found = (json.loads(line) for line in text.splitlines() if line.startswith("{"))
    return [each for each in found if each["event"] == "request" and each["path"] == path]


def test_a_request_is_one_line_that_says_everything(server: ServerProcess, admin: httpx.Client) -> None:
    """Goal: one line tells who sent what where, how it ended and what was lacking. Method: a push, and its line in the
    real server's output.
    """
    name = make_repository(admin)
    package = deb_bytes("hello", "1.0")
    path = f"/{name}/debian/bookworm/hello_1.0_amd64.deb"
    assert admin.put(path, content=package).status_code == 201
    wait_until(lambda: bool(lines(server.log(), path)))
    (line,) = lines(server.log(), path)
    assert (line["route"], line["status"], line["code"], line["repository"]) == ("put", 201, "ok", name)
    assert (line["bytes_in"], line["token_id"], line["token_name"]) == (len(package), 1, "admin")
    assert line["ms"] > 0
    assert line["request_id"]
    assert "volume" not in line


@needs_root
def test_a_refusal_for_lack_of_room_names_the_volume(tmp_path: Path) -> None:
    """Goal: the line of a refused upload says which volume lacked how much. Method: a push that is larger than a small
    tmpfs; its line and the answer name the same numbers.
    """
    path = "/admin/main/debian/bookworm/large_1.0_amd64.deb"
    with (
        tmpfs(tmp_path / "disk", size_bytes=96 << 20) as disk,
        ServerProcess(disk / "data", env=ENV, log_path=tmp_path / "log") as running,
    ):
        head = f"PUT {path} HTTP/1.1\r\nHost: x\r\nAuthorization: {basic(running.admin_token)}\r\n"
        wanted = f"Expect: 100-continue\r\nContent-Length: {200 << 20}\r\n\r\n"
        answer = json.loads(raw_request(running, (head + wanted).encode()).partition(b"\r\n\r\n")[2])
        wait_until(lambda: bool(lines(running.log(), path)))
        (line,) = lines(running.log(), path)
        assert answer["code"] == line["code"] == "too_large_for_volume"
        assert line["volume"] == answer["volume"]
        assert line["needed_bytes"] == answer["needed_bytes"] > 200 << 20


def test_upload_answers_count_refusals_before_the_body(server: ServerProcess, admin: httpx.Client) -> None:
    """Goal: the objective for uploads sees requests that never came to a body. Method: a push without a token; the
    counter on the admin address.
    """
    name = make_repository(admin)
    before = sample(server, 'entrepot_upload_answers_total{code="token_missing",status="4xx"}')
    with httpx.Client(base_url=server.url, trust_env=False) as anybody:
        assert anybody.put(f"/{name}/debian/bookworm/x_1_all.deb", content=b"x").status_code == 401
    assert sample(server, 'entrepot_upload_answers_total{code="token_missing",status="4xx"}') == before + 1
    assert sample(server, "entrepot_publication_lag_seconds") < 60


@contextmanager
def unread_server(data: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """A server whose standard output is a pipe that the test reads when it wants to; the process and its URL."""
    port = free_port()
    program = str(Path(sys.executable).with_name("entrepot"))
    command = [program, "serve", "--data", str(data), "--listen", f"127.0.0.1:{port}"]
    # As a service starts it: standard output with a buffer, and the lock of that buffer.
    environment = without_proxies({**os.environ, **ENV})
    environment.pop("PYTHONUNBUFFERED", None)
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, env=environment, start_new_session=True
    )
    with process:  # closes the pipe
        assert process.stdout is not None
        fcntl.fcntl(process.stdout, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        try:
            yield process, f"http://127.0.0.1:{port}"
        finally:
            kill_group(process.pid)


def overflow(client: httpx.Client, url: str) -> int:
    """Requests until their lines fill a pipe and more; how many. Each gets its answer."""
    wait_until(lambda: _answers(client, url), 60)
    count = 4 * PIPE_BYTES // LINE_BYTES_MIN
    for number in range(count):
        assert client.get(f"{url}/acme/{'long' * 12}/x{number}").status_code == 401
    return count


def _answers(client: httpx.Client, url: str) -> bool:
    try:
        return client.get(f"{url}/livez").status_code == 200
    except httpx.TransportError:
        return False


def test_an_output_that_nobody_reads_blocks_nothing(tmp_path: Path) -> None:
    """Goal: a log collector that hangs stops neither requests nor probes nor the stop. Method: standard output is a
    pipe that is not read; requests until it overflows; probes; SIGTERM.
    """
    with unread_server(tmp_path / "data") as (process, url), httpx.Client(timeout=30, trust_env=False) as client:
        overflow(client, url)
        admin = f"http://127.0.0.1:{int(url.rpartition(':')[2]) + 1}"
        assert client.get(f"{admin}/readyz").status_code == 200
        os.kill(process.pid, signal.SIGTERM)
        assert process.wait(60) == 0


def test_lines_flow_again_when_somebody_reads(tmp_path: Path) -> None:
    """Goal: what was queued while the collector hung is written once it reads. Method: as above, then read it all."""
    with unread_server(tmp_path / "data") as (process, url), httpx.Client(timeout=30, trust_env=False) as client:
        count = overflow(client, url)
        stream = process.stdout
        assert stream is not None
        found: list[bytes] = []
        reader = threading.Thread(target=lambda: found.extend(stream))
        reader.start()
        wait_until(lambda: sum(b"/long" in each for each in found) == count, 60)
        os.kill(process.pid, signal.SIGTERM)
        assert process.wait(60) == 0
        reader.join(30)
