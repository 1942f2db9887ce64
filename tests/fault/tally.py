"""What the fault lanes count, so that each zero comes with the number of tries behind it.

`FAULT_REPORT` names a file; every lane adds JSON lines to it, `{"lane": …, COUNTER: …}`. `scripts/fault_report.py` sums
them.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

SPOKEN_5XX = (503, 507)
"""What trouble with space or disks may be answered with; any other 5xx is a defect."""


@dataclass(slots=True)
class Counts:
    """One server's account. What must stay 0 is counted where a test looks, before it fails for it."""

    faults: int = 0
    """Faults put in force, kills and cuts included."""
    sent: int = 0
    """Changes that were sent, with whatever answer."""
    acknowledged: int = 0
    lost: int = 0
    """Acknowledged, and not there afterwards."""
    torn: int = 0
    """Listed without being whole, or an index that is not."""
    catalogs_damaged: int = 0
    leaked_files: int = 0
    leaked_bytes: int = 0
    answers: int = 0
    answers_500: int = 0
    """Answers 5xx that are neither 503 nor 507."""
    refusals: int = 0
    """Answers 503."""
    refusals_without_advice: int = 0
    """Of these, without Retry-After."""
    downloads_while_refusing: int = 0
    downloads_failed: int = 0
    accepting_again_s: list[float] = field(default_factory=list)
    """From the moment space came back to the first upload that was taken."""

    def answered(self, status: int, headers: Mapping[str, str]) -> None:
        """Count an answer; 0 is a connection that ended without one."""
        if not status:
            return
        self.answers += 1
        self.answers_500 += status >= 500 and status not in SPOKEN_5XX
        if status == 503:
            self.refusals += 1
            self.refusals_without_advice += not headers.get("retry-after", "").isdigit()

    def violated(self, wrong: list[str]) -> None:
        """Count what the invariants' checks say in the end (``I1: …``)."""
        self.lost += sum(each.startswith("I1") for each in wrong)
        self.torn += sum(each.startswith("I2") for each in wrong)
        self.catalogs_damaged += sum(each.startswith("I3") for each in wrong)

    def write(self) -> None:
        """Add what was counted to the report, and begin anew."""
        found = {name: value for name, value in asdict(self).items() if value}
        if found:
            note(**found)
        for each in fields(self):
            setattr(self, each.name, [] if each.name == "accepting_again_s" else 0)


def note(**counted: object) -> None:
    """Add one line to the report, under the module of the running test."""
    if path := os.environ.get("FAULT_REPORT"):
        test = os.environ.get("PYTEST_CURRENT_TEST", "")
        lane = Path(test.partition("::")[0]).stem.removeprefix("test_")
        with Path(path).open("a") as file:
            file.write(json.dumps({"lane": lane, "test": test.partition(" ")[0], **counted}) + "\n")
