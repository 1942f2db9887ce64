"""How a push is shown: bars on a terminal, a line for each file elsewhere, or JSON."""

from threading import Lock
from typing import TYPE_CHECKING, Any, Optional

import typer

from entrepot.cli.frame import clean, print_json
from entrepot.client.observer import EXITS, Outcome, Report, Status
from entrepot.client.retry import Wait
from entrepot.client.selection import Item
from entrepot.model.units import size_text

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import ProgressColumn, Task

WORDS = {
    Status.PUBLISHED: "published",
    Status.PRESENT: "there already",
    Status.ACCEPTED: "accepted",
    Status.SKIPPED: "skipped",
    Status.PASSED_OVER: "passed over",
    Status.WOULD_SEND: "would send",
    Status.PENDING: "not listed yet",
    Status.HELD: "waits for its set",
    Status.CONFLICT: "name taken",
    Status.REFUSED: "refused",
    Status.UNAUTHORISED: "not allowed",
    Status.GAVE_UP: "gave up",
    Status.NOT_SENT: "not sent",
}
# Anything that a person has to do something about.
TROUBLES = frozenset(EXITS)


def line(outcome: Outcome) -> str:
    """One file in one line; the reason behind it when it is not in."""
    text = f"{WORDS[outcome.status]:<18}{clean(outcome.item.path)}"
    if outcome.distributions:  # without one, nothing was to be sent
        text += f" → {', '.join(outcome.distributions)} ({size_text(outcome.size_bytes)})"
    if outcome.detail:
        text += f": {clean(outcome.detail)} [{clean(outcome.code)}]"
        if outcome.remedy:
            text += f" {clean(outcome.remedy)}"
    return text


def summary(report: Report) -> str:
    """The last line."""
    counts = [f"{count} {WORDS[status]}" for status in Status if (count := report.count(status))]
    there = f", {size_text(report.there_bytes)} there already," if report.there_bytes else ""
    sent = f"{size_text(report.sent_bytes)} sent{there} in {report.seconds:.1f} s"
    return f"{', '.join(counts) or 'nothing to push'}; {sent}"


class LineView:
    """One line for each file, as it ends; for logs of a pipeline. Trouble goes to standard error."""

    def __init__(self, *, failures_only: bool = False) -> None:
        self._failures_only = failures_only
        self._lock = Lock()

    def begin(self, files: int, size_bytes: int) -> None:
        """Nothing to say yet."""

    def hashed(self, size_bytes: int) -> None:
        """Not shown."""

    def started(self, item: Item, size_bytes: int) -> None:
        """Not shown."""

    def sent(self, item: Item, size_bytes: int) -> None:
        """Not shown."""

    def waiting(self, item: Optional[Item], wait: Wait) -> None:
        """A wait is worth a line: otherwise the push would seem to hang."""
        name = "" if item is None else f"{clean(item.path)}: "
        with self._lock:
            typer.echo(f"{name}waiting {wait.wait_s:.0f} s: {clean(wait.reason)}", err=True)

    def done(self, outcome: Outcome) -> None:
        """The line."""
        trouble = outcome.status in TROUBLES
        if trouble or not self._failures_only:
            with self._lock:
                typer.echo(line(outcome), err=trouble)

    def end(self, report: Report) -> None:
        """The summary."""
        if not self._failures_only:
            typer.echo(summary(report))

    def close(self) -> None:
        """Nothing to clean up."""


class JsonView:
    """One JSON object a line: ``file`` for each file, ``waiting`` for each wait, ``summary`` at the end."""

    def __init__(self) -> None:
        self._lock = Lock()

    def begin(self, files: int, size_bytes: int) -> None:
        """Not shown."""

    def hashed(self, size_bytes: int) -> None:
        """Not shown."""

    def started(self, item: Item, size_bytes: int) -> None:
        """Not shown."""

    def sent(self, item: Item, size_bytes: int) -> None:
        """Not shown."""

    def waiting(self, item: Optional[Item], wait: Wait) -> None:
        """``{"event": "waiting", "file": …, "wait_s": …, "reason": …}``."""
        name = None if item is None else str(item.path)
        self._print({"event": "waiting", "file": name, "wait_s": round(wait.wait_s, 1), "reason": wait.reason})

    def done(self, outcome: Outcome) -> None:
        """``{"event": "file", …}``."""
        self._print(
            {
                "event": "file",
                "file": str(outcome.item.path),
                "name": outcome.item.name,
                "status": outcome.status.value,
                "distributions": list(outcome.distributions),
                "size_bytes": outcome.size_bytes,
                "sha256": outcome.sha256 or None,
                "sent_bytes": outcome.sent_bytes,
                "seconds": round(outcome.seconds, 3),
                "code": outcome.code or None,
                "detail": outcome.detail or None,
            }
        )

    def end(self, report: Report) -> None:
        """``{"event": "summary", …}`` with a count for each status."""
        counts = {status.value: report.count(status) for status in Status}
        self._print(
            {
                "event": "summary",
                "files": len(report.outcomes),
                "counts": counts,
                "sent_bytes": report.sent_bytes,
                "seconds": round(report.seconds, 3),
                "exit_code": int(report.exit_code),
            }
        )

    def close(self) -> None:
        """Nothing to clean up."""

    def _print(self, document: dict[str, Any]) -> None:
        with self._lock:
            print_json(document)


