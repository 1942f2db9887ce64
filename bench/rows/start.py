"""Start of the server to its first answer; the CLI's ``--help``."""

import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from bench.bed import Context, filled, volume
from bench.measure import Measure, at_most, median
from bench.timing import seconds
from tests.support.server import ServerProcess


def run(context: Context) -> list[Measure]:
    """A new folder, a folder with 100,000 packages, and the CLI."""
    rounds = context.size(5, 3)
    count = context.size(100_000, 1_000)
    fresh: list[float] = []
    full: list[float] = []
    with volume(context) as made:
        for number in range(rounds):
            fresh.append(_start(made.path / f"data{number}"))
    with filled(context, "deb", count) as made:
        for _ in range(rounds):
            full.append(_start(made.path / "data"))
    program = Path(sys.executable).with_name("entrepot")
    shown_help = [
        seconds(lambda: subprocess.run([program, "--help"], check=True, stdout=subprocess.DEVNULL))
        for _ in range(context.size(15, 5))
    ]
    return [
        at_most("start to first answer, new folder", "s", median(fresh), 2),
        at_most(f"start to first answer, {count:,} packages", "s", median(full), 2),
        at_most("entrepot --help", "s", median(shown_help), 0.3),
    ]


def _start(data: Path) -> float:
    running = ServerProcess(data, calm=False)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    started = time.perf_counter()
    running.start(wait=False)
    try:
        while True:
            try:
                opener.open(f"{running.url}/livez", timeout=2).read()
                break
            except (OSError, urllib.error.URLError):
                assert running.poll() is None, running.log_tail()
                time.sleep(0.005)
        return time.perf_counter() - started
    finally:
        running.kill9()
        running.log_path.unlink(missing_ok=True)
