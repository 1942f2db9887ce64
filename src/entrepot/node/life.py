"""A node's life: start, serve, drain, stop. One process, one event loop for the main port, the probes beside it."""

import asyncio
import signal
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from entrepot.node.condition import Standing
from entrepot.node.connections import sending
from entrepot.node.crowd import Crowd, bound
from entrepot.node.http_server import http_server
from entrepot.node.notify import Notifier
from entrepot.node.ports import bound_unread, listen_on
from entrepot.node.probes import Probes
from entrepot.node.tls import Tls, follow
from entrepot.observe import logs, metrics
from entrepot.observe.clock import Clock
from entrepot.observe.health import Heartbeat, Wave

_log = logs.get("node")

BEAT_S = 0.25
WAIT_S = 0.2
HUSH_S = 1.0
"""A connection that was accepted just before has so long to send its request."""
HANDOVER_S_MAX = 15.0
"""How long requests in flight may keep those waiting that connect: apt and dnf wait for 30 seconds."""

EXIT_STOPPED = 0
EXIT_FAILED = 1
EXIT_RETIRED = 75
"""The node ended itself, so that whoever started it starts it anew (EX_TEMPFAIL of sysexits.h)."""


@dataclass(frozen=True, slots=True)
class LifeSettings:
    """``drain_wait_s``: from "not ready" to a closed port; ``stop_wait_s``: what requests in flight get after that;
    ``retire_wait_s``: what uploads in flight get before, when the node ends itself and nobody counts the seconds;
    ``unread_s_max``: how long a client may take nothing of its answer; ``connections_max``: those of one address, 0 for
    no bound.
    """

    listen: tuple[str, int]
    drain_wait_s: float
    stop_wait_s: float
    retire_wait_s: float
    http_server: str = "granian"
    unread_s_max: float = 60.0
    connections_max: int = 0


