"""A hostile network: connections that break at every place, crawl, or are never read; all that they held comes back."""

import socket
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Iterator

import httpx
import pytest

from tests.fault.netproxy import Harm, NetProxy
from tests.fault.rig import FULL, Answer, Rig, running
from tests.fault.routes import fresh_deb, put_deb
from tests.support.builders import deb_bytes

pytestmark = [pytest.mark.fault, pytest.mark.timeout(1200 if FULL else 600)]

UNREAD_S = 3.0
STEP_BYTES = (64 if FULL else 256) * 1024
BODY_BYTES = (4 if FULL else 1) * 1024 * 1024
HELD_S_MAX = 120.0
"""A wait for what comes after the rate's window (20 s) or the unread bound, on a loaded machine."""
LARGE_BYTES = (64 if FULL else 32) * 1024 * 1024


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """One server for the hostile clients; unread answers are cut off soon."""
    env = {"ENTREPOT_SERVER_UNREAD_S_MAX": str(UNREAD_S)}
    with running(tmp_path_factory.mktemp("network") / "data", env=env, lies=[] if FULL else ["window=3"]) as made:
        yield made


@pytest.fixture
def proxy(rig: Rig) -> Iterator[NetProxy]:
    """The network between the clients and the server."""
    with NetProxy((rig.address, rig.port)) as made:
        yield made


def put_through(rig: Rig, proxy: NetProxy, repository: str, size_bytes: int) -> Answer:
    """Upload over the hostile network; a connection that breaks is an answer of its own."""
    filename, data = fresh_deb(size_bytes)
    path = f"{proxy.url}/{repository}/debian/bookworm/{filename}"
    try:
        found = httpx.put(path, content=data, auth=(rig.admin_token, ""), timeout=HELD_S_MAX, trust_env=False)
        answer = Answer(found.status_code, dict(found.headers), found.text)
    except httpx.HTTPError as error:
        answer = Answer(0, text=type(error).__name__)
    rig.counts.answered(answer.status, answer.headers)
    rig.world.sent(repository, data, answer)
    return answer


def wait_idle(rig: Rig) -> None:
    """Return when nothing is held any more: requests, slots, reservations, descriptors, bytes."""
    deadline = time.monotonic() + HELD_S_MAX
    while rig.statusz()["requests_in_flight"]:
        assert time.monotonic() < deadline, rig.statusz()
        time.sleep(0.1)
    rig.check_idle()


@pytest.mark.parametrize("kind", ["cut", "reset", "half"])
def test_a_connection_breaks_at_every_place(rig: Rig, proxy: NetProxy, kind: str) -> None:
    """Goal: a broken upload leaves nothing and is no package. Method: the proxy breaks the connection after each step
    of the client's bytes, before the first and after the last; then all is well.
    """
    repository = rig.repository(f"acme/{kind}")
    put_deb(rig, repository)
    for after in range(0, BODY_BYTES + 2 * STEP_BYTES, STEP_BYTES):
        proxy.harm = Harm(kind, after)
        rig.counts.faults += 1
        answer = put_through(rig, proxy, repository, BODY_BYTES)
        # A half-closed connection is a client that has said all: what came short is told, and is the client's fault.
        assert answer.status in (0, 201, 400), answer.text
    wait_idle(rig)
    assert put_deb(rig, repository, size_bytes=BODY_BYTES).status == 201
    rig.check()


def test_senders_that_crawl_are_sent_away(rig: Rig, proxy: NetProxy) -> None:
    """Goal: one byte a second holds its slot and its reservation for one window of the rate, not for ever. Method: 16
    senders that crawl or stop in the middle, at the same time, while another client uploads.
    """
    repository = rig.repository("acme/crawl")
    answers: list[Answer] = []
    senders = []
    for number in range(16):
        harm = Harm("trickle" if number % 2 else "stall", 200_000)
        senders.append(threading.Thread(target=crawl, args=(rig, repository, harm, answers)))
        rig.counts.faults += 1
    for sender in senders:
        sender.start()
    for _ in range(5):
        assert put_deb(rig, repository).status == 201
    for sender in senders:
        sender.join(2 * HELD_S_MAX)  # a stalled one notices nothing before its own time-out of HELD_S_MAX
        assert not sender.is_alive()
    assert {answer.status for answer in answers} <= {0, 408}, answers
    wait_idle(rig)
    rig.check()


def crawl(rig: Rig, repository: str, harm: Harm, answers: list[Answer]) -> None:
    """One sender behind a network of its own."""
    with NetProxy((rig.address, rig.port)) as proxy:
        proxy.harm = harm
        answers.append(put_through(rig, proxy, repository, BODY_BYTES))


def ask_and_never_read(rig: Rig, path: str) -> socket.socket:
    """A request whose answer has begun, and is never taken from the socket, whose window is small and soon closed."""
    token = b64encode(f"{rig.admin_token}:".encode()).decode()
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
    connection.connect((rig.address, rig.port))
    connection.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Basic {token}\r\n\r\n".encode())
    connection.settimeout(HELD_S_MAX)
    assert connection.recv(1) == b"H"
    return connection


def test_answers_that_nobody_reads_are_cut_off(rig: Rig) -> None:
    """Goal: a client that never reads its answer does not hold its request until the stop. Method: eight requests for
    a large file that are never read, and one that is read slowly: the eight are gone in the bound, the slow one gets
    it all.
    Seen to fail without TCP_USER_TIMEOUT on the listening socket.
    """
    repository = rig.repository("acme/unread")
    content = deb_bytes("large", "1.0", files={"usr/large": bytes(LARGE_BYTES)}, data_compression="none")
    place = f"/{repository}/debian/bookworm/large_1.0_amd64.deb"
    answer = rig.send("PUT", place, content=content)
    assert answer.status == 201, answer.text
    rig.world.sent(repository, content, answer)
    path = f"/{repository}/packages/debian/bookworm/large_1.0_amd64.deb/download"
    deaf = [ask_and_never_read(rig, path) for _ in range(8)]
    rig.counts.faults += len(deaf)
    got: list[int] = []
    slow = threading.Thread(target=read_slowly, args=(rig, path, got.append))
    slow.start()
    try:
        deadline = time.monotonic() + HELD_S_MAX
        while rig.statusz()["requests_in_flight"] > 1 or copies_open(rig) > 1:
            assert time.monotonic() < deadline, (rig.statusz(), copies_open(rig))
            time.sleep(0.1)
    finally:
        for connection in deaf:
            connection.close()
    slow.join(HELD_S_MAX)
    assert got == [len(content)]
    wait_idle(rig)


def copies_open(rig: Rig) -> int:
    """Package files that the server holds open."""
    return sum(each.startswith(f"{rig.data}/blobs/") for each in rig.fds())


def read_slowly(rig: Rig, path: str, done: Callable[[int], None]) -> None:
    """Take the answer in pieces, with pauses whose sum is well above the bound for taking nothing at all."""
    with rig.client.stream("GET", path) as answer:
        total = 0
        for piece in answer.iter_raw(4 * 1024 * 1024):
            total += len(piece)
            time.sleep(UNREAD_S / 5)
    done(total)
