"""The OpenAPI 3.1 document of /api/v2, made of its routes: addresses, handlers' texts, and the types of ``shapes``."""

import asyncio
import hashlib
import re
from collections.abc import Iterator, Sequence
from http import HTTPStatus
from typing import Any

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema
from starlette.convertors import IntegerConvertor
from starlette.routing import BaseRoute, Route

from entrepot import __version__
from entrepot.model.errors import TABLE
from entrepot.web import shapes
from entrepot.web.access import OPEN, ROUTES
from entrepot.web.answer import JSON
from entrepot.web.call import Call
from entrepot.web.conditional import Validators, not_modified
from entrepot.web.problem import compact
from entrepot.web.router import Endpoint, Handler, Operation, Table
from entrepot.web.services import Services

KEPT_BY_CLIENTS_S = 300
_PROBLEM = "#/components/responses/Problem"
_SECURITY: Sequence[dict[str, list[str]]] = ({"basic": []}, {"bearer": []})
_SCHEMES = {
    "basic": {
        "type": "http",
        "scheme": "basic",
        "description": "The token as the user name with any password, or as the password.",
    },
    "bearer": {"type": "http", "scheme": "bearer", "description": "The token."},
}

Json = dict[str, Any]


class OpenApi:
    """Serves the document of the routes that are in ``table`` when it is first asked for; made once, in a thread."""

    def __init__(self, services: Services, table: Table) -> None:
        self._services = services
        self._table = table
        self._content = b""
        self._making = asyncio.Lock()

    def mount(self) -> None:
        """Add its route. The router takes ``.json`` off every address of the API."""
        shown = Operation({200: shapes.Document, 304: None})
        self._table.add("GET", "/api/v2/openapi", "api_v2", self.openapi, shown)

    async def openapi(self, call: Call) -> None:
        """GET openapi.json: this API as an OpenAPI 3.1 document, for everybody."""
        async with self._making:
            self._content = self._content or await self._services.files(self._make)
        etag = hashlib.sha256(self._content).hexdigest()[:32]
        headers = [(b"etag", b'"%s"' % etag.encode()), (b"cache-control", b"public, max-age=%d" % KEPT_BY_CLIENTS_S)]
        if not_modified(call.headers, Validators(etag, 0, date_vouches=False)):
            await call.start(304, headers)
            await call.write(b"", more=False)
            return
        await call.answer(200, [(b"content-type", JSON), *headers], self._content)

    def _make(self) -> bytes:
        return compact(document(self._table.routes, self._services.settings.public_url))


def document(routes: Sequence[BaseRoute], public_url: str) -> Json:
    """The document of those ``routes`` that have an :class:`Operation`; ``public_url`` without closing slash."""
    described = list(_described(routes))
    kinds: list[Any] = [shapes.Problem]
    for _, operation, _ in described:
        kinds += [kind for kind in (*operation.answers.values(), operation.body, operation.query) if kind is not None]
    schemas, components = _schemas(kinds)
    paths: dict[str, Json] = {}
    for route, operation, handler in described:
        path = paths.setdefault(route.path_format, {})
        for method in sorted((route.methods or set()) - {"HEAD"}):
            path[method.lower()] = _operation(route, method, handler, operation, schemas, components)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Entrepot",
            "version": __version__,
            "description": "What packagecloud's API lacks. Times are seconds since 1970 UTC, sizes are bytes.",
        },
        "servers": [{"url": public_url}],
        "security": list(_SECURITY),
        "paths": paths,
        "components": {
            "schemas": components,
            "responses": {"Problem": _problem(schemas[shapes.Problem])},
            "securitySchemes": _SCHEMES,
        },
    }


