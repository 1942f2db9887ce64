"""What the background thread of a node does for its volumes, a step at a time."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from entrepot.catalog import audit
from entrepot.children.pool import ChildPool
from entrepot.disk.ledger import Ledger
from entrepot.disk.watch import Volumes
from entrepot.model.errors import Refusal
from entrepot.model.limits import MIB
from entrepot.node.dates import Dates
from entrepot.node.keyring import Keyring
from entrepot.node.upkeep import Upkeep
from entrepot.observe.clock import FixedClock
from entrepot.settings.sources import Settings
from entrepot.signing.seal import Sealer
from tests.disk.mounts import needs_root, tmpfs
from tests.publish.toy import Bed

pytestmark = needs_root

SIZE_BYTES = 64 * MIB
SHARE_BYTES = SIZE_BYTES * 2 // 100
PAGE_BYTES = 4096


class Node:
    """A catalog, a store and a publisher on a small volume, and their upkeep, which the test takes step by step."""

    def __init__(self, folder: Path, children: ChildPool) -> None:
        self.clock = FixedClock()
        self.bed = Bed(folder / "data", self.clock)
        settings = Settings.for_testing(folder / "data")
        self.volumes = Volumes(settings.disk, self.clock)
        watch = self.volumes.add(folder / "data", "catalog")
        self.volumes.add(folder / "data" / "blobs", "blobs")
        self.ledger: Ledger = watch.ledger
        catalog, store = self.bed.catalog, self.bed.store
        keyring = Keyring(catalog, Sealer(b"s" * 32), children, self.clock, {}, algorithm="ed25519", user_id="test")
        self.upkeep = Upkeep(
            catalog, store, self.clock, keyring, self.bed.publisher(), settings, self.volumes, Dates(self.clock)
        )

    def most_bytes(self) -> int:
        """The largest upload that fits now, to the page."""
        low, high = 0, SIZE_BYTES // PAGE_BYTES
        while low < high:
            middle = (low + high + 1) // 2
            try:
                self.ledger.reserve(middle * PAGE_BYTES).release()
                low = middle
            except Refusal:
                high = middle - 1
        return low * PAGE_BYTES


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    with tmpfs(tmp_path / "volume", size_bytes=SIZE_BYTES) as folder, ChildPool() as children:
        made = Node(folder, children)
        yield made
        made.bed.close()


def test_uploads_leave_old_generations_their_share(node: Node) -> None:
    """Goal: uploads cannot take the room that old generations are allowed to fill, less what these fill already.
    Method: the largest upload that fits, before upkeep, after it, and after three publications.
    """
    before = node.most_bytes()
    node.upkeep.drop_old_indexes()
    kept = before - node.most_bytes()
    assert abs(kept - SHARE_BYTES) <= PAGE_BYTES
    publisher = node.bed.publisher()
    publisher.start()
    for name in "abc":
        ticket = node.bed.add([name])
        publisher.notify([ticket])
        assert publisher.wait([ticket], 30)
    publisher.stop()
    with_all = node.most_bytes()
    node.upkeep.drop_old_indexes()
    assert node.most_bytes() > with_all, "what old generations hold is not kept twice"


def test_one_collection_at_a_time(node: Node) -> None:
    """Goal: two collections never meet on the same rows. Method: while one runs, another one and the thread's own
    wait.
    """
    actor = audit.SERVER
    for work in (lambda: node.upkeep.collect(False, actor), node.upkeep.free_unreferenced):
        thread = threading.Thread(target=work)
        with node.upkeep._collecting:
            thread.start()
            thread.join(0.2)
            assert thread.is_alive()
        thread.join(20)
        assert not thread.is_alive()
