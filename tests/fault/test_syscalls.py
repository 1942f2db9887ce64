"""SQLite's own file calls fail: strace makes the kernel answer EIO or ENOSPC to the running server."""

import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.fault.rig import FULL, Rig, check_answer, running
from tests.fault.routes import TAIL_ENTRIES, DebPut, NewRepository, NewScope, Route

pytestmark = [pytest.mark.fault, pytest.mark.timeout(1800 if FULL else 240)]

# The first two are SQLite's, the others the blob store's as the kernel sees them.
CALLS = ("fdatasync", "pwrite64", "fsync", "fallocate", "linkat") if FULL else ("fdatasync",)
ERRNOS = ("EIO", "ENOSPC") if FULL else ("EIO",)
TIMES = ("1", "2", "3", "1+") if FULL else ("1",)
ROUTES: tuple[type[Route], ...] = (DebPut, NewScope, NewRepository) if FULL else (DebPut, NewRepository)
UPLOADS = 3


@contextmanager
def injected(rig: Rig, call: str, errno: str, when: str) -> Iterator[None]:
    """While inside, the Nth call of each thread (N+: and all later ones) gets the error. Only the server itself, not
    its children.
    """
    where = [f"--trace-path={rig.data}/catalog.db-wal"] if call in ("pwrite64", "fdatasync") else []
    tracer = subprocess.Popen(
        ["strace", "-f", "-q", "-o", "/dev/null", "-e", f"trace={call}", *where,
         "-e", f"inject={call}:error={errno}:when={when}", "-p", str(rig.pid)],
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        wait_traced(rig.pid)
        yield
    finally:
        tracer.terminate()
        tracer.wait(20)


def wait_traced(pid: int) -> None:
    """Return when every thread of the server has a tracer."""
    end = time.monotonic() + 20
    while True:
        states = [(task / "status").read_text() for task in Path(f"/proc/{pid}/task").iterdir()]
        if all("TracerPid:\t0\n" not in state for state in states):
            return
        assert time.monotonic() < end, "strace did not attach"
        time.sleep(0.05)


@pytest.mark.parametrize("call", CALLS)
def test_calls_of_sqlite_fail(tmp_path: Path, call: str) -> None:
    """Goal: I1 to I5 when the catalog's own files fail. Method: each error at the first calls of each thread, once and
    for good, during uploads, first publications and the making of repositories; then the disk is well again and all of
    that works without a restart; then SIGKILL, and after the restart everything that was promised is there.
    """
    with running(
        tmp_path / "data", lies=[f"tail={TAIL_ENTRIES}"], env={"ENTREPOT_UPLOAD_PUBLICATION_WAIT_S": "2"}
    ) as rig:
        for errno in ERRNOS:
            for when in TIMES:
                for route in ROUTES:
                    one_fault(rig, route(), call, errno, when)
        rig.check_orphans_go()
        rig.check()
        rig.check_idle()


def one_fault(rig: Rig, route: Route, call: str, errno: str, when: str) -> None:
    """Uploads under one fault, and what is left of it."""
    repository = rig.repository(f"acme/{route.name}-{call}-{errno}-{when.replace('+', 'on')}")
    if isinstance(route, DebPut):
        route.prepare(rig, repository)
    with injected(rig, call, errno, when):
        for _ in range(UPLOADS):
            check_answer(route.act(rig, repository))
            rig.counts.faults += 1
    assert rig.poll() is None
    rig.wait_written()  # a volume that failed is tried again after a pause
    route.ready(rig, repository)
    well = route.act(rig, repository)
    assert well.status in (201, 202), well.text
    rig.check()
    rig.check_that(lambda: route.wrong(rig, repository))
    rig.kill9()
    rig.start()
    rig.check()
    rig.check_idle(orphans_max=100)


def test_a_crash_after_a_commit_that_failed(tmp_path: Path) -> None:
    """Goal: a publication whose commit failed, and which a recovery of the log brings back after all, has its bytes.

    Method: the log's fdatasync fails for good while a scope is published for the first time, so that the transaction
    is written but was never confirmed; SIGKILL; SQLite's recovery finds a complete transaction. Seen to fail while a
    failed commit's segments were deleted.
    """
    with running(tmp_path / "data", lies=[f"tail={TAIL_ENTRIES}"]) as rig:
        seen = 0
        for turn in range(8 if FULL else 2):
            repository = rig.repository(f"acme/doubt{turn}")
            failures = rig.log().count("publication_failed")
            client = threading.Thread(target=NewScope().act, args=(rig, repository))
            # The publisher's first commit is its lease, the second is the publication.
            with injected(rig, "fdatasync", "EIO", "2+"):
                client.start()
                while client.is_alive() and rig.log().count("publication_failed") == failures:
                    time.sleep(0.005)
                seen += rig.log().count("publication_failed") > failures
                rig.kill9()
            client.join(30)
            rig.counts.faults += 1
            rig.start()
            rig.check()
            rig.check_idle(orphans_max=100)
        assert seen, "no publication failed: the fault was never there"
