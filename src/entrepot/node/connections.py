"""The connections of one of our ports, as the kernel knows them: the HTTP server keeps no list that we could read."""

import os
import socket
import stat
import struct
import termios
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from fcntl import ioctl

from entrepot.disk import fs

OWN_FDS = "/proc/self/fd"

Peer = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Connection:
    """A descriptor, and who is at the other end: another peer at the same descriptor is another connection."""

    fd: int
    peer: Peer


def connections(port: int, names: Iterable[str]) -> Iterator[Connection]:
    """Those of the port among the descriptors of these names, which are from :data:`OWN_FDS`."""
    for name in names:
        with suppress(OSError, ValueError):  # closed meanwhile, or never connected
            fd = int(name)
            # Only sockets are looked at closer: closing a second descriptor of the catalog would drop SQLite's locks.
            if not stat.S_ISSOCK(fs.fstat(fd).st_mode):
                continue
            with socket.socket(fileno=os.dup(fd)) as own:
                if own.family in (socket.AF_INET, socket.AF_INET6) and own.getsockname()[1] == port:
                    yield Connection(fd, own.getpeername()[:2])


def close(connection: Connection) -> bool:
    """End a connection, unless its descriptor is another one's by now; whether it was there. Whoever reads it sees the
    end and closes it.
    """
    with suppress(OSError), socket.socket(fileno=os.dup(connection.fd)) as own:
        if own.getpeername()[:2] == connection.peer:
            own.shutdown(socket.SHUT_RDWR)
            return True
    return False


def sending(port: int, among: Iterable[Connection] | None = None) -> list[Connection]:
    """The connections whose peer has not taken all that was sent. Args: ``among``: only these are asked, not all that
    there are. Raises OSError when no descriptor is left to look with.
    """
    if among is None:
        among = list(connections(port, fs.listdir(OWN_FDS)))
    return [each for each in among if _unsent(each)]


def _unsent(connection: Connection) -> bool:
    with suppress(OSError), socket.socket(fileno=os.dup(connection.fd)) as own:
        if own.getpeername()[:2] == connection.peer:
            (unsent_bytes,) = struct.unpack("i", ioctl(own.fileno(), termios.TIOCOUTQ, bytes(4)))
            return bool(unsent_bytes)
    return False
