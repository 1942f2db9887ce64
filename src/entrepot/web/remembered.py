"""Answers of the catalog that are kept for a few seconds: package managers ask for the same few all day."""

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from entrepot.observe.clock import Clock

K = TypeVar("K")
V = TypeVar("V")


class Remembered(Generic[K, V]):
    """At most ``most`` answers, each for ``keep_s`` seconds. For the event loop's thread alone.

    After :meth:`forget` nothing is told that was looked up before it, a look-up that is on its way then included: it
    may have read the state before the change.
    """

    def __init__(self, clock: Clock, *, keep_s: float, most: int) -> None:
        self._clock = clock
        self._keep_s = keep_s
        self._most = most
        self._forgotten = 0
        self._held: OrderedDict[K, tuple[float, V]] = OrderedDict()

    def held(self, key: K) -> tuple[V] | None:
        """The answer that is kept, in a tuple, for it may be None itself; None when it has to be looked up."""
        found = self._held.get(key)
        if found is None or found[0] <= self._clock.monotonic():
            return None
        self._held.move_to_end(key)
        return (found[1],)

    async def find(self, key: K, look_up: Callable[[], Awaitable[V]]) -> V:
        """The answer that is kept, or that of ``look_up``."""
        held = self.held(key)
        if held is not None:
            return held[0]
        asked_s, forgotten = self._clock.monotonic(), self._forgotten
        answer = await look_up()
        if self._forgotten == forgotten:
            self._held[key] = (asked_s + self._keep_s, answer)
            self._held.move_to_end(key)
            while len(self._held) > self._most:
                self._held.popitem(last=False)
        return answer

    def forget(self, key: K | None = None) -> None:
        """Drop the answer of ``key``, or every one: something was changed."""
        self._forgotten += 1
        if key is None:
            self._held.clear()
        else:
            self._held.pop(key, None)
