"""Publications against a model: whatever is added, removed, merged or restarted, the index lists exactly what it
should.
"""

import gzip
import hashlib
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from entrepot.observe.clock import FixedClock
from entrepot.publish import base, index, scope
from entrepot.publish.publisher import Publisher
from tests.publish.toy import Bed


@pytest.fixture
def bed(tmp_path: Path) -> Iterator[Bed]:
    made = Bed(tmp_path / "data")
    yield made
    made.close()


@pytest.fixture
def small_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Segments and tails of a few entries, so that a short test crosses every boundary."""
    monkeypatch.setattr(base, "SEGMENT_ENTRIES_MAX", 8)
    monkeypatch.setattr(base, "SEGMENT_BYTES_MAX", 400)
    monkeypatch.setattr(index, "TAIL_ENTRIES_MAX", 10)
    monkeypatch.setattr(scope, "TAIL_ENTRIES_MAX", 10)
    monkeypatch.setattr(scope, "PUBLICATION_ADDITIONS_MAX", 6)


def run(publisher: Publisher, bed: Bed) -> None:
    """Wait until nothing is dirty and no merge waits."""
    assert publisher.wait([bed.add([])], 30)


def test_first_publication_lists_nothing_and_is_whole(bed: Bed) -> None:
    """Goal: a scope that holds nothing has a complete, signed, empty index. Method: publish, read every form."""
    publisher = bed.publisher()
    publisher.start()
    run(publisher, bed)
    publisher.stop()
    assert bed.listing() == []
    assert b"BEGIN PGP SIGNED MESSAGE" in bed.fetch("manifest.clear")
    assert b"BEGIN PGP SIGNATURE" in bed.fetch("manifest.sig")
    assert b"PUBLIC KEY" in bed.fetch("key")


def test_random_steps_against_a_model(bed: Bed, small_limits: None) -> None:
    """Goal: no order of additions, removals, merges and restarts shows anything but the model's entries.

    Method: 100 random steps with tiny segments and tails; after each, wait for the ticket and read every form of
    every stream.
    """
    chance = random.Random(7)
    model: set[str] = set()
    everywhere: set[str] = set()
    other: set[str] = set()
    publisher = bed.publisher()
    publisher.start()
    for step in range(100):
        kind = chance.random()
        if kind < 0.55 or not model:
            names = [
                f"{chance.randrange(10**6):06d}-{step}-{item}" for item in range(chance.choice((1, 1, 1, 3, 9, 25)))
            ]
            part = chance.choice(("x", "x", "x", "all", "y"))
            {"x": model, "all": everywhere, "y": other}[part].update(names)
            ticket = bed.add(names, part)
        elif kind < 0.9:
            pool = sorted(chance.choice([item for item in (model, everywhere, other) if item]))
            names = chance.sample(pool, min(len(pool), chance.choice((1, 1, 2, 12))))
            for group in (model, everywhere, other):
                group.difference_update(names)
            ticket = bed.remove(names)
        else:
            publisher.stop()
            publisher = bed.publisher()
            publisher.start()
            continue
        publisher.notify([ticket])
        assert publisher.wait([ticket], 30)
        listed = bed.listing("x")
        assert sorted(listed) == sorted(model | everywhere), step
        if other:
            assert sorted(bed.listing("y")) == sorted(other | everywhere), step
    publisher.stop()
    assert bed.known_keys() == bed.stored_keys()


def test_merges_sort_the_base(bed: Bed, small_limits: None) -> None:
    """Goal: entries leave upload order when the tail is merged. Method: 60 single additions in falling order, then
    look.
    """
    publisher = bed.publisher()
    publisher.start()
    for number in range(60, 0, -1):
        ticket = bed.add([f"{number:03d}"])
        publisher.notify([ticket])
        assert publisher.wait([ticket], 30)
    publisher.stop()
    publisher = bed.publisher()
    publisher.start()
    run(publisher, bed)
    publisher.stop()
    listed = bed.listing()
    assert sorted(listed) == [f"{number:03d}" for number in range(1, 61)]
    sorted_part = next(i for i in range(len(listed)) if listed[: i + 1] != sorted(listed[: i + 1]))
    assert sorted_part >= 30, "the base never took the tail in"


def test_old_generations_stay_readable_by_digest(bed: Bed, small_limits: None) -> None:
    """Goal: an index file that was published once is served byte for byte after later publications and merges.

    Method: keep every generation's digest with its content, publish through several merges and removals, read all back.
    """
    publisher = bed.publisher()
    publisher.start()
    kept: dict[str, bytes] = {}
    for number in range(40):
        ticket = bed.remove([f"{number - 3:03d}"]) if number % 7 == 6 else bed.add([f"{number:03d}"])
        publisher.notify([ticket])
        assert publisher.wait([ticket], 30)
        for path in ("x/one.gz", "x/two.gz", "x/two"):
            content = bed.fetch(path)
            kept[hashlib.sha256(content).hexdigest()] = content
    publisher.stop()
    assert len(kept) > 80
    for digest, content in kept.items():
        assert bed.by_digest(digest) == content
    assert bed.by_digest("f" * 64) is None


def test_ranges_of_an_index_file(bed: Bed, small_limits: None) -> None:
    """Goal: any byte range of both forms is that slice of the whole. Method: random ranges across segment borders."""
    publisher = bed.publisher()
    publisher.start()
    ticket = bed.add([f"{number:03d}" for number in range(50)])
    publisher.notify([ticket])
    assert publisher.wait([ticket], 30)
    publisher.stop()
    chance = random.Random(1)
    for path in ("x/one.gz", "x/one"):
        view = bed.reader.entry(1, "toy/1", "", path)
        assert view is not None
        assert not isinstance(view.content, bytes)
        whole = bed.fetch(path)
        for _ in range(60):
            low = chance.randrange(len(whole))
            high = chance.randrange(low, len(whole) + 1)
            assert b"".join(view.content.iterate(low, high)) == whole[low:high]


def test_a_restart_continues_the_same_bytes(bed: Bed) -> None:
    """Goal: a new process appends to the deflate stream of the last one. Method: publish, restart, publish."""
    for name in ("a", "b", "c"):
        publisher = bed.publisher()
        publisher.start()
        ticket = bed.add([name])
        publisher.notify([ticket])
        assert publisher.wait([ticket], 30)
        publisher.stop()
    assert bed.listing() == ["a", "b", "c"]
    assert gzip.decompress(bed.fetch("x/one.gz")).count(b"\n") == 3


def test_a_ticket_of_before_the_restart_is_answered_at_once(bed: Bed) -> None:
    """Goal: the same bytes sent again after a restart do not wait for a publication that was made long ago.

    Method: publish, restart, wait for the old ticket as an upload does. Seen to run into the timeout without the
    announcement of what was published already.
    """
    publisher = bed.publisher()
    publisher.start()
    ticket = bed.add(["a"])
    publisher.notify([ticket])
    assert publisher.wait([ticket], 30)
    publisher.stop()
    publisher = bed.publisher()
    publisher.start()
    publisher.notify([ticket])
    assert publisher.wait([ticket], 20)
    publisher.stop()


def test_dates_never_go_back_and_304_is_true(tmp_path: Path) -> None:
    """Goal: Date = max(now, previous); Last-Modified is never in the future; 304 only when it cannot be wrong.

    Method: a clock that is set by hand: two publications in one second, a clock set back, seconds that pass.
    """
    clock = FixedClock(1_000_000.0)
    bed = Bed(tmp_path / "data", clock)
    publisher = bed.publisher()
    publisher.start()

    def publish(name: str) -> tuple[int, bool]:
        ticket = bed.add([name])
        publisher.notify([ticket])
        assert publisher.wait([ticket], 30)
        view = bed.reader.entry(1, "toy/1", "", "manifest")
        assert view is not None
        return view.last_modified_s, view.not_modified_safe

    run(publisher, bed)
    clock.advance(3)
    assert publish("a") == (1_000_003, False), "its second is not over"
    clock.advance(1)
    view = bed.reader.entry(1, "toy/1", "", "manifest")
    assert view is not None
    assert view.not_modified_safe
    assert publish("b")[0] == 1_000_004
    assert publish("c") == (1_000_004, False)
    clock.advance(5)
    view = bed.reader.entry(1, "toy/1", "", "manifest")
    assert view is not None
    assert not view.not_modified_safe, "two publications shared that second"
    clock.set(999_000.0)
    assert publish("d") == (999_000, False), "Last-Modified must not lie in the future"
    assert b'"date": 1000004' in bed.fetch("manifest"), "Date must not go back"
    publisher.stop()
    bed.close()


def test_a_pair_is_read_from_one_generation(tmp_path: Path) -> None:
    """Goal: a client that read the first file of a pair gets the second of the same generation for ten seconds.

    Method: read one name, publish, read the other with the same client key, with another key, and after the time.
    """
    clock = FixedClock()
    bed = Bed(tmp_path / "data", clock)
    publisher = bed.publisher()
    publisher.start()

    def publish(name: str) -> None:
        ticket = bed.add([name])
        publisher.notify([ticket])
        assert publisher.wait([ticket], 30)
        clock.advance(1)

    def read(name: str, client: str) -> bytes:
        view = bed.reader.entry(1, "toy/1", "", name, client, "pair")
        assert view is not None
        assert isinstance(view.content, bytes)
        return view.content

    publish("a")
    first, signature = read("manifest", "c1"), bed.fetch("manifest.sig")
    publish("b")
    assert read("manifest.sig", "c1") == signature
    assert read("manifest.sig", "c2") == bed.fetch("manifest.sig") != signature
    assert read("manifest", "c1") != first, "the first file again means a new look"
    publish("c")
    clock.advance(11)
    assert read("manifest.sig", "c1") == bed.fetch("manifest.sig")
    publisher.stop()
    bed.close()
