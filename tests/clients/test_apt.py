"""The real apt-get against the real server, on this machine and from another one over HTTPS."""

import gzip
import re
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.clients.site import Edit, Place, Site
from tests.support.apt import AptLogin, AptRoot
from tests.support.builders import make_deb, write_deb

pytestmark = [pytest.mark.clients, pytest.mark.xdist_group("clients-apt")]

DISTRIBUTION = "debian/bookworm"
DEFAULT_ARCHITECTURES = ("amd64", "arm64", "armhf", "i386")


def source(url: str, repository: str, key: Path, types: str = "deb deb-src") -> str:
    """deb822 text for bookworm of a repository."""
    return f"Types: {types}\nURIs: {url}/{repository}/debian/\nSuites: bookworm\nComponents: main\nSigned-By: {key}\n"


def apt(
    folder: Path,
    place: Place,
    text: str,
    *,
    arch: str = "amd64",
    foreign_arches: Sequence[str] = (),
    logins: Sequence[AptLogin] = (),
    token: str = "",
) -> AptRoot:
    """A private apt that stands at `place`; `token` is what it reads everything there with."""
    if token:
        assert place.ca_file is not None
        logins = [AptLogin(url.partition("://")[2], token) for url in (place.url, place.tampered_url)]
    return AptRoot(
        folder,
        text,
        arch=arch,
        foreign_arches=foreign_arches,
        logins=logins,
        ca_file=place.ca_file,
        prefix=place.prefix,
    )


def test_install_upgrade_yank_and_return(site: Site, place: Place, tmp_path: Path) -> None:
    """Goal: what was answered with 201 or 200 is what apt sees next, through a package's whole life.

    Method: push and install; push a newer one and upgrade; yank it and see the old one; push the same version again
    with other bytes and install those; push a newer one with other bytes again.
    """
    repository, token = site.repository_at(place)
    root = apt(tmp_path / "root", place, source(place.url, repository, site.key(repository, tmp_path)), token=token)
    marker = root.root / "usr/share/doc/hello/version"
    first = make_deb(tmp_path, "hello", "1.0-1")
    site.push(place, repository, DISTRIBUTION, first)
    root.update()  # deb-src too: Sources is there, and empty
    assert root.pkgnames() == ["hello"]
    root.install("hello")
    assert root.installed() == {"hello": "1.0-1"}

    second = make_deb(tmp_path, "hello", "1.0-2")
    site.push(place, repository, DISTRIBUTION, second)
    root.update()
    assert root.versions("hello") == ["1.0-2", "1.0-1"]
    root.upgrade()
    assert root.installed() == {"hello": "1.0-2"}

    site.yank(repository, DISTRIBUTION, second.name)
    fresh = apt(tmp_path / "fresh", place, source(place.url, repository, site.key(repository, tmp_path)), token=token)
    fresh.update()
    assert fresh.versions("hello") == ["1.0-1"]
    again = make_deb(tmp_path, "hello", "1.0-2", files={"usr/share/doc/hello/version": b"other bytes\n"})
    site.push(place, repository, DISTRIBUTION, again)
    fresh.update()
    fresh.install("hello")
    assert (fresh.root / "usr/share/doc/hello/version").read_text() == "other bytes\n"

    site.yank(repository, DISTRIBUTION, again.name)
    third = make_deb(tmp_path, "hello", "1.0-3", files={"usr/share/doc/hello/version": b"third\n"})
    site.push(place, repository, DISTRIBUTION, third)
    root.update()
    root.upgrade()
    assert root.installed() == {"hello": "1.0-3"}
    assert marker.read_text() == "third\n"
    site.check_left(repository, [f"{DISTRIBUTION}/{path.name}" for path in (first, third)])


def swap(ending: str, old: bytes, new: bytes) -> Edit:
    """Replace text in every answer whose path holds `ending`, inside gzip where it is gzip."""

    def edit(path: str, body: bytes) -> bytes:
        if ending not in path:
            return body
        if body.startswith(b"\x1f\x8b"):
            return gzip.compress(gzip.decompress(body).replace(old, new), mtime=0)
        return body.replace(old, new)

    return edit


def test_tampered_answers_are_refused(site: Site, place: Place, tmp_path: Path) -> None:
    """Goal: nobody between server and apt can change an index or a package. Method: change InRelease; Packages; the
    package itself; Release where there is no InRelease. Without changes the same way in works.
    """
    repository, token = site.repository_at(place)
    deb = make_deb(tmp_path, "hello", compression="none")
    site.push(place, repository, DISTRIBUTION, deb)
    text = source(place.tampered_url, repository, site.key(repository, tmp_path), "deb")
    cases: dict[str, tuple[Edit, str]] = {
        "inrelease": (swap("/InRelease", b"Codename: bookworm", b"Codename: bookworn"), "signature"),
        "packages": (swap("/by-hash/", b"Package: hello", b"Package: hellu"), "(Hash Sum|Size)"),
        "release": (
            lambda path, body: (
                b"" if path.endswith("/InRelease") else swap("/Release", b"Origin: ", b"Origin: x")(path, body)
            ),
            "(signature|NODATA|not signed|invalid)",
        ),
    }
    for name, (edit, message) in cases.items():
        root = apt(tmp_path / name, place, text, token=token)
        with site.tamperer.editing(edit):
            refused = root.update(check=False)
        assert not refused.ok, name
        assert re.search(message, refused.output, re.IGNORECASE), refused.output
        assert root.pkgnames() == []
    root = apt(tmp_path / "package", place, text, token=token)
    root.update()
    with site.tamperer.editing(swap("/pool/", b"hello 1.0-1\n", b"hollo 1.0-1\n")):
        refused = root.install("hello", check=False)
    assert not refused.ok
    assert "Hash Sum mismatch" in refused.output
    assert root.installed() == {}
    root.install("hello")
    site.check_left(repository, [f"{DISTRIBUTION}/{deb.name}"])


