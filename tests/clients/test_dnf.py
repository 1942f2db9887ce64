"""The real dnf against the real server, on this machine and from another one over HTTPS, signatures checked."""

import gzip
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.clients.site import Edit, Place, Site
from tests.support.builders import FastRpm, Recipe, fast_rpm_bytes, make_rpm
from tests.support.dnf import DnfRepo, DnfRoot

pytestmark = [pytest.mark.clients, pytest.mark.xdist_group("clients-rpm")]

DISTRIBUTION = "el/9"


def section(place: Place, base: str, folder: str, token: str, *, url: str = "", name: str = "test") -> DnfRepo:
    """What a client at `place` has of one architecture's folder in dnf's configuration."""
    top = f"{url or place.url}/{base}"
    return DnfRepo(
        f"{top}/{DISTRIBUTION}/{folder}",
        name=name,
        gpgkey=f"{top}/gpgkey",
        username=token,
        password="none" if token else "",
        sslcacert=place.ca_file,
    )


def dnf(
    folder: Path, place: Place, base: str, *, token: str = "", url: str = "", more: str = "", arch: str = "x86_64"
) -> DnfRoot:
    """A private dnf that stands at `place`, with repo_gpgcheck and the key from where the set-up lines say it is.

    `base` is USER/REPO as the client asks for it; `more` is one more repository section.
    """
    repo = section(place, base, "$basearch", token, url=url)
    return DnfRoot(folder, repo.text() + more, prefix=place.prefix, arch=arch)


def fast_rpm(folder: Path, package: FastRpm) -> Path:
    """A package made in memory, as a file."""
    path = folder / package.file_name
    path.write_bytes(fast_rpm_bytes(package))
    return path


def test_install_upgrade_yank_and_return(site: Site, place: Place, tmp_path: Path) -> None:
    """Goal: what was answered with 201 or 200 is what dnf sees next, through a package's whole life.

    Method: push and install; push a newer one and upgrade; yank it and see the old one; push the same version again
    with other bytes and install those; push a newer one with other bytes.
    """
    repository, token = site.repository_at(place)
    root = dnf(tmp_path / "root", place, repository, token=token)
    first = make_rpm(tmp_path, Recipe("hello"))
    site.push(place, repository, DISTRIBUTION, first)
    root.install("hello")
    assert root.installed() == ["hello-1.0-1.x86_64"]

    second = make_rpm(tmp_path, Recipe("hello", version="2.0"))
    site.push(place, repository, DISTRIBUTION, second)
    root.upgrade()
    assert root.installed() == ["hello-2.0-1.x86_64"]

    site.yank(repository, DISTRIBUTION, second.name)
    fresh = dnf(tmp_path / "fresh", place, repository, token=token)
    assert fresh.repoquery() == ["hello-0:1.0-1.x86_64"]
    text = {"/usr/share/hello/version": "other bytes\n"}
    again = make_rpm(tmp_path, Recipe("hello", version="2.0", files=text))
    site.push(place, repository, DISTRIBUTION, again)
    fresh.run("--refresh", "install", "hello")
    assert (fresh.root / "root/usr/share/hello/version").read_text() == "other bytes\n"

    site.yank(repository, DISTRIBUTION, again.name)
    third = make_rpm(tmp_path, Recipe("hello", version="3.0", files={"/usr/share/hello/version": "third\n"}))
    site.push(place, repository, DISTRIBUTION, third)
    root.upgrade()
    assert root.installed() == ["hello-3.0-1.x86_64"]
    assert (root.root / "root/usr/share/hello/version").read_text() == "third\n"
    site.check_left(repository, [f"{DISTRIBUTION}/{path.name}" for path in (first, third)])


def swap(ending: str, old: bytes, new: bytes) -> Edit:
    """Replace text in every answer whose path ends so, inside gzip where it is gzip."""

    def edit(path: str, body: bytes) -> bytes:
        if not path.endswith(ending):
            return body
        if body.startswith(b"\x1f\x8b"):
            return gzip.compress(gzip.decompress(body).replace(old, new), mtime=0)
        return body.replace(old, new)

    return edit


