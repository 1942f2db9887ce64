"""Structured logs on standard output: one line per event, JSON or for people.

Lines go through a bounded queue to one writer thread. A log collector that stops reading must not stop the server (a
full pipe blocks write(2)), so lines that do not fit are dropped and counted in ``entrepot_log_lines_dropped_total``.
Nothing here touches a disk.
"""

import atexit
import logging
import queue
import re
import sys
import threading
from collections.abc import Mapping, MutableMapping
from datetime import UTC, datetime
from typing import Any, Literal, TextIO, cast

import structlog

from entrepot.observe import metrics
from entrepot.observe.clock import Clock, SystemClock

LEVELS: Mapping[str, int] = {"debug": 10, "info": 20, "warning": 30, "error": 40}
LINES_QUEUED_MAX = 10_000
LINE_CHARS_MAX = 16 * 1024
FLUSH_S_MAX = 2.0

_SECRET_KEYS = frozenset({"token", "password", "secret", "authorization", "cookie", "secret_armored", "dsn"})
# Tokens of ours (48 hex digits that are no digest), and what a URL or a header may carry.
_SECRET_TEXT = re.compile(
    r"(?<![0-9a-fA-F])[0-9a-f]{48}(?![0-9a-fA-F])"
    r"|(?<=/priv/)[^/\s]+"
    r"|(?<=://)[^/@\s]+(?=@)"
    r"|(?i:(?<=bearer )|(?<=basic ))[\w+/=.-]{16,}"
    r"|-----BEGIN PGP PRIVATE KEY BLOCK-----.*?(?:-----END PGP PRIVATE KEY BLOCK-----|\Z)",
    re.DOTALL,
)
HIDDEN = "[hidden]"


class _Outlet:
    """The queue and its writer thread."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lines: queue.Queue[str | None] = queue.Queue(LINES_QUEUED_MAX)
        self._thread = threading.Thread(target=self._write_all, name="logs", daemon=True)
        self._thread.start()

    def msg(self, message: str) -> None:
        """Queue one line, or drop and count it."""
        if len(message) > LINE_CHARS_MAX:
            message = message[:LINE_CHARS_MAX] + "…"
        try:
            self._lines.put_nowait(message)
        except queue.Full:
            metrics.log_lines_dropped_total.inc()

    debug = info = warning = error = critical = exception = msg

    def close(self) -> bool:
        """Write what is queued, for at most :data:`FLUSH_S_MAX` seconds; whether nobody held it up."""
        try:
            self._lines.put(None, timeout=FLUSH_S_MAX)
        except queue.Full:
            return False
        self._thread.join(FLUSH_S_MAX)
        return not self._thread.is_alive()

    def _write_all(self) -> None:
        while (line := self._lines.get()) is not None:
            try:
                self._stream.write(line + "\n")
                if self._lines.empty():
                    self._stream.flush()
            except (OSError, ValueError):  # standard output is gone; the server is more use without logs than dead
                metrics.log_lines_dropped_total.inc()


class _ForeignHandler(logging.Handler):
    """Takes what libraries say through the standard module (warnings and worse) into the same stream."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            get(record.name).log(record.levelno, record.getMessage())
        except Exception:
            metrics.log_lines_dropped_total.inc()


_outlet: _Outlet | None = None
_lock = threading.Lock()


def configure(
    level: str = "info",
    style: Literal["json", "console"] = "json",
    *,
    stream: TextIO | None = None,
    clock: Clock | None = None,
) -> None:
    """Set up logging for the process; a second call replaces the first.

    Args: ``level`` a key of :data:`LEVELS`, lower levels are not even formatted; ``style`` "json" for machines,
    "console" for people; ``stream`` where lines go instead of standard output; ``clock`` whose time the lines carry.
    Raises KeyError for an unknown level.
    """
    global _outlet
    threshold = LEVELS[level]
    clock = clock or SystemClock()
    renderer = _json if style == "json" else structlog.dev.ConsoleRenderer(colors=False, sort_keys=False)

    def add_time(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        now = datetime.fromtimestamp(clock.now(), UTC)
        event["time"] = now.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        return event

    with _lock:
        if _outlet is None:
            atexit.register(close)
        else:
            _outlet.close()
        _outlet = _Outlet(stream or sys.stdout)
        structlog.configure(
            processors=[
                structlog.contextvars.merge_contextvars,
                structlog.processors.add_log_level,
                add_time,
                structlog.processors.format_exc_info,
                hide_secrets,
                renderer,
            ],
            wrapper_class=structlog.make_filtering_bound_logger(threshold),
            logger_factory=lambda *_args: _outlet,
            cache_logger_on_first_use=False,
        )
        root = logging.getLogger()
        root.handlers = [_ForeignHandler(level=max(threshold, logging.WARNING))]


def close() -> bool:
    """Write out what is queued and stop the writer thread. Later lines are dropped until :func:`configure` is called
    again. False when nobody reads the stream: a thread holds its buffer, and waiting for that buffer is for ever.
    """
    return _outlet is None or _outlet.close()


def say(text: str) -> None:
    """Text for people between the lines, as it is; as bounded and as patient as they are. Once :func:`configure` was
    called.
    """
    if _outlet is not None:
        _outlet.msg(text)


def get(name: str) -> structlog.typing.FilteringBoundLogger:
    """A logger whose lines carry ``source=name``.

    Use an event name and fields: ``log.info("upload refused", code=…, size_bytes=…)``.
    """
    return cast(structlog.typing.FilteringBoundLogger, structlog.get_logger(source=name))


def hide_secrets(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Replace whatever is, or looks like, a secret: the last guard, for the line that someone writes in a hurry."""
    for key, value in event.items():
        if key.lower() in _SECRET_KEYS and value is not None:
            event[key] = HIDDEN
        elif not isinstance(value, (int, float, bool, type(None))):
            event[key] = _SECRET_TEXT.sub(HIDDEN, value if isinstance(value, str) else str(value))
    return event


_render_json = structlog.processors.JSONRenderer(ensure_ascii=False)


def _json(logger: object, method: str, event: MutableMapping[str, Any]) -> str | bytes:
    ordered = {key: event.pop(key) for key in ("time", "level", "source", "event") if key in event}
    return _render_json(logger, method, {**ordered, **event})
