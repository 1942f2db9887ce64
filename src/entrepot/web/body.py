"""The body of a request: streamed, counted, held to a minimum rate, and drained when its rest is not wanted.

A refusal that closes the connection while the client still sends destroys the answer in the client's buffers (RFC 9112
section 9.6), so the answer is finished first and a bounded rest is read and dropped afterwards.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from typing import Any

from entrepot.model.errors import Refusal
from entrepot.model.limits import (
    DRAIN_BYTES_MAX,
    DRAIN_S_MAX,
    KIB,
    RATE_BYTES_PER_S_MIN,
    RATE_WINDOW_S,
    UPLOAD_BYTES_MAX,
)

# Bodies that are read to their end at the same time, for the sake of their senders' 401.
DRAINS_ALL_MAX = 8

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]


class Body:
    """A request body. ``received_bytes`` counts what came, ``ended`` is set at its regular end, ``gone`` when the
    client vanished.
    """

    __slots__ = ("_receive", "declared_bytes", "ended", "expects_continue", "gone", "received_bytes", "touched")

    def __init__(self, receive: Receive, declared_bytes: int | None, *, expects_continue: bool = False) -> None:
        self._receive = receive
        self.declared_bytes = declared_bytes
        self.expects_continue = expects_continue
        self.received_bytes = 0
        self.ended = False
        self.gone = False
        self.touched = False

    async def next(self) -> bytes:
        """The next piece; b"" at the end, and for ever after it. Sets ``ended`` or ``gone``."""
        while not (self.ended or self.gone):
            self.touched = True
            message = await self._receive()
            if message["type"] != "http.request":
                self.gone = True
                return b""
            chunk: bytes = message.get("body", b"")
            if not message.get("more_body", False):
                self.ended = True
            if chunk:
                self.received_bytes += len(chunk)
                return chunk
        return b""

    async def chunks(
        self,
        *,
        window_s: float = RATE_WINDOW_S,
        rate_min: int = RATE_BYTES_PER_S_MIN,
        bytes_max: int | None = None,
    ) -> AsyncIterator[bytes]:
        """Every piece to the regular end of the body.

        Raises Refusal: ``too_large`` above ``bytes_max`` (a body of unknown length), ``upload_interrupted`` when the
        connection ends first, ``length_mismatch`` when the pieces do not add up to Content-Length, ``upload_too_slow``
        when a whole window of ``window_s`` brought less than ``rate_min`` bytes a second (a sender of one byte a minute
        would otherwise hold its reservation and its slot for ever).
        """
        loop = asyncio.get_running_loop()
        need = window_s * rate_min
        window_end, window_bytes = loop.time() + window_s, 0
        while not self.ended:
            # A window that brought enough vouches for the next one: thus a timeout always means "too slow", and a
            # pending receive is only ever cancelled to give up (cancelled and asked again, it could lose the bytes it
            # had).
            deadline = window_end if window_bytes < need else window_end + window_s
            try:
                async with asyncio.timeout_at(deadline):
                    chunk = await self.next()
            except TimeoutError:
                self.gone = True
                raise _too_slow(self.received_bytes, window_s, rate_min) from None
            if self.gone:
                raise Refusal(
                    "upload_interrupted", received_bytes=self.received_bytes, declared_bytes=self.declared_bytes
                )
            if bytes_max is not None and self.received_bytes > bytes_max:
                raise Refusal("too_large", size_bytes=self.received_bytes, upload_bytes_max=bytes_max)
            window_bytes += len(chunk)
            if loop.time() >= window_end:
                window_end, window_bytes = loop.time() + window_s, 0
            if chunk:
                yield chunk
        if self.declared_bytes is not None and self.received_bytes != self.declared_bytes:
            raise Refusal("length_mismatch", received_bytes=self.received_bytes, declared_bytes=self.declared_bytes)

    async def read(self, bytes_max: int) -> bytes:
        """The whole body of a small request. Raises what :meth:`chunks` raises, and Refusal("too_large") above
        ``bytes_max``.
        """
        parts: list[bytes] = []
        async for chunk in self.chunks():
            parts.append(chunk)
            if self.received_bytes > bytes_max:
                raise Refusal("too_large", "The body of this request is larger than it may be.", bytes_max=bytes_max)
        return b"".join(parts)

    async def until_gone(self) -> None:
        """Return once the client hung up; for a request whose body ended. Sets ``gone``."""
        while not self.gone:
            if self.ended:
                self.gone = (await self._receive())["type"] != "http.request"
            else:
                await self.next()

    @property
    def unread(self) -> bool:
        """Whether there is a rest of the body that nobody has read, be it sent or not."""
        return not self.ended and (self.declared_bytes is None or self.declared_bytes > self.received_bytes)

    @property
    def owed(self) -> bool:
        """Whether the client is sending, or going to send, bytes that nobody read.

        A client that sent ``Expect: 100-continue`` and was never asked for its body sends none: reading would ask for
        it.
        """
        return self.unread and not self.gone and (self.touched or not self.expects_continue)

    async def drain(self, bytes_max: int = DRAIN_BYTES_MAX, s_max: float = DRAIN_S_MAX) -> int:
        """Read and drop at most ``bytes_max`` bytes for at most ``s_max`` seconds; returns how many were dropped."""
        dropped = 0
        try:
            async with asyncio.timeout(s_max):
                while not (self.ended or self.gone) and dropped < bytes_max:
                    dropped += len(await self.next())
        except TimeoutError:
            self.gone = True
        return dropped

    async def drain_all(self, *, window_s: float = 5.0, rate_min: int = 64 * KIB) -> int:
        """Read and drop the rest of the declared length as long as it comes at ``rate_min`` or more.

        For the 401 of a client that sends everything before it authenticates (dput): it must have sent all to see the
        answer. A body of unknown length may never end, and one above every limit is no upload: these get the bounded
        drain.
        """
        if self.declared_bytes is None or self.declared_bytes > UPLOAD_BYTES_MAX:
            return await self.drain()
        dropped = 0
        while not (self.ended or self.gone):
            got = await self.drain(bytes_max=int(window_s * rate_min), s_max=window_s)
            dropped += got
            if got < window_s * rate_min:
                break
        return dropped


class Drains:
    """Reads off what a refused client still sends, so that its answer is not lost in a reset. One for a server."""

    def __init__(self) -> None:
        self._whole = 0

    async def drain(self, body: Body, *, whole: bool) -> None:
        """Read and drop a bounded rest of ``body``; with ``whole`` (a 401) all that it declared, for at most
        ``DRAINS_ALL_MAX`` bodies at a time.
        """
        if not whole or self._whole >= DRAINS_ALL_MAX:
            await body.drain()
            return
        self._whole += 1
        try:
            await body.drain_all()
        finally:
            self._whole -= 1


def _too_slow(received_bytes: int, window_s: float, rate_min: int) -> Refusal:
    return Refusal(
        "upload_too_slow",
        f"The body came slower than {rate_min} bytes a second for {window_s:g} s; nothing was kept."
        " Send it again over a faster link.",
        received_bytes=received_bytes,
        rate_min_bytes_per_s=rate_min,
    )
