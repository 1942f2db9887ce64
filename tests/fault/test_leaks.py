"""Leaks made on purpose on a running server: each is named with its path or its process, and what is ours goes."""

import json
import os
import secrets
import socket
import sys
import time
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.fault.rig import FULL, Answer, Rig
from tests.fault.routes import fresh_deb, put_deb
from tests.support.volumes import MIB, tmpfs

pytestmark = [pytest.mark.fault, pytest.mark.timeout(600 if FULL else 300)]

# The promise is a minute; that is for the bench to hold. Here a machine that is busy may be slow.
PATIENCE_S = 150.0
LIES = () if FULL else ("watchful",)
HOLD = """
import os, sys, time
fd = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
os.posix_fallocate(fd, 0, 1 << 20)
os.unlink(sys.argv[1])
time.sleep(900)
"""
# The server becomes the parent of the holder, and inherits descriptor 9, because the shell turns into it.
WRAPPER = 'python=$1 code=$2 data=$3; shift 3; "$python" -c "$code" "$data/child-lost" & exec 9<>"$data/own-lost"; '
WRAPPER += 'rm "$data/own-lost"; exec "$@"'
# The probe for O_TMPFILE fails: the server stages in incoming/.
FALLBACK = {"ENTREPOT_FAULT": "open_tmpfile:1+:EOPNOTSUPP", "ENTREPOT_UPLOAD_RATE_BYTES_PER_S_MIN": "0"}


class SlowUpload:
    """A PUT whose body comes in two halves, and a byte now and then between them."""

    def __init__(self, rig: Rig, repository: str) -> None:
        name, self.data = fresh_deb(4 * MIB)
        self.path = f"/{repository}/debian/bookworm/{name}"
        token = b64encode(f"{rig.admin_token}:".encode()).decode()
        head = f"PUT {self.path} HTTP/1.1\r\nHost: {rig.address}\r\nAuthorization: Basic {token}\r\n"
        self._connection = socket.create_connection((rig.address, rig.port), timeout=60)
        self._connection.sendall(f"{head}Content-Length: {len(self.data)}\r\n\r\n".encode())
        self._sent = len(self.data) // 2
        self._connection.sendall(self.data[: self._sent])

    def trickle(self) -> None:
        """One more byte: silence would end it."""
        self._connection.sendall(self.data[self._sent : self._sent + 1])
        self._sent += 1

    def finish(self) -> int:
        """Send the rest; the status."""
        with self._connection, self._connection.makefile("rb") as file:
            self._connection.sendall(self.data[self._sent :])
            return int(file.readline().split()[1])


def leaks(rig: Rig) -> dict[str, dict[str, Any]]:
    """path → what /statusz says of it."""
    return {str(each["path"]): each for each in rig.statusz()["leaks"]}


def volume(rig: Rig) -> dict[str, Any]:
    """The data folder's volume in /statusz."""
    found: dict[str, Any] = rig.statusz()["volumes"][0]
    return found


def wait_for(what: Callable[[], bool], why: str, meanwhile: Callable[[], None] = lambda: None) -> float:
    """Seconds until something holds."""
    started = time.monotonic()
    while not what():
        assert time.monotonic() - started < PATIENCE_S, why
        meanwhile()
        time.sleep(0.2)
    return time.monotonic() - started


def metric(rig: Rig, name: str) -> float:
    """The sum of one metric's samples."""
    text = httpx.get(f"http://127.0.0.1:{rig.admin_port}/metrics", timeout=10, trust_env=False).text
    return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith(name))


