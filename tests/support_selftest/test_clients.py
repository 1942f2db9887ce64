"""The client drivers against static repositories made by the field's own tools and served by a small file server."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.apt import AptLogin, AptRoot
from tests.support.builders import (
    FastRpm,
    Recipe,
    fast_rpm_bytes,
    make_deb,
    make_dsc,
    make_jar,
    make_pom,
    make_rpm,
    write_deb,
)
from tests.support.curl import curl
from tests.support.dnf import DnfRepo, DnfRoot
from tests.support.dput import DputClient
from tests.support.gpg import GpgHome
from tests.support.maven import MavenClient, MavenServer
from tests.support.process import CommandError, run
from tests.support.standin import StandIn, standin
from tests.support.zypper import ZypperRoot
from tests.support_selftest.repositories import publish_apt, publish_rpm

LOGIN = "token:secret"

pytestmark = pytest.mark.clients


@pytest.fixture(scope="module")
def key() -> Iterator[GpgHome]:
    with GpgHome() as home:
        yield home


@pytest.fixture
def server(tmp_path: Path) -> Iterator[StandIn]:
    with standin(tmp_path / "www") as running:
        yield running


def apt_source(server: StandIn, extra: str = "") -> str:
    """A deb822 source for the flat repository of `server`."""
    return f"Types: deb deb-src\nURIs: {server.url}/\nSuites: ./\nSigned-By: {server.folder}/key.asc\n{extra}"


def test_apt_installs_upgrades_and_fetches_sources(tmp_path: Path, server: StandIn, key: GpgHome) -> None:
    """Goal: the driver runs a real apt end to end.

    Method: update, query, install, upgrade, download, source, tamper.
    """
    server.folder.mkdir()
    make_deb(server.folder, "hello", "1.0-1", scripts={"postinst": "#!/bin/sh\nexit 0\n"})
    make_dsc(server.folder, "hello", "1.0-1")
    publish_apt(server.folder, key, age_s=60)
    apt = AptRoot(tmp_path / "apt", apt_source(server))
    apt.update()
    assert apt.pkgnames() == ["hello"]
    assert apt.candidate("hello") == "1.0-1"
    assert apt.candidate("absent") is None
    apt.install("hello")
    assert apt.installed() == {"hello": "1.0-1"}
    assert (apt.root / "usr/share/doc/hello/version").read_text() == "hello 1.0-1\n"
    make_deb(server.folder, "hello", "1.0-2")
    publish_apt(server.folder, key)
    apt.update()
    assert apt.versions("hello") == ["1.0-2", "1.0-1"]
    apt.upgrade()
    assert apt.installed() == {"hello": "1.0-2"}
    apt.download("hello")
    apt.source("hello")
    assert "hello_1.0-2_amd64.deb" in apt.work_files()
    assert {"hello_1.0-1.dsc", "hello-1.0"} <= set(apt.work_files())
    write_deb(server.folder, "quick", "2:3")
    publish_apt(server.folder, key, age_s=-1)
    apt.update()
    apt.install("quick")
    assert apt.installed() == {"hello": "1.0-2", "quick": "2:3"}
    (server.folder / "Packages").write_text("Package: evil\n\n")
    with pytest.raises(CommandError):
        AptRoot(tmp_path / "apt2", apt_source(server)).update()


def test_apt_reads_a_private_repository_with_a_login(tmp_path: Path, server: StandIn, key: GpgHome) -> None:
    """Goal: auth.conf entries reach the server. Method: 401 without, success with; the wrong password is refused."""
    server.folder.mkdir()
    make_deb(server.folder, "hello")
    publish_apt(server.folder, key)
    server.login = LOGIN
    apt = AptRoot(tmp_path / "apt", apt_source(server))
    assert "401" in apt.update(check=False).output
    apt.write_logins([AptLogin(server.url, "token", "secret")])
    apt.update()
    assert apt.pkgnames() == ["hello"]


def test_dnf_installs_and_upgrades(tmp_path: Path, server: StandIn, key: GpgHome) -> None:
    """Goal: the driver runs a real dnf with a checked index and a login. Method: install, upgrade, download, tamper."""
    server.folder.mkdir()
    make_rpm(server.folder, Recipe("hello"))
    publish_rpm(server.folder, key)
    (tmp_path / "key.asc").write_bytes(key.public_key())
    server.login = LOGIN
    repo = DnfRepo(server.url, gpgkey=f"file://{tmp_path}/key.asc", username="token", password="secret")
    dnf = DnfRoot(tmp_path / "dnf", [repo])
    dnf.makecache()
    assert dnf.repoquery() == ["hello-0:1.0-1.x86_64"]
    dnf.install("hello")
    assert dnf.installed() == ["hello-1.0-1.x86_64"]
    assert (dnf.root / "root/usr/share/hello/version").is_file()
    make_rpm(server.folder, Recipe("hello", version="2.0"))
    publish_rpm(server.folder, key)
    dnf.upgrade()
    assert dnf.installed() == ["hello-2.0-1.x86_64"]
    dnf.download("hello-1.0")
    quick = FastRpm("quick", epoch=1, files={"/usr/share/quick/file": b"quick"})
    (server.folder / quick.file_name).write_bytes(fast_rpm_bytes(quick))
    publish_rpm(server.folder, key)
    dnf.makecache()
    dnf.install("quick")
    assert (dnf.root / "root/usr/share/quick/file").read_bytes() == b"quick"
    repomd = server.folder / "repodata/repomd.xml"
    repomd.write_bytes(repomd.read_bytes().replace(b"<revision>", b"<revision>1"))
    assert not dnf.makecache(check=False).ok
    agents = run(["pgrep", "--full", "--list-full", "gpg-agent"], check=False).stdout
    assert str(dnf.root) not in agents
    assert not DnfRoot(tmp_path / "dnf2", [DnfRepo(server.url, repo_gpgcheck=False)]).makecache(check=False).ok


def test_zypper_installs_and_updates(tmp_path: Path, server: StandIn, key: GpgHome) -> None:
    """Goal: the driver runs a real zypper with a checked index and a login. Method: add, refresh, install, update."""
    server.folder.mkdir()
    make_rpm(server.folder, Recipe("hello"))
    publish_rpm(server.folder, key)
    server.login = LOGIN
    zypper = ZypperRoot(tmp_path / "zypper", logins={"test": ("token", "secret")})
    zypper.addrepo(f"{server.url}?credentials=test")
    zypper.refresh()
    assert zypper.search() == ["hello"]
    zypper.install("hello")
    assert zypper.installed() == ["hello-1.0-1.x86_64"]
    make_rpm(server.folder, Recipe("hello", version="2.0"))
    publish_rpm(server.folder, key)
    zypper.refresh()
    zypper.update("hello")
    assert zypper.installed() == ["hello-2.0-1.x86_64"]


def test_maven_deploys_and_gets(tmp_path: Path, server: StandIn) -> None:
    """Goal: mvn deploys with credentials and gets them back. Method: a PUT folder."""
    server.folder.mkdir()
    server.login = LOGIN
    (tmp_path / "lib.jar").write_bytes(make_jar())
    (tmp_path / "lib.pom").write_bytes(make_pom("org.example", "lib", "1.0"))
    maven = MavenClient(tmp_path / "maven", servers=[MavenServer("test", "token", "secret")])
    maven.deploy_file(tmp_path / "lib.jar", server.url, "org.example:lib:1.0", pom=tmp_path / "lib.pom")
    assert (server.folder / "org/example/lib/1.0/lib-1.0.jar").read_bytes() == make_jar()
    maven.forget("org.example")
    maven.get("org.example:lib:1.0", server.url)
    assert "1.0/lib-1.0.jar" in maven.local_files("org.example", "lib")


def test_dput_uploads_with_a_password(tmp_path: Path, server: StandIn) -> None:
    """Goal: dput answers the challenge with its login. Method: upload a source set into a PUT folder behind Basic."""
    server.folder.mkdir()
    server.login = LOGIN
    package = make_dsc(tmp_path, "hello")
    dput = DputClient(tmp_path / "dput", f"{server.url}/up/", login="token", password="secret")
    dput.upload(package.changes)
    assert {path.name for path in (server.folder / "up").iterdir()} == {path.name for path in package.files}


def test_curl_returns_status_headers_and_body(tmp_path: Path, server: StandIn) -> None:
    """Goal: an answer is taken apart correctly. Method: PUT, GET, a 401 and a refused connection."""
    server.folder.mkdir()
    assert curl(f"{server.url}/a", upload=b"hello").status == 201
    answer = curl(f"{server.url}/a")
    assert (answer.status, answer.body, answer.headers["content-length"]) == (200, b"hello", "5")
    server.login = LOGIN
    assert curl(f"{server.url}/a").headers["www-authenticate"] == 'Basic realm="stand-in"'
    assert curl(f"{server.url}/a", user=LOGIN).status == 200
    assert curl("http://127.0.0.1:1/", check=False).status == 0


def test_time_limit_kills_the_whole_group(tmp_path: Path) -> None:
    """Goal: a client that hangs cannot outlive its limit. Method: a shell with a child; neither is there afterwards."""
    with pytest.raises(CommandError, match="ran out of time"):
        run(["sh", "-c", "sleep 4242.5 & sleep 4242.5"], timeout_s=0.5)
    found = subprocess.run(["pgrep", "-f", "sleep 4242[.]5"], capture_output=True, check=False)
    assert found.stdout == b""
