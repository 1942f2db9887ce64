"""The ASGI application: one frame around every request that finds its handler, turns refusals into HTTP, logs one line,
and drains.
"""

import asyncio
import secrets
from contextlib import suppress
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

from starlette.exceptions import HTTPException

from entrepot.model.errors import Refusal
from entrepot.observe import logs, metrics
from entrepot.web import account, address, problem, upload
from entrepot.web.body import Drains
from entrepot.web.call import Call, Receive, Scope, Send, clean_path
from entrepot.web.holdback import HoldBack
from entrepot.web.limits import AtOnce, check_head
from entrepot.web.read import Reads
from entrepot.web.services import Services
from entrepot.web.site import build_router

_log = logs.get("web")

# Routes by which package files come in: what the objective for uploads is measured on.
UPLOAD_ROUTES = frozenset({"put", "push", "push_form"})
# Numbers of a refusal that say which volume lacked what; they stand in the request's log line.
ROOM_NUMBERS = ("volume", "state", "needed_bytes", "available_bytes", "needed_inodes", "available_inodes", "errno")
# Refusals whose cause is this node's lack of room, given before the body was asked for.
SLOW_CODES = frozenset({"no_room", "storage_failed"})


class App:
    """The whole HTTP surface of the main port. A plain ASGI callable: any ASGI server can run it."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._routes = address.Routes()
        self._reads = Reads(services, self._routes)
        self._uploads = upload.Uploads(services, self._routes)
        self._router = build_router(services, self._reads, self._routes)
        self._request_prefix = secrets.token_hex(4)
        self._requests = 0
        self._drains = Drains()
        self._hold_back = HoldBack(services.settings.refusal_delay_s)
        self._at_once = AtOnce(services.settings.limits.connections_per_address_max, services.settings.peers.trusts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request (or the lifespan of servers that insist on one)."""
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        if scope["type"] != "http":
            return
        self._requests += 1
        services = self._services
        call = Call(
            scope,
            receive,
            send,
            request_id=f"{self._request_prefix}{self._requests:08x}",
            peers=services.settings.peers,
            draining=services.draining,
        )
        wave = services.draining.begin()
        started = services.clock.monotonic()
        try:
            await self._serve(call)
        finally:
            services.draining.end(wave)
            self._record(call, services.clock.monotonic() - started)
        if call.body.owed:
            await self._drains.drain(call.body, whole=call.status == 401)

    async def _serve(self, call: Call) -> None:
        try:
            check_head(call, self._services.settings.limits)
            call.path = clean_path(call.path)
            if call.method not in ("GET", "HEAD"):
                check_site(call, self._services.settings.public_url)
                check_whole(call)
            with self._at_once.one(call.address):
                await self._dispatch(call)
        except Refusal as refusal:
            await self._refuse(call, refusal)
        except HTTPException as error:
            if error.status_code == 405:
                await self._refuse(call, Refusal("method_not_allowed", allow=(error.headers or {}).get("Allow", "")))
            else:
                await self._refuse(call, Refusal("not_found"))
        except asyncio.CancelledError:
            if self._services.draining.stopping and not call.started:
                # Cut off at the end of the stop: the server would make a 500 of it, which no client tries again.
                with suppress(Exception):
                    await self._refuse(call, Refusal("stopping"))
            else:
                call.code = "cancelled"
            raise
        except Exception:
            _log.exception("unforeseen error", request_id=call.request_id, method=call.method, route=call.route)
            await self._refuse(call, Refusal("internal", request_id=call.request_id))

    async def _dispatch(self, call: Call) -> None:
        """Repository addresses first and without the router: apt, dnf and mvn ask for little else."""
        found = address.parse(call.path)
        if found is None:
            call.route = "other"
            scope = call.scope
            # The router matches the cleaned path; `app` makes Starlette raise its 404 and 405 instead of answering
            # itself.
            scope["path"], scope["entrepot.call"], scope["app"] = _api_path(call), call, self
            await self._router(scope, _never, _never)
            return
        call.repository = str(found.repository)
        if call.method in ("GET", "HEAD"):
            await self._reads.serve(call, found)
        elif call.method == "PUT":
            await self._uploads.put(call, found)
        else:
            call.route = "repository"
            raise Refusal("method_not_allowed", allow="GET, HEAD, PUT")

    async def _refuse(self, call: Call, refusal: Refusal) -> None:
        call.code = refusal.code
        call.refused = refusal.numbers
        metrics.refusals_total.labels(refusal.code).inc()
        if call.started:
            # The head is out: the connection must break, so that nobody takes the half for the whole.
            raise refusal
        if call.route == account.ROUTE:
            status, headers, body = account.refused(call, refusal)
        else:
            status, headers, body = problem.shape_of(call.path)(refusal, call.request_id)
        if refusal.code in SLOW_CODES and not call.body.touched:
            await self._hold_back.wait()
        await call.answer(status, headers, body)

    def _record(self, call: Call, seconds: float) -> None:
        route = call.route or "none"
        status = f"{call.status // 100}xx"
        metrics.requests_total.labels(route, status).inc()
        if route in UPLOAD_ROUTES:
            metrics.upload_answers_total.labels(call.code, status).inc()
        metrics.request_seconds.labels(route).observe(seconds)
        metrics.sent_bytes_total.inc(call.sent_bytes)
        _log.info(
            "request",
            method=call.method,
            route=route,
            repository=call.repository,
            path=_shown_path(call.path),
            status=call.status,
            code=call.code,
            ms=round(seconds * 1000, 1),
            bytes_in=call.body.received_bytes,
            bytes_out=call.sent_bytes,
            token_id=call.token_id,
            token_name=call.token_name,
            address=call.address,
            request_id=call.request_id,
            **{name: call.refused[name] for name in ROOM_NUMBERS if name in call.refused},
        )


