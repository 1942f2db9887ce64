"""The file-call seam: that each call does what it says, and that a hook reaches all of them."""

import errno
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from entrepot.disk import faults, fs
from tests.disk.mounts import loop_ext4, make_ext4, needs_root, open_descriptors, tmpfs


@pytest.fixture(autouse=True)
def _no_hook_left() -> Iterator[None]:
    yield
    fs.set_hook(None)


def test_tmpfile_gets_a_name_only_by_link(tmp_path: Path) -> None:
    """Goal: an O_TMPFILE is invisible until linked, and a link never replaces. Method: link twice to one name."""
    folder = fs.open_dir(tmp_path)
    fd = fs.open_tmpfile(folder)
    fs.write_all(fd, b"bytes")
    assert fs.listdir(folder) == []
    fs.link_fd(fd, "name", dst_dir_fd=folder)
    assert fs.read_small(tmp_path / "name") == b"bytes"
    other = fs.open_tmpfile(folder)
    with pytest.raises(FileExistsError):
        fs.link_fd(other, "name", dst_dir_fd=folder)
    for each in (fd, other, folder):
        fs.close(each)


def test_short_writes_are_continued(tmp_path: Path) -> None:
    """Goal: a short write(2) never tears a file. Method: a hook that cuts every write to half, over 100,000 bytes."""
    data = os.urandom(100_000)
    fd = fs.open_new(str(tmp_path / "f"))
    rule = faults.Rule("write", 1, "SHORT", on=True)
    fs.set_hook(rule)
    fs.write_all(fd, data)
    fs.set_hook(None)
    assert rule.reached
    assert fs.pread(fd, 200_000, 0) == data
    fs.close(fd)


@needs_root
@pytest.mark.serial
def test_failed_fallocate_gives_everything_back(tmp_path: Path) -> None:
    """Goal: an allocation that does not fit leaves nothing allocated, while the file is still open. Method: ext4
    (which keeps what it had grabbed) and tmpfs, 60 MiB into 32 MiB."""
    image = tmp_path / "image"
    make_ext4(image, 32 << 20)
    mounts = (loop_ext4(image, tmp_path / "ext4"), tmpfs(tmp_path / "tmpfs", size_bytes=32 << 20))
    for mounted in mounts:
        with mounted as folder:
            folder_fd = fs.open_dir(folder)
            fd = fs.open_tmpfile(folder_fd)
            fs.write_all(fd, b"kept")
            before = os.statvfs(folder).f_bavail
            for keep_size in (False, True):
                with pytest.raises(OSError, match="No space") as caught:
                    fs.fallocate(fd, 0, 60 << 20, keep_size=keep_size)
                assert caught.value.errno == errno.ENOSPC
                assert before - os.statvfs(folder).f_bavail <= 1
                assert (fs.fstat(fd).st_size, fs.pread(fd, 9, 0)) == (4, b"kept")
            fs.close(fd)
            fs.close(folder_fd)


def test_fallocate_modes(tmp_path: Path) -> None:
    """Goal: mode 0 grows the file, KEEP_SIZE does not, both allocate. Method: st_size and st_blocks."""
    folder = fs.open_dir(tmp_path)
    for keep_size, size in ((False, 1 << 20), (True, 0)):
        fd = fs.open_tmpfile(folder)
        fs.fallocate(fd, 0, 1 << 20, keep_size=keep_size)
        facts = fs.fstat(fd)
        assert facts.st_size == size
        assert facts.st_blocks * 512 >= 1 << 20
        fs.close(fd)
    fs.close(folder)


def test_small_files_are_replaced_whole(tmp_path: Path) -> None:
    """Goal: old content or new at every failure, the mode exact, nothing beside it. Method: EIO at each call in
    turn."""
    path = tmp_path / "admin-token"
    old_mask = os.umask(0o077)
    try:
        fs.write_small_atomically(path, b"old", mode=0o640)
    finally:
        os.umask(old_mask)
    assert path.stat().st_mode & 0o777 == 0o640
    descriptors = open_descriptors()
    for nth in range(1, 100):
        rule = faults.Rule("*", nth, "EIO")
        fs.set_hook(rule)
        try:
            fs.write_small_atomically(path, b"new", mode=0o600)
        except OSError:
            fs.set_hook(None)
            assert path.read_bytes() in (b"old", b"new")
        fs.set_hook(None)
        assert os.listdir(tmp_path) == ["admin-token"]
        assert open_descriptors() == descriptors
        if not rule.reached:
            break
        fs.write_small_atomically(path, b"old")
    assert nth > 5
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"new", 0o600)


