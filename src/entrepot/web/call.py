"""One HTTP request: what was asked, and the two streams, with everything counted that a log line and a drain need."""

import ipaddress
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qsl

from entrepot.model.errors import Refusal
from entrepot.model.limits import PATH_CHARS_MAX
from entrepot.observe.health import Draining
from entrepot.web.body import Body

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Header = tuple[bytes, bytes]

QUERY_FIELDS_MAX = 128
LENGTH_MAX = 2**63 - 1
HOPS_MAX = 16
IpNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class Peers:
    """Which neighbours may speak for the real client. Forwarded headers of anybody else are ignored: they could claim
    any address.
    """

    trusted: tuple[IpNetwork, ...] = ()

    @classmethod
    def parse(cls, networks: Sequence[str]) -> "Peers":
        """From addresses or networks (``10.0.0.0/8``, ``::1``). Raises ValueError."""
        return cls(tuple(ipaddress.ip_network(text, strict=False) for text in networks))

    def trusts(self, address: str) -> bool:
        """Whether ``address`` is one of the trusted proxies; an address that is none (a unix socket) never is."""
        parsed = _address(address)
        return parsed is not None and any(parsed in network for network in self.trusted)

    def client(self, peer: str, forwarded_for: bytes | None) -> str:
        """The client's address: the peer, or the rightmost untrusted entry of X-Forwarded-For when the peer is a
        trusted proxy. An IPv4 address that came in over an IPv6 socket is written as one of IPv4.
        """
        address = _address(peer)
        if address is None:
            return peer
        found = str(address)
        if forwarded_for is None or not self.trusts(peer):
            return found
        for text in reversed(forwarded_for.decode("latin-1").split(",")[-HOPS_MAX:]):
            address = _address(text.strip())
            if address is None:
                break
            found = str(address)
            if not self.trusts(found):
                break
        return found


@lru_cache(maxsize=4096)
def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """An address, with a port or without (Azure's gateways write one)."""
    if text.startswith("[") or text.count(":") == 1:
        text = text.rpartition(":")[0].strip("[]") if not text.endswith("]") else text.strip("[]")
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        return None
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return mapped or found


@lru_cache(maxsize=4096)
def clean_path(path: str) -> str:
    """The path without repeated slashes. A pure function, cached because package managers ask for the same addresses
    all day.

    Raises Refusal("not_found") for ``.`` and ``..`` segments (they would climb out of a repository's address space),
    for NUL and other control characters (they split log lines and headers); ``url_too_long``.
    """
    if len(path) > PATH_CHARS_MAX * 2:
        raise Refusal("url_too_long", chars=len(path), chars_max=PATH_CHARS_MAX * 2)
    if not path.isprintable():
        raise Refusal("not_found", "The address holds control characters or bytes that are not UTF-8.")
    segments = path.split("/")
    if "." in segments or ".." in segments:
        raise Refusal("not_found", "The address holds a '.' or '..' segment.")
    if "//" in path:
        closing = "/" if path.endswith("/") else ""
        path = "/" + "/".join(segment for segment in segments if segment) + closing
        path = "/" if path == "//" else path
    return path


