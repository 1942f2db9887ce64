"""How far a long command is: a line on a terminal that is written over, or a line now and then in a log."""

import sys
from types import TracebackType
from typing import Self

import typer

from entrepot.model.units import size_text
from entrepot.observe.clock import SystemClock
from entrepot.upkeep.backup.progress import Progress

_EVERY_S = 0.5
_LOG_EVERY_S = 10.0


class Meter:
    """Shows a :class:`Progress` on standard error, at most twice a second."""

    def __init__(self, *, shown: bool) -> None:
        self.clock = SystemClock()
        self._live = shown and sys.stderr.isatty()
        self._shown = shown
        self._began_s = self.clock.monotonic()
        self._next_s = self._began_s + (_EVERY_S if self._live else _LOG_EVERY_S)
        self._chars = 0

    def tell(self, now: Progress) -> None:
        """Hear of one step."""
        at_s = self.clock.monotonic()
        if not self._shown or at_s < self._next_s:
            return
        self._next_s = at_s + (_EVERY_S if self._live else _LOG_EVERY_S)
        self._write(line(now, at_s - self._began_s))

    def clear(self) -> None:
        """Give the line back to other output."""
        if self._live and self._chars:
            typer.echo("\r" + " " * self._chars + "\r", err=True, nl=False)
            self._chars = 0

    def end(self) -> None:
        """No more steps."""
        self.clear()
        self._shown = False

    def _write(self, text: str) -> None:
        if not self._live:
            typer.echo(f"entrepot: {text}", err=True)
            return
        self.clear()
        typer.echo(text, err=True, nl=False)
        self._chars = len(text)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()


def line(now: Progress, passed_s: float) -> str:
    """One line: files, bytes, rate, and what is left at that rate."""
    if now.catalog_bytes:
        return f"{now.copies_done} files, {size_text(now.bytes_done)}; catalog {size_text(now.catalog_bytes)}"
    rate = now.bytes_done / passed_s if passed_s > 0 else 0.0
    left_s = (now.size_bytes - now.bytes_done) / rate if rate else 0.0
    files = f"{now.copies_done} of {now.copies} files, {size_text(now.bytes_done)} of {size_text(now.size_bytes)}"
    return f"{files}, {size_text(rate)}/s" + (f", {left_s / 60:.0f} min left" if left_s >= 90 else "")
