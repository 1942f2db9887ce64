"""One line on the customer's machine, typed for real: Debian trees, and this machine under the names of every family.

``SUITES`` names Debian suites; each is fetched once (`make suites` takes all that the mirror has).
"""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from entrepot.catalog.distributions import built_in
from tests.clients.site import Site
from tests.support.builders import make_deb, make_rpm
from tests.support.machine import Machine, debian_tree, machine
from tests.support.rpm import Recipe

pytestmark = [pytest.mark.clients, pytest.mark.xdist_group("clients-install")]

SUITES = os.environ.get("SUITES", "trixie").split()
STYLE = {"bullseye": "list", "bookworm": "list"}  # apt from 2.9 on: sources
RPM_WRAPPER = """#!/bin/sh
# Debian's rpm installs nothing without this switch.
case " $* " in *' --import '*) exec /usr/bin/rpm "$@" ;; esac
exec /usr/bin/rpm --force-debian "$@"
"""
Booted = Callable[[Path], Machine]


@pytest.fixture(scope="module", params=SUITES)
def suite(request: pytest.FixtureRequest) -> str:
    """A Debian suite."""
    return str(request.param)


@pytest.fixture(scope="module")
def debian(suite: str) -> Path:
    """Its tree."""
    return debian_tree(suite)


@pytest.fixture
def site(secure_site: Site) -> Site:
    """The server with TLS of its own, which the systems reach from another machine."""
    return secure_site


@pytest.fixture
def booted(site: Site, tmp_path: Path) -> Iterator[Booted]:
    """Start a system that trusts the site's authority; it is gone after the test."""
    with ExitStack() as stack:

        def boot(tree: Path) -> Machine:
            system = stack.enter_context(machine(tree, tmp_path / f"machine{tree.name}", site.far.prefix))
            assert site.far.ca_file is not None
            system.trust(site.far.ca_file)
            # From there nothing but the server can be reached: neither Debian's mirror nor a name server.
            for path in ("/etc/apt/sources.list", "/etc/resolv.conf"):
                system.write(path, "")
            return system

        yield boot


def line(site: Site, repository: str, script: str, token: str = "", environment: str = "") -> str:
    """What the documentation says to type."""
    who = f"-u {token}: " if token else ""
    return f"curl -fsSL {who}{site.far.url}/install/repositories/{repository}/{script} | {environment} sh"


def stem(repository: str, ending: str) -> str:
    """Where apt's sources of a repository are."""
    return f"/etc/apt/sources.list.d/{repository.replace('/', '_')}.{ending}"


def test_debian(site: Site, debian: Path, suite: str, booted: Booted, tmp_path: Path) -> None:
    """Goal: from nothing to an installed package with one line; again, it changes nothing; in the other style, and for
    packages that fit every system, too. Method: a fresh system, apt's own verifier, the real install.
    """
    name, style = site.repository(), STYLE.get(suite, "sources")
    version = suite if suite != "sid" else "forky"
    for distribution, package in ((f"debian/{version}", "hello"), ("any/any", "fits")):
        site.push(site.near, name, distribution, make_deb(tmp_path, package))
    system = booted(debian)
    if suite == "sid":  # it calls itself by the name of the release to come, or by none
        system.is_called(ID="debian", VERSION_CODENAME=version)
    done = system.sh(line(site, name, "script.deb.sh"))
    assert f"wrote {stem(name, style)}" in done.stderr
    system.sh("apt-get install -y hello")
    assert "hello" in system.sh("dpkg-query -W hello").stdout
    before = system.read(stem(name, style))
    system.sh(line(site, name, "script.deb.sh"))
    assert system.read(stem(name, style)) == before
    assert system.mode(stem(name, style)) == 0o644

    other = {"list": "sources", "sources": "list"}[style]
    warned = system.sh(line(site, name, "script.deb.sh", environment=f"style={other}"))
    assert "configured multiple times" not in warned.output
    assert f"{site.far.url}/{name}/debian/" in system.read(stem(name, other))
    assert not (system.root / stem(name, style).lstrip("/")).exists()
    system.sh(line(site, name, "script.deb.sh?any=true"))
    system.sh("apt-get install -y fits")
    assert system.sh("ls -A /tmp").stdout == ""


