"""Deleted files that are held open, locks, ports and mounts, read from the kernel."""

import fcntl
import os
import socket
import subprocess
import sys
from pathlib import Path

from entrepot.disk import proc
from entrepot.disk.volume import Volume
from tests.disk.mounts import needs_root, tmpfs

HOLD = """
import os, sys
fd = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
os.posix_fallocate(fd, 0, 1 << 20)
os.unlink(sys.argv[1])
print("held", flush=True)
sys.stdin.read()
"""
MIB = 1 << 20


def test_a_child_that_holds_a_deleted_file(tmp_path: Path) -> None:
    """Goal: who holds a file without a name is found with its pid, its program, its old path and what it takes. Method:
    a child that unlinked its file; one with a name, and one in this process, to tell apart."""
    device = Volume(tmp_path).device
    command = [sys.executable, "-c", HOLD, str(tmp_path / "lost")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"held\n"
        with (tmp_path / "named").open("w"):
            assert child.pid in proc.family(os.getpid())
            found = [each for each in proc.deleted_files(proc.family(os.getpid()), device) if each.pid == child.pid]
        assert [(each.path, each.size_bytes >= MIB) for each in found] == [(str(tmp_path / "lost"), True)]
        assert found[0].process == Path(sys.executable).resolve().name[:15] or found[0].process.startswith("python")
        assert proc.deleted_files([child.pid], device + 1) == []
        child.communicate(b"")
    assert child.pid not in proc.family(os.getpid())
    assert proc.deleted_files([child.pid], device) == []


def test_a_staged_file_shows_up_once(tmp_path: Path) -> None:
    """Goal: descriptors of one file count once, and the number is the one to ask the store about. Method: an unnamed
    file, duplicated."""
    fd = os.open(tmp_path, os.O_RDWR | os.O_TMPFILE)
    again = os.dup(fd)
    try:
        mine = proc.deleted_files([os.getpid()], Volume(tmp_path).device)
        assert [each.fd in (fd, again) for each in mine if each.inode == os.fstat(fd).st_ino] == [True]
        assert os.fstat(fd).st_ino in proc.open_inodes([os.getpid()], Volume(tmp_path).device)
    finally:
        os.close(fd)
        os.close(again)


@needs_root
def test_which_volumes_are_ours_alone(tmp_path: Path) -> None:
    """Goal: only the root of a file system is ours alone. Method: a mount, a folder in it, a bind mount of that folder,
    which has a mount of its own and yet shares its file system; a name with a blank."""
    assert not proc.is_dedicated(tmp_path)
    with tmpfs(tmp_path / "a volume", size_bytes=MIB) as volume:
        assert proc.is_dedicated(volume)
        assert proc.file_system(volume) == "tmpfs"
        assert proc.file_system(volume / "below") == "tmpfs"
        (volume / "below").mkdir()
        assert not proc.is_dedicated(volume / "below")
        bound = tmp_path / "bound"
        bound.mkdir()
        subprocess.run(["mount", "--bind", volume / "below", bound], check=True)
        try:
            assert os.path.ismount(bound)
            assert not proc.is_dedicated(bound)
        finally:
            subprocess.run(["umount", bound], check=True)


def test_who_holds_a_lock(tmp_path: Path) -> None:
    """Goal: the holder of a file's flock is told, and asking takes no lock. Method: a lock of this process, then none.

    Seen to fail with the inode not compared.
    """
    path, other = tmp_path / "lock", tmp_path / "other"
    other.touch()
    assert proc.lock_holder(path) is None
    fd = os.open(path, os.O_RDWR | os.O_CREAT)
    fcntl.flock(fd, fcntl.LOCK_EX)
    assert (proc.lock_holder(path), proc.lock_holder(other)) == (os.getpid(), None)
    os.close(fd)
    assert proc.lock_holder(path) is None


def test_who_listens_on_a_port() -> None:
    """Goal: the listener is told where it would be in the way, and nobody else: not one on another address, not one
    that is only connected. Method: listeners of this process on IPv4, on IPv6, on every address, and none.
    """
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        for address, holder in (("127.0.0.1", os.getpid()), ("0.0.0.0", os.getpid()), ("127.0.0.2", None)):
            assert proc.port_holder(address, port) == holder, address
        with socket.create_connection(("127.0.0.1", port)) as client:
            assert proc.port_holder("127.0.0.1", client.getsockname()[1]) is None
    assert proc.port_holder("127.0.0.1", port) is None
    with socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as listener:
        assert proc.port_holder("127.0.0.1", listener.getsockname()[1]) == os.getpid()
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as listener:
        port = listener.getsockname()[1]
        assert (proc.port_holder("::1", port), proc.port_holder("127.0.0.1", port)) == (os.getpid(), None)
    assert proc.named(os.getpid()).startswith(f"process {os.getpid()} (")