def summary(method: str, handler: Handler) -> str:
    """What a route does: the first paragraph of its handler's text, without the method and the address that it begins
    with.
    """
    text = (handler.__doc__ or "").partition("\n\n")[0].replace("``", "`")
    text = " ".join(text.split())
    text = re.sub(rf"^{method} [^:{{]*?(?=[:{{]|, the same)[:,]? ?", "", text)
    if re.fullmatch(rf"{method} [\w/]+\.", text):
        text = "Shows it."
    return text[:1].upper() + text[1:]


class _Untitled(GenerateJsonSchema):
    """Schemas without a title for each field: it would be the field's name once more."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def _described(routes: Sequence[BaseRoute]) -> Iterator[tuple[Route, Operation, Handler]]:
    for route in routes:
        if isinstance(route, Route) and isinstance(route.endpoint, Endpoint) and route.endpoint.operation is not None:
            yield route, route.endpoint.operation, route.endpoint.handler


def _schemas(kinds: Sequence[Any]) -> tuple[dict[Any, Json], dict[str, Json]]:
    """The schema of each type, which refers to the components, and the components by name."""
    inputs = [(index, "validation", TypeAdapter(kind)) for index, kind in enumerate(kinds)]
    found, definitions = TypeAdapter.json_schemas(
        inputs,  # type: ignore[arg-type]
        ref_template="#/components/schemas/{model}",
        schema_generator=_Untitled,
    )
    return {kinds[index]: schema for (index, _), schema in found.items()}, definitions["$defs"]


def _operation(
    route: Route,
    method: str,
    handler: Handler,
    operation: Operation,
    schemas: dict[Any, Json],
    components: dict[str, Json],
) -> Json:
    def component(kind: Any) -> Json:
        return components[kind.__name__]

    parameters = [
        {"name": name, "in": "path", "required": True, "schema": {"type": _path_type(convertor)}}
        for name, convertor in route.param_convertors.items()
    ]
    if operation.query is not None:
        # A parameter is needed or left out; each is a schema of its own.
        needed = component(operation.query).get("required", ())
        parameters += [
            {"name": name, "in": "query", "required": name in needed, "schema": schema}
            for name, schema in component(operation.query)["properties"].items()
        ]
    shown: Json = {"operationId": handler.__name__, "summary": summary(method, handler)}
    if ROUTES.get(f"{method} {route.path}") is OPEN:
        shown["security"] = []
    if parameters:
        shown["parameters"] = parameters
    if operation.upload:
        shown["requestBody"] = {"content": {"application/octet-stream": {}}}
    elif operation.body is not None:
        # An empty body is an empty object.
        required = bool(component(operation.body).get("required"))
        shown["requestBody"] = {"required": required, "content": _json(schemas[operation.body])}
    answers = {str(status): _answer(status, kind, schemas) for status, kind in operation.answers.items()}
    return {**shown, "responses": {**answers, "default": {"$ref": _PROBLEM}}}


def _path_type(convertor: object) -> str:
    return "integer" if isinstance(convertor, IntegerConvertor) else "string"


def _answer(status: int, kind: Any, schemas: dict[Any, Json]) -> Json:
    phrase = {"description": HTTPStatus(status).phrase}
    return phrase if kind is None else {**phrase, "content": _json(schemas[kind])}


def _json(schema: Json) -> Json:
    return {"application/json": {"schema": schema}}


def _problem(schema: Json) -> Json:
    """Every refusal; ``x-codes`` has what is known of each code: its status, its text, and when to come back."""
    codes = {
        row.code: {"status": row.status, "text": row.text, "retry_after_s": row.retry_after_s} for row in TABLE.values()
    }
    return {
        "description": "A refusal. Its code is stable.",
        "headers": {
            "X-Entrepot-Code": {"description": "The code.", "schema": {"type": "string"}},
            "Retry-After": {"description": "Seconds until it is worth another try.", "schema": {"type": "integer"}},
            "WWW-Authenticate": {"description": "With status 401.", "schema": {"type": "string"}},
        },
        "content": {"application/problem+json": {"schema": schema}},
        "x-codes": codes,
    }
