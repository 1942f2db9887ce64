"""Random sequences of changes, faults, full volumes, kills and restarts against a model, as hypothesis finds them.

A sequence that broke an invariant is kept below as a test of its own (`REGRESSIONS`): hypothesis's own database is not
in the repository.
"""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.fault.rig import FULL, GOOD, Answer, Rig, check_answer
from tests.fault.routes import TAIL_ENTRIES, fresh_deb, yank
from tests.support.volumes import MIB, Volume, tmpfs

pytestmark = [pytest.mark.fault, pytest.mark.timeout(3600)]


REPOSITORY = "acme/model"
ENV = {"ENTREPOT_UPLOAD_PUBLICATION_WAIT_S": "2"}

File = tuple[str, bytes]


class Changes(RuleBasedStateMachine):
    """One server on a small tmpfs; ``rig.world`` is the model."""

    volume_bytes = 48 * MIB

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory(prefix="stateful-")
        folder = Path(self._folder.name)
        self._tmpfs = tmpfs(folder / "disk", self.volume_bytes)
        self.volume: Volume = self._tmpfs.__enter__()
        self.rig = Rig(self.volume.path / "data", env=ENV, lies=[f"tail={TAIL_ENTRIES}"])
        self.rig.control, self.rig.log_path = folder / "control", folder / "server.log"
        self.rig.env["FAULT_CONTROL"] = str(self.rig.control)
        self.there: list[File] = []
        self.yanked: list[File] = []
        self.full = False
        self.orphans = 0

    @initialize()
    def begin(self) -> None:
        """Start with one empty repository."""
        self.rig.start()
        self.rig.repository(REPOSITORY)

    # ------------------------------------------------------------------ changes

    def _put(self, file: File) -> Answer:
        answer = self.rig.send("PUT", f"/{REPOSITORY}/debian/bookworm/{file[0]}", content=file[1])
        self.rig.world.sent(REPOSITORY, file[1], answer)
        check_answer(answer, f"upload of {file[0]}")
        return answer

    @rule(size_bytes=st.sampled_from((0, 70_000, 1_200_000)))
    def add(self, size_bytes: int) -> None:
        """A new file. (hypothesis takes the first rule by name where nothing else decides: it should do something.)"""
        file = fresh_deb(size_bytes)
        answer = self._put(file)
        if answer.status in GOOD:
            self.there.append(file)
        else:
            assert self.full, f"refused, and there was room: {answer.text} {self.rig.statusz()['volumes']}"

    @precondition(lambda self: self.there)
    @rule(which=st.randoms(use_true_random=False))
    def upload_again(self, which: Any) -> None:
        """A file that is there: 200, or a refusal while there is no room."""
        assert self._put(which.choice(self.there)).status in (200, 503)

    @precondition(lambda self: self.there)
    @rule(which=st.randoms(use_true_random=False))
    def take_out(self, which: Any) -> None:
        """A yank works on a full volume too."""
        file = which.choice(self.there)
        answer = yank(self.rig, REPOSITORY, *file)
        assert answer.status == 200, answer.text
        self.there.remove(file)
        self.yanked.append(file)

    @precondition(lambda self: self.yanked)
    @rule(which=st.randoms(use_true_random=False))
    def put_back(self, which: Any) -> None:
        """An unyank, unless the collection was first."""
        file = which.choice(self.yanked)
        answer = self.rig.send("POST", f"/api/v2/repos/{REPOSITORY}/unyank", json={"filename": file[0]})
        assert answer.status in (200, 404, 503), answer.text
        if answer.status == 200:
            self.rig.world.returned(REPOSITORY, file[1], answer)
            self.there.append(file)
            self.yanked.remove(file)

    @rule()
    def collect(self) -> None:
        """A collection works on a full volume too."""
        answer = self.rig.send("POST", "/api/v2/gc", json={})
        assert answer.status == 200, answer.text

    # ------------------------------------------------------------------ trouble

    @rule(
        nth=st.integers(1, 12),
        action=st.sampled_from(("ENOSPC", "EDQUOT", "EIO", "SHORT")),
        on=st.booleans(),
        size_bytes=st.sampled_from((0, 1_200_000)),
    )
    def upload_with_a_fault(self, nth: int, action: str, on: bool, size_bytes: int) -> None:
        """An upload of which a file call fails."""
        file = fresh_deb(size_bytes)
        self.rig.arm(nth, action, call="write" if action == "SHORT" else "*", on=on)
        answer = self._put(file)
        if not self.rig.disarm()["reached"]:
            self.rig.counts.faults -= 1  # put in force, and never met
        self.orphans += 2
        self.rig.wait_written()
        if answer.status in GOOD:
            self.there.append(file)

    @rule(nth=st.integers(1, 12))
    def upload_with_a_kill(self, nth: int) -> None:
        """The process ends in the middle of an upload, or right after it."""
        file = fresh_deb(0)
        self.rig.arm(nth, "KILL")
        answer = self.rig.send("PUT", f"/{REPOSITORY}/debian/bookworm/{file[0]}", content=file[1])
        self.rig.world.sent(REPOSITORY, file[1], answer)
        self.rig.kill9()
        self.orphans += 2
        self.rig.start()
        if answer.status in GOOD:
            self.there.append(file)

    @rule()
    def restart(self) -> None:
        """Stop in order and start again, on a full volume too."""
        self.rig.restart()

    @precondition(lambda self: not self.full)
    @rule()
    def fill(self) -> None:
        """Another process takes all the room."""
        self.volume.fill()
        self.rig.counts.faults += 1
        self.full = True

    @precondition(lambda self: self.full)
    @rule()
    def free(self) -> None:
        """The room comes back."""
        (self.volume.path / "filler").unlink()
        self.full = False

    @invariant()
    def holds(self) -> None:
        """I1 to I4 after each step."""
        if self.rig.process is not None:
            self.rig.check()
            self.rig.check_idle(orphans_max=self.orphans)

    def teardown(self) -> None:
        """End the server and its volume."""
        self.rig.close()
        self._tmpfs.__exit__(None, None, None)
        self._folder.cleanup()


