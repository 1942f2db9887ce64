"""What keeps a server from starting is one sentence that says what to do; nothing that is there is replaced."""

import os
import signal
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from tests.support.builders import deb_bytes
from tests.support.starts import Start, Starts, copied

pytestmark = [pytest.mark.timeout(300), pytest.mark.xdist_group("start-errors")]

COPY = "ab" + "0" * 30


@pytest.fixture(scope="module")
def starts() -> Iterator[Starts]:
    """One process that forks all servers of this module."""
    with Starts() as found:
        yield found


@pytest.fixture(scope="module")
def used(starts: Starts, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder that a server used; tests take copies."""
    data = tmp_path_factory.mktemp("used") / "data"
    with starts.begin(data) as start:
        assert start.settle() is None, start.log
    return data


@pytest.fixture
def data(used: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return copied(used, tmp_path / "data")


def sentence(start: Start, code: int = 1) -> str:
    """The one line that a start ended with."""
    with start:
        assert start.settle() == code, start.log
    lines = [line for line in start.log.splitlines() if not line.startswith("{")]
    assert len(lines) == 1, start.log
    assert lines[0].startswith("entrepot: ")
    return lines[0]


def from_the_future(data: Path) -> None:
    """The catalog has a revision that this version does not know."""
    with closing(sqlite3.connect(data / "catalog.db", isolation_level=None)) as db:
        db.execute("UPDATE alembic_version SET version_num = '9999'")


def of_another_program(data: Path) -> None:
    """A database with somebody else's tables."""
    remove_catalog(data)
    with closing(sqlite3.connect(data / "catalog.db", isolation_level=None)) as db:
        db.execute("CREATE TABLE notes (text)")


def remove_catalog(data: Path) -> None:
    """The catalog and its log are gone."""
    for path in data.glob("catalog.db*"):
        path.unlink()


def garbage_catalog(data: Path) -> None:
    """The catalog's file holds something else."""
    remove_catalog(data)
    (data / "catalog.db").write_bytes(os.urandom(8192))


def file_named_blobs(data: Path) -> None:
    """A file where the folder of copies belongs."""
    (data / "blobs").rename(data.parent / "elsewhere")
    (data / "blobs").touch()


WRONG: dict[str, tuple[Callable[[Path], object], str]] = {
    "later": (from_the_future, "a later version of Entrepot wrote it. Nothing was changed. Start the Entrepot"),
    "foreign": (of_another_program, "tables of another program"),
    "garbage": (garbage_catalog, "catalog.db: SQLITE_NOTADB. It is no catalog. Put the right file back from a back-up"),
    "blobs": (file_named_blobs, "blobs: File exists. A file lies where the server keeps a folder: move it away."),
    "short": (lambda data: (data / "secret").write_text("00ff"), "4 hexadecimal digits where 64 belong. Put the right"),
    "empty": (lambda data: (data / "secret").write_text(""), "0 hexadecimal digits where 64 belong. Put the right"),
    "text": (lambda data: (data / "secret").write_text("päss"), "something else than hexadecimal digits"),
    "missing": (lambda data: (data / "secret").unlink(), "secret is missing, and without it no signing key opens."),
    "format": (lambda data: (data / "format").write_text("9\n"), "has format '9', this version knows 1"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_start_that_cannot_be(starts: Starts, data: Path, name: str) -> None:
    """Goal: exit code 1 and one sentence with the remedy, no traceback, no word of a file to send again. Method: each
    thing that can be wrong in a folder that was used before.
    """
    break_it, says = WRONG[name]
    break_it(data)
    told = sentence(starts.begin(data))
    assert says in told
    assert "Send" not in told


@pytest.mark.parametrize(("sign", "empty"), [("copy", False), ("copy", True), ("token", False), ("mount", False)])
def test_a_lost_catalog_is_not_replaced(starts: Starts, data: Path, sign: str, empty: bool) -> None:
    """Goal: an empty catalog never takes the place of a lost one: it would know no package, all would be collected, and
    the token would be another. Method: the catalog goes, while copies or the token lie there; also where `blobs` is a
    volume of its own and everything else was lost. Seen to fail (the server got ready) without the check.
    """
    remove_catalog(data)
    if empty:
        (data / "catalog.db").touch()
    if sign != "token":
        (data / "blobs" / COPY[:2] / COPY).write_bytes(b"a package")
    token = data / "admin-token"
    before = token.read_text()
    if sign == "copy":
        token.unlink()
    elif sign == "mount":
        for path in sorted(data.rglob("*"), reverse=True):
            if path.is_dir() and path.name in ("incoming", "scratch", "ballast"):
                path.rmdir()
            elif path.parent == data and path.name != "blobs":
                path.unlink()
    told = sentence(starts.begin(data))
    assert "catalog.db is missing or empty" in told
    assert "Put it back from a back-up" in told
    assert not (data / "catalog.db-wal").exists()
    if sign == "token":
        assert token.read_text() == before


def test_a_volume_that_was_not_mounted(starts: Starts, data: Path) -> None:
    """Goal: a node whose packages are not there does not start over an empty mount point: it would answer 404 for all,
    and hide new packages below the next mount. Method: a pushed package; then an empty folder in the place of `blobs`;
    then the right one. Seen to fail (the server got ready) without the check.
    """
    with starts.begin(data) as start:
        assert start.settle() is None, start.log
        token = (data / "admin-token").read_text().strip()
        address = f"{start.url}/admin/main/debian/bookworm/hello_1_all.deb"
        answer = httpx.put(address, content=deb_bytes("hello", "1", "all"), auth=(token, ""), trust_env=False)
        assert answer.status_code == 201, answer.text
    (data / "blobs").rename(data.parent / "unmounted")
    (data / "blobs").mkdir()
    told = sentence(starts.begin(data))
    assert f"{data}/blobs holds no package, and the catalog lists" in told
    assert "mounted?" in told
    assert not list((data / "blobs").glob("*/*")), "something was written below the mount point"
    (data / "blobs").rmdir()
    (data.parent / "unmounted").rename(data / "blobs")
    with starts.begin(data) as again:
        assert again.settle() is None, again.log


def test_the_one_before_still_stops(starts: Starts, data: Path) -> None:
    """Goal: who starts a server while the one before finishes what it holds is told which process that is, and to wait.
    Method: one that was told to stop and waits for its load balancer.
    """
    with starts.begin(data, env={"ENTREPOT_SERVER_DRAIN_WAIT_S": "600"}) as old:
        assert old.settle() is None, old.log
        os.kill(old.pid, signal.SIGTERM)
        told = sentence(starts.begin(data))
        assert f"{data}: process {old.pid} (" in told
        assert "is running on this data folder" in told
        assert "finishes its uploads first: wait until it has ended" in told
        assert old.exit_code is None


def test_two_addresses_that_are_one(starts: Starts, tmp_path: Path) -> None:
    """Goal: a wrong use is told as one (exit code 2). Method: the admin address is the main one's."""
    start = starts.begin(tmp_path / "data", "--listen", "127.0.0.1:8420", admin_port=8420)
    assert "listen and admin_listen have the same address and port 8420" in sentence(start, code=2)
    assert not (tmp_path / "data").exists()


def test_other_errors_of_the_system(starts: Starts, tmp_path: Path) -> None:
    """Goal: an error of a file call names the folder and the remedy, wherever in the start it comes."""
    for number, (fault, says) in enumerate(
        {
            "mkdir:100:ENOSPC": "Its volume is full: make room on it",
            "open_tmpfile:1:EACCES": "This user may not use it",
            "mkdir:2:EROFS": "mounted read-only",
            "fsync:4:EIO": "the kernel's log",
            "scandir:2:EMFILE": "ulimit -n",
        }.items()
    ):
        told = sentence(starts.begin(tmp_path / f"data{number}", fault=fault))
        assert says in told, fault
        assert str(tmp_path) in told
