"""A pause before a refusal for want of room."""

import asyncio
import random

HELD_BACK_MAX = 128  # refusals that wait at the same time
HELD_BACK_LEAST = 0.4


class HoldBack:
    """A node that refuses faster than others accept would be sent ever more by a balancer that prefers the quick ones.

    So many refusals wait at once, and no more: waiting must not tie the node up. For the event loop's thread.
    """

    def __init__(self, most_s: float) -> None:
        """Args: ``most_s`` the longest pause in seconds; 0: none."""
        self._most_s = most_s
        self._waiting = 0

    async def wait(self) -> None:
        """Return after 40 to 100 percent of the longest pause; at once when too many wait already."""
        if self._most_s <= 0 or self._waiting >= HELD_BACK_MAX:
            return
        self._waiting += 1
        try:
            await asyncio.sleep(random.uniform(self._most_s * HELD_BACK_LEAST, self._most_s))
        finally:
            self._waiting -= 1
