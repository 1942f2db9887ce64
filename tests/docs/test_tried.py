"""What the pages tell people to type works: their own lines are run against a real server, with real clients."""

import os
import re
import shlex
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.apt import AptRoot
from tests.support.deb import write_deb
from tests.support.dnf import DnfRoot
from tests.support.dsc import make_changes
from tests.support.java import make_jar, make_pom
from tests.support.maven import MavenClient, plugin
from tests.support.process import Result, run
from tests.support.rpm import Recipe, make_rpm
from tests.support.server import ServerProcess
from tests.support.zypper import ZypperRoot

pytestmark = pytest.mark.clients

ROOT = Path(__file__).resolve().parents[2]
ENV = {"ENTREPOT_SIGNING_DEFAULT_ALGORITHM": "ed25519", "ENTREPOT_SERVER_DRAIN_WAIT_S": "0"}
PUBLIC = "https://packages.example.org"


def blocks(page: str) -> list[str]:
    """The contents of a page's fences, in order."""
    return re.findall(r"^```[^\n]*\n(.*?)^```", (ROOT / page).read_text(), re.MULTILINE | re.DOTALL)


def block(page: str, start: str) -> str:
    """The first fence of a page that begins with ``start``."""
    return next(text for text in blocks(page) if text.startswith(start))


def indented(page: str, start: str) -> str:
    """The first indented block of a page that begins with ``start``, without its indent."""
    found = re.findall(r"(?:^(?: {4}.*|)\n)+", (ROOT / page).read_text(), re.MULTILINE)
    return next(text for each in found if (text := textwrap.dedent(each).strip("\n")).startswith(start)) + "\n"


class Site:
    """A server with the repository that the pages speak of, a package in each distribution of theirs."""

    def __init__(self, server: ServerProcess, folder: Path) -> None:
        self.server = server
        self.folder = folder
        self.env = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "ENTREPOT_URL": server.url,
            "ENTREPOT_TOKEN": server.admin_token,
            "HOME": str(folder),
            "no_proxy": "127.0.0.1",
        }

    def sh(self, command: str) -> Result:
        """Run a line of a page."""
        return run(["sh", "-ec", command], timeout_s=90, env=self.env, cwd=self.folder)

    def here(self, text: str) -> str:
        """A page's text for this server instead of the example's."""
        return text.replace(PUBLIC, self.server.url)

    def key(self, repository: str, *flags: str) -> Path:
        """The repository's key in a file."""
        path = self.folder / f"{repository.replace('/', '_')}.asc"
        self.sh(f"curl -fsSL {' '.join(flags)} {self.server.url}/{repository}/gpgkey -o {path}")
        return path


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """One server for all pages."""
    folder = tmp_path_factory.mktemp("tried")
    with ServerProcess(folder / "data", env=ENV) as server:
        made = Site(server, folder)
        made.sh("entrepot repo create acme/tools")
        deb = write_deb(folder, "hello", "1.0")
        common = write_deb(folder, "everywhere", "1.0", "all")
        rpm = make_rpm(folder, Recipe("hello"))
        made.sh(f"entrepot push acme/tools/debian/bookworm {deb}")
        made.sh(f"entrepot push acme/tools/any/any {common}")
        made.sh(f"entrepot push acme/tools el/9,opensuse/15.6 {rpm}")
        yield made


