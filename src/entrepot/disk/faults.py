"""Faults and traces for the file-call seam, for tests alone.

A real ``entrepot serve`` can be swept through the environment variable ``ENTREPOT_FAULT``; unset, nothing here is even
imported. Its value is a comma-separated list of rules:

``CALL:N:ACTION``
    at the Nth call (1 is the first) of ``CALL`` (``*`` is any call; ``N+`` is the Nth and every later one) do
    ``ACTION``: an errno name (``ENOSPC``, ``EIO``, …) raises it, ``KILL`` ends the process with SIGKILL before the
    call, ``SHORT`` writes half of what was asked,
    ``SKIP`` reports success without making an fsync, fdatasync or sync_file_range (a lying disk).
``log:PATH`` or ``log:fd:N``
    appends one line ``COUNTER CALL ARGS`` for each call to a file or to an inherited descriptor.
"""

import errno
import os
import signal
import threading
from collections.abc import Callable

SKIP = -1
"""A hook's answer: report success without making the call (the three sync calls only)."""

Hook = Callable[[str, int, tuple[object, ...]], int | None]
"""``hook(call, counter, args)``: raise an OSError, or answer None (go on), :data:`SKIP`, or for ``write`` the most
bytes to write now."""

VARIABLE = "ENTREPOT_FAULT"


class Rule:
    """``CALL:N:ACTION`` as a hook. Counts its own matching calls, whatever thread makes them."""

    def __init__(self, call: str, nth: int, action: str, *, on: bool = False) -> None:
        """Args: ``call`` a function name of ``disk.fs`` or ``*``; ``nth`` from 1; ``on`` from then on rather than once.

        Raises ValueError for an unknown action.
        """
        if action not in ("KILL", "SHORT", "SKIP") and not hasattr(errno, action):
            raise ValueError(f"{VARIABLE}: unknown action {action}")
        self._call, self._nth, self._action, self._on = call, nth, action, on
        self._lock = threading.Lock()
        self._seen = 0
        self.hit: str | None = None
        """The call that met the fault first."""

    @property
    def reached(self) -> bool:
        """Whether the fault has happened: a sweep ends at the first N that is not reached."""
        return self._seen >= self._nth

    def __call__(self, call: str, counter: int, args: tuple[object, ...]) -> int | None:
        if self._call not in ("*", call):
            return None
        with self._lock:
            self._seen += 1
            hit = self._seen == self._nth or (self._on and self._seen > self._nth)
        if not hit:
            return None
        self.hit = self.hit or call
        if self._action == "KILL":
            os.kill(os.getpid(), signal.SIGKILL)
            signal.pause()  # the signal may be delivered to another thread first; nothing more may happen on this one
        if self._action == "SHORT":
            length = args[1] if call == "write" and isinstance(args[1], int) else 0
            return length // 2 or None
        if self._action == "SKIP":
            return SKIP
        number = getattr(errno, self._action)
        raise OSError(number, f"{os.strerror(number)} (injected at {call} #{counter})")


class Trace:
    """Writes one line for each call to a descriptor; each line is one write(2), so that threads and processes may
    share it."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def __call__(self, call: str, counter: int, args: tuple[object, ...]) -> int | None:
        os.write(self._fd, f"{counter} {call} {' '.join(map(repr, args))}\n".encode())
        return None


def all_of(hooks: list[Hook]) -> Hook:
    """One hook that asks each in turn; the first answer that is not None counts."""

    def hook(call: str, counter: int, args: tuple[object, ...]) -> int | None:
        for each in hooks:
            answer = each(call, counter, args)
            if answer is not None:
                return answer
        return None

    return hook


def parse(text: str) -> Hook:
    """The hook for a value of ``ENTREPOT_FAULT``. Raises ValueError with the faulty rule, OSError when the log cannot
    be opened."""
    logs: list[Hook] = []
    rules: list[Hook] = []
    for item in filter(None, text.split(",")):
        parts = item.split(":")
        if parts[0] == "log" and len(parts) == 3 and parts[1] == "fd":
            logs.append(Trace(int(parts[2])))
        elif parts[0] == "log" and len(parts) == 2:
            logs.append(Trace(os.open(parts[1], os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)))
        elif len(parts) == 3 and parts[1].rstrip("+").isdigit() and int(parts[1].rstrip("+")) > 0:
            rules.append(Rule(parts[0], int(parts[1].rstrip("+")), parts[2], on=parts[1].endswith("+")))
        else:
            raise ValueError(f"{VARIABLE}: cannot read {item!r}; it is CALL:N:ACTION or log:PATH")
    return all_of(logs + rules)
