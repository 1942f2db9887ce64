"""A server to read from while it publishes: pushes over kept connections, its metrics, its clock."""

import base64
import gzip
import http.client
import json
import os
import re
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.support.builders import FastRpm, deb_bytes, fast_rpm_bytes
from tests.support.ports import free_port
from tests.support.server import ServerProcess

ROOT = Path(__file__).resolve().parents[2]
ENV = {
    "ENTREPOT_SIGNING_DEFAULT_ALGORITHM": "ed25519",
    "ENTREPOT_SIGNING_SPARE_KEYS": "0",
    "ENTREPOT_SERVER_DRAIN_WAIT_S": "0",
    "ENTREPOT_UPLOAD_INSPECTION_PROCESSES": "1",
    # A loaded machine is slow, not wrong: an answer must still mean that the index is there.
    "ENTREPOT_UPLOAD_PUBLICATION_WAIT_S": "60",
    "ENTREPOT_LOGS_LEVEL": "warning",
}
# Every boundary of segments and tails within a few dozen packages.
SMALL_LIMITS: dict[str, object] = {
    "entrepot.publish.base:SEGMENT_ENTRIES_MAX": 8,
    "entrepot.publish.base:SEGMENT_BYTES_MAX": 4096,
    "entrepot.publish.index:TAIL_ENTRIES_MAX": 6,
    "entrepot.publish.scope:TAIL_ENTRIES_MAX": 6,
    "entrepot.publish.scope:PUBLICATION_ADDITIONS_MAX": 4,
}
DEB = "debian/bookworm"
RPM = "el/9"
START_LIMIT_S = 90.0
LONG = os.environ.get("FAULT_LANE") == "full"


def long_or(short: int, long: int) -> int:
    """The size of a run: ``long`` in the fault lane, ``short`` among all tests."""
    return long if LONG else short