@pytest.mark.parametrize("client", ["curl", "wget"])
def test_debian_private(site: Site, debian: Path, suite: str, booted: Booted, tmp_path: Path, client: str) -> None:
    """Goal: the same of a private repository: a token of the machine's own, which only root can read, and none in the
    sources; by wget too, where there is no curl; the end of the token that set it up is the end of the machine's. A
    machine's name is only a name, whatever a shell would make of it.
    """
    name = site.repository(private=True)
    version = suite if suite != "sid" else "forky"
    site.push(site.near, name, f"debian/{version}", make_deb(tmp_path, "secret"))
    token = site.read_token(name)
    system = booted(debian)
    if suite == "sid":
        system.is_called(ID="debian", VERSION_CODENAME=version)
    typed = line(site, name, "script.deb.sh", token)
    if client == "wget":
        (system.root / "usr/bin/curl").unlink()
        where = f"{site.far.url}/install/repositories/{name}/script.deb.sh"
        typed = f"wget -qO- --auth-no-challenge --user {token} --password x {where} | sh"
    odd = "$(touch /pwned)'\"`touch /pwned`; touch /pwned #"
    system.sh(typed, env={"unique_id": odd})
    assert odd in [each["name"] for each in site.admin.get("/api/v2/tokens").json()["tokens"]]
    assert not (system.root / "pwned").exists()
    system.sh(typed)
    system.sh("apt-get install -y secret")
    conf = f"/etc/apt/auth.conf.d/{name.replace('/', '_')}.conf"
    assert system.mode(conf) == 0o600
    own = system.read(conf).split()[3]
    assert own != token
    kept = system.sh(f"grep -rl {token} /etc /var /root /tmp || true").stdout
    assert kept == ""
    assert system.sh(f"grep -rl {own} /etc /var /root /tmp").stdout.split() == [conf]
    revoked = next(
        each["id"]
        for each in site.admin.get("/api/v2/tokens").json()["tokens"]
        if each["repositories"] == [name] and each["name"].startswith("read-")
    )
    site.admin.delete(f"/api/v2/tokens/{revoked}").raise_for_status()
    gone = system.sh("apt-get update --error-on=any", check=False)
    assert not gone.ok
    assert "401" in gone.output


def test_debian_refusals(site: Site, debian: Path, booted: Booted) -> None:
    """Goal: an unknown system, a private repository without a token, a user who is not root: one sentence, nothing
    written. Method: each of them.
    """
    name, private = site.repository(), site.repository(private=True)
    system = booted(debian)
    before = system.sh("find /etc -newer /etc/hostname -type f | sort; ls /etc/apt/*").stdout
    refused = system.sh(line(site, private, "script.deb.sh"), check=False)
    assert "401" in refused.stderr
    system.is_called(ID="plan9", VERSION_ID="4")
    unknown = system.sh(line(site, name, "script.deb.sh"), check=False)
    assert unknown.rc == 1
    assert "entrepot distro add" in unknown.stderr
    hostile = system.sh(line(site, name, "script.deb.sh"), check=False, env={"os": "$(id)'\"; id", "dist": "`id`"})
    assert (hostile.rc, "uid=" in hostile.output) == (1, False)
    user = system.sh(f"su -s /bin/sh nobody -c '{line(site, name, 'script.deb.sh')}'", check=False)
    assert "root" in user.stderr
    after = system.sh("find /etc -newer /etc/hostname -type f | sort; ls /etc/apt/*").stdout
    assert after.replace("/etc/os-release\n", "") == before.replace("/etc/os-release\n", "")


