"""A small pool of children: warm, bounded, and replaced when they crash, hang or have worked long enough."""

import queue
import threading
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from entrepot.children.codec import KnownType, KnownTypes
from entrepot.children.errors import ChildCrashed, ChildFailed, ChildPoolBusy, ChildPoolClosed, ChildTimedOut
from entrepot.children.process import Child, NotDelivered, pack_request
from entrepot.model.errors import Refusal
from entrepot.model.limits import INSPECT_MEMORY_BYTES_MAX

_DELIVERIES_MAX = 3


@dataclass(frozen=True, slots=True)
class ChildLimits:
    """The bounds of a pool.

    ``size`` children at most; ``memory_bytes`` each may map beyond what it holds once started; replaced after
    ``calls_max`` calls (C libraries leak); ended after ``idle_s`` seconds without a call (None: kept). A call waits at
    most ``queue_wait_s`` for a free child, a child has ``start_s`` to come up.
    """

    size: int = 2
    memory_bytes: int = INSPECT_MEMORY_BYTES_MAX
    calls_max: int = 1000
    idle_s: float | None = None
    queue_wait_s: float = 30.0
    start_s: float = 30.0


@dataclass(frozen=True, slots=True)
class ChildCounts:
    """What a pool has and has seen: children now, and totals since it was made."""

    live: int
    idle: int
    started_total: int
    crashed_total: int
    timed_out_total: int
    failed_total: int


