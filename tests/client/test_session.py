"""Requests over a real socket: refusals, waits, connections that break."""

import io
import json
import socket
import ssl
import threading
import time
from contextlib import suppress
from functools import partial
from pathlib import Path

import httpx
import pytest

from entrepot.client import retry
from entrepot.client.errors import Exit, FileChanged, Problem, Unreachable, UsageError, problem_from
from entrepot.client.retry import Wait
from entrepot.client.session import Session
from tests.client.fake import Handler, connection, created, cut, fake, refuse

BODY = b"x" * 300_000


def send(session: Session, body: bytes = BODY, size_bytes: int | None = None) -> int:
    """Upload bytes; the status."""
    stream = io.BytesIO(body)
    length = len(body) if size_bytes is None else size_bytes
    return session.upload("POST", "/x/packages", stream, length, query=[("filename", "x")]).status


def test_a_busy_server_is_asked_again_after_the_time_that_it_names() -> None:
    """Goal: Retry-After is honoured. Method: two 503 with 1 s; the third attempt succeeds no sooner than 2 s later."""
    waits: list[Wait] = []
    busy = refuse(503, "busy", Retry_After="1")
    with fake(busy, busy, created) as server:
        began = time.monotonic()
        with Session(connection(server.url), on_wait=waits.append, jitter=lambda: 0.0) as session:
            assert send(session) == 201
        assert time.monotonic() - began >= 2
        assert len(server.uploads) == 3
    assert [wait.wait_s for wait in waits] == [1.0, 1.0]
    assert "busy" in waits[0].reason


def test_patience_ends() -> None:
    """Goal: a server that stays busy ends the push with exit code 4 and its own words. Method: 503 for ever, 2 s."""
    with fake(refuse(503, "no_room", Retry_After="1")) as server:
        with (
            Session(connection(server.url), retry_for_s=2.5, jitter=lambda: 0.0) as session,
            pytest.raises(Unreachable) as caught,
        ):
            send(session)
        assert len(server.uploads) == 3
    assert (caught.value.code, caught.value.exit_code) == ("no_room", Exit.UNREACHABLE)
    assert "Refused: no_room" in caught.value.detail


def test_jitter_only_ever_lengthens_the_wait() -> None:
    """Goal: clients refused together do not return together, and none too early. Method: judge with both ends."""
    found = []
    for jitter in (0.0, 1.0):
        patience = retry.Patience(600, lambda _: None, partial(float, jitter))
        found.append(patience.judge(Problem(503, "busy", "Busy.", retry_after_s=10)))
    assert found == [10.0, pytest.approx(12.6)]


def test_a_broken_connection_is_tried_again() -> None:
    """Goal: a cut in the middle of a body costs one repetition. Method: the server hangs up after 1,000 bytes."""
    with fake(cut, created) as server, Session(connection(server.url), jitter=lambda: 0.0) as session:
        restarts: list[int] = []
        answer = session.upload(
            "POST", "/x/packages", io.BytesIO(b"y" * 4_000_000), 4_000_000, on_restart=lambda: restarts.append(1)
        )
        assert (answer.status, len(restarts)) == (201, 2)


@pytest.mark.parametrize(
    ("status", "code", "exit_code"),
    [
        (401, "token_unknown", Exit.AUTHENTICATION),
        (403, "role_too_low", Exit.AUTHENTICATION),
        (409, "name_taken", Exit.CONFLICT),
        (413, "too_large", Exit.REFUSED),
        (422, "not_a_package", Exit.REFUSED),
        (507, "quota_exceeded", Exit.REFUSED),
        (500, "internal", Exit.REFUSED),
    ],
)
def test_other_refusals_are_final(status: int, code: str, exit_code: Exit) -> None:
    """Goal: what a repetition cannot cure is asked once. Method: each status; the number of requests."""
    with fake(refuse(status, code)) as server, Session(connection(server.url)) as session:
        with pytest.raises(Problem) as caught:
            send(session)
        assert len(server.uploads) == 1
    assert (caught.value.code, caught.value.exit_code) == (code, exit_code)


def test_an_answer_before_the_end_of_the_body_stops_the_sending() -> None:
    """Goal: a refusal that comes at once is seen and understood although the body is not sent; nothing is repeated.

    Method: 256 MiB promised; the server answers 413 after the head and, as ours does, drops the next 64 MiB; less than
    16 MiB are sent.
    """
    sent = 0

    def too_large(handler: Handler) -> None:
        handler.answer(413, {"code": "too_large", "detail": "Too large."}, Connection="close")
        handler.connection.settimeout(2)
        try:
            for _ in range(1024):
                if not handler.rfile.read(65_536):
                    break
        except OSError:
            pass
        handler.close_connection = True

    class Endless(io.RawIOBase):
        def seek(self, *_: int) -> int:
            return 0

        def read(self, size: int = -1) -> bytes:
            return bytes(size)

    def count(size_bytes: int) -> None:
        nonlocal sent
        sent += size_bytes

    size_bytes = 256 * 1024 * 1024
    with fake(too_large) as server, Session(connection(server.url)) as session:
        with pytest.raises(Problem) as caught:
            session.upload("POST", "/x/packages", Endless(), size_bytes, on_bytes=count)  # type: ignore[arg-type]
        assert len(server.uploads) == 1
    assert caught.value.code == "too_large"
    assert sent < 16 * 1024 * 1024


