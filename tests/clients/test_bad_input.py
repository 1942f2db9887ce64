"""Bad packages over HTTP, of every format: the code, the connection, the disk, the index and the next upload."""

import http.client
import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass

import pytest

from tests.clients.site import Site
from tests.support.builders import (
    FastRpm,
    Tag,
    TarMember,
    control_text,
    deb_bytes,
    fast_rpm_bytes,
    make_jar,
    make_pom,
)
from tests.support.server import Leftover
from tests.web.conftest import basic

pytestmark = [pytest.mark.clients, pytest.mark.xdist_group("clients-bad-input")]

MIB = 1 << 20
DEB, RPM, JAVA = "debian/bookworm", "el/9", "maven2"
ENTRY_POINTS = (
    "debian/dists/bookworm/InRelease",
    "el/9/x86_64/repodata/repomd.xml",
    "maven2/org/e/lib/maven-metadata.xml",
)
GOOD_RPM = FastRpm("good", files={"/usr/bin/good": b"x" * 500})
ENTITIES = '<!DOCTYPE project [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>\n'
EXTERNAL = '<!DOCTYPE project [<!ENTITY a SYSTEM "file:///etc/passwd">]>\n'


@dataclass(frozen=True)
class Bad:
    """One upload that must be refused: where it goes, what it is (made when needed), how it is refused."""

    path: str
    content: Callable[[], bytes]
    status: int
    code: str


def deb(path: str = "bad_1_amd64.deb", code: str = "package_field_invalid", **knobs: object) -> Bad:
    """A .deb with hostile knobs."""
    name = str(knobs.pop("name", "bad"))
    version = str(knobs.pop("version", "1"))
    return Bad(f"{DEB}/{path}", lambda: deb_bytes(name, version, **knobs), 422, code)  # type: ignore[arg-type]


def rpm(code: str, *, package: FastRpm = GOOD_RPM, **knobs: object) -> Bad:
    """An rpm with hostile knobs."""
    return Bad(f"{RPM}/bad.rpm", lambda: fast_rpm_bytes(package, **knobs), 422, code)  # type: ignore[arg-type]


def pom(path: str, code: str, *coordinates: str, **knobs: str) -> Bad:
    """A POM."""
    return Bad(f"{JAVA}/{path}", lambda: make_pom(*coordinates, **knobs), 422, code)  # type: ignore[arg-type]


POM_PATH = "org/e/bad/1.0/bad-1.0.pom"
SECOND_CONTROL = TarMember(b"./control", b"Package: x\n")
SECOND_STANZA = (control_text("bad", "1") + "\nPackage: evil\nVersion: 9\nArchitecture: amd64\n").encode()

