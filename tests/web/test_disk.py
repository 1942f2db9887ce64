"""What holds the bytes and what a remedy frees, against the volume's own count."""

import os
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.disk.mounts import needs_root, tmpfs
from tests.support.builders import deb_bytes
from tests.support.server import ServerProcess
from tests.web.conftest import ENV, make_repository, make_token

pytestmark = needs_root
MIB = 1 << 20
KIB = 1 << 10
BLOCK = 4096


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server whose copies are on a volume of their own: every byte of that is a copy's, or a folder's."""
    folder = tmp_path_factory.mktemp("disk")
    blobs = folder / "data" / "blobs"
    blobs.mkdir(parents=True)
    with tmpfs(blobs, size_bytes=256 * MIB), ServerProcess(folder / "data", env=ENV) as running:
        yield running


@pytest.fixture
def admin(server: ServerProcess) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, auth=(server.admin_token, ""), timeout=60, trust_env=False) as client:
        yield client


def used_bytes(server: ServerProcess) -> int:
    """What is taken on the volume of the copies."""
    facts = os.statvfs(server.data / "blobs")
    return (facts.f_blocks - facts.f_bfree) * facts.f_frsize


def put(admin: httpx.Client, repository: str, name: str, version: str, size_bytes: int, distribution: str) -> int:
    """Push a package of about this size; the bytes that it takes on the volume."""
    content = deb_bytes(
        name, version, files={"usr/data": os.urandom(size_bytes)}, compression="none", data_compression="none"
    )
    answer = admin.put(f"/{repository}/{distribution}/{name}_{version}_amd64.deb", content=content)
    assert answer.status_code == 201
    return -(-len(content) // BLOCK) * BLOCK


def disk(admin: httpx.Client) -> dict[str, Any]:
    """The whole answer."""
    found: dict[str, Any] = admin.get("/api/v2/disk").raise_for_status().json()
    return found


def frees(found: dict[str, Any], command: str) -> int:
    """What a remedy says that it frees; 0 when it is not listed."""
    return sum(int(row["frees_bytes"]) for row in found["remedies"] if row["command"] == command)


def test_figures_and_remedies_are_true(server: ServerProcess, admin: httpx.Client) -> None:
    """Goal: who holds what, each shared byte once, and every remedy frees what it says, to the block. Method: two
    repositories with a package in common, versions, a yank; then a keep rule, a collection, and a deletion, against
    statvfs."""
    first, second = make_repository(admin), make_repository(admin)
    mine = sum(put(admin, first, "hello", f"1.{number}", 50 * KIB, "debian/bookworm") for number in range(8))
    shared = deb_bytes("shared", "1.0", files={"usr/data": os.urandom(100 * KIB)}, data_compression="none")
    for repository in (first, second):
        assert admin.put(f"/{repository}/debian/bookworm/shared_1.0_amd64.deb", content=shared).status_code == 201
    both = -(-len(shared) // BLOCK) * BLOCK
    yanked = put(admin, second, "old", "1.0", 30 * KIB, "debian/bookworm")
    admin.post(f"/api/v2/repos/{second}/yank", json={"name": "old"}).raise_for_status()
    rows = {row["name"]: row for row in disk(admin)["repositories"]}
    assert (rows[first]["files"], rows[second]["files"]) == (9, 2)
    assert (rows[first]["package_bytes"], rows[first]["own_bytes"]) == (mine + both, mine)
    assert (rows[second]["package_bytes"], rows[second]["own_bytes"]) == (both + yanked, yanked)
    assert (rows[first]["yanked_bytes"], rows[second]["yanked_bytes"]) == (0, yanked)
    assert rows[first]["index_bytes"] > 0
    found = disk(admin)
    assert frees(found, "entrepot gc") == found["yanked"]["size_bytes"] == yanked
    assert frees(found, f"entrepot repo keep {first} 5") == mine // 8 * 3
    before = used_bytes(server)
    admin.post("/api/v2/gc", json={}).raise_for_status()
    assert before - used_bytes(server) == yanked
    answer = admin.put(f"/api/v2/repos/{first}/keep", json={"versions": 5}).raise_for_status().json()
    assert (answer["file_count"], answer["indexed"]) == (3, True)
    found = disk(admin)
    assert found["going_by_themselves"] == {"files": 3, "size_bytes": mine // 8 * 3}
    assert frees(found, "entrepot gc") == mine // 8 * 3
    before = used_bytes(server)
    admin.post("/api/v2/gc", json={}).raise_for_status()
    assert before - used_bytes(server) == mine // 8 * 3
    assert frees(disk(admin), "entrepot gc") == 0


def test_a_keep_rule_over_http(server: ServerProcess, admin: httpx.Client) -> None:
    """Goal: a dry run changes nothing and says all; the rule takes effect with its answer, one publication; it is
    shown, audited by its effect, and cleared. Method: the index before and after, and the revision of repomd's cousin:
    the answer's files."""
    name = make_repository(admin)
    for version in ("1.0", "1.10", "1.9"):
        put(admin, name, "hello", version, KIB, "debian/bookworm")
        put(admin, name, "hello", version, KIB, "debian/trixie")

    def packages(codename: str) -> list[str]:
        text = admin.get(f"/{name}/debian/dists/{codename}/main/binary-amd64/Packages").text
        return sorted(line.partition(" ")[2] for line in text.splitlines() if line.startswith("Version:"))

    path = f"/api/v2/repos/{name}/keep"
    tried = admin.put(path, json={"versions": 1, "distribution": "debian/bookworm", "dry_run": True}).json()
    assert [row["filename"] for row in tried["files"]] == ["hello_1.0_amd64.deb", "hello_1.9_amd64.deb"]
    assert (tried["dry_run"], tried["file_count"], tried["size_bytes"] > 0) == (True, 2, True)
    assert admin.get(path).json()["rules"] == []
    assert packages("bookworm") == ["1.0", "1.10", "1.9"]
    done = admin.put(path, json={"versions": 1, "distribution": "debian/bookworm"}).json()
    assert (done["indexed"], done["size_bytes"]) == (True, tried["size_bytes"])
    assert packages("bookworm") == ["1.10"]
    assert packages("trixie") == ["1.0", "1.10", "1.9"]
    assert admin.put(path, json={"versions": 2}).json()["file_count"] == 1
    assert packages("trixie") == ["1.10", "1.9"]
    assert admin.get(path).json()["rules"] == [
        {"distribution": None, "versions": 2},
        {"distribution": "debian/bookworm", "versions": 1},
    ]
    for place in ("debian/bookworm", None):
        admin.put(path, json={"versions": None, "distribution": place}).raise_for_status()
    assert admin.get(path).json()["rules"] == []


