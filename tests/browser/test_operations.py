"""The operations page in Chromium: what a person sees, live, and without a script."""

import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.disk.mounts import needs_root
from tests.support.browser import Browser, chromedriver, window
from tests.support.server import ServerProcess
from tests.support.volumes import MIB, tmpfs

ENV = {
    "ENTREPOT_SIGNING_DEFAULT_ALGORITHM": "ed25519",
    "ENTREPOT_SIGNING_SPARE_KEYS": "1",
    "ENTREPOT_SERVER_DRAIN_WAIT_S": "0",
    "ENTREPOT_UPLOAD_INSPECTION_PROCESSES": "1",
}
TEXT = "return document.body.innerText"


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """One driver for all windows."""
    with chromedriver(tmp_path_factory.mktemp("driver") / "log") as running:
        yield running


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A running server."""
    with ServerProcess(tmp_path_factory.mktemp("server") / "data", env=ENV) as running:
        yield running


@pytest.fixture
def browser(driver: httpx.Client, tmp_path: Path) -> Iterator[Browser]:
    """A window."""
    with window(driver, tmp_path / "profile") as opened:
        yield opened


def admin_url(server: ServerProcess) -> str:
    """The admin address."""
    return f"http://{server.address}:{server.port + 1}"


def refuse_one(server: ServerProcess) -> None:
    """A push of nonsense."""
    url = f"{server.url}/admin/main/debian/bookworm/nonsense_1_all.deb"
    assert httpx.put(url, content=b"x", auth=(server.admin_token, ""), timeout=60, trust_env=False).status_code == 422


def test_it_shows_the_volume_and_lives(server: ServerProcess, browser: Browser) -> None:
    """Goal: figures, plots and thresholds are on the screen, and stay true without a reload or a key. Method: the text
    of the page; sizes of what is drawn; a refusal that appears in it while a mark in the window shows that it was never
    loaded again; nothing was blocked and no script failed.
    """
    browser.open(admin_url(server) + "/")
    browser.run("window.mark = 1")
    browser.wait(lambda: browser.run("return document.querySelectorAll('svg path.used').length") == 1)
    text = browser.run(TEXT)
    assert str(server.data) in text
    assert re.search(r"used\s+[\d.]+ \w+", text)
    lines = browser.run("return [...document.querySelectorAll('line.mark')].map(e => e.getBoundingClientRect().width)")
    assert len(lines) == 3
    assert all(width > 300 for width in lines)
    # Chromium drew the area: it is as wide and as high as something that is seen.
    assert browser.run("const box = document.querySelector('path.used').getBBox(); return box.height > 0")
    assert "not_a_package" not in text
    refuse_one(server)
    browser.wait(lambda: "not_a_package" in browser.run(TEXT))
    browser.wait(lambda: browser.run("return document.querySelectorAll('path.refused').length") == 1)
    assert browser.run("return window.mark") == 1
    assert browser.messages() == []


def test_it_says_when_the_node_is_gone(tmp_path: Path, browser: Browser) -> None:
    """Goal: nobody takes an old picture for the present. Method: the server ends; the notice appears; the server comes
    back; the notice goes.
    """
    notice = "return document.getElementById('connection').hidden"
    with ServerProcess(tmp_path / "data", env=ENV) as server:
        browser.open(admin_url(server) + "/")
        assert browser.run(notice) is True
        server.stop()
        browser.wait(lambda: browser.run(notice) is False)
        assert "does not answer" in browser.run(TEXT)
        server.start()
        browser.wait(lambda: browser.run(notice) is True)


def test_without_javascript_it_is_complete_and_reloads(
    server: ServerProcess, driver: httpx.Client, tmp_path: Path
) -> None:
    """Goal: the page needs no script. Method: JavaScript is off in the browser's settings: the plot is there, and the
    time on the page moves by itself.
    """
    with window(driver, tmp_path / "profile", javascript=False) as browser:
        browser.open(admin_url(server) + "/")
        browser.wait(lambda: '<path class="used"' in browser.source())
        first = shown_time(browser)
        assert str(server.data) in browser.source()
        browser.wait(lambda: shown_time(browser) not in ("", first))


def shown_time(browser: Browser) -> str:
    """The time in the page's head; "" while it loads."""
    found = re.search(r"<time>([^<]+)</time>", browser.source())
    return found[1] if found else ""


def test_on_the_main_port_the_operator_signs_in_once(server: ServerProcess, browser: Browser) -> None:
    """Goal: the page works, live, behind the browser's own password dialogue. Method: the token as user name in the
    address, as the dialogue sends it; a refusal appears without a reload.
    """
    browser.open(f"http://{server.admin_token}:@{server.address}:{server.port}/app/operations")
    browser.run("window.mark = 1")
    assert str(server.data) in browser.run(TEXT)
    first = browser.run("return document.querySelector('time').textContent")
    browser.wait(lambda: browser.run("return document.querySelector('time').textContent") != first)
    assert browser.run("return window.mark") == 1
    assert browser.run("return document.getElementById('connection').hidden") is True


@needs_root
def test_a_volume_that_fills_up_turns_readonly_on_the_screen(tmp_path: Path, browser: Browser) -> None:
    """Goal: the state and its cause are the first thing one sees. Method: a tmpfs that another program fills while the
    page is open.
    """
    folder = tmp_path / "disk"
    with tmpfs(folder, 256 * MIB) as volume:
        data = volume.path / "data"
        with ServerProcess(data, env=ENV, log_path=tmp_path / "log") as server:
            browser.open(admin_url(server) + "/")
            assert "Nothing is wrong" in browser.run(TEXT)
            volume.fill(leave_bytes=1 * MIB)
            browser.wait(lambda: f"Volume {data} is READONLY" in browser.run(TEXT))
            badge = browser.run("return document.querySelector('.volume .badge').textContent")
            cause = browser.run("return document.querySelector('.volume .cause').textContent")
            assert badge == "READONLY"
            assert len(cause) > 10
