"""Start the real server as a process, watch what it holds, kill it in every way, and list what it leaves behind."""

import contextlib
import os
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.forker import Forked
from tests.support.ports import free_port
from tests.support.process import kill_group, without_proxies

MIB = 1 << 20
START_LIMIT_S = 60.0
STOP_LIMIT_S = 30.0
POLL_INTERVAL_S = 0.02
LOG_TAIL_BYTES = 16_384
PASS_ON = 'exec env LISTEN_PID=$$ LISTEN_FDS=1 "$@" 3<&{0}'
LEFTOVER_FOLDERS = ("blobs", "incoming")
# What a node does by itself would stand among what a test counts.
CALM = {"ENTREPOT_CANARY_INTERVAL_S": "0"}
# On the volume that the machine keeps everything on: how full that happens to be must decide no test, and each server
# would take a gigabyte of it as ballast. A volume that a test made for itself is watched as shipped.
UNWATCHED = {
    **{f"ENTREPOT_DISK_{state}_BYTES_MAX": str(MIB) for state in ("PRESSURE", "SHED", "READONLY")},
    **{f"ENTREPOT_DISK_{state}_INODES_PERCENT": "0" for state in ("PRESSURE", "SHED", "READONLY")},
    "ENTREPOT_DISK_BALLAST_BYTES": "0",
}

Process = subprocess.Popen[bytes] | Forked

recent_servers: list["ServerProcess"] = []  # those that the running test made; the plugin empties it
live_servers: "weakref.WeakSet[ServerProcess]" = weakref.WeakSet()


def _calm(data: Path) -> Mapping[str, str]:
    folder = next(each for each in (data, *data.parents) if each.exists())
    is_ours = folder.stat().st_dev != Path(tempfile.gettempdir()).stat().st_dev
    return CALM if is_ours else {**CALM, **UNWATCHED}


@dataclass(frozen=True, slots=True, order=True)
class Leftover:
    """Something that takes space: a file below the data folder, or a deleted file that the process holds open."""

    path: str
    size_bytes: int
    deleted: bool = False


def process_tree(pid: int) -> list[int]:
    """A process and all its descendants that are alive."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                if fields[0] != "Z":
                    children.setdefault(int(fields[1]), []).append(int(entry.name))
    found, queue = [], [pid]
    while queue:
        current = queue.pop()
        found.append(current)
        queue += children.get(current, [])
    return found


def status_sum(pids: Sequence[int], key: str) -> int:
    """Sum of a number in /proc/PID/status over processes; processes that just ended count nothing."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{pid}/status").read_text().splitlines():
                if line.startswith(key + ":"):
                    total += int(line.split()[1])
    return total


def open_files(pid: int) -> dict[int, str]:
    """Target of each open descriptor of a process."""
    found = {}
    with contextlib.suppress(OSError):
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                found[int(entry.name)] = str(entry.readlink())
    return found


