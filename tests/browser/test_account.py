"""Log-in in Chromium: the form works as a person uses it, and nothing is blocked."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.browser import Browser, chromedriver, window
from tests.support.server import ServerProcess

ENV = {
    "ENTREPOT_SIGNING_DEFAULT_ALGORITHM": "ed25519",
    "ENTREPOT_SIGNING_SPARE_KEYS": "0",
    "ENTREPOT_SERVER_DRAIN_WAIT_S": "0",
    "ENTREPOT_UPLOAD_INSPECTION_PROCESSES": "1",
}
TEXT = "return document.body.innerText"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A running server."""
    with ServerProcess(tmp_path_factory.mktemp("server") / "data", env=ENV) as running:
        yield running


def test_log_in_and_out(server: ServerProcess, tmp_path: Path) -> None:
    """Goal: a page that needs a token shows the form, the token leads on to that page, the way out ends it; scripts see
    no cookie and the policy blocks nothing of ours. Method: the form is filled and its button pressed.
    """

    def press(browser: Browser, selector: str) -> None:
        browser.run(f"document.querySelector({selector!r}).click()")

    def asked(browser: Browser) -> bool:
        """Whether there is the form, and no alarm for somebody who has done nothing wrong."""
        found = "return document.querySelector('input[name=token]') && !document.querySelector('[role=alert]')"
        return bool(browser.run(found))

    def enter(browser: Browser, token: str) -> None:
        browser.run(f"document.querySelector('input[name=token]').value = {token!r}")
        press(browser, "form button")

    with chromedriver(tmp_path / "log") as driver, window(driver, tmp_path / "profile") as browser:
        browser.open(f"{server.url}/app/tokens")
        assert asked(browser)
        enter(browser, "0" * 48)
        browser.wait(lambda: "not known here" in browser.run(TEXT))
        browser.open(f"{server.url}/app/tokens")
        enter(browser, server.admin_token)
        browser.wait(lambda: "Log out" in browser.run(TEXT))
        assert browser.run("return location.pathname") == "/app/tokens"
        assert browser.run("return document.cookie") == ""
        browser.open(f"{server.url}/app")
        assert "admin/main" in browser.run(TEXT)
        press(browser, "nav.menu form button")
        browser.wait(lambda: browser.run("return location.pathname") == "/app/login")
        browser.open(f"{server.url}/app/log")
        assert asked(browser)
        said = [each for each in browser.messages() if "401" not in each]
        assert said == []
