"""Conditional InRelease requests each second, as apt sends them, while a client uploads without pause."""

import re
import subprocess
import threading
from pathlib import Path

from bench import synthetic
from bench.bed import REPOSITORY, Context, package_path, server, volume
from bench.measure import Measure, at_least, at_most, median, shown
from bench.push import Client
from tests.support.server import ServerProcess

CONNECTIONS = 16
SCRIPT = """\
wrk.headers["If-Modified-Since"] = "{date}"
wrk.headers["Cache-Control"] = "max-age=0"
wrk.headers["User-Agent"] = "Debian APT-HTTP/1.3 (2.6.1)"
done = function(summary, latency, requests)
    local errors = summary.errors
    local bad = errors.connect + errors.read + errors.write + errors.status + errors.timeout
    io.write(string.format("RATE %f P99 %f MAX %f BAD %d\\n",
        summary.requests / summary.duration * 1e6, latency:percentile(99) / 1000, latency.max / 1000, bad))
end
"""


def run(context: Context) -> list[Measure]:
    """Rounds with uploads, and one without them for comparison."""
    seconds = context.size(15, 5)
    with volume(context) as made, server(made.path / "data") as running:
        _push(running, 0, "~first")
        quiet = _wrk(context, running, seconds)
        rates: list[float] = []
        slow: list[float] = []
        pushed: list[int] = []
        bad = 0
        for round_number in range(context.size(3, 2)):
            stop = threading.Event()
            count = [0]
            pusher = threading.Thread(target=_push_on, args=(running, stop, count, f"~r{round_number}"))
            pusher.start()
            found = _wrk(context, running, seconds)
            stop.set()
            pusher.join()
            rates.append(found[0])
            slow.append(found[1])
            pushed.append(count[0])
            bad += int(found[2])
    beside = f"{median([count / seconds for count in pushed]):.0f} uploads a second beside them"
    return [
        at_least("conditional InRelease requests while uploads run", "/s", median(rates), 2000, beside),
        at_most("the same, 99th percentile", "ms", median(slow), 20),
        at_most("the same, failed requests", "", bad, 0),
        shown("requests without uploads", "/s", quiet[0]),
        shown("the same, 99th percentile", "ms", quiet[1]),
    ]


def _push(running: ServerProcess, number: int, suffix: str) -> None:
    item = synthetic.deb(number, suffix=suffix)
    with Client.of(running) as client:
        client.put(package_path("deb", item.filename), item.content)


def _push_on(running: ServerProcess, stop: threading.Event, count: list[int], suffix: str) -> None:
    with Client.of(running) as client:
        while not stop.is_set():
            item = synthetic.deb(count[0], suffix=suffix)
            client.put(package_path("deb", item.filename), item.content)
            count[0] += 1


def _wrk(context: Context, running: ServerProcess, seconds: int) -> tuple[float, float, float]:
    """(requests a second, 99th percentile in ms, failed requests)."""
    path = f"/{REPOSITORY}/debian/dists/bookworm/InRelease"
    with Client.of(running) as client:
        date = client.request("GET", path)[1]["last-modified"]
    script: Path = context.work / "conditional.lua"
    script.write_text(SCRIPT.format(date=date))
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "-s", str(script), running.url + path]
    output = subprocess.run(command, capture_output=True, text=True, check=True, timeout=seconds + 60).stdout
    script.unlink()
    found = re.search(r"RATE (\S+) P99 (\S+) MAX (\S+) BAD (\d+)", output)
    assert found is not None, output
    return float(found[1]), float(found[2]), float(found[4])
