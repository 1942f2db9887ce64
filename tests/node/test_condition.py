"""What a node says of itself to balancers: only its own trouble keeps traffic away, and the last percent stays."""

import pytest

from entrepot.disk.state import State, Status
from entrepot.node.agent import line
from entrepot.node.condition import judge
from tests.node.statuses import GB, a_volume, scratch


@pytest.mark.parametrize(
    ("volume", "weight"),
    [
        (a_volume(), 100),
        (a_volume(State.PRESSURE, available_bytes=25 * GB), 50),
        (a_volume(State.PRESSURE, available_bytes=12 * GB), 10),
        (a_volume(State.PRESSURE, available_bytes=18_500_000_000), 30),
        (a_volume(State.PRESSURE, available_bytes=90 * GB, inodes_available=70), 10),
        (a_volume(State.PRESSURE, available_bytes=90 * GB, inodes_available=None, inodes_total=None), 50),
        (a_volume(State.SHED), 1),
        (a_volume(State.READONLY), 1),
        (a_volume(State.BROKEN), 1),
    ],
)
def test_weights(volume: Status, weight: int) -> None:
    """Goal: the weight follows what is left, and no state of a volume makes it 0: a balancer without weights answers
    503 itself, for reads too.
    """
    assert judge([a_volume(), volume], up=True).weight_percent == weight
    assert line(judge([volume], up=True)) == f"up ready {weight}%\n".encode()


def test_only_a_node_on_its_way_says_drain() -> None:
    """Goal: `drain` while starting, stopping and retiring, whatever the volumes say."""
    assert line(judge([a_volume()], up=False)) == b"drain\n"
    assert line(judge([a_volume()], up=True, retiring="retiring: memory")) == b"drain\n"
    assert line(judge([], up=True)) == b"up ready 100%\n"


@pytest.mark.parametrize("state", list(State))
def test_the_volume_of_the_packages_keeps_nobody_away(state: State) -> None:
    """Goal: a full or failing volume that holds the packages fails no probe; a scratch volume that a restart empties
    does, once it fails.
    """
    assert not judge([a_volume(state)], up=True).keep_away
    assert judge([a_volume(), scratch(state)], up=True).keep_away == (state in (State.RECYCLE, State.BROKEN))


def test_the_worst_volume_speaks_for_the_node() -> None:
    """Goal: the node's state is its worst volume's, with each volume's cause; retiring is RECYCLE and comes first."""
    volumes = [a_volume(State.PRESSURE, cause="20 GB left"), scratch(State.READONLY, cause="ENOSPC")]
    now = judge(volumes, up=True)
    assert (now.state, now.causes) == (State.READONLY, ("/srv/entrepot: 20 GB left", "/tmp: ENOSPC"))
    now = judge(volumes, up=True, retiring="retiring: memory")
    assert (now.state, now.causes[0], now.keep_away) == (State.RECYCLE, "retiring: memory", True)
