"""One keep-alive connection to a server: requests with a token, refusals as exceptions, uploads that listen while they
send.
"""

from __future__ import annotations

import json
import os
import select
import socket
import ssl
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO

import httpcore
import httpx

from entrepot import __version__
from entrepot.client import clock, retry
from entrepot.client.answers import parse
from entrepot.client.config import Connection
from entrepot.client.errors import FileChanged, UsageError, problem_from
from entrepot.client.retry import Patience, Wait

if TYPE_CHECKING:
    from typing import Self  # novm

CHUNK_BYTES = 256 * 1024
ANSWER_BYTES_MAX = 64 * 1024 * 1024
CONNECT_S = 10.0
IDLE_S = 60.0
# The server writes the file to its disk, reads it once more and waits for the index before it answers.
ANSWER_S = 300.0

Query = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Answer:
    """An answer below 400."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def document(self) -> Any:
        """The JSON object of the body. Raises Problem for anything else: not our server, or a proxy's page."""
        text = b"The answer is no JSON object: is this an Entrepot server?"
        try:
            found = parse(self.body)
        except ValueError:
            text = b"The answer is not JSON: is this an Entrepot server?"
            found = None
        if not isinstance(found, dict):
            raise problem_from(self.status, self.headers, text)
        return found


class Wire:
    """The socket below the connection, so that a sender can notice an answer that comes before its body ended."""

    def __init__(self) -> None:
        self._socket: socket.socket | None = None

    def trace(self, name: str, info: Mapping[str, Any]) -> None:
        """httpcore calls this at each of its steps."""
        if name == "connection.connect_tcp.complete":
            found = info["return_value"].get_extra_info("socket")
            self._socket = found if isinstance(found, socket.socket) else None
        elif name == "connection.start_tls.complete":
            # A readable TLS socket may hold no more than a session ticket; there the failing write has to tell.
            self._socket = None

    def answered(self) -> bool:
        """Whether bytes, or the end of the connection, wait to be read. Never blocks."""
        if self._socket is None or self._socket.fileno() < 0:
            return False
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        return bool(poll.poll(0))


class FileBody(httpx.SyncByteStream):
    """A request body from an open file: exactly ``size_bytes``, told to ``on_bytes`` as it goes.

    Raises FileChanged in the middle when the file ends early. Stops sending when the server has answered already.
    """

    def __init__(self, stream: BinaryIO, size_bytes: int, wire: Wire, on_bytes: Callable[[int], None]) -> None:
        self._stream = stream
        self._size_bytes = size_bytes
        self._wire = wire
        self._on_bytes = on_bytes

    def __iter__(self) -> Iterator[bytes]:
        """The pieces, from the start of the file each time."""
        self._stream.seek(0)
        left = self._size_bytes
        while left:
            if self._wire.answered():
                # The one error that httpcore takes as "the server does not want the rest": it goes on to the answer.
                raise httpcore.WriteError("the server answered before the body ended")
            chunk = self._stream.read(min(CHUNK_BYTES, left))
            if not chunk:
                raise FileChanged(f"The file ended {left} bytes before the length it had at the start.")
            left -= len(chunk)
            yield chunk
            self._on_bytes(len(chunk))


