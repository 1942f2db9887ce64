"""Signing keys over HTTP: brought along, rotated, retired; and what clients are served meanwhile."""

import base64
import os
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from pysequoia import Cert

from entrepot.client import programs
from entrepot.client.rehearsal import binary
from tests.support.builders import deb_bytes
from tests.support.gpg import GpgHome
from tests.support.server import ServerProcess
from tests.web.conftest import admin, anybody, basic, make_repository, make_token, server

__all__ = ["admin", "anybody", "server"]

PASSPHRASE = 'a "quoted" pässphrase'


class Exported:
    """A key that gpg made: ``secret`` and ``public`` as exported, armored."""

    def __init__(self, home: GpgHome, name: str, *more: str, end: str = "never") -> None:
        user = f"<{name}@example.org>"
        home.gpg(*more, "--quick-generate-key", f"{name} {user}", "ed25519", "sign", end)
        listing = home.gpg("--with-colons", "--list-keys", user).stdout
        self.fingerprint = next(line.split(":")[9] for line in listing.splitlines() if line.startswith("fpr:"))
        self.secret = home.gpg(*more, "--armor", "--export-secret-keys", user).stdout
        self.public = home.gpg("--armor", "--export", user).stdout


@pytest.fixture(scope="module")
def keys() -> Iterator[dict[str, Exported]]:
    """Keys of a team: without and with a passphrase, and one that ends in ten days."""
    with GpgHome() as home:
        yield {
            "plain": Exported(home, "plain"),
            "other": Exported(home, "other"),
            "shut": Exported(home, "shut", "--passphrase", PASSPHRASE),
            "short": Exported(home, "short", end="10d"),
        }


def push(client: httpx.Client, repository: str, name: str = "hello") -> None:
    """Push a package to bookworm."""
    path = f"/{repository}/debian/bookworm/{name}_1.0_amd64.deb"
    client.put(path, content=deb_bytes(name, "1.0")).raise_for_status()


def served(client: httpx.Client, repository: str) -> list[str]:
    """Fingerprints at gpgkey, in order."""
    answer = client.get(f"/{repository}/gpgkey").raise_for_status()
    blocks = answer.text.split("-----END PGP PUBLIC KEY BLOCK-----\n")[:-1]
    found = [Cert.from_bytes(f"{block}-----END PGP PUBLIC KEY BLOCK-----\n".encode()) for block in blocks]
    return [each.fingerprint.upper() for each in found]


def accepts(client: httpx.Client, repository: str, public: str) -> bool:
    """Whether real gpgv, which knows this key alone, takes InRelease and Release.gpg as apt does."""
    base = f"/{repository}/debian/dists/bookworm"
    clear, release, detached = (
        client.get(f"{base}/{name}").raise_for_status().content for name in ("InRelease", "Release", "Release.gpg")
    )
    ring = binary(public.encode())
    with programs.bench(["gpgv"], os.environ) as place:
        verdicts = [programs.gpgv(place, ring, clear), programs.gpgv(place, ring, release, detached)]
    good = [bool(each.good) and not each.bad for each in verdicts]
    assert good[0] == good[1]
    return good[0]


def state(client: httpx.Client, repository: str) -> dict[str, Any]:
    """Fingerprint → what the API says of the key."""
    found = client.get(f"/api/v2/repos/{repository}/keys").raise_for_status().json()
    return {each["fingerprint"]: each for each in found["keys"]}


def test_a_key_brought_before_the_first_package_signs_alone(admin: httpx.Client, keys: dict[str, Exported]) -> None:
    """Goal: whoever moves here from aptly has customers that trust one key, and no other is ever served. Method: import
    into a new repository, push, verify. The same key again changes nothing.
    """
    name, key = make_repository(admin), keys["plain"]
    answer = admin.post(f"/api/v2/repos/{name}/keys", json={"key": key.secret})
    assert answer.status_code == 201, answer.text
    assert answer.json()["key"]["fingerprint"] == key.fingerprint
    assert served(admin, name) == [key.fingerprint]
    push(admin, name)
    assert accepts(admin, name, key.public)
    again = admin.post(f"/api/v2/repos/{name}/keys", json={"key": key.secret}).raise_for_status()
    assert again.json()["indexed"]
    assert served(admin, name) == [key.fingerprint]
    assert [each["signs"] for each in state(admin, name).values()] == [False, True]


