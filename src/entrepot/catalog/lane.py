"""The writer lane: one caller at a time, in order of arrival, and neighbours share a commit.

A queue without a thread of its own. The caller that finds the lane free leads: it runs its own change and those that
queued up behind it in one transaction, then hands the lane to the next in line. A lone caller therefore pays no
thread switch, and 64 callers pay one fsync between them.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from entrepot.model.errors import Refusal


class Turn:
    """One caller in the lane: a change to run (``work``), or, when that is None, a claim to the lane for itself."""

    __slots__ = ("done", "error", "gate", "left", "result", "taken", "work")

    def __init__(self, work: Callable[[Any], Any] | None) -> None:
        self.work = work
        self.result: Any = None
        self.error: BaseException | None = None
        self.done = False
        self.taken = False  # a leader has it, or it leads: it can no longer leave the queue
        self.left = False
        self.gate = threading.Lock()
        self.gate.acquire()


class Lane:
    """Orders writers and batches their changes.

    ``run`` gets the turns of one batch and must fill in ``result`` or ``error`` of each; it runs on one of the
    callers' threads, so a change must not rely on thread-local state. ``batch_max`` changes share a commit at most;
    ``queue_max`` callers wait at most, each for ``wait_s`` seconds.
    """

    def __init__(self, run: Callable[[Sequence[Turn]], None], *, batch_max: int, queue_max: int, wait_s: float) -> None:
        self._run = run
        self._batch_max = batch_max
        self._queue_max = queue_max
        self._wait_s = wait_s
        self._mutex = threading.Lock()
        self._queue: deque[Turn] = deque()
        self._busy = False
        self._owner: int | None = None

    def submit(self, work: Callable[[Any], Any]) -> Any:
        """Run ``work`` in the lane and return what it returned. Raises what it raised, or Refusal("busy")."""
        turn = Turn(work)
        if self._enter(turn):
            self._lead(turn)
        if turn.error is not None:
            raise turn.error
        return turn.result

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Hold the lane for the length of the block. Raises Refusal("busy")."""
        self._enter(Turn(None))
        self._owner = threading.get_ident()
        try:
            yield
        finally:
            self._owner = None
            self._hand_over()

    def _enter(self, turn: Turn) -> bool:
        """Wait for the turn; True when the caller leads, False when a leader did its work."""
        if self._owner == threading.get_ident():
            raise RuntimeError("a change was submitted from inside another one; it would wait for itself")
        with self._mutex:
            if not self._busy:
                self._busy = True
                turn.taken = True
                return True
            if len(self._queue) >= self._queue_max:
                raise Refusal("busy", "The catalog has too many changes waiting; send it again.")
            self._queue.append(turn)
        if not turn.gate.acquire(timeout=self._wait_s):
            self._leave(turn)
        return not turn.done

    def _leave(self, turn: Turn) -> None:
        """Give up waiting, unless a leader took the turn meanwhile: then its end is near and must be seen."""
        with self._mutex:
            turn.left = not turn.taken
            if turn.left:
                self._queue.remove(turn)
        if turn.left:
            raise Refusal("busy", "The catalog was busy for too long; send it again.")
        turn.gate.acquire()

    def _lead(self, turn: Turn) -> None:
        batch = [turn]
        with self._mutex:
            while self._queue and self._queue[0].work is not None and len(batch) < self._batch_max:
                follower = self._queue.popleft()
                follower.taken = True
                batch.append(follower)
        self._owner = threading.get_ident()
        try:
            self._run(batch)
        except BaseException as error:
            for each in batch:
                each.error = each.error or error
        finally:
            self._owner = None
            self._hand_over()
            for follower in batch[1:]:
                follower.done = True
                follower.gate.release()

    def _hand_over(self) -> None:
        with self._mutex:
            if self._queue:
                following = self._queue.popleft()
                following.taken = True
                following.gate.release()
            else:
                self._busy = False
