"""Free TCP ports, and waiting until somebody listens."""

import contextlib
import socket
import time

POLL_INTERVAL_S = 0.02


def free_port(address: str = "127.0.0.1") -> int:
    """A TCP port that was free on `address` a moment ago, and the next one too: a server's admin port."""
    while True:
        with socket.socket() as probe, socket.socket() as neighbour:
            for each in (probe, neighbour):
                each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((address, 0))
            port: int = probe.getsockname()[1]
            with contextlib.suppress(OSError, OverflowError):
                neighbour.bind((address, port + 1))
                return port


def wait_for_port(address: str, port: int, timeout_s: float = 10.0) -> None:
    """Return when something accepts connections on the port; raise `TimeoutError` after `timeout_s` seconds."""
    end = time.monotonic() + timeout_s
    while True:
        try:
            socket.create_connection((address, port), timeout=1.0).close()
            return
        except OSError as error:
            if time.monotonic() > end:
                raise TimeoutError(f"nothing listens on {address}:{port} after {timeout_s} s: {error}") from error
            time.sleep(POLL_INTERVAL_S)
