"""The OpenAPI document of /api/v2: valid, whole, and what a running server answers."""

import copy
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from openapi_schema_validator import OAS31Validator
from openapi_spec_validator import OpenAPIV31SpecValidator
from starlette.routing import Route

from entrepot.model.errors import TABLE
from entrepot.model.limits import API_TEXT_CHARS_MAX, QUOTA_BYTES_MAX, TOKEN_LIFE_S_MAX
from entrepot.web.address import Routes
from entrepot.web.openapi import document
from entrepot.web.site import build_router
from tests.support.builders import deb_bytes
from tests.support.server import ServerProcess
from tests.web.conftest import admin, anybody, make_repository, server

__all__ = ["admin", "anybody", "server"]

REPO = "/api/v2/repos/{user}/{repo}"
METHODS = ("get", "put", "post", "delete")


def routes() -> list[Route]:
    """Every route of /api/v2 as the router has it."""
    services: Any = SimpleNamespace()
    found = build_router(services, services, Routes()).routes
    return [route for route in found if isinstance(route, Route) and route.path.startswith("/api/v2")]


class Contract:
    """A document, and a client whose every answer must be one that it declares."""

    def __init__(self, client: httpx.Client, declared: dict[str, Any]) -> None:
        self._client = client
        self._declared = copy.deepcopy(declared)
        for name, schema in self._declared["components"]["schemas"].items():
            if name != "Problem":  # figures of a refusal stand beside its members; elsewhere all fields are declared
                schema["additionalProperties"] = False

    def ask(self, method: str, path: str, status: int, place: dict[str, Any] | None = None, **options: Any) -> Any:
        """The JSON of the answer to a request of this status; checks it, and the request's own JSON, against the
        document. ``place`` fills the address in.
        """
        operation = self._declared["paths"][path][method]
        if "json" in options:
            self.check(operation["requestBody"], "application/json", options["json"])
        answer = self._client.request(method.upper(), path.format(**(place or {})), **options)
        assert answer.status_code == status, answer.text
        if status == 204:
            assert operation["responses"]["204"].keys() == {"description"}
            return None
        declared = operation["responses"].get(str(status))
        if declared is None:
            assert status >= 400
            declared = self._declared["components"]["responses"]["Problem"]
        self.check(declared, answer.headers["content-type"].partition(";")[0], answer.json())
        return answer.json()

    def check(self, declared: dict[str, Any], content_type: str, value: object) -> None:
        """Raises ValidationError for a value that is not of the schema declared for the content type."""
        schema = {**declared["content"][content_type]["schema"], "components": self._declared["components"]}
        OAS31Validator(schema).validate(value)


@pytest.fixture
def contract(admin: httpx.Client) -> Contract:
    """The running server, asked with the administrator's token, and its own document."""
    return Contract(admin, admin.get("/api/v2/openapi.json").raise_for_status().json())


def test_the_document_is_valid_and_has_every_route() -> None:
    """Goal: no route is forgotten, none is made up, and generators can read it. Method: the router's table against the
    document's paths; the meta-schema; unique ids. Seen to fail for a route without its Operation.
    """
    shown = document([*routes()], "https://packages.example.org")
    OpenAPIV31SpecValidator(shown).validate()
    expected = {(route.path_format, method.lower()) for route in routes() for method in (route.methods or set())}
    found = {(path, method) for path, item in shown["paths"].items() for method in item}
    assert found == {(path, method) for path, method in expected if method != "head"}
    operations = [item[method] for item in shown["paths"].values() for method in METHODS if method in item]
    assert len({each["operationId"] for each in operations}) == len(operations)
    assert all(each["summary"] for each in operations)


def test_every_code_is_in_the_document() -> None:
    """Goal: clients find each stable code with its status. Method: the table of errors against the document."""
    components = document([*routes()], "https://packages.example.org")["components"]
    assert components["schemas"]["Problem"]["properties"]["code"]["enum"] == list(TABLE)
    codes = components["responses"]["Problem"]["x-codes"]
    assert {code: row["status"] for code, row in codes.items()} == {code: row.status for code, row in TABLE.items()}


