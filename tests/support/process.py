"""Run a command with a hard time limit, in a process group of its own that is always killed whole."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

OUTPUT_SHOWN_CHARS = 20_000
PROXY_VARIABLES = frozenset({"http_proxy", "https_proxy", "ftp_proxy", "all_proxy", "no_proxy"})
INHERITED_VARIABLES = ("PATH", "JAVA_HOME", "LD_LIBRARY_PATH", "TERM")


@dataclass(frozen=True, slots=True)
class Result:
    """What a finished command left: its arguments, exit code and both outputs as text."""

    args: tuple[str, ...]
    rc: int
    stdout: str
    stderr: str
    timed_out: bool = False

    @property
    def ok(self) -> bool:
        """True if the command ended by itself with exit code 0."""
        return self.rc == 0 and not self.timed_out

    @property
    def output(self) -> str:
        """Both outputs, standard output first."""
        return self.stdout + self.stderr

    def check(self) -> "Result":
        """Return self, or raise `CommandError` with both outputs if the command failed."""
        if not self.ok:
            raise CommandError(self)
        return self


class CommandError(AssertionError):
    """A checked command failed; the message holds the command line, the exit code and both outputs."""

    def __init__(self, result: Result) -> None:
        self.result = result
        ending = "ran out of time and was killed" if result.timed_out else f"ended with {result.rc}"
        super().__init__(
            f"{' '.join(result.args)}\n{ending}\n"
            f"--- stdout ---\n{result.stdout[-OUTPUT_SHOWN_CHARS:]}\n"
            f"--- stderr ---\n{result.stderr[-OUTPUT_SHOWN_CHARS:]}"
        )


def client_env(home: Path, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Environment for a client: its own HOME, C.UTF-8, no proxy and nothing else of the caller's."""
    env = {name: os.environ[name] for name in INHERITED_VARIABLES if name in os.environ}
    env.setdefault("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
    env.update({"HOME": str(home), "LC_ALL": "C.UTF-8", "LANG": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"})
    env.update(extra or {})
    return env


def without_proxies(env: Mapping[str, str]) -> dict[str, str]:
    """A copy of an environment without the variables that send loopback traffic through a proxy."""
    return {name: value for name, value in env.items() if name.lower() not in PROXY_VARIABLES}


def kill_group(pid: int, sig: int = signal.SIGKILL) -> None:
    """Signal a whole process group; a group that is gone already is no error."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, sig)


def end_agents(folder: Path) -> None:
    """End the gpg-agents that a client left with a home below `folder`; they leave its group by themselves."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                command = (entry / "cmdline").read_bytes().split(b"\0")
                if command[0].endswith(b"gpg-agent") and any(os.fsencode(folder) in word for word in command[1:]):
                    os.kill(int(entry.name), signal.SIGTERM)


def run(
    args: Sequence[str | Path],
    *,
    timeout_s: float = 60.0,
    check: bool = True,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stdin: bytes | None = None,
    prefix: Sequence[str] = (),
) -> Result:
    """Run a command to its end and return its `Result`.

    `prefix` goes before the command (for example `ip netns exec NAME`). The command has its own session, thus no
    terminal to ask for passwords on; when it ends or runs out of time every process left in its group is killed.

    Raises `CommandError` if `check` and the exit code is not 0, and whenever time ran out.
    """
    command = (*prefix, *(str(arg) for arg in args))
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=without_proxies(os.environ if env is None else env),
        cwd=cwd,
        start_new_session=True,
    )
    timed_out = False
    try:
        stdout, stderr = process.communicate(stdin, timeout=timeout_s)
    except subprocess.TimeoutExpired:
        timed_out = True
        kill_group(process.pid)
        stdout, stderr = process.communicate()
    finally:
        kill_group(process.pid)
    result = Result(
        command, process.returncode, stdout.decode(errors="replace"), stderr.decode(errors="replace"), timed_out
    )
    return result.check() if check or timed_out else result
