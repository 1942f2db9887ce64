"""The pool of children: results, limits, crashes, hostile answers, and that nothing is left behind."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from entrepot.children import (
    ChildCrashed,
    ChildFailed,
    ChildLimits,
    ChildPool,
    ChildPoolBusy,
    ChildPoolClosed,
    ChildTimedOut,
)
from entrepot.model.errors import Refusal
from tests.children.targets import Colour, Member, Verdict

TARGETS = "tests.children.targets"
MIB = 1 << 20


def _fds() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


def _gone(pid: int, wait_s: float = 5.0) -> bool:
    """Whether a process ends, or is only a zombie of somebody else's, within the time."""
    deadline = time.monotonic() + wait_s
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state == "Z":
            return True
        time.sleep(0.01)
    return False


@pytest.fixture
def pool() -> Iterator[ChildPool]:
    """A pool of one child; when the test is over, no process, descriptor or thread of it may be left."""
    fds = _fds()
    made = ChildPool(ChildLimits(size=1, memory_bytes=64 * MIB), result_types=(Verdict, Member, Colour))
    yield made
    pids = made.pids()
    made.close()
    assert all(_gone(pid, 1.0) for pid in pids)
    assert _fds() == fds
    assert "entrepot-children" not in {thread.name for thread in threading.enumerate()}


def test_plain_values_come_back_equal(pool: ChildPool) -> None:
    """Goal: a result is what the function returned. Method: echo one value of every plain type."""
    value = {"list": [1, -(2**200), 2.5], "tuple": (None, True, False), b"bytes": b"\x00\xff", "text": "ä€𝄞", "": {}}
    assert pool.call(f"{TARGETS}:echo", (value,), timeout_s=10) == value


def test_dataclass_comes_back_whole(pool: ChildPool) -> None:
    """Goal: a format's verdict crosses with its nested parts. Method: a dataclass with every kind of field."""
    assert pool.call(f"{TARGETS}:verdict", timeout_s=10) == Verdict(
        "a", b"\x00\xff", (Member("p", 1), Member("q", None)), {"k": [1, 2.5, True, None]}, Colour.RED
    )


def test_unnamed_class_is_refused() -> None:
    """Goal: a child cannot choose which class the node builds. Method: the same dataclass, not named to the pool."""
    with ChildPool(ChildLimits(size=1)) as pool, pytest.raises(ChildCrashed, match="not named to the pool"):
        pool.call(f"{TARGETS}:verdict", timeout_s=10)


def test_field_of_another_type_is_refused(pool: ChildPool) -> None:
    """Goal: the node never meets a number where it expects a name. Method: a child sends one."""
    with pytest.raises(ChildCrashed, match=r"name is a int, not"):
        pool.call(f"{TARGETS}:lying_verdict", timeout_s=10)


def test_refusal_is_raised_again(pool: ChildPool) -> None:
    """Goal: a format's refusal reaches the client unchanged, and the child goes on. Method: refuse twice, compare."""
    first = pool.call(f"{TARGETS}:pid", timeout_s=10)
    with pytest.raises(Refusal) as caught:
        pool.call(f"{TARGETS}:refuse", timeout_s=10)
    assert (caught.value.code, caught.value.detail) == ("package_damaged", "Build it again.")
    assert caught.value.numbers == {"size_bytes": 12, "field": "Package"}
    with pytest.raises(Refusal, match="package_damaged: Cut off"):
        pool.call(f"{TARGETS}:refuse_by_subclass", timeout_s=10)
    assert pool.call(f"{TARGETS}:pid", timeout_s=10) == first


def test_other_exception_is_described(pool: ChildPool) -> None:
    """Goal: an unforeseen error names itself, bounded. Method: raise with a long text and a lone surrogate."""
    with pytest.raises(ChildFailed) as caught:
        pool.call(f"{TARGETS}:fail", ("\udcff" + "x" * 100_000,), timeout_s=10)
    assert caught.value.name == "RuntimeError"
    assert len(caught.value.text) <= 4096
    assert "fail" in caught.value.trace
    with pytest.raises(ChildFailed, match="SystemExit: 3"):
        pool.call(f"{TARGETS}:leave", timeout_s=10)
    with pytest.raises(ChildFailed, match="AttributeError"):
        pool.call(f"{TARGETS}:no_such_function", timeout_s=10)


