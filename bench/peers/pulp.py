"""Pulp with its file plugin: API, content server and two workers; PostgreSQL beside it, not on the measured volume.

It has a virtual environment of its own, which ``BENCH_PULP`` names (``python3 -m venv DIR; DIR/bin/pip install
pulpcore``); without it Pulp is left out. Everything that it writes beside its database lies on the volume. Settings are
its defaults but for addresses, folders, and the cache and analytics, which are off.
"""

import base64
import json
import os
import secrets
import shutil
import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bench.contest import DONE, Reply, ask
from bench.synthetic import Item
from tests.support.ports import free_port, wait_for_port
from tests.support.process import kill_group, run

PASSWORD = "bench"
NAME = "bench"
TASK_S = 120.0
SETTINGS = """\
SECRET_KEY = {secret!r}
DB_ENCRYPTION_KEY = {key!r}
DATABASES = {{"default": {{"ENGINE": "django.db.backends.postgresql", "NAME": "postgres", "USER": "postgres",
    "HOST": "127.0.0.1", "PORT": "{database}", "CONN_MAX_AGE": 0}}}}
CONTENT_ORIGIN = "http://127.0.0.1:{content}"
ALLOWED_HOSTS = ["*"]
DEPLOY_ROOT = {root!r}
MEDIA_ROOT = {root!r} + "/media"
STATIC_ROOT = {root!r} + "/static"
WORKING_DIRECTORY = {root!r} + "/tmp"
FILE_UPLOAD_TEMP_DIR = {root!r} + "/tmp"
CACHE_ENABLED = False
ANALYTICS = False
"""


def available() -> bool:
    """Whether ``BENCH_PULP`` names an environment with Pulp, and Debian's PostgreSQL is there."""
    folder = os.environ.get("BENCH_PULP")
    return folder is not None and Path(folder, "bin", "pulpcore-manager").exists() and _postgres() is not None


def _postgres() -> Path | None:
    """Where Debian puts the server's programs."""
    return max(Path("/usr/lib/postgresql").glob("*/bin/initdb"), default=None)