# What os-release says on machines of each family, and what such a machine is set up for.
DEB_FAMILIES = {
    "ubuntu": ({"ID": "ubuntu", "VERSION_CODENAME": "noble", "VERSION_ID": "24.04"}, "ubuntu", "noble"),
    "old ubuntu": ({"ID": "ubuntu", "VERSION_ID": "16.04"}, "ubuntu", "xenial"),
    "mint": ({"ID": "linuxmint", "VERSION_CODENAME": "virginia", "VERSION_ID": "21.3"}, "linuxmint", "virginia"),
    "raspbian": ({"ID": "raspbian", "VERSION_CODENAME": "bookworm"}, "raspbian", "bookworm"),
    "elementary": ({"ID": "elementary", "VERSION_CODENAME": "horus", "VERSION_ID": "7"}, "elementaryos", "horus"),
    "pop": ({"ID": "pop", "VERSION_CODENAME": "jammy", "UBUNTU_CODENAME": "jammy"}, "ubuntu", "jammy"),
    "lmde": ({"ID": "linuxmint", "VERSION_CODENAME": "faye", "DEBIAN_CODENAME": "bookworm"}, "debian", "bookworm"),
    "mx": ({"ID": "mx", "ID_LIKE": "debian", "VERSION_CODENAME": "trixie"}, "debian", "trixie"),
}
RPM_FAMILIES = {
    "centos 7": ({"ID": "centos", "VERSION_ID": "7"}, "el/7"),
    "rhel 9": ({"ID": "rhel", "VERSION_ID": "9.4", "PLATFORM_ID": "platform:el9"}, "el/9"),
    "rocky 8": ({"ID": "rocky", "VERSION_ID": "8.10"}, "el/8"),
    "almalinux 10": ({"ID": "almalinux", "VERSION_ID": "10.0"}, "el/10"),
    "oracle 9": ({"ID": "ol", "VERSION_ID": "9.4"}, "ol/9"),
    "fedora": ({"ID": "fedora", "VERSION_ID": "42"}, "fedora/42"),
    "amazon 1": ({"ID": "amzn", "VERSION_ID": "2018.03"}, "amazon/1"),
    "amazon 2023": ({"ID": "amzn", "VERSION_ID": "2023", "PLATFORM_ID": "platform:al2023"}, "amazon/2023"),
    "scientific": ({"ID": "scientific", "VERSION_ID": "7.9", "ID_LIKE": "rhel centos fedora"}, "scientific/7"),
    "poky": ({"ID": "poky", "VERSION_ID": "5.0.3"}, "poky/scarthgap"),
    "derivative": ({"ID": "eurolinux", "ID_LIKE": "rhel fedora", "VERSION_ID": "9.4"}, "el/9"),
    "leap": ({"ID": "opensuse-leap", "VERSION_ID": "15.6", "ID_LIKE": "suse opensuse"}, "opensuse/15.6"),
    "sles": ({"ID": "sles", "VERSION_ID": "15.5", "ID_LIKE": "suse"}, "sles/15.5"),
}


def test_every_family_is_there() -> None:
    """Goal: no family of the table goes without a machine of its kind. Method: the table against those above; Debian's
    own suites and what fits every system are set up for real.
    """
    table = {each.path.partition("/")[0] for each in built_in() if each.format in ("debian", "rpm")}
    simulated = {family for _, family, _ in DEB_FAMILIES.values()}
    simulated |= {path.partition("/")[0] for _, path in RPM_FAMILIES.values()}
    assert simulated | {"any", "rpm_any"} == table


def test_deb_families(site: Site, booted: Booted) -> None:
    """Goal: a machine of each family is set up for its own distribution, derivatives for what they derive from. Method:
    an image with that os-release and an apt of its age, set up from here with ``rootdir``.
    """
    name = site.repository()
    here = booted(Path("/"))
    for number, (said, family, codename) in enumerate(DEB_FAMILIES.values()):
        image = Machine(here.root / "mnt" / str(number))
        image.is_called(**said)
        image.write("/var/lib/dpkg/status", "Package: apt\nStatus: install ok installed\nVersion: 2.4.12\n\n")
        here.sh(line(site, name, "script.deb.sh", environment=f"rootdir=/mnt/{number}"))
        text = image.read(stem(name, "list"))
        assert f"{site.far.url}/{name}/{family}/ {codename} main\n" in text, said
        assert "BEGIN PGP PUBLIC KEY" in image.read(f"/etc/apt/keyrings/{name.replace('/', '_')}-archive-keyring.asc")


