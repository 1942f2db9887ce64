"""``aptly api serve`` with one local repository, published and signed with an RSA-3072 key.

It is set up in its favour: no Contents files, no bz2 indexes, which cost it a third of its time by default.
"""

import http.client
import json
import subprocess
import uuid
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

from bench.synthetic import Item
from tests.support.gpg import GpgHome
from tests.support.ports import free_port, wait_for_port
from tests.support.process import kill_group, run

REPOSITORY = "bench"
CODENAME = "bookworm"
FILL_LIMIT_S = 3600.0


class Aptly:
    """One aptly root. Use :meth:`serve` as a context manager."""

    def __init__(self, root: Path, key: GpgHome) -> None:
        self.root = root
        self._key = key
        root.mkdir(exist_ok=True)
        self._config = root / "aptly.conf"
        settings = {
            "rootDir": str(root),
            "architectures": ["amd64"],
            "gpgProvider": "gpg",
            "skipContentsPublishing": True,
            "skipBz2Publishing": True,
            "enableMetricsEndpoint": False,
        }
        self._config.write_text(json.dumps(settings))
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: http.client.HTTPConnection | None = None
        self.port = 0

    def _aptly(self, *args: str | Path) -> None:
        run(["aptly", f"-config={self._config}", *args], env=self._key.env(), timeout_s=FILL_LIMIT_S)

    def fill(self, items: Iterable[Item]) -> None:
        """Add the packages from a folder, publish once, remove the folder."""
        folder = self.root / "incoming-bench"
        folder.mkdir()
        for item in items:
            (folder / item.filename).write_bytes(item.content)
        self._aptly("repo", "create", f"-distribution={CODENAME}", REPOSITORY)
        self._aptly("repo", "add", "-remove-files", REPOSITORY, folder)
        run(["rm", "-rf", folder])

    def publish(self) -> None:
        """The first publication."""
        self._aptly("publish", "repo", "-batch", f"-gpg-key={self._key.fingerprint}", REPOSITORY)

    def __enter__(self) -> Self:
        port = self.port = free_port()
        self._process = subprocess.Popen(
            ["aptly", f"-config={self._config}", "api", "serve", f"-listen=127.0.0.1:{port}"],
            env=self._key.env(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        wait_for_port("127.0.0.1", port, 60)
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process is not None
        kill_group(self._process.pid)
        self._process.wait()

    def _request(self, method: str, path: str, body: bytes, content_type: str) -> None:
        assert self._connection is not None
        self._connection.request(method, path, body, {"Content-Type": content_type})
        answer = self._connection.getresponse()
        text = answer.read()
        assert answer.status in (200, 201), (path, answer.status, text[:500])

    def push(self, item: Item) -> None:
        """Upload one package, add it to the repository, update the publication: three requests, as its manual says."""
        boundary = uuid.uuid4().hex
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{item.filename}"\r\n\r\n'
        body = head.encode() + item.content + f"\r\n--{boundary}--\r\n".encode()
        folder = uuid.uuid4().hex
        self._request("POST", f"/api/files/{folder}", body, f"multipart/form-data; boundary={boundary}")
        self._request("POST", f"/api/repos/{REPOSITORY}/file/{folder}", b"", "application/json")
        self._request("PUT", f"/api/publish/:./{CODENAME}", self.signing(), "application/json")

    def signing(self) -> bytes:
        """The body of a request that publishes."""
        return json.dumps({"Signing": {"GpgKey": self._key.fingerprint, "Batch": True}}).encode()
