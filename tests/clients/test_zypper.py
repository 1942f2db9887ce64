"""The real zypper against the real server, on this machine and from another one over HTTPS, signatures checked."""

from pathlib import Path

import pytest

from tests.clients.site import Edit, Place, Site
from tests.clients.test_dnf import fast_rpm, swap
from tests.support.builders import FastRpm, Recipe, make_rpm
from tests.support.zypper import ZypperRoot

pytestmark = [pytest.mark.clients, pytest.mark.xdist_group("clients-rpm")]

DISTRIBUTION = "opensuse/15.6"


def zypper(folder: Path, place: Place, base: str, *, token: str = "", url: str = "") -> ZypperRoot:
    """A private zypper that stands at `place` and has the repository; `token` goes into credentials.d."""
    root = ZypperRoot(
        folder,
        logins={"entrepot": (token, "none")} if token else None,
        ca_file=place.ca_file,
        prefix=place.prefix,
    )
    address = f"{url or place.url}/{base}/{DISTRIBUTION}/x86_64"
    root.addrepo(address + ("?credentials=entrepot" if token else ""))
    return root


def test_install_upgrade_yank_and_return(site: Site, place: Place, tmp_path: Path) -> None:
    """Goal: what was answered with 201 or 200 is what zypper sees next, through a package's whole life.

    Method: push and install; push a newer one and update; yank it and see the old one; push the same version again with
    other bytes and install those.
    """
    repository, token = site.repository_at(place)
    first = make_rpm(tmp_path, Recipe("hello"))
    site.push(place, repository, DISTRIBUTION, first)
    root = zypper(tmp_path / "root", place, repository, token=token)
    root.install("hello")
    assert root.installed() == ["hello-1.0-1.x86_64"]

    second = make_rpm(tmp_path, Recipe("hello", version="2.0"))
    site.push(place, repository, DISTRIBUTION, second)
    root.refresh()
    root.update("hello")
    assert root.installed() == ["hello-2.0-1.x86_64"]

    site.yank(repository, DISTRIBUTION, second.name)
    fresh = zypper(tmp_path / "fresh", place, repository, token=token)
    fresh.refresh()
    assert "2.0-1" not in fresh.run("--no-refresh", "search", "--details", "hello").stdout
    again = make_rpm(tmp_path, Recipe("hello", version="2.0", files={"/usr/share/hello/version": "other bytes\n"}))
    site.push(place, repository, DISTRIBUTION, again)
    fresh.refresh()
    fresh.install("hello")
    assert (fresh.root / "root/usr/share/hello/version").read_text() == "other bytes\n"
    site.check_left(repository, [f"{DISTRIBUTION}/{path.name}" for path in (first, again)])


def test_tampered_answers_are_refused(site: Site, place: Place, tmp_path: Path) -> None:
    """Goal: nobody between server and zypper can change an index or a package. Method: change repomd.xml; primary; the
    package itself. Without changes the same way in works.
    """
    repository, token = site.repository_at(place)
    package = make_rpm(tmp_path, Recipe("hello", compression="w0.gzdio"))
    site.push(place, repository, DISTRIBUTION, package)
    cases: dict[str, tuple[Edit, tuple[str, ...]]] = {
        "repomd": (swap("/repomd.xml", b"<revision>", b"<revision>1"), ("ignature",)),
        "primary": (swap("-primary.xml.gz", b"<name>hello", b"<name>hellu"), ("igest", "hecksum")),
    }
    root = zypper(tmp_path / "root", place, repository, url=place.tampered_url, token=token)
    for name, (edit, messages) in cases.items():
        with site.tamperer.editing(edit):
            refused = root.refresh(check=False)
        assert not refused.ok, name
        assert any(message in refused.output for message in messages), refused.output
    root.refresh()
    with site.tamperer.editing(swap(".rpm", b"package for tests", b"package for pests")):
        refused = root.install("hello", check=False)
    assert not refused.ok, refused.output
    assert root.installed() == []
    root.install("hello")
    assert root.installed() == ["hello-1.0-1.x86_64"]
    site.check_left(repository, [f"{DISTRIBUTION}/{package.name}"])


def test_private_repository(site: Site, place: Place, tmp_path: Path) -> None:
    """Goal: refused without a token; a read token in credentials.d, or in the path, is enough for index and package.

    Method: refresh without; install with ?credentials=; search by /priv/TOKEN/.
    """
    repository = site.repository(private=True)
    package = make_rpm(tmp_path, Recipe("hello"))
    site.push(place, repository, DISTRIBUTION, package)
    token = site.read_token(repository)
    refused = zypper(tmp_path / "without", place, repository).refresh(check=False)
    assert not refused.ok
    assert "401" in refused.output or "uthentication" in refused.output, refused.output
    root = zypper(tmp_path / "with", place, repository, token=token)
    root.install("hello")
    assert root.installed() == ["hello-1.0-1.x86_64"]
    by_path = zypper(tmp_path / "path", place, f"priv/{token}/{repository}")
    by_path.refresh()
    assert by_path.search() == ["hello"]
    site.check_left(repository, [f"{DISTRIBUTION}/{package.name}"])


def test_common_packages_are_seen(site: Site, place: Place, tmp_path: Path) -> None:
    """Goal: a noarch package alone makes an index that zypper takes. Method: refresh, search, install."""
    repository, token = site.repository_at(place)
    file = fast_rpm(tmp_path, FastRpm("common", arch="noarch", files={"/usr/share/common": b"x"}))
    site.push(place, repository, DISTRIBUTION, file)
    root = zypper(tmp_path / "root", place, repository, token=token)
    root.refresh()
    assert root.search() == ["common"]
    root.install("common")
    assert root.installed() == ["common-1.0-1.noarch"]
    site.check_left(repository, [f"{DISTRIBUTION}/{file.name}"])
