"""Log-in with a token, and the pages behind it: what they show to whom, and what a browser may be made to do."""

from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

from entrepot.observe.clock import FixedClock
from entrepot.web.account import _inside
from entrepot.web.sessions import SESSION_S, SESSIONS_MAX, Sessions, cookie
from tests.support.builders import deb_bytes
from tests.support.server import ServerProcess
from tests.web.conftest import make_repository, make_token

HERE = {"sec-fetch-site": "same-origin"}


@contextmanager
def logged_in(server: ServerProcess, token: str) -> Iterator[httpx.Client]:
    """A browser's session."""
    with httpx.Client(base_url=server.url, timeout=30, trust_env=False) as client:
        answer = client.post("/app/login", data={"token": f" {token}\n"}, headers=HERE)
        assert (answer.status_code, answer.headers["location"]) == (303, "/app")
        yield client


def test_log_in_look_round_and_log_out(server: ServerProcess, admin: httpx.Client) -> None:
    """Goal: with a token one sees its owner's repositories, their packages, tokens and log; after the way out nothing.
    Method: a session in httpx; the cookie is for these pages alone and out of reach of scripts.
    """
    name = make_repository(admin, private=True, owner="pages")
    token = make_token(admin, "admin", owner="pages")
    admin.put(f"/{name}/debian/bookworm/seen_1_amd64.deb", content=deb_bytes("seen", "1")).raise_for_status()
    with logged_in(server, token) as client:
        (kept,) = client.cookies.jar
        assert (kept.path, kept.secure, kept.has_nonstandard_attr("HttpOnly")) == ("/app", False, True)
        assert kept.get_nonstandard_attr("SameSite") == "Strict"
        assert token not in str(kept.value)
        home = client.get("/app")
        assert name in home.text
        assert "admin/main" not in home.text
        assert home.headers["cache-control"] == "no-store"
        assert "form-action 'self'" in home.headers["content-security-policy"]
        assert "seen_1_amd64.deb" in client.get(f"/app/repositories/{name}").text
        assert "seen_1" not in client.get(f"/app/repositories/{name}?q=other").text
        shown = client.get("/app/tokens").text
        assert "admin-token" in shown
        assert token not in shown
        log = client.get("/app/log", params={"repository": name}).text
        assert "file.add" in log
        assert "127.0.0.1" in log
        assert client.get("/app/operations").status_code == 403  # the owner's admin is not the server's
        before = {"cookie": f"{kept.name}={kept.value}"}
        assert client.post("/app/logout", headers=HERE).headers["location"] == "/app/login"
        assert not client.cookies
        assert client.get("/app", headers=before).status_code == 401


def test_the_administrator_sees_everything(server: ServerProcess, admin: httpx.Client) -> None:
    """Goal: the operator's session opens every page, the operations page too."""
    name = make_repository(admin, owner="everybody")
    with logged_in(server, server.admin_token) as client:
        assert name in client.get("/app").text
        assert client.get("/app/operations").status_code == 200
        assert "Operations" in client.get("/app/tokens").text
        assert client.get("/app/log?before=1").status_code == 200


def test_a_wrong_token_is_told_so_on_the_form(server: ServerProcess, admin: httpx.Client) -> None:
    """Goal: a refusal is a page with the form and the code's text, without a challenge, which would open a window of
    the browser's; where the visitor wanted to go is kept. Method: nothing, a wrong token, a token that may not.
    """
    name = make_repository(admin, private=True, owner="form")
    with httpx.Client(base_url=server.url, timeout=30, trust_env=False) as client:
        for answer, code, told in (
            (client.get(f"/app/repositories/{name}"), "token_missing", ""),
            (client.post("/app/login", data={"token": "x" * 48}, headers=HERE), "token_unknown", "not known here"),
            (client.post("/app/login", data={}, headers=HERE), "token_missing", "Paste a token."),
        ):
            assert (answer.status_code, answer.headers["x-entrepot-code"]) == (401, code)
            assert answer.headers["content-type"].startswith("text/html")
            assert "www-authenticate" not in answer.headers
            assert 'name="token"' in answer.text
            assert ('role="alert"' in answer.text) == bool(told)
            assert told in answer.text
        assert f'value="/app/repositories/{name}"' in client.get(f"/app/repositories/{name}").text
        assert "set-cookie" not in client.get("/app/login").headers
    reader = make_token(admin, "read", owner="form")
    with logged_in(server, reader) as client:
        assert client.get(f"/app/repositories/{name}").status_code == 200
        refused = client.get("/app/log")
        assert (refused.status_code, refused.headers["x-entrepot-code"]) == (403, "role_too_low")


