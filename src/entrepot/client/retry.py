"""Coming back after a refusal that passes: the server's own Retry-After, else doubling waits; always with jitter."""

from __future__ import annotations

import random
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import httpx

from entrepot.client import clock
from entrepot.client.errors import Problem, Unreachable

T = TypeVar("T")

WAIT_FIRST_S = 1.0
WAIT_MAX_S = 30.0
ADVICE_MAX_S = 300.0
JITTER = 0.25
RETRY_FOR_S = 600.0


@dataclass(frozen=True)
class Wait:
    """A wait that begins: how long, and for which reason, in words."""

    wait_s: float
    reason: str


class Patience:
    """Judges the failures of one request.

    What is spent is the time of waits and of attempts that moved no byte of a body; an upload of an hour that breaks at
    its end may therefore begin again, and a server that refuses at once is left after ``retry_for_s``.
    """

    def __init__(self, retry_for_s: float, on_wait: Callable[[Wait], None], jitter: Callable[[], float]) -> None:
        self._left_s = retry_for_s
        self._on_wait = on_wait
        self._jitter = jitter
        self.failures = 0
        self._began = clock.monotonic()
        self._moved_bytes = 0
        self.given_up = False

    def begin(self) -> None:
        """An attempt starts."""
        self._began = clock.monotonic()
        self._moved_bytes = 0

    def moved(self, size_bytes: int) -> None:
        """Bytes of the body went out."""
        self._moved_bytes += size_bytes

    def judge(self, error: Exception) -> bool | float:
        """Seconds to wait before the next attempt, or False to let ``error`` through; the hook that stamina asks."""
        if not transient(error):
            return False
        if not self._moved_bytes:
            self._left_s -= clock.monotonic() - self._began
        wait_s = self._wait_s(error)
        if wait_s > self._left_s:
            self.given_up = True
            return False
        self._left_s -= wait_s
        self.failures += 1
        self._on_wait(Wait(wait_s, explain(error)))
        return wait_s

    def _wait_s(self, error: Exception) -> float:
        advice = error.retry_after_s if isinstance(error, Problem) else None
        base = min(WAIT_FIRST_S * 2 ** min(self.failures, 16), WAIT_MAX_S)
        if advice is not None:
            base = min(advice, ADVICE_MAX_S)
        # Never shorter than asked for; a hundred build machines that were refused together must not return together.
        return float(base * (1 + JITTER * self._jitter()) + 0.1 * self._jitter())


def transient(error: Exception) -> bool:
    """Whether another attempt may succeed: busy answers and broken connections; not wrong names or certificates."""
    if isinstance(error, Problem):
        return error.transient
    if not isinstance(error, httpx.TransportError) or isinstance(error, (httpx.UnsupportedProtocol, httpx.ProxyError)):
        return False
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return False
        if isinstance(cause, socket.gaierror):
            return cause.errno == socket.EAI_AGAIN
        cause = cause.__cause__ or cause.__context__
    return not isinstance(error, httpx.LocalProtocolError)


def explain(error: Exception) -> str:
    """A failure in words that fit behind ``waiting 5 s:``."""
    if isinstance(error, Problem):
        return f"{error.detail} ({error.code})"
    if isinstance(error, httpx.TimeoutException):
        return f"no answer in time ({type(error).__name__})"
    text = str(error) or type(error).__name__
    try:
        url = error.request.url if isinstance(error, httpx.RequestError) else None
    except RuntimeError:  # it was raised outside a request
        url = None
    # A server that nobody meant (the default, while ENTREPOT_URL is not set) is found by its name alone.
    return f"{url.scheme}://{url.netloc.decode()}: {text}" if url is not None else text


def run(attempt: Callable[[], T], patience: Patience) -> T:
    """Call ``attempt`` until it succeeds or ``patience`` ends; returns its result.

    Raises what ``attempt`` raised when another try is pointless, and Unreachable when patience or the network ended.
    """
    try:
        patience.begin()
        return attempt()
    except (Problem, httpx.TransportError) as error:
        first = error
    # Most requests succeed at once; the library that repeats the others is loaded when one did not.
    import stamina

    stamina.instrumentation.set_on_retry_hooks([])  # no log lines of its own: `on_wait` tells of every wait
    calls = iter([first])

    def again() -> T:
        for error in calls:
            raise error
        patience.begin()
        return attempt()

    try:
        for each in stamina.retry_context(on=patience.judge, attempts=None, timeout=None):
            with each:
                return again()
    except httpx.TransportError as error:
        raise Unreachable(f"The server cannot be reached: {explain(error)}", remedy=_remedy(error)) from error
    except Problem as error:
        if patience.given_up and patience.failures:
            raise Unreachable(
                f"Gave up after repeated refusals: {error.detail}",
                code=error.code,
                remedy="Push again later; what was published already is not sent again. --retry-for waits longer.",
            ) from error
        raise
    raise AssertionError("the loop above returns or raises")


def _remedy(error: Exception) -> str:
    if transient(error):
        return "Check the URL (--url or ENTREPOT_URL) and that the server runs."
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return "Trust the server's CA: --ca-file FILE or ENTREPOT_CA_FILE."
        cause = cause.__cause__ or cause.__context__
    return "Check the URL (--url or ENTREPOT_URL)."


def default_jitter() -> float:
    """A number from 0 to 1."""
    return random.random()
