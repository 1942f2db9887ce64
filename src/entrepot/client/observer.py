"""What a push tells while it runs; whoever shows it (a terminal, lines, JSON, nothing) implements this."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from entrepot.client.errors import Exit
from entrepot.client.retry import Wait
from entrepot.client.selection import Item


class Status(str, Enum):
    """What became of a file; the words of ``--json``."""

    PUBLISHED = "published"
    PRESENT = "present"
    ACCEPTED = "accepted"
    SKIPPED = "skipped"
    PASSED_OVER = "passed-over"
    WOULD_SEND = "would-send"
    PENDING = "pending"
    HELD = "held"
    CONFLICT = "conflict"
    REFUSED = "refused"
    UNAUTHORISED = "unauthorised"
    GAVE_UP = "gave-up"

    __str__ = str.__str__
    NOT_SENT = "not-sent"


EXITS = {
    Status.PENDING: Exit.NOT_LISTED,
    Status.HELD: Exit.NOT_LISTED,
    Status.CONFLICT: Exit.CONFLICT,
    Status.REFUSED: Exit.REFUSED,
    Status.UNAUTHORISED: Exit.AUTHENTICATION,
    Status.GAVE_UP: Exit.UNREACHABLE,
    Status.NOT_SENT: Exit.REFUSED,
}
# The server has the bytes.
_IN = frozenset({Status.PUBLISHED, Status.PRESENT, Status.ACCEPTED, Status.PENDING, Status.HELD})
# When files ended differently, the first of these says what to do next.
_FIRST = (Exit.AUTHENTICATION, Exit.UNREACHABLE, Exit.REFUSED, Exit.CONFLICT, Exit.NOT_LISTED)


@dataclass(frozen=True)
class Outcome:
    """The end of one file. ``distributions`` are those that it was sent to, or would be; ``seconds`` of sending."""

    item: Item
    status: Status
    distributions: tuple[str, ...]
    size_bytes: int = 0
    sha256: str = ""
    sent_bytes: int = 0
    seconds: float = 0.0
    code: str = ""
    detail: str = ""
    remedy: str = ""

    @property
    def there_bytes(self) -> int:
        """Bytes that did not have to be sent: here already, or in another distribution or repository."""
        return self.size_bytes if self.status in _IN and not self.sent_bytes else 0


@dataclass(frozen=True)
class Report:
    """The end of a push."""

    outcomes: tuple[Outcome, ...]
    seconds: float

    @property
    def sent_bytes(self) -> int:
        """Bytes of files that went over the wire, repeated attempts included."""
        return sum(outcome.sent_bytes for outcome in self.outcomes)

    @property
    def there_bytes(self) -> int:
        """Bytes of files that did not have to be sent: the server had them."""
        return sum(outcome.there_bytes for outcome in self.outcomes)

    @property
    def exit_code(self) -> Exit:
        """0 when every file is published; else what matters most."""
        found = {EXITS.get(outcome.status, Exit.OK) for outcome in self.outcomes}
        return next((code for code in _FIRST if code in found), Exit.OK)

    def count(self, status: Status) -> int:
        """How many files ended so."""
        return sum(outcome.status is status for outcome in self.outcomes)


class Observer(Protocol):
    """Every method is called from several threads, between ``begin`` and ``end``."""

    def begin(self, files: int, size_bytes: int) -> None:
        """A push of so many files and bytes begins."""

    def hashed(self, size_bytes: int) -> None:
        """Bytes of a local file were read for its digest."""

    def started(self, item: Item, size_bytes: int) -> None:
        """A file begins to go out, for the first time or again."""

    def sent(self, item: Item, size_bytes: int) -> None:
        """Bytes of it went out."""

    def waiting(self, item: Item | None, wait: Wait) -> None:
        """The server asked to come back; None: not about one file."""

    def done(self, outcome: Outcome) -> None:
        """A file ended."""

    def end(self, report: Report) -> None:
        """All is said."""

    def close(self) -> None:
        """The push is over, also when it ended by an error or Ctrl-C and there was no ``end``."""