def _columns() -> "list[ProgressColumn]":
    """A bar with sizes as they are shown everywhere else; rich's own columns have units of theirs."""
    from rich.progress import BarColumn, ProgressColumn, TextColumn, TimeRemainingColumn
    from rich.text import Text

    class Moved(ProgressColumn):
        def render(self, task: "Task") -> Text:
            return Text(f"{size_text(task.completed)} of {size_text(task.total or 0)}", style="progress.download")

    class Rate(ProgressColumn):
        def render(self, task: "Task") -> Text:
            rate = task.finished_speed or task.speed
            return Text("" if rate is None else f"{size_text(rate)}/s", style="progress.data.speed")

    return [TextColumn("{task.description}", markup=False), BarColumn(), Moved(), Rate(), TimeRemainingColumn()]


class BarView:
    """A bar for all files and one for each file on its way: bytes, rate, time left; finished files become lines.

    The bar for all is about bytes to send: those that the server has already leave it, and are named beside it.
    """

    def __init__(self, console: "Console | None" = None) -> None:
        from rich.console import Console
        from rich.progress import Progress

        self._console = console or Console(highlight=False, markup=False)
        self._progress = Progress(*_columns(), console=self._console, transient=True)
        self._lock = Lock()
        self._bars: dict[Item, Any] = {}
        self._counted: dict[Item, int] = {}
        self._files = ""
        self._left_bytes = 0
        self._there_bytes = 0
        self._all: Any = None
        self._reading: Any = None

    def begin(self, files: int, size_bytes: int) -> None:
        """Draw."""
        self._files = f"{files} file{'' if files == 1 else 's'}"
        self._left_bytes = size_bytes
        self._progress.start()
        self._reading = self._progress.add_task("reading", total=size_bytes)
        self._all = self._progress.add_task(self._files, total=size_bytes)

    def hashed(self, size_bytes: int) -> None:
        """Move the bar of reading; it goes away when all is read."""
        self._progress.advance(self._reading, size_bytes)
        if self._progress.tasks and all(task.finished for task in self._progress.tasks if task.id == self._reading):
            self._progress.update(self._reading, visible=False)

    def started(self, item: Item, size_bytes: int) -> None:
        """A bar for the file; a second attempt begins at nothing."""
        with self._lock:
            self._progress.advance(self._all, -self._counted.pop(item, 0))
            if item in self._bars:
                self._progress.reset(self._bars[item])
            else:
                self._bars[item] = self._progress.add_task(f"  {clean(item.path.name)[:40]}", total=size_bytes)

    def sent(self, item: Item, size_bytes: int) -> None:
        """Move both bars."""
        with self._lock:
            self._counted[item] = self._counted.get(item, 0) + size_bytes
            self._progress.advance(self._all, size_bytes)
            if item in self._bars:
                self._progress.advance(self._bars[item], size_bytes)

    def waiting(self, item: Optional[Item], wait: Wait) -> None:
        """A line above the bars."""
        name = "" if item is None else f"{clean(item.path)}: "
        self._console.print(f"{name}waiting {wait.wait_s:.0f} s: {clean(wait.reason)}", soft_wrap=True)

    def done(self, outcome: Outcome) -> None:
        """The bar becomes a line; what was not sent of the file will not be."""
        with self._lock:
            bar = self._bars.pop(outcome.item, None)
            if bar is not None:
                self._progress.remove_task(bar)
            if outcome.item.unsent is None:
                self._left_bytes -= outcome.size_bytes - self._counted.pop(outcome.item, 0)
                self._there_bytes += outcome.there_bytes
                there = f", {size_text(self._there_bytes)} there already" if self._there_bytes else ""
                self._progress.update(self._all, total=self._left_bytes, description=self._files + there)
        style = "red" if outcome.status in TROUBLES else "green" if outcome.status is Status.PUBLISHED else None
        self._console.print(line(outcome), style=style, soft_wrap=True)

    def end(self, report: Report) -> None:
        """Remove the bars, print the summary."""
        self.close()
        self._console.print(summary(report), soft_wrap=True)

    def close(self) -> None:
        """Remove the bars and give the cursor back."""
        self._progress.stop()