def test_failing_import_is_told_at_the_first_call() -> None:
    """Goal: a wrong module name is no hang. Method: preload one that does not exist, twice."""
    fds = _fds()
    with ChildPool(ChildLimits(size=1), preload=("no_such_module_here",)) as pool:
        for _ in range(2):
            with pytest.raises(ChildFailed, match="ModuleNotFoundError"):
                pool.call(f"{TARGETS}:pid", timeout_s=10)
        assert pool.counts().live == 0
    assert _fds() == fds


@pytest.mark.fault
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT])
def test_crash_names_the_signal_and_the_next_call_works(pool: ChildPool, number: signal.Signals) -> None:
    """Goal: a crash costs one call. Method: the function kills its own process."""
    with pytest.raises(ChildCrashed) as caught:
        pool.call(f"{TARGETS}:crash", (int(number),), timeout_s=10)
    assert caught.value.signal_name == number.name
    assert number.name in str(caught.value)
    assert pool.call(f"{TARGETS}:echo", ("next",), timeout_s=10) == "next"
    assert pool.counts().crashed_total == 1


@pytest.mark.fault
def test_silent_exit_is_a_crash(pool: ChildPool) -> None:
    """Goal: an exit without an answer is noticed at once. Method: leave with code 7 and no clean-up."""
    with pytest.raises(ChildCrashed) as caught:
        pool.call(f"{TARGETS}:exit_now", (7,), timeout_s=10)
    assert (caught.value.exit_code, caught.value.signal_name) == (7, None)


@pytest.mark.fault
def test_idle_child_killed_from_outside_is_replaced(pool: ChildPool) -> None:
    """Goal: a child that the kernel's OOM killer took while idle costs no upload. Method: kill -9 between two calls."""
    victim = pool.call(f"{TARGETS}:pid", timeout_s=10)
    assert isinstance(victim, int)
    os.kill(victim, signal.SIGKILL)
    assert _gone(victim)
    assert pool.call(f"{TARGETS}:pid", timeout_s=10) != victim


@pytest.mark.fault
@pytest.mark.parametrize(("function", "args"), [("sleep", (60,)), ("hang_with_gil", ())])
def test_time_limit_kills_and_replaces(pool: ChildPool, function: str, args: tuple[object, ...]) -> None:
    """Goal: a call ends at its limit even when the child's interpreter is blocked. Method: sleep, and a loop in C."""
    pool.prestart(1)
    (victim,) = pool.pids()
    start = time.monotonic()
    with pytest.raises(ChildTimedOut, match=r"longer than 0\.3 s"):
        pool.call(f"{TARGETS}:{function}", args, timeout_s=0.3)
    assert 0.3 <= time.monotonic() - start < 3
    assert _gone(victim)
    assert pool.call(f"{TARGETS}:echo", (1,), timeout_s=10) == 1
    assert pool.counts().timed_out_total == 1


@pytest.mark.fault
def test_memory_cap_stops_a_bomb(pool: ChildPool) -> None:
    """Goal: a decompression bomb that a format missed fails alone. Method: allocate below and above the cap of 64
    MiB."""
    assert pool.call(f"{TARGETS}:allocate", (32 * MIB,), timeout_s=10) == 32 * MIB
    greedy = pool.pids()
    with pytest.raises(ChildFailed, match="MemoryError"):
        pool.call(f"{TARGETS}:allocate", (256 * MIB,), timeout_s=10)
    assert pool.call(f"{TARGETS}:echo", (1,), timeout_s=10) == 1
    assert pool.pids() != greedy


def test_file_larger_than_the_cap_cannot_be_written(pool: ChildPool, tmp_path: Path) -> None:
    """Goal: a child cannot fill a disk. Method: the cap lowered to 4 MiB, so that the file's size decides."""
    path = tmp_path / "file"
    assert pool.call(f"{TARGETS}:write_file", (str(path), MIB), timeout_s=30) == MIB
    with (
        ChildPool(ChildLimits(size=1, memory_bytes=4 * MIB)) as small,
        pytest.raises(ChildFailed, match=r"OSError.*File too large"),
    ):
        small.call(f"{TARGETS}:append_pieces", (str(path), 8), timeout_s=30)
    assert path.stat().st_size <= 4 * MIB


