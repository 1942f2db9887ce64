"""Requests meant to break the server: numbers, texts and headers out of bounds, and clients that go away."""

import asyncio
import json
import os
import signal
import socket
import struct
from pathlib import Path
from typing import Any

import httpx
import pytest

from entrepot.web import conditional
from entrepot.web.body import Body
from tests.support.builders import deb_bytes
from tests.support.ports import free_port
from tests.support.server import ServerProcess
from tests.web.conftest import ENV, admin, anybody, basic, make_repository, make_token, server, wait_until

__all__ = ["admin", "anybody", "server"]

MIB = 1 << 20


def code_of(answer: httpx.Response) -> tuple[int, str]:
    """Status and stable code of a refusal."""
    return answer.status_code, answer.headers.get("x-entrepot-code", "")


def test_numbers_of_absurd_length_are_clamped(admin: httpx.Client) -> None:
    """Goal: no number of a query is an error. Method: 5,000 digits, more than int() converts."""
    name = make_repository(admin)
    digits = "9" * 5000
    for url in (
        f"/{name}?page={digits}",
        f"/api/v1/repos/{name}/packages.json?page={digits}",
        f"/api/v1/repos/{name}/packages.json?per_page={digits}",
    ):
        assert admin.get(url).status_code == 200, url[:60]


def test_a_search_longer_than_any_name_finds_nothing(admin: httpx.Client) -> None:
    """Goal: the engine's own limit on patterns (50,000 characters) is never met. Method: 55,000 characters are too long
    an address, whatever the settings; 8,000; wildcards taken literally.
    """
    name = make_repository(admin)
    content = deb_bytes("found", "1.0")
    admin.put(f"/{name}/debian/bookworm/found_1.0_amd64.deb", content=content).raise_for_status()
    assert code_of(admin.get(f"/api/v1/repos/{name}/search.json?q={'a' * 55_000}")) == (414, "url_too_long")
    for text, count in (("a" * 8_000, 0), ("%25", 0), ("f?und", 0), ("ound_1", 1)):
        answer = admin.get(f"/api/v1/repos/{name}/search.json?q={text}")
        assert (answer.status_code, len(answer.json())) == (200, count), text[:20]


@pytest.mark.parametrize("seconds", [10**30, 2**63 - 1, 10**12])
def test_a_life_beyond_all_calendars_is_refused(admin: httpx.Client, seconds: int) -> None:
    """Goal: an expiry that the catalog cannot hold is the caller's error, not ours. Method: huge integers."""
    answer = admin.post("/api/v2/tokens", json={"name": "long", "role": "read", "expires_in_s": seconds})
    assert code_of(answer) == (422, "field_invalid")


def test_a_text_that_is_no_unicode_still_gets_its_refusal(admin: httpx.Client) -> None:
    """Goal: a refusal that repeats half a surrogate pair can be written. Method: JSON's escape of one."""
    body = rb'{"name":"x","role":"read","repositories":["\ud800"]}'
    answer = admin.post("/api/v2/tokens", content=body)
    assert code_of(answer) == (422, "repository_name_invalid")
    assert answer.json()["code"] == "repository_name_invalid"


def test_nobody_becomes_owner_of_the_servers_own_addresses(admin: httpx.Client) -> None:
    """Goal: an owner whose repositories could never be reached is not made. Method: tokens for reserved names."""
    for owner in ("api", "priv"):
        answer = admin.post("/api/v2/tokens", json={"name": "x", "role": "read", "owner": owner})
        assert code_of(answer) == (422, "repository_name_invalid"), owner


def test_an_added_distribution_never_takes_the_address_of_another(admin: httpx.Client) -> None:
    """Goal: `distro add` cannot shadow the key, the packages' links or another format. Method: their first segments."""
    for path in ("packages/x", "gpgkey/x", "gpg.key/x", "maven2/x", "java/x", "el/x"):
        answer = admin.post("/api/v2/distributions", json={"path": path, "like": "debian"})
        assert code_of(answer) == (422, "field_invalid"), path
    assert admin.post("/api/v2/distributions", json={"path": "devuan/x1", "like": "debian"}).status_code == 201


def test_remembered_dates_are_short() -> None:
    """Goal: nobody fills the memory through the cache of parsed dates. Method: a long header is not remembered."""
    before = conditional.parse_http_date.cache_info().currsize
    headers = {b"if-modified-since": b"x" * 300_000, b"if-unmodified-since": b"y" * 300_000}
    validators = conditional.Validators("e", 1)
    assert not conditional.not_modified(headers, validators)
    conditional.check_match(headers, validators)
    assert conditional.parse_http_date.cache_info().currsize == before