class Pusher:
    """One kept connection that pushes packages with a token, and other calls of the API. Not thread-safe."""

    def __init__(self, address: str, port: int, token: str) -> None:
        self._connection = http.client.HTTPConnection(address, port, timeout=90)
        self._login = "Basic " + base64.b64encode(f"{token}:".encode()).decode()

    def send(self, method: str, path: str, body: bytes = b"", expect: Sequence[int] = (200, 201)) -> bytes:
        """One request; its body. AssertionError for another status than expected."""
        headers = {"Authorization": self._login, "Content-Length": str(len(body))}
        try:
            self._connection.request(method, path, body, headers)
            answer = self._connection.getresponse()
            content = answer.read()
        except BaseException:
            self._connection.close()
            raise
        assert answer.status in expect, f"{method} {path}: {answer.status} {content[:500]!r}"
        return content

    def call(self, method: str, path: str, **body: object) -> Any:
        """One request with a JSON object; the parsed answer."""
        return json.loads(self.send(method, path, json.dumps(body).encode()) or b"null")

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Bed:
    """A server on an address of its own, started through ``tests.consistency.entry``."""

    def __init__(
        self,
        folder: Path,
        *,
        limits: Mapping[str, object] | None = None,
        address: str = "127.0.0.1",
        clock: bool = False,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.folder = folder
        self._clock = folder / "clock"
        # What the tests run with goes before: a copy of the sources, when scripts/mutate.py runs them.
        path = os.pathsep.join(filter(None, (os.environ.get("PYTHONPATH"), str(ROOT))))
        settings = {**ENV, "PYTHONPATH": path, "TEST_LIMITS": json.dumps(limits or {}), **(env or {})}
        if clock:
            self.set_clock("0")
            settings["TEST_CLOCK"] = str(self._clock)
        self._admin_port = free_port()
        self.server = ServerProcess(
            folder / "data",
            command=[sys.executable, "-m", "tests.consistency.entry"],
            args=["--admin-listen", f"127.0.0.1:{self._admin_port}"],
            address=address,
            env=settings,
        )
        self._made = 0

    def __enter__(self) -> Self:
        self.start()
        return self

    def start(self) -> None:
        """Start, and wait as long as a busy machine takes."""
        self.server.start(wait=False)
        self.server.wait_live(START_LIMIT_S)

    def restart(self, *, kill: bool = False) -> None:
        """Stop in order, or kill, and start again on the same data."""
        if kill:
            self.server.kill9()
        else:
            self.server.stop(START_LIMIT_S)
        self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.server.close()

    @property
    def url(self) -> str:
        """Where it listens."""
        return self.server.url

    def pusher(self) -> Pusher:
        """A new connection with the administrator's token."""
        return Pusher(self.server.address, self.server.port, self.server.admin_token)

    def repository(self) -> str:
        """A new public repository; its USER/REPO."""
        self._made += 1
        name = f"acme/repo{self._made}"
        with self.pusher() as pusher:
            pusher.call("POST", "/api/v2/repos", name=name)
        return name

    def keyring(self, repository: str) -> Path:
        """The repository's public key in a file."""
        path = self.folder / f"{repository.replace('/', '-')}.asc"
        with self.pusher() as pusher:
            path.write_bytes(pusher.send("GET", f"/{repository}/gpgkey"))
        return path

    def apt_source(self, repository: str, keyring: Path, url: str | None = None) -> str:
        """The deb822 source of the repository's codename; ``url`` reads through a proxy."""
        base = f"{url or self.url}/{repository}/debian/"
        return f"Types: deb\nURIs: {base}\nSuites: bookworm\nComponents: main\nSigned-By: {keyring}\n"

    def set_clock(self, text: str) -> None:
        """Move the server's wall clock: seconds to add, or ``=SECONDS`` to stop it there."""
        fresh = self._clock.with_suffix(".new")
        fresh.write_text(text)
        fresh.replace(self._clock)
        time.sleep(0.02)  # the server looks at the file every ten milliseconds

    def metric(self, name: str, **labels: str) -> float:
        """One sample of the server's metrics; 0 when it has not been counted yet."""
        connection = http.client.HTTPConnection("127.0.0.1", self._admin_port, timeout=30)
        try:
            connection.request("GET", "/metrics")
            text = connection.getresponse().read().decode()
        finally:
            connection.close()
        shown = ",".join(f'{key}="{value}"' for key, value in sorted(labels.items()))
        sample = re.escape(f"entrepot_{name}" + (f"{{{shown}}}" if shown else ""))
        found = re.search(rf"^{sample} (\S+)$", text, re.MULTILINE)
        return float(found[1]) if found else 0.0


@dataclass(frozen=True, slots=True, order=True)
class Package:
    """A package that a test pushes. ``version`` is VERSION-RELEASE for both formats."""

    name: str
    version: str
    arch: str

    @property
    def deb(self) -> str:
        """Its file name as .deb."""
        return f"{self.name}_{self.version}_{self.arch}.deb"

    @property
    def rpm(self) -> str:
        """Its file name as .rpm."""
        return f"{self.name}-{self.version}.{self.arch}.rpm"


def push_deb(pusher: Pusher, repository: str, package: Package) -> None:
    """Push a small .deb; it is listed when this returns."""
    content = deb_bytes(package.name, package.version, package.arch)
    pusher.send("PUT", f"/{repository}/{DEB}/{package.deb}", content, expect=(201,))


def push_rpm(pusher: Pusher, repository: str, package: Package) -> None:
    """Push a small .rpm; it is listed when this returns."""
    version, _, release = package.version.partition("-")
    content = fast_rpm_bytes(FastRpm(package.name, version, release, package.arch))
    pusher.send("PUT", f"/{repository}/{RPM}/{package.rpm}", content, expect=(201,))


def wait_until(condition: Callable[[], bool], timeout_s: float = 60.0) -> None:
    """Return once ``condition`` holds; AssertionError after ``timeout_s`` seconds."""
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "the condition did not come true in time"
        time.sleep(0.05)


def apt_listed(root: Path) -> set[Package]:
    """What the package lists hold that apt last fetched and verified, every architecture."""
    found = set()
    for path in (root / "var/lib/apt/lists").glob("*_Packages"):
        for stanza in path.read_text().split("\n\n"):
            fields = dict(line.split(": ", 1) for line in stanza.splitlines() if re.match(r"[A-Z][\w-]*: ", line))
            if fields:
                found.add(Package(fields["Package"], fields["Version"], fields["Architecture"]))
    return found


def rpm_listed(repodata: Path) -> set[str]:
    """Names of the packages in the primary index of a client's cached ``repodata`` folder."""
    place = re.search(r'href="repodata/([0-9a-f]{64}-primary\.xml\.gz)"', (repodata / "repomd.xml").read_text())
    assert place is not None
    return set(re.findall(r"<name>([^<]+)</name>", gzip.decompress((repodata / place[1]).read_bytes()).decode()))
