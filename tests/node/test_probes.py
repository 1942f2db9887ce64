"""What the probes say, from a node whose parts are all at hand: no server, no socket."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from entrepot.disk.state import State, Status
from entrepot.disk.watch import Volumes
from entrepot.node.condition import Standing
from entrepot.node.probes import Probes
from entrepot.observe.clock import FixedClock
from entrepot.observe.health import CheckResult, Draining, HealthRegistry, Heartbeat
from entrepot.settings.concerns import DiskSettings
from tests.node.statuses import a_volume, scratch


def probes(folder: Path, volumes: Sequence[Status], hung: str = "") -> tuple[Probes, Standing, FixedClock]:
    """Probes over volumes of the test's choosing; the clock stands still."""
    clock = FixedClock()
    standing = Standing(lambda: volumes, Draining())
    standing.ready = True
    watched = Volumes(DiskSettings.for_testing(), clock)
    watch = watched.add(folder, "blobs")
    made = Probes(
        version="1", clock=clock, heartbeat=Heartbeat(clock, "the event loop"), health=HealthRegistry(),
        ledger=watch.ledger, standing=standing, volumes=watched,
        stalled=lambda: CheckResult(not hung, hung), details=dict,
    )  # fmt: skip
    return made, standing, clock


def test_livez_looks_at_the_loop_and_at_calls_that_hang(tmp_path: Path) -> None:
    """Goal: 503 for a loop that stands still and for a disk that does not answer, with the cause; for nothing else."""
    made, standing, clock = probes(tmp_path, [a_volume(State.BROKEN)])
    standing.draining.stopping = True
    assert made.livez().status == 200
    clock.advance(11)
    assert (made.livez().status, made.livez().content) == (503, b"the event loop has not moved for 11 s\n")
    made, _, _ = probes(tmp_path, [], hung="the disk has not answered for 61 s")
    assert (made.livez().status, made.livez().content) == (503, b"the disk has not answered for 61 s\n")


@pytest.mark.parametrize(
    ("volumes", "status", "state"),
    [
        ([], 200, "OK"),
        ([a_volume(State.SHED)], 200, "SHED"),
        ([a_volume(State.READONLY)], 200, "READONLY"),
        ([a_volume(State.BROKEN)], 200, "BROKEN"),
        ([a_volume(), scratch(State.READONLY)], 200, "READONLY"),
        ([a_volume(), scratch(State.BROKEN)], 503, "BROKEN"),
    ],
)
def test_readyz_upload(tmp_path: Path, volumes: list[Status], status: int, state: str) -> None:
    """Goal: 503 only for what another node does not share; the state in header and body, whatever the status; reads are
    never refused for it.
    """
    made, standing, _ = probes(tmp_path, volumes)
    reply = made.readyz_upload()
    assert (reply.status, reply.headers) == (status, (f"X-Entrepot-State: {state}",))
    assert reply.content.decode().splitlines()[0] == state
    assert made.readyz().status == 200
    standing.draining.stopping = True
    assert (made.readyz().status, made.readyz_upload().status) == (503, 503)
    standing.draining.stopping, standing.ready = False, False
    assert (made.readyz().content, made.readyz_upload().status) == (b"starting\n", 503)