CASES: dict[str, Bad] = {
    "deb control bomb, gz": deb(code="package_hostile", control_bomb_bytes=96 * MIB, compression="gz"),
    "deb control bomb, xz": deb(code="package_hostile", control_bomb_bytes=96 * MIB, compression="xz"),
    "deb control bomb, zst": deb(code="package_hostile", control_bomb_bytes=96 * MIB, compression="zst"),
    "deb with a second stanza": deb(control_raw=SECOND_STANZA),
    "deb without a version": deb(control_raw=b"Package: bad\nArchitecture: amd64\nDescription: x\n"),
    "deb with two names": deb(control_extra="Package: other\n"),
    "deb with a path as name": deb(name="../../etc/bad", code="package_name_invalid"),
    "deb with NUL in its name": deb(name="bad\0evil"),
    "deb with a name of 300 characters": deb(name="b" * 300, code="package_name_invalid"),
    "deb with a slash in its version": deb(version="1/../../2"),
    "deb with two control files": deb(code="package_hostile", control_members=[SECOND_CONTROL]),
    "deb with a member after data": deb(code="package_hostile", members_after=[("evil.tar", b"x")]),
    "deb cut in its data": deb(code="package_damaged", truncate_to=-40),
    "deb with trailing bytes": deb(code="package_damaged", trailing=b"trailing bytes"),
    "rpm in a Debian distribution": Bad(f"{DEB}/x.rpm", lambda: fast_rpm_bytes(GOOD_RPM), 422, "format_mismatch"),
    "rpm called .deb": Bad(f"{DEB}/x_1_amd64.deb", lambda: fast_rpm_bytes(GOOD_RPM), 422, "format_mismatch"),
    "deb in an rpm distribution": Bad(f"{RPM}/x_1_amd64.deb", lambda: deb_bytes("x"), 422, "format_mismatch"),
    "deb called .rpm": Bad(f"{RPM}/x.rpm", lambda: deb_bytes("x"), 422, "not_a_package"),
    "jar in a Debian distribution": Bad(f"{DEB}/lib-1.0.jar", make_jar, 422, "format_mismatch"),
    "rpm with a wrong header digest": rpm("package_damaged", header_digest="0" * 64),
    "rpm cut in its payload": rpm("package_damaged", truncate_to=-5),
    "rpm cut in its header": rpm("package_damaged", truncate_to=400),
    "rpm with trailing bytes": rpm("package_damaged", trailing=b"x"),
    "rpm with a path as name": rpm("package_name_invalid", package=FastRpm("../evil")),
    "rpm with a name of 300 characters": rpm("package_name_invalid", package=FastRpm("n" * 300)),
    "rpm with two names": rpm("package_field_invalid", package=FastRpm("a", extra_tags=[Tag(1000, 6, "b")])),
    "POM with entities": pom(POM_PATH, "package_hostile", "org.e", "bad", "1.0", prologue=ENTITIES),
    "POM with an external entity": pom(POM_PATH, "package_hostile", "org.e", "bad", "1.0", prologue=EXTERNAL),
    "POM of another version": pom(POM_PATH, "coordinates_mismatch", "org.e", "bad", "2.0"),
    "POM of another group": pom(POM_PATH, "coordinates_mismatch", "org.evil", "bad", "1.0"),
    "POM that is no XML": Bad(f"{JAVA}/{POM_PATH}", lambda: b"<project", 422, "not_a_package"),
    "file of another artifact": Bad(f"{JAVA}/org/e/bad/1.0/x-1.0.jar", make_jar, 422, "coordinates_mismatch"),
    "jar that is no zip": Bad(f"{JAVA}/org/e/bad/1.0/bad-1.0.jar", lambda: b"no zip" * 99, 422, "not_a_package"),
    "checksum that is none": Bad(f"{JAVA}/org/e/lib/1.0/lib-1.0.pom.sha1", lambda: b"x", 422, "package_field_invalid"),
    "checksum of other bytes": Bad(
        f"{JAVA}/org/e/lib/1.0/lib-1.0.pom.sha1", lambda: b"0" * 40, 422, "digest_mismatch"
    ),
    "release again with other bytes": Bad(
        f"{JAVA}/org/e/lib/1.0/lib-1.0.pom", lambda: make_pom("org.e", "lib", "1.0", body="<!-- -->"), 409, "name_taken"
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Ground:
    """A repository with one good package of each format, and what it and the disk looked like then."""

    repository: str
    entry_points: dict[str, bytes]
    leftovers: list[Leftover]


def entry_points(site: Site, repository: str) -> dict[str, bytes]:
    """The bytes of each entry point; a name that answers must answer 200."""
    return {name: site.admin.get(f"/{repository}/{name}").raise_for_status().content for name in ENTRY_POINTS}


@pytest.fixture(scope="module")
def ground(plain_site: Site) -> Ground:
    """The repository before anything bad."""
    repository = plain_site.repository()
    first = {
        f"{DEB}/good_1.0-1_amd64.deb": deb_bytes("good"),
        f"{RPM}/{GOOD_RPM.file_name}": fast_rpm_bytes(GOOD_RPM),
        f"{JAVA}/org/e/lib/1.0/lib-1.0.pom": make_pom("org.e", "lib", "1.0"),
    }
    for path, content in first.items():
        answer = plain_site.admin.put(f"/{repository}/{path}", content=content)
        assert answer.status_code == 201, answer.text
    return Ground(repository, entry_points(plain_site, repository), plain_site.server.leftovers())


@pytest.mark.parametrize("name", CASES)
def test_bad_package(site: Site, ground: Ground, name: str) -> None:
    """Goal: a stable code with a remedy, the same connection goes on, no byte is kept, no index changes.

    Method: PUT on a connection of its own; then a GET on the same one; then disk and entry points as they were.
    """
    bad = CASES[name]
    headers = {"Authorization": basic(site.token)}
    with closing(http.client.HTTPConnection(site.server.address, site.server.port, timeout=60)) as connection:
        connection.request("PUT", f"/{ground.repository}/{bad.path}", body=bad.content(), headers=headers)
        answer = connection.getresponse()
        document = json.loads(answer.read())
        assert (answer.status, document.get("code")) == (bad.status, bad.code), document
        assert len(document["detail"]) > 20
        if connection.sock is not None:  # not closed by the answer: then it must be good for the next request
            connection.request("GET", "/livez")
            assert connection.getresponse().status == 200
    assert site.server.leftovers() == ground.leftovers
    assert entry_points(site, ground.repository) == ground.entry_points


def test_after_all_of_it(site: Site, ground: Ground) -> None:
    """Goal: the next upload of each format is fine and nothing of the bad ones is held. Method: push; full account."""
    for path, content in {
        f"{DEB}/bad_1_amd64.deb": deb_bytes("bad", "1"),
        f"{RPM}/bad-1.0-1.x86_64.rpm": fast_rpm_bytes(FastRpm("bad")),
        f"{JAVA}/{POM_PATH}": make_pom("org.e", "bad", "1.0"),
    }.items():
        answer = site.admin.put(f"/{ground.repository}/{path}", content=content)
        assert answer.status_code == 201, answer.text
    files = ["good_1.0-1_amd64.deb", "bad_1_amd64.deb"]
    site.check_left(
        ground.repository,
        [f"{DEB}/{name}" for name in files]
        + [f"{RPM}/{name}-1.0-1.x86_64.rpm" for name in ("good", "bad")]
        + [f"java/maven2/{name}-1.0.pom" for name in ("lib", "bad")],
    )


def test_package_of_a_hundred_thousand_files(site: Site) -> None:
    """Goal: a very long file list is taken or refused, but never an error of the server. Method: one rpm with 100,000
    files, made in memory; then an ordinary one.
    """
    repository = site.repository()
    many = FastRpm("many", files={f"/usr/share/many/{number:06d}": b"" for number in range(100_000)})
    answer = site.admin.put(f"/{repository}/{RPM}/{many.file_name}", content=fast_rpm_bytes(many))
    assert answer.status_code == 201, answer.text
    plain = FastRpm("plain")
    answer = site.admin.put(f"/{repository}/{RPM}/{plain.file_name}", content=fast_rpm_bytes(plain))
    assert answer.status_code == 201, answer.text
    site.check_left(repository, [f"{RPM}/{package.file_name}" for package in (many, plain)])


def test_upload_against_collection_of_the_same_bytes(site: Site) -> None:
    """Goal: bytes that are being collected and uploaded at once are there when the upload was answered.

    Method: a file whose repository is deleted; collect and upload the same bytes at the same moment, again and again;
    after each 201 the file must be whole.
    """
    for number in range(6):
        content = deb_bytes("race", f"{number}", files={"usr/share/race": bytes([number]) * 50_000})
        path = f"{DEB}/race_{number}_amd64.deb"
        doomed, kept = site.repository(), site.repository()
        assert site.admin.put(f"/{doomed}/{path}", content=content).status_code == 201
        assert site.admin.delete(f"/api/v2/repos/{doomed}").status_code == 204
        barrier = threading.Barrier(2)

        def collect(barrier: threading.Barrier = barrier) -> int:
            barrier.wait()
            return site.admin.post("/api/v2/gc", json={}).status_code

        def push(barrier: threading.Barrier = barrier, target: str = f"/{kept}/{path}", body: bytes = content) -> int:
            barrier.wait()
            return site.admin.put(target, content=body).status_code

        with ThreadPoolExecutor(2) as pool:
            collected, pushed = pool.submit(collect), pool.submit(push)
            assert (collected.result(), pushed.result()) == (200, 201)
        answer = site.admin.get(f"/{kept}/packages/{path}/download")
        assert (answer.status_code, answer.content) == (200, content)
        site.check_left(kept, [path])


def test_same_names_at_the_same_instant(site: Site) -> None:
    """Goal: of several contents under one name exactly one wins and the others are told so. Method: eight different
    packages of one name and version behind a barrier.
    """
    repository = site.repository()
    bodies = [deb_bytes("race", "1", files={"usr/share/race": bytes([number]) * 1000}) for number in range(8)]
    barrier = threading.Barrier(len(bodies))

    def push(body: bytes) -> tuple[int, bytes]:
        barrier.wait()
        return site.admin.put(f"/{repository}/{DEB}/race_1_amd64.deb", content=body).status_code, body

    with ThreadPoolExecutor(len(bodies)) as pool:
        results = list(pool.map(push, bodies))
    assert sorted(status for status, _ in results) == [201] + [409] * 7
    (winner,) = [body for status, body in results if status == 201]
    assert site.admin.get(f"/{repository}/packages/{DEB}/race_1_amd64.deb/download").content == winner
    site.check_left(repository, [f"{DEB}/race_1_amd64.deb"])
