"""Quotas over HTTP: refused before the body, concurrent uploads counted, every shape of upload."""

import json
import socket
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.support.builders import deb_bytes
from tests.support.server import ServerProcess
from tests.web.conftest import admin, anybody, basic, make_repository, make_token, server, wait_until

__all__ = ["admin", "anybody", "server"]

KIB = 1024


def package(name: str, size_bytes: int = 64 * KIB) -> bytes:
    """A package of a little more than this size; the same name is the same bytes."""
    return deb_bytes(name, "1.0", files={"usr/data": bytes(size_bytes)}, compression="none", data_compression="none")


def quota(admin: httpx.Client, name: str, quota_bytes: int | None) -> None:
    """Bound a repository (USER/REPO) or an owner."""
    kind = "repos" if "/" in name else "owners"
    admin.put(f"/api/v2/{kind}/{name}/quota", json={"quota_bytes": quota_bytes}).raise_for_status()


def show(admin: httpx.Client, name: str) -> dict[str, Any]:
    """What the API says about it."""
    kind = "repos" if "/" in name else "owners"
    found: dict[str, Any] = admin.get(f"/api/v2/{kind}/{name}").raise_for_status().json()
    return found


def put(client: httpx.Client, name: str, package_name: str, content: bytes | None = None) -> httpx.Response:
    """PUT one package to bookworm."""
    body = package(package_name) if content is None else content
    return client.put(f"/{name}/debian/bookworm/{package_name}_1.0_amd64.deb", content=body)


def test_what_exceeds_a_quota_is_refused_before_its_body(server: ServerProcess, admin: httpx.Client) -> None:
    """Goal: 507 with the numbers and the remedy, and no byte of the body asked for. Method: Expect: 100-continue by
    hand; then raise the quota.
    """
    name = make_repository(admin)
    quota(admin, name, 100 * KIB)
    assert put(admin, name, "first").status_code == 201
    used_bytes = show(admin, name)["used_bytes"]
    head = (
        f"PUT /{name}/debian/bookworm/second_1.0_amd64.deb HTTP/1.1\r\nHost: x\r\nContent-Length: 65536\r\n"
        f"Expect: 100-continue\r\nAuthorization: {basic(server.admin_token)}\r\n\r\n"
    )
    with socket.create_connection((server.address, server.port), timeout=20) as connection:
        connection.sendall(head.encode())
        answer = b""
        while b"}" not in answer:
            answer += connection.recv(65536)
    assert answer.startswith(b"HTTP/1.1 507 ")
    assert b"retry-after" not in answer.lower()
    shown = json.loads(answer.partition(b"\r\n\r\n")[2])
    assert (shown["code"], shown["quota_of"], shown["quota_name"]) == ("quota_exceeded", "repository", name)
    assert (shown["quota_bytes"], shown["used_bytes"], shown["needed_bytes"]) == (100 * KIB, used_bytes, 65536)
    assert shown["available_bytes"] == 100 * KIB - used_bytes
    assert f"entrepot repo quota {name} SIZE" in shown["detail"]
    quota(admin, name, None)
    assert put(admin, name, "second").status_code == 201


def test_the_same_file_again_is_never_refused(admin: httpx.Client) -> None:
    """Goal: whoever lost the answer may ask again, whatever the quota. Method: fill it exactly, send it again."""
    name = make_repository(admin)
    content = package("full")
    quota(admin, name, len(content))
    assert put(admin, name, "full").status_code == 201
    assert put(admin, name, "full").status_code == 200
    query = {"filename": "full_1.0_amd64.deb", "distribution": "debian/bookworm"}
    assert admin.post(f"/api/v2/repos/{name}/packages", params=query, content=content).status_code == 200