def test_overlap_begins_and_ends(admin: httpx.Client, keys: dict[str, Exported]) -> None:
    """Goal: from the answer on, both keys are served and both sign what was published long ago; after `retire` one
    does. Method: publish; bring a key; rotate; retire the first two; each time verify by every key alone.

    Seen to fail without `sign_again`: the index keeps its old signature.
    """
    name, brought = make_repository(admin), keys["plain"]
    push(admin, name)
    first = served(admin, name)[0]
    public = {first: admin.get(f"/{name}/gpgkey").text, brought.fingerprint: brought.public}
    etag = admin.get(f"/{name}/debian/dists/bookworm/InRelease").headers["etag"]
    admin.post(f"/api/v2/repos/{name}/keys", json={"key": base64.b64encode(armored(brought.secret)).decode()})
    assert admin.get(f"/{name}/debian/dists/bookworm/InRelease").headers["etag"] != etag
    assert served(admin, name) == [first, brought.fingerprint]
    assert all(accepts(admin, name, each) for each in public.values())

    rotated = admin.post(f"/api/v2/repos/{name}/keys/rotate", json={"algorithm": "ed25519"})
    assert rotated.status_code == 201, rotated.text
    third = rotated.json()["key"]["fingerprint"]
    public[third] = rotated.json()["key"]["public_key"]
    assert served(admin, name) == [first, brought.fingerprint, third]
    assert all(accepts(admin, name, each) for each in public.values())

    for gone in (first, brought.fingerprint[-16:].lower()):
        ended = admin.post(f"/api/v2/repos/{name}/keys/{gone}/retire")
        assert (ended.status_code, ended.json()["indexed"]) == (200, True), ended.text
    assert served(admin, name) == [third]
    assert [accepts(admin, name, each) for each in public.values()] == [False, False, True]
    last = admin.post(f"/api/v2/repos/{name}/keys/{third}/retire")
    assert (last.status_code, last.json()["code"]) == (422, "field_invalid")
    assert "rotate" in last.json()["detail"]
    assert admin.post(f"/api/v2/repos/{name}/keys/{first}/retire").status_code == 200  # is retired already
    assert admin.post(f"/api/v2/repos/{name}/keys/0123456789/retire").status_code == 404


def armored(text: str) -> bytes:
    """An armored block in binary, by real gpg."""
    with GpgHome() as home:
        out = home.path / "binary"
        home.gpg("--output", out, "--dearmor", stdin=text.encode())
        return out.read_bytes()


def test_alone_and_beside(admin: httpx.Client, keys: dict[str, Exported]) -> None:
    """Goal: either can be asked for. Method: beside, in a new repository; alone, after a publication."""
    name = make_repository(admin)
    made = served(admin, name)
    admin.post(f"/api/v2/repos/{name}/keys", json={"key": keys["plain"].secret, "alone": False}).raise_for_status()
    assert served(admin, name) == [*made, keys["plain"].fingerprint]
    push(admin, name)
    admin.post(f"/api/v2/repos/{name}/keys", json={"key": keys["other"].secret, "alone": True}).raise_for_status()
    assert served(admin, name) == [keys["other"].fingerprint]
    assert accepts(admin, name, keys["other"].public)
    assert not accepts(admin, name, keys["plain"].public)


def test_passphrase(admin: httpx.Client, keys: dict[str, Exported], server: ServerProcess) -> None:
    """Goal: a key under a passphrase signs, and goes out under the same one; it stands in no log. Method: refusals
    without and with a wrong one; then import, push, verify, export.
    """
    name, key = make_repository(admin), keys["shut"]
    for given, reason in ((None, "passphrase_missing"), ("wrong", "passphrase_wrong")):
        refused = admin.post(f"/api/v2/repos/{name}/keys", json={"key": key.secret, "passphrase": given})
        assert (refused.status_code, refused.json()["code"]) == (422, "key_unusable")
        assert refused.json()["reason"] == reason
    body = {"key": key.secret, "passphrase": PASSPHRASE}
    admin.post(f"/api/v2/repos/{name}/keys", json=body).raise_for_status()
    push(admin, name)
    assert accepts(admin, name, key.public)
    out = admin.post(f"/api/v2/repos/{name}/keys/{key.fingerprint}/secret").raise_for_status().json()["secret_key"]
    with GpgHome() as home:
        home.gpg("--passphrase", PASSPHRASE, "--import", stdin=out.encode())
        assert home.gpg("--passphrase", PASSPHRASE, "-u", key.fingerprint, "--detach-sign", stdin=b"x").ok
        assert not home.gpg("--passphrase", "x", "--import", stdin=out.replace("A", "B").encode(), check=False).ok
    log = server.log_path.read_text()
    assert PASSPHRASE not in log
    assert "pässphrase" not in log
    assert "PRIVATE" not in log


