"""Old generations: kept by time, dropped by time, capped by bytes, and never a file of a generation that is shown."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from entrepot.catalog import retention as sql
from entrepot.observe.clock import FixedClock
from entrepot.publish import base, index, scope
from entrepot.upkeep.collect import Collector
from entrepot.upkeep.retention import Policy, Retention
from tests.publish.toy import Bed


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock(3_600_000.0)


@pytest.fixture
def bed(tmp_path: Path, clock: FixedClock, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bed]:
    monkeypatch.setattr(base, "SEGMENT_ENTRIES_MAX", 8)
    monkeypatch.setattr(index, "TAIL_ENTRIES_MAX", 10)
    monkeypatch.setattr(scope, "TAIL_ENTRIES_MAX", 10)
    made = Bed(tmp_path / "data", clock)
    yield made
    made.close()


def publish(bed: Bed, clock: FixedClock, count: int, step_s: float) -> dict[str, float]:
    """Publish ``count`` generations ``step_s`` apart; returns the digest of each index file → when it was shown."""
    shown: dict[str, float] = {}
    publisher = bed.publisher()
    publisher.start()
    for number in range(count):
        clock.advance(step_s)
        ticket = bed.add([f"{len(shown):04d}-{clock.now_s()}-{number}"])
        publisher.notify([ticket])
        assert publisher.wait([ticket], 30)
        shown[hashlib.sha256(bed.fetch("x/one.gz")).hexdigest()] = clock.now()
    publisher.stop()
    return shown


def test_each_for_an_hour_then_the_last_of_each_hour_for_a_day(bed: Bed, clock: FixedClock) -> None:
    """Goal: the time rules. Method: a publication every 10 minutes for 5 hours, then look at what is left after
    passes.
    """
    shown = publish(bed, clock, 30, 600)
    retention = Retention(bed.catalog, clock, lambda: 10**12)
    retention.run()
    left = {digest for digest in shown if _kept(bed, digest)}
    for digest, at in shown.items():
        if at >= clock.now() - 3600:
            assert digest in left, "younger than an hour"
    old = [at for digest, at in shown.items() if digest in left and at < clock.now() - 2 * 3600]
    assert 2 <= len(old) <= 4, "one for each older hour"
    clock.advance(26 * 3600)
    retention.run()
    left = {digest for digest in shown if _kept(bed, digest)}
    assert left == {hashlib.sha256(bed.fetch("x/one.gz")).hexdigest()}, "the shown one stays for ever"
    assert bed.listing()


def test_the_cap_drops_the_oldest_but_never_under_fifteen_minutes(bed: Bed, clock: FixedClock) -> None:
    """Goal: old generations fit the cap, and what was shown in the last 15 minutes stays. Method: a cap of nothing."""
    shown = publish(bed, clock, 40, 60)
    report = Retention(bed.catalog, clock, lambda: 0).run()
    assert report.versions_dropped > 0
    for digest, at in shown.items():
        assert _kept(bed, digest) == (at >= clock.now() - 16 * 60), clock.now() - at
    assert bed.listing()


def test_what_only_old_generations_used_is_freed(bed: Bed, clock: FixedClock) -> None:
    """Goal: segments and their bytes go with the last generation that used them, and nothing else does.

    Method: many merges and removals; drop everything old; the store must hold exactly the segments of the shown
    generation.
    """
    publish(bed, clock, 60, 30)
    publisher = bed.publisher()
    publisher.start()
    with bed.catalog.read() as conn:
        before = sql.old_bytes(conn)
    assert before.segments > 0
    publisher.stop()
    clock.advance(48 * 3600)
    report = Retention(bed.catalog, clock, lambda: 10**12, Policy()).run()
    assert report.segments_dropped >= before.segments
    assert (report.left.versions, report.left.total_bytes) == (0, 0)
    stored = len(bed.stored_keys())
    freed = Collector(bed.catalog, bed.store, clock).free_unreferenced()
    assert freed.blobs > 0
    assert len(bed.stored_keys()) == stored - freed.blobs or bed.known_keys() == bed.stored_keys()
    assert bed.known_keys() == bed.stored_keys()
    assert len(bed.listing()) == 60


def _kept(bed: Bed, digest: str) -> bool:
    with bed.catalog.read() as conn:
        from entrepot.catalog import publications

        return publications.version_by_sha256(conn, 1, digest) is not None
