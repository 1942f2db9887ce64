"""packagecloud's own client, request for request (`package_cloud push`, `yank`), sent by curl; the packages then
install.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from tests.clients.site import Place, Site
from tests.clients.test_apt import apt, source
from tests.clients.test_dnf import dnf
from tests.support.builders import Recipe, make_deb, make_dsc, make_jar, make_rpm
from tests.support.curl import Answer

pytestmark = [pytest.mark.clients, pytest.mark.xdist_group("clients-apt")]


class Client:
    """What `package_cloud` does: the table of distributions, the repository with its paths, then the upload."""

    def __init__(self, site: Site, place: Place, repository: str) -> None:
        self.place = place
        self.user = f"{site.token}:"
        self.table: dict[str, Any] = self._get("api/v1/distributions.json")
        self.repository: dict[str, Any] = self._get(f"api/v1/repos/{repository}.json")
        self.paths: dict[str, str] = self.repository["paths"]

    def _get(self, path: str) -> Any:
        answer = self.place.curl(path, user=self.user)
        assert answer.status == 200, answer.text
        return answer.json()

    def distribution_id(self, extension: str, text: str) -> int:
        """The id behind `DISTRO/VERSION` in the list of the file's extension, as the client looks it up."""
        family, _, version = text.partition("/")
        (found,) = [each for each in self.table[extension] if each["index_name"] == family]
        (row,) = [each for each in found["versions"] if each["index_name"] == version]
        assert isinstance(row["id"], int)
        return row["id"]

    def post(self, path: str, file: Path, number: int | None, *parts: str, name: str = "", kind: str = "") -> Answer:
        """POST a form with the package, its distribution's id, and further parts."""
        named = (f";filename={name}" if name else "") + (f";type={kind}" if kind else "")
        form = [f"package[package_file]=@{file}{named}"]
        form += [] if number is None else [f"package[distro_version_id]={number}"]
        flags = [word for part in (*form, *parts) for word in ("-F", part)]
        return self.place.curl(path, *flags, user=self.user)


def test_push_duplicate_and_yank(site: Site, place: Place, tmp_path: Path) -> None:
    """Goal: the client's whole dialogue for a .deb and an .rpm, with the answers that it depends on.

    Method: GET distributions, GET repository, POST paths.create_package; the same again is the exact 422; apt and dnf
    install; DELETE paths.self + /DISTRO/VERSION/FILE is 200 {}; again is 404 with a map of lists.
    """
    repository, token = site.repository_at(place)
    client = Client(site, place, repository)
    assert {"deb", "rpm", "py", "node", "jar", "dsc"} <= client.table.keys()
    assert "gem" not in client.table
    assert client.paths["create_package"] == f"/api/v1/repos/{repository}/packages.json"
    assert ":package_type" in client.repository["urls"]["install_script"]
    deb, rpm = make_deb(tmp_path, "hello"), make_rpm(tmp_path, Recipe("hello"))
    for file, extension, where in ((deb, "deb", "debian/bookworm"), (rpm, "rpm", "el/9")):
        number = client.distribution_id(extension, where)
        answer = client.post(client.paths["create_package"], file, number)
        assert answer.status == 201, answer.text
        shown = answer.json()
        assert (shown["filename"], shown["distro_version"], shown["indexed"]) == (file.name, where, True)
        assert shown["size"] == str(file.stat().st_size)
        assert shown["sha256sum"] == hashlib.sha256(file.read_bytes()).hexdigest()
        assert shown["md5sum"] == hashlib.md5(file.read_bytes()).hexdigest()
        again = client.post(client.paths["create_package"], file, number)
        assert (again.status, again.body) == (422, b'{"filename":["has already been taken"]}')
        assert shown["download_url"].startswith(site.far.url)
        downloaded = site.far.curl(shown["download_url"].removeprefix(site.far.url), user=client.user)
        assert downloaded.body == file.read_bytes()

    root = apt(tmp_path / "apt", place, source(place.url, repository, site.key(repository, tmp_path)), token=token)
    root.update()
    root.install("hello")
    machine = dnf(tmp_path / "dnf", place, repository, token=token)
    machine.install("hello")
    for file, where in ((deb, "debian/bookworm"), (rpm, "el/9")):
        path = f"{client.paths['self']}/{where}/{file.name}"
        gone = client.place.curl(path, user=client.user, method="DELETE")
        assert (gone.status, gone.body) == (200, b"{}")
        missing = client.place.curl(path, user=client.user, method="DELETE")
        assert missing.status == 404
        assert all(isinstance(messages, list) for messages in missing.json().values())
    fresh = apt(tmp_path / "fresh", place, source(place.url, repository, site.key(repository, tmp_path)), token=token)
    fresh.update()
    assert fresh.candidate("hello") is None
    assert dnf(tmp_path / "fresh-dnf", place, repository, token=token).repoquery() == []
    site.check_left(repository, [])