def test_who_may_and_what_is_malformed(server: ServerProcess, admin: httpx.Client) -> None:
    """Goal: rules are the owner's administrator's, the disk the operator's; a bad number is refused by name. Method:
    tokens of lower roles, and bodies."""
    name = make_repository(admin)
    path = f"/api/v2/repos/{name}/keep"
    push, other = make_token(admin, "push"), make_token(admin, "admin")
    with httpx.Client(base_url=server.url, trust_env=False, timeout=60) as client:
        assert client.put(path, json={"versions": 1}, auth=(push, "")).json()["code"] == "role_too_low"
        assert client.get(path, auth=(push, "")).json()["code"] == "role_too_low"
        assert client.put(path, json={"versions": 9}, auth=(other, "")).status_code == 200
        assert client.get("/api/v2/disk", auth=(other, "")).json()["code"] == "role_too_low"
        assert client.get("/api/v2/disk").json()["code"] == "token_missing"
    for body in ({}, {"versions": 0}, {"versions": "5"}, {"versions": True}, {"versions": 10**9}):
        answer = admin.put(path, json=body)
        assert (answer.status_code, answer.json()["field"]) == (422, "versions")
    answer = admin.put(path, json={"versions": 1, "distribution": "no/such"})
    assert answer.json()["code"] == "distribution_unknown"