def test_a_session_ends_with_its_token(server: ServerProcess, admin: httpx.Client) -> None:
    """Goal: who revokes a token logs out whoever came in with it, at once."""
    make_repository(admin, owner="ended")
    made = admin.post("/api/v2/tokens", json={"name": "short", "role": "read", "owner": "ended"}).json()
    with logged_in(server, made["token"]) as client:
        assert client.get("/app").status_code == 200
        admin.delete(f"/api/v2/tokens/{made['id']}").raise_for_status()
        answer = client.get("/app")
        assert (answer.status_code, answer.headers["x-entrepot-code"]) == (401, "token_revoked")


def test_a_session_is_for_looking_alone(server: ServerProcess, admin: httpx.Client) -> None:
    """Goal: no page of another site changes or reads anything with a session. Method: the cookie sent to the API and to
    repositories is no token; a form of another site is refused, the log-in's too (it would log the victim in as
    somebody else).
    """
    name = make_repository(admin, private=True, owner="looking")
    with logged_in(server, server.admin_token) as client:
        sent = {"cookie": "; ".join(f"{key}={value}" for key, value in client.cookies.items())}
        for method, path in (
            ("GET", "/api/v2/tokens"), ("DELETE", f"/api/v2/repos/{name}"), ("GET", f"/{name}"),
            ("PUT", f"/{name}/debian/bookworm/x_1_all.deb"),
        ):  # fmt: skip
            answer = client.request(method, path, headers={**HERE, **sent})
            assert answer.headers["x-entrepot-code"] == "token_missing", path
        for headers in ({"sec-fetch-site": "cross-site"}, {"origin": "https://evil.example.com"}, {"origin": "null"}):
            for path in ("/app/login", "/app/logout"):
                answer = client.post(path, data={"token": server.admin_token}, headers=headers)
                assert (answer.status_code, answer.headers["x-entrepot-code"]) == (403, "cross_site")
        assert client.get("/app").status_code == 200


def test_what_others_named_is_shown_as_text(server: ServerProcess, admin: httpx.Client) -> None:
    """Goal: a token's name and a search never become markup. Method: tags in both."""
    tag = "<script>alert(1)</script>"
    admin.post("/api/v2/tokens", json={"name": tag, "role": "read", "owner": "markup"}).raise_for_status()
    with logged_in(server, server.admin_token) as client:
        for path in (
            "/app/tokens",
            "/app/log",
            "/app/log?repository=%3Cscript%3E",
            "/app/login?next=%22%3E%3Cscript%3E",
        ):
            assert "<script>" not in client.get(path).text, path


@pytest.mark.parametrize(
    "where",
    ["https://evil.example.com", "//evil.example.com", "/\\evil.example.com", "/app\\..", "/appendix", "/app/\r\nx: y",
     "javascript:alert(1)", "/app/" + "x" * 1000 + "\n", None, ""],
)  # fmt: skip
def test_the_way_on_leads_to_these_pages_alone(where: str | None) -> None:
    """Goal: a link to the log-in page never sends anybody elsewhere."""
    assert _inside(where) == "/app"


def test_where_a_session_lives() -> None:
    """Goal: so long and so many, and an owner who logs in again and again ends his own sessions alone; with HTTPS the
    cookie never goes out in the clear.

    Seen to fail without the bound of an owner.
    """
    clock = FixedClock(0)
    sessions = Sessions(clock)
    first = sessions.begin(7, "acme")
    assert sessions.token_id(first) == 7
    assert (sessions.token_id(None), sessions.token_id("x")) == (None, None)
    own = sessions.begin(8, "rival")
    for _ in range(SESSIONS_MAX):
        last = sessions.begin(9, "rival")
    assert (sessions.token_id(first), sessions.token_id(own), sessions.token_id(last)) == (7, None, 9)
    for number in range(SESSIONS_MAX):
        last = sessions.begin(8, f"owner{number % 32}")
    assert (sessions.token_id(first), sessions.token_id(last)) == (None, 8)
    clock.advance(SESSION_S)
    assert sessions.token_id(last) is None
    assert b"; Secure" in cookie("x", "https://packages.example.org")[1]
    assert b"Secure" not in cookie("x", "http://127.0.0.1:8420")[1]
