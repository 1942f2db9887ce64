"""The book of leaks: what was found, when, whether it is gone; one log line each, and the figures of all together."""

import threading
from collections import Counter, deque
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass

from entrepot.disk.account import NOTHING, Amount
from entrepot.observe import logs, metrics
from entrepot.observe.clock import Clock
from entrepot.upkeep.strays import Found, Kind, Stray, Use

_log = logs.get("upkeep")

PAST_MAX = 50
LISTED_MAX = 200


@dataclass(slots=True)
class Leak:
    """One leak: what, since when (seconds since 1970), and whether we removed it."""

    stray: Stray
    found_at: int
    removed: bool = False

    def document(self) -> dict[str, object]:
        """For ``/statusz``."""
        return {
            "kind": str(self.stray.kind),
            "path": self.stray.path,
            "process": self.stray.process,
            "size_bytes": self.stray.amount.size_bytes,
            "found_at": self.found_at,
            "removed": self.removed,
        }


@dataclass(slots=True)
class _Part:
    """What one part of the walk showed at its last look."""

    volume: Use
    leaks: dict[Hashable, Leak]
    counts: Mapping[Kind, int]
    amount: Amount


class LeakBook:
    """Kept by the finder's thread, read by any."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._parts: dict[str, _Part] = {}
        self._past: deque[Leak] = deque(maxlen=PAST_MAX)

    def enter(self, part: str, found: Found) -> None:
        """Replace what one part of the walk showed before. Logs what is new, and what is gone."""
        old = self._parts[part].leaks if part in self._parts else {}
        gone = dict(old)
        now: dict[Hashable, Leak] = {}
        for stray in found.strays:
            leak = gone.pop(stray.identity, None)
            now[stray.identity] = leak or self._new(stray)
        past = [self._removed(stray, gone.pop(stray.identity, None)) for stray in found.removed]
        for leak in gone.values():
            if found.counts[leak.stray.kind] < len(old):  # else it only fell out of the list of the first hundred
                _log.info("leak gone", kind=str(leak.stray.kind), path=leak.stray.path, process=leak.stray.process)
        with self._lock:
            self._parts[part] = _Part(found.volume, now, dict(found.counts), found.amount)
            self._past.extend(past)

    def _new(self, stray: Stray) -> Leak:
        _tell("leak found", stray, removed=False)
        return Leak(stray, self._clock.now_s())

    def _removed(self, stray: Stray, known: Leak | None) -> Leak:
        metrics.reaper_removed_total.labels(str(stray.kind)).inc()
        _tell("leak found" if known is None else "leak removed", stray, removed=True)
        leak = known or Leak(stray, self._clock.now_s())
        leak.removed = True
        return leak

    def amount(self, *uses: Use) -> Amount:
        """What all leaks that are there take together on the volume of these uses; of all without any."""
        with self._lock:
            return sum((each.amount for each in self._parts.values() if not uses or each.volume in uses), NOTHING)

    def counts(self) -> Mapping[Kind, int]:
        """How many are there, by kind."""
        total: Counter[Kind] = Counter()
        with self._lock:
            for part in self._parts.values():
                total.update(part.counts)
        return total

    def documents(self) -> list[dict[str, object]]:
        """Those that are there, then the last that were removed; bounded. For ``/statusz``."""
        with self._lock:
            there = [leak for part in self._parts.values() for leak in part.leaks.values()]
            past = list(self._past)
        return [leak.document() for leak in (*there[:LISTED_MAX], *reversed(past))]


class Patience:
    """How long something has been seen without a break. For one thread."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._since: dict[Hashable, float] = {}

    def ages_s(self, seen: Iterable[Hashable]) -> Mapping[Hashable, float]:
        """Seconds since the first of the looks in a row that saw each; 0 for what is new. What is not in ``seen`` is
        forgotten."""
        now = self._clock.monotonic()
        self._since = {each: self._since.get(each, now) for each in seen}
        return {each: now - since for each, since in self._since.items()}


def _tell(event: str, stray: Stray, *, removed: bool) -> None:
    _log.warning(
        event, kind=str(stray.kind), path=stray.path, process=stray.process, size_bytes=stray.amount.size_bytes,
        removed=removed,
    )  # fmt: skip