class Pulp:
    """One running Pulp."""

    name = "pulp file"

    def __init__(self, root: Path, api: int, content: int) -> None:
        self._root = root
        self._api = api
        self._content = content
        user = base64.b64encode(f"admin:{PASSWORD}".encode()).decode()
        self._headers = {"Authorization": f"Basic {user}"}
        self._repository = ""

    @classmethod
    @contextmanager
    def on(cls, folder: Path, outside: Path) -> Iterator["Pulp"]:
        """Run it below a folder of the volume; its database, settings and logs lie in ``outside``."""
        with ExitStack() as stack:
            database = free_port()
            stack.enter_context(_database(outside / "pulp-database", database))
            content, api = free_port(), free_port()
            env = _environment(folder, outside, database, content)
            _program(env, "pulpcore-manager", "migrate", "--noinput")
            _program(env, "pulpcore-manager", "reset-admin-password", "--password", PASSWORD)
            commands = [
                ["pulpcore-api", "--bind", f"127.0.0.1:{api}", "--workers", "2"],
                ["pulpcore-content", "--bind", f"127.0.0.1:{content}", "--workers", "1"],
                ["pulpcore-worker"],
                ["pulpcore-worker"],
            ]
            log = stack.enter_context((outside / "pulp.log").open("ab"))
            for command in commands:
                process = subprocess.Popen(
                    [_bin(command[0]), *command[1:]], env=env, stdout=log, stderr=log, start_new_session=True
                )
                stack.callback(process.wait)
                stack.callback(kill_group, process.pid)
            for port in (api, content):
                wait_for_port("127.0.0.1", port, 180)
            pulp = cls(folder, api, content)
            pulp._make_repository()
            yield pulp

    def _json(self, method: str, path: str, document: object | None = None) -> dict[str, object]:
        body = b"" if document is None else json.dumps(document).encode()
        answer = ask(self._api, method, path, body, {**self._headers, "Content-Type": "application/json"})
        assert answer.status in (200, 201, 202), (path, answer)
        found: dict[str, object] = json.loads(answer.body)
        return found

    def _make_repository(self) -> None:
        made = self._json("POST", "/pulp/api/v3/repositories/file/file/", {"name": NAME, "autopublish": True})
        self._repository = str(made["pulp_href"])
        wanted = {"name": NAME, "base_path": NAME, "repository": self._repository}
        task = self._json("POST", "/pulp/api/v3/distributions/file/file/", wanted)
        assert self._finish(str(task["task"]))[0] == "completed"

    def _finish(self, task: str) -> tuple[str, Reply]:
        """Ask for a task until it ends; (its state, the last answer)."""
        end = time.monotonic() + TASK_S
        while True:
            answer = ask(self._api, "GET", task, b"", self._headers)
            state = json.loads(answer.body)["state"] if answer.status == 200 else "unknown"
            if state in ("completed", "failed", "canceled") or time.monotonic() > end:
                return state, answer
            time.sleep(0.2)

    def version(self) -> str:
        """Of pulpcore, its plugin coming with it."""
        found = Path(os.environ["BENCH_PULP"]).glob("lib/python3*/site-packages/pulpcore-*.dist-info")
        return next((path.stem.partition("-")[2] for path in found), "unknown")

    def upload(self, item: Item) -> tuple[str, Reply]:
        """A form, and the task that it starts: the file is in a published repository once the task is completed."""
        boundary = uuid.uuid4().hex
        parts = [f'name="relative_path"\r\n\r\n{item.filename}', f'name="repository"\r\n\r\n{self._repository}']
        fields = "".join(f"--{boundary}\r\nContent-Disposition: form-data; {part}\r\n" for part in parts)
        file = f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{item.filename}"\r\n\r\n'
        body = (fields + file).encode() + item.content + f"\r\n--{boundary}--\r\n".encode()
        headers = {**self._headers, "Content-Type": f"multipart/form-data; boundary={boundary}"}
        answer = ask(self._api, "POST", "/pulp/api/v3/content/file/files/", body, headers)
        if answer.status != 202:
            return "upload", answer
        state, last = self._finish(json.loads(answer.body)["task"])
        return (DONE if state == "completed" else f"task {state}"), last

    def read(self) -> Reply:
        """The listing that clients get."""
        return ask(self._content, "GET", f"/pulp/content/{NAME}/PULP_MANIFEST")

    def fetch(self, item: Item) -> bytes:
        """The file from the content server."""
        answer = ask(self._content, "GET", f"/pulp/content/{NAME}/{item.filename}")
        return answer.body if answer.status == 200 else b""

    def left(self) -> list[Path]:
        """Its two temporary folders."""
        folders = (self._root / "tmp", self._root / "media" / "upload")
        return [path for folder in folders for path in folder.rglob("*") if path.is_file()]


def _bin(name: str) -> str:
    return str(Path(os.environ["BENCH_PULP"], "bin", name))


def _program(env: dict[str, str], name: str, *args: str) -> None:
    run([_bin(name), *args], env=env, timeout_s=900)


def _environment(folder: Path, outside: Path, database: int, content: int) -> dict[str, str]:
    """The settings' file and the environment of every program."""
    for name in ("media", "static", "tmp"):
        (folder / name).mkdir()
    key = outside / "pulp.key"
    key.write_text(base64.urlsafe_b64encode(secrets.token_bytes(32)).decode())
    settings = outside / "pulp_settings.py"
    settings.write_text(
        SETTINGS.format(
            secret=secrets.token_hex(32), key=str(key), database=database, content=content, root=str(folder)
        )
    )
    path = f"{Path(os.environ['BENCH_PULP'], 'bin')}:/usr/bin:/bin"
    return {"PATH": path, "HOME": str(outside), "PULP_SETTINGS": str(settings), "LC_ALL": "C.UTF-8"}


@contextmanager
def _database(folder: Path, port: int) -> Iterator[None]:
    """A PostgreSQL cluster of its own, as the user ``postgres``: it does not run as root."""
    initdb = _postgres()
    assert initdb is not None
    folder.mkdir()
    shutil.chown(folder, "postgres")
    as_user: list[str | Path] = ["runuser", "-u", "postgres", "--"]
    run([*as_user, initdb, "--auth=trust", "--no-sync", "-D", folder / "data"], timeout_s=300)
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder}"
    control = [*as_user, initdb.with_name("pg_ctl"), "-D", folder / "data", "-w"]
    run([*control, "-l", folder / "log", "-o", options, "start"], timeout_s=120)
    try:
        yield
    finally:
        run([*control, "-m", "immediate", "stop"], timeout_s=120, check=False)
        shutil.rmtree(folder, ignore_errors=True)