def test_every_leak_is_named(tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    """Goal: whatever takes space on a volume of our own and should not is reported with its path or its process, what
    is ours is removed, what is not stays, and a living upload loses nothing. Method: on a real server that stages in
    incoming/: a file in each folder, an orphan, a child and the server itself with deleted files, half an upload.
    """
    with tmpfs(tmp_path / "volume", 512 * MIB) as disk:
        data = disk.path
        rig = Rig(data, env=FALLBACK, lies=LIES)
        rig.program = ["sh", "-c", WRAPPER, "sh", sys.executable, HOLD, str(data), *rig.program]
        with rig:
            repository = rig.repository("acme/leaks")
            put_deb(rig, repository)
            assert not volume(rig)["shared"]
            upload = SlowUpload(rig, repository)
            wait_for(lambda: len(os.listdir(data / "incoming")) == 1, "the upload is staged")
            foreign = ["core.77", "blobs/lost.tmp", "blobs/7f/README", "incoming/part.tmp"]
            for place in foreign:
                (data / place).write_bytes(b"x" * MIB)
            key = "7e" + secrets.token_hex(15)
            orphan, stale = f"blobs/7e/{key}", "incoming/" + secrets.token_hex(16)
            for place in (orphan, stale):
                (data / place).write_bytes(b"x" * MIB)
            (data / ".secret.new").write_bytes(b"x")
            (data / "scratch").mkdir(exist_ok=True)
            (data / "scratch" / "tmp123").write_bytes(b"x" * MIB)
            wanted = {*foreign, orphan, stale, ".secret.new", "scratch/tmp123"}
            wanted |= {str(data / "child-lost"), str(data / "own-lost")}
            took_s = wait_for(lambda: wanted <= set(leaks(rig)), f"not all of {wanted} are named", upload.trickle)
            record_property("seconds_to_report", round(took_s, 1))
            check_the_report(rig, foreign, [orphan, stale])
            for place in (".secret.new", "scratch/tmp123"):
                if FULL:  # after a minute: tests/upkeep has it by a clock that does not wait
                    wait_for(lambda name=place: not (data / name).exists(), "not removed", upload.trickle)  # type: ignore[misc]
                else:
                    (data / place).unlink()
            assert all((data / place).exists() for place in foreign)
            answer = Answer(upload.finish())
            assert answer.status == 201
            rig.world.sent(repository, upload.data, answer)  # the check below reads it back
            for place in foreign:
                (data / place).unlink()
            rest = MIB  # what the child holds; the server's own file is empty
            wait_for(lambda: volume(rig)["unaccounted_bytes"] == rest, "the figure does not come down")
            assert volume(rig)["deleted_open_bytes"] == rest
            rig.check()


def check_the_report(rig: Rig, foreign: list[str], removed: list[str]) -> None:
    """The log, /statusz and the metrics agree about what was found."""
    found = leaks(rig)
    assert {found[place]["kind"] for place in foreign} == {"foreign"}
    assert [found[place]["removed"] for place in removed] == [True, True]
    assert not any((rig.data / place).exists() for place in removed)
    own, child = (str(found[str(rig.data / name)]["process"]) for name in ("own-lost", "child-lost"))
    assert rig.process is not None
    assert f"[{rig.process.pid}]" in own
    assert f"[{rig.process.pid}]" not in child
    assert child.startswith("python")
    told = [json.loads(line) for line in rig.log_path.read_text().splitlines() if '"leak found"' in line]
    assert {each["path"] for each in told} >= set(found)
    assert metric(rig, 'entrepot_leaks{kind="foreign"}') == len(foreign)
    assert metric(rig, "entrepot_reaper_removed_total") >= 2
    wait_for(lambda: volume(rig)["unaccounted_bytes"] >= (len(foreign) + 1) * MIB, "not in the volume's figures")
    assert metric(rig, "entrepot_unaccounted_bytes") >= (len(foreign) + 1) * MIB
    assert metric(rig, "entrepot_unaccounted_inodes") >= len(foreign) + 2
    assert metric(rig, "entrepot_deleted_open_bytes") == MIB


def test_what_others_write_is_theirs(tmp_path: Path) -> None:
    """Goal: on a shared volume the bytes of others are named as theirs, cost this node nothing, and a leak in our own
    folder is still found. Method: a data folder beside another program's files, before and after these grow."""
    with tmpfs(tmp_path / "volume", 512 * MIB) as disk, Rig(disk.path / "data", lies=LIES) as rig:
        rig.repository("acme/shared")
        wait_for(lambda: volume(rig)["known_bytes"] > 0, "no account")
        assert volume(rig)["shared"]
        before = volume(rig)["others_bytes"]
        (disk.path / "theirs").write_bytes(b"x" * (64 * MIB))
        wait_for(lambda: volume(rig)["others_bytes"] >= before + 60 * MIB, "what others wrote is not named")
        now = volume(rig)
        assert (now["unaccounted_bytes"], now["inodes_unaccounted"], now["state"]) == (0, 0, "OK")
        assert rig.statusz()["leaks"] == []
        (rig.data / "ours.tmp").write_bytes(b"x" * MIB)
        wait_for(lambda: volume(rig)["unaccounted_bytes"] == MIB, "the leak in our folder is not counted")
        assert put_deb(rig, "acme/shared").status == 201
