"""One fsync for all who wait for the same folder: who may share it, and what an error leaves."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from entrepot.disk import faults, fs
from entrepot.storage.group_sync import GroupSync
from tests.disk.mounts import open_descriptors
from tests.support.guarded import guarded

pytestmark = pytest.mark.timeout(30)  # what goes wrong here waits for ever


@pytest.fixture
def group(tmp_path: Path) -> Iterator[GroupSync]:
    """Of one folder; what its callers share is touched under the lock, and at the end nobody is still counted."""
    (tmp_path / "aa").mkdir()
    parent = fs.open_dir(tmp_path)
    made = GroupSync(parent, "aa", interrupted)
    try:
        with guarded(made, "_changed", {"_started", "_ended", "_running", "_failed", "_waiting"}):
            yield made
    finally:
        fs.set_hook(None)
        fs.close(parent)
    assert (made._failed, made._waiting) == ({}, {})


INTERRUPTED = threading.Event()


@contextmanager
def interrupted() -> Iterator[None]:
    """The timer around an fsync: it breaks off once :data:`INTERRUPTED` is set."""
    if INTERRUPTED.is_set():
        INTERRUPTED.clear()
        raise MemoryError
    yield


def test_a_running_fsync_never_counts(group: GroupSync) -> None:
    """Goal: a name made while an fsync runs gets one that began later. Method: hold the first fsync, ask for a
    second."""
    entered, release = threading.Event(), threading.Event()
    began: list[float] = []

    def hook(call: str, counter: int, args: tuple[object, ...]) -> None:
        if call == "fsync":
            began.append(time.monotonic())
            entered.set()
            assert release.wait(10)

    fs.set_hook(hook)
    with ThreadPoolExecutor(4) as pool:
        first = pool.submit(group.sync)
        assert entered.wait(10)
        asked = time.monotonic()
        others = [pool.submit(group.sync) for _ in range(3)]
        time.sleep(0.05)
        release.set()
        for each in (first, *others):
            each.result(10)
    assert len(began) == 2
    assert began[0] < asked < began[1]


def test_a_failed_fsync_fails_all_who_shared_it(group: GroupSync) -> None:
    """Goal: nobody is told that a failed fsync worked, and the next one is on its own. Method: EIO at the shared
    one."""
    entered, release = threading.Event(), threading.Event()
    count = 0

    def hook(call: str, counter: int, args: tuple[object, ...]) -> None:
        nonlocal count
        if call == "fsync":
            count += 1
            entered.set()
            assert release.wait(10)
            if count == 2:
                raise OSError(5, "injected")

    fs.set_hook(hook)
    with ThreadPoolExecutor(4) as pool:
        first = pool.submit(group.sync)
        assert entered.wait(10)
        others = [pool.submit(group.sync) for _ in range(3)]
        time.sleep(0.05)
        release.set()
        assert first.exception(10) is None
        assert [type(each.exception(10)) for each in others] == [OSError] * 3
        group.sync()
    assert count == 3


def test_a_sync_that_breaks_off_holds_up_nobody(group: GroupSync) -> None:
    """Goal: whatever ends a sync, the next one runs, and no descriptor stays. Method: an error of the disk, then one
    that is none.
    """
    before = open_descriptors()
    with ThreadPoolExecutor(1) as pool:
        fs.set_hook(faults.Rule("fsync", 1, "EIO"))
        assert isinstance(pool.submit(group.sync).exception(10), OSError)
        INTERRUPTED.set()
        assert isinstance(pool.submit(group.sync).exception(10), MemoryError)
        pool.submit(group.sync).result(10)
    assert open_descriptors() == before
