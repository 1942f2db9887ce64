"""Addresses: one that cannot be had is named in a line with the remedy; the main port bounds what nobody reads."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from entrepot.node.ports import AddressError, check_free, listen_on
from tests.support.ports import free_port

pytestmark = pytest.mark.timeout(400)

PROGRAM = str(Path(sys.executable).with_name("entrepot"))


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that somebody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        yield other.getsockname()[1]


@pytest.mark.parametrize("which", ["--listen", "--admin-listen", "agent_listen"])
def test_a_taken_port(tmp_path: Path, taken: int, which: str) -> None:
    """Goal: exit code 1 and one line with the address and the option that changes it; no data folder is begun, whose
    half would stop the next start. Method: the real program for each of its addresses.
    """
    ports = {"--listen": free_port(), "--admin-listen": free_port(), "agent_listen": free_port(), which: taken}
    command = [PROGRAM, "serve", "--data", str(tmp_path / "data")]
    command += [part for name in ("--listen", "--admin-listen") for part in (name, f"127.0.0.1:{ports[name]}")]
    env = {"PATH": "/usr/bin:/bin", "ENTREPOT_SERVER_AGENT_LISTEN": f"127.0.0.1:{ports['agent_listen']}"}
    run = subprocess.run(command, env=env, capture_output=True, text=True, timeout=300, check=False)
    assert (run.returncode, run.stdout) == (1, "")
    (line,) = run.stderr.splitlines()
    assert line.startswith(f"entrepot: 127.0.0.1:{taken} is in use by process {os.getpid()} (")
    assert which in line
    assert not (tmp_path / "data").exists()


def test_other_addresses_that_cannot_be_had() -> None:
    """Goal: the sentence fits the cause: an address of another machine, a name that does not exist. And a free one
    raises nothing, also just after somebody left it.
    """
    with pytest.raises(AddressError, match=r"192\.0\.2\.1:80 is no address of this machine.*--listen"):
        check_free(("192.0.2.1", 80), "--listen")
    with pytest.raises(AddressError, match=r"no-such-host\.invalid:80 cannot be listened on"):
        check_free(("no-such-host.invalid", 80), "--listen")
    check_free(("127.0.0.1", free_port()), "--listen")
    check_free(("127.0.0.1", 0), "--listen")


def test_a_port_of_another_user(taken: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Goal: where the holder cannot be known, the line says who can. Method: no process may be looked into."""
    monkeypatch.setattr("entrepot.disk.proc.processes", list)
    with pytest.raises(AddressError, match=r"in use by another program \(as root, `ss -ltnp` shows which\)"):
        check_free(("127.0.0.1", taken), "--listen")


def test_connections_of_the_main_port_inherit_the_bound_on_unread_answers() -> None:
    """Goal: the kernel holds the bound for every connection that is accepted, and for no other socket
    (tests/fault/test_network.py shows what it does). Method: one of each.
    """

    def unread_ms(one: socket.socket) -> int:
        return one.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)

    with listen_on(("127.0.0.1", 0), unread_s_max=7.5) as main, socket.create_connection(main.getsockname()) as client:
        main.setblocking(True)
        accepted, _ = main.accept()
        with accepted:
            assert (unread_ms(main), unread_ms(accepted), unread_ms(client)) == (7500, 7500, 0)


def test_an_ipv6_wildcard_takes_both_families() -> None:
    """Goal: `--listen [::]:PORT` is reached over IPv4 too, as the kernel's default has it."""
    with listen_on(("::", 0), unread_s_max=60) as main:
        socket.create_connection(("127.0.0.1", main.getsockname()[1])).close()
