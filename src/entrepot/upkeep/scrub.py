"""Reads every copy again, slowly, and compares it with its digest: what rots on a disk is found before it is asked for.

A round goes through all copies by key; where it is stands in the catalog, so that a restart goes on. Copies that were
found damaged are looked at again every few minutes, so that mending one ends its alarm.
"""

import hashlib
from collections.abc import Callable, Sequence

from entrepot.catalog import damage
from entrepot.catalog.blobs import CopyRow
from entrepot.catalog.damage import Damage, Place
from entrepot.catalog.engine import Catalog
from entrepot.disk import fs
from entrepot.model.errors import Refusal
from entrepot.model.limits import BATCH_BYTES, KIB
from entrepot.observe import logs, metrics
from entrepot.observe.clock import Clock
from entrepot.storage.protocol import BlobStore
from entrepot.storage.sweep import copy_path

_log = logs.get("upkeep")

PAGE = 200
SAVE_S = 60.0
AGAIN_S = 600.0
LISTED_MAX = 100
# What opening a file costs beside its bytes: a million tiny copies must not be read at the rate of a few large ones.
COPY_COST_BYTES = 64 * KIB
IDLE_S = 30.0


class Stopped(Exception):
    """The scrub was asked to stop in the middle of a copy."""


class Scrubber:
    """Scrubs one store. :meth:`step` is for one thread, the rest for any."""

    def __init__(
        self,
        catalog: Catalog,
        store: BlobStore,
        clock: Clock,
        wait: Callable[[float], bool],
        *,
        bytes_per_s: int,
        round_s: int,
    ) -> None:
        """Args: ``wait`` waits so many seconds and answers whether to stop; ``bytes_per_s`` at most so many are read;
        ``round_s`` at least so many seconds from the begin of one round to that of the next.
        """
        self._wait = wait
        self._catalog = catalog
        self._store = store
        self._clock = clock
        self._bytes_per_s = bytes_per_s
        self._round_s = round_s
        # These two are replaced whole and never changed: other threads read them as they are.
        self._place: Place | None = None
        self._damaged: Sequence[Damage] = ()
        self._page: list[CopyRow] = []
        self._saved_s = float("-inf")
        self._again_s = float("-inf")

    def document(self) -> dict[str, object]:
        """For ``/statusz``."""
        place, found = self._place or Place(), self._damaged
        return {
            "began_at": place.began_at,
            "ended_at": place.ended_at,
            "copies": place.copies,
            "size_bytes": place.size_bytes,
            "damaged": [{"path": _path(each.key), "why": each.why, "names": list(each.names)} for each in found],
        }

    def step(self) -> float:
        """Look at one copy, or see whether a round is due; seconds to wait before the next step. Raises Refusal
        (catalog_failed, busy), :class:`Stopped`.
        """
        now = self._clock.monotonic()
        place = self._loaded()
        if now - self._again_s >= AGAIN_S:
            self._again_s = now
            return self._look_again()
        if place.began_at is None:
            return self._begin(place)
        row = self._next(place)
        if row is None:
            self._end(place)
            return IDLE_S
        self._judge(row)
        self._place = place.seen(row.key, row.size_bytes)
        if now - self._saved_s >= SAVE_S:
            self.save()
        return COPY_COST_BYTES / self._bytes_per_s

    def save(self) -> None:
        """Keep how far the round is. Raises Refusal."""
        place = self._place
        if place is not None:
            self._saved_s = self._clock.monotonic()
            self._catalog.submit(lambda conn: damage.save_place(conn, place))

    # ------------------------------------------------------------------ rounds

    def _loaded(self) -> Place:
        place = self._place
        if place is None:
            with self._catalog.read() as conn:
                self._place = place = damage.load_place(conn)
            self._tell_age(place)
        return place

    def _begin(self, place: Place) -> float:
        now_s = self._clock.now_s()
        # A clock that was set back must not stop the scrub for years.
        if place.due_at > now_s and place.due_at - now_s <= self._round_s:
            self._tell_age(place)
            return IDLE_S
        self._place = Place(began_at=now_s, ended_at=place.ended_at)
        self.save()
        return 0.0

    def _end(self, place: Place) -> None:
        due_at = (place.began_at or 0) + self._round_s
        ended = Place(ended_at=self._clock.now_s(), due_at=due_at, copies=place.copies, size_bytes=place.size_bytes)
        self._place = ended
        self._catalog.submit(lambda conn: damage.forget(conn, ()))
        self.save()
        self._export()
        self._tell_age(ended)
        _log.info("scrub round ended", copies=place.copies, size_bytes=place.size_bytes, damaged=len(self._damaged))

    def _tell_age(self, place: Place) -> None:
        metrics.scrub_round_end_time_seconds.set(place.ended_at or place.began_at or self._clock.now_s())

    def _next(self, place: Place) -> CopyRow | None:
        if not self._page:
            with self._catalog.read() as conn:
                self._page = damage.copies_after(conn, place.after, PAGE)[::-1]
        return self._page.pop() if self._page else None

    # ------------------------------------------------------------------ one copy

    def _look_again(self) -> float:
        """Look at the copies that are known to be damaged."""
        with self._catalog.read() as conn:
            rows = damage.damaged_copies(conn, LISTED_MAX)
        for row in rows:
            self._judge(row)
        self._export()
        return len(rows) * COPY_COST_BYTES / self._bytes_per_s

    def _judge(self, row: CopyRow) -> None:
        why = self._read(row)
        metrics.scrub_copies_total.inc()
        known = any(each.key == row.key for each in self._damaged)
        if why:
            news = self._catalog.submit(lambda conn: damage.note(conn, row.key, why, self._clock.now_s()))
            if news:
                with self._catalog.read() as conn:
                    names = damage.names(conn, row.key)
                _log.error("damaged copy", path=_path(row.key), why=why, names=list(names))
                self._export()
        elif known:
            self._catalog.submit(lambda conn: damage.forget(conn, [row.key]))
            _log.info("copy mended", path=_path(row.key))
            self._export()

    def _read(self, row: CopyRow) -> str:
        """Why a copy is not what its row says; empty when it is."""
        digest, offset = hashlib.sha256(), 0
        try:
            with self._store.open(row.key) as copy:
                fd = copy.fileno()
                if fd is not None:
                    fs.drop_cached(fd)  # what is looked at is the disk, not the memory of it
                while chunk := copy.read_at(offset, BATCH_BYTES):
                    digest.update(chunk)
                    offset += len(chunk)
                    metrics.scrub_bytes_total.inc(len(chunk))
                    if self._wait(len(chunk) / self._bytes_per_s):
                        raise Stopped
        except Refusal as refusal:
            if refusal.code == "busy":
                raise
            return "missing" if refusal.code == "not_found" else f"unreadable: {refusal.detail}"
        if offset != row.size_bytes:
            return f"damaged: it has {offset} bytes instead of {row.size_bytes}"
        return "" if digest.hexdigest() == row.sha256 else "damaged: its bytes are not those of its sha256"

    def _export(self) -> None:
        with self._catalog.read() as conn:
            number, found = damage.count(conn), damage.listed(conn, LISTED_MAX)
        metrics.scrub_damaged_copies.set(number)
        self._damaged = found


def _path(key: str) -> str:
    return f"blobs/{copy_path(key)}"
