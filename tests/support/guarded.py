"""Shared state that tells when it is touched without its lock.

A lock that was forgotten costs something once in a million times; this finds it at the first call. The object keeps
its class and its state; each use of a guarded attribute is compared with who holds the lock at that moment.
"""

import sys
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self


class HeldLock:
    """A `threading.Lock` that knows which thread holds it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._holder: int | None = None

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """As `threading.Lock.acquire`."""
        taken = self._lock.acquire(blocking, timeout)
        if taken:
            self._holder = threading.get_ident()
        return taken

    def release(self) -> None:
        """As `threading.Lock.release`."""
        self._holder = None
        self._lock.release()

    def locked(self) -> bool:
        """As `threading.Lock.locked`."""
        return self._lock.locked()

    def _is_owned(self) -> bool:
        """Whether the calling thread holds it; the name is that of `threading.Condition` and `RLock`."""
        return self._holder == threading.get_ident()

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


@contextmanager
def guarded(target: Any, lock: str, names: Collection[str], *, free: Collection[str] = ()) -> Iterator[list[str]]:
    """While inside, each use of the attributes ``names`` of ``target`` must be made by the holder of its lock.

    Args: ``lock`` the attribute with a `threading.Lock` that nobody holds now (it is replaced), or with a
    `threading.Condition`; ``free`` methods that look without the lock on purpose. Yields what was found, which is
    filled as it happens. Raises AssertionError at the end when there is something. May be nested for several locks.
    """
    keeper: Any = _reach(target, lock)
    if not hasattr(keeper, "_is_owned"):
        keeper = HeldLock()
        holder, _, name = lock.rpartition(".")
        setattr(_reach(target, holder), name, keeper)
    found: list[str] = []
    plain = type(target)

    def judge(name: str) -> None:
        if name in names and not keeper._is_owned():
            caller = _caller()
            if not set(free) & set(caller.split(".")):
                found.append(f"{caller} uses {name} without {lock}")

    class Guarded(plain):  # type: ignore[misc, valid-type]
        def __getattribute__(self, name: str) -> Any:
            judge(name)
            return super().__getattribute__(name)

        def __setattr__(self, name: str, value: object) -> None:
            judge(name)
            super().__setattr__(name, value)

    target.__class__ = Guarded
    try:
        yield found
    finally:
        target.__class__ = plain
    assert not found, "\n".join(sorted(set(found)))


def _reach(target: Any, path: str) -> Any:
    """The attribute of an attribute (``ledger._lock``); the object itself for an empty path."""
    for name in path.split(".") if path else ():
        target = getattr(target, name)
    return target


def _caller() -> str:
    """The function that used the object, with its class."""
    frame = sys._getframe()
    while frame.f_code.co_filename == __file__ and frame.f_back is not None:
        frame = frame.f_back
    return frame.f_code.co_qualname
