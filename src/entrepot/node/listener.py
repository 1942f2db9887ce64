"""A TCP listener with a thread and an event loop of its own: it answers whatever the main loop is busy with."""

import asyncio
import threading
from collections.abc import Awaitable, Callable

CONNECTIONS_MAX = 64

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Listener:
    """Accepts connections and gives each to ``talk``, which must be quick and answer from memory.

    Every connection is closed after ``talk_s_max`` seconds, and at once where :data:`CONNECTIONS_MAX` are open: nothing
    here can be made to wait or to grow. ``read_bytes_max`` bounds what one connection may make us hold.
    """

    def __init__(
        self, name: str, address: tuple[str, int], talk: Talk, *, talk_s_max: float = 5.0, read_bytes_max: int = 8192
    ) -> None:
        self._wanted = address
        self._talk = talk
        self._talk_s_max = talk_s_max
        self._read_bytes_max = read_bytes_max
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name=name, daemon=True)
        self._ready = threading.Event()
        self._error: OSError | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._open = 0
        self.address = address

    def start(self) -> None:
        """Listen; ``address`` then holds the real port. Raises OSError when the port cannot be had."""
        self._thread.start()
        self._ready.wait()
        if self._error is not None:
            raise self._error

    def stop(self) -> None:
        """Stop listening and end the thread."""
        if self._loop is not None and self._stop is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(10.0)

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        try:
            server = await asyncio.start_server(self._connection, *self._wanted, limit=self._read_bytes_max)
        except OSError as error:
            self._error = error
            self._ready.set()
            return
        self.address = server.sockets[0].getsockname()[:2]
        self._ready.set()
        async with server:
            await self._stop.wait()

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open += 1
        try:
            if self._open <= CONNECTIONS_MAX:
                async with asyncio.timeout(self._talk_s_max):
                    await self._talk(reader, writer)
                    await writer.drain()
        except (TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # who asked hung up, or asked nothing
        finally:
            self._open -= 1
            writer.close()
