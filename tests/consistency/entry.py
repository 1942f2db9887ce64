"""The real server with smaller limits and a clock that a test can move: ``python -m tests.consistency.entry serve …``.

``TEST_LIMITS`` is a JSON object of ``module:NAME`` → value, set before the command line runs. ``TEST_CLOCK`` names a
file with seconds: a plain number is added to the wall clock, one after ``=`` stops the clock there. Both are only for
this process: the child processes that inspect packages know neither.
"""

import importlib
import json
import os
import time
from pathlib import Path

from entrepot.cli.main import app_main
from entrepot.observe.clock import SystemClock


class _File:
    """The clock's file, read at most once in ten milliseconds; it is replaced by rename, so never half there."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read_at = -1.0
        self._text = "0"

    def now(self) -> float:
        """Wall seconds as the file wants them."""
        monotonic = time.monotonic()
        if monotonic - self._read_at >= 0.01:
            self._text, self._read_at = self._path.read_text(), monotonic
        return float(self._text[1:]) if self._text.startswith("=") else time.time() + float(self._text)


def main() -> None:
    """Set what the environment asks for, then run the command line."""
    for name, value in json.loads(os.environ.get("TEST_LIMITS", "{}")).items():
        module, _, attribute = name.partition(":")
        target = importlib.import_module(module)
        # A misspelt limit would leave the real one in force and the test without its subject.
        if not hasattr(target, attribute):
            raise SystemExit(f"there is no {name}")
        setattr(target, attribute, value)
    if path := os.environ.get("TEST_CLOCK"):
        clock = _File(Path(path))
        SystemClock.now = lambda self: clock.now()  # type: ignore[method-assign]
        SystemClock.now_s = lambda self: int(clock.now())  # type: ignore[method-assign]
    app_main()


if __name__ == "__main__":
    main()
