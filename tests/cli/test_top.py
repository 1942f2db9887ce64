"""``entrepot top``: what it draws, and the live view in a real terminal against a real server."""

import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from fcntl import ioctl
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from entrepot.cli.topview import bar, picture
from entrepot.client.nodes import Look
from tests.cli.real import PROGRAM, SETTINGS, Client
from tests.support.ports import free_port
from tests.support.server import ServerProcess

GB = 10**9
WAIT_S = 90.0


def volume(**more: Any) -> dict[str, Any]:
    """A volume of 100 GB with round thresholds."""
    thresholds = {"pressure_bytes": 25 * GB, "shed_bytes": 12 * GB, "readonly_bytes": 5 * GB}
    figures = {
        "name": "/srv/entrepot", "state": "OK", "cause": "", "size_bytes": 100 * GB, "used_bytes": 40 * GB,
        "reserved_bytes": 0, "available_bytes": 60 * GB, "unaccounted_bytes": 0, "others_bytes": 0, "errors": {},
        "thresholds": thresholds,
    }  # fmt: skip
    return {**figures, **more}


def status(**more: Any) -> dict[str, Any]:
    """What a node says."""
    return {"version": "1.0", "uptime_s": 90.0, "node_state": "OK", "requests_in_flight": 1, "checks": {}, **more}


def drawn(looks: list[Look], width: int = 80) -> str:
    """The picture as plain text."""
    console = Console(width=width, highlight=False, markup=False, color_system=None)
    with console.capture() as capture:
        console.print(picture(looks, width))
    return capture.get()


def test_a_bar_shows_each_part_and_where_the_states_begin() -> None:
    """Goal: one line says how near the next state is, without colours. Method: 40 used of which 10 are unaccounted and
    10 others', 10 reserved, on 100 characters for 100 GB.
    """
    found = bar(volume(unaccounted_bytes=10 * GB, others_bytes=10 * GB, reserved_bytes=10 * GB), 100).plain.strip()
    assert len(found) == 100
    assert found.startswith("█" * 20 + "▓" * 10 + "!" * 10 + "▒" * 10 + "·")
    assert (found[75], found[88], found[95]) == ("P", "S", "R")


def test_a_small_leak_is_seen() -> None:
    """Goal: what is not zero is drawn. Method: one byte of 100 GB on 40 characters; and a volume that is full."""
    assert "!" in bar(volume(unaccounted_bytes=1), 40).plain
    full = bar(volume(used_bytes=100 * GB, available_bytes=0, reserved_bytes=GB), 40).plain.strip()
    assert len(full) == 40
    assert "·" not in full


def test_everything_that_is_wrong_is_said_in_80_columns() -> None:
    """Goal: state and cause, refusals, canary and leaks are read at a glance, in a narrow terminal. Method: a node in
    every kind of trouble; the picture's text and its width.
    """
    trouble = status(
        checks={"storage": {"ok": False, "cause": "the disk failed"}},
        volumes=[volume(state="READONLY", cause="4.1 GB left of 100 GB", errors={"EIO": 2})],
        uploads={"in_flight": 3, "in_flight_bytes": 5 * GB, "received_bytes": 0, "answers": {"ok": 7, "no_room": 4}},
        refusals={"no_room": 4, "token_unknown": 1},
        publication={"lag_s": 75.0},
        canary={
            "rpm": {"ok": False, "failures_in_row": 3, "seconds": None, "cause": "the index lacks it"},
            "maven": {"ok": False, "failures_in_row": 0, "seconds": None, "cause": "no room"},
        },
        leaks=[{"kind": "file", "path": "/srv/entrepot/core", "process": None, "size_bytes": GB, "removed": False}],
    )
    text = drawn([Look("http://127.0.0.1:8421", trouble), Look("http://b:8421", trouble="refused")])
    for part in (
        "READONLY", "4.1 GB left", "the disk failed", "EIO 2", "3 in flight (4.7 GiB)", "7 taken", "4 refused",
        "no_room 4", "lag 1.2 min", "rpm failed ×3: the index lacks it", "maven not tried",
        "1 leak", "/srv/entrepot/core", "does not answer: refused",
    ):  # fmt: skip
        assert part in text
    assert max(len(line) for line in text.splitlines()) <= 80


def test_text_of_a_server_cannot_move_the_cursor() -> None:
    """Goal: a hostile cause does not rewrite the terminal. Method: an escape sequence in every text."""
    evil = "\x1b[2J\x07"
    bad = status(
        version=evil, node_state=evil, volumes=[volume(name=evil, cause=evil, state=evil, errors={evil: 1})],
        refusals={evil: 1}, checks={evil: {"ok": False, "cause": evil}},
        canary={evil: {"ok": False, "failures_in_row": 1, "cause": evil}},
        leaks=[{"kind": evil, "path": evil, "process": evil, "size_bytes": 1}],
    )  # fmt: skip
    assert not set("\x1b\x07") & set(drawn([Look(evil, bad), Look(evil, trouble=evil)]))


