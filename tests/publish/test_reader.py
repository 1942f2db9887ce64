"""What the reader remembers must never outlive what it was read from."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from entrepot.model import limits
from entrepot.observe.clock import FixedClock
from entrepot.publish import scope
from entrepot.publish.publisher import Publisher
from entrepot.upkeep.collect import Collector
from entrepot.upkeep.retention import Policy, Retention
from tests.publish.toy import Bed


@pytest.fixture
def bed(tmp_path: Path) -> Iterator[Bed]:
    made = Bed(tmp_path / "data", FixedClock())
    yield made
    made.close()


@pytest.fixture
def publisher(bed: Bed) -> Iterator[Publisher]:
    made = bed.publisher()
    made.start()
    yield made
    made.stop()


@pytest.fixture
def no_tail(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every addition builds the sorted segments again, as a merge does."""
    monkeypatch.setattr(scope, "TAIL_ENTRIES_MAX", 0)


def publish(bed: Bed, publisher: Publisher, name: str, *, remove: bool = False) -> None:
    """Add or remove one entry, wait until it shows, and let a second pass."""
    ticket = bed.remove([name]) if remove else bed.add([name])
    publisher.notify([ticket])
    assert publisher.wait([ticket], 30)
    assert isinstance(bed.clock, FixedClock)
    bed.clock.advance(1)


def read(bed: Bed, name: str, client: str = "c") -> bytes:
    """An entry point as a member of a pair."""
    view = bed.reader.entry(1, "toy/1", "", name, client, "pair")
    assert view is not None
    assert isinstance(view.content, bytes)
    return view.content


def digest_of(bed: Bed, path: str) -> str:
    """The sha256 of an index file as it is now."""
    view = bed.reader.entry(1, "toy/1", "", path)
    assert view is not None
    return view.sha256


def test_the_first_file_again_after_signature_and_key_is_the_same_run(bed: Bed, publisher: Publisher) -> None:
    """Goal: zypper's order (index, signature, key, index) gets one generation, and the next run a new one.

    Method: publish before each read; compare with what was current when the run began.
    """
    publish(bed, publisher, "a")
    for run in range(2):
        first = read(bed, "manifest")
        signature = bed.fetch("manifest.sig")
        publish(bed, publisher, f"{run}-1")
        assert read(bed, "manifest.sig") == signature
        publish(bed, publisher, f"{run}-2")
        read(bed, "key")
        publish(bed, publisher, f"{run}-3")
        assert read(bed, "manifest") == first
        assert read(bed, "manifest") == bed.fetch("manifest") != first, "once only"


def test_the_key_fixes_nothing(bed: Bed, publisher: Publisher) -> None:
    """Goal: reading the key never makes an index stale. Method: key alone, and key between two looks, then publish."""
    publish(bed, publisher, "a")
    read(bed, "key")
    publish(bed, publisher, "b")
    assert read(bed, "manifest") == bed.fetch("manifest")
    read(bed, "key")
    publish(bed, publisher, "c")
    assert read(bed, "manifest") == bed.fetch("manifest"), "no signature was read: not zypper's order"


def test_pins_that_are_over_are_dropped(bed: Bed, publisher: Publisher) -> None:
    """Goal: what pins hold is bounded by time. Method: 50 clients, then one more when their time is over."""
    publish(bed, publisher, "a")
    for number in range(50):
        read(bed, "manifest", f"client {number}")
    assert isinstance(bed.clock, FixedClock)
    bed.clock.advance(limits.PAIR_S + 1)
    read(bed, "manifest", "the last")
    assert len(bed.reader._pins) == 1


def test_a_content_that_comes_back_is_served_by_digest(bed: Bed, publisher: Publisher, no_tail: None) -> None:
    """Goal: an index file that was asked for while it did not exist, or whose first base was collected, is served
    when its content is current again.

    Method: list {a}, {a, b}, {a} … with collection of everything old in between; read by digest at each step.
    """
    collector = Collector(bed.catalog, bed.store, bed.clock)
    retention = Retention(bed.catalog, bed.clock, lambda: 0, Policy(0, 0, 0))

    def forget_old() -> None:
        assert isinstance(bed.clock, FixedClock)
        bed.clock.advance(5)
        retention.run()
        collector.free_unreferenced()

    publish(bed, publisher, "a")
    alone = digest_of(bed, "x/one.gz")
    content = bed.by_digest(alone)
    assert content is not None
    for turn in range(3):
        publish(bed, publisher, f"y{turn}")
        forget_old()
        assert bed.by_digest(alone) is None, "retention should have dropped it"
        publish(bed, publisher, f"y{turn}", remove=True)
        assert digest_of(bed, "x/one.gz") == alone
        assert bed.by_digest(alone) == content
        publish(bed, publisher, f"z{turn}")
        publish(bed, publisher, f"z{turn}", remove=True)  # the same content on a new base, the old one unneeded
        forget_old()
        assert bed.by_digest(alone) == content


def test_a_content_that_comes_back_is_stored_once(bed: Bed, publisher: Publisher, no_tail: None) -> None:
    """Goal: yank and unyank in turn do not fill the store. Method: ten rounds back to one content, then count."""
    publish(bed, publisher, "a")
    for turn in range(10):
        publish(bed, publisher, f"y{turn}")
        publish(bed, publisher, f"y{turn}", remove=True)
    assert bed.stored_keys() == bed.known_keys()
    with bed.catalog.read() as conn:
        blobs = conn.exec_driver_sql("SELECT blob_id, count(*) FROM copy GROUP BY blob_id HAVING count(*) > 1").all()
    assert blobs == []
