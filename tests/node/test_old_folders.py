"""Data folders that earlier versions made: this version takes them over, and the way back stays open.

The folders are in tests/fixtures/folders, one for each version that was tagged and for schemas between; each holds its
``expected.json``. scripts/make-folder-fixture.py makes them.
"""

import gzip
import hashlib
import json
import re
import sqlite3
import stat
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from entrepot.catalog.revision import HEAD
from entrepot.upkeep.backup.check import check_folder
from tests.support.builders import deb_bytes
from tests.support.starts import Start, Starts
from tests.support.volumes import MIB, tmpfs

pytestmark = pytest.mark.timeout(300)

FOLDERS = sorted((Path(__file__).parents[1] / "fixtures" / "folders").glob("*.tar.xz"))
OLDEST = FOLDERS[0]
WORST = {"ENTREPOT_UPLOAD_PUBLICATION_WAIT_S": "60"}


@pytest.fixture(scope="module")
def starts() -> Iterator[Starts]:
    """One process that forks all servers of this module."""
    with Starts() as found:
        yield found


def unpacked(archive: Path, folder: Path) -> tuple[Path, dict[str, Any]]:
    """The data folder of an archive, and what is in it."""
    data = folder / "data"
    with tarfile.open(archive) as packed:
        packed.extractall(data, filter="data")
    expected = json.loads((data / "expected.json").read_text())
    (data / "expected.json").unlink()
    return data, expected


def schema(catalog: Path) -> str:
    """The revision of a catalog that nobody has open."""
    with closing(sqlite3.connect(catalog)) as db:
        return str(db.execute("SELECT version_num FROM alembic_version").fetchone()[0])


def content(catalog: Path) -> list[str]:
    """Every table and row of a catalog that nobody has open."""
    with closing(sqlite3.connect(catalog)) as db:
        return list(db.iterdump())


def served(start: Start, path: str, token: str) -> bytes:
    """What is at a path below acme/tools."""
    answer = httpx.get(f"{start.url}/acme/tools/{path}", auth=(token, ""), trust_env=False, timeout=60)
    assert answer.status_code == 200, (path, answer.text)
    return answer.content


def packages_of(index: str) -> set[str]:
    """The files that an apt index lists."""
    return {line.rpartition("/")[2] for line in index.splitlines() if line.startswith("Filename: ")}


def files_of_rpm_md(start: Start, token: str) -> set[str]:
    """The files that the index of el/9 lists."""
    repomd = served(start, "el/9/x86_64/repodata/repomd.xml", token).decode()
    (primary,) = re.findall(r'href="([^"]*primary[^"]*)"', repomd)
    listed = gzip.decompress(served(start, f"el/9/x86_64/{primary}", token)).decode()
    return {path.rpartition("/")[2] for path in re.findall(r'<location href="([^"]*)"', listed)}


def check_contents(start: Start, expected: Mapping[str, Any]) -> None:
    """Everything that was pushed is there, tokens work as they did, what was yanked is listed nowhere."""
    admin, reader = expected["admin_token"], expected["reader_token"]
    index = served(start, "debian/dists/bookworm/main/binary-amd64/Packages", admin).decode()
    assert packages_of(index) == {"hello_1.0_amd64.deb", "hello_1.2_amd64.deb"}
    for path, digest in expected["sha256"].items():
        if path.endswith(("pom", "jar")):
            assert hashlib.sha256(served(start, path, admin)).hexdigest() == digest, path
        elif path.endswith(".deb") and expected["yanked"] not in path:
            where = next(line[10:] for line in index.splitlines() if line.endswith(path.rpartition("/")[2]))
            assert hashlib.sha256(served(start, f"debian/{where}", admin)).hexdigest() == digest, path
    assert files_of_rpm_md(start, admin) == {path.rpartition("/")[2] for path in expected["sha256"] if "rpm" in path}
    assert served(start, "gpgkey", admin).decode() == expected["key"]
    secret = f"{start.url}/acme/secret/debian/dists/bookworm/InRelease"
    for token, status in ((reader, 200), (admin, 200), ("wrong", 401)):
        assert httpx.get(secret, auth=(token, ""), trust_env=False, timeout=60).status_code == status, token
    with httpx.Client(base_url=start.url, auth=(admin, ""), trust_env=False, timeout=90) as client:
        sent = client.put("/acme/tools/debian/bookworm/hello_2.0_amd64.deb", content=deb_bytes("hello", "2.0"))
        assert sent.status_code == 201, sent.text
        back = client.post("/api/v2/repos/acme/tools/unyank", json={"filename": expected["yanked"]})
        assert back.status_code == 200, back.text
    index = served(start, "debian/dists/bookworm/main/binary-amd64/Packages", admin).decode()
    assert packages_of(index) == {f"hello_{version}_amd64.deb" for version in ("1.0", "1.1", "1.2", "2.0")}


