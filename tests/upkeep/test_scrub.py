"""The scrub on a real store with a clock that stands still: what it finds, what it forgets, how fast it goes."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from entrepot.catalog import damage
from entrepot.catalog.blobs import CopyRow
from entrepot.observe import metrics
from entrepot.upkeep.scrub import AGAIN_S, COPY_COST_BYTES, IDLE_S, Scrubber, Stopped
from tests.disk.mounts import needs_root, tmpfs
from tests.upkeep.saving import Bed, bed_in, small_catalogs

pytestmark = needs_root
MIB = 1 << 20
RATE = 1 * MIB
WEEK_S = 7 * 86_400


@dataclass
class Scrubbing:
    """A bed and a scrubber whose waits let its clock go on."""

    bed: Bed
    waited_s: float = 0.0
    stopping: bool = False
    scrubber: Scrubber = field(init=False)

    def __post_init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Another process."""
        self.scrubber = Scrubber(
            self.bed.catalog, self.bed.store, self.bed.clock, self.wait, bytes_per_s=RATE, round_s=WEEK_S
        )

    def wait(self, seconds: float) -> bool:
        """Let time pass."""
        self.waited_s += seconds
        self.bed.clock.advance(seconds)
        return self.stopping

    def steps(self, count: int = 1) -> None:
        """Some steps, each after the wait that the last one asked for."""
        for _ in range(count):
            self.wait(self.scrubber.step())

    def round(self) -> None:
        """Until a round is over."""
        ended = self.document["ended_at"]
        for _ in range(1000):
            self.steps()
            if self.document["ended_at"] != ended:
                return
        raise AssertionError("no round ended")

    @property
    def document(self) -> dict[str, object]:
        """What ``/statusz`` shows."""
        return self.scrubber.document()

    def found(self) -> dict[str, str]:
        """path → why of what is damaged."""
        listed = self.document["damaged"]
        assert isinstance(listed, list)
        return {each["path"]: each["why"] for each in listed}


@pytest.fixture
def scrub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scrubbing]:
    with tmpfs(tmp_path / "volume", size_bytes=128 * MIB) as volume, small_catalogs(monkeypatch), bed_in(volume) as bed:
        yield Scrubbing(bed)


def test_a_round_finds_what_rots_and_what_is_gone(scrub: Scrubbing) -> None:
    """Goal: a flipped bit, a cut file and a missing one are found and named, a sound store is left in peace; the
    metric counts them. Method: a round of a sound store, then of one with each kind of damage."""
    bed = scrub.bed
    keys = {name: bed.add(name) for name in ("fine", "flipped", "cut", "gone")}
    scrub.round()
    assert scrub.found() == {}
    assert scrub.document["copies"] == 4
    for name in ("flipped", "cut"):
        bed.path(keys[name]).chmod(0o600)
    bed.path(keys["flipped"]).write_bytes(bed.path(keys["flipped"]).read_bytes().replace(b"x", b"y", 1))
    bed.path(keys["cut"]).write_bytes(b"short")
    bed.path(keys["gone"]).unlink()
    bed.clock.advance(WEEK_S)
    scrub.round()
    assert {path.rpartition("/")[2]: why for path, why in scrub.found().items()} == {
        keys["flipped"]: "damaged: its bytes are not those of its sha256",
        keys["cut"]: "damaged: it has 5 bytes instead of 100",
        keys["gone"]: "missing",
    }
    assert metrics.value(metrics.scrub_damaged_copies) == 3
    with bed.catalog.read() as conn:
        names = [each.names for each in damage.listed(conn, 10)]
    assert ("acme/tools/debian/bookworm/gone_1.0_amd64.deb",) in names


def test_what_was_mended_is_forgotten_within_minutes(scrub: Scrubbing) -> None:
    """Goal: putting a file back ends its alarm long before the next round, in another process too; so does collecting
    the package. Method: two damaged copies; one is put back, one collected."""
    bed = scrub.bed
    mended, collected = bed.add("mended"), bed.add("collected")
    content = bed.path(mended).read_bytes()
    for key in (mended, collected):
        bed.path(key).unlink()
    scrub.round()
    assert len(scrub.found()) == 2
    scrub.restart()
    scrub.steps()
    assert len(scrub.found()) == 2
    bed.path(mended).write_bytes(content)
    bed.remove("collected")
    bed.clock.advance(AGAIN_S)
    scrub.steps()
    assert scrub.found() == {}
    assert metrics.value(metrics.scrub_damaged_copies) == 0


def test_it_reads_no_faster_than_it_may(scrub: Scrubbing) -> None:
    """Goal: the bound holds for large and for tiny copies. Method: the waits of a round against the bytes."""
    bed = scrub.bed
    bed.add("large", 8 * MIB)
    for number in range(20):
        bed.add(f"tiny{number}")
    scrub.steps()  # looks at damage first, then begins
    scrub.waited_s = 0.0
    scrub.round()
    least_s = (8 * MIB + 21 * COPY_COST_BYTES) / RATE
    assert least_s <= scrub.waited_s <= least_s + IDLE_S + 1.0


def test_it_goes_on_where_it_was_and_pauses_between_rounds(scrub: Scrubbing) -> None:
    """Goal: a restart does not begin anew, and a small store is not read all day. Method: stop in the middle, go on in
    another process; count the copies that are read until a week is over; set the clock back by a year."""
    bed = scrub.bed
    for number in range(10):
        bed.add(f"package{number}")
    scrub.steps(6)
    scrub.scrubber.save()
    assert scrub.document["copies"] == 4
    scrub.restart()
    read = metrics.value(metrics.scrub_copies_total)
    scrub.round()
    assert metrics.value(metrics.scrub_copies_total) - read == 6
    scrub.steps(50)
    assert metrics.value(metrics.scrub_copies_total) - read == 6
    bed.clock.advance(WEEK_S)
    scrub.round()
    assert metrics.value(metrics.scrub_copies_total) - read == 16
    bed.clock.set(bed.clock.now() - 365 * 86_400)
    scrub.round()
    assert metrics.value(metrics.scrub_copies_total) - read == 26


def test_a_stop_does_not_wait_for_a_large_copy(scrub: Scrubbing) -> None:
    """Goal: the server's end waits for a mebibyte, not for gigabytes. Method: ask to stop in the middle of a copy."""
    scrub.bed.add("large", 8 * MIB)
    scrub.steps(2)
    scrub.stopping = True
    before = metrics.value(metrics.scrub_bytes_total)
    with pytest.raises(Stopped):
        scrub.scrubber.step()
    assert metrics.value(metrics.scrub_bytes_total) - before == MIB
    assert scrub.found() == {}


def test_what_is_collected_while_it_is_read_is_no_damage(scrub: Scrubbing, monkeypatch: pytest.MonkeyPatch) -> None:
    """Goal: no false alarm beside `entrepot gc`. Method: a package goes between the reading of its row and that of its
    file."""
    bed = scrub.bed
    bed.add("doomed")
    scrub.steps(2)
    rows = scrub.scrubber._next

    def then_collect(place: damage.Place) -> CopyRow | None:
        row = rows(place)
        bed.remove("doomed")
        return row

    monkeypatch.setattr(scrub.scrubber, "_next", then_collect)
    scrub.steps()
    assert scrub.found() == {}
