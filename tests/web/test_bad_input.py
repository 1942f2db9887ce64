"""Requests that lie, stop half-way or have no right: a stable code, a usable connection, and nothing left behind."""

import contextlib
import json
import socket
import sqlite3
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from entrepot.model.limits import FORM_FIELD_BYTES_MAX, FORM_PARTS_MAX
from tests.support.builders import deb_bytes
from tests.support.dsc import make_dsc
from tests.support.server import ServerProcess, files_below
from tests.web.conftest import ENV, basic, make_repository, make_token, raw_request, wait_until


def package(name: str = "bad", version: str = "1.0-1", filler: int = 0) -> bytes:
    """A small .deb; ``filler`` bytes of payload make it larger."""
    return deb_bytes(name, version, files={"usr/share/x": bytes(filler)} if filler else None)


@pytest.fixture(scope="module")
def small_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server that takes uploads up to 8 MiB."""
    env = ENV | {"ENTREPOT_UPLOAD_UPLOAD_BYTES_MAX": str(8 << 20)}
    with ServerProcess(tmp_path_factory.mktemp("small") / "data", env=env) as running:
        yield running


@pytest.fixture(autouse=True)
def nothing_is_left(server: ServerProcess, admin: httpx.Client) -> Iterator[None]:
    """After each test: every stored file has a row and every row its file, nothing is staged or deleted but open,
    nothing is reserved, and the next upload is fine.
    """
    yield
    wait_until(lambda: stored(server) == known(server))
    assert server.deleted_but_open() == []
    status = httpx.get(f"http://127.0.0.1:{server.port + 1}/statusz", trust_env=False).json()
    assert status["reservations"] == {"count": 0, "bytes": 0, "inodes": 0}
    name = make_repository(admin)
    good = admin.put(f"/{name}/debian/bookworm/after_1_amd64.deb", content=package("after", "1"))
    assert good.status_code == 201, good.text


def stored(server: ServerProcess) -> dict[str, int]:
    """Sizes of all files in the store by name, staged ones too."""
    return {Path(each.path).name: each.size_bytes for each in files_below(server.data, ("blobs", "incoming"))}


def known(server: ServerProcess) -> dict[str, int]:
    """Sizes of all copies by key, as the catalog knows them."""
    with contextlib.closing(sqlite3.connect(f"file:{server.data / 'catalog.db'}?mode=ro", uri=True)) as database:
        return dict(database.execute("SELECT key, size_bytes FROM copy").fetchall())


def code_of(answer: httpx.Response) -> str:
    """The problem document's code; it must agree with the header, and its detail must say something."""
    document = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["x-entrepot-code"] == document["code"]
    assert document["status"] == answer.status_code
    assert len(document["detail"]) > 20
    return str(document["code"])


def test_a_body_shorter_than_its_length_is_never_a_package(server: ServerProcess, admin: httpx.Client) -> None:
    """Goal: an early end is no package. Method: promise more bytes than are sent, then close, or only shut the sending
    side.
    """
    name = make_repository(admin)
    content = package("short")
    head = (
        f"PUT /{name}/debian/bookworm/short_1_amd64.deb HTTP/1.1\r\nHost: x\r\n"
        f"Authorization: {basic(server.admin_token)}\r\nContent-Length: {len(content) + 1}\r\n\r\n"
    ).encode()
    for how in ("close", "half"):
        with socket.create_connection((server.address, server.port), timeout=10) as connection:
            connection.sendall(head + content)
            if how == "half":
                connection.shutdown(socket.SHUT_WR)
                connection.settimeout(5)
                answer = connection.recv(65536)
                assert b" 201 " not in answer
                assert b" 200 " not in answer
    wait_until(lambda: "upload_interrupted" in server.log())
    assert admin.get(f"/api/v1/repos/{name}/packages.json").json() == []


