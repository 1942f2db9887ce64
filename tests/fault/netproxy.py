"""A hostile network: a TCP proxy that cuts, trickles, resets and half-closes on purpose."""

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Coroutine
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

PIECE_BYTES = 16 * 1024
TRICKLE_S = 1.0


@dataclass(frozen=True, slots=True)
class Harm:
    """What is done to a connection once ``after_bytes`` of the client's bytes were passed on.

    ``kind``: `cut` closes both sides, `reset` sends RST to both, `half` closes the way to the server and still carries
    its answer, `trickle` passes on one byte a second from there, `stall` passes on nothing more, `none` does nothing.
    """

    kind: str = "none"
    after_bytes: int = 0


class NetProxy:
    """Forwards TCP to ``upstream`` and harms every connection as ``harm`` says at that moment. A context manager."""

    def __init__(self, upstream: tuple[str, int]) -> None:
        self.harm = Harm()
        self._upstream = upstream
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._server: asyncio.Server | None = None
        self._sides: set[asyncio.StreamWriter] = set()
        self.port = 0

    def __enter__(self) -> Self:
        self._thread.start()
        self._run(self._listen())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._run(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def url(self) -> str:
        """Where clients connect to."""
        return f"http://127.0.0.1:{self.port}"

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(20)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._carry, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _end(self) -> None:
        assert self._server is not None
        self._server.close()
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for side in self._sides:
            with contextlib.suppress(AttributeError):  # asyncio forgets the loop of a connection that is closed already
                side.transport.abort()
        await asyncio.sleep(0.05)  # the loop closes their sockets in its next turns

    async def _carry(self, client_in: asyncio.StreamReader, client_out: asyncio.StreamWriter) -> None:
        harm = self.harm
        server_in, server_out = await asyncio.open_connection(*self._upstream)
        self._sides |= {client_out, server_out}
        back = asyncio.ensure_future(_copy(server_in, client_out))
        try:
            with contextlib.suppress(OSError):
                await _forward(client_in, server_out, harm)
                await _hurt(harm, client_in, server_out)
            if harm.kind in ("none", "half", "trickle"):
                await back
        finally:
            back.cancel()
            for side in (server_out, client_out):
                if harm.kind == "reset":
                    _reset(side)
                side.transport.abort() if harm.kind == "reset" else side.close()


async def _forward(source: asyncio.StreamReader, target: asyncio.StreamWriter, harm: Harm) -> None:
    """Pass on up to the harm's place, or to the end."""
    left = harm.after_bytes
    while harm.kind == "none" or left > 0:
        piece = await source.read(PIECE_BYTES if harm.kind == "none" else min(PIECE_BYTES, left))
        if not piece:
            return
        left -= len(piece)
        target.write(piece)
        await target.drain()


async def _hurt(harm: Harm, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    """Do it; returns when the connection may end."""
    if harm.kind == "half":
        target.write_eof()
    elif harm.kind == "trickle":
        while piece := await source.read(1):
            target.write(piece)
            await target.drain()
            await asyncio.sleep(TRICKLE_S)
    elif harm.kind == "stall":
        await asyncio.Event().wait()


async def _copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while piece := await source.read(PIECE_BYTES):
            target.write(piece)
            await target.drain()


def _reset(side: asyncio.StreamWriter) -> None:
    """A close that is an RST."""
    found = side.get_extra_info("socket")
    if found is not None:
        with contextlib.suppress(OSError):
            found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
