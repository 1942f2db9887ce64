"""The small parts of the web floor: addresses, credentials, forwarded headers, ranges, retry advice."""

import asyncio
import base64

import pytest

from entrepot.model.errors import TABLE, Refusal
from entrepot.model.limits import DRAIN_BYTES_MAX, MIB
from entrepot.web import address, auth, problem
from entrepot.web.body import DRAINS_ALL_MAX, Body, Drains
from entrepot.web.call import Peers, clean_path
from entrepot.web.conditional import Validators, byte_range, http_date, not_modified

TOKEN = "ab" * 24


def test_addresses_that_climb_or_hide_are_nothing() -> None:
    """Goal: no path leaves its repository. Method: dots, control characters, odd slashes."""
    assert clean_path("//api///v1//repos") == "/api/v1/repos"
    assert clean_path("//") == "/"
    assert clean_path("/u/r/") == "/u/r/"
    for bad in ("/u/r/../x", "/u/./r", "/u/r/a\nb", "/u/r/a\0b", "/u/\ud800", "/u/r/" + "x" * 5000):
        with pytest.raises(Refusal):
            clean_path(bad)


def test_which_addresses_are_repositories() -> None:
    """Goal: reserved words are never owners, a token in the path is only one of the right form. Method: a table."""
    found = address.parse("/acme/main/debian/dists/bookworm/InRelease")
    assert found is not None
    assert (str(found.repository), found.rest, found.path_token) == (
        "acme/main",
        "debian/dists/bookworm/InRelease",
        None,
    )
    private = address.parse(f"/priv/{TOKEN}/acme/main/maven2/x")
    assert private is not None
    assert (str(private.repository), private.rest, private.path_token) == ("acme/main", "maven2/x", TOKEN)
    for other in (
        "/",
        "/acme",
        "/acme/",
        "/api/v1",
        "/api/v2/repos",
        "/priv/short/acme/main/x",
        "/livez",
        "/-x/main/y",
    ):
        assert address.parse(other) is None


def test_where_a_token_may_stand() -> None:
    """Goal: user name, password, Bearer and path. Method: one of each, and what is malformed."""

    def basic(text: str) -> bytes:
        return b"Basic " + base64.b64encode(text.encode())

    assert auth.credentials(None) == ()
    assert auth.credentials(basic(f"{TOKEN}:")) == (TOKEN,)
    assert auth.credentials(basic(f"user:{TOKEN}")) == ("user", TOKEN)
    assert auth.credentials(b"bearer " + TOKEN.encode()) == (TOKEN,)
    assert auth.credentials(basic("x:y"), TOKEN) == (TOKEN, "x", "y")
    assert auth.credentials(b"Basic %%%") == ("",)
    assert auth.credentials(b"Digest x") == ()
    assert auth.credentials(b"Basic " + b"A" * 100_000) == ()


def test_only_trusted_proxies_speak_for_others() -> None:
    """Goal: nobody chooses his own address. Method: the header from anybody, from a proxy, through two, and forged in
    front.
    """
    peers = Peers.parse(["10.0.0.0/8", "::1"])
    assert peers.client("192.0.2.1", b"1.2.3.4") == "192.0.2.1"
    assert peers.client("10.1.1.1", b"1.2.3.4") == "1.2.3.4"
    assert peers.client("10.1.1.1", b"6.6.6.6, 1.2.3.4, 10.2.2.2") == "1.2.3.4"
    assert peers.client("10.1.1.1", b"nonsense") == "10.1.1.1"
    assert peers.client("::1", None) == "::1"
    assert Peers().client("10.1.1.1", b"1.2.3.4") == "10.1.1.1"
    # Azure's gateways write ports; a socket for both families shows IPv4 as a part of IPv6.
    assert peers.client("10.1.1.1", b"1.2.3.4:5678") == "1.2.3.4"
    assert peers.client("::ffff:10.1.1.1", b"[2001:db8::7]:443") == "2001:db8::7"
    assert Peers().client("::ffff:192.0.2.1", b"1.2.3.4") == "192.0.2.1"
    assert peers.client("", b"1.2.3.4") == ""


def test_an_older_date_in_the_cache_is_no_match() -> None:
    """Goal: after a clock was set back, a client with a later date must not be told 304. Method: dates around ours."""
    ours = Validators("e", 1_700_000_000)
    for date, answer in ((ours.last_modified_s, True), (ours.last_modified_s + 60, False), (1_600_000_000, False)):
        assert not_modified({b"if-modified-since": http_date(date)}, ours) is answer
    unsafe = Validators("e", 1_700_000_000, date_vouches=False)
    assert not not_modified({b"if-modified-since": http_date(1_700_000_000)}, unsafe)
    assert not_modified({b"if-none-match": b'W/"x", "e"'}, unsafe)


