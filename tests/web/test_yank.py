"""Yank and its way back over HTTP: which files, whole source packages, several yanks of one name, the audit trail."""

import gzip
import sqlite3
from pathlib import Path

import httpx
import pytest

from tests.support.deb import deb_bytes
from tests.support.dsc import SourcePackage, make_dsc
from tests.support.java import make_pom
from tests.support.rpmfast import FastRpm, fast_rpm_bytes
from tests.support.server import ServerProcess
from tests.web.conftest import make_repository

PLACE = "debian/bookworm"


def put(admin: httpx.Client, name: str, filename: str, content: bytes, place: str = PLACE) -> httpx.Response:
    """PUT one file into a distribution."""
    return admin.put(f"/{name}/{place}/{filename}", content=content).raise_for_status()


def put_set(admin: httpx.Client, name: str, source: SourcePackage) -> list[int]:
    """PUT a .dsc, then its members; the statuses of the answers."""
    return [put(admin, name, each.name, each.read_bytes()).status_code for each in (source.dsc, *source.members)]


def change(admin: httpx.Client, verb: str, name: str, /, **fields: object) -> list[str]:
    """Yank or unyank; the names of the files that it did."""
    answer = admin.post(f"/api/v2/repos/{name}/{verb}", json=fields).raise_for_status()
    return sorted(each["filename"] for each in answer.json()["files"])


def sources(admin: httpx.Client, name: str) -> list[str]:
    """The source packages that apt is shown."""
    content = admin.get(f"/{name}/debian/dists/bookworm/main/source/Sources.gz").raise_for_status().content
    return [line for line in gzip.decompress(content).decode().splitlines() if line.startswith("Package: ")]


def live(admin: httpx.Client, name: str) -> list[str]:
    """Files of the repository with their versions, releases and epochs."""
    rows = admin.get(f"/api/v1/repos/{name}/packages.json").raise_for_status().json()
    return sorted(f"{row['name']} {row['epoch'] or 0}:{row['version']}-{row['release'] or ''}" for row in rows)


@pytest.mark.parametrize("which", ["hello_1.0-1.dsc", "hello_1.0.orig.tar.xz"])
def test_a_source_package_goes_and_comes_back_as_a_whole(admin: httpx.Client, tmp_path: Path, which: str) -> None:
    """Goal: Sources never lists a .dsc whose tarballs answer 404. Method: yank and unyank by one of the set's files,
    fetching every member by its address in Sources. Seen to fail with unyank taking the named file alone.
    """
    name = make_repository(admin)
    source = make_dsc(tmp_path, "hello", "1.0-1")
    assert put_set(admin, name, source) == [202, 202, 201]
    everything = sorted(each.name for each in (source.dsc, *source.members))
    assert change(admin, "yank", name, filename=which) == everything
    assert sources(admin, name) == []
    assert change(admin, "unyank", name, filename=which, dry_run=True) == everything
    assert change(admin, "unyank", name, filename=which) == everything
    assert sources(admin, name) == ["Package: hello"]
    rows = admin.get(f"/{name}/debian/dists/bookworm/main/source/Sources").text
    folder = next(line.split()[1] for line in rows.splitlines() if line.startswith("Directory: "))
    for each in source.members:
        assert admin.get(f"/{name}/debian/{folder}/{each.name}").content == each.read_bytes()


def test_a_held_source_package_that_comes_back_is_listed_when_it_is_whole(admin: httpx.Client, tmp_path: Path) -> None:
    """Goal: yank and unyank of a held .dsc keep it waiting. Method: 202, yank, unyank (not indexed), its tarballs."""
    name = make_repository(admin)
    source = make_dsc(tmp_path, "hello", "1.0-1")
    assert put(admin, name, source.dsc.name, source.dsc.read_bytes()).status_code == 202
    change(admin, "yank", name, filename=source.dsc.name)
    back = admin.post(f"/api/v2/repos/{name}/unyank", json={"filename": source.dsc.name}).raise_for_status().json()
    assert (back["indexed"], bool(back["files"][0]["held_until"])) == (False, True)
    again = put(admin, name, source.dsc.name, source.dsc.read_bytes())
    assert (again.status_code, again.json()["status"], again.json()["indexed"]) == (202, "held", False)
    for each in source.members:
        last = put(admin, name, each.name, each.read_bytes())
    assert last.status_code == 201
    assert sources(admin, name) == ["Package: hello"]


