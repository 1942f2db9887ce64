"""Room for one upload on every volume that it writes, until its publication is visible."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence

from entrepot.disk.ledger import Ledger, Reservation
from entrepot.intake.admit import PUBLICATION_BYTES, PUBLICATION_INODES, publication_need
from entrepot.model.nouns import Ticket

# Uploads whose publication is late and whose room is still kept. Publications share what they need, so that the oldest
# may go when there are more: a scope that cannot be published must not fill the ledger for ever.
_LATE_MAX = 1024

WhenPublished = Callable[[Sequence[Ticket], Callable[[], None]], None]
"""``when_published(tickets, done)``: calls ``done`` once, from any thread, when the tickets are published."""


class Room:
    """Reserves for uploads. ``blobs`` is the ledger of the volume of the packages, ``catalog`` that of the catalog: the
    same one when both lie on one volume. Any thread."""

    def __init__(self, blobs: Ledger, catalog: Ledger, when_published: WhenPublished | None = None) -> None:
        self._blobs = blobs
        self._catalog = catalog
        self._when_published = when_published
        self._lock = threading.Lock()
        self._late: OrderedDict[int, Reservation] = OrderedDict()

    def reserve(self, size_bytes: int) -> Reservation:
        """Room for a file and its publication: fragments, rows, a delta, documents and signatures in the catalog, and
        the segments that a publication may write beside the packages.

        The reservation is that of the packages' volume; what was set aside elsewhere is released with it. Raises
        Refusal as :meth:`Ledger.reserve`.
        """
        need = publication_need(size_bytes)
        if self._catalog is self._blobs:
            return self._blobs.reserve(size_bytes + need, 1 + PUBLICATION_INODES)
        rows = self._catalog.reserve(need, 0)
        try:
            reservation = self._blobs.reserve(size_bytes + PUBLICATION_BYTES, 1 + PUBLICATION_INODES)
        except BaseException:
            rows.release()
            raise
        reservation.attach(rows)
        return reservation

    def release_when_published(self, tickets: Sequence[Ticket], reservations: Sequence[Reservation]) -> None:
        """The upload is committed: keep what is left for its publication until that is visible, however late."""
        if self._when_published is None or not tickets:
            for reservation in reservations:
                reservation.release()
            return
        with self._lock:
            for reservation in reservations:
                self._late[id(reservation)] = reservation
            surplus = [self._late.popitem(last=False)[1] for _ in range(max(0, len(self._late) - _LATE_MAX))]
        for reservation in surplus:
            reservation.release()

        def done() -> None:
            with self._lock:
                for reservation in reservations:
                    self._late.pop(id(reservation), None)
            for reservation in reservations:
                reservation.release()

        self._when_published(tickets, done)
