"""Publications between the requests of one run of a client, each time and not by chance: no mix, nothing stale."""

import random
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.consistency.bed import (
    RPM,
    SMALL_LIMITS,
    Bed,
    Package,
    Pusher,
    apt_listed,
    long_or,
    push_deb,
    push_rpm,
    rpm_listed,
)
from tests.consistency.proxy import Act, Asked, Proxy
from tests.support.apt import AptRoot
from tests.support.builders import deb_bytes
from tests.support.dnf import DnfRepo, DnfRoot
from tests.support.zypper import ZypperRoot

pytestmark = [pytest.mark.clients, pytest.mark.timeout(300)]

ROUNDS = long_or(2, 20)


@pytest.fixture(scope="module")
def bed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bed]:
    """One server; each test makes a repository of its own."""
    with Bed(tmp_path_factory.mktemp("pairs"), limits=SMALL_LIMITS) as made:
        yield made


@pytest.fixture
def proxy(bed: Bed) -> Iterator[Proxy]:
    """A proxy in front of it."""
    with Proxy((bed.server.address, bed.server.port)) as made:
        yield made


class Storm:
    """A hook that publishes one more package before each request of a client; ``names`` are those that are listed."""

    def __init__(self, bed: Bed, repository: str, push: Callable[[Pusher, str, Package], None], arch: str) -> None:
        self._bed = bed
        self._pusher = bed.pusher()
        self._lock = threading.Lock()
        self.repository = repository
        self._push = push
        self._arch = arch
        self.names: set[str] = set()

    def close(self) -> None:
        """Close the connection."""
        self._pusher.close()

    def publish(self) -> None:
        """One publication."""
        with self._lock:  # dnf asks for several files at once
            name = f"p{len(self.names):04d}"
            self._push(self._pusher, self.repository, Package(name, "1.0-1", self._arch))
            self.names.add(name)

    def source(self, proxy: Proxy) -> str:
        """The apt source of the repository as read through the proxy."""
        return self._bed.apt_source(self.repository, self._bed.keyring(self.repository), proxy.url)

    def __call__(self, method: str, path: str) -> Act | None:
        """Before a request."""
        self.publish()
        return None


@pytest.fixture
def storms(bed: Bed) -> "Iterator[Storms]":
    """Makes storms, each on a repository of its own that lists one package."""
    made: list[Storm] = []

    def make(push: Callable[[Pusher, str, Package], None], arch: str) -> Storm:
        storm = Storm(bed, bed.repository(), push, arch)
        made.append(storm)
        storm.publish()
        return storm

    yield make
    for storm in made:
        storm.close()


Storms = Callable[[Callable[[Pusher, str, Package], None], str], Storm]


def order(asked: list[Asked]) -> list[str]:
    """The names asked for, without the index files."""
    return [each.name for each in asked if len(each.name) < 64]


def test_dnf_never_meets_a_mix(bed: Bed, proxy: Proxy, storms: Storms, tmp_path: Path) -> None:
    """Goal: repomd.xml and its signature are of one generation, and never older than the run. Method: publish before
    every request of ``dnf makecache`` with repo_gpgcheck=1.
    """
    storm = storms(push_rpm, "x86_64")
    base = f"{proxy.url}/{storm.repository}"
    proxy.before = storm
    root = DnfRoot(tmp_path / "dnf", [DnfRepo(f"{base}/{RPM}/x86_64", gpgkey=f"{base}/gpgkey")])
    for _ in range(ROUNDS):
        before = set(storm.names)
        root.makecache()
        assert {"repomd.xml", "repomd.xml.asc"} <= set(order(proxy.take()))
        [repodata] = (tmp_path / "dnf").rglob("test-*/repodata")
        assert before <= rpm_listed(repodata)


def test_zypper_never_meets_a_mix(bed: Bed, proxy: Proxy, storms: Storms, tmp_path: Path) -> None:
    """Goal: the same for zypper, which reads repomd.xml, the signature, the key and repomd.xml again. Method: as for
    dnf, with ``refresh`` and ``refresh --force`` in turn.
    """
    storm = storms(push_rpm, "x86_64")
    root = ZypperRoot(tmp_path / "zypper")
    root.addrepo(f"{proxy.url}/{storm.repository}/{RPM}/x86_64")
    proxy.before = storm
    for number in range(ROUNDS):
        before = set(storm.names)
        root.run("refresh", *(["--force"] if number % 2 else []))
        assert order(proxy.take())[-3:] == ["repomd.xml.asc", "repomd.xml.key", "repomd.xml"]
        assert before <= rpm_listed(tmp_path / "zypper/root/var/cache/zypp/raw/test/repodata")


