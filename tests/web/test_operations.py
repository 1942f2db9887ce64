"""The operations page as a client without a browser sees it; tests/browser has the rest."""

import re

import httpx
import pytest

from tests.support.server import ServerProcess
from tests.web.conftest import make_token, wait_until


def admin_url(server: ServerProcess) -> str:
    """The admin address of a test server."""
    return f"http://{server.address}:{server.port + 1}"


@pytest.mark.parametrize("path", ["/", "/day"])
def test_the_admin_address_shows_the_page(server: ServerProcess, path: str) -> None:
    """Goal: the page says everything without a script. Method: its HTML names the volume, its state, figures and
    thresholds, and has the plots with a text for those who do not see them.
    """
    with httpx.Client(base_url=admin_url(server), timeout=30, trust_env=False) as client:
        volume = client.get("/statusz").json()["volumes"][0]
        # The first point of the history comes within a second.
        wait_until(lambda: "<path" in client.get(path).text, 30)
        answer = client.get(path)
    html = answer.text
    assert volume["name"] in html
    assert f">{volume['state']}<" in html
    for word in ("used", "reserved", "unaccounted", "available", "PRESSURE &lt;", "SHED &lt;", "READONLY &lt;"):
        assert word in html
    assert html.count("<svg") == html.count("<desc") == 2
    assert answer.headers["cache-control"] == "no-store"


def test_the_policy_allows_nothing_but_our_own_files(server: ServerProcess) -> None:
    """Goal: no script but ours, no resource from elsewhere, no inline code. Method: the policy, and every address that
    the page names.
    """
    with httpx.Client(base_url=admin_url(server), timeout=30, trust_env=False) as client:
        answer = client.get("/")
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        named = re.findall(r"""(?:src|href)="([^"]+)\"""", answer.text)
        assert set(named) == {"/", "/day", "/static/operations.css", "/static/operations.js"}
        assert not re.search(r"<style|style=|\son\w+=|javascript:", answer.text)
        for path in named:
            assert client.get(path).status_code == 200
        assert client.get("/static/operations.js").headers["content-type"].startswith("text/javascript")
        for path in ("/static/operations.js", "/static/operations.css"):
            assert "://" not in client.get(path).text


def test_on_the_main_port_only_the_operator_sees_it(
    server: ServerProcess, admin: httpx.Client, anybody: httpx.Client
) -> None:
    """Goal: volumes, paths and causes are the operator's business. Method: without a token, with one that may push,
    with the operator's.
    """
    path = "/app/operations"
    refused = anybody.get(path)
    assert refused.status_code == 401
    assert "basic" in refused.headers["www-authenticate"].lower()
    assert anybody.get(path, auth=(make_token(admin, "push"), "")).status_code == 403
    answer = admin.get(path)
    assert answer.status_code == 200
    assert str(server.data) in answer.text
    assert f'href="{path}/day"' in answer.text
    assert admin.get(f"{path}/day").status_code == 200
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert anybody.get("/static/operations.css").status_code == 200
    assert str(server.data) not in anybody.get("/").text
