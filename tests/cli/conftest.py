"""One server for all; each test makes its own repositories."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.real import Client, one_server
from tests.support.server import ServerProcess


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A running server."""
    yield from one_server(tmp_path_factory)


@pytest.fixture
def entrepot(server: ServerProcess, tmp_path: Path) -> Client:
    """The command line."""
    home = tmp_path / "home"
    home.mkdir()
    return Client(server, home)
