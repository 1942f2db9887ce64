"""``git clone`` to the first ``apt-get install``: commands and minutes.

The commands are those of the README and of the server's first start, run one after the other; only apt works on a root
of its own, and the port is a free one.
"""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.bed import ROOT, Context, volume
from bench.measure import Measure, at_most, shown
from tests.support.apt import AptRoot
from tests.support.deb import write_deb
from tests.support.ports import free_port, wait_for_port
from tests.support.process import kill_group
from tests.support.process import run as execute

COMMANDS_MAX, MINUTES_MAX = 10, 5.0
SETUP_LIMIT_S = 900.0
# pip may need a proxy; what talks to the server must not use it.
ENVIRONMENT = {**os.environ, "no_proxy": "127.0.0.1"}


def run(context: Context) -> list[Measure]:
    """Once: what a stranger does is not repeated either."""
    with volume(context) as made:
        return _first_steps(made.path)


def _first_steps(folder: Path) -> list[Measure]:
    package = write_deb(folder, "hello-entrepot")  # without dependencies, which the empty root could not give it
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    clone = folder / "entrepot"
    repository = "admin/main"
    commands: list[str] = []

    def shell(command: str) -> None:
        commands.append(command)
        where = clone if clone.is_dir() else folder
        execute(["sh", "-ec", command], cwd=where, timeout_s=SETUP_LIMIT_S, env=ENVIRONMENT)

    started = time.perf_counter()
    shell(f"git clone --quiet {ROOT} entrepot")
    commands.append("cd entrepot")
    commands.append("make run")
    with _make_run(clone, port):
        ready = time.perf_counter()
        shell(f"curl -fsS -T {package} -u $(cat data/admin-token): {url}/{repository}/debian/bookworm/")
        root = AptRoot(folder / "root", "")
        keyring = root.root / "entrepot.asc"
        shell(f"curl -fsSL {url}/{repository}/gpgkey -o {keyring}")
        commands.append("write /etc/apt/sources.list.d/entrepot.sources")
        root.write_sources(f"Types: deb\nURIs: {url}/{repository}/debian/\nSuites: bookworm\nComponents: main\n")
        source = next((root.root / "etc/apt/sources.list.d").iterdir())
        source.write_text(source.read_text().rstrip("\n") + f"\nSigned-By: {keyring}\n")
        commands.append("apt-get update")
        root.update()
        commands.append("apt-get install")
        root.install("hello-entrepot")
        minutes = (time.perf_counter() - started) / 60
    return [
        at_most("git clone to the first apt-get install: commands", "", len(commands), COMMANDS_MAX),
        at_most("git clone to the first apt-get install", "min", minutes, MINUTES_MAX),
        shown("of which until the server answers", "min", (ready - started) / 60),
    ]


@contextmanager
def _make_run(clone: Path, port: int) -> Iterator[None]:
    log = clone.with_suffix(".log")
    with log.open("wb") as output:
        process = subprocess.Popen(
            ["make", "run", f"LISTEN=127.0.0.1:{port}"],
            cwd=clone,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=ENVIRONMENT,
            start_new_session=True,
        )
    try:
        wait_for_port("127.0.0.1", port, SETUP_LIMIT_S)
        yield
    finally:
        kill_group(process.pid, signal.SIGTERM)
        process.wait(60)
