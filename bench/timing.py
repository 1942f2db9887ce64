"""Clocks and probes: how long a call takes, and whether the server's event loop stands still meanwhile."""

import http.client
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self


def seconds(work: Callable[[], object]) -> float:
    """Wall seconds of a call."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


class LoopProbe:
    """Asks the main port for ``/livez`` every few milliseconds; the slowest answer is the longest stall.

    A machine that is busy with other work delays the probe itself; ``own_s`` is how late the probe's own sleeps ran,
    and an answer is counted only as far as it is slower than the latest of them.
    """

    def __init__(self, address: str, port: int, pause_s: float = 0.005) -> None:
        self._address, self._port, self._pause_s = address, port, pause_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.answers_s: list[float] = []
        self.own_s = 0.0

    def _run(self) -> None:
        connection = http.client.HTTPConnection(self._address, self._port, timeout=60)
        while not self._stop.is_set():
            started = time.perf_counter()
            connection.request("GET", "/livez")
            connection.getresponse().read()
            answered = time.perf_counter()
            self.answers_s.append(answered - started)
            time.sleep(self._pause_s)
            self.own_s = max(self.own_s, time.perf_counter() - answered - self._pause_s)
        connection.close()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