@pytest.mark.parametrize(
    ("header", "value", "status", "code"),
    [
        ("content-range", "bytes 2500-4999/5000", 400, "part_only"),
        ("content-encoding", "gzip", 415, "encoding_unsupported"),
        ("transfer-encoding", "gzip, chunked", 415, "encoding_unsupported"),
        ("transfer-encoding", "gzip\r\ntransfer-encoding: chunked", 415, "encoding_unsupported"),
        ("content-length", "9" * 19, 413, "too_large"),
    ],
)
def test_a_body_that_is_not_the_file_itself(
    server: ServerProcess, admin: httpx.Client, header: str, value: str, status: int, code: str
) -> None:
    """Goal: half a file (``curl -C -``), a coded one, or one of impossible length is refused by every way in that takes
    any name and bytes. Method: PUT of a Maven file, whose content nothing else would give away. Each was seen to be
    stored, or read, without its check.
    """
    name = make_repository(admin)
    path = f"/{name}/maven2/org/example/a/1.1/a-1.1.bin"
    length = "" if header in ("content-length", "transfer-encoding") else "Content-Length: 4\r\n"
    head = (
        f"PUT {path} HTTP/1.1\r\nHost: x\r\nAuthorization: {basic(server.admin_token)}\r\n"
        f"Expect: 100-continue\r\n{length}{header}: {value}\r\n\r\n"
    )
    answer = raw_request(server, head.encode())
    assert f" {status} ".encode() in answer.split(b"\r\n")[0], answer
    assert code.encode() in answer
    assert admin.get(path).status_code == 404


def test_the_same_file_again_shows_who_sent_it_first(admin: httpx.Client) -> None:
    """Goal: an answer about a file that is here says what the catalog says. Method: two tokens send the same bytes, a
    second apart.
    """
    name = make_repository(admin)
    content, path = package("twice"), f"/{name}/debian/bookworm/twice_1.0-1_amd64.deb"
    first = admin.put(path, content=content).json()["files"][0]
    token = make_token(admin, role="push")
    time.sleep(1.1)
    again = httpx.put(str(admin.base_url).rstrip("/") + path, content=content, auth=(token, ""), trust_env=False)
    assert again.status_code == 200
    assert again.json()["files"][0] == first


def test_a_body_longer_than_its_length_is_cut_at_it(server: ServerProcess, admin: httpx.Client) -> None:
    """Goal: bytes past Content-Length are not part of the package. Method: promise fewer bytes than the package has."""
    name = make_repository(admin)
    content = package("long")
    head = (
        f"PUT /{name}/debian/bookworm/long_1_amd64.deb HTTP/1.1\r\nHost: x\r\n"
        f"Authorization: {basic(server.admin_token)}\r\nContent-Length: {len(content) - 5}\r\n\r\n"
    ).encode()
    answer = raw_request(server, head + content)
    assert b" 422 " in answer.split(b"\r\n", 1)[0]
    assert b"package_damaged" in answer


def test_a_disconnect_half_way_leaves_nothing(server: ServerProcess, admin: httpx.Client) -> None:
    """Goal: what is half sent is not kept. Method: close, with and without a reset, in the middle of 8 MiB; chunked as
    well.
    """
    name = make_repository(admin)
    for framing in ("Content-Length: 8388608", "Transfer-Encoding: chunked"):
        for reset in (False, True):
            with socket.create_connection((server.address, server.port), timeout=10) as connection:
                if reset:
                    linger = (1).to_bytes(4, "little") + (0).to_bytes(4, "little")
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                connection.sendall(
                    f"PUT /{name}/debian/bookworm/half_1_amd64.deb HTTP/1.1\r\nHost: x\r\n"
                    f"Authorization: {basic(server.admin_token)}\r\n{framing}\r\n\r\n".encode()
                )
                piece = bytes(1 << 20)
                for _ in range(3):
                    connection.sendall(b"100000\r\n" + piece + b"\r\n" if "chunked" in framing else piece)
    wait_until(lambda: server.log().count("upload_interrupted") >= 4)
    assert admin.get(f"/api/v1/repos/{name}/packages.json").json() == []


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("debian/bookworm", "not_found"),
        ("el/9", "not_found"),
        ("debian/bookwurm", "distribution_unknown"),
        ("maven2/org/example/app/1.0", "coordinates_mismatch"),
    ],
)
def test_an_address_without_its_last_slash(admin: httpx.Client, path: str, code: str) -> None:
    """Goal: the slash that curl -T needs is what the answer speaks of. Method: what curl sends to a folder's address
    without it, and to a distribution that does not exist.
    """
    answer = admin.put(f"/{make_repository(admin)}/{path}", content=package("slash"))
    assert code_of(answer) == code
    hint = "curl -T adds the file's name to an address that ends with a slash"
    assert (hint in answer.json()["detail"]) == (code != "distribution_unknown")


