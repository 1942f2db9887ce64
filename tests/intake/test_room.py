"""Room on two volumes for one upload: all of it, or nothing."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from entrepot.disk.ledger import Ledger, Snapshot
from entrepot.disk.volume import Volume
from entrepot.intake import room as room_module
from entrepot.intake.room import Room
from entrepot.model.errors import Refusal
from entrepot.model.limits import MIB
from entrepot.model.nouns import Ticket
from tests.support.guarded import guarded
from tests.support.volumes import tmpfs


def test_a_refusal_by_one_volume_keeps_nothing_on_the_other(tmp_path: Path) -> None:
    """Goal: an upload that does not fit leaves no reservation. Method: room for rows, and none for the package."""
    with tmpfs(tmp_path / "packages", 4 * MIB) as packages, tmpfs(tmp_path / "catalog", 64 * MIB) as catalog:
        blobs, rows = Ledger(Volume(packages.path)), Ledger(Volume(catalog.path))
        with pytest.raises(Refusal):
            Room(blobs, rows).reserve(16 * MIB)
        assert (blobs.snapshot(), rows.snapshot()) == (Snapshot(0, 0, 0), Snapshot(0, 0, 0))
        reservation = Room(blobs, rows).reserve(MIB)
        assert rows.snapshot().reservations == 1
        reservation.release()
        assert (blobs.snapshot(), rows.snapshot()) == (Snapshot(0, 0, 0), Snapshot(0, 0, 0))


def test_room_is_kept_until_the_publication_is_visible(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Goal: what a committed upload's publication needs stays reserved until then, and no longer; without a publication
    it goes at once; of too many late ones the oldest goes. Method: publications that the test ends when it likes.
    """
    waiting: list[Callable[[], None]] = []

    def when_published(tickets: Sequence[Ticket], done: Callable[[], None]) -> None:
        assert tickets
        waiting.append(done)

    monkeypatch.setattr(room_module, "_LATE_MAX", 2)
    ledger = Ledger(Volume(tmp_path))
    room = Room(ledger, ledger, when_published)
    with guarded(room, "_lock", {"_late"}):
        room.release_when_published([], [room.reserve(1)])
        assert ledger.snapshot() == Snapshot(0, 0, 0)
        for count in (1, 2, 2):
            room.release_when_published([Ticket(1, 1)], [room.reserve(1)])
            assert ledger.snapshot().reservations == count
        for done in waiting:
            done()
    assert ledger.snapshot() == Snapshot(0, 0, 0)
