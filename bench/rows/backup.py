"""Back-up of 100,000 packages beside the running server, the next one, and the way back to an `apt-get update`."""

import shutil
import subprocess
import sys
from pathlib import Path

from bench import synthetic
from bench.bed import GIB, REPOSITORY, Context, filled, package_path, server, volume
from bench.measure import Measure, at_most, median, shown
from bench.push import Client
from bench.timing import seconds
from tests.support.apt import AptRoot
from tests.support.server import ServerProcess

PROGRAM = Path(sys.executable).with_name("entrepot")
PUSHES = 100


def run(context: Context) -> list[Measure]:
    """A first back-up, three more with a hundred new packages each, a restore, and a copy of the same files."""
    count = context.size(100_000, 2_000)
    with filled(context, "deb", count) as source, volume(context, 12 * GIB) as target:
        data, dest, back = source.path / "data", target.path / "dest", target.path / "back"
        more: list[float] = []
        with server(data) as running, Client.of(running) as client:
            first = seconds(lambda: _entrepot("backup", dest, "--data", data))
            for turn in range(3):
                client.reconnect()
                for number in range(PUSHES):
                    item = synthetic.deb(number, suffix=f"~turn{turn}")
                    client.put(package_path("deb", item.filename), item.content)
                more.append(seconds(lambda: _entrepot("backup", dest, "--data", data)))
        copied = seconds(lambda: _copy(dest, target.path / "copy"))
        shutil.rmtree(target.path / "copy")
        restored = seconds(lambda: _entrepot("restore", dest, back))
        updated = seconds(lambda: _first_update(back, target.path / "apt"))
    return [
        shown(f"first back-up of {count:,} packages", "s", first),
        at_most(f"back-up with {PUSHES} new packages", "s", median(more), 30),
        shown("restore", "s", restored),
        at_most("restore to first apt-get update, less a copy (cp -a, sync)", "s", restored + updated - copied, 300),
        shown("the copy", "s", copied),
    ]


def _entrepot(*words: str | Path) -> None:
    subprocess.run([PROGRAM, *words, "--json"], check=True, stdout=subprocess.DEVNULL)


def _copy(source: Path, target: Path) -> None:
    subprocess.run(["cp", "-a", source, target], check=True)
    subprocess.run(["sync", "-f", target], check=True)


def _first_update(data: Path, folder: Path) -> None:
    """Start a server on the folder and have apt read its index."""
    running = ServerProcess(data, calm=False)
    running.start()
    try:
        with Client.of(running) as client:
            key = folder.with_suffix(".asc")
            key.write_bytes(client.request("GET", f"/{REPOSITORY}/gpgkey")[2])
        source = f"deb [signed-by={key}] {running.url}/{REPOSITORY}/debian bookworm main"
        AptRoot(folder, source, timeout_s=300.0).update()
    finally:
        running.kill9()
        running.log_path.unlink(missing_ok=True)
