"""What one load on a full volume does to a server: ours and its peers behind one small interface."""

import contextlib
import http.client
import json
import threading
import uuid
from base64 import b64encode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from bench.bed import REPOSITORY, package_path
from bench.peers.aptly import CODENAME, Aptly
from bench.peers.aptly import REPOSITORY as APTLY_REPOSITORY
from bench.peers.nginx import Nginx
from bench.push import Client
from bench.synthetic import Item
from entrepot import __version__
from tests.support.gpg import GpgHome
from tests.support.process import run
from tests.support.server import ServerProcess

TIMEOUT_S = 60.0
DONE = "stored"


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer, or what came instead of one: ``status`` 0 with ``reset`` or ``timeout`` as ``body``."""

    status: int
    body: bytes
    headers: Mapping[str, str]

    @property
    def label(self) -> str:
        """What the table counts it as."""
        return str(self.status) if self.status else self.body.decode()


def ask(port: int, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None) -> Reply:
    """One request on a connection of its own; when sending fails, the answer is read all the same, as curl does."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
    try:
        connection.putrequest(method, path)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            connection.putheader(name, value)
        connection.endheaders()
        with contextlib.suppress(OSError):  # the server may have answered before it closed
            connection.send(body)
        answer = connection.getresponse()
        content = answer.read()
        return Reply(answer.status, content, {name.lower(): value for name, value in answer.getheaders()})
    except TimeoutError:
        return Reply(0, b"timeout", {})
    except (OSError, http.client.HTTPException):
        return Reply(0, b"reset", {})
    finally:
        connection.close()


class Contestant(Protocol):
    """A running server on a volume. ``name`` is its column in the table."""

    name: str

    def version(self) -> str:
        """Which one it is, as it says itself."""

    def upload(self, item: Item) -> tuple[str, Reply]:
        """Send one package as its manual says; (``DONE`` or the step that failed, the last answer)."""

    def read(self) -> Reply:
        """What a client asks for all the time: the index, or a file."""

    def fetch(self, item: Item) -> bytes:
        """The package as clients get it; empty when they cannot."""

    def left(self) -> list[Path]:
        """Files that belong to no acknowledged upload by their place: temporary and half ones."""


class Ours:
    """``entrepot serve`` with the settings it ships with."""

    name = "entrepot"

    def __init__(self, running: ServerProcess) -> None:
        self._running = running
        user = b64encode(f"{running.admin_token}:".encode()).decode()
        self._headers = {"Authorization": f"Basic {user}"}

    @classmethod
    @contextmanager
    def on(cls, folder: Path, outside: Path) -> Iterator["Ours"]:
        """Run it below a folder of the volume; its standard output goes to ``outside``."""
        running = ServerProcess(folder / "data", env={"ENTREPOT_SERVER_DRAIN_WAIT_S": "0"})
        running.log_path = outside / "entrepot.log"
        with running:
            with Client.of(running) as client:
                client.create_repository(REPOSITORY)
            yield cls(running)

    def version(self) -> str:
        """See :class:`Contestant`."""
        return __version__

    def upload(self, item: Item) -> tuple[str, Reply]:
        """One PUT; 201 says that the signed index lists it."""
        answer = ask(self._running.port, "PUT", package_path("deb", item.filename), item.content, self._headers)
        return (DONE if answer.status in (200, 201, 202) else "PUT"), answer

    def read(self) -> Reply:
        """apt's entry point."""
        return ask(self._running.port, "GET", f"/{REPOSITORY}/debian/dists/bookworm/InRelease")

    def fetch(self, item: Item) -> bytes:
        """The download that the API names."""
        path = f"/{REPOSITORY}/packages/debian/bookworm/{item.filename}/download"
        answer = ask(self._running.port, "GET", path)
        return answer.body if answer.status == 200 else b""

    def left(self) -> list[Path]:
        """``incoming`` is used only where the file system has no unnamed files."""
        return [path for path in (self._running.data / "incoming").rglob("*") if path.is_file()]