class RoomyChanges(Changes):
    """The same where only ``fill`` can make a lack of room: forty of the largest files fit, and the catalog's log."""

    volume_bytes = 128 * MIB


def test_random_sequences() -> None:
    """Goal: I1 to I5 whatever comes after what. Method: hypothesis chooses the steps, and shrinks what fails."""
    run_state_machine_as_test(
        RoomyChanges,
        settings=settings(
            max_examples=40 if FULL else 2,
            stateful_step_count=40 if FULL else 10,
            deadline=None,
            derandomize=not FULL,
            database=None,
            suppress_health_check=list(HealthCheck),
            phases=(Phase.generate, Phase.shrink) if FULL else (Phase.generate,),
        ),
    )


def full_then_killed(machine: Changes) -> None:
    """A kill on a full volume, then room again: the start needs none."""
    machine.add(0)
    machine.fill()
    machine.restart()
    machine.upload_with_a_kill(3)
    machine.free()
    machine.add(0)


def emptied_on_a_full_volume(machine: Changes) -> None:
    """All that was there goes while there is no room."""
    for _ in range(TAIL_ENTRIES + 1):
        machine.add(70_000)
    machine.fill()
    for file in list(machine.there):
        assert yank(machine.rig, REPOSITORY, *file).status == 200
        machine.there.remove(file)
    machine.collect()
    machine.free()
    machine.add(1_200_000)


def killed_again_and_again(machine: Changes) -> None:
    """Starts after kills leave as much room as the first one; the log once grew by the spare room each time."""
    for nth in (3, 1):
        machine.upload_with_a_kill(nth)
        machine.collect()
    machine.add(0)


REGRESSIONS: tuple[Callable[[Changes], None], ...] = (
    full_then_killed,
    emptied_on_a_full_volume,
    killed_again_and_again,
)


@pytest.mark.parametrize("steps", REGRESSIONS, ids=lambda steps: steps.__name__)
def test_kept_sequences(steps: Callable[[Changes], None]) -> None:
    """Goal: what broke once, or must never, stays well. Method: the steps as they were found."""
    machine = Changes()
    try:
        machine.begin()
        steps(machine)
        machine.rig.wait_written()
        machine.holds()
    finally:
        machine.teardown()
