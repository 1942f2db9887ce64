"""Clients that read again and again, try no read twice, and note what went wrong."""

import contextlib
import http.client
import threading
import time
from collections import Counter
from collections.abc import Callable

LATE_S = 0.05
LIMIT_S = 60.0


class Readers:
    """Clients that read again and again, each in a thread. ``failures`` has what went wrong, ``counts`` how often each
    of them was answered.
    """

    def __init__(self, address: str, port: int, paths: list[str], pause_s: float = 0.005) -> None:
        self._where = (address, port)
        self._paths = paths
        self._pause_s = pause_s
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self.failures: list[str] = []
        self.counts: Counter[str] = Counter()
        self.closers = contextlib.ExitStack()

    def start(self, name: str, read: Callable[["Readers", str], None]) -> None:
        """Let a client read."""

        def work() -> None:
            turn = 0
            while not self._stop.is_set():
                path, turn = self._paths[turn % len(self._paths)], turn + 1
                try:
                    read(self, path)
                    self.counts[name] += 1
                except (OSError, http.client.HTTPException, AssertionError) as error:
                    self.failures.append(f"{name} {path}: {error!r}")
                time.sleep(self._pause_s)

        self._threads.append(threading.Thread(target=work))
        self._threads[-1].start()

    def stop(self) -> None:
        """Let each end what it began."""
        self._stop.set()
        for each in self._threads:
            each.join()
        self.closers.close()

    def connect(self) -> http.client.HTTPConnection:
        """A connection of http.client's, which tries nothing again."""
        return http.client.HTTPConnection(*self._where, timeout=LIMIT_S)


def take(connection: http.client.HTTPConnection, path: str) -> None:
    """One read, to its last byte."""
    connection.request("GET", path)
    answer = connection.getresponse()
    content = answer.read()
    assert answer.status == 200
    assert len(content) == int(answer.headers["content-length"])


def anew(readers: Readers, path: str) -> None:
    """A connection for each read."""
    with contextlib.closing(readers.connect()) as connection:
        take(connection, path)


def late(readers: Readers, path: str) -> None:
    """A connection for each read, whose request comes a moment later, as over a long way."""
    with contextlib.closing(readers.connect()) as connection:
        connection.connect()
        time.sleep(LATE_S)
        take(connection, path)


class Keeping:
    """One connection for all reads, as apt, dnf and curl keep theirs: one that was ended while it was idle is replaced,
    once (RFC 9112 section 9.3.1).
    """

    def __init__(self) -> None:
        self._kept: http.client.HTTPConnection | None = None

    def __call__(self, readers: Readers, path: str) -> None:
        if self._kept is not None:
            try:
                take(self._kept, path)
                return
            except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError):
                self._kept.close()
        self._kept = readers.connect()
        readers.closers.callback(self._kept.close)
        take(self._kept, path)
