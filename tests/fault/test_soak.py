"""F4, the leak soak: uploads that end in every way, kills among them, and afterwards the volume holds what the catalog
knows and nothing else.

`make test` takes a sample; `make soak SOAK_S=3600` runs for as long as you like.
"""

import os
import random
import socket
import sys
import threading
import time
from base64 import b64encode
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.fault.rig import FULL, Rig
from tests.fault.routes import DebPut, Form, Maven, Route, RpmPut, fresh_deb
from tests.support.builders import deb_bytes
from tests.support.volumes import MIB, Volume, tmpfs

SOAK_S = float(os.environ.get("SOAK_S") or (600 if FULL else 4))
CLIENTS = 8
KINDS = ("upload", "disconnect", "malformed")
DISCONNECTS, MALFORMED = 0.10, 0.05
UPLOADS_PER_KILL = 100
VOLUME_BYTES = 2048 * MIB if SOAK_S > 60 else 512 * MIB
IDLE_S = 120.0
LIES = () if FULL else ("watchful",)

pytestmark = [pytest.mark.fault, pytest.mark.timeout(300 + 3 * SOAK_S)]


@dataclass
class Soak:
    """The clients, and what they did."""

    rig: Rig
    repository: str
    done: Counter[str] = field(default_factory=Counter)
    stop: threading.Event = field(default_factory=threading.Event)
    up: threading.Event = field(default_factory=threading.Event)
    """Not set while the server is being started again: what nobody could take is no upload."""
    lock: threading.Lock = field(default_factory=threading.Lock)
    bombs: tuple[bytes, ...] = ()

    def client(self, number: int) -> None:
        """Upload until told to stop; a server that is being started again is waited for."""
        chance = random.Random(number)
        routes: list[Route] = [DebPut(), RpmPut(), Form(), Maven()]
        while not self.stop.is_set():
            if not self.up.wait(0.05):
                continue
            die = chance.random()
            if die < DISCONNECTS:
                what, status = "disconnect", self.disconnect(chance)
            elif die < DISCONNECTS + MALFORMED:
                what, status = "malformed", self.malformed(chance)
            else:
                what, status = "upload", chance.choice(routes).act(self.rig, self.repository).status
            with self.lock:
                self.done[what if status else "unanswered"] += 1
                if (status >= 500 and status != 503) or (what == "malformed" and status in (200, 201, 202)):
                    self.done[f"{what}: status {status}"] += 1
            if not status:
                time.sleep(0.05)

    def disconnect(self, chance: random.Random) -> int:
        """Half an upload, then the connection ends: closed, or reset."""
        name, data = fresh_deb(chance.choice([0, 50_000, 3_000_000]))
        token = b64encode(f"{self.rig.admin_token}:".encode()).decode()
        head = f"PUT /{self.repository}/debian/bookworm/{name} HTTP/1.1\r\nHost: x\r\nAuthorization: Basic {token}\r\n"
        try:
            with socket.create_connection((self.rig.address, self.rig.port), timeout=30) as connection:
                if chance.random() < 0.5:  # linger 0: the end is a reset
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                connection.sendall(f"{head}Content-Length: {len(data)}\r\n\r\n".encode())
                connection.sendall(data[: chance.randrange(len(data))])
        except OSError:
            return 0
        return 1

    def malformed(self, chance: random.Random) -> int:
        """A bomb, a package cut short, or no package at all."""
        name, data = fresh_deb(20_000)
        body = chance.choice([*self.bombs, data[: len(data) // 2], b"!<arch>\n" + os.urandom(5000)])
        return self.rig.send("PUT", f"/{self.repository}/debian/bookworm/{name}", content=body).status

    def run(self) -> int:
        """Soak; the number of kills."""
        self.up.set()
        clients = [threading.Thread(target=self.client, args=(number,), daemon=True) for number in range(CLIENTS)]
        for client in clients:
            client.start()
        kills = 0
        end = time.monotonic() + SOAK_S
        # On a slow machine a short soak goes on until it has each of them.
        while (now := time.monotonic()) < end or (now < end + IDLE_S and not all(self.done[what] for what in KINDS)):
            time.sleep(0.02)
            if sum(self.done.values()) - self.done["unanswered"] >= UPLOADS_PER_KILL * (kills + 1):
                self.up.clear()
                self.rig.kill9()
                self.rig.counts.faults += 1
                kills += 1
                self.rig.start()
                self.up.set()
        self.stop.set()
        for client in clients:
            client.join(60)
            assert not client.is_alive()
        return kills


def unaccounted_by_us(rig: Rig, disk: Volume) -> list[str]:
    """The same question, answered without the server: files against rows, the volume's count against the files'."""
    found = rig.left_behind()
    facts = os.statvfs(disk.path)
    used, inodes = (facts.f_blocks - facts.f_bfree) * facts.f_frsize, facts.f_files - facts.f_ffree
    everything = [path.lstat() for path in (disk.path, *disk.path.rglob("*"))]
    held = sum(each.st_blocks * 512 for each in everything)
    if used != held:
        found.append(f"the volume holds {used} bytes, its files {held}")
    if inodes != len(everything):
        found.append(f"the volume holds {inodes} inodes, its folders {len(everything)}")
    return found


def unaccounted_by_the_server(rig: Rig) -> list[str]:
    """What the server itself says is there and should not be."""
    status = rig.statusz()
    volume = status["volumes"][0]
    names = ("unaccounted_bytes", "inodes_unaccounted", "deleted_open_bytes")
    found = [f"{name} is {volume[name]}" for name in names if volume[name]]
    return found + [f"leak: {each}" for each in status["leaks"] if not each["removed"]]


def test_nothing_leaks(tmp_path: Path) -> None:
    """Goal: however uploads end, an idle server holds what its catalog knows: bytes, inodes and descriptors, by its own
    account and by ours. Method: a mix of uploads by every route, a tenth cut off, a twentieth malformed, the server
    killed once in a hundred; then wait until it is idle.
    """
    with tmpfs(tmp_path / "volume", VOLUME_BYTES) as disk, Rig(disk.path, lies=LIES) as rig:
        soak = Soak(rig, rig.repository("acme/soak"))
        soak.bombs = (deb_bytes("bomb", compression="zst", control_bomb_bytes=200 * MIB),)
        kills = soak.run()
        sys.stdout.write(f"{dict(soak.done)}, {kills} kills, {rig.counts.acknowledged} acknowledged\n")
        assert all(soak.done[what] for what in KINDS), soak.done
        assert not [each for each in soak.done if "status" in each], soak.done
        if not kills:  # a slow machine: the sample is never without one
            rig.kill9()
            rig.start()
        deadline = time.monotonic() + IDLE_S
        while wrong := unaccounted_by_us(rig, disk) + unaccounted_by_the_server(rig):
            assert time.monotonic() < deadline, "\n".join(wrong)
            time.sleep(0.5)
        rig.check()
