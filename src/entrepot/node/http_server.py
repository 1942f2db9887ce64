"""The ASGI server behind the main port: granian, or uvicorn as the tested fallback. Both serve on a socket of ours."""

import asyncio
import contextlib
import os
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol

from granian._granian import SocketHolder, WorkerSignal
from granian.constants import HTTPModes, SSLProtocols, TaskImpl
from granian.log import LogLevels, configure_logging
from granian.server.embed import Server as GranianServer

from entrepot.node.certificate import MemoryPair, server_context
from entrepot.node.ports import BACKLOG

App = Callable[..., Awaitable[None]]

REQUESTS_MAX = 4096
HANDSHAKE_S_MAX = 11.0
"""A client has ten seconds for its TLS handshake (granian's bound); who began one with the last certificate may end
it."""
_RUNTIME_THREADS, _BLOCKING_THREADS, _APP_THREADS, _IDLE_S = 1, 512, 1, 30


class HttpServer(Protocol):
    """Serves one ASGI app on one listening socket."""

    async def serve(self, listener: socket.socket) -> None:
        """Serve until :meth:`stop`; returns once the requests in flight are answered. ``listener`` is the server's from
        then on. Raises whatever ended the server otherwise.
        """

    def hush(self) -> None:
        """Accept nothing more and go on serving the connections that there are. The port stays open where somebody else
        holds it too: who connects waits for them.
        """

    def stop(self) -> None:
        """Close the port and let requests in flight end."""

    def renew(self, tls: MemoryPair) -> None:
        """Serve new connections with another certificate; those that there are go on. ``tls`` is the server's from then
        on, and must be one that it can serve: see :mod:`entrepot.node.rehearsal`.
        """


def http_server(name: str, app: App, *, stop_wait_s: float, tls: MemoryPair | None) -> HttpServer:
    """The server of that name: ``granian`` or ``uvicorn``; with ``tls`` it speaks HTTPS and nothing else."""
    return Uvicorn(app, stop_wait_s, tls) if name == "uvicorn" else Granian(app, tls)


@dataclass(eq=False, slots=True)
class _Worker:
    """One worker of granian. ``fd`` is its listening descriptor, which it closes itself."""

    fd: int
    signal: WorkerSignal
    task: "asyncio.Task[None]"


class Granian:
    """granian's workers, run by us instead of by its ``Server``: that opens a socket of its own, and takes a new
    certificate only by waiting for every request that began with the last one, deaf to a stop meanwhile.
    """

    def __init__(self, app: App, tls: MemoryPair | None = None) -> None:
        self._app = app
        self._tls = tls
        self._listener: socket.socket | None = None
        self._deaf = socket.socket(socket.AF_UNIX)
        self._workers: list[_Worker] = []
        self._ending = asyncio.Event()
        configure_logging(LogLevels.critical, None, False)

    async def serve(self, listener: socket.socket) -> None:
        """See :class:`HttpServer`."""
        self._listener = listener
        try:
            self._deaf.bind("")  # a name that Linux makes up, in no folder
            self._deaf.listen(1)
            self._deaf.setblocking(False)
            self._start(listener)
            await self._ending.wait()
            for each in self._workers:
                each.signal.set()
            await asyncio.gather(*(each.task for each in self._workers))
        finally:
            listener.close()
            self._deaf.close()

    def hush(self) -> None:
        """See :class:`HttpServer`."""
        for each in self._workers:
            self._deafen(each)

    def stop(self) -> None:
        """See :class:`HttpServer`."""
        if self._listener is not None:
            self._listener.close()
        self._ending.set()

    def renew(self, tls: MemoryPair) -> None:
        """See :class:`HttpServer`. A worker reads its certificate once, so another one takes over."""
        if self._ending.is_set() or self._listener is None:
            tls.close()
            return
        before = self._workers[-1]
        self._tls = tls
        self._start(self._listener)
        # Both would accept, and the last one drops whoever is shaking hands with it when it ends. So it accepts no
        # more, and ends when the handshakes that it began are over.
        self._deafen(before)
        asyncio.get_running_loop().call_later(HANDSHAKE_S_MAX, before.signal.set)

    def _deafen(self, worker: _Worker) -> None:
        # There is no call for this: the worker's descriptor becomes one that nobody connects to.
        os.dup2(self._deaf.fileno(), worker.fd, inheritable=False)

    def _start(self, listener: socket.socket) -> None:
        # The worker takes a descriptor for good and closes it at its end.
        fd, signal, tls = os.dup(listener.fileno()), WorkerSignal(), self._tls
        holder: Any = SocketHolder
        serve: Any = GranianServer._spawn_asgi_worker
        task: asyncio.Task[None] = asyncio.create_task(
            serve(
                1, signal, self._app, (None, holder(fd, False, BACKLOG)), _RUNTIME_THREADS, _BLOCKING_THREADS,
                _APP_THREADS, _IDLE_S, REQUESTS_MAX, TaskImpl.asyncio, HTTPModes.http1, None, None, False, None, None,
                _tls_options(tls), {"url_path_prefix": None},
            )
        )  # fmt: skip
        worker = _Worker(fd, signal, task)
        self._workers.append(worker)

        def ended(_: "asyncio.Task[None]") -> None:
            if tls is not None:
                tls.close()
            if self._workers[-1] is worker:
                self._ending.set()  # whatever the cause: nobody serves any more
            else:
                self._workers.remove(worker)

        task.add_done_callback(ended)


def _tls_options(tls: MemoryPair | None) -> tuple[Any, ...]:
    """Whether, certificate, key, passphrase, least version, and what belongs to certificates of clients."""
    if tls is None:
        return (False, None, None, None, str(SSLProtocols.tls12), None, [], False)
    return (True, tls.certificate_path, tls.key_path, None, str(SSLProtocols.tls12), None, [], False)


def _keeping_open(app: App) -> App:
    """``app`` without its ``Connection: close``. uvicorn closes as soon as such an answer is sent, and a client that is
    still sending loses the answer to the reset; granian lets the app read the rest first.
    """

    async def kept(scope: Any, receive: Any, send: Any) -> None:
        async def passed_on(message: Any) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [each for each in message["headers"] if each[0] != b"connection"]}
            await send(message)

        await app(scope, receive, passed_on)

    return kept


class Uvicorn:
    """uvicorn, with signals left to the node."""

    def __init__(self, app: App, stop_wait_s: float, tls: MemoryPair | None = None) -> None:
        import uvicorn

        context = self._context = None if tls is None else server_context(tls)
        config = uvicorn.Config(
            _keeping_open(app), lifespan="off", log_config=None, access_log=False, backlog=BACKLOG, server_header=False,
            http="httptools", ws="none", loop="none", timeout_graceful_shutdown=int(stop_wait_s) or 1,
            ssl_context_factory=None if context is None else lambda *_: context,
        )  # fmt: skip
        server: Any = uvicorn.Server(config)
        server.capture_signals = contextlib.nullcontext  # signals are the node's own business
        self._server = server

    async def serve(self, listener: socket.socket) -> None:
        """See :class:`HttpServer`."""
        await self._server.serve(sockets=[listener])

    def hush(self) -> None:
        """See :class:`HttpServer`."""
        for each in self._server.servers:
            each.close()

    def stop(self) -> None:
        """See :class:`HttpServer`."""
        self._server.should_exit = True

    def renew(self, tls: MemoryPair) -> None:
        """See :class:`HttpServer`. The context that every handshake begins with takes another pair at any time."""
        assert self._context is not None
        self._context.load_cert_chain(tls.certificate_path, tls.key_path)
        tls.close()
