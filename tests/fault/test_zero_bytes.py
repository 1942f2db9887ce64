"""The way back at zero bytes: another process filled the volume to the last block or inode, thresholds as shipped.

Reads, token checks, probes, yank (also out of a sorted segment), collection, a stop and a start all work; and once the
other process gives its room back, uploads work again without a restart.
"""

import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import httpx
import pytest

from tests.fault.rig import FULL, SETTLE_S, Rig
from tests.fault.routes import TAIL_ENTRIES, ChunkedDebPut, DebPut, Form, Maven, RpmPut, Yank, put_deb
from tests.support.process import run
from tests.support.volumes import MIB, FileSystem, Volume, loop_volume, tmpfs

pytestmark = [pytest.mark.fault, pytest.mark.timeout(300)]

SHIPPED = {
    "ENTREPOT_DISK_LEAVE_S": "1",  # a minute as shipped
    "ENTREPOT_DISK_LEAVE_PERCENT": "5",
    "ENTREPOT_DISK_REFUSAL_DELAY_S": "0.5",
}
# One real file system in the sample, all in the whole programme. btrfs copies on write: it needs room to overwrite, so
# that there the folder is made with +C, as docs/operate.md says, and a start at zero bytes is not promised.
SIZE_BYTES = {"ext4": 96 * MIB} | ({"xfs": 320 * MIB, "btrfs": 256 * MIB} if FULL else {})


@contextmanager
def mounted(kind: str, folder: Path) -> Iterator[Volume]:
    """A small volume of that kind."""
    if kind in SIZE_BYTES:
        with loop_volume(folder, kind=cast(FileSystem, kind), size_bytes=SIZE_BYTES[kind]) as volume:
            (volume.path / "data").mkdir()
            if kind == "btrfs":
                run(["chattr", "+C", volume.path / "data"])
            yield volume
    else:
        with tmpfs(folder / "disk", 96 * MIB, 1200) as volume:
            yield volume


def volume_of(rig: Rig) -> dict[str, object]:
    """The status of the volume that holds packages."""
    found: dict[str, object] = next(each for each in rig.statusz()["volumes"] if "blobs" in each["uses"])
    return found


def wait_for_state(rig: Rig, *states: str) -> None:
    """Wait until the volume is in one of the states."""
    deadline = time.monotonic() + SETTLE_S
    while volume_of(rig)["state"] not in states:
        assert time.monotonic() < deadline, volume_of(rig)
        time.sleep(0.05)


def take_all(volume: Volume, kind: str, name: str = "filler") -> Path:
    """Fill the volume as another process does."""
    if kind == "inodes":
        spare = volume.fill_inodes(name=name)
        assert volume.free_inodes() == 0
        return spare
    filler = volume.fill(name=name)
    assert volume.available_bytes() < (65536 if kind == "xfs" else 4096)  # xfs keeps some that nobody gets
    return filler


@pytest.mark.parametrize("kind", ["bytes", "inodes", *SIZE_BYTES])
def test_the_way_back(tmp_path: Path, kind: str) -> None:
    """Goal: as above. Method: twenty packages in sorted segments; fill; each thing in turn; give the room back.

    Seen to fail without the ballast: the yank out of a segment is not shown, and the collection frees nothing.
    """
    with mounted(kind, tmp_path) as volume:
        rig = Rig(volume.path / "data", env=SHIPPED, lies=[f"tail={TAIL_ENTRIES}"])
        rig.control, rig.log_path = tmp_path / "control", tmp_path / "server.log"
        rig.env["FAULT_CONTROL"] = str(rig.control)
        with rig:
            repository, route = rig.repository("acme/zero"), Yank()
            route.prepare(rig, repository)
            assert volume_of(rig)["ballast_bytes"]
            filler = take_all(volume, kind)
            wait_for_state(rig, "READONLY")
            refused(rig, repository)
            works_at_zero(rig, repository, route)
            if kind != "btrfs":
                stop_and_start_at_zero(rig, volume, kind, repository, route)
            give_back(filler)
            wait_for_state(rig, "OK", "PRESSURE")
            assert put_deb(rig, repository).status == 201
            rig.check()
            rig.check_idle()


def stop_and_start_at_zero(rig: Rig, volume: Volume, kind: str, repository: str, route: Yank) -> None:
    """The catalog's log gave its room back when it closed, and somebody took that too."""
    assert rig.stop() == 0
    again = take_all(volume, kind, "again")
    rig.start()
    rig.check()
    works_at_zero(rig, repository, route)
    give_back(again)


def refused(rig: Rig, repository: str) -> None:
    """An upload gets 503 with advice and figures, and not at once: a quick refusal attracts traffic. By every way in:
    with a length and without, as a form, as an .rpm, as Maven's files."""
    for route in (DebPut(), ChunkedDebPut(), Form(), RpmPut(), Maven()):
        started = time.monotonic()
        answer = route.act(rig, repository)
        assert (answer.status, answer.code) == (503, "no_room"), f"{route.name}: {answer.text}"
        assert answer.headers["retry-after"].isdigit()
        body = json.loads(answer.text)
        assert {"volume", "needed_bytes", "available_bytes"} <= set(body)
        assert "entrepot gc" in body["detail"]
        assert time.monotonic() - started >= 0.2, route.name


def commands_work(rig: Rig) -> None:
    """The program's own commands, which an operator and a container's health check run then."""
    program = str(Path(sys.executable).with_name("entrepot"))
    env = os.environ | {"ENTREPOT_URL": rig.url, "ENTREPOT_TOKEN": rig.admin_token, "HOME": str(rig.data.parent)}
    at = ["--admin-url", f"http://127.0.0.1:{rig.admin_port}"]
    for words in (["gc"], ["disk"], ["health", "--live", *at]):
        assert run([program, *words], env=env).stderr == "", words
    asked = run([program, "health", *at], env=env, check=False)
    assert (asked.rc, asked.stderr) == (1, "")
    assert "uploads   READONLY" in asked.stdout


def works_at_zero(rig: Rig, repository: str, route: Yank) -> None:
    """Reads, tokens, probes, commands, a yank that rewrites a segment, a collection that frees it."""
    assert rig.send("GET", f"/{repository}/debian/dists/bookworm/InRelease").status == 200
    assert rig.send("GET", "/api/v2/tokens").status == 200
    figures = httpx.get(f"http://127.0.0.1:{rig.admin_port}/metrics", trust_env=False, timeout=30).text
    assert f'entrepot_volume_state{{state="READONLY",volume="{rig.data}"}} 1.0' in figures
    commands_work(rig)
    gone = route.act(rig, repository)
    assert gone.status == 200, gone.text
    deadline = time.monotonic() + SETTLE_S
    while True:  # the collection waits for the yank's publication
        answer = rig.send("POST", "/api/v2/gc", json={})
        assert answer.status == 200, answer.text
        if json.loads(answer.text)["files"]:
            break
        assert time.monotonic() < deadline, answer.text
        time.sleep(0.1)
    rig.check()


def give_back(filler: Path) -> None:
    """The other process goes away."""
    if filler.is_dir():
        for path in filler.iterdir():
            path.unlink()
        filler.rmdir()
    else:
        filler.unlink()