def test_descriptors_are_passed_and_given_back(pool: ChildPool, tmp_path: Path) -> None:
    """Goal: a staged file is inspected in place. Method: pass two, read at an offset, look for what the child keeps."""
    paths = [tmp_path / "a", tmp_path / "b"]
    for path in paths:
        path.write_bytes(f"0123456789{path.name}".encode())
    files = [path.open("rb") for path in paths]
    try:
        fds = [file.fileno() for file in files]
        for _ in range(3):
            assert pool.call(f"{TARGETS}:read_fds", (8, 3), fds=fds, timeout_s=10) == [b"89a", b"89b"]
    finally:
        for file in files:
            file.close()
    left = pool.call(f"{TARGETS}:open_fds", timeout_s=10)
    assert isinstance(left, list)
    assert len(left) == 1
    assert left[0].startswith("socket:")


@pytest.mark.fault
def test_child_that_dies_before_it_reads_costs_no_call(pool: ChildPool) -> None:
    """Goal: a child killed just as it is asked is no failed upload. Method: stop it, ask, kill it with the request
    unread."""
    pool.prestart(1)
    (victim,) = pool.pids()
    os.kill(victim, signal.SIGSTOP)
    with ThreadPoolExecutor(1) as threads:
        asked = threads.submit(pool.call, f"{TARGETS}:pid", timeout_s=10)
        time.sleep(0.1)
        os.kill(victim, signal.SIGKILL)
        assert asked.result() != victim
    assert pool.counts().crashed_total == 0


def test_large_arguments_arrive(pool: ChildPool) -> None:
    """Goal: the window of an object store's upload crosses. Method: 12 MiB both ways; then more than the bounds."""
    data = os.urandom(MIB) * 12
    assert pool.call(f"{TARGETS}:echo", (data,), timeout_s=20) == data
    with pytest.raises(ValueError, match="at most 67108864"):
        pool.call(f"{TARGETS}:echo", (bytes(65 * MIB),), timeout_s=20)
    with pytest.raises(ValueError, match="20 descriptors; at most 16"):
        pool.call(f"{TARGETS}:echo", (1,), fds=range(20), timeout_s=20)


def test_result_above_the_bound_is_a_failure() -> None:
    """Goal: a result has a bound. Method: 65 MiB with memory enough."""
    with ChildPool(ChildLimits(size=1)) as pool, pytest.raises(ChildFailed, match=r"CodecError.*larger than 67108864"):
        pool.call(f"{TARGETS}:large", (65 * MIB,), timeout_s=20)