def test_readme(site: Site, tmp_path: Path) -> None:
    """Goal: a stranger's first minutes work. Method: the README's third block makes the package, and its second
    is typed line by line, in the data folder's parent; only addresses and apt's root differ.
    """
    _, typed, make, *_ = blocks("README.md")
    typed = typed.replace("http://127.0.0.1:8420", site.server.url)
    push, key, source, *rest = typed.replace("|\n", "|").splitlines()
    assert rest == ["sudo apt-get update", "sudo apt-get install hello-entrepot"]
    site.sh(make)
    assert '"indexed":true' in site.sh(push).stdout
    folders = {"/etc/apt/keyrings": tmp_path, "/etc/apt/sources.list.d": tmp_path}
    root = AptRoot(tmp_path / "root", "")
    for line in (key, source):
        for old, new in folders.items():
            line = line.replace(old, str(new))
        site.sh(line.replace("sudo ", ""))
    root.write_sources((tmp_path / "entrepot.list").read_text())
    root.update()
    root.run("apt-get", "install", "hello-entrepot")
    commands = sum(len(each.replace("|\n", "|").splitlines()) for each in blocks("README.md")[:2])
    assert commands <= 10


@pytest.mark.parametrize("start", ["Types: deb\n", "deb ["])
def test_apt_page(site: Site, tmp_path: Path, start: str) -> None:
    """Goal: both styles of apt's source, and any/any, are right. Method: the page's text is apt's configuration."""
    key = str(site.key("acme/tools"))
    text = site.here(block("docs/use/apt.md", start)).replace("/etc/apt/keyrings/acme_tools.asc", key)
    root = AptRoot(tmp_path / "root", text)
    root.update()
    assert root.candidate("hello") == "1.0"
    common = next(each for each in blocks("docs/use/apt.md") if "Suites: any" in each)
    root.write_sources(site.here(common).replace("/etc/apt/keyrings/acme_tools.asc", key))
    root.update()
    assert root.candidate("everywhere") == "1.0"


def test_apt_page_on_preferences(site: Site, tmp_path: Path) -> None:
    """Goal: the Origin that the page pins is the one that the server sends. Method: the page's preferences, with a
    priority that `apt-cache policy` shows.
    """
    key = str(site.key("acme/tools"))
    text = site.here(block("docs/use/apt.md", "deb [")).replace("/etc/apt/keyrings/acme_tools.asc", key)
    root = AptRoot(tmp_path / "root", text)
    pin = block("docs/use/apt.md", "Package: *").replace("packages.example.org", site.server.url.partition("://")[2])
    (root.root / "etc/apt/preferences.d/acme_tools").write_text(pin)
    root.update()
    assert " 1.0 990" in root.policy("hello").stdout


def test_apt_page_on_private_repositories(site: Site, tmp_path: Path) -> None:
    """Goal: the token line of the page lets apt in. Method: refused without the line, read with it."""
    site.sh("entrepot repo create acme/secret --private")
    site.sh(f"entrepot push acme/secret/debian/bookworm {write_deb(site.folder, 'hidden', '1.0')}")
    typed = block("docs/use/apt.md", "entrepot token create").replace("acme/tools", "acme/secret")
    token = site.sh(typed).stdout.strip()
    text = site.here(block("docs/use/apt.md", "deb [")).replace("acme/tools", "acme/secret")
    root = AptRoot(
        tmp_path / "root",
        text.replace("/etc/apt/keyrings/acme_tools.asc", str(site.key("acme/secret", "-u", f"{token}:"))),
    )
    assert "401" in root.update(check=False).stdout
    page = (ROOT / "docs/use/apt.md").read_text()
    line = re.search(r"`(machine http://packages\.example\.org:8080/acme/tools/ [^`]*)`", page)
    assert line is not None
    words = line[1].replace("http://packages.example.org:8080", site.server.url).replace("acme/tools", "acme/secret")
    login = root.root / "etc/apt/auth.conf.d/acme_tools.conf"
    login.write_text(words.replace("THE_TOKEN", token) + "\n")
    root.update()
    assert root.candidate("hidden") == "1.0"


def test_dnf_page(site: Site, tmp_path: Path) -> None:
    """Goal: the .repo file of the page is right. Method: dnf reads it as it stands and installs."""
    root = DnfRoot(tmp_path / "dnf", site.here(block("docs/use/dnf.md", "[acme_tools]")))
    root.makecache()
    root.install("hello")
    assert root.installed() == ["hello-1.0-1.x86_64"]


