"""The real dput against the real server, on this machine and from another one over HTTPS; then apt-get source."""

from pathlib import Path

import pytest

from tests.clients.site import Place, Site
from tests.clients.test_apt import DISTRIBUTION, apt, source
from tests.support.apt import AptLogin
from tests.support.builders import make_changes, make_deb, make_dsc
from tests.support.dput import DputClient

pytestmark = [pytest.mark.clients, pytest.mark.xdist_group("clients-apt")]


def dput(folder: Path, place: Place, repository: str, token: str = "") -> DputClient:
    """A dput that stands at `place`; the token is what it is asked for as password."""
    return DputClient(
        folder,
        f"{place.url}/{repository}/{DISTRIBUTION}/",
        login="token",
        password=token or "none",
        ca_file=place.ca_file,
        prefix=place.prefix,
    )


def test_source_and_binary_upload(site: Site, place: Place, tmp_path: Path) -> None:
    """Goal: a .changes set arrives whole, and apt-get source and install take it; a newer one upgrades; yank hides it.

    Method: dput a source package, then a binary set; apt-get source unpacks (digests of Sources and .dsc checked);
    a second version; yank of the .dsc takes the whole set out of Sources.
    """
    repository, token = site.repository_at(place)
    client = dput(tmp_path / "dput", place, repository, site.token)
    first = make_dsc(tmp_path, "hello", "1.0-1")
    client.upload(first.changes)
    deb = make_deb(tmp_path, "hello", "1.0-1")
    client.upload(make_changes(tmp_path, "hello", "1.0-1", [deb]))
    root = apt(tmp_path / "root", place, source(place.url, repository, site.key(repository, tmp_path)), token=token)
    root.update()
    root.install("hello")
    root.source("hello")
    assert {"hello-1.0", "hello_1.0-1.dsc", *(path.name for path in first.members)} <= set(root.work_files())

    second = make_dsc(tmp_path, "hello", "1.1-1")
    client.upload(second.changes)
    root.update()
    root.source("hello", download_only=True)
    assert "hello_1.1-1.dsc" in root.work_files()

    site.yank(repository, DISTRIBUTION, second.dsc.name)
    fresh = apt(tmp_path / "fresh", place, source(place.url, repository, site.key(repository, tmp_path)), token=token)
    fresh.update()
    fresh.source("hello", download_only=True)
    assert "hello_1.0-1.dsc" in fresh.work_files()
    kept = [deb, first.dsc, *first.members]
    site.check_left(repository, [f"{DISTRIBUTION}/{path.name}" for path in kept])


def test_without_a_token(site: Site, place: Place, tmp_path: Path) -> None:
    """Goal: dput, which sends everything before it authenticates, is told 401 and nothing is kept; with the token in
    the password the same set arrives in a private repository and apt-get source needs a read token.

    Method: a wrong password; the right one; apt with auth.conf.d.
    """
    repository = site.repository(private=True)
    package = make_dsc(tmp_path, "secret", "1.0-1", files={"bulk": bytes(range(256)) * 4096})
    refused = dput(tmp_path / "without", place, repository, "f" * 48).upload(package.changes, check=False)
    assert not refused.ok
    assert "401" in refused.output or "nauthorized" in refused.output, refused.output
    site.check_left(repository, [])

    dput(tmp_path / "with", place, repository, site.token).upload(package.changes)
    machine = f"{'http://' if place.ca_file is None else ''}{place.authority}/{repository}/"
    text = source(place.url, repository, site.key(repository, tmp_path))
    root = apt(tmp_path / "root", place, text, logins=[AptLogin(machine, site.read_token(repository))])
    root.update()
    root.source("secret", download_only=True)
    assert package.dsc.name in root.work_files()
    site.check_left(repository, [f"{DISTRIBUTION}/{path.name}" for path in (package.dsc, *package.members)])


def test_a_set_without_a_member_is_in_no_index(site: Site, place: Place, tmp_path: Path) -> None:
    """Goal: Sources never names a file that is not there. Method: send the .dsc before its tarballs: 202 and no entry;
    after the last member the set is listed.
    """
    repository, token = site.repository_at(place)
    package = make_dsc(tmp_path, "late", "1.0-1")
    orig, debian = package.members
    site.push(place, repository, DISTRIBUTION, package.dsc, status=202)
    site.push(place, repository, DISTRIBUTION, orig, status=202)
    text = source(place.url, repository, site.key(repository, tmp_path), "deb-src")
    root = apt(tmp_path / "root", place, text, token=token)
    site.push(place, repository, DISTRIBUTION, make_deb(tmp_path, "other"))
    root.update()
    assert not root.source("late", download_only=True, check=False).ok
    site.push(place, repository, DISTRIBUTION, debian)
    root.update()
    root.source("late", download_only=True)
    assert package.dsc.name in root.work_files()
    names = [package.dsc.name, orig.name, debian.name, "other_1.0-1_amd64.deb"]
    site.check_left(repository, [f"{DISTRIBUTION}/{name}" for name in names])