def test_nothing_is_inherited(pool: ChildPool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Goal: no secret and no descriptor of the node is in a child. Method: have both, inheritable, and look from
    inside."""
    monkeypatch.setenv("ENTREPOT_TOKEN", "secret")
    with (tmp_path / "catalog").open("wb") as file:
        os.set_inheritable(file.fileno(), True)
        left = pool.call(f"{TARGETS}:open_fds", timeout_s=10)
    assert isinstance(left, list)
    assert [name.partition(":")[0] for name in left] == ["socket"]
    seen = pool.call(f"{TARGETS}:surroundings", timeout_s=10)
    assert isinstance(seen, dict)
    assert "ENTREPOT_TOKEN" not in seen["environment"]
    assert seen["environment"]["TMPDIR"] == "/nonexistent"
    assert (seen["core"], seen["cwd"], seen["stdio"]) == (0, "/", ["/dev/null"] * 3)


@pytest.mark.fault
def test_pickle_in_an_answer_is_not_loaded(pool: ChildPool, tmp_path: Path) -> None:
    """Goal: a child that an attacker controls runs nothing in the node. Method: it answers with a pickle that acts."""
    bomb = tmp_path / "made-by-the-node"
    pool.prestart(1)
    with pytest.raises(ChildCrashed, match="not acceptable"):
        pool.call(f"{TARGETS}:answer_with_pickle", (str(bomb), 1), timeout_s=10)
    assert not bomb.exists()


@pytest.mark.fault
@pytest.mark.parametrize(
    ("function", "args", "message"),
    [
        ("answer_huge", (1,), "announced an answer of 4294967280 bytes"),
        ("answer_refusal_with_free_code", (1,), "no row of the table"),
        ("close_channel", (), "closed its socket"),
    ],
)
def test_hostile_answer_is_a_crash(pool: ChildPool, function: str, args: tuple[object, ...], message: str) -> None:
    """Goal: an answer that breaks the protocol ends the child and only that call. Method: one of each kind."""
    with pytest.raises(ChildCrashed, match=message):
        pool.call(f"{TARGETS}:{function}", args, timeout_s=10)
    assert pool.call(f"{TARGETS}:echo", (1,), timeout_s=10) == 1


@pytest.mark.fault
def test_answer_sent_ahead_is_not_taken(pool: ChildPool) -> None:
    """Goal: one package cannot answer for another by number. Method: a second answer waits in the socket."""
    assert pool.call(f"{TARGETS}:answer_ahead", (2,), timeout_s=10) == "honest"
    with pytest.raises(ChildCrashed, match="answered call 7 instead of 2"):
        pool.call(f"{TARGETS}:echo", (1,), timeout_s=10)


def test_calls_run_side_by_side_up_to_size() -> None:
    """Goal: the pool grows to its size and no further. Method: four slow calls on two children."""
    with ChildPool(ChildLimits(size=2)) as pool, ThreadPoolExecutor(4) as threads:
        pids = set(threads.map(lambda _: pool.call(f"{TARGETS}:sleep", (0.2,), timeout_s=10), range(4)))
        assert len(pids) == 2
        assert pool.counts().started_total == 2


def test_caller_does_not_wait_for_ever() -> None:
    """Goal: waiting has a bound. Method: one child held for longer than the queue's limit."""
    with ChildPool(ChildLimits(size=1, queue_wait_s=0.2)) as pool, ThreadPoolExecutor(1) as threads:
        pool.prestart(1)
        held = threads.submit(pool.call, f"{TARGETS}:sleep", (1.0,), timeout_s=10)
        time.sleep(0.1)
        with pytest.raises(ChildPoolBusy):
            pool.call(f"{TARGETS}:pid", timeout_s=10)
        assert isinstance(held.result(), int)


def test_child_is_replaced_after_its_calls() -> None:
    """Goal: a leak in a C library is bounded. Method: two calls a child; the warm pool has the next one ready."""
    with ChildPool(ChildLimits(size=1, calls_max=2)) as pool:
        pool.prestart(1)
        pids = [pool.call(f"{TARGETS}:pid", timeout_s=10) for _ in range(5)]
        assert len(set(pids)) == 3
        assert pids[0] == pids[1]


def test_idle_children_end_but_warm_ones_stay() -> None:
    """Goal: a quiet node holds no memory for children. Method: two used, one to be kept."""
    with ChildPool(ChildLimits(size=2, idle_s=0.3)) as pool, ThreadPoolExecutor(2) as threads:
        pool.prestart(1)
        calls = [threads.submit(pool.call, f"{TARGETS}:sleep", (1.0,), timeout_s=30) for _ in range(2)]
        deadline = time.monotonic() + 30
        # While both calls run, not after them: a busy machine may come back later than a child may be idle.
        while pool.counts().live < 2 and time.monotonic() < deadline:
            time.sleep(0.02)
        assert pool.counts().live == 2
        for call in calls:
            call.result()
        while pool.counts().live > 1 and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(0.5)
        assert pool.counts().live == 1


def test_close_ends_a_call_in_flight() -> None:
    """Goal: stopping is never held up by a child. Method: close while a call sleeps; then call again."""
    fds = _fds()
    pool = ChildPool(ChildLimits(size=1))
    pool.prestart(1)
    with ThreadPoolExecutor(1) as threads:
        held = threads.submit(pool.call, f"{TARGETS}:sleep", (60,), timeout_s=100)
        time.sleep(0.1)
        (pid,) = pool.pids()
        pool.close()
        with pytest.raises(ChildCrashed, match="SIGKILL"):
            held.result(timeout=5)
    assert _gone(pid)
    assert _fds() == fds
    with pytest.raises(ChildPoolClosed):
        pool.call(f"{TARGETS}:pid", timeout_s=1)
    with pytest.raises(ChildPoolClosed):
        pool.prestart(1)
    pool.close()


def test_close_waits_for_a_call_that_is_nearly_done() -> None:
    """Goal: draining lets inspections finish. Method: close with a wait longer than the call."""
    pool = ChildPool(ChildLimits(size=1))
    pool.prestart(1)
    with ThreadPoolExecutor(1) as threads:
        held = threads.submit(pool.call, f"{TARGETS}:sleep", (0.4,), timeout_s=100)
        time.sleep(0.1)
        pool.close(wait_s=5)
        assert isinstance(held.result(timeout=0.1), int)


@pytest.mark.fault
@pytest.mark.parametrize("state", ["idle", "busy"])
def test_children_die_with_the_node(state: str) -> None:
    """Goal: no child outlives its node. Method: kill -9 a process that holds a pool, with the child idle or hanging."""
    program = textwrap.dedent(
        f"""
        import sys, threading, time
        sys.path[:] = {sys.path!r}
        from entrepot.children import ChildLimits, ChildPool
        pool = ChildPool(ChildLimits(size=1))
        pool.prestart(1)
        if {state!r} == "busy":
            threading.Thread(target=pool.call, args=("{TARGETS}:hang_with_gil",), kwargs=dict(timeout_s=60)).start()
        time.sleep(0.2)
        print(*pool.pids(), flush=True)
        time.sleep(60)
        """
    )
    node = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    try:
        assert node.stdout is not None
        pid = int(node.stdout.readline())
        assert Path(f"/proc/{pid}").exists()
    finally:
        node.kill()
        node.communicate()
    assert _gone(pid)


def test_child_outlives_the_thread_that_first_called() -> None:
    """Goal: the kernel's death signal, which follows a thread, does not end children too early. Method: call from two
    threads that end."""
    pids: list[object] = []
    with ChildPool(ChildLimits(size=1)) as pool:
        for _ in range(2):
            thread = threading.Thread(target=lambda: pids.append(pool.call(f"{TARGETS}:pid", timeout_s=10)))
            thread.start()
            thread.join()
            time.sleep(0.05)
    assert len(set(pids)) == 1


def test_signals_to_the_group_do_not_break_a_call(pool: ChildPool) -> None:
    """Goal: a drain finishes its inspections. Method: SIGTERM and SIGINT to a busy child."""
    pool.prestart(1)
    (pid,) = pool.pids()
    with ThreadPoolExecutor(1) as threads:
        held = threads.submit(pool.call, f"{TARGETS}:sleep", (0.4,), timeout_s=10)
        time.sleep(0.1)
        os.kill(pid, signal.SIGTERM)
        os.kill(pid, signal.SIGINT)
        assert held.result() == pid


@pytest.mark.serial
def test_warm_call_costs_under_a_millisecond(pool: ChildPool) -> None:
    """Goal: inspection adds nothing that a client notices. Method: the median of 500 warm calls with a small result."""
    pool.prestart(1)
    times_s = []
    for _ in range(500):
        start = time.perf_counter()
        pool.call(f"{TARGETS}:verdict", timeout_s=10)
        times_s.append(time.perf_counter() - start)
    median_s = sorted(times_s)[250]
    assert median_s < 0.001, f"median {median_s * 1e6:.0f} µs"


def test_a_child_on_its_way_does_not_outlive_the_pool() -> None:
    """Goal: closing the pool ends a call whose child was still starting. Method: close at once; the call would take
    60 s.

    Seen to wait for the whole call when such a child was counted as busy after the close.
    """
    pool = ChildPool(ChildLimits(size=1))
    with ThreadPoolExecutor(1) as threads:
        call = threads.submit(pool.call, f"{TARGETS}:sleep", (60.0,), timeout_s=90.0)
        while not pool.counts().live:
            time.sleep(0.001)
        pool.close()
        with pytest.raises((ChildPoolClosed, ChildCrashed)):
            call.result(timeout=20)
    assert not pool.pids()
