"""kill -9 at any moment, SQLite's own calls included, while clients upload."""

import random
import threading
import time
from pathlib import Path

import pytest

from tests.fault.rig import FULL, Rig, running
from tests.fault.routes import TAIL_ENTRIES, DebPut, Form, Route, RpmPut
from tests.support.apt import AptRoot

pytestmark = [pytest.mark.fault, pytest.mark.timeout(1800 if FULL else 240)]

KILLS = 60 if FULL else 4
CLIENTS: tuple[type[Route], ...] = (DebPut, DebPut, RpmPut, Form)


def upload_until_dead(rig: Rig, route: Route, repository: str) -> None:
    """One client: uploads until the connection fails."""
    while route.act(rig, repository).status != 0:
        pass


def wait_busy(rig: Rig, acknowledged: int) -> None:
    """Return when so many uploads have been acknowledged, however slow the machine is."""
    end = time.monotonic() + 30
    while rig.world.acknowledged < acknowledged:
        assert time.monotonic() < end, "no upload was answered"
        time.sleep(0.002)


def upload_once(rig: Rig, repository: str, answers: list[int]) -> None:
    """One client that uploads one package."""
    answers.append(DebPut().act(rig, repository).status)


def test_killed_at_random_moments(tmp_path: Path) -> None:
    """Goal: I1 to I4 at moments that no seam names. Method: four clients upload by three routes with merges every few
    packages; SIGKILL to the whole group in the middle of it; restart; every answer that was given holds.
    """
    with running(tmp_path / "data", lies=[f"tail={TAIL_ENTRIES}"]) as rig:
        for kill in range(KILLS):
            # New repositories now and then: first publications and their segments are under the axe too.
            if kill % 4 == 0:
                repository = rig.repository(f"acme/kill{kill}")
            clients = [
                threading.Thread(target=upload_until_dead, args=(rig, kind(), repository), daemon=True)
                for kind in CLIENTS
            ]
            for client in clients:
                client.start()
            wait_busy(rig, rig.world.acknowledged + random.randint(kill % 2, 3))
            time.sleep(random.uniform(0, 0.2))
            rig.kill9()
            rig.counts.faults += 1
            for client in clients:
                client.join(30)
                assert not client.is_alive()
            rig.start()
            rig.check()
            rig.check_idle(orphans_max=(kill + 1) * 8)
        assert rig.world.acknowledged >= KILLS / 2
        rig.check_orphans_go()
        rig.check()
        rig.check_idle()
        install_one(rig, repository, tmp_path)


def install_one(rig: Rig, repository: str, folder: Path) -> None:
    """What survived is good enough for the real apt: its index, its signature, its packages."""
    keyring = folder / "key.asc"
    keyring.write_text(rig.send("GET", f"/{repository}/gpgkey").text)
    source = f"deb [signed-by={keyring}] {rig.url}/{repository}/debian/ bookworm main"
    root = AptRoot(folder / "root", source)
    root.update()
    names = root.pkgnames()
    assert names
    root.install(names[0])
    assert names[0] in root.installed()


def test_restarted_during_a_publication(tmp_path: Path) -> None:
    """Goal: a publication that was cut off by a restart comes after it. Method: SIGTERM while 16 uploads of one scope
    are under way: each gets an answer, and all that were taken are listed after the restart.
    """
    with running(tmp_path / "data") as rig:
        repository = rig.repository("acme/restart")
        route = DebPut()
        route.prepare(rig, repository)
        for _ in range(5 if FULL else 1):
            answers: list[int] = []
            clients = [threading.Thread(target=upload_once, args=(rig, repository, answers)) for _ in range(16)]
            for client in clients:
                client.start()
            time.sleep(random.uniform(0.01, 0.2))
            assert rig.stop() == 0
            for client in clients:
                client.join(30)
            assert set(answers) <= {0, 201, 202, 503}, answers
            rig.start()
            rig.check()
            rig.check_idle()