class Call:
    """One request on its way through. ``route``, ``repository``, ``code`` and the ``refused`` numbers are filled in as
    it goes, for the log line and the metrics.
    """

    __slots__ = (
        "_draining",
        "_query",
        "_send",
        "address",
        "body",
        "code",
        "gone",
        "headers",
        "method",
        "path",
        "refused",
        "repository",
        "request_id",
        "route",
        "scope",
        "sent_bytes",
        "started",
        "status",
        "token_id",
        "token_name",
    )

    def __init__(
        self, scope: Scope, receive: Receive, send: Send, *, request_id: str, peers: Peers, draining: Draining
    ) -> None:
        self.scope = scope
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        client = scope.get("client")
        peer = str(client[0]) if client else ""
        self.address = peers.client(peer, _forwarded_for(scope["headers"]) if peers.trusted else None)
        self.request_id = request_id
        self.body = Body(receive, _declared(self.headers), expects_continue=b"expect" in self.headers)
        self.route = ""
        self.code = "ok"
        self.repository: str | None = None
        self.refused: Mapping[str, object] = {}
        self.token_id: int | None = None
        self.token_name: str | None = None
        self.status = 0
        self.started = False
        self.gone = False
        self.sent_bytes = 0
        self._send = send
        self._draining = draining
        self._query: list[tuple[str, str]] | None = None

    def known_as(self, token_id: int, token_name: str) -> None:
        """Whose request it is, for the log line. Names need not differ, numbers do."""
        self.token_id, self.token_name = token_id, token_name

    def header(self, name: bytes) -> str | None:
        """A request header by its lower-case name, or None."""
        value = self.headers.get(name)
        return None if value is None else value.decode("latin-1")

    @property
    def query(self) -> list[tuple[str, str]]:
        """The query's fields in order. Raises Refusal("field_invalid") when there are more than 128."""
        if self._query is None:
            text = self.scope.get("query_string", b"").decode("latin-1")
            try:
                self._query = parse_qsl(text, keep_blank_values=True, max_num_fields=QUERY_FIELDS_MAX)
            except ValueError as error:
                raise Refusal(
                    "field_invalid", "The query string has too many fields.", fields_max=QUERY_FIELDS_MAX
                ) from error
        return self._query

    def argument(self, name: str) -> str | None:
        """The last query field of that name, or None."""
        found = None
        for key, value in self.query:
            if key == name:
                found = value
        return found

    def arguments(self, name: str) -> list[str]:
        """Every query field of that name."""
        return [value for key, value in self.query if key == name]

    async def watch(self) -> None:
        """Wait for the client to hang up and set ``gone``; only for a request without a body, which is not read."""
        if not self.body.owed:
            await self.body.until_gone()
            self.gone, self.code = True, "client_gone"

    async def start(self, status: int, headers: list[Header]) -> None:
        """Send the head of the answer; the request's id is added."""
        self.started = True
        self.status = status
        headers.append((b"x-request-id", self.request_id.encode()))
        if self._draining.last_answers:
            headers.append((b"connection", b"close"))
        elif self.body.unread:
            # Nobody can tell where the next request would begin (RFC 9112 section 9.6). HAProxy 2.6 keeps such a
            # connection when its client gives up, and sends another client's request as the rest of this body.
            headers.append((b"connection", b"close"))
        await self._send({"type": "http.response.start", "status": status, "headers": headers})

    async def write(self, chunk: bytes, *, more: bool) -> None:
        """Send a piece of the answer's body."""
        self.sent_bytes += len(chunk)
        await self._send({"type": "http.response.body", "body": chunk, "more_body": more})

    async def answer(self, status: int, headers: list[Header], content: bytes = b"") -> None:
        """Send a whole answer; HEAD gets its head alone."""
        headers.append((b"content-length", b"%d" % len(content)))
        await self.start(status, headers)
        await self.write(b"" if self.method == "HEAD" else content, more=False)


def _forwarded_for(headers: Iterable[Header]) -> bytes | None:
    """Every line of X-Forwarded-For as one: a proxy may add its own below those that came in (RFC 9110 section 5.3)."""
    lines = [value for name, value in headers if name == b"x-forwarded-for"]
    return b",".join(lines) if lines else None


def _declared(headers: dict[bytes, bytes]) -> int | None:
    """Content-Length as a number, the largest that fits 64 bits for one beyond; 0 when there is no body at all (RFC
    9112 section 6.3); None when its length is unknown.
    """
    if b"transfer-encoding" in headers:
        return None
    text = headers.get(b"content-length")
    if text is None:
        return 0
    return min(int(text[:20]), LENGTH_MAX) if text.isdigit() else None
