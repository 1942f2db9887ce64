"""Garbage: yanked files when asked, and by itself what nothing refers to, expired sets and missing digests.

Rows go first, bytes after: a crash between leaves bytes without a row, which ``upkeep.leaks`` removes; never a row
without bytes. Nothing here needs free space on the volume of the packages.
"""

from dataclasses import dataclass

from entrepot.catalog import Connection, audit, blobs, yank
from entrepot.catalog.engine import Catalog
from entrepot.model.limits import BATCH_BYTES
from entrepot.model.nouns import Digests, Ticket
from entrepot.observe import metrics
from entrepot.observe.clock import Clock
from entrepot.storage.protocol import BlobStore
from entrepot.streams.hashing import MultiHash


@dataclass(frozen=True, slots=True)
class Collected:
    """What a collection freed, or would free: each blob's bytes once, and not those that something else needs."""

    files: int
    blobs: int
    size_bytes: int


class Collector:
    """Collects garbage of one node's store. Every call blocks and may raise Refusal (catalog_failed, storage_failed,
    busy).
    """

    def __init__(self, catalog: Catalog, store: BlobStore, clock: Clock) -> None:
        self._catalog = catalog
        self._store = store
        self._clock = clock
        self._digests_after = 0

    def preview(self) -> Collected:
        """What :meth:`collect` would free now."""
        now_s = self._clock.now_s()
        with self._catalog.read() as conn:
            found = blobs.collectable(conn, now_s + 1, now_s + 1)
        return Collected(found.files, found.blobs, found.size_bytes)

    def collect(self, actor: audit.Actor = audit.SERVER) -> Collected:
        """Forget every yanked file whose removal is published, for good, and free what nothing refers to any more."""
        now_s = self._clock.now_s()
        files = 0
        while count := self._catalog.submit(lambda conn: blobs.purge_yanked(conn, now_s + 1, now_s, actor=actor)):
            files += count
        freed = self.free_unreferenced()
        return Collected(files, freed.blobs, freed.size_bytes)

    def drop_replaced(self, keep_s: int) -> int:
        """Forget files whose name another one took more than ``keep_s`` seconds ago: nobody asked for these to be
        yanked, so nobody would ask for their bytes to be collected. Returns how many.
        """
        now_s = self._clock.now_s()
        dropped = 0
        while count := self._catalog.submit(
            lambda conn: blobs.purge_yanked(conn, now_s - keep_s, now_s, replaced_only=True)
        ):
            dropped += count
        return dropped

    def free_unreferenced(self) -> Collected:
        """Free the blobs that no file and no index segment refers to; yanked files keep theirs."""
        before_s = self._clock.now_s() + 1
        count, size_bytes = 0, 0
        while copies := self._catalog.submit(lambda conn: self._forget_unreferenced(conn, before_s)):
            for copy in copies:
                if self._store.delete(copy.key):
                    metrics.freed_bytes_total.inc(copy.size_bytes)
                size_bytes += copy.size_bytes
            count += len({copy.blob_id for copy in copies})
        return Collected(0, count, size_bytes)

    def _forget_unreferenced(self, conn: Connection, before_s: int) -> tuple[blobs.CopyRow, ...]:
        copies = blobs.collect(conn, before_s)
        # Before the commit: a kill right after it leaves bytes that the next start knows to be dead.
        self._store.condemn(copy.key for copy in copies)
        return copies

    def expire_held(self) -> list[Ticket]:
        """Drop members of source sets that stayed incomplete for a day, for good: nobody asked for them to be yanked,
        so nobody would ask for their bytes to be collected. Returns the tickets of what changed.
        """
        now_s = self._clock.now_s()

        def work(conn: Connection) -> list[Ticket]:
            ids = [row.id for row in yank.expired_held(conn, now_s)]
            if not ids:
                return []
            tickets = yank.yank(conn, ids, now_s, action="file.expire")
            blobs.forget(conn, ids)  # held files are in no index, so no publication reads them any more
            return list(tickets)

        return self._catalog.submit(work)

    def fill_digests(self, files: int = 16) -> int:
        """Compute the digests that the API shows and no format needed, for the next few blobs. Returns how many were
        filled in.
        """
        with self._catalog.read() as conn:
            rows = blobs.lacking_digests(conn, self._digests_after, files)
        self._digests_after = rows[-1].blob_id if rows else 0
        done = 0
        for row in rows:
            digests = self._digest(row)
            if digests is not None:
                done += self._catalog.submit(lambda conn, found=digests: blobs.set_digests(conn, found))  # type: ignore[misc]
        return done

    def _digest(self, row: blobs.CopyRow) -> Digests | None:
        """All digests of one copy, or None when its bytes are not those of its row (scrub reports that)."""
        hashes = MultiHash(("md5", "sha1", "sha512"))
        with self._store.open(row.key) as copy:
            offset = 0
            while chunk := copy.read_at(offset, BATCH_BYTES):
                hashes.update(chunk)
                offset += len(chunk)
        digests = hashes.digests()
        return digests if digests.sha256 == row.sha256 else None
