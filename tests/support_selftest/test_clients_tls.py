"""The client drivers from a second machine, over HTTPS with a private certificate authority, with a login."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.apt import AptLogin, AptRoot
from tests.support.builders import Recipe, make_deb, make_dsc, make_jar, make_rpm
from tests.support.dnf import DnfRepo, DnfRoot
from tests.support.dput import DputClient
from tests.support.gpg import GpgHome
from tests.support.maven import MavenClient, MavenServer
from tests.support.netns import Machine, network
from tests.support.process import CommandError
from tests.support.standin import standin
from tests.support.tls import CertificateAuthority, TlsProxy
from tests.support.zypper import ZypperRoot
from tests.support_selftest.repositories import publish_apt, publish_rpm

pytestmark = pytest.mark.clients
USER, PASSWORD = "token", "secret"


@dataclass(frozen=True)
class Site:
    """A folder behind nginx with TLS and a login, the machine that is to read it, and the CA."""

    folder: Path
    url: str
    authority: CertificateAuthority
    machine: Machine
    key: GpgHome


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    top = tmp_path_factory.mktemp("site")
    (top / "www").mkdir()
    authority = CertificateAuthority(top / "ca")
    with standin(top / "www", f"{USER}:{PASSWORD}") as server, network() as net, GpgHome() as key:
        upstream = server.url.removeprefix("http://")
        with TlsProxy(top / "proxy", authority, upstream, address=net.host_address) as proxy:
            yield Site(top / "www", proxy.url, authority, net.machines[0], key)


def test_apt_over_tls(tmp_path: Path, site: Site) -> None:
    """Goal: CA file, login and namespace reach apt. Method: install; the same without the CA is refused."""
    folder = site.folder / "apt"
    folder.mkdir()
    make_deb(folder, "hello")
    publish_apt(folder, site.key)
    source = f"deb [signed-by={folder}/key.asc] {site.url}/apt ./"
    login = AptLogin(site.url.removeprefix("https://"), USER, PASSWORD)
    prefix = site.machine.prefix
    apt = AptRoot(tmp_path / "apt", source, logins=[login], ca_file=site.authority.ca_file, prefix=prefix)
    apt.update()
    apt.install("hello")
    assert apt.installed() == {"hello": "1.0-1"}
    with pytest.raises(CommandError, match="certificate"):
        AptRoot(tmp_path / "apt2", source, logins=[login], prefix=prefix).update()


def test_dnf_and_zypper_over_tls(tmp_path: Path, site: Site) -> None:
    """Goal: CA file, login and namespace reach dnf and zypper. Method: install with each; without the CA refused."""
    folder = site.folder / "rpm"
    folder.mkdir()
    make_rpm(folder, Recipe("hello"))
    publish_rpm(folder, site.key)
    (tmp_path / "key.asc").write_bytes(site.key.public_key())
    repo = DnfRepo(
        f"{site.url}/rpm",
        gpgkey=f"file://{tmp_path}/key.asc",
        username=USER,
        password=PASSWORD,
        sslcacert=site.authority.ca_file,
    )
    dnf = DnfRoot(tmp_path / "dnf", [repo], prefix=site.machine.prefix)
    dnf.install("hello")
    assert dnf.installed() == ["hello-1.0-1.x86_64"]
    zypper = ZypperRoot(tmp_path / "zypper", ca_file=site.authority.ca_file, prefix=site.machine.prefix)
    url = site.url.replace("://", f"://{USER}:{PASSWORD}@")
    zypper.addrepo(f"{url}/rpm")
    zypper.install("hello")
    assert zypper.installed() == ["hello-1.0-1.x86_64"]
    distrusting = ZypperRoot(tmp_path / "zypper2", prefix=site.machine.prefix)
    distrusting.addrepo(f"{url}/rpm")
    assert not distrusting.refresh(check=False).ok


def test_maven_and_gradle_over_tls(tmp_path: Path, site: Site) -> None:
    """Goal: trust store, login and namespace reach mvn and gradle. Method: deploy a jar, get it, resolve it."""
    (tmp_path / "lib.jar").write_bytes(make_jar())
    client = MavenClient(
        tmp_path / "maven",
        servers=[MavenServer("test", USER, PASSWORD)],
        trust_store=site.authority.trust_store(),
        prefix=site.machine.prefix,
    )
    client.deploy_file(tmp_path / "lib.jar", f"{site.url}/maven2", "org.example:lib:1.0")
    client.forget("org.example")
    client.get("org.example:lib:1.0", f"{site.url}/maven2")
    assert "1.0/lib-1.0.jar" in client.local_files("org.example", "lib")
    coordinates = "org.example:lib:1.0"
    result, names = client.gradle_resolve(coordinates, f"{site.url}/maven2", username=USER, password=PASSWORD)
    assert names == ["lib-1.0.jar"], result.output


def test_dput_over_tls(tmp_path: Path, site: Site) -> None:
    """Goal: CA file, login and namespace reach dput. Method: upload a source set."""
    package = make_dsc(tmp_path, "hello")
    client = DputClient(
        tmp_path / "dput",
        f"{site.url}/up/",
        login=USER,
        password=PASSWORD,
        ca_file=site.authority.ca_file,
        prefix=site.machine.prefix,
    )
    client.upload(package.changes)
    assert (site.folder / "up" / package.dsc.name).is_file()
