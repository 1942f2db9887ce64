"""Power cuts: the image below the server is copied the moment it answered, or at any moment, and the copy is what is
left.
"""

import os
import random
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.fault.rig import FULL, Key, Rig, World
from tests.fault.routes import DebPut, Form, Maven, NewScope, Route, RpmPut, put_deb
from tests.support.volumes import MIB, FileSystem, LoopVolume, loop_volume

pytestmark = [pytest.mark.fault, pytest.mark.timeout(1800 if FULL else 240)]

# Cuts after answers, in parts that share the cores: 500 of them in `make fault`; and cuts at any moment.
CUTS: dict[FileSystem, list[int]] = (
    {"ext4": [50] * 4, "xfs": [50] * 3, "btrfs": [50] * 3} if FULL else {"ext4": [5], "xfs": [1], "btrfs": [1]}
)
BETWEEN: dict[FileSystem, int] = {"ext4": 20, "xfs": 20, "btrfs": 20} if FULL else {"ext4": 2}
NEW_REPOSITORY_EVERY = 10
SIZES: dict[FileSystem, int] = {"ext4": 96 * MIB, "xfs": 320 * MIB, "btrfs": 256 * MIB}
TRIES = 6


@contextmanager
def volume_and_rig(
    folder: Path, kind: FileSystem = "ext4", lies: tuple[str, ...] = ()
) -> Iterator[tuple[LoopVolume, Rig]]:
    """A server whose whole data folder lies on a loop device."""
    with loop_volume(folder / "disk", kind, SIZES[kind]) as volume:
        rig = Rig(volume.path / "data", lies=lies)
        rig.control, rig.log_path = folder / "control", folder / "server.log"
        rig.env["FAULT_CONTROL"] = str(rig.control)
        with rig:
            yield volume, rig


def survivor(rig: Rig, image: Path, folder: Path) -> Rig:
    """A server on a copy of the folder as the cut left it, knowing what the first one promised.

    It lies as the first one does: an honest one would publish what was answered too early before anybody looks.
    """
    shutil.copytree(image / "data", folder / "data")
    after = Rig(folder / "data", lies=rig.lies, lent=rig.forker)
    after.world, after.repositories = rig.world, list(rig.repositories)
    return after


def wrong_after_cut(volume: LoopVolume, rig: Rig, folder: Path, latest: int | None = None) -> list[str]:
    """Cut the power now; what breaks I1 to I3 afterwards, looking at the ``latest`` repositories or at all. The data is
    read from the mounted copy.
    """
    folder.mkdir()
    with volume.cut() as image, survivor(rig, image, folder) as after:
        if latest is not None:
            after.repositories = after.repositories[-latest:]
        found = after.wrong()
    shutil.rmtree(folder)
    return found


@pytest.mark.parametrize(("kind", "count"), [(kind, count) for kind, parts in CUTS.items() for count in parts], ids=str)
def test_what_was_answered_survives(tmp_path: Path, kind: FileSystem, count: int) -> None:
    """Goal: after 201 a power cut takes nothing: bytes, row, signed index. Method: a copy of the image after each
    answer, routes in turn, and a server started on each copy.
    """
    with volume_and_rig(tmp_path, kind) as (volume, rig):
        cut_after_answers(volume, rig, tmp_path, count)


def cut_after_answers(volume: LoopVolume, rig: Rig, folder: Path, count: int) -> None:
    """So many changes, a cut at the answer of each, and a server on what is left."""
    routes: list[Route] = [NewScope(), DebPut(), RpmPut(), Form(), Maven()]
    for turn in range(count):
        if turn % NEW_REPOSITORY_EVERY == 0:
            repository = rig.repository(f"acme/cut{turn}")
        answer = routes[turn % len(routes)].act(rig, repository)
        assert answer.status == 201, answer.text
        rig.counts.faults += 1
        everything = turn % NEW_REPOSITORY_EVERY == 0 or turn == count - 1
        found = wrong_after_cut(volume, rig, folder / f"turn{turn}", None if everything else 3)
        assert not found, found


@pytest.mark.parametrize("kind", list(BETWEEN))
def test_cut_at_any_moment(tmp_path: Path, kind: FileSystem) -> None:
    """Goal: the same at moments that nobody chose: what was answered before the cut is there, what was under way is
    there whole or not at all. Method: clients upload by four routes; the server is halted with SIGSTOP, its image is
    copied, and it goes on; afterwards a server is started on each copy.
    """
    with volume_and_rig(tmp_path, kind) as (volume, rig):
        repository = rig.repository("acme/any")
        stopping = threading.Event()

        def upload(route: Route) -> None:
            while not stopping.is_set():
                assert route.act(rig, repository).status in (201, 202)

        clients = [threading.Thread(target=upload, args=(kind(),)) for kind in (DebPut, RpmPut, Form, Maven)]
        for client in clients:
            client.start()
        kept = []
        try:
            for number in range(BETWEEN[kind]):
                time.sleep(random.uniform(0.05, 0.3))
                kept.append(halt_and_copy(volume, rig, tmp_path / f"moment{number}"))
        finally:
            stopping.set()
            for client in clients:
                client.join(60)
        for folder, answered in kept:
            rig.counts.faults += 1
            after = Rig(folder / "data", lent=rig.forker)
            after.world = World(answered, (rig.world.must | rig.world.may) - answered, counts=rig.counts)
            after.repositories = list(rig.repositories)
            with after:
                found = after.wrong()
            shutil.rmtree(folder)
            assert not found, found


def halt_and_copy(volume: LoopVolume, rig: Rig, folder: Path) -> tuple[Path, set[Key]]:
    """The data folder as a cut at this moment leaves it, and what had been acknowledged by then."""
    os.kill(rig.pid, signal.SIGSTOP)
    try:
        answered = set(rig.world.must)
        with volume.cut() as image:
            shutil.copytree(image / "data", folder / "data")
    finally:
        os.kill(rig.pid, signal.SIGCONT)
    return folder, answered


def lost_with(folder: Path, *, lies: tuple[str, ...] = (), skip: int | None = None) -> list[str]:
    """Cut after uploads to a worse server until something is lost; what it was. Empty when nothing ever was."""
    with volume_and_rig(folder, lies=lies) as (volume, rig):
        repository = rig.repository("acme/cut")
        assert put_deb(rig, repository).status == 201
        volume.sync()
        for number in range(TRIES):
            if skip is not None:
                rig.arm(skip, "SKIP", call="fsync")
            assert put_deb(rig, repository).status == 201
            found = wrong_after_cut(volume, rig, folder / f"cut{number}")
            if found:
                return found
    return []


@pytest.mark.parametrize(
    ("lies", "skip", "broken"),
    [((), 1, "I2: "), ((), 2, "I2: "), (("synchronous",), None, "I1: "), (("early",), None, "I1: ")],
    ids=["file", "folder", "catalog", "publication"],
)
def test_a_cut_finds_what_is_missing(tmp_path: Path, lies: tuple[str, ...], skip: int | None, broken: str) -> None:
    """Goal: the tests above can fail. Method: the same with the fsync of the file, or of its folder, skipped, with a
    catalog that does not wait for the disk, and with answers that come before the publication.
    """
    found = lost_with(tmp_path, lies=lies, skip=skip)
    assert any(each.startswith(broken) for each in found), found
