"""Joins the history, the operations page and the admin address."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

from entrepot.disk.state import Status
from entrepot.node.admin import Handler, Reply
from entrepot.node.recorder import Recorder
from entrepot.observe.clock import Clock
from entrepot.observe.history import History
from entrepot.web.operations import ASSETS, HTML, STRICT_HEADERS, Operations, asset


def build_operations(
    document: Callable[[], Mapping[str, Any]], statuses: Callable[[], Sequence[Status]], clock: Clock, stack: ExitStack
) -> Operations:
    """The page over what ``/statusz`` says, and the thread that writes its history; ``stack`` ends the thread."""
    history = History()
    recorder = Recorder(history, statuses, clock)
    recorder.start()
    stack.callback(recorder.stop)
    return Operations(document, history, clock)


def operations_handlers(operations: Operations) -> dict[str, Handler]:
    """Path → answer for the admin address, where the page needs no token."""
    pages: dict[str, Handler] = {
        "/": lambda: _html(operations.page("/", "short")),
        "/day": lambda: _html(operations.page("/", "long")),
    }
    return pages | {path: partial(_asset, path) for path in ASSETS}


def _asset(path: str) -> Reply:
    content_type, content = asset(path)
    return Reply(200, content, content_type, ("X-Content-Type-Options: nosniff",))


def _html(page: bytes) -> Reply:
    return Reply(200, page, HTML, tuple(f"{name}: {value}" for name, value in STRICT_HEADERS))
