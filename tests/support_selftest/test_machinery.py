"""Server process, other machines, TLS proxy and volumes, tested with a small stand-in program."""

import os
import sys
from pathlib import Path

import pytest

from tests.support.builders import make_jar
from tests.support.curl import curl
from tests.support.netns import loopback_addresses, network
from tests.support.process import CommandError, run
from tests.support.server import Leftover, ServerProcess
from tests.support.standin import TOKEN, standin
from tests.support.tls import CertificateAuthority, TlsProxy
from tests.support.volumes import MIB, FileSystem, loop_volume, tmpfs

STAND_IN = [sys.executable, "-m", "tests.support.standin"]


def test_server_life(tmp_path: Path) -> None:
    """Goal: start, watch, stop, kill, restart.

    Method: the stand-in, which holds one unnamed file of 4,096 bytes open.
    """
    server = ServerProcess(tmp_path / "data", command=STAND_IN, env={"ENTREPOT_FAULT": "write:3"})
    with server:
        assert server.admin_token == TOKEN
        assert "with fault write:3" in server.log()
        assert 1 * MIB < server.rss_bytes() <= server.peak_rss_bytes() < 500 * MIB
        assert server.threads() >= 1
        assert any("socket:" in target for target in server.fds())
        assert curl(f"{server.url}/a.bin", upload=b"12345").status == 201
        (unnamed,) = server.deleted_but_open()
        assert (unnamed.size_bytes, unnamed.deleted) == (4096, True)
        assert server.leftovers() == sorted([unnamed, Leftover("blobs/a.bin", 5)])
        assert server.stop() == 0
        assert server.leftovers() == [Leftover("blobs/a.bin", 5)]
        server.restart()
        assert server.kill9() == -9
        server.start(env={"ENTREPOT_FAULT": "kill"})
        assert "with fault kill" in server.log()
    assert server.process is None


def test_server_that_does_not_start_shows_its_log(tmp_path: Path) -> None:
    """Goal: a failed start tells why. Method: a program that prints a reason and ends."""
    server = ServerProcess(tmp_path / "data", command=["sh", "-c", "echo no catalog; exit 3"])
    with pytest.raises(AssertionError, match=r"(?s)ended with 3.*no catalog"):
        server.start()
    server.close()


def test_failed_test_shows_the_server_log(tmp_path: Path) -> None:
    """Goal: the report of a failure has the server's log. Method: run pytest on a test that fails after a start."""
    (tmp_path / "conftest.py").write_text("pytest_plugins = ['tests.support.plugin']\n")
    (tmp_path / "test_it.py").write_text(
        "from tests.support.server import ServerProcess\n"
        "def test_it(tmp_path):\n"
        f"    with ServerProcess(tmp_path / 'data', command={STAND_IN!r}):\n        assert False\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--rootdir={tmp_path}", str(tmp_path)]
    result = run(command, check=False, env={**os.environ, "PYTHONPATH": os.getcwd()})
    assert result.rc == 1
    assert "listening on 127.0.0.1:" in result.stdout


def test_machines_have_their_own_addresses_and_are_removed(tmp_path: Path) -> None:
    """Goal: 8 clients with 8 addresses over TLS.

    Method: curl from each machine; look for what is left after a failure.
    """
    authority = CertificateAuthority(tmp_path / "ca")
    before = _machines_of_this_process()  # a network that serves the whole session may live in this process too
    with standin(tmp_path / "www") as server, network(8) as net:
        upstream = server.url.removeprefix("http://")
        with TlsProxy(tmp_path / "proxy", authority, upstream, address=net.host_address) as proxy:
            for machine in net.machines:
                answer = curl(f"{proxy.url}/file", upload=b"hi", ca_file=authority.ca_file, prefix=machine.prefix)
                assert answer.status == 201
            distrusting = curl(f"{proxy.url}/file", prefix=net.machines[0].prefix, check=False)
            assert distrusting.status == 0, "the CA is not known"
            seen = {line.split()[0] for line in proxy.access_log() if " 201 " in line}
            assert seen == {machine.address for machine in net.machines}
    with pytest.raises(CommandError), network(2) as net:
        net.machines[1].run(["false"])
    assert _machines_of_this_process() == before


def _machines_of_this_process() -> set[str]:
    """The namespaces and links that this process made and that are there now."""
    mark = f"ent-{os.getpid()}-"
    words = (run(["ip", "netns", "list"]).stdout + run(["ip", "link"]).stdout).split()
    return {word for word in words if mark in word}


def test_loopback_addresses_are_seen_by_the_server(tmp_path: Path) -> None:
    """Goal: the address helper gives usable sources. Method: curl --interface; read the access log."""
    with standin(tmp_path) as server:
        for address in loopback_addresses(3):
            curl(f"{server.url}/", "--interface", address)
        assert [line.split()[0] for line in server.lines] == ["127.0.0.2", "127.0.0.3", "127.0.0.4"]


def test_tmpfs_is_full_when_it_says_so(tmp_path: Path) -> None:
    """Goal: bytes and inodes run out. Method: fill both, write, and see it gone afterwards."""
    with tmpfs(tmp_path / "small", 4 * MIB, inodes=16) as volume:
        filler = volume.fill(leave_bytes=64 * 1024)
        assert volume.free_bytes() == 64 * 1024
        filler.unlink()
        volume.fill_inodes(leave=1)
        (volume.path / "last").touch()
        with pytest.raises(OSError, match="No space left"):
            (volume.path / "one-too-many").touch()
    assert not os.path.ismount(tmp_path / "small")


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs"])
def test_power_cut_keeps_what_was_synced_and_nothing_else(tmp_path: Path, kind: FileSystem) -> None:
    """Goal: a cut shows the device's state, not the page cache's. Method: one file with fsync, one without."""
    data = make_jar() * 50
    with loop_volume(tmp_path, kind) as volume:
        run(["sync", "--file-system", volume.path])
        before = volume.written_bytes()
        for name in ("kept", "lost"):
            with (volume.path / name).open("wb") as file:
                file.write(data)
                file.flush()
                if name == "kept":
                    os.fsync(file.fileno())
                    folder = os.open(volume.path, os.O_RDONLY)
                    os.fsync(folder)
                    os.close(folder)
        with volume.cut() as after:
            assert (after / "kept").read_bytes() == data
            lost = after / "lost"
            assert not lost.exists() or lost.stat().st_size == 0
        volume.sync()
        assert volume.written_bytes() - before >= 2 * len(data)
        assert volume.counters().flushes > 0
        volume.fill(leave_bytes=MIB)
        assert volume.free_bytes() < 8 * MIB
    assert not os.path.ismount(volume.path)
    assert not run(["losetup", "--associated", volume.image]).stdout