class Life:
    """Runs one node to its end."""

    def __init__(
        self,
        app: Callable[..., Awaitable[None]],
        settings: LifeSettings,
        *,
        clock: Clock,
        standing: Standing,
        heartbeat: Heartbeat,
        probes: Probes,
        notifier: Notifier,
        uploads_in_flight: Callable[[], int],
        on_started: Callable[[], None],
        tls: Tls | None = None,
        is_proxy: Callable[[str], bool] = lambda _: False,
        inherited: socket.socket | None = None,
    ) -> None:
        """Args: ``on_started`` runs in a thread once the port is open (warms up what the first request need not wait
        for); ``tls`` the certificate to serve with, loaded; ``is_proxy`` says which addresses speak for others;
        ``inherited`` the main port, where somebody else opened it and keeps it open.
        """
        self._inherited = inherited
        pair = None if tls is None else tls.take_held()
        self._server = http_server(settings.http_server, app, stop_wait_s=settings.stop_wait_s, tls=pair)
        self._tls = tls
        self._is_proxy = is_proxy
        self._hangup = asyncio.Event()
        self._settings = settings
        self._clock = clock
        self._standing = standing
        self._draining = standing.draining
        self._heartbeat = heartbeat
        self._probes = probes
        self._notifier = notifier
        self._uploads_in_flight = uploads_in_flight
        self._on_started = on_started
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ending = asyncio.Event()
        self._signalled = asyncio.Event()
        self._haste = asyncio.Event()

    def retire(self) -> None:
        """Finish what is held and end with :data:`EXIT_RETIRED`. From any thread; a signal that comes meanwhile counts
        more.
        """
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._end)

    async def run(self) -> int:
        """Serve until a signal, :meth:`retire` or the server's own end, and stop in order; the process's exit code.

        Raises OSError when the port cannot be had.
        """
        listener = self._open()
        loop = self._loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_signal, number)
        tasks: list[asyncio.Task[Any]] = [asyncio.create_task(self._beat())]
        if self._tls is not None:
            loop.add_signal_handler(signal.SIGHUP, self._hangup.set)
            tasks.append(asyncio.create_task(follow(self._tls, self._server, self._hangup)))
        if self._settings.connections_max:
            crowd = Crowd(listener.getsockname()[1], self._settings.connections_max, self._is_proxy)
            tasks.append(asyncio.create_task(bound(crowd)))
        serving = asyncio.create_task(self._server.serve(listener))
        ending = asyncio.create_task(self._ending.wait())
        try:
            await asyncio.sleep(0)  # the server's first step; a failure shows here
            if serving.done():
                await serving
            self._standing.ready = True
            self._notifier.tell(READY=1)
            warming = loop.run_in_executor(None, self._on_started)
            await asyncio.wait({serving, ending}, return_when=asyncio.FIRST_COMPLETED)
            if serving.done():
                await serving
                _log.error("the server ended by itself")
                return EXIT_FAILED
            await self._finish_uploads()
            await self._drain(serving)
            with suppress(Exception):
                await warming
            return EXIT_STOPPED if self._signalled.is_set() else EXIT_RETIRED
        finally:
            tasks += [ending, serving]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _open(self) -> socket.socket:
        settings = self._settings
        if self._inherited is None:
            return listen_on(settings.listen, unread_s_max=settings.unread_s_max)
        bound_unread(self._inherited, settings.unread_s_max)
        return self._inherited

    def _on_signal(self, number: int) -> None:
        # A second signal, or one from a terminal, means now: nobody waits behind a load balancer there.
        if self._signalled.is_set() or number == signal.SIGINT:
            self._haste.set()
        _log.info("stopping", signal=signal.Signals(number).name, requests_in_flight=self._draining.in_flight)
        self._signalled.set()
        self._end()

    def _end(self) -> None:
        self._draining.handing_over = self._inherited is not None
        self._draining.stopping = True
        self._ending.set()

    async def _finish_uploads(self) -> None:
        """A retiring node refuses new uploads and goes on serving reads until those that it holds are done. Only then
        is the service manager told: its clock for a stop begins with that.
        """
        end_s = self._clock.monotonic() + self._settings.retire_wait_s
        while self._uploads_in_flight() and self._clock.monotonic() < end_s:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._signalled.wait(), WAIT_S)
                break
        self._notifier.tell(STOPPING=1)

    async def _drain(self, serving: "asyncio.Task[None]") -> None:
        """Close the port and let requests in flight end."""
        if self._inherited is None:
            await self._hasty(self._settings.drain_wait_s)  # /readyz says 503: load balancers get to see it
        else:
            await self._hand_over()
        self._server.stop()
        wait_s = min(self._settings.stop_wait_s, float("inf") if self._inherited is None else HANDOVER_S_MAX)
        done, _ = await asyncio.wait({serving}, timeout=wait_s)
        if not done:
            _log.warning("requests were cut off", requests_in_flight=self._draining.in_flight)

    async def _hand_over(self) -> None:
        """Leave an open port to the process that comes next. Reads go on until the requests that were in flight have
        ended and their clients have taken everything; from then on who connects waits for that process.
        """
        earlier = self._draining.new_wave()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._answered(earlier), self._settings.stop_wait_s)
        self._server.hush()
        self._draining.last_answers = True
        await self._hasty(HUSH_S)

    async def _answered(self, earlier: Wave) -> None:
        """Wait until these requests have ended and nothing of their answers is left in a buffer, the HTTP server's or
        the kernel's; or until it must end now.
        """
        while earlier.in_flight and not await self._hasty(WAIT_S / 4):
            pass
        held = None
        port = self._settings.listen[1]
        with suppress(OSError):
            while not await self._hasty(WAIT_S / 4) and (held := await asyncio.to_thread(sending, port, held)):
                pass

    async def _hasty(self, wait_s: float) -> bool:
        """Wait so long, or until it must end now: whether it must."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._haste.wait(), wait_s)
        return self._haste.is_set()

    async def _beat(self) -> None:
        """Shows probes that the loop turns, and how late it runs; feeds the watchdog, which no other thread does."""
        fed_s, feed_s = float("-inf"), (self._notifier.watchdog_s or float("inf")) / 4
        while True:
            self._heartbeat.beat()
            now_s = self._clock.monotonic()
            if now_s - fed_s >= feed_s and self._probes.livez().status == 200:
                fed_s = now_s
                self._notifier.tell(WATCHDOG=1)
            expected = self._clock.monotonic() + BEAT_S
            await asyncio.sleep(BEAT_S)
            metrics.loop_lag_seconds.set(max(0.0, self._clock.monotonic() - expected))
