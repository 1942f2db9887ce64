"""sd_notify over real datagram sockets, and who is taken for a supervisor."""

import os
import socket
from pathlib import Path

import pytest

from entrepot.node.notify import Notifier, supervised


@pytest.mark.parametrize("abstract", [False, True])
def test_messages_arrive(tmp_path: Path, abstract: bool) -> None:
    """Goal: lines arrive at a socket with a path and at one with an abstract name; a line end cannot forge a field."""
    name = f"@entrepot-test-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("\0" + name[1:] if abstract else name)
        manager.settimeout(10)
        notifier = Notifier.from_environment({"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "3000000"}, 1)
        assert (notifier.listening, notifier.watchdog_s) == (True, 3.0)
        notifier.tell(READY=1, STATUS="ready\nSTOPPING=1")
        assert manager.recv(4096) == b"READY=1\nSTATUS=ready STOPPING=1"


def test_a_manager_that_does_not_read_holds_nobody_up(tmp_path: Path) -> None:
    """Goal: a full or missing socket is passed over. Method: more messages than its queue takes, then none listens."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        notifier = Notifier(str(tmp_path / "notify"))
        for _ in range(2000):
            notifier.tell(STATUS="x" * 1000)
    notifier.tell(READY=1)
    Notifier(None).tell(READY=1)


@pytest.mark.parametrize(
    ("environment", "watchdog_s"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "1500000"}, 1.5),
        ({"WATCHDOG_USEC": "1500000", "WATCHDOG_PID": "7"}, 1.5),
        ({"WATCHDOG_USEC": "1500000", "WATCHDOG_PID": "8"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
    ],
)
def test_watchdog(environment: dict[str, str], watchdog_s: float | None) -> None:
    """Goal: the interval counts only where it is one, and is meant for this process."""
    assert Notifier.from_environment(environment, 7).watchdog_s == watchdog_s


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, False),
        ({"INVOCATION_ID": "ab", "SYSTEMD_EXEC_PID": "7"}, True),
        ({"INVOCATION_ID": "ab", "SYSTEMD_EXEC_PID": "6"}, False),  # a shell below a service
        ({"INVOCATION_ID": "ab"}, False),
        ({"KUBERNETES_SERVICE_HOST": "192.0.2.1"}, True),
        ({"ECS_CONTAINER_METADATA_URI_V4": "http://192.0.2.2/v4/x"}, True),
    ],
)
def test_supervised(environment: dict[str, str], expected: bool) -> None:
    """Goal: only a supervisor that is this process's own counts: a wrong yes would end a node for good."""
    assert supervised(environment, 7) == expected