class ChildPool:
    """Calls module-level functions in spawned children. Thread-safe and blocking: for worker threads, not for the event
    loop.

    Args: ``limits``; ``preload``: modules that each child imports before its memory is capped, so that the first call
    is as fast as the next; ``result_types``: the frozen dataclasses and enums that results may contain, each one named.
    Raises: TypeError for a result type whose fields cannot be checked.
    """

    def __init__(
        self,
        limits: ChildLimits | None = None,
        *,
        preload: Sequence[str] = (),
        result_types: Iterable[KnownType] = (),
    ) -> None:
        self._limits = limits or ChildLimits()
        self._preload = tuple(preload)
        self._known = KnownTypes(result_types)
        self._changed = threading.Condition()
        self._idle: list[Child] = []  # the last used is used first, so that what is not needed becomes idle
        self._busy: set[Child] = set()
        self._starting = 0
        self._warm = 0
        self._closed = False
        self._totals = {"started": 0, "crashed": 0, "timed_out": 0, "failed": 0}
        self._starts: queue.SimpleQueue[Future[Child] | None] = queue.SimpleQueue()
        self._starter = threading.Thread(target=self._start_children, name="entrepot-children", daemon=True)
        self._starter.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def call(
        self, function: str, args: tuple[object, ...] = (), *, fds: Sequence[int] = (), timeout_s: float
    ) -> object:
        """Run ``function`` (``"package.module:name"``) with ``args`` in a child; its result.

        Args: ``args`` picklable, at most 64 MiB together; ``fds`` up to 16 open descriptors, which the function gets
        under numbers of its own as the keyword ``fds`` (the caller's stay open, the child's are closed after the call;
        both share one file offset: read with pread); ``timeout_s`` the time the call may take, waiting for a free child
        not included.
        Returns: plain values and instances of the pool's ``result_types``, at most 64 MiB encoded.
        Raises: Refusal with the code, detail and numbers that the function raised; ChildFailed when it raised anything
        else; ChildTimedOut; ChildCrashed; ChildPoolBusy; ChildPoolClosed; ValueError when the arguments are too large
        or ``timeout_s`` is not positive.
        """
        if timeout_s <= 0:
            raise ValueError("timeout_s has to be positive")
        request = pack_request(function, args)
        deadline = time.monotonic() + self._limits.queue_wait_s
        for _ in range(_DELIVERIES_MAX):
            child = self._acquire(deadline)
            keep = False
            try:
                result = child.call(request, fds, timeout_s, self._known)
                keep = True
                return result
            except NotDelivered:
                continue  # it had died while idle
            except (Refusal, ValueError):
                keep = True
                raise
            except ChildFailed as error:
                keep = error.name != "MemoryError"  # its heap is full of holes
                self._count("failed")
                raise
            except ChildTimedOut:
                self._count("timed_out")
                raise
            except ChildCrashed:
                self._count("crashed")
                raise
            finally:
                self._release(child, keep=keep)
        self._count("crashed")
        raise ChildCrashed(f"{_DELIVERIES_MAX} children in a row died before they could be asked")

    def prestart(self, count: int) -> None:
        """Have ``count`` children (at most ``size``) ready now, and from now on replaced in the background when they
        end.

        Raises: ChildFailed, ChildCrashed or ChildTimedOut when one does not come up, ChildPoolClosed.
        """
        with self._changed:
            if self._closed:
                raise ChildPoolClosed
            self._warm = min(count, self._limits.size)
            missing = self._warm - self._live()
            self._starting += max(0, missing)
        children: list[Future[Child]] = [self._request_start() for _ in range(missing)]
        for future in children:
            self._release(self._await_start(future), keep=True)

    def counts(self) -> ChildCounts:
        """Children now, and totals so far."""
        with self._changed:
            return ChildCounts(
                live=self._live(),
                idle=len(self._idle),
                started_total=self._totals["started"],
                crashed_total=self._totals["crashed"],
                timed_out_total=self._totals["timed_out"],
                failed_total=self._totals["failed"],
            )

    def pids(self) -> frozenset[int]:
        """The process ids of the children, idle and busy."""
        with self._changed:
            return frozenset(child.pid for child in (*self._idle, *self._busy))

    def close(self, wait_s: float = 0.0) -> None:
        """End every child, calls in flight included after ``wait_s`` seconds (they raise ChildCrashed). Again: does
        nothing."""
        with self._changed:
            if self._closed:
                return
            self._closed = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._busy and not self._starting, timeout=wait_s)
            ended = self._idle
            self._idle = []
            for child in self._busy:
                child.terminate()  # its caller sees the end, collects it and closes its socket
        for child in ended:
            child.kill()
        with self._changed:
            self._changed.wait_for(lambda: not self._busy and not self._starting, timeout=self._limits.start_s)
        self._starts.put(None)
        self._starter.join(self._limits.start_s)

    def _live(self) -> int:
        return len(self._idle) + len(self._busy) + self._starting

    def _count(self, what: str) -> None:
        with self._changed:
            self._totals[what] += 1

    def _acquire(self, deadline: float) -> Child:
        """A child of the caller's own: an idle one, a new one, or the next that is released."""
        dead: list[Child] = []
        try:
            with self._changed:
                while True:
                    if self._closed:
                        raise ChildPoolClosed
                    while self._idle:
                        child = self._idle.pop()
                        if child.alive():
                            self._busy.add(child)
                            return child
                        dead.append(child)
                    if self._live() < self._limits.size:
                        self._starting += 1
                        break
                    remaining = deadline - time.monotonic()
                    if remaining <= 0 or not self._changed.wait(remaining):
                        raise ChildPoolBusy(
                            f"all {self._limits.size} children were busy for {self._limits.queue_wait_s:g} s"
                        )
        finally:
            for child in dead:
                child.kill()
        return self._await_start(self._request_start())

    def _request_start(self) -> Future[Child]:
        future: Future[Child] = Future()
        self._starts.put(future)
        return future

    def _await_start(self, future: Future[Child]) -> Child:
        """The child that the starter thread made, ready and counted as busy; what ``_starting`` promised is settled
        either way."""
        child: Child | None = None
        try:
            started = future.result()
            started.wait_ready(self._limits.start_s)
            child = started
        finally:
            with self._changed:
                self._starting -= 1
                closed = self._closed
                if child is not None:
                    self._totals["started"] += 1
                    if closed:
                        child.kill()  # close() ended the others while this one was on its way
                    else:
                        self._busy.add(child)
                self._changed.notify_all()
        if closed:
            raise ChildPoolClosed
        return child

    def _release(self, child: Child, *, keep: bool) -> None:
        """Take a child back: kept for the next call, or killed and, if the pool is to be warm, replaced."""
        keep = keep and child.calls < self._limits.calls_max
        if not keep:
            child.kill()  # before it stops counting, so that never more than `size` processes exist
        with self._changed:
            self._busy.discard(child)
            if keep and not self._closed:
                child.idle_since = time.monotonic()
                self._idle.append(child)
            replace = not self._closed and self._live() < self._warm
            if replace:
                self._starting += 1
            late = keep and self._closed
            self._changed.notify_all()
        if late:
            child.kill()
        if replace:
            self._request_start().add_done_callback(self._replaced)

    def _replaced(self, future: Future[Child]) -> None:
        """On the starter thread: a background replacement is up, or is not; then the next call starts one and reports
        why."""
        try:
            child = self._await_start(future)
        except (ChildCrashed, ChildFailed, ChildTimedOut, OSError):
            self._count("crashed")
            return
        with self._changed:
            self._busy.discard(child)
            closed = self._closed
            if not closed:
                child.idle_since = time.monotonic()
                self._idle.append(child)
            self._changed.notify_all()
        if closed:
            child.kill()

    def _start_children(self) -> None:
        """The starter thread: every child is started here, since the kernel's death signal follows the thread that
        started it."""
        idle_s = self._limits.idle_s
        while True:
            try:
                future = self._starts.get(timeout=None if idle_s is None else max(idle_s / 2, 0.05))
            except queue.Empty:
                self._end_idle()
                continue
            if future is None:
                return
            try:
                child = Child(memory_bytes=self._limits.memory_bytes, preload=self._preload)
            except BaseException as error:
                future.set_exception(error)
            else:
                future.set_result(child)

    def _end_idle(self) -> None:
        """End children that had nothing to do for ``idle_s``, but keep the warm ones."""
        idle_s = self._limits.idle_s
        if idle_s is None:
            return
        with self._changed:
            oldest = time.monotonic() - idle_s
            spare = max(0, self._live() - self._warm)
            ended = [child for child in self._idle if child.idle_since <= oldest][:spare]
            self._idle = [child for child in self._idle if child not in ended]
        for child in ended:
            child.kill()
