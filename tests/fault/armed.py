"""The real `entrepot serve` with a hand on its file-call seam: `python -m tests.fault.armed serve …`.

`FAULT_CONTROL` names a Unix socket that takes one JSON object per connection and answers one:

`{"op": "arm", "call": "*", "nth": 3, "action": "EIO", "on": false}` the fault of `disk.faults.Rule`, counted from now;
`{"op": "disarm"}` takes it away: `{"reached": …, "hit": …, "calls": […]}`, the calls that were made since it was armed.

Only calls of the threads that serve requests and publications count: upkeep, watchers and probes come when they like,
and would make the Nth call a different one in every run. A commit of the catalog counts as a call for KILL alone: the
process ends before it; errors there are SQLite's own, and the business of `test_syscalls.py`.

`FAULT_LIE` (comma-separated) makes the server worse than it is, so that a test can show that it would notice:
`synchronous` (the catalog's commits do not wait for the disk), `early` (an upload is answered before its publication,
which comes half a second late). Others are no lies: `tail=N` (tails are merged at N entries, so that merges come soon),
`window=N` (a body's rate is judged over N seconds), `named` (staged files have names, as on a file system without
O_TMPFILE), `eager` (write-back starts every 512 KiB), `watchful` (leaks are looked for each second).
"""

import json
import os
import socket
import threading
import time
from typing import Any

from sqlalchemy import Engine, event

_COUNTED = ("intake", "inspect", "commit", "sql", "files", "keys", "publish-", "read-ahead")
_CALLS_MAX = 100_000


class Control:
    """Serves the control socket in a thread."""

    def __init__(self, path: str) -> None:
        from entrepot.disk import faults, fs

        self._faults, self._fs = faults, fs
        self._rule: faults.Rule | None = None
        self._kills = False
        self._calls: list[str] = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(path)
        self._listener.listen(8)
        threading.Thread(target=self._serve, name="control", daemon=True).start()

        event.listen(Engine, "commit", self._commit)

    def _commit(self, _connection: object) -> None:
        if self._kills:
            self._hook("commit", 0, ())

    def _hook(self, call: str, counter: int, args: tuple[object, ...]) -> int | None:
        if not threading.current_thread().name.startswith(_COUNTED):
            return None
        if len(self._calls) < _CALLS_MAX:
            self._calls.append(call)
        return self._rule(call, counter, args) if self._rule is not None else None

    def _serve(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            with connection, connection.makefile("rwb") as file:
                answer = self._answer(json.loads(file.readline()))
                file.write(json.dumps(answer).encode() + b"\n")

    def _answer(self, asked: dict[str, Any]) -> dict[str, Any]:
        rule = self._rule
        found = {
            "reached": rule is not None and rule.reached,
            "hit": rule.hit if rule is not None else None,
            "calls": list(self._calls),
        }
        if asked["op"] == "arm":
            self._calls = []
            action = asked.get("action")
            self._kills = action == "KILL"
            self._rule = action and self._faults.Rule(asked["call"], asked["nth"], action, on=asked["on"])
            self._fs.set_hook(self._hook)
        elif asked["op"] == "disarm":
            self._fs.set_hook(None)
            self._rule, self._calls, self._kills = None, [], False
        return found


def lie_about_commits() -> None:
    """Commits of the catalog return before they are on the disk."""
    from entrepot.catalog import engine

    honest = engine._prepare_writer

    def hasty(driver: Any, _record: object) -> None:
        honest(driver, _record)
        driver.execute("PRAGMA synchronous = OFF")

    engine._prepare_writer = hasty


def answer_early() -> None:
    """Uploads are answered at once, and what they wait for comes three seconds later: after any cut."""
    from entrepot.publish.publisher import Publisher
    from entrepot.publish.scope import ScopeWriter

    honest = ScopeWriter.publish

    async def at_once(self: Publisher, tickets: object, wait_s: float) -> bool:
        return True

    def late(self: ScopeWriter, signer_for: Any) -> Any:
        time.sleep(3.0)
        return honest(self, signer_for)

    Publisher.live = at_once  # type: ignore[method-assign]
    ScopeWriter.publish = late  # type: ignore[method-assign]


def name_staged_files() -> None:
    """The store behaves as on a file system without O_TMPFILE."""
    from entrepot.storage.folder import FolderStore

    FolderStore.__init__.__kwdefaults__["use_tmpfile"] = False  # type: ignore[index]


def write_back_eagerly() -> None:
    """Small files meet the calls that large ones meet."""
    from entrepot.storage import folder

    folder.WRITE_BACK_BYTES, folder.WRITE_BACK_LAG_BYTES = 512 * 1024, 2 * 1024 * 1024


def look_for_leaks_often() -> None:
    """A pass of the leaks' walk each second, not every ten."""
    from entrepot.node import leaks

    leaks.PASS_S = 1.0


LIMITS = {"tail": "TAIL_ENTRIES_MAX", "window": "RATE_WINDOW_S"}
CHANGES = {
    "synchronous": lie_about_commits,
    "early": answer_early,
    "named": name_staged_files,
    "eager": write_back_eagerly,
    "watchful": look_for_leaks_often,
}


def prepare() -> None:
    """Make the server lie, before any part of it that reads a limit is imported."""
    lies = [lie for lie in os.environ.pop("FAULT_LIE", "").split(",") if lie]
    for lie in lies:
        name, _, value = lie.partition("=")
        if name in LIMITS:
            from entrepot.model import limits

            setattr(limits, LIMITS[name], int(value))
        else:
            CHANGES[name]()


def begin() -> None:
    """Open the control socket, in the process that serves."""
    os.environ.pop("FAULT_LIE", None)  # no business of the server's children
    if path := os.environ.pop("FAULT_CONTROL", ""):
        Control(path)


def main() -> None:
    """Prepare, then run the program as its own command line does."""
    prepare()
    begin()
    from entrepot.cli.main import app_main

    app_main()


if __name__ == "__main__":
    main()
