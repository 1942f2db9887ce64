"""What canary runs say about a node. Pure: no clock, no network, no log."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

FAILURES_MAX: Final = 3
"""Failed runs in a row that are an alert: one may be a hiccup, three are not."""


class Outcome(StrEnum):
    """How a run ended. ``refused``: the node said that it has no room or no hands right now, which is what it should
    say then; the volume's state is where that is told.
    """

    PASSED = "passed"
    REFUSED = "refused"
    FAILED = "failed"


class News(StrEnum):
    """What somebody must be told."""

    ALARM = "alarm"
    RECOVERED = "recovered"


@dataclass(frozen=True, slots=True)
class Run:
    """One run of one format: ``at`` in seconds since 1970 UTC, seconds of each phase it came to; for one that did not
    pass, the phase in which it ended and the cause, a short sentence.
    """

    outcome: Outcome
    at: int
    seconds: Mapping[str, float] = field(default_factory=dict)
    phase: str = ""
    cause: str = ""


@dataclass(frozen=True, slots=True)
class Standing:
    """What is known of one format: its last run, and how many have failed since one passed."""

    last: Run
    failures_in_row: int = 0

    @property
    def alarming(self) -> bool:
        """Whether people should be looking at it."""
        return self.failures_in_row >= FAILURES_MAX

    def shown(self) -> dict[str, object]:
        """As ``/statusz`` shows it, JSON-able."""
        return {
            "ok": self.last.outcome is Outcome.PASSED,
            "outcome": self.last.outcome.value,
            "failures_in_row": self.failures_in_row,
            "seconds": round(sum(self.last.seconds.values()), 3),
            "at": self.last.at,
            "phase": self.last.phase,
            "cause": self.last.cause,
        }


def judge(before: Standing | None, run: Run) -> Standing:
    """The standing after one more run. A refused run proves nothing, so it neither adds to a row of failures nor ends
    it.
    """
    failures = 0 if before is None else before.failures_in_row
    if run.outcome is Outcome.FAILED:
        failures += 1
    elif run.outcome is Outcome.PASSED:
        failures = 0
    return Standing(run, failures)


def news(before: Standing | None, after: Standing) -> News | None:
    """What the step from ``before`` to ``after`` is worth telling: once when it becomes alarming, once when it ends."""
    was_alarming = before is not None and before.alarming
    if after.alarming and not was_alarming:
        return News.ALARM
    return News.RECOVERED if was_alarming and not after.alarming else None
