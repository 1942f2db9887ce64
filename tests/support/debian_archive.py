"""Real packages of Debian's own archive, by the ordinary apt-get of this host, kept in the tests' cache folder.

The sources are derived from the host's: its Debian entries, with source packages switched on, in a private apt root.
"""

import fcntl
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.apt import AptRoot
from tests.support.process import CommandError, run
from tests.support.rpm import cache_folder

MAVEN_REPO = Path("/usr/share/maven-repo")
DEBIAN_KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
BIG_PACKAGE = "fonts-noto-cjk"
SOURCE_PACKAGE = "hello"
# Not rebuilt for long, so that control.tar is gz where the rest of the archive has xz. It holds no zst and no
# plain ones; `tests.support.deb.make_deb` builds those with the same dpkg-deb.
OLD_PACKAGES = ("fuseiso", "switchsh", "xjobs")
PACKAGES_WANTED = 120
SMALL_PACKAGE_BYTES = 200_000
UPDATE_LIMIT_S = 300.0


def release_names() -> frozenset[str]:
    """The host's Debian release and its updates: the suites that are the distribution's own."""
    codename = re.search(r"^VERSION_CODENAME=(\S+)", Path("/etc/os-release").read_text(), re.MULTILINE)
    assert codename is not None, "the host does not name its release"
    return frozenset(codename[1] + suffix for suffix in ("", "-updates", "-security"))


def host_sources(folder: Path = Path("/etc/apt")) -> str:
    """deb822 text of the host's Debian entries, for binary and source packages."""
    suites = release_names()
    stanzas = []
    for path in sorted(folder.glob("sources.list.d/*.sources")):
        for stanza in re.split(r"\n\s*\n", path.read_text()):
            fields = dict(re.findall(r"^([A-Za-z-]+):[ \t]*(.*)$", stanza, re.MULTILINE))
            if fields.get("Suites") and suites.issuperset(fields["Suites"].split()):
                stanzas.append((fields["URIs"], fields["Suites"], fields.get("Components", "main")))
    for path in (folder / "sources.list", *sorted(folder.glob("sources.list.d/*.list"))):
        for line in path.read_text().splitlines() if path.exists() else []:
            match = re.match(r"deb\s+(?:\[[^]]*\]\s+)?(\S+)\s+(\S+)\s+(.+)$", line.strip())
            if match and match[2] in suites:
                stanzas.append((match[1], match[2], match[3]))
    assert stanzas, "the host's apt has no Debian sources"
    return "\n".join(
        f"Types: deb deb-src\nURIs: {uris}\nSuites: {names}\nComponents: {components}\nSigned-By: {DEBIAN_KEYRING}\n"
        for uris, names, components in dict.fromkeys(stanzas)
    )


def host_acquire_settings() -> str:
    """How the host's own apt gets out (proxies, certificates, date checks), in apt.conf syntax."""
    dump = run(["apt-config", "dump", "--no-empty", "--format", '%f "%v";%n', "Acquire"]).stdout
    wanted = ("Acquire::http", "Acquire::https", "Acquire::Check-")
    return "".join(line + "\n" for line in dump.splitlines() if line.startswith(wanted))


def archive_root() -> AptRoot:
    """The private apt root that sees the archive; its lists are fetched when the cache has none."""
    root = AptRoot(
        cache_folder() / "debian" / "apt",
        host_sources(),
        config=host_acquire_settings(),
        timeout_s=UPDATE_LIMIT_S,
    )
    if not root.pkgnames():
        root.update()
    return root


def small_packages(root: AptRoot, count: int) -> list[str]:
    """Names of `count` small packages, spread over the alphabet; the same for the same state of the archive."""
    shown = root.run("apt-cache", "dumpavail").stdout
    small = []
    for stanza in shown.split("\n\n"):
        name = re.search(r"^Package: (\S+)", stanza, re.MULTILINE)
        size = re.search(r"^Size: (\d+)", stanza, re.MULTILINE)
        if name and size and int(size[1]) < SMALL_PACKAGE_BYTES:
            small.append(name[1])
    small = sorted(set(small))
    return small[:: max(len(small) // count, 1)][:count]


@dataclass(frozen=True, slots=True)
class ArchiveSample:
    """Files from the archive: binary packages, and the .dsc with all files that it names."""

    packages: tuple[Path, ...]
    source: tuple[Path, ...]

    @property
    def dsc(self) -> Path:
        """The .dsc among the source files."""
        return next(path for path in self.source if path.suffix == ".dsc")


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a folder against other test processes."""
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def archive_sample(count: int = PACKAGES_WANTED) -> ArchiveSample:
    """At least `count` real packages, one of them above 50 MB and some with a gz control, and one source package.

    The first call downloads about 70 MB; later calls read the cache and need no network. Raises `CommandError` with
    apt's output if the archive cannot be reached.
    """
    top = cache_folder() / "debian"
    top.mkdir(exist_ok=True)
    with locked(top):
        done = top / f"complete-{count}"
        if not done.exists():
            root = archive_root()
            try:
                download(root, count)
            except CommandError:  # the lists in the cache name versions that the archive has replaced since
                root.update()
                download(root, count)
            names = [path.name for path in sorted((root.root / "work").iterdir()) if path.is_file()]
            done.write_text("".join(f"{name}\n" for name in names))
        files = [top / "apt/work" / name for name in done.read_text().split()]
    packages = tuple(path for path in files if path.suffix == ".deb")
    return ArchiveSample(packages, tuple(path for path in files if path.suffix != ".deb"))


def download(root: AptRoot, count: int) -> None:
    """Fetch the sample into the root's `work` folder; what is there and right is not fetched again."""
    names = [*OLD_PACKAGES, BIG_PACKAGE, *small_packages(root, count)]
    root.run("apt-get", "download", *dict.fromkeys(names))
    root.source(SOURCE_PACKAGE, download_only=True)


def control_member(package: Path) -> str:
    """Name of a package's control member, for example `control.tar.xz`."""
    names = run(["ar", "t", package]).stdout.split()
    return next(name for name in names if name.startswith("control.tar"))


@dataclass(frozen=True, slots=True)
class MavenArtifact:
    """One artifact of Debian's Maven repository. `jar` is None for POM-only artifacts."""

    group: str
    artifact: str
    version: str
    pom: Path
    jar: Path | None

    @property
    def path(self) -> str:
        """Folder in a Maven repository: GROUP/ARTIFACT/VERSION."""
        return f"{self.group.replace('.', '/')}/{self.artifact}/{self.version}"


def maven_sample(count: int = 50, *, repository: Path = MAVEN_REPO) -> list[MavenArtifact]:
    """`count` artifacts with true versions (not Debian's own `debian` alias), spread over the groups."""
    found = []
    for pom in sorted(repository.rglob("*.pom")):
        version = pom.parent.name
        if version == "debian" or pom.name != f"{pom.parent.parent.name}-{version}.pom" or not pom.exists():
            continue
        group = ".".join(pom.parent.parent.parent.relative_to(repository).parts)
        jar = pom.with_suffix(".jar")
        found.append(MavenArtifact(group, pom.parent.parent.name, version, pom, jar if jar.exists() else None))
    return found[:: max(len(found) // count, 1)][:count]