def test_a_download_ends_with_its_client(server: ServerProcess, admin: httpx.Client) -> None:
    """Goal: who hangs up costs nothing more. Method: reset after the first bytes of 96 MiB; the log says how much of
    it was read from disk.
    """
    name = make_repository(admin)
    content = deb_bytes("large", "1.0", files={"usr/large": bytes(96 * MIB)}, data_compression="none")
    admin.put(f"/{name}/debian/bookworm/large_1.0_amd64.deb", content=content).raise_for_status()
    url = f"/{name}/packages/debian/bookworm/large_1.0_amd64.deb/download"
    with socket.create_connection((server.address, server.port), timeout=20) as connection:
        connection.sendall(f"GET {url} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        connection.recv(4096)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def lines() -> list[dict[str, Any]]:
        found = [json.loads(line) for line in server.log().splitlines() if f'"{url}"' in line]
        return [line for line in found if line.get("event") == "request"]

    wait_until(lambda: bool(lines()))
    assert lines()[0]["bytes_out"] < 48 * MIB
    assert admin.get(url).content == content


def test_a_body_without_length_is_not_drained_for_ever() -> None:
    """Goal: the patience of a 401 is for a declared length alone. Method: a stream that never ends, in process."""
    sent = 0

    async def receive() -> dict[str, Any]:
        nonlocal sent
        sent += MIB
        return {"type": "http.request", "body": bytes(MIB), "more_body": sent < 1024 * MIB}

    asyncio.run(Body(receive, None).drain_all())
    assert sent < 256 * MIB


def test_another_sites_page_changes_nothing(server: ServerProcess, admin: httpx.Client) -> None:
    """Goal: a browser that remembers a token does not act for a strange page. Method: the headers it sends then."""
    name = make_repository(admin)
    for headers in (
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"origin": "https://evil.example"},
        {"origin": "null"},
    ):
        answer = admin.post(f"/api/v2/repos/{name}/yank", content=b'{"filename":"*"}', headers=headers)
        assert code_of(answer) == (403, "cross_site"), headers
        assert code_of(admin.post("/api/v1/repos", data={"name": "x"}, headers=headers)) == (403, "cross_site")
        assert code_of(admin.delete(f"/api/v2/repos/{name}", headers=headers)) == (403, "cross_site")
        assert admin.get(f"/{name}", headers=headers).status_code == 200
    for headers in ({"sec-fetch-site": "none"}, {"sec-fetch-site": "same-origin"}, {"origin": server.url}):
        answer = admin.post(f"/api/v2/repos/{name}/yank", content=b'{"filename":"*"}', headers=headers)
        assert code_of(answer) == (404, "not_found"), headers


def test_what_is_uploaded_runs_in_no_browser(admin: httpx.Client, anybody: httpx.Client) -> None:
    """Goal: a package file is data. Method: a POM with a script in it; the headers that keep a browser from it."""
    name = make_repository(admin)
    pom = (
        b'<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion><groupId>g</groupId>'
        b"<artifactId>a</artifactId><version>1</version><packaging>pom</packaging>"
        b'<properties><s xmlns="http://www.w3.org/1999/xhtml"><script>alert(1)</script></s></properties></project>'
    )
    url = f"/{name}/maven2/g/a/1/a-1.pom"
    assert admin.put(url, content=pom).status_code in (201, 422)
    if admin.get(url).status_code == 404:
        pytest.fail("the POM was refused: this test needs another one")
    answer = anybody.get(url)
    assert answer.headers["content-security-policy"] == "default-src 'none'; sandbox"
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_a_yank_names_one_group(admin: httpx.Client) -> None:
    """Goal: packagecloud's DELETE of GROUP/FILE leaves another group's file of that name alone. Method: two groups."""
    name = make_repository(admin)
    for group in ("org.one", "org.two"):
        pom = (
            f'<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>'
            f"<groupId>{group}</groupId><artifactId>lib</artifactId><version>1</version>"
            "<packaging>pom</packaging></project>"
        )
        url = f"/{name}/maven2/{group.replace('.', '/')}/lib/1/lib-1.pom"
        admin.put(url, content=pom.encode()).raise_for_status()
    assert admin.delete(f"/api/v1/repos/{name}/java/maven2/org.none/lib-1.pom").status_code == 404
    assert admin.delete(f"/api/v1/repos/{name}/java/maven2/org.one/lib-1.pom").status_code == 200
    assert admin.get(f"/{name}/maven2/org/one/lib/1/lib-1.pom").status_code == 404
    assert admin.get(f"/{name}/maven2/org/two/lib/1/lib-1.pom").status_code == 200