def test_todays_schema_and_every_release_has_a_folder() -> None:
    """Goal: nothing leaves the house without a folder that later versions must take over. Method: their names, the
    schema, and the versions in the changelog.
    """
    changes = (Path(__file__).parents[2] / "CHANGELOG.md").read_text()
    made = [path.name.removesuffix(".tar.xz").split("-schema-") for path in FOLDERS]
    assert HEAD in [schema for _, schema in made], "run scripts/make-folder-fixture.py"
    released = re.findall(r"^## v?([0-9]+\.[0-9.]+)", changes, re.MULTILINE)
    assert set(released) <= {version for version, _ in made}, "run scripts/make-folder-fixture.py"


@pytest.mark.parametrize("archive", FOLDERS, ids=lambda path: path.name.removesuffix(".tar.xz"))
def test_an_old_folder_is_taken_over(starts: Starts, tmp_path: Path, archive: Path) -> None:
    """Goal: a folder that an earlier version made serves what it served, takes more, and is sound; its catalog is kept
    as it was when the schema changed, and only then. Method: real folders of real versions. Seen to fail (no copy) with
    ``preserve`` taken out of the start.
    """
    data, expected = unpacked(archive, tmp_path)
    (data / "catalog-0001.db").touch()  # one that an upgrade before this one left
    with starts.begin(data, env=WORST) as start:
        assert start.settle() is None, start.log
        check_contents(start, expected)
    old = expected["schema"]
    kept = {path.name for path in data.glob("catalog-*.db")}
    assert kept == ({"catalog-0001.db"} if old == HEAD else {f"catalog-{old}.db"})
    if old != HEAD:
        copy = data / f"catalog-{old}.db"
        assert schema(copy) == old
        assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    checked = check_folder(data, lambda _: None, lambda lack: pytest.fail(str(lack)))
    assert checked.sound, checked.faults
    assert checked.copies > len(expected["sha256"])


def test_no_room_for_the_copy(starts: Starts, tmp_path: Path) -> None:
    """Goal: without room for the copy nothing is changed, a sentence says what to do, and with room the start works.
    Method: a volume that another program filled. Seen to fail (it started) with ``preserve``
    taken out of the start.
    """
    with tmpfs(tmp_path / "disk", 64 * MIB) as volume:
        data, _ = unpacked(OLDEST, volume.path)
        before = content(data / "catalog.db")
        filler = volume.fill(leave_bytes=128 << 10)
        with starts.begin(data) as start:
            assert start.settle() == 1, start.log
        assert "brings the catalog's schema up to date, and copies the catalog first" in start.log
        assert "Nothing was changed. Make room" in start.log
        assert content(data / "catalog.db") == before
        assert not list(data.glob("*catalog-*"))
        filler.unlink()
        with starts.begin(data) as start:
            assert start.settle() is None, start.log


def test_the_way_back(starts: Starts, tmp_path: Path) -> None:
    """Goal: an older version refuses a newer catalog with a sentence that names the copy that was kept for it, and
    starts once that is in its place. Method: this version is the older one; the later revision is
    written by hand.
    """
    data, expected = unpacked(FOLDERS[-1], tmp_path)
    with starts.begin(data) as start:
        assert start.settle() is None, start.log
    catalog, kept = data / "catalog.db", data / f"catalog-{HEAD}.db"
    with closing(sqlite3.connect(catalog, isolation_level=None)) as db:
        db.execute("VACUUM INTO ?", (str(kept),))
        db.execute("UPDATE alembic_version SET version_num = '9999'")
    with starts.begin(data) as start:
        assert start.settle() == 1, start.log
    assert "a later version of Entrepot wrote it. Nothing was changed." in start.log
    assert f"go back to {kept}" in start.log
    for path in data.glob("catalog.db*"):
        path.unlink()
    kept.rename(catalog)
    with starts.begin(data) as start:
        assert start.settle() is None, start.log
        index = served(start, "debian/dists/bookworm/main/binary-amd64/Packages", expected["admin_token"]).decode()
        assert packages_of(index) == {"hello_1.0_amd64.deb", "hello_1.2_amd64.deb"}
