"""systemd's notification protocol (sd_notify(3)): a few lines to a datagram socket. No library, no disk.

Every message is sent without waiting: a service manager that does not read must not hold up the node.
"""

import socket
from collections.abc import Mapping
from typing import Self


class Notifier:
    """Tells the service manager what goes on; silent where nobody listens.

    ``watchdog_s`` is how often the manager wants to hear of us, in seconds, or None. Safe from any thread.
    """

    def __init__(self, address: str | None, watchdog_s: float | None = None) -> None:
        # A leading @ stands for the zero byte of Linux's abstract names.
        self._address = "\0" + address[1:] if address and address[0] == "@" else address
        self.watchdog_s = watchdog_s

    @classmethod
    def from_environment(cls, environment: Mapping[str, str], pid: int) -> Self:
        """From NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID. Anything malformed counts as not set."""
        address = environment.get("NOTIFY_SOCKET", "")
        usec, for_pid = environment.get("WATCHDOG_USEC", ""), environment.get("WATCHDOG_PID", "")
        meant = not for_pid or for_pid == str(pid)
        watchdog_s = int(usec) / 1e6 if meant and usec.isascii() and usec.isdigit() and int(usec) > 0 else None
        return cls(address if address[:1] in ("/", "@") else None, watchdog_s)

    @property
    def listening(self) -> bool:
        """Whether there is a manager to tell."""
        return self._address is not None

    def tell(self, **fields: str | int) -> None:
        """Send ``NAME=value`` lines (``READY=1``, ``STATUS=…``). Failures are passed over: nothing depends on them."""
        if self._address is None:
            return
        text = "\n".join(f"{name}={str(value).replace(chr(10), ' ')}" for name, value in fields.items())
        try:
            with socket.socket(
                socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
            ) as sender:
                sender.sendto(text.encode(), self._address)
        except (OSError, ValueError):
            return


def supervised(environment: Mapping[str, str], pid: int) -> bool:
    """Whether somebody starts this process again when it ends: systemd, Kubernetes or ECS, by what they set.

    A shell below a service inherits systemd's variables, so those count only where they are meant for this process.
    """
    if environment.get("INVOCATION_ID") and environment.get("SYSTEMD_EXEC_PID") == str(pid):
        return True
    names = ("KUBERNETES_SERVICE_HOST", "ECS_CONTAINER_METADATA_URI_V4", "ECS_CONTAINER_METADATA_URI")
    return any(environment.get(name) for name in names)