def test_ranges_of_an_empty_file() -> None:
    """Goal: no range of nothing is satisfiable. Method: a suffix and a start."""
    for text in (b"bytes=0-", b"bytes=-5"):
        with pytest.raises(Refusal, match="range_not_satisfiable"):
            byte_range({b"range": text}, Validators("e", 0), 0)


def test_every_refusal_becomes_http_with_its_advice() -> None:
    """Goal: status, code and Retry-After of the whole table; 503 always says when to come back. Method: each row, both
    shapes.
    """
    for code, kind in TABLE.items():
        for shape in (problem.problem, problem.packagecloud):
            status, headers, body = shape(Refusal(code), "id")
            names = dict(headers)
            assert body
            assert names[b"x-entrepot-code"] == code.encode()
            assert (b"retry-after" in names) == (kind.retry_after_s is not None)
            assert (b"www-authenticate" in names) == (status == 401)
            assert status == kind.status or (code == "distribution_unknown" and status == 422)
        if kind.status == 503:
            assert kind.retry_after_s is not None
    advice = {dict(problem.problem(Refusal("busy"), "id")[1])[b"retry-after"] for _ in range(50)}
    assert len(advice) > 1, "without jitter all clients come back at once"


def test_draining_is_bounded_and_never_asks_for_an_expected_body() -> None:
    """Goal: at most so many bytes and seconds; no 100 Continue for a body that nobody wants. Method: an endless and a
    silent client.
    """

    async def endless() -> dict[str, object]:
        return {"type": "http.request", "body": bytes(1 << 20), "more_body": True}

    async def silent() -> dict[str, object]:
        await asyncio.sleep(60)
        raise AssertionError

    async def run() -> None:
        body = Body(endless, None)
        assert body.owed
        assert await body.drain(8 << 20, 5) == 8 << 20
        quiet = Body(silent, 100)
        assert await quiet.drain(8 << 20, 0.1) == 0
        assert quiet.gone
        assert not Body(silent, 100, expects_continue=True).owed
        assert not Body(silent, 0).owed

    asyncio.run(run())


class Sender:
    """A client that sends ``declared_bytes`` in pieces of a mebibyte, each when ``turn`` is set."""

    def __init__(self, declared_bytes: int, turn: asyncio.Event | None = None) -> None:
        self.body = Body(self._receive, declared_bytes)
        self.declared_bytes = declared_bytes
        self.sent_bytes = 0
        self._turn = turn

    async def _receive(self) -> dict[str, object]:
        if self._turn is not None:
            await self._turn.wait()
        self.sent_bytes += MIB
        return {"type": "http.request", "body": bytes(MIB), "more_body": self.sent_bytes < self.declared_bytes}


def test_a_401_drains_all_that_was_declared() -> None:
    """Goal: dput, which sends everything before it authenticates, sees its 401 for packages of any size; other refusals
    keep their bound. Method: twice the bound for each. Seen to fail with `drain` in place of `drain_all`.
    """

    async def run() -> None:
        size_bytes = 2 * DRAIN_BYTES_MAX
        for whole, sent_bytes in ((True, size_bytes), (False, DRAIN_BYTES_MAX)):
            sender = Sender(size_bytes)
            await Drains().drain(sender.body, whole=whole)
            assert (sender.sent_bytes, sender.body.ended) == (sent_bytes, whole)

    asyncio.run(run())


def test_a_401_does_not_wait_for_a_trickle() -> None:
    """Goal: the patience is for those that send. Method: a byte every 5 ms of a declared gibibyte, against 64 KiB/s."""

    async def trickle() -> dict[str, object]:
        await asyncio.sleep(0.005)
        return {"type": "http.request", "body": b"x", "more_body": True}

    async def run() -> None:
        body = Body(trickle, 1 << 30)
        assert await body.drain_all(window_s=0.1) < 1000
        assert body.gone

    asyncio.run(run())


def test_so_many_401s_are_drained_whole_at_once() -> None:
    """Goal: clients without a token never tie up more than a few readers. Method: as many as are allowed, all waiting
    for their next piece, and one more of twice the bound: it gets the bound, and the next one after them all. Seen to
    fail without the count.
    """

    async def run() -> None:
        drains, turn = Drains(), asyncio.Event()
        waiting = [Sender(2 * MIB, turn) for _ in range(DRAINS_ALL_MAX)]
        tasks = [asyncio.create_task(drains.drain(each.body, whole=True)) for each in waiting]
        await asyncio.sleep(0)  # each has begun
        late = Sender(2 * DRAIN_BYTES_MAX)
        await drains.drain(late.body, whole=True)
        assert late.sent_bytes == DRAIN_BYTES_MAX
        turn.set()
        await asyncio.gather(*tasks)
        assert all(each.body.ended for each in waiting)
        after = Sender(2 * DRAIN_BYTES_MAX)
        await drains.drain(after.body, whole=True)
        assert after.body.ended

    asyncio.run(run())
