"""The admin address: probes and metrics, in a thread and on a port of their own.

Whatever the main loop is busy with, a probe gets its answer from memory at once. The server below knows GET and HEAD of
a handful of paths, reads at most 8 KiB, and closes every connection.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from entrepot.node.listener import Listener


@dataclass(frozen=True, slots=True)
class Reply:
    """What a probe answers. ``headers`` are lines without line ends, of our own making: they are not escaped."""

    status: int
    content: bytes
    content_type: str = "text/plain; charset=utf-8"
    headers: tuple[str, ...] = ()


Handler = Callable[[], Reply]

_REASONS = {
    200: "OK",
    404: "Not Found",
    405: "Method Not Allowed",
    500: "Internal Server Error",
    503: "Service Unavailable",
}


class AdminServer(Listener):
    """Serves ``handlers`` (path → function) over HTTP/1.1 in a thread. Handlers must answer from memory."""

    def __init__(self, address: tuple[str, int], handlers: Mapping[str, Handler]) -> None:
        super().__init__("admin", address, self._exchange)
        self._handlers = dict(handlers)

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(self._answer(await reader.readuntil(b"\r\n\r\n")))

    def _answer(self, head: bytes) -> bytes:
        words = head.split(b"\r\n", 1)[0].split(b" ")
        method = words[0]
        path = words[1].split(b"?", 1)[0].decode("latin-1") if len(words) == 3 else ""
        handler = self._handlers.get(path)
        if method not in (b"GET", b"HEAD"):
            reply = Reply(405, b"This address takes GET alone.\n")
        elif handler is None:
            reply = Reply(404, ("There are " + " ".join(sorted(self._handlers)) + "\n").encode())
        else:
            try:
                reply = handler()
            except Exception as error:  # a probe must always get an answer
                reply = Reply(500, f"{type(error).__name__}\n".encode())
        lines = [
            f"HTTP/1.1 {reply.status} {_REASONS.get(reply.status, 'Unknown')}",
            f"Content-Type: {reply.content_type}",
            f"Content-Length: {len(reply.content)}",
            *reply.headers,
            "Cache-Control: no-store",
            "Connection: close",
        ]
        return "\r\n".join([*lines, "", ""]).encode() + (b"" if method == b"HEAD" else reply.content)