def test_an_unknown_repository_looks_like_a_private_one(admin: httpx.Client, anybody: httpx.Client) -> None:
    """Goal: nobody learns the names of private repositories. Method: the same requests to one and to none, by nobody,
    a wrong token and a token of elsewhere; only who may read the owner's repositories is told the difference.
    """
    private = make_repository(admin, private=True)
    none = private + "-none"
    stranger, mine = make_token(admin, "read", owner="elsewhere"), make_token(admin, "read")
    for rest in ("", "/", "/gpgkey", "/debian/dists/bookworm/InRelease", "/maven2/a/b/1/b-1.pom", "/nothing"):
        for token in ("", "0" * 48, stranger):
            auth = (token, "") if token else None
            one, other = (anybody.get(f"/{name}{rest}", auth=auth) for name in (private, none))
            assert code_of(one) == code_of(other), (rest, token)
            assert one.status_code in (401, 403)
            assert one.headers.get("www-authenticate") == other.headers.get("www-authenticate")
        assert code_of(anybody.get(f"/{none}{rest}", auth=(mine, ""))) == (404, "repository_unknown")


def test_a_narrow_token_sees_no_wider_ones(admin: httpx.Client) -> None:
    """Goal: an administrator of one repository does not read the names of others in the list of tokens."""
    open_, hidden = make_repository(admin), make_repository(admin, private=True)
    narrow = make_token(admin, "admin", repositories=[open_])
    make_token(admin, "read", repositories=[hidden])
    listed = httpx.get(f"{str(admin.base_url).rstrip(chr(47))}/api/v2/tokens", auth=(narrow, ""), trust_env=False)
    assert listed.status_code == 200
    assert [row["repositories"] for row in listed.json()["tokens"]] == [[open_]]


def test_other_users_of_the_machine_read_nothing(tmp_path: Path) -> None:
    """Goal: catalog and packages are the server's alone in a folder that everybody may enter too. Method: a folder made
    beforehand with mode 0755, one private package, and the modes of all that the server made.
    """
    data = tmp_path / "data"
    data.mkdir()
    data.chmod(0o755)
    with ServerProcess(data, env=ENV) as running:
        auth = (running.admin_token, "")
        with httpx.Client(base_url=running.url, auth=auth, timeout=30, trust_env=False) as client:
            name = make_repository(client, private=True)
            content = deb_bytes("mode", "1.0")
            client.put(f"/{name}/debian/bookworm/mode_1.0_amd64.deb", content=content).raise_for_status()
        open_to_others = [path for path in data.iterdir() if path.stat().st_mode & 0o077 and path.name != "format"]
    assert not open_to_others


def test_an_upload_cut_off_at_the_stop_is_told_to_come_again(tmp_path: Path) -> None:
    """Goal: who is still sending when the stop's patience ends gets 503, not 500. Method: SIGTERM with half a body
    sent.
    """
    probes = f"127.0.0.1:{free_port()}"
    env = ENV | {"ENTREPOT_SERVER_STOP_WAIT_S": "1", "ENTREPOT_SERVER_ADMIN_LISTEN": probes}

    def reserved() -> bool:
        status = httpx.get(f"http://{probes}/statusz", trust_env=False).json()
        return bool(status["reservations"]["count"])

    with ServerProcess(tmp_path / "data", env=env) as running:
        auth = (running.admin_token, "")
        with httpx.Client(base_url=running.url, auth=auth, timeout=30, trust_env=False) as client:
            name = make_repository(client)
        head = (
            f"PUT /{name}/debian/bookworm/half_1.0_amd64.deb HTTP/1.1\r\nHost: x\r\n"
            f"Authorization: {basic(running.admin_token)}\r\nContent-Length: 4096\r\n\r\n"
        )
        with socket.create_connection((running.address, running.port), timeout=30) as connection:
            connection.sendall(head.encode() + bytes(2048))
            wait_until(reserved)
            os.kill(running.pid, signal.SIGTERM)
            answer = connection.recv(65536)
        assert answer.startswith(b"HTTP/1.1 503 "), answer[:200]
        assert b'"code":"stopping"' in answer
        assert b"retry-after:" in answer.lower()
