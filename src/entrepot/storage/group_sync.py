"""One fsync of a folder for all commits that wait for it."""

import errno
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress

from entrepot.disk import fs


@contextmanager
def write_back() -> Iterator[None]:
    """Around calls that wait for the disk: turns their ENOSPC into EIO.

    The volume took bytes that it cannot keep (thin provisioning lies like this): it has failed, and must not be taken
    for merely full.
    """
    try:
        yield
    except OSError as error:
        if error.errno in fs.NO_ROOM_ERRNOS:
            raise OSError(errno.EIO, f"write-back failed: {error.strerror}") from error
        raise


class GroupSync:
    """fsync of one folder, shared: who comes while one runs waits for the next, which covers everybody who came before
    it began.

    A sync that was already running when the name was made may have missed it, so it never counts.
    """

    def __init__(
        self, parent_fd: int, name: str, timer: Callable[[], AbstractContextManager[None]] = nullcontext
    ) -> None:
        """Args: ``timer`` is entered around each fsync."""
        self._parent_fd = parent_fd
        self._name = name
        self._timer = timer
        self._changed = threading.Condition()
        self._started = 0
        self._ended = 0
        self._running = False
        self._failed: dict[int, OSError] = {}
        self._waiting: dict[int, int] = {}  # how many still have to learn how a sync ended

    def sync(self) -> None:
        """Return once an fsync that began after this call has succeeded. Raises the OSError of that fsync to all who
        shared it."""
        with self._changed:
            mine = self._started + 1
            self._waiting[mine] = self._waiting.get(mine, 0) + 1
            while self._ended < mine and self._running:
                self._changed.wait()
            leads = self._ended < mine
            if leads:
                self._started = mine
                self._running = True
        try:
            if leads:
                self._lead(mine)
        finally:
            error = self._learn(mine)
        if error is not None:
            raise OSError(error.errno, error.strerror) from error

    def _learn(self, number: int) -> OSError | None:
        """How a sync ended; the last one to ask takes its memory away."""
        with self._changed:
            error = self._failed.get(number)
            self._waiting[number] -= 1
            if not self._waiting[number]:
                del self._waiting[number]
                self._failed.pop(number, None)
        return error

    def _lead(self, number: int) -> None:
        error: OSError | None = OSError(errno.EIO, "the sync was interrupted")
        try:
            fd = fs.open_dir(self._name, dir_fd=self._parent_fd)
            try:
                with write_back(), self._timer():
                    fs.fsync(fd)
            finally:
                with suppress(OSError):  # the fsync's word counts; a folder's close has nothing to add
                    fs.close(fd)
            error = None
        except OSError as failure:
            error = failure
        finally:
            with self._changed:
                if error is not None:
                    self._failed[number] = error
                self._ended = number
                self._running = False
                self._changed.notify_all()
