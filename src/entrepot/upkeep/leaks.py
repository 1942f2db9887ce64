"""Leak accounting: one bounded pass after another finds what takes space and should not, says so, and removes what is
safely ours to remove.

A pass looks at the small folders whole and at a part of the folders of copies, so that every one of them comes up
within :data:`PASSES_PER_ROUND` passes; at descriptors of this process and its children; and at each volume's own count.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from entrepot.catalog import blobs
from entrepot.catalog.engine import Catalog
from entrepot.disk import proc
from entrepot.disk.account import NOTHING, Accountant, Amount, Balance, Look
from entrepot.disk.volume import Measure, Volume
from entrepot.model.limits import MIB
from entrepot.observe import metrics
from entrepot.observe.clock import Clock
from entrepot.storage.folder import FolderStore
from entrepot.upkeep.leakbook import LeakBook, Patience
from entrepot.upkeep.orphans import Orphans
from entrepot.upkeep.strays import SHARDS, Found, Kind, Stray, Use, Walk

PASSES_PER_ROUND = 4
# A pass goes on for so long with folders of copies, even when its share is done: a small store is seen whole each time.
WALK_S = 0.05
# Side files live for milliseconds and nothing uses the scratch folder for longer than a call.
GRACE_S = 60.0
# What may be written while the sums are taken, for them still to fit together.
STILL_BYTES = 2 * MIB
STILL_INODES = 16


@dataclass(frozen=True, slots=True)
class Report:
    """What one pass came to for one volume."""

    volume: str
    balance: Balance
    deleted_open_bytes: int


class Place:
    """One volume and what of the data folder lies on it."""

    def __init__(self, volume: Volume, uses: Sequence[Use], *, dedicated: bool) -> None:
        """Args: ``dedicated``: nobody else writes to it."""
        self.volume = volume
        self.uses = tuple(uses)
        self.accountant = Accountant(dedicated=dedicated)
        # A holder of deleted files outside the family can only be found by looking at everybody, which is dear.
        self.look_everywhere = dedicated


class LeakFinder:
    """Finds leaks of one data folder. For one thread, but :attr:`book` may be read by any."""

    def __init__(self, catalog: Catalog, store: FolderStore, walk: Walk, places: Sequence[Place], clock: Clock) -> None:
        """Args: ``places`` are the volumes of the data folder, which share out the uses."""
        self.book = LeakBook(clock)
        self._catalog = catalog
        self._store = store
        self._walk = walk
        self._places = tuple(places)
        self._clock = clock
        self._orphans = Orphans(catalog, store, walk, clock)
        self._groups = self._orphans.groups()
        self._next_group = 0
        self._shard_known: dict[int, Amount] = {}
        self._patience = Patience(clock)
        self._incoming = Patience(clock)
        self._held = {place: Patience(clock) for place in self._places}

    @property
    def walked_once(self) -> bool:
        """Whether every folder has been walked since the start."""
        return len(self._shard_known) == SHARDS

    def run(self) -> list[Report]:
        """One pass. Raises OSError and Refusal; what was found until then is in the book."""
        known = self._walk_small()
        self._walk_copies()
        reports = [self._weigh(place, known) for place in self._places]
        self._export(reports)
        return reports

    def _weigh(self, place: Place, known: Mapping[Use, Amount]) -> Report:
        name = place.volume.name
        descriptors, own = self._descriptors(place)
        self.book.enter(f"descriptors of {name}", descriptors)
        look = self._look(place, sum((known[use] for use in place.uses), own))
        balance = place.accountant.balance(look)
        self.book.enter(f"volume {name}", _unexplained(place, balance))
        strange = balance.unexplained != NOTHING or bool(descriptors.counts)
        place.look_everywhere = place.accountant.dedicated and strange
        return Report(name, balance, descriptors.amount.size_bytes)

    # ------------------------------------------------------------------ the walk

    def _walk_small(self) -> Mapping[Use, Amount]:
        """The top, ``blobs`` itself, ``incoming`` and the scratch folder: what of them is ours."""
        incoming, uploads = self._walk.incoming()
        parts = {"top": self._walk.top(), "blobs": self._walk.blobs(), "incoming": incoming}
        parts["scratch"] = self._walk.scratch()
        ages = self._patience.ages_s(each.identity for part in parts.values() for each in part.strays)
        for name, found in parts.items():
            self.book.enter(name, self._settle(found, lambda stray: ages[stray.identity]))
        oldest = max(self._incoming.ages_s(uploads).values(), default=0.0)
        metrics.incoming_age_seconds_max.set(round(oldest, 1))
        known: dict[Use, Amount] = {"catalog": NOTHING, "blobs": NOTHING, "scratch": NOTHING}
        for found in parts.values():
            known[found.volume] += found.known
        return known

    def _settle(self, found: Found, age_s: Callable[[Stray], float]) -> Found:
        """Remove what may go, and leave out what is too young to be a leak."""
        result = found.unlisted()
        for stray in found.strays:
            passing = stray.kind in (Kind.SIDE_FILE, Kind.SCRATCH)
            if passing and not age_s(stray):
                continue
            if (
                passing
                and age_s(stray) >= GRACE_S
                and not self._in_use(stray, found.volume)
                and self._walk.remove(stray)
            ):
                result.gone(stray)
            else:
                result.stray(stray)
        return result

    def _in_use(self, stray: Stray, use: Use) -> bool:
        device = next(place.volume.device for place in self._places if use in place.uses)
        return stray.inode in proc.open_inodes(proc.family(os.getpid()), device)

    def _walk_copies(self) -> None:
        started = self._clock.monotonic()
        share = -(-len(self._groups) // PASSES_PER_ROUND)
        for done in range(len(self._groups)):
            if done >= share and self._clock.monotonic() - started > WALK_S:
                break
            self._walk_group(self._groups[self._next_group])
            self._next_group = (self._next_group + 1) % len(self._groups)
        for shard in self._orphans.unfinished():
            self._walk_group(range(shard, shard + 1))

    def _walk_group(self, shards: range) -> None:
        for shard, found in self._orphans.look(shards).items():
            self._shard_known[shard] = found.known
            self.book.enter(f"blobs/{shard:02x}", found)

    # ------------------------------------------------------------------ descriptors

    def _descriptors(self, place: Place) -> tuple[Found, Amount]:
        """Deleted files that are held open: those that leak, and what our own staged files and readers hold.

        A leak is one that two looks in a row saw: the end of an upload closes its descriptors one after the other.
        """
        own = os.getpid()
        mine = self._store.own_descriptors()
        pids = proc.processes() if place.look_everywhere else proc.family(own)
        held = proc.deleted_files((own, *(pid for pid in pids if pid != own)), place.volume.device)
        ages = self._held[place].ages_s((each.pid, each.inode) for each in held)
        found, living = Found(place.uses[0]), NOTHING
        for each in held:
            amount = Amount(each.size_bytes, 1)
            if each.pid == own and each.fd in mine:
                living += amount
            elif ages[each.pid, each.inode]:
                found.stray(Stray(Kind.DESCRIPTOR, each.path, amount, each.inode, f"{each.process}[{each.pid}]"))
        return found, living

    # ------------------------------------------------------------------ the volume's own count

    def _look(self, place: Place, known: Amount) -> Look:
        before = place.volume.measure()
        if "blobs" in place.uses:
            known += self._copies(before.block_bytes)
        named = self.book.amount(*place.uses)
        after = place.volume.measure()
        still = (
            abs(after.used_bytes - before.used_bytes) <= STILL_BYTES
            and abs(after.inodes_free - before.inodes_free) <= STILL_INODES
            and self.walked_once
        )
        return Look(before.size_bytes, _used(before, known + named), known, named, still)

    def _copies(self, block_bytes: int) -> Amount:
        """What the catalog's copies, their folders and those that wait for their row take."""
        with self._catalog.read() as conn:
            sums = blobs.sums(conn, block_bytes)
        copies = sum((Amount(each.size_bytes, each.copies) for each in sums), NOTHING)
        return copies + self._orphans.waiting_amount() + sum(self._shard_known.values(), NOTHING)

    def _export(self, reports: Sequence[Report]) -> None:
        for report in reports:
            unaccounted = report.balance.unaccounted
            metrics.unaccounted_bytes.labels(report.volume).set(unaccounted.size_bytes)
            metrics.unaccounted_inodes.labels(report.volume).set(unaccounted.inodes)
            metrics.deleted_open_bytes.labels(report.volume).set(report.deleted_open_bytes)
        counts = self.book.counts()
        for kind in Kind:
            metrics.leaks.labels(str(kind)).set(counts.get(kind, 0))


def _unexplained(place: Place, balance: Balance) -> Found:
    found = Found(place.uses[0])
    if balance.unexplained != NOTHING:
        found.stray(Stray(Kind.UNEXPLAINED, place.volume.name, balance.unexplained))
        found.amount = NOTHING  # the balance has it already
    return found


def _used(now: Measure, otherwise: Amount) -> Amount:
    """What the file system says is used; where it has no number of inodes, those that we know of."""
    inodes = now.inodes_total - now.inodes_free if now.inodes_known else otherwise.inodes
    return Amount(now.used_bytes, inodes)
