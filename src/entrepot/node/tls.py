"""The certificate that this node serves: loaded at the start, followed while it runs.

Renewed files are taken within seconds and without a restart. What cannot be served is never taken: the last good pair
stays, and the log, a metric and a check of ``/statusz`` say why.
"""

import asyncio
import os
import ssl
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from entrepot.node.certificate import Certificate, MemoryPair, Pair, TlsError, judge, trusting
from entrepot.node.http_server import HttpServer
from entrepot.observe import logs, metrics
from entrepot.observe.clock import Clock
from entrepot.observe.health import CheckResult

_log = logs.get("tls")

LOOK_S, DOUBT_S = 3.0, 1.0
# A pair that cannot be served yet (its certificate begins tomorrow) is looked at again.
AGAIN_S = 60.0
DAY_S = 86_400
DAYS_LEFT_MIN = 7.0
"""With fewer days left the check fails: whatever renews certificates does so weeks before."""

_Stamp = tuple[tuple[int, int, int] | None, ...]


class Tls:
    """The two files and what became of them. :meth:`look` is for one thread at a time, the rest for any."""

    def __init__(
        self,
        certificate: Path,
        key: Path,
        clock: Clock,
        *,
        host: str | None,
        try_out: Callable[[Pair], None],
    ) -> None:
        """Args: ``host`` that clients ask for, None when it cannot be told; ``try_out`` serves with a pair once and
        raises TlsError when that does not work.
        """
        self._paths = (certificate, key)
        self._clock = clock
        self._host = host
        self._try_out = try_out
        self._seen: _Stamp = ()
        self._doubted: _Stamp = ()
        self._tried_s = clock.monotonic()
        self._pair: Pair | None = None
        self._certificate: Certificate | None = None
        self._held: MemoryPair | None = None
        self.failure = ""

    def load(self) -> None:
        """Read the pair to begin with. Raises TlsError."""
        self._seen = self._stamp()
        self._take(*self._judged())

    def take_held(self) -> MemoryPair:
        """The pair that was loaded, for the one who is going to serve with it and to close it."""
        held, self._held = self._held, None
        assert held is not None
        return held

    @property
    def wait_s(self) -> float:
        """How long to wait before the next look."""
        return LOOK_S if self._doubted in ((), self._seen) else DOUBT_S

    def look(self, *, again: bool = False) -> bool:
        """Whether there is a renewed pair that can be served; :meth:`take_held` then has it. ``again``: look closer
        even if the files seem to be the same as before.
        """
        stamp, now_s = self._stamp(), self._clock.monotonic()
        overdue = bool(self.failure) and now_s - self._tried_s >= AGAIN_S
        if stamp == self._seen and not again and not overdue:
            return False
        self._tried_s = now_s
        try:
            pair, certificate = self._judged()
        except TlsError as error:
            # Two files are not replaced at one moment: what is wrong now is said when it is still so at the next look.
            if stamp in (self._doubted, self._seen):
                self._fail(str(error))
                self._seen = stamp
            self._doubted = stamp
            return False
        self._seen = stamp
        known = pair == self._pair
        self._succeed(certificate, known=known)
        if not known:
            self._take(pair, certificate)
        return not known

    def days_left(self) -> float:
        """Days until the certificate that is served expires; negative once it has."""
        assert self._certificate is not None
        return (self._certificate.not_after - self._clock.now()) / DAY_S

    def check(self) -> CheckResult:
        """A check for the health registry."""
        if self.failure:
            return CheckResult(False, f"the renewed certificate is not served: {self.failure}")
        days = self.days_left()
        if days < DAYS_LEFT_MIN:
            state = f"expires in {days:.1f} days" if days > 0 else "has expired"
            return CheckResult(False, f"the certificate {state}, and {self._paths[0]} holds no newer one")
        return CheckResult(True)

    def status(self) -> dict[str, object]:
        """What ``/statusz`` shows of it."""
        assert self._certificate is not None
        return {
            "names": list(self._certificate.names),
            "expires_at": _shown(self._certificate.not_after),
            "days_left": round(self.days_left(), 2),
        }

    def client_context(self) -> ssl.SSLContext:
        """A client of this node's own port, which its certificate need not name."""
        assert self._pair is not None
        return trusting(self._pair)

    def _judged(self) -> tuple[Pair, Certificate]:
        pair = Pair.read(*self._paths)
        certificate = judge(pair, self._clock.now(), host=self._host)
        if pair != self._pair:
            self._try_out(pair)
        return pair, certificate

    def _take(self, pair: Pair, certificate: Certificate) -> None:
        self._held = MemoryPair(pair)
        self._pair, self._certificate = pair, certificate
        metrics.tls_certificate_days.set_function(self.days_left)

    def _fail(self, reason: str) -> None:
        if reason != self.failure:
            _log.error("renewed certificate refused", reason=reason, days_left=round(self.days_left(), 2))
        self.failure = reason
        metrics.tls_renewal_failed.set(1)

    def _succeed(self, certificate: Certificate, *, known: bool) -> None:
        if not known or self.failure:
            _log.info("certificate taken", names=list(certificate.names), expires_at=_shown(certificate.not_after))
        self.failure = ""
        metrics.tls_renewal_failed.set(0)

    def _stamp(self) -> _Stamp:
        return tuple(_stamp(path) for path in self._paths)


async def follow(tls: Tls, server: HttpServer, asked: asyncio.Event) -> None:
    """Hand renewed pairs to the server for as long as it runs; at once when ``asked`` is set."""
    while True:
        again = False
        with suppress(TimeoutError):
            await asyncio.wait_for(asked.wait(), tls.wait_s)
            again = True
        asked.clear()
        try:
            renewed = await asyncio.to_thread(tls.look, again=again)
        except Exception as error:  # the next look may do better, and the node serves on
            _log.warning("the certificate cannot be looked at", error=type(error).__name__, reason=str(error)[:500])
            continue
        if renewed:
            server.renew(tls.take_held())


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def _shown(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