def test_the_last_of_several_yanked_files_of_one_name_comes_back(admin: httpx.Client) -> None:
    """Goal: two yanks of one name, and what an upload replaced, are no obstacle; a dry run says what the change would.

    Method: yank, upload other bytes, yank, unyank; then yank, upload, and unyank with and without dry_run. Seen to
    fail with every yanked row taken, and with a dry run that only looks files up.
    """
    name = make_repository(admin)
    filename = "twice_1.0-1_amd64.deb"
    digests = []
    for body in ("first", "second"):
        answer = put(admin, name, filename, deb_bytes("twice", fields={"Comment": body}))
        digests.append(answer.json()["files"][0]["sha256"])
        change(admin, "yank", name, filename=filename)
    assert change(admin, "unyank", name, filename="twice_*", dry_run=True) == [filename]
    assert change(admin, "unyank", name, filename="twice_*") == [filename]
    (row,) = admin.get(f"/api/v1/repos/{name}/packages.json").json()
    assert row["sha256sum"] == digests[1]
    for dry_run in (True, False):
        taken = admin.post(f"/api/v2/repos/{name}/unyank", json={"filename": filename, "dry_run": dry_run})
        assert (taken.status_code, taken.json()["code"]) == (409, "name_taken")


def test_a_redeployed_snapshot_can_come_back(admin: httpx.Client) -> None:
    """Goal: the files whose place a newer deployment took do not come back with the last one. Method: three deployments
    of one SNAPSHOT file name, yank, unyank.
    """
    name = make_repository(admin)
    url = f"/{name}/maven2/org/example/app/1.0-SNAPSHOT/app-1.0-SNAPSHOT.pom"
    for number in range(3):
        pom = (
            "<project><modelVersion>4.0.0</modelVersion><groupId>org.example</groupId><artifactId>app</artifactId>"
            f"<version>1.0-SNAPSHOT</version><name>deployment {number}</name></project>"
        )
        admin.put(url, content=pom).raise_for_status()
    assert change(admin, "yank", name, name="org.example:app", version="1.0-SNAPSHOT") == ["app-1.0-SNAPSHOT.pom"]
    assert change(admin, "unyank", name, name="org.example:app", version="1.0-SNAPSHOT") == ["app-1.0-SNAPSHOT.pom"]
    assert "deployment 2" in admin.get(url).text


def test_versions_are_those_that_clients_show(admin: httpx.Client) -> None:
    """Goal: apt's and dnf's own words for a version name it, and nothing else. Method: Debian versions with an epoch
    and with hyphens, rpms with releases and epochs; yank each by its version.
    """
    name = make_repository(admin)
    for version in ("1:2.0-1", "2.0-1-1", "2.0-2"):
        plain = version.rpartition(":")[2]
        put(admin, name, f"epo_{plain}_amd64.deb", deb_bytes("epo", version))
    for rpm in (FastRpm("rr"), FastRpm("rr", release="2"), FastRpm("rr", "3.0", epoch=4), FastRpm("rr", "5.0")):
        put(admin, name, rpm.file_name, fast_rpm_bytes(rpm), "el/9")
    assert len(live(admin, name)) == 7

    def refused(package: str, version: str) -> bool:
        asked = {"name": package, "version": version}
        return admin.post(f"/api/v2/repos/{name}/yank", json=asked).status_code == 404

    assert refused("epo", "2:2.0-1")
    assert refused("rr", "1:1.0-1")
    assert refused("rr", "1.0-3")
    assert change(admin, "yank", name, name="epo", version="1:2.0-1") == ["epo_2.0-1_amd64.deb"]
    assert change(admin, "yank", name, name="epo", version="2.0-1-1") == ["epo_2.0-1-1_amd64.deb"]
    assert change(admin, "yank", name, name="rr", version="1.0-1") == ["rr-1.0-1.x86_64.rpm"]
    assert change(admin, "yank", name, name="rr", version="4:3.0-1") == ["rr-3.0-1.x86_64.rpm"]
    assert change(admin, "yank", name, name="rr", version="0:5.0-1") == ["rr-5.0-1.x86_64.rpm"]
    assert change(admin, "yank", name, name="rr", version="1.0") == ["rr-1.0-2.x86_64.rpm"]
    assert live(admin, name) == ["epo 0:2.0-2-2"]