def test_zypper_page(site: Site, tmp_path: Path) -> None:
    """Goal: zypper's address on the page is right. Method: the address of its first line is added and used."""
    found = re.search(
        r"addrepo --refresh '([^']+)' (\w+)", site.here(block("docs/use/zypper.md", "sudo zypper addrepo"))
    )
    assert found is not None
    root = ZypperRoot(tmp_path / "zypper")
    root.addrepo(found[1], found[2])
    root.refresh()
    root.install("hello")
    assert root.installed() == ["hello-1.0-1.x86_64"]


def test_push_page_with_curl(site: Site) -> None:
    """Goal: the page's curl lines push, a .deb and an .rpm. Method: typed as they stand, with files of those names."""
    site.sh("entrepot repo create acme/prod")
    write_deb(site.folder, "hello", "1.0", "amd64")
    assert make_rpm(site.folder, Recipe("hello")) == site.folder / "hello-1.0-1.x86_64.rpm"
    site.env["TOKEN"] = site.server.admin_token
    lines = site.here(indented("docs/push.md", "curl -sS")).splitlines()
    assert len(lines) == 2
    for line in lines:
        assert '"indexed":true' in site.sh(line).stdout


def test_dput_page(site: Site) -> None:
    """Goal: the page's dput.cf and line push a .changes. Method: both as they stand; only method and host are this
    server's, and the .changes is not signed.
    """
    deb = write_deb(site.folder, "hello", "1.0-1", "amd64")
    make_changes(site.folder, "hello", "1.0-1", [deb])
    scheme, _, host = site.server.url.partition("://")
    config = block("docs/use/dput.md", "[acme-tools-bookworm]")
    config = config.replace("method = https", f"method = {scheme}").replace("packages.example.org", host)
    (site.folder / ".dput.cf").write_text(config)
    typed = block("docs/use/dput.md", "dput ").replace("dput ", "dput --unchecked ")
    run(
        ["sh", "-ec", typed],
        timeout_s=90,
        env=site.env,
        cwd=site.folder,
        stdin=f"{site.server.admin_token}\n".encode() * 8,
    )
    assert "hello_1.0-1_amd64.deb" in site.sh("entrepot yank acme/tools 'hello_1.0-1*' --dry-run").stdout


def java_client(site: Site, folder: Path) -> MavenClient:
    """mvn and gradle with the token as the page has it in settings.xml; ``central`` is Debian's repository."""
    text = indented("docs/use/maven.md", "<settings>").replace("TOKEN", site.server.admin_token)
    client = MavenClient(folder, timeout_s=240)
    found = re.search(r"<servers>(.*)</servers>", text, re.DOTALL)
    assert found is not None
    client.servers = found[1]
    client.write_settings("")
    return client


@pytest.mark.timeout(300)
def test_maven_page(site: Site, tmp_path: Path) -> None:
    """Goal: what the page deploys, with mvn and with curl, its repository lines read. Method: its lines as they stand,
    but for Debian's version of the plugins; the repository is private, so that the token counts.
    """
    site.sh("entrepot repo create user/repo --private")
    client = java_client(site, tmp_path / "client")
    (client.root / "lib-1.0.jar").write_bytes(make_jar())
    typed = site.here(indented("docs/use/maven.md", "mvn deploy:")).replace("\\\n", " ")
    words = shlex.split(typed.replace("deploy:deploy-file", f"{plugin('deploy')}:deploy-file"))
    client.mvn(*words[1:])
    (site.folder / "lib-1.0.jar").write_bytes(make_jar(version="2.0"))
    (site.folder / "lib-1.0.pom").write_bytes(make_pom("org.example", "lib", "2.0"))
    for line in site.here(indented("docs/use/maven.md", "curl ")).splitlines():
        line = line.replace("TOKEN", site.server.admin_token).replace("/1.0/lib-1.0", "/2.0/lib-2.0")
        assert '"indexed":true' in site.sh(line).stdout
    lines = site.here(indented("docs/use/maven.md", "<repositories>"))
    client.write_settings(
        f"<profile><id>page</id><activation><activeByDefault>true</activeByDefault></activation>{lines}</profile>"
    )
    for version in ("1.0", "2.0"):
        goal = f"{plugin('dependency')}:get"
        client.mvn("--update-snapshots", goal, f"-Dartifact=org.example:lib:{version}", "-Dtransitive=false")
        assert f"{version}/lib-{version}.jar" in client.local_files("org.example", "lib")