def test_rpm_families(site: Site, booted: Booted) -> None:
    """Goal: the same for rpm's families; SUSE's has its own folder."""
    name = site.repository()
    here = booted(Path("/"))
    for number, (said, path) in enumerate(RPM_FAMILIES.values()):
        image = Machine(here.root / "mnt" / str(number))
        image.is_called(**said)
        folder = "/etc/yum.repos.d"
        if "suse" in said.get("ID_LIKE", ""):
            folder = "/etc/zypp/repos.d"
            (image.root / folder.lstrip("/")).mkdir(parents=True)
        here.sh(line(site, name, "script.rpm.sh", environment=f"rootdir=/mnt/{number}"))
        text = image.read(f"{folder}/{name.replace('/', '_')}.repo")
        assert f"baseurl={site.far.url}/{name}/{path}/$basearch\n" in text, said


@pytest.mark.parametrize("private", [False, True])
def test_dnf(site: Site, booted: Booted, tmp_path: Path, private: bool) -> None:
    """Goal: one line, then `dnf install`, on a machine with dnf: public and private, and what fits every system.

    Method: this machine under RHEL's name, with the real dnf, installing into a root of its own.
    """
    name = site.repository(private=private)
    for path, package in (("el/9", "hello"), ("rpm_any/rpm_any", "fits")):
        site.push(site.near, name, path, make_rpm(tmp_path, Recipe(package)))
    system = booted(Path("/"))
    system.is_called(ID="rhel", VERSION_ID="9.4")
    system.sh("rm -rf /etc/zypp /etc/yum.repos.d /etc/yum/repos.d /etc/distro.repos.d")
    token = site.read_token(name) if private else ""
    file = f"/etc/yum.repos.d/{name.replace('/', '_')}.repo"
    install = "dnf -y --releasever=9 --installroot=/mnt/root --setopt=reposdir=/etc/yum.repos.d install"
    for script, package in (("script.rpm.sh", "hello"), ("script.rpm.sh?any=true", "fits")):
        system.sh(line(site, name, script, token))
        assert system.mode(file) == (0o600 if private else 0o644)
        system.sh(f"{install} {package}")
        assert package in system.sh("rpm --root /mnt/root -qa").stdout
    if private:
        assert token not in system.read(file)


@pytest.mark.parametrize("private", [False, True])
def test_zypper(site: Site, booted: Booted, tmp_path: Path, private: bool) -> None:
    """Goal: the same with zypper, which is given the key by rpm. What zypper and rpm keep is for everybody to read, as
    if they had been called by hand. Seen to fail with the script's own files' umask over all of it.
    """
    name = site.repository(private=private)
    site.push(site.near, name, "opensuse/15.6", make_rpm(tmp_path, Recipe("hello")))
    system = booted(Path("/"))
    system.is_called(ID="opensuse-leap", VERSION_ID="15.6", ID_LIKE="suse opensuse")
    system.sh("rm -rf /etc/zypp/repos.d /var/cache/zypp; mkdir -p /etc/zypp/repos.d")
    system.write("/usr/local/bin/rpm", RPM_WRAPPER, 0o755)
    system.write("/root/.rpmmacros", "%_dbpath /var/lib/rpm\n")  # where it is everywhere but on Debian
    token = site.read_token(name) if private else ""
    system.sh(f"umask 022; {line(site, name, 'script.rpm.sh', token)}")
    assert system.sh("find /var/cache/zypp/raw -type f ! -perm -044").stdout == ""
    assert system.mode(f"/etc/zypp/repos.d/{name.replace('/', '_')}.repo") == (0o600 if private else 0o644)
    system.sh("zypper --non-interactive install --no-recommends hello")
    assert "hello" in system.sh("rpm -qa").stdout
