"""The addresses of a node: whether they can be had, asked before anything is built, and the main port itself."""

import errno
import socket
from typing import Any

from entrepot.disk.proc import named, port_holder

BACKLOG = 1024
"""Connections that wait to be accepted."""

_REMEDIES = {
    errno.EADDRINUSE: "is in use by {holder}. Stop it (a server that was told to stop finishes its uploads first: wait"
    " for it), or choose another with {how}.",
    errno.EADDRNOTAVAIL: "is no address of this machine. Name one that `ip address` shows, or 0.0.0.0, with {how}.",
    errno.EACCES: "may not be opened by this user: ports below 1024 need CAP_NET_BIND_SERVICE. Choose a higher one with"
    " {how}.",
}


class AddressError(Exception):
    """An address cannot be listened on; the message names it and says what to do."""


def joined(host: str, port: int) -> str:
    """HOST:PORT, an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def check_free(address: tuple[str, int], how: str) -> None:
    """Try to listen on ``address`` and let go again; ``how`` names the option or setting that changes it.

    Raises AddressError. Another program may still take the port afterwards: this is for the message, not for safety.
    """
    host, port = address
    try:
        family, kind, protocol, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind(where)
            trial.listen(1)
    except OSError as error:
        text = _REMEDIES.get(error.errno or 0, f"cannot be listened on ({error.strerror}). Change it with {{how}}.")
        holder = _holder(where) if error.errno == errno.EADDRINUSE else ""
        raise AddressError(f"{joined(host, port)} {text.format(how=how, holder=holder)}") from error


def _holder(where: tuple[Any, ...]) -> str:
    """Who listens there, as far as this user may know."""
    pid = port_holder(where[0], where[1])
    return "another program (as root, `ss -ltnp` shows which)" if pid is None else named(pid)


def listen_on(address: tuple[str, int], *, unread_s_max: float) -> socket.socket:
    """The listening socket of the main port. Raises OSError.

    A client that asks for a large file and never reads holds its request, its descriptors and a connection, and no
    bound of the application ends that: the bytes wait in the kernel. TCP_USER_TIMEOUT is the kernel's own bound,
    ``unread_s_max`` here. It counts from the moment nothing more was taken, a closed window included, so a slow reader
    is never cut off. Accepted connections inherit it.
    """
    host, port = address
    family, kind, protocol, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound_unread(listener, unread_s_max)
        listener.bind(where)
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def bound_unread(listener: socket.socket, unread_s_max: float) -> None:
    """Make a socket fit for the main port: see :func:`listen_on`. Raises OSError."""
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(unread_s_max * 1000))
    listener.setblocking(False)