def test_who_may_not_push_is_told_why(server: ServerProcess, admin: httpx.Client) -> None:
    """Goal: each wrong token has its own code. Method: a PUT for each."""
    name = make_repository(admin)
    other = make_repository(admin, owner="globex")
    expired = make_token(admin, "push", lives_s=1)
    revoked = make_token(admin, "push")
    row = next(each for each in reversed(admin.get("/api/v2/tokens").json()["tokens"]) if each["role"] == "push")
    assert admin.delete(f"/api/v2/tokens/{row['id']}").status_code == 204
    cases = [
        (None, 401, "token_missing"),
        ("0" * 48, 401, "token_unknown"),
        ("not a token", 401, "token_unknown"),
        (revoked, 401, "token_revoked"),
        (make_token(admin, "read"), 403, "role_too_low"),
        (make_token(admin, "push", owner="globex"), 403, "repository_not_allowed"),
        (make_token(admin, "push", repositories=[make_repository(admin)]), 403, "repository_not_allowed"),
    ]
    url = f"{server.url}/{name}/debian/bookworm/no_1_amd64.deb"
    for token, status, code in cases:
        auth = None if token is None else (token, "")
        answer = httpx.put(url, content=package("no"), auth=auth, trust_env=False)
        assert (answer.status_code, code_of(answer)) == (status, code)
        assert ("www-authenticate" in answer.headers) == (status == 401)
    wait_until(lambda: httpx.put(url, content=b"x", auth=(expired, ""), trust_env=False).status_code == 401)
    answer = httpx.put(url, content=package("no"), auth=(expired, ""), trust_env=False)
    assert code_of(answer) == "token_expired"
    assert admin.get(f"/api/v1/repos/{other}/packages.json").json() == []


def test_nobody_is_asked_for_a_body_that_would_be_refused(server: ServerProcess, admin: httpx.Client) -> None:
    """Goal: Expect: 100-continue spares the body of every refusal that can be known before it. Method: over the socket,
    without a token, to an unknown place, with a length above every limit; and one that is asked for its body.
    """
    name = make_repository(admin)
    known = f"Authorization: {basic(server.admin_token)}\r\n"
    good = f"/{name}/debian/bookworm/x_1_amd64.deb"
    for address, credentials, size_bytes, status in (
        (good, "", 9_999_999, 401),
        (f"/{name}/nowhere/x/x_1_amd64.deb", known, 9_999_999, 404),
        (f"/{name}/debian/none/x_1_amd64.deb", known, 9_999_999, 404),
        (good, known, 1 << 50, 413),
        (good, known, 9_999_999, 100),
    ):
        head = f"PUT {address} HTTP/1.1\r\nHost: x\r\n{credentials}Content-Length: {size_bytes}\r\n"
        answer = raw_request(server, f"{head}Expect: 100-continue\r\n\r\n".encode())
        assert answer.startswith(f"HTTP/1.1 {status} ".encode()), answer[:200]


def test_a_client_that_sends_all_before_it_reads_still_sees_the_refusal(
    server: ServerProcess, admin: httpx.Client
) -> None:
    """Goal: no reset in place of an answer. Method: send 16 MiB without Expect, only then read: 401 (dput), 404 and
    422.
    """
    name = make_repository(admin)
    first = package("taken")
    path = f"/{name}/debian/bookworm/taken_1.0-1_amd64.deb"
    assert admin.put(path, content=first).status_code == 201
    bulk = bytes(16 << 20)
    known = f"Authorization: {basic(server.admin_token)}\r\n"
    for address, credentials, status in (
        (path, "", b"401"),
        (f"/{name}/nowhere/x/y_1_amd64.deb", known, b"404"),
        (f"/{name}/debian/bookworm/zero_1_amd64.deb", known, b"422"),
    ):
        head = f"PUT {address} HTTP/1.1\r\nHost: x\r\n{credentials}Content-Length: {len(bulk)}\r\n\r\n".encode()
        assert raw_request(server, head + bulk).split(b" ", 2)[1] == status


def test_the_same_name_with_other_bytes_and_the_same_bytes_again(admin: httpx.Client) -> None:
    """Goal: other bytes are 409, the same bytes 200, and on /api/v1 the exact 422. Method: push each."""
    name = make_repository(admin)
    url = f"/{name}/debian/bookworm/twice_1.0-1_amd64.deb"
    content = package("twice")
    assert admin.put(url, content=content).status_code == 201
    again = admin.put(url, content=content)
    assert (again.status_code, again.json()["status"]) == (200, "same")
    other = admin.put(url, content=package("twice", filler=10))
    assert (other.status_code, code_of(other)) == (409, "name_taken")
    form = {"package[distro_version_id]": "215"}
    upload = {"package[package_file]": ("twice_1.0-1_amd64.deb", content)}
    answer = admin.post(f"/api/v1/repos/{name}/packages.json", data=form, files=upload)
    assert (answer.status_code, answer.content) == (422, b'{"filename":["has already been taken"]}')