def test_anybody_may_read_it_and_keep_it(server: ServerProcess, anybody: httpx.Client) -> None:
    """Goal: no token, cached, and the server's own address inside. Method: with and without the ETag; HEAD."""
    first = anybody.get("/api/v2/openapi.json")
    assert (first.status_code, first.headers["content-type"]) == (200, "application/json; charset=utf-8")
    assert first.json()["servers"] == [{"url": server.url}]
    assert first.headers["cache-control"].startswith("public, max-age=")
    again = anybody.get("/api/v2/openapi.json", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    head = anybody.head("/api/v2/openapi.json")
    assert (head.status_code, head.headers["etag"]) == (200, first.headers["etag"])


def test_uploads_and_yanks_answer_as_declared(admin: httpx.Client, contract: Contract) -> None:
    """Goal: the document tells the truth of a package's life. Method: ask, send, list, yank, put back, collect."""
    user, _, repo = make_repository(admin).partition("/")
    place = {"user": user, "repo": repo}
    query = {"filename": "declared_1.0_amd64.deb", "distribution": "debian/bookworm"}
    sent = contract.ask("post", f"{REPO}/packages", 201, place, params=query, content=deb_bytes("declared", "1.0"))
    contract.ask("post", f"{REPO}/packages", 422, place, params={"filename": "x"}, content=b"x")
    asked = {"files": [{"sha256": sent["files"][0]["sha256"]}, {"sha256": "0" * 64}]}
    assert [each["bytes"] for each in contract.ask("post", f"{REPO}/have", 200, place, json=asked)["files"]] == [
        True,
        False,
    ]
    for verb in ("yank", "unyank"):
        assert contract.ask("post", f"{REPO}/{verb}", 200, place, json={"name": "declared"})["files"]
    contract.ask("post", f"{REPO}/yank", 404, place, json={"name": "nothing"})
    contract.ask("post", "/api/v2/gc", 200, json={"dry_run": True})


def test_tokens_and_repositories_answer_as_declared(admin: httpx.Client, contract: Contract) -> None:
    """Goal: the document tells the truth of the rest. Method: one of each, and refusals of several kinds."""
    user, _, repo = make_repository(admin).partition("/")
    place = {"user": user, "repo": repo}
    for limits in ({"repositories": [f"{user}/{repo}"], "expires_in_s": 60}, {"repositories": None}):
        made = contract.ask("post", "/api/v2/tokens", 201, json={"name": "t", "role": "push", "owner": user, **limits})
        contract.ask("get", "/api/v2/tokens", 200)
        contract.ask("delete", "/api/v2/tokens/{token_id}", 204, {"token_id": made["id"]})
    contract.ask("delete", "/api/v2/tokens/{token_id}", 404, {"token_id": 10**9})
    contract.ask("get", "/api/v2/repos", 200)
    contract.ask("get", REPO, 200, place)
    contract.ask("post", "/api/v2/repos", 409, json={"name": f"{user}/{repo}"})
    contract.ask("put", f"{REPO}/quota", 200, place, json={"quota_bytes": 1 << 30})
    contract.ask("put", "/api/v2/owners/{user}/quota", 200, place, json={"quota_bytes": None})
    contract.ask("get", "/api/v2/owners", 200)
    contract.ask("get", "/api/v2/owners/{user}", 200, place)
    contract.ask("get", "/api/v2/distributions", 200)
    contract.ask("post", "/api/v2/distributions", 201, json={"path": "debian/declared"})
    contract.ask("post", "/api/v2/distributions", 409, json={"path": "debian/declared"})
    contract.ask("get", "/api/v2/settings", 200)
    contract.ask("delete", REPO, 204, place)
    contract.ask("get", REPO, 404, place)


def test_what_the_document_asks_for_is_asked_for(admin: httpx.Client) -> None:
    """Goal: fields that it calls required are, and its bounds are the server's. Method: bodies without
    each required field, and one beyond each bound.
    """
    for path, body in (("/api/v2/tokens", {"role": "push"}), ("/api/v2/repos", {}), ("/api/v2/distributions", {})):
        for name in (None, "", "x" * (API_TEXT_CHARS_MAX + 1)):
            refused = admin.post(path, json={**body, "name": name, "path": name})
            assert (refused.status_code, refused.json()["code"]) == (422, "field_invalid")
    place = make_repository(admin)
    for wanted in ({}, {"quota_bytes": -1}, {"quota_bytes": QUOTA_BYTES_MAX + 1}):
        assert admin.put(f"/api/v2/repos/{place}/quota", json=wanted).status_code == 422
    for lives_s in (0, TOKEN_LIFE_S_MAX + 1):
        assert admin.post("/api/v2/tokens", json={"name": "t", "expires_in_s": lives_s}).status_code == 422
