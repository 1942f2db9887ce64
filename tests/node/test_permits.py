"""Permits of a fleet: few at once, ended by time, and none when the catalog cannot be asked."""

import threading
from pathlib import Path

import pytest

from entrepot.catalog import nodes
from entrepot.catalog.engine import Catalog
from entrepot.model.errors import Refusal
from entrepot.node.permits import FleetPermits, LonePermits
from entrepot.observe.clock import FixedClock
from tests.catalog.helpers import open_catalog


@pytest.fixture
def clock() -> FixedClock:
    """A clock of the test's own."""
    return FixedClock()


def fleet(catalog: Catalog, clock: FixedClock, size: int) -> list[FleetPermits]:
    """Nodes that have all been seen."""
    made = [FleetPermits(catalog, clock, f"node{number}") for number in range(size)]
    for each in made:
        each.beat()
    return made


def test_a_fifth_of_the_fleet_at_once(tmp_path: Path, clock: FixedClock) -> None:
    """Goal: of eleven nodes that ask at the same moment two may go; who has a permit may ask again; a permit ends by
    time. Method: a thread a node over one catalog.
    """
    catalog = open_catalog(tmp_path)
    made = fleet(catalog, clock, 11)
    answers: dict[int, bool] = {}
    threads = [threading.Thread(target=lambda n=n: answers.update({n: made[n].ask()})) for n in range(len(made))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(answers.values()) == 2
    holder = next(number for number, granted in answers.items() if granted)
    other = next(number for number, granted in answers.items() if not granted)
    assert made[holder].ask()
    assert not made[other].ask()
    clock.advance(nodes.PERMIT_S + 1)
    for each in made:
        each.beat()
    assert made[other].ask()
    catalog.close()


def test_the_dead_do_not_count(tmp_path: Path, clock: FixedClock) -> None:
    """Goal: nodes that are gone give no permits, but the permit of one that retired holds until its successor is up;
    rows of the dead go after a day.
    """
    catalog = open_catalog(tmp_path)
    made = fleet(catalog, clock, 10)
    assert made[0].ask()
    assert made[1].ask()
    assert not made[2].ask()
    clock.advance(nodes.LIVE_S + 1)
    for each in made[2:5]:
        each.beat()
    assert not made[2].ask()  # three are left: one permit, and two are out
    clock.advance(nodes.FORGET_S)
    FleetPermits(catalog, clock, "new").beat()
    with catalog.read() as conn:
        assert nodes.live(conn, clock.now_s()) == 1
    assert not made[0].ask()  # forgotten: it has no row to hold a permit
    catalog.close()


class Failing:
    """A catalog on a full volume."""

    def submit(self, _work: object) -> bool:
        """Fails."""
        raise Refusal("catalog_failed")


def test_no_catalog_no_permit(clock: FixedClock) -> None:
    """Goal: nodes that cannot ask stay; a node that is alone needs nobody, and no disk."""
    failing = FleetPermits(Failing(), clock, "a")  # type: ignore[arg-type]
    failing.beat()
    assert not failing.ask()
    assert LonePermits().ask()
