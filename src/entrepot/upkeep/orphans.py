"""Copies without a row: which of them are alive, which are dead, and which are nobody's to judge yet.

*Alive*: the store knows that this process made it and that its row is still coming (``FolderStore.unconfirmed``). The
order of the questions makes that certain: names first, then the store, then the catalog. A key is with the store
before its file has a name, and leaves it after its row is durable; so a key that the store does not know any more, and
the catalog does not know afterwards, has no row and never gets one: nobody else writes in a folder whose lock we hold.

*Dead*: not alive, no row, and not sealed (``storage.sweep``): the catalog never vouched for it, or was about to forget
it. These are removed at sight.

*Neither*: sealed, and without a row. A catalog did vouch for it, and it is not the one that we have: somebody restored
an old back-up, say. It is reported at once, and removed only after a day of this process's life, so that there is time
to put the right catalog back. For the same reason nothing is removed when the first walk after the start finds more
orphans than a crash can leave.
"""

from collections.abc import Mapping, Sequence

from entrepot.catalog import blobs
from entrepot.catalog.engine import Catalog
from entrepot.disk.account import NOTHING, Amount
from entrepot.model.errors import Refusal
from entrepot.observe import logs, metrics
from entrepot.observe.clock import Clock
from entrepot.storage.folder import FolderStore
from entrepot.storage.sweep import Entry
from entrepot.upkeep.leakbook import Patience
from entrepot.upkeep.strays import SHARDS, Found, Kind, Stray, Walk

_log = logs.get("upkeep")

ORPHAN_S = 24 * 3600
# Longer than any upload waits for its commit and any merge for its publication; what is older has lost its owner.
UNCONFIRMED_S_MAX = 3600.0
CRASH_LEAVINGS_MAX = 1000
GROUP = 16


class Orphans:
    """Walks the folders of copies. For one thread; every call may raise OSError and Refusal."""

    def __init__(self, catalog: Catalog, store: FolderStore, walk: Walk, clock: Clock) -> None:
        self._catalog = catalog
        self._store = store
        self._walk = walk
        self._unconfirmed = Patience(clock)
        self._sealed = {shard: Patience(clock) for shard in range(SHARDS)}
        self._walked: set[int] = set()
        self._dead_seen: dict[int, int] = {}
        self._trusted: bool | None = None
        """Whether the catalog is this folder's; None until every folder was walked once."""

    def groups(self) -> list[range]:
        """All folders in groups that are walked together."""
        return [range(first, first + GROUP) for first in range(0, SHARDS, GROUP)]

    def look(self, shards: range) -> Mapping[int, Found]:
        """Walk one group: what each folder holds, dead orphans removed."""
        listed = {shard: self._walk.shard(shard) for shard in shards}
        waiting = self._waiting()
        with self._catalog.read() as conn:
            known = blobs.known_keys(conn, f"{shards[0]:02x}", _after(shards[-1]))
        result: dict[int, Found] = {}
        for shard, (found, keys) in listed.items():
            lost = [
                key for key in keys if key not in known and waiting.get(key, UNCONFIRMED_S_MAX) >= UNCONFIRMED_S_MAX
            ]
            if shard not in self._walked:
                self._seal(shard, [key for key in keys if key in known])
            self._judge(shard, found, lost, waiting)
            result[shard] = found
            self._walked.add(shard)
        if self._trusted is None and len(self._walked) == SHARDS:
            self._decide()
        return result

    def _waiting(self) -> Mapping[str, float]:
        """Keys whose row is coming: seconds since the first look that saw them."""
        ages = self._unconfirmed.ages_s(self._store.unconfirmed())
        return {str(key): age for key, age in ages.items()}

    def _judge(self, shard: int, found: Found, keys: Sequence[str], waiting: Mapping[str, float]) -> None:
        entries = self._walk.copies(shard, list(keys)) if keys else []
        sealed = self._sealed[shard].ages_s(entry.name for entry in entries if entry.is_sealed)
        dead = 0
        for entry in entries:
            stray = _orphan(shard, entry)
            in_doubt = entry.name in waiting  # its commit may yet be found in the catalog's log after a crash
            is_dead = not in_doubt and (not entry.is_sealed or sealed[entry.name] >= ORPHAN_S)
            dead += is_dead
            if is_dead and self._trusted and self._remove(entry):
                found.gone(stray)
            else:
                found.stray(stray)
        self._dead_seen[shard] = dead

    def _remove(self, entry: Entry) -> bool:
        try:
            self._store.delete(entry.name)
        except Refusal:  # it comes again
            return False
        metrics.freed_bytes_total.inc(entry.size_bytes)
        return True

    def _seal(self, shard: int, keys: list[str]) -> None:
        """Confirm what a crash, or a full volume, left without its seal. Once for each folder after a start."""
        self._store.confirm(entry.name for entry in self._walk.copies(shard, keys) if not entry.is_sealed)

    def _decide(self) -> None:
        dead = sum(self._dead_seen.values())
        self._trusted = dead <= CRASH_LEAVINGS_MAX
        if not self._trusted:
            _log.error("too many copies without a row", copies=dead, remedy="is this the catalog of this folder?")

    def unfinished(self) -> list[int]:
        """Folders with orphans that may go now, since every folder was walked once."""
        return [shard for shard, dead in self._dead_seen.items() if dead] if self._trusted else []

    def waiting_amount(self) -> Amount:
        """What copies take whose row is not there yet."""
        keys = self._store.unconfirmed()
        with self._catalog.read() as conn:
            known = blobs.which_known(conn, keys)
        total = NOTHING
        for key in keys - known:
            for entry in self._walk.copies(int(key[:2], 16), [key]):
                total += Amount(entry.size_bytes, 1)
        return total


def _orphan(shard: int, entry: Entry) -> Stray:
    return Stray(Kind.ORPHAN, f"blobs/{shard:02x}/{entry.name}", Amount(entry.size_bytes, 1), entry.inode)


def _after(shard: int) -> str:
    """The first text that is greater than every key of a folder."""
    return f"{shard + 1:02x}" if shard + 1 < SHARDS else "g"