def longest(format_: str) -> tuple[str, str, str, str, bytes]:
    """Distribution, path, package name, version and bytes of a file whose name has as many characters as one may."""
    if format_ == "debian":
        name, version = "d" * 128, "1." + "0" * 112 + "-1"
        return PLACE, f"{name}_{version}_amd64.deb", name, version, deb_bytes(name, version)
    if format_ == "rpm":
        package = FastRpm("r" * 238, "1.0", release="1")
        return "el/9", package.file_name, package.name, "1.0-1", fast_rpm_bytes(package)
    group, artifact, version = ".".join(["g" * 120] * 4), "a" * 124, "1." + "0" * 120
    path = f"{group.replace('.', '/')}/{artifact}/{version}/{artifact}-{version}-s.pom"
    pom = make_pom(group, artifact, version)
    return "maven2", path, f"{group}:{artifact}", version, pom


@pytest.mark.parametrize("format_", ["debian", "rpm", "maven"])
def test_what_was_taken_can_be_yanked_whatever_its_names_are(admin: httpx.Client, format_: str) -> None:
    """Goal: the longest names that an upload may have are no obstacle to taking it back. Method: one file with such
    names; yank it by file name, by pattern, by name and version, and with packagecloud's API; longer words are refused.
    """
    name = make_repository(admin)
    place, path, package, version, content = longest(format_)
    filename = path.rpartition("/")[2]
    assert 245 <= len(filename) <= 255
    put(admin, name, path, content, place)
    for fields in (
        {"filename": filename},
        {"filename": f"{filename[:-4]}[{filename[-4]}]{filename[-3:]}"},
        {"name": package, "version": version},
    ):
        assert change(admin, "yank", name, **fields) == [filename]
        assert change(admin, "unyank", name, **fields) == [filename]
    group = f"{package.partition(':')[0]}/" if format_ == "maven" else ""
    where = {"maven2": "java/maven2"}.get(place, place)
    admin.delete(f"/api/v1/repos/{name}/{where}/{group}{filename}").raise_for_status()
    assert live(admin, name) == []
    refused = admin.post(f"/api/v2/repos/{name}/yank", json={"filename": "x" * 1025})
    assert (refused.status_code, refused.json()["code"]) == (422, "field_invalid")


def test_a_collection_is_written_down_with_who_asked(server: ServerProcess, admin: httpx.Client) -> None:
    """Goal: the audit trail of a collection names the operator's token. Method: yank, gc, read the catalog's rows."""
    name = make_repository(admin)
    put(admin, name, "gone_1.0-1_amd64.deb", deb_bytes("gone"))
    change(admin, "yank", name, filename="gone_*")
    admin.post("/api/v2/gc", json={}).raise_for_status()
    with sqlite3.connect(f"file:{server.data}/catalog.db?mode=ro", uri=True) as conn:
        query = "SELECT actor FROM audit WHERE action = ? AND subject LIKE ? ORDER BY id DESC LIMIT 1"
        actors = [
            conn.execute(query, (action, "%gone_1.0-1_amd64.deb")).fetchone()[0]
            for action in ("file.yank", "file.purge")
        ]
    assert actors[0] == actors[1] != "server"