def test_a_file_that_shrinks_is_an_error_of_its_own() -> None:
    """Goal: a file that is still being written is named as such. Method: promise more than there is."""
    with (
        fake(created) as server,
        Session(connection(server.url)) as session,
        pytest.raises(FileChanged, match="ended 10 bytes before"),
    ):
        send(session, BODY, len(BODY) + 10)


def test_nobody_listens() -> None:
    """Goal: exit code 4 and a hint at the URL. Method: a port that nobody holds."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        with (
            Session(connection(f"http://127.0.0.1:{held.getsockname()[1]}"), retry_for_s=0) as session,
            pytest.raises(Unreachable) as caught,
        ):
            session.get("/api/v2/repos")
    assert caught.value.exit_code is Exit.UNREACHABLE
    assert "ENTREPOT_URL" in caught.value.remedy


def test_a_redirect_is_not_followed_with_a_token() -> None:
    """Goal: the token goes to no other address than the given one. Method: 301 to another; the sentence names it."""

    def moved(handler: Handler) -> None:
        handler.answer(301, {}, Location="https://other.example.org/")

    with fake(moved) as server, Session(connection(server.url)) as session:
        with pytest.raises(UsageError, match=r"other\.example\.org"):
            session.get("/api/v2/repos")
        assert len(server.gets) == 1


@pytest.mark.parametrize(
    ("body", "coding", "says"),
    [
        (b"<html>", "identity", "not JSON"),
        (b"[" * 200_000, "identity", "not JSON"),
        (b"[]", "identity", "no JSON object"),
        (b"null", "identity", "no JSON object"),
        (b"", "identity", "not JSON"),
        (b"{}", "gzip", "cannot be unpacked"),
    ],
    ids=["html", "nested", "list", "null", "empty", "no gzip"],
)
def test_something_else_than_our_server(body: bytes, coding: str, says: str) -> None:
    """Goal: a page of another program is no crash. Method: 200 with HTML; JSON that exhausts the parser's stack, or is
    no object; a body that is not coded as its head says.
    """

    def page(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(body)))
        handler.send_header("Content-Encoding", coding)
        handler.end_headers()
        handler.wfile.write(body)

    with fake(page) as server, Session(connection(server.url)) as session, pytest.raises(Problem, match=says):
        session.get("/api/v2/repos")


def test_an_answer_that_drips_has_an_end() -> None:
    """Goal: a server that sends a byte now and then holds no pipeline for ever. Method: one that never ends, each byte
    well within the time-out of a read.
    """
    ended = threading.Event()

    def drip(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "1000000")
        handler.end_headers()
        with suppress(OSError):
            while not ended.wait(0.05):
                handler.wfile.write(b" ")

    with fake(drip) as server, Session(connection(server.url), answer_s=0.4, retry_for_s=0) as session:
        try:
            with pytest.raises(Unreachable, match="no answer in time"):
                session.get("/api/v2/repos")
        finally:
            ended.set()


def test_certificates_and_names_are_not_waited_for() -> None:
    """Goal: only what may pass is repeated. Method: the errors as httpx chains them."""
    wrong_ca = httpx.ConnectError("x")
    wrong_ca.__cause__ = ssl.SSLCertVerificationError("self-signed")
    no_name = httpx.ConnectError("x")
    no_name.__cause__ = socket.gaierror(socket.EAI_NONAME, "unknown")
    dns_down = httpx.ConnectError("x")
    dns_down.__cause__ = socket.gaierror(socket.EAI_AGAIN, "again")
    answers = [retry.transient(error) for error in (wrong_ca, no_name, dns_down, httpx.ReadError("reset"))]
    assert answers == [False, False, True, True]


@pytest.mark.parametrize(
    ("body", "code", "detail"),
    [
        (b'{"code": "busy", "detail": "Come back."}', "busy", "Come back."),
        (b'{"error": "Unauthenticated", "detail": "No token."}', "http_400", "No token."),
        (b'{"filename": ["has already been taken"]}', "http_400", "filename has already been taken"),
        (b"<html>Bad Gateway</html>", "http_400", "HTTP 400 from nginx"),
        (b"plain words", "http_400", "HTTP 400 from nginx: plain words"),
        (b"", "http_400", "HTTP 400 from nginx"),
        (json.dumps([1]).encode(), "http_400", "HTTP 400 from nginx: [1]"),
    ],
)
def test_every_shape_of_a_refusal_becomes_a_sentence(body: bytes, code: str, detail: str) -> None:
    """Goal: problem documents, packagecloud's shapes and a proxy's pages. Method: read each."""
    found = problem_from(400, {"server": "nginx", "retry-after": "Mon"}, body)
    assert (found.code, found.detail, found.retry_after_s) == (code, detail, None)


def test_a_ca_file_that_is_none_is_named(tmp_path: Path) -> None:
    """Goal: a wrong CA file is a usage error. Method: a text file."""
    path = tmp_path / "ca.pem"
    path.write_text("no certificate")
    with pytest.raises(UsageError, match=r"ca\.pem"):
        Session(type(connection("x"))("https://h", None, path, None, None, {}))