def test_private_repository(site: Site, place: Place, tmp_path: Path) -> None:
    """Goal: 401 without a token; a read token in auth.conf.d, or in the path, is enough for index, package and source.

    Method: update without; install with auth.conf.d; download by /priv/TOKEN/; a token of another repository.
    """
    repository = site.repository(private=True)
    other = site.repository(private=True)
    deb = make_deb(tmp_path, "secret")
    site.push(place, repository, DISTRIBUTION, deb)
    key, token = site.key(repository, tmp_path), site.read_token(repository)
    text = source(place.url, repository, key)
    refused = apt(tmp_path / "without", place, text).update(check=False)
    assert not refused.ok
    assert "401" in refused.output

    scheme = "http://" if place.ca_file is None else ""
    machine = f"{scheme}{place.authority}/{repository}/"
    root = apt(tmp_path / "with", place, text, logins=[AptLogin(machine, token)])
    root.update()
    root.install("secret")
    assert root.installed() == {"secret": "1.0-1"}

    by_path = apt(tmp_path / "path", place, source(place.url, f"priv/{token}/{repository}", key))
    by_path.update()
    by_path.download("secret")
    assert by_path.work_files() == [deb.name]

    wrong = apt(tmp_path / "wrong", place, text, logins=[AptLogin(machine, site.read_token(other))])
    assert "403" in wrong.update(check=False).output
    site.check_left(repository, [f"{DISTRIBUTION}/{deb.name}"])


def test_all_architectures_at_the_same_moment(site: Site, place: Place, tmp_path: Path) -> None:
    """Goal: no upload loses another one's index. Method: one package for each architecture and one for all, sent in the
    same instant by threads; each architecture's apt sees its own and the common one, and can fetch both.
    """
    repository, token = site.repository_at(place)
    arches = (*DEFAULT_ARCHITECTURES, "riscv64", "all")
    debs = [write_deb(tmp_path, f"tool-{arch}", "1", arch) for arch in arches]
    debs += [write_deb(tmp_path, "shared", "1", arch) for arch in arches[:-1]]
    barrier = threading.Barrier(len(debs))

    def push(deb: Path) -> None:
        barrier.wait()
        site.push(place, repository, DISTRIBUTION, deb)

    with ThreadPoolExecutor(len(debs)) as pool:
        list(pool.map(push, debs))
    key = site.key(repository, tmp_path)
    for arch in arches[:-1]:
        root = apt(tmp_path / arch, place, source(place.url, repository, key), arch=arch, token=token)
        root.update()
        assert root.pkgnames() == sorted([f"tool-{arch}", "tool-all", "shared"])
        root.run("apt-get", "download", "tool-all", f"tool-{arch}", "shared")
        assert root.work_files() == sorted([f"shared_1_{arch}.deb", "tool-all_1_all.deb", f"tool-{arch}_1_{arch}.deb"])
    site.check_left(repository, [f"{DISTRIBUTION}/{deb.name}" for deb in debs])


def test_common_packages_alone_are_seen_everywhere(site: Site, place: Place, tmp_path: Path) -> None:
    """Goal: `Architecture: all` is in each default architecture, and an empty architecture or Sources is no error.

    Method: only an `all` package is pushed; an apt with every default architecture as its own or foreign one.
    """
    repository, token = site.repository_at(place)
    deb = make_deb(tmp_path, "common", "2", "all")
    site.push(place, repository, DISTRIBUTION, deb)
    key = site.key(repository, tmp_path)
    text = source(place.url, repository, key)
    for arch in DEFAULT_ARCHITECTURES:
        root = apt(tmp_path / arch, place, text, arch=arch, token=token)
        root.update()
        assert root.pkgnames() == ["common"]
    many = apt(tmp_path / "many", place, text, foreign_arches=DEFAULT_ARCHITECTURES[1:], token=token)
    done = many.update()
    assert "doesn't support" not in done.output
    many.install("common")
    assert not many.source("common", check=False).ok
    sources = place.curl(f"{repository}/debian/dists/bookworm/main/source/Sources.gz", user=f"{site.token}:")
    assert (sources.status, gzip.decompress(sources.body)) == (200, b"")
    site.check_left(repository, [f"{DISTRIBUTION}/{deb.name}"])
