"""The server as systemd sees it: its messages on a real datagram socket, a watchdog that starves, and the unit file."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import time
from pathlib import Path

import httpx
import pytest

from entrepot.node.life import HANDOVER_S_MAX, HUSH_S
from tests.node.impatient import command
from tests.support.server import ServerProcess

pytestmark = pytest.mark.timeout(400)

UNITS = Path(__file__).resolve().parents[2] / "packaging" / "systemd"
LIMIT_S = 60.0
STALL_S = 6.0
ENV = {
    "ENTREPOT_SIGNING_DEFAULT_ALGORITHM": "ed25519",
    "ENTREPOT_SIGNING_SPARE_KEYS": "0",
    "ENTREPOT_SERVER_DRAIN_WAIT_S": "0",
    "ENTREPOT_UPLOAD_INSPECTION_PROCESSES": "1",
    "WATCHDOG_USEC": "2000000",
}


class Manager:
    """The service manager's end of the socket."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))

    def wait_for(self, text: str, limit_s: float = LIMIT_S) -> str:
        """The next message that holds ``text``; AssertionError when none comes in time."""
        end = time.monotonic() + limit_s
        while (left := end - time.monotonic()) > 0:
            self.socket.settimeout(left)
            with contextlib.suppress(TimeoutError):
                message = self.socket.recv(4096).decode()
                if text in message:
                    return message
        raise AssertionError(f"no {text} in {limit_s} s")

    def hears(self, text: str, limit_s: float) -> bool:
        """Whether such a message comes within ``limit_s``."""
        try:
            self.wait_for(text, limit_s)
        except AssertionError:
            return False
        return True

    def drop(self) -> None:
        """Forget what has come until now."""
        self.socket.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                self.socket.recv(4096)


def loop_age_s(server: ServerProcess) -> float:
    """How long the event loop has not turned, as another thread of the server sees it."""
    status = httpx.get(f"http://127.0.0.1:{server.port + 1}/statusz", trust_env=False, timeout=10).json()
    return float(status["loop_age_s"])


def test_what_the_manager_hears(tmp_path: Path) -> None:
    """Goal: READY once the port is open, a state, a watchdog that is fed only while the event loop turns, STOPPING at
    once. Method: a signal holds up the loop for seconds while every other thread goes on; its silence is looked at only
    while the stall is seen to last.
    """
    manager = Manager(tmp_path / "notify")
    env = ENV | {"NOTIFY_SOCKET": str(tmp_path / "notify")}
    with ServerProcess(tmp_path / "data", command=command(stall_s=STALL_S), env=env) as server:
        manager.wait_for("READY=1")
        assert manager.wait_for("STATUS=").startswith("STATUS=")
        manager.wait_for("WATCHDOG=1")
        os.kill(server.pid, signal.SIGUSR1)
        end = time.monotonic() + LIMIT_S
        while loop_age_s(server) < 1.0:
            assert time.monotonic() < end, "the stall was not seen"
        manager.drop()
        fed = manager.hears("WATCHDOG=1", 2.0)
        assert not fed or loop_age_s(server) < 1.0, "fed while the loop stood still"
        manager.wait_for("WATCHDOG=1")  # the loop turns again
        os.kill(server.pid, signal.SIGTERM)
        manager.wait_for("STOPPING=1")
        assert server.wait(LIMIT_S) == 0
    manager.socket.close()


def test_the_units_are_some(tmp_path: Path) -> None:
    """Goal: systemd takes the units, and they say what the program needs. Method: `systemd-analyze verify` on the files
    with a program that exists on this machine; exit codes and times are compared with the program's.
    """
    text = (UNITS / "entrepot.service").read_text()
    copy, port = tmp_path / "entrepot.service", tmp_path / "entrepot.socket"
    copy.write_text(re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", text, flags=re.MULTILINE))
    port.write_text((UNITS / "entrepot.socket").read_text())
    command = ["systemd-analyze", "verify", str(copy), str(port)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (run.returncode, run.stderr) == (0, "")
    for line in (
        "Type=notify", "RestartForceExitStatus=75", "SuccessExitStatus=75", "RestartPreventExitStatus=2",
        "StateDirectory=entrepot", "Requires=entrepot.socket",
    ):  # fmt: skip
        assert f"\n{line}\n" in text
    stop_s = re.search(r"^TimeoutStopSec=(\d+)$", text, re.MULTILINE)
    assert stop_s is not None
    # The defaults of server.drain_wait_s, which counts where the port is the node's own, and of server.stop_wait_s.
    assert int(stop_s[1]) > 60 + max(5, HUSH_S + HANDOVER_S_MAX)