@pytest.mark.timeout(300)
def test_gradle_page(site: Site, tmp_path: Path) -> None:
    """Goal: the page's blocks are a build that would publish and that reads. Method: both as they stand, the token in
    gradle.properties, a private repository. Debian's gradle cannot publish over HTTP, so that goal runs dry, and the
    library comes by PUT.
    """
    site.sh("entrepot repo create user/gradle --private")
    client = java_client(site, tmp_path / "client")
    token = indented("docs/use/gradle.md", "entrepotToken=").replace("0123…", site.server.admin_token)
    (client.root / "gradle-home/gradle.properties").write_text(token)
    read, publish = (
        site.here(indented("docs/use/gradle.md", start)).replace("user/repo", "user/gradle")
        for start in ("repositories {", "plugins {")
    )

    def gradle(name: str, build: str, *tasks: str) -> Path:
        work = client.root / name
        work.mkdir()
        (work / "settings.gradle").write_text(f"rootProject.name = '{name}'\n")
        (work / "build.gradle").write_text(build)
        home = str(client.root / "gradle-home")
        command = ["gradle", "--no-daemon", "--console=plain", "--gradle-user-home", home, *tasks]
        run(command, timeout_s=240, env=client.env, cwd=work)
        return work

    gradle("library", f"{publish}\n{read}\ngroup = 'org.example'\nversion = '1.0'\n", "publish", "--dry-run")
    for suffix, content in (("jar", make_jar()), ("pom", make_pom("org.example", "library", "1.0"))):
        (site.folder / f"library.{suffix}").write_bytes(content)
        url = f"{site.server.url}/user/gradle/maven2/org/example/library/1.0/library-1.0.{suffix}"
        site.sh(f"curl -fsS -u {site.server.admin_token}: -T library.{suffix} {url}")
    fetch = "configurations { wanted }\ndependencies { wanted 'org.example:library:1.0' }\n"
    fetch += "task fetch(type: Copy) { from configurations.wanted; into 'out' }\n"
    assert (gradle("reader", read + fetch, "fetch") / "out/library-1.0.jar").is_file()


def test_a_damaged_package_is_put_back(site: Site, tmp_path: Path) -> None:
    """Goal: the lines for a damaged package mend it under the running server. Method: a back-up, a file that rots, the
    page's block with these folders, and verify before and after.
    """
    dest, data = tmp_path / "dest", site.server.data
    site.sh(f"entrepot backup {dest} --data {data}")
    (copy, *_) = sorted((dest / "blobs").glob("??/*"))
    path = str(copy.relative_to(dest))
    (data / path).unlink()
    (data / path).write_bytes(b"rotten")
    damaged = run(["sh", "-c", f"entrepot verify {data}"], env=site.env, check=False)
    assert damaged.rc == 1
    assert path in damaged.stdout
    text = block("docs/operate.md", "DEST=").replace("sudo -u entrepot ", "")
    for old, new in {"/mnt/backup/entrepot": dest, "/var/lib/entrepot": data}.items():
        text = text.replace(old, str(new))
    site.sh(re.sub(r"blobs/\S+", path, text))
    assert "all is well" in site.sh(f"entrepot verify {data}").stdout
    assert (data / path).stat().st_mode & 0o777 == 0o400
