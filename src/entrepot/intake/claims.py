"""What uploads under way will add to their repository and its owner, so that concurrent ones cannot overrun a quota.

The catalog's answer at the commit binds; a claim makes it come before the body. An upload that would fit but for other
uploads' claims is told to come back (503), for they may yet fail; one that would not fit alone is refused (507).
Claims are one node's: what two nodes admit at once is settled by the commit.

A claim ends inside the transaction that charges its bytes, and usage is read before claims are: no byte is ever
counted twice, which would refuse wrongly. For an instant it may be counted not at all, and then the commit refuses.
"""

import threading
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

from entrepot.catalog import files, quotas
from entrepot.catalog.engine import Catalog
from entrepot.catalog.quotas import OWNER, REPOSITORY
from entrepot.catalog.repositories import RepositoryRow
from entrepot.disk.ledger import steps
from entrepot.model.limits import FORM_FRAME_BYTES_MAX

Key = tuple[str, int]
Grow = Callable[[int, int], Awaitable[None]]
Target = tuple[str, str]
"""Distribution and path of one row that an upload will make."""


class Claims:
    """The claims of one node. Any thread."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._lock = threading.Lock()
        self._bytes: Counter[Key] = Counter()

    def reserved_bytes(self, kind: str, identity: int) -> int:
        """What uploads under way will add to the owner or repository (``kind``) of this id."""
        with self._lock:
            return self._bytes[kind, identity]

    def open(self, repository: RepositoryRow, declared_bytes: int | None, targets: Sequence[Target]) -> "Claim":
        """Claim room for an upload to each of ``targets``; blocking.

        Without ``targets`` the upload is a form, whose length is a little more than its files'. What is there already
        under the same name with the same length is most likely the very same file and needs no room; the commit knows.

        Raises Refusal: ``quota_exceeded``, ``quota_reserved``.
        """
        claim = Claim(self, repository, copies=max(1, len(targets)))
        most_bytes = (declared_bytes or 0) * claim.copies
        least_bytes = most_bytes if targets else max(0, most_bytes - FORM_FRAME_BYTES_MAX)
        if repository.limited and targets and declared_bytes:
            least_bytes = most_bytes = declared_bytes * self._missing(repository.id, declared_bytes, targets)
        claim.grow(least_bytes, most_bytes)
        return claim

    def _missing(self, repository_id: int, size_bytes: int, targets: Sequence[Target]) -> int:
        """How many of ``targets`` hold no file of this size yet."""
        with self._catalog.read() as conn:
            found = [files.find_by_path(conn, repository_id, *target) for target in targets]
        return sum(row is None or row.size_bytes != size_bytes for row in found)

    def _take(self, claim: "Claim", least_bytes: int, most_bytes: int) -> None:
        """Book as much as there is room for, ``least_bytes`` to ``most_bytes``."""
        repository = claim.repository
        usages: Sequence[quotas.Usage] = ()
        if repository.limited and most_bytes > 0:
            with self._catalog.read() as conn:
                usages = quotas.usages(conn, repository.id)
        with self._lock:
            taken_bytes = most_bytes
            for usage in usages:
                if usage.quota_bytes is None:
                    continue
                room_bytes = usage.quota_bytes - usage.charged_bytes
                promised_bytes = self._bytes[usage.kind, usage.id]
                others_bytes = promised_bytes - claim.size_bytes
                needed_bytes = claim.size_bytes + least_bytes
                if needed_bytes > room_bytes:
                    raise usage.exceeded(needed_bytes)
                if needed_bytes > room_bytes - others_bytes:
                    raise usage.promised(needed_bytes, others_bytes)
                taken_bytes = min(taken_bytes, room_bytes - promised_bytes)
            self._add(claim, taken_bytes)

    def _add(self, claim: "Claim", more_bytes: int) -> None:
        """Change a claim and the sums together. The lock is held."""
        claim.size_bytes += more_bytes
        for key in ((REPOSITORY, claim.repository.id), (OWNER, claim.repository.owner_id)):
            self._bytes[key] += more_bytes
            if not self._bytes[key]:
                del self._bytes[key]


class Claim:
    """One upload's claim. Made by :meth:`Claims.open`."""

    def __init__(self, claims: Claims, repository: RepositoryRow, *, copies: int) -> None:
        """Args: ``copies`` how many rows will be charged for each received byte."""
        self._claims = claims
        self.repository = repository
        self.copies = copies
        self.size_bytes = 0

    def grow(self, least_bytes: int, most_bytes: int) -> None:
        """Claim at least ``least_bytes`` more, and up to ``most_bytes``; blocking. Raises Refusal as
        :meth:`Claims.open`.
        """
        self._claims._take(self, least_bytes, most_bytes)

    def end(self) -> None:
        """Give the claim back: charged, or not needed any more. Any number of times, any thread."""
        self.trim(0)

    def trim(self, size_bytes: int) -> None:
        """Keep at most ``size_bytes`` of it."""
        with self._claims._lock:
            self._claims._add(self, min(0, size_bytes - self.size_bytes))

    async def meter(self, chunks: AsyncIterator[bytes], grow: Grow) -> AsyncIterator[bytes]:
        """Pass the chunks of a body of unknown length on, each claimed before it; room is claimed in steps.

        Args: ``grow`` runs :meth:`grow` in a worker thread.
        """
        sizes = steps()
        needed_bytes = self.size_bytes
        async for chunk in chunks:
            needed_bytes += len(chunk) * self.copies
            lacking_bytes = needed_bytes - self.size_bytes
            if lacking_bytes > 0:
                await grow(lacking_bytes, max(lacking_bytes, next(sizes) * self.copies))
            yield chunk
        self.trim(needed_bytes)
