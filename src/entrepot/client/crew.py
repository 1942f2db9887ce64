"""A few threads that share a list of work, and a main thread that still hears Ctrl-C."""

from collections.abc import Callable, Iterator, Sequence
from threading import Event, Lock, Thread
from typing import Generic, TypeVar

T = TypeVar("T")
W = TypeVar("W")

JOIN_S = 0.2


class Crew(Generic[W]):
    """``size`` workers, each with its own tool ``W`` (a connection), made when first needed and kept until ``close``.

    The threads are daemons: an interrupted program ends at once and does not wait for a gigabyte under way.
    """

    def __init__(self, size: int, make_tool: Callable[[], W], close_tool: Callable[[W], None]) -> None:
        self._size = size
        self._make_tool = make_tool
        self._close_tool = close_tool
        self._tools: list[W] = []
        self.stopping = Event()

    def each(self, work: Callable[[W, T], None], items: Sequence[T]) -> None:
        """Call ``work(tool, item)`` for every item; in no fixed order. Ends early when ``stopping`` is set.

        Raises the first exception that ``work`` raised, after the others have finished their present item.
        """
        while len(self._tools) < min(self._size, len(items)):
            self._tools.append(self._make_tool())
        queue, lock = iter(items), Lock()
        failures: list[BaseException] = []
        threads = [
            Thread(target=self._run, args=(work, tool, queue, lock, failures), daemon=True)
            for tool in self._tools[: len(items)]
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            while thread.is_alive():
                thread.join(JOIN_S)
        if failures:
            raise failures[0]

    def _run(
        self, work: Callable[[W, T], None], tool: W, queue: Iterator[T], lock: Lock, failures: list[BaseException]
    ) -> None:
        while not (self.stopping.is_set() or failures):
            with lock:
                item = next(queue, None)
            if item is None:
                return
            try:
                work(tool, item)
            except BaseException as error:
                failures.append(error)

    def close(self) -> None:
        """Close every tool."""
        for tool in self._tools:
            self._close_tool(tool)
        self._tools.clear()