def check_whole(call: Call) -> None:
    """Raises Refusal for a body that is not the thing itself: ``part_only`` for a piece of it (``curl -C`` sends the
    rest of a file; kept as a whole it would be served as one: RFC 9110 section 14.5), ``encoding_unsupported`` for a
    coded one, whose digest would be that of the code (section 8.4; RFC 9112 section 7.3).
    """
    if b"content-range" in call.headers:
        raise Refusal("part_only", content_range=(call.header(b"content-range") or "")[:64])
    transfer = b",".join(value for name, value in call.scope["headers"] if name == b"transfer-encoding")
    if transfer.lower().strip() not in (b"", b"chunked"):
        raise Refusal("encoding_unsupported", transfer_encoding=transfer.decode("latin-1")[:32])
    coding = (call.header(b"content-encoding") or "identity").strip().lower()
    if coding not in ("", "identity"):
        raise Refusal("encoding_unsupported", content_encoding=coding[:32])


def check_site(call: Call, public_url: str) -> None:
    """Raises Refusal("cross_site") for a change that a browser makes for a page of another site: it adds the token that
    it remembers, whoever asks. No other client sends these headers (Fetch Metadata; RFC 6454 section 7).
    """
    site = call.headers.get(b"sec-fetch-site")
    if site is not None:
        strange = site not in (b"same-origin", b"none")
    else:
        origin = call.header(b"origin")
        strange = origin is not None and origin != _origin(public_url)
    if strange:
        raise Refusal("cross_site")


@lru_cache(maxsize=8)
def _origin(url: str) -> str:
    """Scheme, host and port of a URL, as browsers write them."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}".lower()


def _api_path(call: Call) -> str:
    """The address that the router sees: ``.json`` is optional everywhere but on DELETE, whose last segment is a file's
    name.
    """
    if call.method != "DELETE" and call.path.startswith("/api/"):
        return call.path.removesuffix(".json")
    return call.path


def _shown_path(path: str) -> str:
    """The path for the log, without the token of ``/priv/TOKEN/``."""
    if path.startswith("/priv/"):
        path = "/priv/[hidden]/" + path.split("/", 3)[-1] if path.count("/") > 2 else "/priv/[hidden]"
    return path[:300]


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            await send({"type": "lifespan.startup.complete"})
        elif message["type"] == "lifespan.shutdown":
            await send({"type": "lifespan.shutdown.complete"})
            return


async def _never(*_args: object) -> Any:
    raise RuntimeError("handlers talk through their Call alone")