def test_every_distribution_is_charged(admin: httpx.Client) -> None:
    """Goal: one body to two distributions needs twice its size, and by reference too. Method: a quota for one and a
    half.
    """
    name = make_repository(admin)
    content = package("both")
    quota(admin, name, 3 * len(content) // 2)
    both = {"filename": "both_1.0_amd64.deb", "distribution": ["debian/bookworm", "debian/trixie"]}
    answer = admin.post(f"/api/v2/repos/{name}/packages", params=both, content=content)
    assert (answer.status_code, answer.json()["needed_bytes"]) == (507, 2 * len(content))
    assert put(admin, name, "both").status_code == 201
    digest = admin.get(f"/api/v1/repos/{name}/packages.json").json()[0]["sha256sum"]
    reference = {"filename": "both_1.0_amd64.deb", "distribution": "debian/trixie", "sha256": digest, "reference": "1"}
    assert admin.post(f"/api/v2/repos/{name}/packages", params=reference).status_code == 507
    assert show(admin, name)["used_bytes"] == len(content)


@pytest.mark.parametrize("declared", [True, False], ids=["declared", "chunked"])
def test_a_form_that_fits_is_taken(admin: httpx.Client, declared: bool) -> None:
    """Goal: the frame of a form does not count, its file does. Method: a quota of exactly the file, then one more."""
    name = make_repository(admin)
    content = package("form")
    quota(admin, name, len(content))
    for package_name, status in (("form", 201), ("next", 507)):
        request = admin.build_request(
            "POST",
            f"/api/v1/repos/{name}/packages.json",
            data={"package[distro_version_id]": "debian/bookworm"},
            files={"package[package_file]": (f"{package_name}_1.0_amd64.deb", package(package_name))},
        )
        if not declared:
            body = request.read()
            kind = request.headers["content-type"]
            request = admin.build_request("POST", request.url, content=iter([body]), headers={"content-type": kind})
        answer = admin.send(request)
        assert answer.status_code == status, answer.text
    assert show(admin, name)["reserved_bytes"] == 0


def test_a_body_of_unknown_length_ends_at_the_quota(admin: httpx.Client) -> None:
    """Goal: what nobody declared is bounded as it arrives. Method: an endless stream into a quota of 3 MiB."""
    name = make_repository(admin)
    quota(admin, name, 3 * 1024 * KIB)
    sent = 0

    def stream() -> Any:
        nonlocal sent
        for _ in range(4096):
            sent += 64 * KIB
            yield bytes(64 * KIB)

    answer = admin.put(f"/{name}/debian/bookworm/endless_1.0_amd64.deb", content=stream())
    assert (answer.status_code, answer.json()["code"]) == (507, "quota_exceeded")
    assert sent < 128 * 1024 * KIB
    wait_until(lambda: show(admin, name)["reserved_bytes"] == 0)


def test_uploads_under_way_count(server: ServerProcess, admin: httpx.Client) -> None:
    """Goal: what one upload claims, another cannot have, but may come back for; an upload that ends gives it back.

    Method: a body that stops half way, a second upload beside it, then hang up on the first.
    """
    name = make_repository(admin)
    content = package("second")
    quota(admin, name, len(content) + 32 * KIB)
    head = (
        f"PUT /{name}/debian/bookworm/first_1.0_amd64.deb HTTP/1.1\r\nHost: x\r\nContent-Length: 65536\r\n"
        f"Authorization: {basic(server.admin_token)}\r\n\r\n"
    )
    with socket.create_connection((server.address, server.port), timeout=20) as connection:
        connection.sendall(head.encode() + bytes(32 * KIB))
        wait_until(lambda: show(admin, name)["reserved_bytes"] == 65536)
        answer = put(admin, name, "second")
        assert (answer.status_code, answer.json()["code"]) == (503, "quota_reserved")
        assert int(answer.headers["retry-after"]) > 0
        assert answer.json()["reserved_bytes"] == 65536
        assert answer.json()["available_bytes"] == max(0, len(content) - 32 * KIB)
    wait_until(lambda: show(admin, name)["reserved_bytes"] == 0)
    assert put(admin, name, "second").status_code == 201


@pytest.mark.parametrize("kind", ["repository", "owner"])
def test_sixty_four_uploads_at_once_never_exceed_a_quota(server: ServerProcess, admin: httpx.Client, kind: str) -> None:
    """Goal: races neither overrun a quota nor leave room unused. Method: 64 clients, room for ten; those that are told
    to come back do, until every answer is final.
    """
    owner = f"race-{kind}"
    names = [make_repository(admin, owner=owner) for _ in range(2 if kind == "owner" else 1)]
    contents = [package(f"p{number:02}", 8 * KIB) for number in range(64)]
    size_bytes = len(contents[0])
    assert {len(content) for content in contents} == {size_bytes}
    quota(admin, owner if kind == "owner" else names[0], 10 * size_bytes)
    gate = threading.Barrier(64)
    client = httpx.Client(
        base_url=server.url, auth=(server.admin_token, ""), timeout=120, trust_env=False,
        limits=httpx.Limits(max_connections=64),
    )  # fmt: skip

    def one(number: int) -> int:
        gate.wait(120)
        while True:
            answer = put(client, names[number % len(names)], f"p{number:02}", contents[number])
            if answer.status_code != 503:
                return answer.status_code

    with client, ThreadPoolExecutor(64) as threads:
        statuses = Counter(threads.map(one, range(64)))
    kept = statuses[201] + statuses[202]
    assert statuses[507] == 64 - kept
    assert kept == 10
    found = show(admin, owner if kind == "owner" else names[0])
    assert (found["used_bytes"], found["reserved_bytes"]) == (10 * size_bytes, 0)


def test_who_may_bound_whom(admin: httpx.Client) -> None:
    """Goal: an owner divides its own quota among its repositories; the operator alone sets it. Method: tokens of each
    kind, and values that are none.
    """
    name = make_repository(admin, owner="bounded")
    mine = basic(make_token(admin, "admin", owner="bounded"))
    some = basic(make_token(admin, "admin", owner="bounded", repositories=[name]))
    pusher = basic(make_token(admin, "push", owner="bounded"))

    def status(method: str, path: str, who: str) -> int:
        body = {"quota_bytes": 7} if method == "PUT" else None
        return admin.request(method, path, json=body, headers={"authorization": who}, auth=None).status_code

    assert status("PUT", f"/api/v2/repos/{name}/quota", mine) == 200
    assert status("PUT", f"/api/v2/repos/{name}/quota", pusher) == 403
    assert status("PUT", "/api/v2/owners/bounded/quota", mine) == 403
    assert status("GET", "/api/v2/owners/bounded", mine) == 200
    assert status("GET", "/api/v2/owners/acme", mine) == 403
    assert status("GET", "/api/v2/owners/bounded", some) == 403
    assert [
        row["name"] for row in admin.get("/api/v2/owners", headers={"authorization": mine}, auth=None).json()["owners"]
    ] == ["bounded"]
    for value in (-1, 1.5, "7", True, 10**30):
        assert admin.put(f"/api/v2/repos/{name}/quota", json={"quota_bytes": value}).status_code == 422, value
    assert admin.put(f"/api/v2/repos/{name}/quota", json={}).status_code == 422
    assert admin.put("/api/v2/owners/nobody-here/quota", json={"quota_bytes": 1}).status_code == 404
    assert "bounded" in [row["name"] for row in admin.get("/api/v2/owners").json()["owners"]]


def test_the_page_shows_use_and_quota(admin: httpx.Client, anybody: httpx.Client) -> None:
    """Goal: people see how full it is. Method: the page without and with a quota, and one of nothing."""
    name = make_repository(admin)
    put(admin, name, "shown")
    assert "<meter" not in anybody.get(f"/{name}").text
    quota(admin, name, 1024 * KIB)
    assert " of 1.0 MiB" in anybody.get(f"/{name}").text
    quota(admin, name, 0)
    assert "<meter" in anybody.get(f"/{name}").text
