"""The real curl; the answer as status, headers and body."""

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.process import CommandError, Result, client_env, run


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer. `status` is 0 if none came; `headers` have lower-case names, repeated ones joined by a comma.

    `interim` lists the 1xx statuses before it; `sent_bytes` is how much of the body curl sent; `error` is curl's
    message.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    interim: tuple[int, ...]
    sent_bytes: int
    total_s: float
    rc: int
    error: str

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode(errors="replace")

    def json(self) -> Any:
        """The body parsed as JSON."""
        return json.loads(self.body)


def parse_headers(dump: str) -> tuple[tuple[int, ...], dict[str, str]]:
    """(1xx statuses, headers of the last block) of a curl header dump."""
    interim: list[int] = []
    headers: dict[str, str] = {}
    for line in dump.splitlines():
        if line.startswith("HTTP/"):
            status = int(line.split()[1])
            interim += [status] if status < 200 else []
            headers = {}
        elif ":" in line:
            name, _, value = line.partition(":")
            name, value = name.strip().lower(), value.strip()
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return tuple(interim), headers


def curl(
    url: str,
    *args: str | Path,
    method: str = "",
    user: str = "",
    upload: Path | bytes | None = None,
    headers: Sequence[str] = (),
    ca_file: Path | None = None,
    home: Path | None = None,
    prefix: Sequence[str] = (),
    timeout_s: float = 60.0,
    check: bool = True,
) -> Answer:
    """Run curl once. `upload` is what `-T` sends; `user` is `NAME:PASSWORD`; other options go through `args`.

    Raises `CommandError` if `check` and curl itself fails (no answer, broken transfer); an HTTP error status is no
    failure.
    """
    with tempfile.TemporaryDirectory(prefix="curl-") as work:
        folder = Path(work)
        command: list[str | Path] = ["curl", "--silent", "--show-error", "--noproxy", "*", "--globoff", "--path-as-is"]
        command += ["--max-time", str(timeout_s), "--dump-header", folder / "headers", "--output", folder / "body"]
        command += ["--write-out", "%{json}"]
        command += ["--request", method] if method else []
        command += ["--user", user] if user else []
        command += ["--cacert", ca_file] if ca_file else []
        if isinstance(upload, bytes):
            (folder / "upload").write_bytes(upload)
            command += ["--upload-file", folder / "upload"]
        elif upload is not None:
            command += ["--upload-file", upload]
        for header in headers:
            command += ["--header", header]
        env = client_env(home or folder)
        result: Result = run([*command, *args, url], timeout_s=timeout_s + 5, check=False, env=env, prefix=prefix)
        if check and result.rc != 0:
            raise CommandError(result)
        facts = json.loads(result.stdout)
        dump = folder / "headers"
        interim, received = parse_headers(dump.read_text("latin-1") if dump.exists() else "")
        body = folder / "body"
        return Answer(
            status=int(facts["http_code"]),
            headers=received,
            body=body.read_bytes() if body.exists() else b"",
            interim=interim,
            sent_bytes=int(facts["size_upload"]),
            total_s=float(facts["time_total"]),
            rc=result.rc,
            error=result.stderr.strip(),
        )
