"""From the first leaked file to its report, in a folder with 100,000 packages, and what looking for leaks costs."""

import json
import os
import random
import secrets
import statistics
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.bed import Context, filled, server
from bench.measure import Measure, at_most
from tests.support.ports import free_port
from tests.support.server import ServerProcess

LIMIT_S = 60.0
IDLE_S = 60.0
_HOLD = """
import os, sys, time
fd = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
os.posix_fallocate(fd, 0, 1 << 20)
os.unlink(sys.argv[1])
time.sleep(3600)
"""
# The holder becomes the server's child, because the shell that started it becomes the server.
_WRAPPER = "go=$1 python=$2 code=$3 path=$4; shift 4; "
_WRAPPER += '(while ! [ -e "$go" ]; do sleep 0.1; done; exec "$python" -c "$code" "$path") & exec "$@"'


def run(context: Context) -> list[Measure]:
    """Files in every folder at moments that know nothing of the passes; a child; the idle server's CPU."""
    count = context.size(100_000, 1_000)
    rounds = context.size(6, 2)
    with filled(context, "deb", count) as made:
        data, port = made.path / "data", free_port()
        go = context.work / f"go-{port}"
        env = {"ENTREPOT_SERVER_ADMIN_LISTEN": f"127.0.0.1:{port}"}
        prefix = ["sh", "-c", _WRAPPER, "sh", str(go), sys.executable, _HOLD, str(data / "child-lost")]
        with server(data, env=env, create=False, prefix=prefix) as running:
            _wait(port, lambda status: status["volumes"][0]["known_bytes"] > 0, 600)
            files = [_report_s(data, port, number) for number in range(rounds)]
            go.touch()
            child = _named_s(port, str(data / "child-lost"), time.perf_counter())
            go.unlink()
            before = _cpu_s(running)
            time.sleep(IDLE_S)
            idle = (_cpu_s(running) - before) / IDLE_S * 100
    slowest = max(max(each) for each in files)
    median = statistics.median(second for each in files for second in each)
    note = f"median {median:.1f} s of {len(files) * len(files[0])} files in every folder"
    return [
        at_most(f"first leaked file to report, {count:,} packages, slowest", "s", slowest, LIMIT_S, note),
        at_most("a child's deleted file to report", "s", child, LIMIT_S),
        at_most("CPU of the idle server, leak accounting included", "%", idle, 5),
    ]


def _report_s(data: Path, port: int, number: int) -> list[float]:
    """Leak a file of each kind; seconds until each is named."""
    chance = random.Random(number)
    time.sleep(chance.uniform(0, 12))
    shard = f"{chance.randrange(256):02x}"
    places = [
        f"core.{number}", f"blobs/stray{number}", f"blobs/{shard}/stray{number}", f"incoming/stray{number}",
        f"blobs/{shard}/{shard}{secrets.token_hex(15)}", f"incoming/{secrets.token_hex(16)}",
    ]  # fmt: skip
    started = time.perf_counter()
    for place in places:
        (data / place).write_bytes(b"x" * 100_000)
    found = [_named_s(port, place, started) for place in places]
    for place in places:
        (data / place).unlink(missing_ok=True)
    return found


def _named_s(port: int, path: str, started: float) -> float:
    _wait(port, lambda status: path in {each["path"] for each in status["leaks"]}, 2 * LIMIT_S)
    return time.perf_counter() - started


def _wait(port: int, what: Callable[[dict[str, Any]], bool], timeout_s: float) -> None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    end = time.monotonic() + timeout_s
    while not what(json.load(opener.open(f"http://127.0.0.1:{port}/statusz", timeout=10))):
        if time.monotonic() > end:
            raise AssertionError(f"not reported after {timeout_s} s")
        time.sleep(0.1)


def _cpu_s(running: ServerProcess) -> float:
    """CPU seconds of the server's own process so far."""
    assert running.process is not None
    fields = Path(f"/proc/{running.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