def test_read_small_is_bounded(tmp_path: Path) -> None:
    """Goal: a small file that is not small is refused, a link is not followed. Method: one byte over, and a symbolic
    link."""
    (tmp_path / "f").write_bytes(b"x" * 11)
    (tmp_path / "link").symlink_to("f")
    assert fs.read_small(tmp_path / "f", bytes_max=11) == b"x" * 11
    with pytest.raises(OSError, match="larger"):
        fs.read_small(tmp_path / "f", bytes_max=10)
    with pytest.raises(OSError, match="symbolic"):
        fs.read_small(tmp_path / "link")


def test_a_failed_read_leaves_nothing_open(tmp_path: Path) -> None:
    """Goal: a small file that cannot be read does not cost a descriptor. Method: its read fails."""
    (tmp_path / "f").write_bytes(b"x")
    before = open_descriptors()
    fs.set_hook(faults.Rule("pread", 1, "EIO"))
    with pytest.raises(OSError, match="injected"):
        fs.read_small(tmp_path / "f")
    assert open_descriptors() == before


def test_flock_tells_who_holds_it(tmp_path: Path) -> None:
    """Goal: a lock is held by its descriptor and ends with it. Method: two descriptors of one file."""
    first, second = fs.open_lock(tmp_path / "lock"), fs.open_lock(tmp_path / "lock")
    assert fs.flock(first)
    assert not fs.flock(second)
    fs.close(first)
    assert fs.flock(second)
    fs.close(second)


def test_mkdir_tells_new_from_old(tmp_path: Path) -> None:
    """Goal: an existing folder is fine, an existing file is not. Method: each."""
    assert fs.mkdir(tmp_path / "d")
    assert not fs.mkdir(tmp_path / "d")
    (tmp_path / "f").touch()
    with pytest.raises(FileExistsError):
        fs.mkdir(tmp_path / "f")


def test_rules_count_their_own_calls(tmp_path: Path) -> None:
    """Goal: `CALL:N` is the Nth call of that name, once or from then on. Method: count successes of stat around other
    calls."""
    for text, expected in (
        ("stat:2:EIO", "ok EIO ok"),
        ("stat:2+:ENOSPC", "ok ENOSPC ENOSPC"),
        ("*:2:EIO", "EIO ok ok"),
    ):
        fs.set_hook(faults.parse(text))
        seen = []
        for _ in range(3):
            try:
                fs.statvfs(tmp_path)
                fs.stat(tmp_path)
                seen.append("ok")
            except OSError as error:
                seen.append(errno.errorcode[error.errno or 0])
        assert " ".join(seen) == expected


@pytest.mark.parametrize("text", ["fsync", "fsync:0:EIO", "fsync:x:EIO", "fsync:1:NOSUCH", "log"])
def test_malformed_rules(text: str) -> None:
    """Goal: a misspelt sweep fails loudly instead of testing nothing. Method: each way to write a rule wrong."""
    with pytest.raises(ValueError, match="ENTREPOT_FAULT"):
        faults.parse(text)


def test_environment_reaches_a_process(tmp_path: Path) -> None:
    """Goal: a process can be swept and traced from outside, and is left alone without the variable. Method: kill a
    child at its second fsync, and read its trace."""
    code = (
        "import sys; from entrepot.disk import fs\n"
        "for n in range(3): fs.write_small_atomically(sys.argv[1], b'%d' % n)\n"
    )
    log = tmp_path / "log"

    def run(value: str | None) -> int:
        env = {key: text for key, text in os.environ.items() if key != "ENTREPOT_FAULT"}
        env |= {} if value is None else {"ENTREPOT_FAULT": value}
        return subprocess.run([sys.executable, "-c", code, tmp_path / "f"], env=env, check=False).returncode

    assert run(None) == 0
    assert (tmp_path / "f").read_bytes() == b"2"
    assert run(f"log:{log},fsync:4:KILL") == -9
    lines = log.read_text().splitlines()
    assert [line.split()[1] for line in lines].count("fsync") == 4
    assert lines[-1].split()[1] == "fsync"


def test_nobody_waits_for_the_writer_of_a_pipe(tmp_path: Path) -> None:
    """Goal: a pipe in the place of a file is an error, not a thread that hangs until somebody writes into it. Method: a
    certificate's file that is one; the server reads it again and again.

    Seen to hang without O_NONBLOCK.
    """
    os.mkfifo(tmp_path / "server.pem")
    done = threading.Event()

    def read() -> None:
        with suppress(OSError):
            fs.read_small(tmp_path / "server.pem")
            return
        done.set()

    threading.Thread(target=read, daemon=True).start()
    assert done.wait(10)
