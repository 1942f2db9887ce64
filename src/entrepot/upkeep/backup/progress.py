"""How far a back-up, a restore or a look at one is."""

from collections.abc import Callable
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Progress:
    """Copies and bytes done, and how many there are to do. ``catalog_bytes``: of the catalog, while that is copied."""

    copies_done: int
    copies: int
    bytes_done: int
    size_bytes: int
    catalog_bytes: int = 0

    def more(self, size_bytes: int) -> "Progress":
        """One more copy of so many bytes."""
        return replace(self, copies_done=self.copies_done + 1, bytes_done=self.bytes_done + size_bytes, catalog_bytes=0)

    def catalog(self, done_bytes: int) -> "Progress":
        """So much of the catalog."""
        return replace(self, catalog_bytes=done_bytes)


Tell = Callable[[Progress], None]
"""Hears of each step; returns at once."""
