"""The real dput: it sends every file before it authenticates, and a source package arrives as a set."""

from pathlib import Path

import httpx
import pytest

from tests.support.apt import AptRoot
from tests.support.builders import make_dsc
from tests.support.dput import DputClient
from tests.support.server import ServerProcess
from tests.web.conftest import make_repository, make_token

pytestmark = pytest.mark.clients


def test_a_source_package_sent_with_dput_is_fetched_by_apt(
    server: ServerProcess, admin: httpx.Client, anybody: httpx.Client, tmp_path: Path
) -> None:
    """Goal: dput's unauthenticated first attempt sees its 401, the set is held until it is whole, and apt-get source
    works.
    """
    name = make_repository(admin)
    (tmp_path / "build").mkdir()
    source = make_dsc(tmp_path / "build", "hello", "1.0-1")
    client = DputClient(
        tmp_path / "dput", f"{server.url}/{name}/debian/bookworm", login="token", password=make_token(admin, "push")
    )
    client.upload(source.changes)
    keyring = tmp_path / "key.asc"
    keyring.write_bytes(anybody.get(f"/{name}/gpgkey").raise_for_status().content)
    sources = f"Types: deb-src\nURIs: {server.url}/{name}/debian/\nSuites: bookworm\nComponents: main\n"
    root = AptRoot(tmp_path / "root", sources + f"Signed-By: {keyring}\n")
    root.update()
    root.source("hello", download_only=True)
    assert any(each.endswith(".dsc") for each in root.work_files())
