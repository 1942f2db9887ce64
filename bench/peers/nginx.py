"""nginx with WebDAV PUT for uploads, and without sendfile for downloads: bytes pass through the process, as ours do."""

import subprocess
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.ports import free_port, wait_for_port
from tests.support.process import kill_group, run
from tests.support.server import process_tree

CONFIG = """\
daemon off;
worker_processes 1;
pid {root}/pid;
error_log {root}/error.log;
user root;
events {{ worker_connections 256; }}
http {{
    access_log off;
    sendfile off;
    client_max_body_size 0;
    client_body_temp_path {root}/body;
    proxy_temp_path {root}/p; fastcgi_temp_path {root}/f; uwsgi_temp_path {root}/u; scgi_temp_path {root}/s;
    server {{
        listen 127.0.0.1:{port};
        location / {{ root {root}/files; dav_methods PUT DELETE; }}
    }}
}}
"""


class Nginx:
    """One nginx with its files below ``root``, on the same volume as ours."""

    def __init__(self, root: Path) -> None:
        self.files = root / "files"
        self.files.mkdir(parents=True)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._config = root / "nginx.conf"
        self._config.write_text(CONFIG.format(root=root, port=self.port))
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(["nginx", "-c", str(self._config)], start_new_session=True)
        wait_for_port("127.0.0.1", self.port)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process is not None
        kill_group(self._process.pid)
        self._process.wait()

    def pids(self) -> list[int]:
        """Master and worker."""
        assert self._process is not None
        return process_tree(self._process.pid)

    def put_durable(self, source: Path, name: str) -> None:
        """PUT a file, sync it, take its sha256: what our 201 stands for."""
        run(["curl", "-sS", "--fail", "-o", "/dev/null", "-T", source, f"{self.url}/{name}"], timeout_s=600)
        run(["sync", self.files / name], timeout_s=600)
        run(["sha256sum", self.files / name], timeout_s=600)