class Session:
    """A connection and its token. For one thread at a time; ``clone`` gives another thread its own."""

    def __init__(
        self,
        connection: Connection,
        *,
        retry_for_s: float = retry.RETRY_FOR_S,
        answer_s: float = ANSWER_S,
        on_wait: Callable[[Wait], None] = lambda _: None,
        jitter: Callable[[], float] = retry.default_jitter,
        environment: Mapping[str, str] | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """Args: ``retry_for_s`` how long refusals that pass are waited out; ``answer_s`` how long a server may take
        to answer; ``on_wait`` hears of each wait; ``tls`` whom to trust, instead of what ``connection`` says.

        Raises UsageError for a CA file that cannot be read.
        """
        self.connection = connection
        self.retry_for_s = retry_for_s
        self._answer_s = answer_s
        self._on_wait = on_wait
        self._jitter = jitter
        self._wire = Wire()
        headers = {"user-agent": f"entrepot/{__version__}", "accept": "application/json"}
        if connection.token is not None:
            headers["authorization"] = f"Bearer {connection.token}"
        verify = tls or _tls(connection, os.environ if environment is None else environment)
        self._client = httpx.Client(
            base_url=connection.url,
            headers=headers,
            verify=verify,
            timeout=httpx.Timeout(IDLE_S, connect=CONNECT_S, read=answer_s),
            limits=httpx.Limits(max_connections=1, max_keepalive_connections=1),
            # Proxies from the environment, which know nothing of a server on this machine.
            trust_env=not connection.local,
            follow_redirects=False,
        )

    def clone(self, on_wait: Callable[[Wait], None] | None = None) -> Session:
        """Another connection to the same server."""
        return Session(
            self.connection,
            retry_for_s=self.retry_for_s,
            answer_s=self._answer_s,
            on_wait=on_wait or self._on_wait,
            jitter=self._jitter,
        )

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def get(self, path: str, query: Query = (), *, retries: bool = True) -> Any:
        """The JSON document at ``path``. Raises Problem, Unreachable."""
        return self.call("GET", path, query=query, retries=retries).document()

    def post(self, path: str, document: Mapping[str, Any], query: Query = (), *, retries: bool = True) -> Any:
        """Send a JSON object and return the JSON document of the answer. Raises Problem, Unreachable."""
        return self.call("POST", path, query=query, document=document, retries=retries).document()

    def put(self, path: str, document: Mapping[str, Any]) -> Any:
        """PUT a JSON object and return the JSON document of the answer. Raises Problem, Unreachable."""
        return self.call("PUT", path, document=document).document()

    def delete(self, path: str) -> None:
        """DELETE. Raises Problem, Unreachable."""
        self.call("DELETE", path)

    def call(
        self,
        method: str,
        path: str,
        *,
        query: Query = (),
        document: Mapping[str, Any] | None = None,
        retries: bool = True,
    ) -> Answer:
        """One small request. Raises Problem for an answer of 400 and above, Unreachable when none came."""
        content = None if document is None else json.dumps(document).encode()
        headers = {} if content is None else {"content-type": "application/json"}
        patience = Patience(self.retry_for_s if retries else 0.0, self._on_wait, self._jitter)

        def attempt() -> Answer:
            return self._once(
                self._client.build_request(method, path, params=list(query), content=content, headers=headers)
            )

        return retry.run(attempt, patience)

    def upload(
        self,
        method: str,
        path: str,
        stream: BinaryIO,
        size_bytes: int,
        *,
        query: Query = (),
        headers: Mapping[str, str] | None = None,
        on_bytes: Callable[[int], None] = lambda _: None,
        on_restart: Callable[[], None] = lambda: None,
    ) -> Answer:
        """Send a file as the body; ``on_restart`` is called before each attempt.

        Raises Problem, Unreachable, FileChanged.
        """
        patience = Patience(self.retry_for_s, self._on_wait, self._jitter)

        def moved(count: int) -> None:
            patience.moved(count)
            on_bytes(count)

        def attempt() -> Answer:
            on_restart()
            body = FileBody(stream, size_bytes, self._wire, moved)
            sent = {"content-type": "application/octet-stream", "content-length": str(size_bytes), **(headers or {})}
            return self._once(self._client.build_request(method, path, params=list(query), content=body, headers=sent))

        return retry.run(attempt, patience)

    def _once(self, request: httpx.Request) -> Answer:
        request.extensions["trace"] = self._wire.trace
        response = self._client.send(request, stream=True)
        body = bytearray()
        # One that sends a byte now and then never runs into the time-out of a read.
        ends = clock.monotonic() + self._answer_s
        try:
            for chunk in response.iter_bytes():
                body += chunk
                if len(body) > ANSWER_BYTES_MAX:
                    break
                if clock.monotonic() > ends:
                    raise httpx.ReadTimeout(f"the answer did not end within {self._answer_s:g} s", request=request)
        except httpx.TransportError:
            # After an early refusal the connection may break while its text is read; the head says enough.
            if response.status_code < 400:
                raise
        except httpx.DecodingError:
            body = bytearray(b"The answer cannot be unpacked: is this an Entrepot server?")
            if response.status_code < 300:
                raise problem_from(response.status_code, {}, bytes(body)) from None
        finally:
            response.close()
        headers = {name.lower(): value for name, value in response.headers.items()}
        if 300 <= response.status_code < 400:
            where = headers.get("location", "another address")
            remedy = "Give that server's address as --url or ENTREPOT_URL."
            raise UsageError(f"The server sends us on to {where}.", remedy=remedy)
        if response.status_code >= 400:
            raise problem_from(response.status_code, headers, bytes(body))
        return Answer(response.status_code, headers, bytes(body))


def _tls(connection: Connection, environment: Mapping[str, str]) -> ssl.SSLContext | bool:
    """The system's trusted CAs (a company's own CA is there, not in a Python package), or the given file alone."""
    if not connection.url.startswith("https:"):
        return False
    if connection.ca_file is not None:
        return _trusting(connection.ca_file)
    paths = ssl.get_default_verify_paths()
    if environment.get("SSL_CERT_FILE") or environment.get("SSL_CERT_DIR") or paths.cafile or paths.capath:
        return ssl.create_default_context()
    return True


def _trusting(ca_file: Path) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=str(ca_file))
    except (OSError, ssl.SSLError) as error:
        raise UsageError(f"{ca_file}: the CA file cannot be used: {error}") from error
