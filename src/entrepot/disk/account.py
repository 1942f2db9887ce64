"""The account of one volume: what is used, what of that can be named, and what nobody can name. Arithmetic alone.

*Known* is what the catalog, the fixed files and living uploads explain. *Named* is what was found and should not be
there: leaks with a path or a process. On a volume of our own everything else is *unexplained*, once the file system's
own share (the baseline) is taken off. On a shared volume what we cannot name belongs to *others*, and is never held
against this node.
"""

from collections import deque
from dataclasses import dataclass

from entrepot.model.limits import MIB

# What the file system takes for itself grows with what it holds, and writers move between two looks: below this the
# difference is theirs. A dynamic inode (xfs, btrfs) is half a kilobyte.
TOLERANCE_BYTES_MIN = 8 * MIB
TOLERANCE_SHARE = 500
TOLERANCE_INODES = 64
INODE_BYTES = 512
# A difference counts when it is there in so many looks in a row.
LOOKS = 3


@dataclass(frozen=True, slots=True)
class Amount:
    """Bytes and inodes on a volume."""

    size_bytes: int = 0
    inodes: int = 0

    def __add__(self, other: "Amount") -> "Amount":
        return Amount(self.size_bytes + other.size_bytes, self.inodes + other.inodes)

    def __sub__(self, other: "Amount") -> "Amount":
        return Amount(self.size_bytes - other.size_bytes, self.inodes - other.inodes)

    def at_least(self, other: "Amount") -> "Amount":
        """The larger of each."""
        return Amount(max(self.size_bytes, other.size_bytes), max(self.inodes, other.inodes))

    def at_most(self, other: "Amount") -> "Amount":
        """The smaller of each."""
        return Amount(min(self.size_bytes, other.size_bytes), min(self.inodes, other.inodes))


NOTHING = Amount()


@dataclass(frozen=True, slots=True)
class Look:
    """One look at a volume. ``still``: nothing was written while the sums were taken, so they fit together."""

    size_bytes: int
    used: Amount
    known: Amount
    named: Amount
    still: bool


@dataclass(frozen=True, slots=True)
class Balance:
    """What a look comes to. ``unaccounted`` is ``unexplained`` and what was named; ``others_bytes`` is what is neither
    known nor unaccounted, the file system's own share included."""

    known: Amount
    unaccounted: Amount
    unexplained: Amount
    others_bytes: int


class Accountant:
    """Turns looks into balances; remembers the baseline and the last looks. For one thread."""

    def __init__(self, *, dedicated: bool) -> None:
        """Args: ``dedicated``: the volume is ours alone."""
        self.dedicated = dedicated
        self._baseline: Amount | None = None
        self._inodes_then = 0
        self._rests: deque[Amount] = deque(maxlen=LOOKS)

    def balance(self, look: Look) -> Balance:
        """The balance after one more look."""
        if self.dedicated and look.still:
            self._note(look)
        unexplained = self._unexplained(look) if self.dedicated else NOTHING
        unaccounted = look.named + unexplained
        others = look.used - look.known - unaccounted
        return Balance(look.known, unaccounted, unexplained, max(0, others.size_bytes))

    def _note(self, look: Look) -> None:
        """The lowest rest ever seen is the file system's own share: a leak that is there already when the node starts
        cannot be told from it, one that comes or goes later can."""
        rest = look.used - look.known - look.named
        if self._baseline is None:
            self._inodes_then = look.known.inodes
        self._baseline = rest if self._baseline is None else rest.at_most(self._baseline)
        self._rests.append(rest)

    def _unexplained(self, look: Look) -> Amount:
        if self._baseline is None or len(self._rests) < LOOKS:
            return NOTHING
        lowest = self._rests[0]
        for rest in self._rests:
            lowest = lowest.at_most(rest)
        over = (lowest - self._baseline).at_least(NOTHING)
        grown = INODE_BYTES * max(0, look.known.inodes - self._inodes_then)
        tolerance = max(TOLERANCE_BYTES_MIN, look.size_bytes // TOLERANCE_SHARE) + grown
        return Amount(
            over.size_bytes if over.size_bytes > tolerance else 0,
            over.inodes if over.inodes > TOLERANCE_INODES else 0,
        )