def test_push_of_a_source_package(site: Site, place: Place, tmp_path: Path) -> None:
    """Goal: the two requests for a .dsc. Method: POST paths.package_contents, compare sizes as the client does, POST
    with every file as package[source_files][]; apt-get source takes it; yank of the .dsc takes all of it.
    """
    repository, token = site.repository_at(place)
    client = Client(site, place, repository)
    package = make_dsc(tmp_path, "hello")
    number = client.distribution_id("dsc", "debian/bookworm")
    answer = client.post(client.paths["package_contents"], package.dsc, number)
    assert answer.status == 200, answer.text
    named = {each["filename"]: each for each in answer.json()["files"]}
    assert sorted(named) == sorted(path.name for path in package.members)
    for path in package.members:
        assert named[path.name]["size"] == path.stat().st_size  # an integer: the client compares exactly
        assert named[path.name]["md5sum"] == hashlib.md5(path.read_bytes()).hexdigest()
    site.check_left(repository, [])  # the question keeps nothing
    parts = [f"package[source_files][]=@{path}" for path in package.members]
    answer = client.post(client.paths["create_package"], package.dsc, number, *parts)
    assert answer.status == 201, answer.text
    assert answer.json()["filename"] == package.dsc.name
    again = client.post(client.paths["create_package"], package.dsc, number, *parts)
    assert (again.status, again.body) == (422, b'{"filename":["has already been taken"]}')
    root = apt(tmp_path / "apt", place, source(place.url, repository, site.key(repository, tmp_path)), token=token)
    root.update()
    root.source("hello", download_only=True)
    assert {package.dsc.name, *(path.name for path in package.members)} <= set(root.work_files())
    gone = client.place.curl(
        f"{client.paths['self']}/debian/bookworm/{package.dsc.name}", user=client.user, method="DELETE"
    )
    assert (gone.status, gone.body) == (200, b"{}")
    site.check_left(repository, [])


def test_odd_clients(site: Site, tmp_path: Path) -> None:
    """Goal: the other clients' ways. Method: a random name of type octet-stream (Java), a path as name (Python), the
    id after and before the file, a stray field, no `.json`, coordinates for a bare jar; Maven's file in its group.
    """
    repository = site.repository()
    client = Client(site, site.near, repository)
    create = client.paths["create_package"]
    number = client.distribution_id("deb", "debian/bookworm")
    octets = "application/octet-stream"
    first = make_deb(tmp_path, "one")
    answer = client.post(create, first, number, name="k3v9q2hc7p", kind=octets)
    assert (answer.status, answer.json()["filename"]) == (201, first.name)
    second = make_deb(tmp_path, "two")
    answer = client.post(create.removesuffix(".json"), second, number, "filename=stray", name=str(second))
    assert (answer.status, answer.json()["filename"]) == (201, second.name)
    third = make_rpm(tmp_path, Recipe("three"))
    flags = ["-F", f"package[distro_version_id]={client.distribution_id('rpm', 'el/9')}"]
    flags += ["-F", f"package[package_file]=@{third};filename=zzz;type={octets}"]
    answer = site.near.curl(create, *flags, user=client.user)
    assert (answer.status, answer.json()["filename"]) == (201, third.name)
    source_set = make_dsc(tmp_path, "four")
    parts = [f"package[source_files][]=@{path}" for path in source_set.members]
    answer = client.post(create, source_set.dsc, number, *parts, name="q8n2v7x1", kind=octets)
    assert (answer.status, answer.json()["filename"]) == (201, source_set.dsc.name)
    jar = tmp_path / "lib-1.0.jar"
    jar.write_bytes(make_jar())
    (java,) = [row for family in client.table["jar"] for row in family["versions"] if "maven2" in json.dumps(family)]
    answer = client.post(create, jar, java["id"], "package[coordinates]=org.example:lib:1.0")
    assert answer.status == 201, answer.text
    odd = client.post(create, jar, java["id"], "package[coordinates]=org.example:odd:1.0", name="m4x7", kind=octets)
    assert odd.status == 201, odd.text
    for artifact in ("lib", "odd"):
        got = site.near.curl(f"{repository}/maven2/org/example/{artifact}/1.0/{artifact}-1.0.jar")
        assert got.body == jar.read_bytes()
    debs = [first, second, source_set.dsc, *source_set.members]
    files = [f"debian/bookworm/{path.name}" for path in debs]
    site.check_left(repository, [*files, f"el/9/{third.name}", "java/maven2/lib-1.0.jar", "java/maven2/odd-1.0.jar"])


def test_refusals_have_the_clients_shapes(site: Site, tmp_path: Path) -> None:
    """Goal: what the clients parse. Method: no token, unknown repository, unknown id, no package, damaged package."""
    repository = site.repository()
    deb = make_deb(tmp_path, "hello")
    client = Client(site, site.near, repository)
    number = client.distribution_id("deb", "debian/bookworm")
    create = client.paths["create_package"]
    unknown = site.near.curl("api/v1/distributions.json", user=f"{'0' * 48}:")
    assert (unknown.status, unknown.json()["error"]) == (401, "Unauthenticated")
    nowhere = site.near.curl("api/v1/repos/acme/none.json", user=client.user)
    assert (nowhere.status, nowhere.body) == (404, b'{"error":"not_found"}')
    (tmp_path / "bad.deb").write_bytes(deb.read_bytes()[:-10])
    for answer in (
        client.post(create, deb, 99_999),
        client.post(create, deb, None),
        client.post(create, tmp_path / "bad.deb", number),
    ):
        assert answer.status == 422
        messages = answer.json()
        assert all(isinstance(each, list) and each and isinstance(each[0], str) for each in messages.values())
    site.check_left(repository, [])