def test_once_prints_a_picture_or_json(entrepot: Client, server: ServerProcess) -> None:
    """Goal: scripts get what people get. Method: --once and --once --json on a running server and on nothing."""
    admin = f"http://{server.address}:{server.port + 1}"
    assert str(server.data) in entrepot("top", "--once").stdout
    (found,) = entrepot.json("top", "--once", "--url", admin)
    assert found["url"] == admin
    assert found["status"]["volumes"][0]["name"] == str(server.data)
    nobody = f"http://127.0.0.1:{free_port()}"
    both = entrepot.json("top", "--once", "--url", admin, "--url", nobody, rc=4)
    assert [look["status"] is not None for look in both] == [True, False]
    assert "does not answer" in entrepot("top", "--once", "--url", nobody, rc=4).stdout
    assert "is not a URL" in entrepot("top", "--once", "--url", "http://[::", rc=2).stderr
    assert "no /statusz" in entrepot("top", "--once", "--url", server.url, rc=4).stdout


def _heed_interrupts() -> None:
    """Tests that a shell started in the background ignore SIGINT, and so would the program that inherits that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Terminal:
    """A program in a terminal of 80 by 24."""

    def __init__(self, words: list[str], env: Mapping[str, str]) -> None:
        self.fd, inner = pty.openpty()
        ioctl(inner, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        self.inner = inner
        self.before = termios.tcgetattr(inner)
        self.process = subprocess.Popen(
            words, stdin=inner, stdout=inner, stderr=inner, env=dict(env), preexec_fn=_heed_interrupts
        )
        self.output = ""

    def wait_for(self, pattern: str) -> None:
        """Read until the output matches; AssertionError after a long while."""
        end = time.monotonic() + WAIT_S
        while not re.search(pattern, self.output):
            assert time.monotonic() < end, self.output[-2000:]
            assert self.process.poll() is None, self.output[-2000:]
            self.read(0.2)

    def read(self, seconds: float) -> None:
        """Take what has been written."""
        if select.select([self.fd], [], [], seconds)[0]:
            self.output += os.read(self.fd, 65536).decode(errors="replace")

    def end(self) -> int:
        """Wait for the end; the exit code."""
        end = time.monotonic() + WAIT_S
        while self.process.poll() is None and time.monotonic() < end:
            self.read(0.1)
        self.read(0.1)
        return self.process.wait(1)


@contextmanager
def terminal(entrepot: Client, *words: str) -> Iterator[Terminal]:
    """`entrepot` in a terminal; closed afterwards."""
    shown = Terminal([PROGRAM, *words], {**entrepot.env(), "TERM": "xterm-256color"})
    try:
        yield shown
    finally:
        if shown.process.poll() is None:
            shown.process.kill()
            shown.process.wait()
        os.close(shown.fd)
        os.close(shown.inner)


@pytest.mark.parametrize("way", ["q", "interrupt"])
def test_the_live_view_is_kept_current_and_ends_cleanly(tmp_path: Path, way: str) -> None:
    """Goal: a person watches and leaves. Method: in a terminal of 80 columns: the volume, then a refusal that appears
    without a key; q, or Ctrl-C; the exit code, the cursor and the terminal's modes afterwards.
    """
    with (
        ServerProcess(tmp_path / "data", env=SETTINGS) as server,
        terminal(Client(server, tmp_path), "top", "--interval", "0.3") as shown,
    ):
        shown.wait_for(r"used [\d.]+ [KMGT]?i?B +reserved")
        assert "distribution_unknown" not in shown.output
        refused = subprocess.run(
            ["curl", "-s", "-T-", "-u", f"{server.admin_token}:", f"{server.url}/admin/main/nowhere/1/x.deb"],
            input=b"x", capture_output=True, check=True,
        )  # fmt: skip
        assert json.loads(refused.stdout)["code"] == "distribution_unknown"
        shown.wait_for("distribution_unknown 1")
        if way == "q":
            os.write(shown.fd, b"q")
        else:
            shown.process.send_signal(signal.SIGINT)
        assert shown.end() == 0
        assert "Traceback" not in shown.output
        assert shown.output.rstrip().endswith(("\x1b[?25h", "\x1b[?1049l"))
        assert termios.tcgetattr(shown.inner) == shown.before