def test_a_held_file_again_is_a_duplicate_too(admin: httpx.Client, tmp_path: Path) -> None:
    """Goal: /api/v1's exact 422 does not depend on a set being whole. Method: a .dsc alone, twice; then with its
    tarballs, which are new.
    """
    name = make_repository(admin)
    source = make_dsc(tmp_path, "hello", "1.0-1")
    url, form = f"/api/v1/repos/{name}/packages.json", {"package[distro_version_id]": "215"}
    dsc = ("package[package_file]", (source.dsc.name, source.dsc.read_bytes()))
    members = [("package[source_files][]", (each.name, each.read_bytes())) for each in source.members]
    assert admin.post(url, data=form, files=[dsc]).status_code == 201
    again = admin.post(url, data=form, files=[dsc])
    assert (again.status_code, again.content) == (422, b'{"filename":["has already been taken"]}')
    whole = admin.post(url, data=form, files=[dsc, *members])
    assert (whole.status_code, whole.json()["indexed"]) == (201, True)


def test_the_same_file_twice_at_the_same_instant_is_kept_once(server: ServerProcess, admin: httpx.Client) -> None:
    """Goal: one row, one copy, no error. Method: eight PUTs of one file behind a barrier."""
    name = make_repository(admin)
    content = package("race", filler=100_000)
    barrier = threading.Barrier(8)

    def push(_: int) -> int:
        with httpx.Client(base_url=server.url, auth=(server.admin_token, ""), trust_env=False, timeout=30) as client:
            barrier.wait()
            return client.put(f"/{name}/debian/bookworm/race_1.0-1_amd64.deb", content=content).status_code

    with ThreadPoolExecutor(8) as pool:
        statuses = sorted(pool.map(push, range(8)))
    assert statuses == [200] * 7 + [201]
    assert len(admin.get(f"/api/v1/repos/{name}/packages.json").json()) == 1
    kept = [size for size in stored(server).values() if size == len(content)]
    assert len(kept) == 1


def test_wrong_places_and_names(admin: httpx.Client) -> None:
    """Goal: each wrong address has its code. Method: PUTs and GETs to them."""
    name = make_repository(admin)
    content = package("place")
    cases = [
        ("PUT", f"/{name}/plan9/x/place_1_amd64.deb", 404, "distribution_unknown"),
        ("PUT", f"/{name}/debian/plan9/place_1_amd64.deb", 404, "distribution_unknown"),
        ("PUT", "/acme/none/debian/bookworm/place_1_amd64.deb", 404, "repository_unknown"),
        ("PUT", f"/{name}/el/9/place_1_amd64.deb", 422, None),
        ("PUT", f"/{name}/debian/bookworm/{'n' * 300}.deb", 422, "package_name_invalid"),
        ("PUT", f"/{name}/debian/bookworm/a%0ab_1_amd64.deb", 404, "not_found"),
        ("PUT", f"/{name}/debian/bookworm/a%00b_1_amd64.deb", 404, "not_found"),
        ("GET", f"/{name}/debian/../../../etc/passwd", 404, None),
        ("GET", f"/{name}/debian/%2e%2e/%2e%2e/etc/passwd", 404, "not_found"),
        ("GET", f"/{name}/debian/dists/bookworm/InRelease", 404, "not_found"),
        ("PATCH", f"/{name}/debian/bookworm/x", 405, "method_not_allowed"),
    ]
    for method, path, status, code in cases:
        answer = admin.request(method, path, content=content if method == "PUT" else None)
        assert answer.status_code == status, (path, answer.text)
        assert code in (None, answer.json()["code"]), path