def test_tampered_answers_are_refused(site: Site, place: Place, tmp_path: Path) -> None:
    """Goal: nobody between server and dnf can change an index or a package. Method: change repomd.xml; primary; the
    package itself. Without changes the same way in works.
    """
    repository, token = site.repository_at(place)
    package = make_rpm(tmp_path, Recipe("hello", compression="w0.gzdio"))
    site.push(place, repository, DISTRIBUTION, package)
    cases: dict[str, tuple[Edit, tuple[str, ...]]] = {
        "repomd": (swap("/repomd.xml", b"<revision>", b"<revision>1"), ("GPG", "signature")),
        "primary": (swap("-primary.xml.gz", b"<name>hello", b"<name>hellu"), ("checksum", "Checksum")),
    }
    for name, (edit, messages) in cases.items():
        root = dnf(tmp_path / name, place, repository, url=place.tampered_url, token=token)
        with site.tamperer.editing(edit):
            refused = root.makecache(check=False)
        assert not refused.ok, name
        assert any(message in refused.output for message in messages), refused.output
    root = dnf(tmp_path / "package", place, repository, url=place.tampered_url, token=token)
    root.makecache()
    with site.tamperer.editing(swap(".rpm", b"package for tests", b"package for pests")):
        refused = root.install("hello", check=False)
    assert not refused.ok
    assert "checksum" in refused.output.lower(), refused.output
    assert root.installed() == []
    root.install("hello")
    assert root.installed() == ["hello-1.0-1.x86_64"]
    site.check_left(repository, [f"{DISTRIBUTION}/{package.name}"])


def test_private_repository(site: Site, place: Place, tmp_path: Path) -> None:
    """Goal: 401 without a token; a read token as user name, or in the path, is enough for key, index and package.

    Method: makecache without; install with the token as username=; query by /priv/TOKEN/.
    """
    repository = site.repository(private=True)
    package = make_rpm(tmp_path, Recipe("hello"))
    site.push(place, repository, DISTRIBUTION, package)
    token = site.read_token(repository)
    refused = dnf(tmp_path / "without", place, repository).makecache(check=False)
    assert not refused.ok
    assert "401" in refused.output
    root = dnf(tmp_path / "with", place, repository, token=token)
    root.install("hello")
    assert root.installed() == ["hello-1.0-1.x86_64"]
    by_path = dnf(tmp_path / "path", place, f"priv/{token}/{repository}")
    assert by_path.repoquery() == ["hello-0:1.0-1.x86_64"]
    site.check_left(repository, [f"{DISTRIBUTION}/{package.name}"])


def test_all_architectures_at_the_same_moment(site: Site, place: Place, tmp_path: Path) -> None:
    """Goal: no upload loses another one's index, noarch is in each architecture, SRPMS holds sources alone.

    Method: packages of four architectures, noarch and a source, sent in the same instant; dnf of each architecture.
    """
    repository, token = site.repository_at(place)
    arches = ("x86_64", "aarch64", "ppc64le", "s390x")
    packages = [FastRpm(f"tool-{arch}", arch=arch) for arch in arches]
    packages += [FastRpm("shared", arch=arch) for arch in arches]
    packages += [FastRpm("common", arch="noarch"), FastRpm("tool", source=True)]
    files = [fast_rpm(tmp_path, package) for package in packages]
    barrier = threading.Barrier(len(files))

    def push(file: Path) -> None:
        barrier.wait()
        site.push(place, repository, DISTRIBUTION, file)

    with ThreadPoolExecutor(len(files)) as pool:
        list(pool.map(push, files))
    for arch in arches:
        root = dnf(tmp_path / arch, place, repository, arch=arch, token=token)
        assert root.repoquery() == ["common-0:1.0-1.noarch", f"shared-0:1.0-1.{arch}", f"tool-{arch}-0:1.0-1.{arch}"]
    root = DnfRoot(tmp_path / "sources", [section(place, repository, "SRPMS", token)], prefix=place.prefix)
    assert root.repoquery("--arch=src") == ["tool-0:1.0-1.src"]
    assert root.repoquery() == ["tool-0:1.0-1.src"]
    site.check_left(repository, [f"{DISTRIBUTION}/{file.name}" for file in files])


def test_empty_sources_and_architectures(site: Site, place: Place, tmp_path: Path) -> None:
    """Goal: an enabled repository without packages is no error for dnf. Method: one noarch package is pushed; both
    default architectures see it, and SRPMS is there, signed and empty.
    """
    repository, token = site.repository_at(place)
    file = fast_rpm(tmp_path, FastRpm("common", arch="noarch"))
    site.push(place, repository, DISTRIBUTION, file)
    sources = section(place, repository, "SRPMS", token, name="test-source").text()
    for arch in ("x86_64", "aarch64"):
        root = dnf(tmp_path / arch, place, repository, arch=arch, more=sources, token=token)
        root.makecache()
        assert root.repoquery() == ["common-0:1.0-1.noarch"]
        assert root.repoquery("--repo=test-source") == []
    site.check_left(repository, [f"{DISTRIBUTION}/{file.name}"])
