"""Addresses that are no repository's: the API, probes, the home page. Starlette's router finds the handler."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.routing import BaseRoute, Route, Router

from entrepot.web.call import Call, Receive, Scope, Send

Handler = Callable[..., Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Operation:
    """What a route takes and answers, for the OpenAPI document: types of ``web.shapes``.

    ``answers``: HTTP status → the type of the JSON, None for an answer without body. ``body`` is the type of the
    request's JSON object, ``query`` that of its query; ``upload``: the body is a file.
    """

    answers: Mapping[int, Any]
    body: Any = None
    query: Any = None
    upload: bool = False


class Endpoint:
    """An ASGI endpoint that hands its handler the request's Call and the path's parameters."""

    def __init__(self, route: str, handler: Handler, operation: Operation | None = None) -> None:
        self._route = route
        self.handler = handler
        self.operation = operation

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; answers go through the Call."""
        call: Call = scope["entrepot.call"]
        call.route = self._route
        await self.handler(call, **scope["path_params"])


class Table:
    """Collects routes. ``add("GET", "/api/v1/repos", "api_v1", handler)``."""

    def __init__(self) -> None:
        self._routes: list[BaseRoute] = []

    def add(self, method: str, path: str, group: str, handler: Handler, operation: Operation | None = None) -> None:
        """One route; ``group`` is its label in logs and metrics, ``operation`` puts it into the OpenAPI document."""
        endpoint: Any = Endpoint(group, handler, operation)
        self._routes.append(Route(path, endpoint, methods=[method]))

    @property
    def routes(self) -> Sequence[BaseRoute]:
        """All that was added so far, in order."""
        return tuple(self._routes)

    def router(self) -> Router:
        """The router over all that was added, in order."""
        return Router(self._routes, redirect_slashes=False)
