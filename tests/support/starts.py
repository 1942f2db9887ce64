"""Starts of the real `entrepot serve` by the dozen, that cost no imports, for tests that look at how each ends.

Each has a process group, a log and ports of its own; whatever it left running ends with :meth:`Start.end`.
"""

import contextlib
import random
import shutil
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.forker import LIMIT_S, Forked, Forker
from tests.support.process import kill_group
from tests.support.server import CALM, UNWATCHED

READY = "is ready: "
PLAIN_ENV = {
    **CALM,
    **UNWATCHED,
    "ENTREPOT_SIGNING_DEFAULT_ALGORITHM": "ed25519",
    "ENTREPOT_SIGNING_SPARE_KEYS": "0",
    "ENTREPOT_SERVER_DRAIN_WAIT_S": "0",
    "ENTREPOT_UPLOAD_INSPECTION_PROCESSES": "1",
}


class Starts(Forker):
    """First starts, and broken ones, by the dozen. A context manager."""

    def __init__(self) -> None:
        super().__init__()
        self._count = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def begin(
        self, data: Path, *args: str, fault: str = "", env: Mapping[str, str] | None = None, admin_port: int = 0
    ) -> "Start":
        """`entrepot serve --data DATA …`; ``fault`` as ENTREPOT_FAULT."""
        self._count += 1
        port = _port()
        command = ["serve", "--data", str(data), "--listen", f"127.0.0.1:{port}"]
        command += ["--admin-listen", f"127.0.0.1:{admin_port or port + 1}", *args]
        log = data.parent / f"{data.name}.start{self._count}.log"
        log.touch(mode=0o600)
        return Start(self.fork(command, {**PLAIN_ENV, **(env or {})}, log, fault), port, log)


class Start:
    """One start. A context manager that ends it."""

    def __init__(self, process: Forked, port: int, log_path: Path) -> None:
        self._process = process
        self.pid = process.pid
        self.url = f"http://127.0.0.1:{port}"
        self.log_path = log_path

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    @property
    def log(self) -> str:
        """Both outputs until now."""
        return self.log_path.read_text(errors="replace")

    @property
    def exit_code(self) -> int | None:
        """Of one that was seen to end."""
        return self._process.returncode

    @property
    def ready(self) -> bool:
        """Whether it said so."""
        return READY in self.log

    def wait_logged(self, text: str) -> None:
        """Wait until the log holds a text: its lines are written by a thread of their own."""
        deadline = time.monotonic() + LIMIT_S
        while text not in self.log:
            assert time.monotonic() < deadline, f"not logged: {text}\n{self.log}"
            time.sleep(0.01)

    def settle(self) -> int | None:
        """Wait until it is ready or has ended: None, or the exit code, negative for a signal's number."""
        deadline = time.monotonic() + LIMIT_S
        while self._process.poll() is None and not self.ready:
            assert time.monotonic() < deadline, f"neither ready nor ended: {self.log}"
            time.sleep(0.01)
        return self.exit_code

    def end(self) -> None:
        """Kill what still runs of it."""
        if self._process.poll() is None:
            kill_group(self.pid)
            self._process.wait()
        kill_group(self.pid)


def _port() -> int:
    """A port that is free, and the next one too. Not one that the system gives to clients of its own choice: of
    hundreds of starts one would find its port taken.
    """
    while True:
        port = random.randrange(10_000, 30_000, 2)
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            for number in (port, port + 1):
                stack.enter_context(socket.create_server(("127.0.0.1", number)))
            return port


def copied(used: Path, target: Path) -> Path:
    """A copy of the data folder of a server that does not run."""
    return Path(shutil.copytree(used, target))
