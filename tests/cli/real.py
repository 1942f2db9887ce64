"""The command line against a real server: each command in this process; as a program of its own where that matters."""

import json
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from entrepot.cli.main import app
from tests.support.process import Result
from tests.support.server import ServerProcess

PROGRAM = str(Path(sys.executable).with_name("entrepot"))
SETTINGS = {
    "ENTREPOT_SIGNING_DEFAULT_ALGORITHM": "ed25519",
    "ENTREPOT_SIGNING_SPARE_KEYS": "1",
    "ENTREPOT_SERVER_DRAIN_WAIT_S": "0",
    "ENTREPOT_UPLOAD_INSPECTION_PROCESSES": "1",
}


@dataclass(frozen=True, slots=True)
class Client:
    """The program with a home of its own."""

    server: ServerProcess
    home: Path

    def env(self, extra: Mapping[str, str] | None = None) -> dict[str, str]:
        """Its environment: the server's address and the administrator's token."""
        given = {"ENTREPOT_URL": self.server.url, "ENTREPOT_TOKEN": self.server.admin_token}
        return {"HOME": str(self.home), "PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", **given, **(extra or {})}

    def __call__(self, *words: str | Path, rc: int = 0, env: Mapping[str, str] | None = None) -> Result:
        """Run a command; `AssertionError` unless it ends with `rc`.

        In this process, since a Python of its own for each of two hundred commands takes minutes: the same words, the
        same environment and nothing else of the caller's, and the same two outputs. `PROGRAM` is for signals,
        terminals and start-up time.
        """
        args = tuple(str(word) for word in words)
        ended = CliRunner().invoke(app, args, env={**dict.fromkeys(os.environ), **self.env(env)})
        if ended.exception is not None and not isinstance(ended.exception, SystemExit):
            raise ended.exception
        result = Result(args, ended.exit_code, ended.stdout, ended.stderr)
        assert result.rc == rc, f"{words} ended with {result.rc}, not {rc}\n{result.output}"
        return result

    def json(self, *words: str | Path, rc: int = 0, env: Mapping[str, str] | None = None) -> list[dict[str, Any]]:
        """Run a command with --json; its lines."""
        return [json.loads(line) for line in self(*words, "--json", rc=rc, env=env).stdout.splitlines()]

    def repository(self, name: str, *options: str) -> str:
        """Create a repository."""
        self("repo", "create", name, *options)
        return name


def one_server(factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A running server for the tests of the command line."""
    with ServerProcess(factory.mktemp("server") / "data", env=SETTINGS) as running:
        yield running