def test_apt_without_inrelease_never_meets_a_mix(bed: Bed, proxy: Proxy, storms: Storms, tmp_path: Path) -> None:
    """Goal: Release and Release.gpg are of one generation. Method: a proxy that knows no InRelease, and a publication
    before every request.
    """
    storm = storms(push_deb, "amd64")

    def before_request(method: str, path: str) -> Act | None:
        storm.publish()
        return Act(status=404) if path.endswith("/InRelease") else None

    proxy.before = before_request
    root = AptRoot(tmp_path / "apt", storm.source(proxy))
    for _ in range(ROUNDS * 2):
        before = set(storm.names)
        root.update()
        assert order(proxy.take()) == ["InRelease", "Release", "Release.gpg"]
        assert before <= {package.name for package in apt_listed(root.root)}


def test_apt_finds_the_index_that_its_release_names(bed: Bed, proxy: Proxy, storms: Storms, tmp_path: Path) -> None:
    """Goal: publications between InRelease and the index do no harm. Method: three before the index is asked for."""
    storm = storms(push_deb, "amd64")

    def before_request(method: str, path: str) -> None:
        if "/by-hash/" in path:
            for _ in range(3):
                storm.publish()

    proxy.before = before_request
    root = AptRoot(tmp_path / "apt", storm.source(proxy))
    for _ in range(ROUNDS * 2):
        before = set(storm.names)
        root.update()
        assert {package.name for package in apt_listed(root.root)} == before, "what the Release named, no more"
        assert len(storm.names) == len(before) + 3


def test_apt_resumes_an_index_that_was_cut(bed: Bed, proxy: Proxy, storms: Storms, tmp_path: Path) -> None:
    """Goal: a resumed download by hash gives the right bytes, whatever was published meanwhile.

    Method: cut the index short, publish three times before the next attempt; apt verifies what it has pieced together.
    """
    storm = storms(push_deb, "amd64")
    for _ in range(40):
        storm.publish()
    cuts = 0

    def before_request(method: str, path: str) -> Act | None:
        nonlocal cuts
        if "/by-hash/" not in path:
            return None
        cuts += 1
        if cuts == 1:
            return Act(cut_at=700)
        for _ in range(3):
            storm.publish()
        return None

    proxy.before = before_request
    config = 'Acquire::Retries "3"; Acquire::Retries::Delay "false";\n'
    root = AptRoot(tmp_path / "apt", storm.source(proxy), config=config)
    before = set(storm.names)
    root.update()
    indexes = [each for each in proxy.take() if len(each.name) == 64]
    assert [(each.status, each.range_) for each in indexes] == [(200, ""), (206, "bytes=700-")]
    assert {package.name for package in apt_listed(root.root)} == before


def test_apt_resumes_a_package_that_was_cut(bed: Bed, proxy: Proxy, tmp_path: Path) -> None:
    """Goal: a package's download goes on where it broke. Method: cut at 100,000 bytes; apt verifies the whole."""
    repository = bed.repository()
    content = deb_bytes("large", "1.0-1", files={"usr/share/large": random.Random(3).randbytes(400_000)})
    with bed.pusher() as pusher:
        pusher.send("PUT", f"/{repository}/debian/bookworm/large_1.0-1_amd64.deb", content, expect=(201,))
    cuts: list[str] = []

    def before_request(method: str, path: str) -> Act | None:
        if not path.endswith(".deb"):
            return None
        cuts.append(path)
        return Act(cut_at=100_000) if len(cuts) == 1 else None

    proxy.before = before_request
    config = 'Acquire::Retries "3"; Acquire::Retries::Delay "false";\n'
    root = AptRoot(tmp_path / "apt", bed.apt_source(repository, bed.keyring(repository), proxy.url), config=config)
    root.update()
    proxy.take()
    root.download("large")
    assert [(each.status, each.range_) for each in proxy.take()] == [(200, ""), (206, "bytes=100000-")]
    assert (root.root / "work/large_1.0-1_amd64.deb").read_bytes() == content
