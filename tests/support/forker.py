"""The program started without its imports: one process imports everything, and forks for each start.

`python -m tests.support.forker [MODULE]` answers questions, a line of JSON each, until its input ends.
"""

import contextlib
import ctypes
import importlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.support.process import without_proxies

LIMIT_S = 90.0
PR_SET_PDEATHSIG = 1


class Forker:
    """The process that forks. ``module`` names one of the tests' own whose `prepare` runs before anything of the server
    is imported, and whose `begin` runs in each fork; ``env`` is added to the environment for `prepare`.
    """

    def __init__(self, module: str = "", env: Mapping[str, str] | None = None) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.forker", *([module] if module else [])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=without_proxies({**os.environ, "PYTHONUNBUFFERED": "1", **(env or {})}),
            text=True,
        )
        self._lock = threading.Lock()

    def ask(self, **asked: object) -> Any:
        """One question to the process, and its answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with self._lock:
            self._process.stdin.write(json.dumps(asked) + "\n")
            self._process.stdin.flush()
            return json.loads(self._process.stdout.readline())

    def fork(self, args: Sequence[str], env: Mapping[str, str], log: Path, fault: str = "") -> "Forked":
        """`entrepot ARGS…` with ``env`` besides, ``fault`` as ENTREPOT_FAULT, and a log that exists."""
        return Forked(self, self.ask(begin=list(args), fault=fault, env=dict(env), log=str(log)))

    def close(self) -> None:
        """End it, and with it what it forked."""
        self._process.communicate()  # the end of its input ends it


class Forked:
    """One forked process, as `subprocess.Popen` would show it."""

    def __init__(self, forker: Forker, pid: int) -> None:
        self._forker = forker
        self.pid = pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """The exit code, negative for a signal's number; None while it runs."""
        if self.returncode is None:
            self.returncode = self._forker.ask(poll=self.pid)
        return self.returncode

    def wait(self, timeout: float = LIMIT_S) -> int:
        """Wait for the end. Raises subprocess.TimeoutExpired."""
        deadline = time.monotonic() + timeout
        while (code := self.poll()) is None:
            if time.monotonic() >= deadline:
                raise subprocess.TimeoutExpired(f"pid {self.pid}", timeout)
            time.sleep(0.005)
        return code


def _child(asked: Mapping[str, Any], begin: Callable[[], None] | None) -> None:
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
        if begin is not None:
            begin()
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
    begin: Callable[[], None] | None = None
    if sys.argv[1:]:
        module = importlib.import_module(sys.argv[1])
        module.prepare()
        begin = module.begin
    import entrepot.cli.serve  # noqa: F401  what each start would otherwise import

    for line in sys.stdin:
        asked = json.loads(line)
        if "begin" in asked:
            pid = os.fork()
            if pid == 0:
                _child(asked, begin)
            answer: int | None = pid
        else:
            pid, status = os.waitpid(asked["poll"], os.WNOHANG)
            answer = os.waitstatus_to_exitcode(status) if pid else None
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