def test_a_key_that_ends_is_counted(admin: httpx.Client, keys: dict[str, Exported]) -> None:
    """Goal: the API says how long it has. (The metric is tested with the keyring.)"""
    name = make_repository(admin)
    admin.post(f"/api/v2/repos/{name}/keys", json={"key": keys["short"].secret}).raise_for_status()
    assert state(admin, name)[keys["short"].fingerprint]["days_left"] in (9, 10)
    every = admin.get("/api/v2/keys").raise_for_status().json()["repositories"]
    mine = next(each for each in every if each["repository"] == name)
    assert [each["days_left"] for each in mine["keys"]] in ([9], [10])


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "key"),
        ({"key": "!!"}, "key"),
        ({"key": 7}, "key"),
        ({"key": "x" * 400_000}, "key"),
        ({"key": "AAAA", "passphrase": 7}, "passphrase"),
        ({"key": "AAAA", "passphrase": "x" * 1025}, "passphrase"),
    ],
)
def test_bad_fields(admin: httpx.Client, body: dict[str, object], field: str) -> None:
    """Goal: the field is named."""
    answer = admin.post(f"/api/v2/repos/{make_repository(admin)}/keys", json=body)
    assert (answer.status_code, answer.json()["field"]) == (422, field), answer.text


def test_who_may(admin: httpx.Client, anybody: httpx.Client, keys: dict[str, Exported]) -> None:
    """Goal: a push token changes no key and takes none away; nobody sees another owner's. Method: each route."""
    name = make_repository(admin)
    path = f"/api/v2/repos/{name}/keys"
    own = next(iter(state(admin, name)))
    changes = (
        path,
        f"{path}/rotate",
        f"{path}/{own}/retire",
        f"{path}/{own}/secret",
        path.replace("keys", "package-keys"),
    )
    for role, status in (("push", 403), ("read", 403), (None, 401)):
        headers = {} if role is None else {"authorization": basic(make_token(admin, role, repositories=[name]))}
        for each in changes:
            answer = anybody.post(each, json={"key": keys["plain"].secret}, headers=headers)
            assert answer.status_code == status, (role, each)
        assert anybody.get(path, headers=headers).status_code == (401 if role is None else 200)
    stranger = {"authorization": basic(make_token(admin, "admin", owner="rival"))}
    assert [anybody.post(each, json={}, headers=stranger).status_code for each in changes] == [403] * 5
    assert anybody.get(path, headers=stranger).status_code == 403
    shown = anybody.get("/api/v2/keys", headers=stranger).json()["repositories"]
    assert name not in [each["repository"] for each in shown]


def test_package_keys(admin: httpx.Client, anybody: httpx.Client, keys: dict[str, Exported]) -> None:
    """Goal: clients can fetch the keys of packages that came signed; packagecloud's CLI can list, add and remove them.
    Method: add by both APIs; fetch; a private repository asks for a token; remove.
    """
    name = make_repository(admin, private=True)
    body = {"key": keys["plain"].secret, "name": "vendor.asc"}
    added = admin.post(f"/api/v2/repos/{name}/package-keys", json=body)
    assert added.status_code == 201, added.text
    assert added.json()["url"].endswith(f"/{name}/gpgkey/vendor.asc")
    assert anybody.get(f"/{name}/gpgkey/vendor.asc").status_code == 401
    text = admin.get(f"/{name}/gpgkey/vendor.asc").raise_for_status().text
    assert Cert.from_bytes(text.encode()).fingerprint.upper() == keys["plain"].fingerprint
    assert "PRIVATE" not in text
    assert keys["plain"].fingerprint not in served(admin, name)

    base = f"/api/v1/repos/{name}/gpg_keys"
    created = admin.post(f"{base}.json", files={"gpg_key[keydata]": ("k.asc", keys["other"].public)})
    assert (created.status_code, created.json()["keytype"]) == (201, "package"), created.text
    listed = admin.get(f"{base}.json").json()["gpg_keys"]
    assert [each["keytype"] for each in listed] == ["repo", "package", "package"]
    for each in listed:
        assert admin.get(f"{each['self']}.json").json() == each
        path = each["download_url"].partition(f"/{name}/")[2]
        assert admin.get(f"/{name}/{path}").status_code == 200
        status = admin.delete(each["destroy_url"]).status_code
        assert status == (404 if each["keytype"] == "repo" else 204)
    assert admin.get(f"/{name}/gpgkey/vendor.asc").status_code == 404
    refused = admin.post(base, files={"gpg_key[keydata]": ("k.asc", "rubbish")})
    assert (refused.status_code, list(refused.json())) == (422, ["error"])
    bad = admin.post(f"/api/v2/repos/{name}/package-keys", json={**body, "name": "../x"})
    assert (bad.status_code, bad.json()["field"]) == (422, "name")
