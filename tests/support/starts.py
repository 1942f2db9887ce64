"""Starts of the real `entrepot serve` that cost no imports: one process imports everything, and forks for each.

For tests that start a server dozens of times and look at how that ends. Each start has a process group, a log and ports
of its own; whatever it left running ends with :meth:`Start.end`.
"""

import contextlib
import ctypes
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.support.process import kill_group, without_proxies
from tests.support.server import CALM, UNWATCHED

LIMIT_S = 90.0
PR_SET_PDEATHSIG = 1
READY = "is ready: "
PLAIN_ENV = {
    **CALM,
    **UNWATCHED,
    "ENTREPOT_SIGNING_DEFAULT_ALGORITHM": "ed25519",
    "ENTREPOT_SIGNING_SPARE_KEYS": "0",
    "ENTREPOT_SERVER_DRAIN_WAIT_S": "0",
    "ENTREPOT_UPLOAD_INSPECTION_PROCESSES": "1",
}


class Starts:
    """The process that forks. A context manager."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.starts"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=without_proxies({**os.environ, "PYTHONUNBUFFERED": "1"}),
            text=True,
        )
        self._count = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.communicate()  # the end of its input ends it

    def ask(self, **asked: object) -> Any:
        """One question to the process, and its answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

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
        pid = self.ask(begin=command, fault=fault, env={**PLAIN_ENV, **(env or {})}, log=str(log))
        return Start(self, pid, port, log)


class Start:
    """One start. A context manager that ends it."""

    def __init__(self, starts: Starts, pid: int, port: int, log_path: Path) -> None:
        self._starts = starts
        self.pid = pid
        self.url = f"http://127.0.0.1:{port}"
        self.log_path = log_path
        self.exit_code: int | None = None

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
        while self._poll() is None and not self.ready:
            assert time.monotonic() < deadline, f"neither ready nor ended: {self.log}"
            time.sleep(0.01)
        return self.exit_code

    def _poll(self) -> int | None:
        if self.exit_code is None:
            self.exit_code = self._starts.ask(poll=self.pid)
        return self.exit_code

    def end(self) -> None:
        """Kill what still runs of it."""
        if self._poll() is None:
            kill_group(self.pid)
            while self._poll() is None:
                time.sleep(0.005)
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


def _child(asked: Mapping[str, Any]) -> None:
    """Run the program as its own command line does, in a forked process. Does not return."""
    code = 1
    try:
        os.setsid()
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # a test run that is killed leaves nothing running
        log = os.open(asked["log"], os.O_WRONLY | os.O_APPEND)
        null = os.open(os.devnull, os.O_RDONLY)
        for number, fd in ((0, null), (1, log), (2, log)):
            os.dup2(fd, number)
        for fd in (log, null):
            os.close(fd)
        os.environ.update(asked["env"])
        code = _serve(asked["begin"], asked["fault"])
    except BaseException:
        traceback.print_exc()
    with contextlib.suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def _serve(command: Sequence[str], fault: str) -> int:
    from entrepot.cli.main import app_main
    from entrepot.disk import faults, fs

    if fault:
        fs.set_hook(faults.parse(fault))
    sys.argv = ["entrepot", *command]
    try:
        app_main()
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    return 0


def main() -> None:
    """Answer questions until there are no more."""
    import entrepot.cli.serve  # noqa: F401  what each start would otherwise import

    for line in sys.stdin:
        asked = json.loads(line)
        if "begin" in asked:
            pid = os.fork()
            if pid == 0:
                _child(asked)
            answer: int | None = pid
        else:
            pid, status = os.waitpid(asked["poll"], os.WNOHANG)
            answer = os.waitstatus_to_exitcode(status) if pid else None
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
