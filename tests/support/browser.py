"""Chromium through its driver, by the W3C WebDriver protocol: a few JSON requests, no library."""

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.support.ports import free_port
from tests.support.process import kill_group

START_S = 60.0
ANSWER_S = 60.0
ARGUMENTS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-dev-shm-usage", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-proxy-server",
    "--window-size=1200,1400",
)  # fmt: skip


class Browser:
    """One window of its own profile."""

    def __init__(self, driver: httpx.Client, session: str) -> None:
        self._driver = driver
        self._session = session

    def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        answer = self._driver.request(method, f"/session/{self._session}{path}", json=body)
        found = answer.json()["value"]
        assert answer.status_code == 200, found
        return found

    def open(self, url: str) -> None:
        """Go to a page and wait until it is loaded."""
        self._ask("POST", "/url", {"url": url})

    def run(self, script: str) -> Any:
        """What the body of a function returns in the page."""
        return self._ask("POST", "/execute/sync", {"script": script, "args": []})

    def source(self) -> str:
        """The page as it is now; works with JavaScript off too."""
        return str(self._ask("GET", "/source"))

    def messages(self) -> list[str]:
        """What the console said since the last question: errors of scripts, and what a policy blocked."""
        return [entry["message"] for entry in self._ask("POST", "/se/log", {"type": "browser"})]

    def wait(self, condition: Callable[[], object], timeout_s: float = 90.0) -> None:
        """Return once ``condition`` holds; AssertionError with the page after a long while."""
        end = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < end, self.source()[-4000:]
            time.sleep(0.1)


@contextmanager
def chromedriver(log: Path) -> Iterator[httpx.Client]:
    """A running driver."""
    port = free_port()
    with log.open("wb") as output:
        process = subprocess.Popen(
            ["chromedriver", f"--port={port}"], stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=ANSWER_S, trust_env=False) as client:
        try:
            _wait_ready(client, log)
            yield client
        finally:
            kill_group(process.pid)
            process.wait()


def _wait_ready(client: httpx.Client, log: Path) -> None:
    end = time.monotonic() + START_S
    while True:
        try:
            if client.get("/status").json()["value"]["ready"]:
                return
        except httpx.TransportError:
            pass
        assert time.monotonic() < end, log.read_text()[-2000:]
        time.sleep(0.1)


@contextmanager
def window(driver: httpx.Client, profile: Path, *, javascript: bool = True) -> Iterator[Browser]:
    """A window with a fresh profile; closed afterwards."""
    arguments = [*ARGUMENTS, f"--user-data-dir={profile}"]
    options: dict[str, Any] = {"args": arguments}
    if not javascript:
        options["prefs"] = {"profile.managed_default_content_settings.javascript": 2}
    wanted = {"browserName": "chrome", "goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
    answer = driver.post("/session", json={"capabilities": {"alwaysMatch": wanted}})
    assert answer.status_code == 200, answer.text
    session = str(answer.json()["value"]["sessionId"])
    try:
        yield Browser(driver, session)
    finally:
        driver.delete(f"/session/{session}")
