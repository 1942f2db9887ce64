"""The collector forgets rows while a merge that still lists them waits to be shown."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from entrepot.catalog import blobs
from entrepot.observe.clock import SystemClock
from entrepot.publish import index, scope
from entrepot.publish.base import BaseBuilder
from entrepot.publish.scope import Merged, ScopeWriter
from tests.publish.test_fencing import show, writer
from tests.publish.toy import Bed, ToyFormat


@pytest.fixture
def bed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bed]:
    monkeypatch.setattr(index, "TAIL_ENTRIES_MAX", 4)
    monkeypatch.setattr(scope, "TAIL_ENTRIES_MAX", 4)
    made = Bed(tmp_path / "data", SystemClock())
    yield made
    made.close()


def merge(bed: Bed, made: ScopeWriter) -> list[Merged]:
    """What the background thread builds of the full tails as they are now."""
    found = []
    for spec, built, change in made.full_indexes():
        builder = BaseBuilder(bed.catalog, bed.segments, ToyFormat(), 1, spec)
        base = builder.build(built, made.touched_since(spec, built, change), change, change)
        found.append(Merged(spec.name, change, base, tuple(builder.written)))
    return found


def purge(bed: Bed) -> int:
    """Forget every yanked file whose removal is published, as `entrepot gc` does."""
    return bed.catalog.submit(lambda conn: blobs.purge_yanked(conn, 10**12, bed.clock.now_s()))


@pytest.mark.parametrize("forget", [True, False])
def test_an_entry_that_was_purged_during_a_merge_never_comes_back(bed: Bed, *, forget: bool) -> None:
    """Goal: a merge shows nothing that was yanked meanwhile, whether or not a row still says so, and leaves no bytes.

    Method: fill a tail, build its merge, yank an entry of it, publish, (collect,) show the merge. Seen to fail with
    _drop_stale_merges answering an empty list.
    """
    made = writer(bed, "node")
    for name in "abcde":
        bed.add([name])
        show(bed, made)
    merged = merge(bed, made)
    assert len(merged) == 1
    bed.remove(["c"])
    show(bed, made)
    if forget:
        assert purge(bed) == 1
    made.merged = {item.index_name: item for item in merged}
    bed.add(["f"])
    show(bed, made)
    assert sorted(bed.listing()) == ["a", "b", "d", "e", "f"]
    assert len(merge(bed, made)) == (1 if forget else 0), "a dropped merge is planned anew, a shown one is over"
    made.settle([key for item in merged for key in item.written])
    assert bed.known_keys() <= bed.stored_keys()
