"""No token leaves the process but in the answer that makes it: none in logs, errors, the audit trail or the catalog."""

import base64
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from entrepot.web.access import REPOSITORY_ROUTES, ROUTES
from tests.support.server import ServerProcess
from tests.web.asking import ask_for
from tests.web.conftest import ENV, make_repository, make_token, raw_request
from tests.web.test_access import filled

MAKES_TOKENS = ("POST /api/v2/tokens", "POST /install/", "GET /install/")
UNKNOWN = "fedcba9876543210" * 3


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server of its own, whose log and catalog are searched as a whole; debug lines too."""
    data: Path = tmp_path_factory.mktemp("secrets") / "data"
    env = {**ENV, "ENTREPOT_LIMITS_LOGIN_FAILURES_PER_ADDRESS_MAX": "0", "ENTREPOT_LOGS_LEVEL": "debug"}
    with ServerProcess(data, env=env) as running:
        yield running


def forms(token: str) -> Iterator[dict[str, str]]:
    """Every header that can hold a token, and some that should not."""
    for text in (f"{token}:", f"user:{token}", f"{token}:{token}"):
        yield {"authorization": "Basic " + base64.b64encode(text.encode()).decode()}
    yield {"authorization": f"Bearer {token}"}
    yield {"authorization": f"Token {token}"}
    yield {"authorization": token}


def odd_addresses(token: str, repository: str) -> Iterator[str]:
    """A token in an address, where it belongs and where people put it."""
    yield from (
        f"/priv/{token}/{repository}/debian/dists/bookworm/InRelease",
        f"/priv/{token}/{repository}/debian/../x",
        f"//priv//{token}/{repository}/./x",
        f"/priv/{token}",
        f"/priv/{token}/",
        f"/priv/{token.upper()}/{repository}/x",
        f"/PRIV/{token}/{repository}/x",
        f"/priv/{token}x/{repository}/x",
        f"/{token}/{repository}/x",
        f"/{repository}/{token}/x",
        f"/api/v1/{token}",
        f"/api/v1/repos/{repository}/packages.json?token={token}",
        f"/{repository}/debian/dists/bookworm/InRelease?access_token={token}",
        f"/priv/{token}/{repository}/%00",
        f"/priv/{token}/{repository}/" + "x" * 3000,
    )


def test_no_token_is_written_anywhere(server: ServerProcess) -> None:
    """Goal: the texts of tokens, good and bad, are in no log line, error, audit row or file of the data folder,
    whatever was asked and however they were sent. Method: each route with each form of a token, odd addresses, a
    request that no HTTP parser takes; then everything that the server wrote is searched.

    Seen to fail without the last look that every log line gets (observe.logs).
    """
    with httpx.Client(base_url=server.url, auth=(server.admin_token, ""), timeout=30, trust_env=False) as admin:
        repository = make_repository(admin, private=True)
        owner, _, name = repository.partition("/")
        good = make_token(admin, "admin")
        dead = make_token(admin, "read", lives_s=1)
    tokens = (good, dead, UNKNOWN)
    answers: list[str] = []
    with httpx.Client(base_url=server.url, timeout=30, trust_env=False) as client:
        for turn, route in enumerate({**REPOSITORY_ROUTES, **ROUTES}):
            method, _, place = route.partition(" ")
            ask = ask_for(route)
            token = tokens[turn % len(tokens)]
            for headers in forms(token):
                words = {**ask.values, "user": owner, "repo": name, "token": token}
                if ask.fresh:
                    words["repo"] = "none"
                answer = client.request(
                    method, filled(place, words), headers=headers, json=filled(ask.json, words),
                    data=filled(ask.form, words), content=ask.content,
                )  # fmt: skip
                if not route.startswith(MAKES_TOKENS):
                    answers.append(f"{answer.headers} {answer.text}")
        for token in tokens:
            for address in odd_addresses(token, repository):
                answer = client.get(address)
                if answer.status_code < 400 or "/priv/" in address:
                    answers.append(f"{answer.headers} {answer.text}")
            answers.append(raw_request(server, f"GET /priv/{token}/ x HTTP/1.1\r\n{token}\r\n\r\n".encode()).decode())
    server.stop()  # its log is whole then
    written = {"log": server.log().encode(), "answers": "\n".join(answers).encode()}
    written |= {str(path): path.read_bytes() for path in server.data.rglob("*") if path.is_file()}
    found = [(where, token) for where, text in written.items() for token in tokens if token.encode() in text.lower()]
    assert found == []
    with closing(sqlite3.connect(server.data / "catalog.db")) as catalog:
        assert catalog.execute("SELECT count(*) FROM audit").fetchone()[0] > 2