class NginxDav:
    """nginx with WebDAV PUT; spool and files on the volume."""

    name = "nginx WebDAV"

    def __init__(self, nginx: Nginx, folder: Path) -> None:
        self._nginx = nginx
        self._folder = folder
        self._stored = 0

    @classmethod
    @contextmanager
    def on(cls, folder: Path, outside: Path) -> Iterator["NginxDav"]:
        """Run it below a folder of the volume."""
        del outside
        with Nginx(folder) as nginx:
            yield cls(nginx, folder)

    def version(self) -> str:
        """See :class:`Contestant`."""
        return run(["nginx", "-v"]).stderr.strip().rpartition("/")[2]

    def upload(self, item: Item) -> tuple[str, Reply]:
        """One PUT; it makes no index and does not sync."""
        answer = ask(self._nginx.port, "PUT", f"/{item.filename}", item.content)
        return (DONE if answer.status in (201, 204) else "PUT"), answer

    def read(self) -> Reply:
        """The first file; there is no index."""
        return ask(self._nginx.port, "GET", f"/{first_name(self._nginx.files)}")

    def fetch(self, item: Item) -> bytes:
        """The file."""
        answer = ask(self._nginx.port, "GET", f"/{item.filename}")
        return answer.body if answer.status == 200 else b""

    def left(self) -> list[Path]:
        """Spooled bodies."""
        return [path for path in (self._folder / "body").rglob("*") if path.is_file()]


def first_name(folder: Path) -> str:
    """The name that sorts first; the load's first package does."""
    return min((path.name for path in folder.iterdir()), default="none")


class AptlyApi:
    """``aptly api serve``: upload to a folder, add to the repository, update the publication."""

    name = "aptly api"

    def __init__(self, aptly: Aptly) -> None:
        self._aptly = aptly
        # Two updates of one publication at once break each other in 1.5.0, whatever the disk; a pipeline takes turns.
        self._turn = threading.Lock()

    @classmethod
    @contextmanager
    def on(cls, folder: Path, outside: Path) -> Iterator["AptlyApi"]:
        """Run it below a folder of the volume, with an empty repository published."""
        del outside
        with GpgHome("Bench <bench@example.org>", "rsa3072") as key:
            aptly = Aptly(folder / "aptly", key)
            aptly.fill([])
            aptly.publish()
            with aptly:
                yield cls(aptly)

    def version(self) -> str:
        """See :class:`Contestant`."""
        return run(["aptly", "version"]).stdout.split()[-1]

    def upload(self, item: Item) -> tuple[str, Reply]:
        """Three requests; the second one reports failure inside a 200."""
        aptly = self._aptly
        boundary, folder = uuid.uuid4().hex, uuid.uuid4().hex
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{item.filename}"\r\n\r\n'
        body = head.encode() + item.content + f"\r\n--{boundary}--\r\n".encode()
        form = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
        answer = ask(aptly.port, "POST", f"/api/files/{folder}", body, form)
        if answer.status != 200:
            return "upload", answer
        with self._turn:
            answer = ask(aptly.port, "POST", f"/api/repos/{APTLY_REPOSITORY}/file/{folder}")
            if answer.status != 200 or json.loads(answer.body).get("FailedFiles"):
                return "add", answer
            kind = {"Content-Type": "application/json"}
            answer = ask(aptly.port, "PUT", f"/api/publish/:./{CODENAME}", aptly.signing(), kind)
            return (DONE if answer.status == 200 else "publish"), answer

    def read(self) -> Reply:
        """Its list of repositories: it leaves the serving of files to another program."""
        return ask(self._aptly.port, "GET", "/api/repos")

    def fetch(self, item: Item) -> bytes:
        """The published file, from the folder that a web server would show."""
        found = next((self._aptly.root / "public" / "pool").rglob(item.filename), None)
        return found.read_bytes() if found is not None else b""

    def left(self) -> list[Path]:
        """What was uploaded and never added, and indexes that were being written."""
        uploads = [path for path in (self._aptly.root / "upload").rglob("*") if path.is_file()]
        return uploads + [path for path in (self._aptly.root / "public").rglob("*.tmp*") if path.is_file()]