def test_what_is_no_package_is_refused_with_its_reason(admin: httpx.Client) -> None:
    """Goal: bad packages end as 422 and leave the name free. Method: nothing, noise, a cut one, one with trailing
    bytes; then a good one.
    """
    name = make_repository(admin)
    good = package("file")
    url = f"/{name}/debian/bookworm/file_1.0-1_amd64.deb"
    for content in (b"", b"no package at all" * 100, good[: len(good) // 2], good + b"trailing"):
        answer = admin.put(url, content=content)
        assert answer.status_code == 422, answer.text
        assert code_of(answer) in ("not_a_package", "package_damaged")
    assert admin.put(url, content=good).status_code == 201


def test_a_slow_body_is_ended(tmp_path: Path) -> None:
    """Goal: a trickle does not hold a slot for ever. Method: a window of a second at 1 MiB/s, in process."""
    import asyncio

    from entrepot.model.errors import Refusal
    from entrepot.web.body import Body

    async def receive() -> dict[str, object]:
        await asyncio.sleep(0.05)
        return {"type": "http.request", "body": b"x", "more_body": True}

    async def run() -> str:
        try:
            async for _ in Body(receive, None).chunks(window_s=0.3, rate_min=1000):
                pass
        except Refusal as refusal:
            return refusal.code
        return "ended"

    assert asyncio.run(run()) == "upload_too_slow"


FORM = {"content-type": "multipart/form-data; boundary=b"}


def form_part(field: str, content: bytes, filename: str | None = None) -> bytes:
    """One part of a multipart body whose boundary is ``b``."""
    named = "" if filename is None else f'; filename="{filename}"'
    return f'--b\r\nContent-Disposition: form-data; name="{field}"{named}\r\n\r\n'.encode() + content + b"\r\n"


def test_forms_have_bounds(admin: httpx.Client) -> None:
    """Goal: parts and fields of an upload form are bounded in number and size. Method: one more than each bound, and
    exactly the bound. Seen to fail without either.
    """
    name = make_repository(admin)
    packages = f"/api/v1/repos/{name}/packages.json"
    place = form_part("package[distro_version_id]", b"215")
    file = form_part("package[package_file]", package("form"), "form_1.0-1_amd64.deb")

    def post(*parts: bytes) -> int:
        return admin.post(packages, content=b"".join(parts) + b"--b--\r\n", headers=FORM).status_code

    stray = [form_part(f"x{number}", b"") for number in range(FORM_PARTS_MAX - 2)]
    assert post(place, file, *stray, form_part("more", b"")) == 400
    assert post(place, file, form_part("long", bytes(FORM_FIELD_BYTES_MAX + 1))) == 422
    assert admin.get(packages).json() == []
    assert post(place, file, *stray[1:], form_part("long", bytes(FORM_FIELD_BYTES_MAX))) == 201


@pytest.mark.parametrize(
    "head", [b"", form_part("stray", b"", "x")[:-2], form_part("package[package_file]", b"", "x")[:-2]]
)
def test_a_form_without_length_ends_at_the_bound(small_server: ServerProcess, head: bytes) -> None:
    """Goal: neither a preamble nor a part that nobody asked for goes on for ever. Method: an endless body for each, on
    a server that takes 8 MiB. Seen to fail with the bound on files alone.
    """
    sent_bytes = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent_bytes
        yield head
        while sent_bytes < 256 << 20:
            sent_bytes += 1 << 20
            yield bytes(1 << 20)

    with httpx.Client(base_url=small_server.url, auth=(small_server.admin_token, ""), trust_env=False) as admin:
        name = make_repository(admin)
        answer = admin.post(f"/api/v1/repos/{name}/packages.json", content=endless(), headers=FORM, timeout=60)
    assert answer.status_code == 413
    assert sent_bytes < 256 << 20


def test_json_and_forms_that_are_none(admin: httpx.Client) -> None:
    """Goal: malformed requests of the APIs are 400 or 422, never 500. Method: broken bodies to each kind of route."""
    name = make_repository(admin)
    packages = f"/api/v1/repos/{name}/packages.json"
    deep = "[" * 100_000
    assert admin.post("/api/v2/tokens", content="{").status_code == 400
    assert admin.post("/api/v2/tokens", content=deep).status_code == 400
    assert admin.post("/api/v2/tokens", content=json.dumps({"name": 7})).status_code == 422
    assert admin.post("/api/v2/repos", content=json.dumps({"name": "../../x"})).status_code == 422
    assert admin.post("/api/v2/repos", content=json.dumps({"name": "api/x"})).status_code == 422
    assert admin.post(packages, content=b"x").status_code == 400
    assert admin.post(packages, content=b"--b\r\nnonsense", headers=FORM).status_code == 400
    file = {"package[package_file]": ("a.deb", package("form"))}
    assert admin.post(packages, files=file).status_code == 422
    assert admin.post(packages, files=file, data={"package[distro_version_id]": "9999"}).status_code == 422
    assert admin.post(packages, data={"package[distro_version_id]": "215"}, files={"other": b""}).status_code == 422