class ServerProcess:
    """`entrepot serve` in a process group of its own.

    `command` replaces the program (the arguments `serve --data … --listen … --public-url …` are added to it); `env` is
    added to the environment, for settings and `ENTREPOT_FAULT`; `public_url` defaults to the listen address; `calm`
    keeps the node from trying itself out (its canary), unless `env` says otherwise; `ca_file` is what its certificate
    is checked with, where `args` let it serve HTTPS; `listener` is a port that is open already, which it gets as
    systemd would pass it. Use it as a context manager, or call `start` and `close`. The log of all starts is in
    `log_path`.
    """

    def __init__(
        self,
        data: Path,
        *,
        command: Sequence[str] | None = None,
        env: Mapping[str, str] | None = None,
        args: Sequence[str] = (),
        address: str = "127.0.0.1",
        port: int | None = None,
        public_url: str | None = None,
        prefix: Sequence[str] = (),
        log_path: Path | None = None,
        calm: bool = True,
        ca_file: Path | None = None,
        listener: socket.socket | None = None,
    ) -> None:
        self.data = data
        self.address = address
        self.listener = listener
        self.port = port or (free_port(address) if listener is None else listener.getsockname()[1])
        self.ca_file = ca_file
        self.url = f"{'http' if ca_file is None else 'https'}://{address}:{self.port}"
        self.public_url = public_url or self.url
        self.program = list(command) if command else [str(Path(sys.executable).with_name("entrepot"))]
        self.args = list(args)
        self.env = {**(_calm(data) if calm else {}), **(env or {})}
        self.prefix = list(prefix)
        self.log_path = log_path or data.with_name(data.name + ".log")
        self.process: Process | None = None
        self.exit_code: int | None = None
        live_servers.add(self)
        recent_servers.append(self)

    def start(self, *, wait: bool = True, env: Mapping[str, str] | None = None) -> Self:
        """Start it; with `wait` return when `/livez` answers 200. `env` is for this start only.

        Raises `AssertionError` with the end of the log if it ends first or does not answer in time.
        """
        assert self.process is None, "the server runs already"
        command = [*self.prefix, *self.program, "serve", "--data", str(self.data), "--listen"]
        command += [f"{self.address}:{self.port}", "--public-url", self.public_url, *self.args]
        passed = () if self.listener is None else (self.listener.fileno(),)
        if passed:
            command = ["bash", "-c", PASS_ON.format(passed[0]), "bash", *command]
        settings = {**os.environ, "PYTHONUNBUFFERED": "1", **self.env, **(env or {})}
        self.process = self.spawn(command, without_proxies(settings), passed)
        if wait:
            try:
                self.wait_live()
            except BaseException:
                self.close()  # `with` has not begun yet: nobody else would end it
                raise
        return self

    def spawn(self, command: Sequence[str], env: Mapping[str, str], passed: Sequence[int]) -> Process:
        """The process of a start, with its output at the end of the log."""
        with self.log_path.open("ab") as log:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=env,
                start_new_session=True,
                pass_fds=passed,
            )

    def wait_live(self, timeout_s: float = START_LIMIT_S) -> None:
        """Return when `/livez` answers 200; raise `AssertionError` as `start` does."""
        end = time.monotonic() + timeout_s
        trust: list[urllib.request.BaseHandler] = []
        if self.ca_file is not None:
            trust.append(urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=self.ca_file)))
        while True:
            code = self.poll()
            assert code is None, f"the server ended with {code}\n{self.log_tail()}"
            with contextlib.suppress(OSError, urllib.error.URLError):
                opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), *trust)
                with opener.open(f"{self.url}/livez", timeout=2.0) as answer:
                    if answer.status == 200:
                        return
            assert time.monotonic() < end, f"no answer after {timeout_s} s\n{self.log_tail()}"
            time.sleep(POLL_INTERVAL_S)

    def running(self) -> Process:
        """The process; `AssertionError` if there is none."""
        assert self.process is not None, f"the server does not run\n{self.log_tail()}"
        return self.process

    @property
    def pid(self) -> int:
        """Process id."""
        return self.running().pid

    def poll(self) -> int | None:
        """The exit code if it has ended by itself, else None."""
        return self.running().poll()

    def wait(self, timeout_s: float = STOP_LIMIT_S) -> int:
        """Wait for the end, clean up the group, return the exit code (negative: the signal that ended it)."""
        process = self.running()
        try:
            code = process.wait(timeout_s)
        except subprocess.TimeoutExpired as error:
            self.kill9()
            raise AssertionError(f"the server did not end in {timeout_s} s\n{self.log_tail()}") from error
        kill_group(process.pid)
        self.process, self.exit_code = None, code
        return code

    def kill9(self) -> int:
        """Kill the whole group with SIGKILL."""
        kill_group(self.pid)
        code = self.running().wait()
        self.process, self.exit_code = None, code
        return code

    def stop(self, timeout_s: float = STOP_LIMIT_S) -> int:
        """SIGTERM to the server process; returns its exit code. `AssertionError` if it does not end in time."""
        os.kill(self.pid, signal.SIGTERM)
        return self.wait(timeout_s)

    def restart(self, *, env: Mapping[str, str] | None = None) -> Self:
        """Stop if it runs, and start again on the same data and port."""
        if self.process is not None:
            self.stop()
        return self.start(env=env)

    def close(self) -> None:
        """Make sure that nothing runs any more."""
        if self.process is not None:
            self.kill9()

    def __enter__(self) -> Self:
        return self.start() if self.process is None else self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def admin_token(self) -> str:
        """The token that the first start wrote to DIR/admin-token."""
        return (self.data / "admin-token").read_text().strip()

    def log(self) -> str:
        """The whole log of all starts."""
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def log_tail(self, size_bytes: int = LOG_TAIL_BYTES) -> str:
        """The end of the log."""
        return self.log()[-size_bytes:]

    def pids(self) -> list[int]:
        """The server and its children."""
        return process_tree(self.pid)

    def rss_bytes(self) -> int:
        """Resident memory of the whole tree now (shared pages count in each process)."""
        return status_sum(self.pids(), "VmRSS") * 1024

    def peak_rss_bytes(self) -> int:
        """Sum of each process's peak resident memory; `reset_peak_rss` starts anew."""
        return status_sum(self.pids(), "VmHWM") * 1024

    def reset_peak_rss(self) -> None:
        """Set each process's peak to its present value."""
        for pid in self.pids():
            with contextlib.suppress(OSError):
                Path(f"/proc/{pid}/clear_refs").write_text("5")

    def cpu_s(self) -> float:
        """User and system seconds that the living tree has used."""
        ticks = 0
        for pid in self.pids():
            with contextlib.suppress(OSError):
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    def fds(self) -> list[str]:
        """Targets of all descriptors of the tree, sorted."""
        return sorted(target for pid in self.pids() for target in open_files(pid).values())

    def threads(self) -> int:
        """Number of threads of the tree."""
        return status_sum(self.pids(), "Threads")

    def deleted_but_open(self) -> list[Leftover]:
        """Files with a size but without a name that the tree holds open (memory files left out), sorted."""
        found = set()
        for pid in self.pids():
            for number, target in open_files(pid).items():
                if target.endswith(" (deleted)") and not target.startswith(("/memfd:", "/dev/")):
                    with contextlib.suppress(OSError):
                        size = os.stat(f"/proc/{pid}/fd/{number}").st_blocks * 512
                        found.add(Leftover(target.removesuffix(" (deleted)"), size, deleted=True))
        return sorted(found)

    def leftovers(self) -> list[Leftover]:
        """All files below DIR/blobs and DIR/incoming, and deleted files that are still open, sorted."""
        found = files_below(self.data, LEFTOVER_FOLDERS)
        return sorted(found + (self.deleted_but_open() if self.process is not None else []))


def files_below(data: Path, folders: Sequence[str]) -> list[Leftover]:
    """Every file below the named folders of `data`, with its length; paths are relative to `data`."""
    found = []
    for folder in folders:
        for path in sorted((data / folder).rglob("*")):
            if path.is_file() or path.is_symlink():
                found.append(Leftover(str(path.relative_to(data)), path.lstat().st_size))
    return found
