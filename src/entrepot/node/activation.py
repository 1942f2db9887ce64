"""The main port from the service manager's hands: systemd's socket activation, sd_listen_fds(3).

The manager opens the port and keeps it while one server ends and the next one starts. Whoever connects meanwhile waits
in the kernel's queue instead of being refused.
"""

import os
import socket
import stat
from collections.abc import MutableMapping

from entrepot.disk import fs
from entrepot.node.ports import AddressError, joined

FIRST_FD = 3
_NAMES = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PIDFDID")


def inherited(environment: MutableMapping[str, str], pid: int, first_fd: int = FIRST_FD) -> socket.socket | None:
    """The listening socket that was passed to this process, or None; its variables are taken out of ``environment``, so
    that no child takes them for its own.

    Raises AddressError when what was passed is not exactly one TCP socket that listens.
    """
    values = [environment.pop(name, "") for name in _NAMES]
    if values[0] != str(pid):
        return None
    if values[1] != "1":
        raise AddressError(
            f"the service manager passed {values[1] or 'no'} sockets where one belongs: write one ListenStream= into"
            " the socket unit."
        )
    try:
        is_socket = stat.S_ISSOCK(fs.fstat(first_fd).st_mode)
    except OSError:
        is_socket = False
    if is_socket:
        os.set_inheritable(first_fd, False)
        listener = socket.socket(fileno=first_fd)
        if (
            listener.family in (socket.AF_INET, socket.AF_INET6)
            and listener.type == socket.SOCK_STREAM
            and listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        ):
            return listener
        listener.close()
    raise AddressError(
        "the service manager passed something else than a TCP socket that listens: write ListenStream=HOST:PORT and"
        " Accept=no into the socket unit."
    )


def address_text(listener: socket.socket) -> str:
    """HOST:PORT of the socket, as the setting ``server.listen`` has it."""
    host, port = listener.getsockname()[:2]
    return joined(host, port)
