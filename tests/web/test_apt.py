"""The main promise with the real apt: when the upload is answered, the package can be installed."""

from pathlib import Path

import httpx
import pytest

from tests.support.apt import AptLogin, AptRoot
from tests.support.builders import make_deb
from tests.support.process import run
from tests.support.server import ServerProcess
from tests.web.conftest import make_repository, make_token

pytestmark = pytest.mark.clients


def source(server: ServerProcess, name: str, keyring: Path) -> str:
    """The deb822 source of a repository's bookworm."""
    return f"Types: deb\nURIs: {server.url}/{name}/debian/\nSuites: bookworm\nComponents: main\nSigned-By: {keyring}\n"


def test_a_package_pushed_with_curl_is_installed_by_apt(
    server: ServerProcess, admin: httpx.Client, anybody: httpx.Client, tmp_path: Path
) -> None:
    """Goal: 201 means installable. Method: curl -T, then at once apt-get update and install, then a newer version and
    upgrade.
    """
    name = make_repository(admin)
    keyring = tmp_path / "key.asc"
    keyring.write_bytes(anybody.get(f"/{name}/gpgkey").raise_for_status().content)
    root = AptRoot(tmp_path / "root", source(server, name, keyring))
    for version in ("1.0-1", "1.0-2"):
        deb = make_deb(tmp_path, "hello", version)
        pushed = run(
            ["curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", "-T", deb, "-u", f"{server.admin_token}:",
             f"{server.url}/{name}/debian/bookworm/"]
        )  # fmt: skip
        assert pushed.stdout == "201"
        root.update()
        assert root.candidate("hello") == version
        if version == "1.0-1":
            root.install("hello")
        else:
            root.upgrade()
        assert root.installed() == {"hello": version}


def test_a_private_repository_needs_a_token_in_apt(server: ServerProcess, admin: httpx.Client, tmp_path: Path) -> None:
    """Goal: private means private, and a read token in auth.conf.d or in /priv/ is enough. Method: apt without, with,
    and by path.
    """
    name = make_repository(admin, private=True)
    token = make_token(admin, "read")
    keyring = tmp_path / "key.asc"
    keyring.write_bytes(admin.get(f"/{name}/gpgkey").raise_for_status().content)
    deb = make_deb(tmp_path, "secret", "1.0-1")
    admin.put(f"/{name}/debian/bookworm/{deb.name}", content=deb.read_bytes()).raise_for_status()

    without = AptRoot(tmp_path / "without", source(server, name, keyring))
    refused = without.update(check=False)
    assert not refused.ok
    assert "401" in refused.output
    login = AptLogin(f"http://{server.address}:{server.port}/{name}/", token)
    root = AptRoot(tmp_path / "with", source(server, name, keyring), logins=[login])
    root.update()
    root.install("secret")
    assert root.installed() == {"secret": "1.0-1"}
    by_path = AptRoot(tmp_path / "by-path", source(server, f"priv/{token}/{name}", keyring))
    by_path.update()
    by_path.download("secret")
    assert by_path.work_files() == ["secret_1.0-1_amd64.deb"]


def test_a_yanked_package_is_gone_for_apt_and_comes_back(
    server: ServerProcess, admin: httpx.Client, anybody: httpx.Client, tmp_path: Path
) -> None:
    """Goal: yank and unyank are visible when they are answered. Method: apt's candidate after each."""
    name = make_repository(admin)
    keyring = tmp_path / "key.asc"
    keyring.write_bytes(anybody.get(f"/{name}/gpgkey").raise_for_status().content)
    deb = make_deb(tmp_path, "gone", "1.0-1")
    admin.put(f"/{name}/debian/bookworm/{deb.name}", content=deb.read_bytes()).raise_for_status()
    root = AptRoot(tmp_path / "root", source(server, name, keyring))
    root.update()
    assert root.candidate("gone") == "1.0-1"
    answer = admin.delete(f"/api/v1/repos/{name}/debian/bookworm/{deb.name}")
    assert (answer.status_code, answer.content) == (200, b"{}")
    root.update()
    assert root.candidate("gone") is None
    back = admin.post(f"/api/v2/repos/{name}/unyank", json={"filename": "gone_*"})
    assert back.status_code == 200, back.text
    root.update()
    assert root.candidate("gone") == "1.0-1"
    assert admin.delete(f"/api/v1/repos/{name}/debian/bookworm/none_1.deb").status_code == 404
