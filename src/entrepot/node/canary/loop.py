"""The canary's thread: a run of every format each interval, its figures, its alarm, and nothing left behind."""

import ssl
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Self

from entrepot.catalog import canary as rows
from entrepot.catalog.engine import Catalog
from entrepot.catalog.repositories import RepositoryRow
from entrepot.client import retry
from entrepot.client.config import Connection
from entrepot.client.session import Session
from entrepot.formats.protocol import Format
from entrepot.model.errors import Refusal
from entrepot.node.canary.judge import News, Outcome, Run, Standing, judge, news
from entrepot.node.canary.trip import FrontDoor, Stopped, Trip, explain
from entrepot.node.keyring import Keyring
from entrepot.observe import logs, metrics
from entrepot.observe.clock import Clock
from entrepot.publish.publisher import Publisher
from entrepot.settings.sources import Settings
from entrepot.storage.protocol import BlobStore

_log = logs.get("canary")

FIRST_S: Final = 5.0
JITTER: Final = 0.1
# How long an index may lag behind an answered upload, and a server be silent beyond the wait for a publication.
LAG_S: Final = 5.0
SILENCE_S: Final = 15.0
# After a failure the next run comes this many times sooner, until it is an alarm: with the shipped settings three in a
# row are then known within two minutes.
HASTE: Final = 12
# Files of a format whose removal no publication shows: with more, the next sample would only fill the volume.
LEFT_MAX: Final = 8
STOP_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class CanarySetup:
    """How a canary runs. ``interval_s`` 0: not at all; ``url`` of the front door; ``answer_s`` how long it may take to
    answer; ``node`` names this node among those of one catalog.
    """

    interval_s: float
    url: str
    payload_bytes: int
    answer_s: float
    node: str

    @classmethod
    def of(cls, settings: Settings, node: str) -> Self:
        """As the settings say. An upload is answered once its index is published, so that wait is allowed for."""
        canary = settings.canary
        answer_s = settings.upload.publication_wait_s + SILENCE_S
        return cls(canary.interval_s, canary.url_for(settings.server), canary.payload_bytes, answer_s, node)


class Canary:
    """Tries a node's own front door in a thread of its own. Everything it adds is taken away after each run.

    The token that it goes in with lives in this process's memory: each start gives it a new text.
    """

    def __init__(
        self,
        catalog: Catalog,
        formats: Mapping[str, Format],
        keyring: Keyring,
        publisher: Publisher,
        store: BlobStore,
        clock: Clock,
        setup: CanarySetup,
        *,
        stopping: Callable[[], bool],
        tls: Callable[[], ssl.SSLContext] | None,
    ) -> None:
        """Args: ``stopping`` says whether the node is on its way out; ``tls`` is what its own port is to be trusted by,
        None for what the system trusts.
        """
        self._catalog = catalog
        self._formats = formats
        self._keyring = keyring
        self._publisher = publisher
        self._store = store
        self._clock = clock
        self._setup = setup
        self._stopping = stopping
        self._tls = tls
        self._token: tuple[int, str] | None = None
        self._serial = 0
        self._standings: dict[str, Standing] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="canary", daemon=True)

    # ------------------------------------------------------------------ life

    def start(self) -> None:
        """Begin; does nothing when the settings turn the canary off."""
        if self._setup.interval_s > 0:
            self._thread.start()

    def stop(self) -> None:
        """End after the request that is under way, but wait no longer than ``STOP_S`` for it."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(STOP_S)

    def status(self) -> dict[str, object]:
        """What ``/statusz`` shows of each format; empty before the first run. From any thread."""
        return {name: standing.shown() for name, standing in sorted(self._standings.copy().items())}

    def _run(self) -> None:
        wait_s = min(FIRST_S, self._setup.interval_s)
        while not self._pause(wait_s):
            started = self._clock.monotonic()
            with suppress(Stopped):
                self.run_once()
            wait_s = max(0.0, self._interval_s() - (self._clock.monotonic() - started))

    def _interval_s(self) -> float:
        """Seconds from the last run's start to the next one's."""
        doubtful = any(each.failures_in_row and not each.alarming for each in self._standings.values())
        # Nodes that started together must not try together for ever.
        jitter = 1 + JITTER * (2 * retry.default_jitter() - 1)
        return self._setup.interval_s * jitter / (HASTE if doubtful else 1)

    def _pause(self, seconds: float) -> bool:
        """Wait; whether the node is stopping, by then or earlier."""
        return self._stop.wait(seconds) or self._stopping()

    # ------------------------------------------------------------------ one run

    def run_once(self) -> None:
        """One run of every format. Raises Stopped when the node is stopping."""
        at, started = self._clock.now_s(), self._clock.monotonic()
        try:
            row, cleared = self._prepare()
        except Exception as error:  # whatever it is, the node cannot be tried, and that is what must be told
            if self._pause(0):
                raise Stopped from None
            seconds = {"prepare": self._clock.monotonic() - started}
            for name in self._formats:
                self._take(name, Run(Outcome.FAILED, at, seconds, "prepare", _detail(error)))
            return
        self._serial = max(self._serial + 1, at)
        for name, run in self._try_all(row, cleared).items():
            self._take(name, run)
        with suppress(Refusal):  # what is left now is left for the next run
            self._clear(row)

    def _prepare(self) -> tuple[RepositoryRow, rows.Cleared]:
        """The repository, empty and with its key, and the token. Raises Refusal."""
        now_s = self._clock.now_s()
        row = self._catalog.submit(lambda conn: rows.open_repository(conn, self._setup.node, now_s))
        if self._token is None:
            self._token = self._catalog.submit(lambda conn: rows.new_token(conn, self._setup.node, now_s))
        self._keyring.prepare(row)
        return row, self._clear(row)

    def _clear(self, row: RepositoryRow) -> rows.Cleared:
        now_s = self._clock.now_s()
        cleared = self._catalog.submit(lambda conn: rows.clear(conn, row.id, now_s))
        self._publisher.notify(cleared.tickets)
        for copy in cleared.copies:  # a crash before this leaves bytes without a row, which the sweep removes
            self._store.delete(copy.key)
        return cleared

    def _try_all(self, row: RepositoryRow, cleared: rows.Cleared) -> dict[str, Run]:
        """Every format's run, at the same time: one's trouble must not delay the news of another's. Raises Stopped."""
        found: dict[str, Run] = {}

        def one(name: str, fmt: Format) -> None:
            with suppress(Stopped):
                found[name] = self._try(fmt, row, cleared)

        # Not an executor, whose threads would keep the process from ending while a front door is silent.
        threads = [
            threading.Thread(target=one, args=item, name=f"canary-{item[0]}", daemon=True)
            for item in self._formats.items()
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if len(found) < len(threads):
            raise Stopped
        return found

    def _try(self, fmt: Format, row: RepositoryRow, cleared: rows.Cleared) -> Run:
        """Raises Stopped when the node is stopping."""
        at, left = self._clock.now_s(), cleared.left.get(fmt.name, 0)
        if left > LEFT_MAX:
            cause = f"no publication shows that {left} samples of earlier runs were yanked"
            return Run(Outcome.FAILED, at, {}, "prepare", cause)
        try:
            with self._session() as session:
                door = FrontDoor(session, row.name, self._keyring.public_armored(row.id))
                sample = fmt.sample(self._serial, self._setup.payload_bytes)
                return Trip(fmt, sample, door, self._clock, self._pause, LAG_S).run()
        except Stopped:
            raise
        except Exception as error:  # a mistake of ours must not end the thread that would tell of it
            return Run(Outcome.FAILED, at, {}, "prepare", _detail(error))

    def _session(self) -> Session:
        assert self._token is not None
        connection = Connection(
            url=self._setup.url, token=self._token[1], ca_file=None, parallel=None, retry_for_s=None, sources={}
        )
        # No patience: what a client would have to repeat is what the canary is there to see.
        tls = None if self._tls is None else self._tls()
        return Session(connection, retry_for_s=0.0, answer_s=self._setup.answer_s, tls=tls)

    # ------------------------------------------------------------------ what it says

    def _take(self, name: str, run: Run) -> None:
        """Keep a run, and tell: figures always, the log when something is wrong or well again."""
        before = self._standings.get(name)
        after = judge(before, run)
        self._standings[name] = after
        metrics.canary_runs_total.labels(name, run.outcome.value).inc()
        metrics.canary_failures_in_row.labels(name).set(after.failures_in_row)
        if run.outcome is not Outcome.REFUSED:
            metrics.canary_success.labels(name).set(int(run.outcome is Outcome.PASSED))
        for phase, seconds in run.seconds.items():
            metrics.canary_seconds.labels(name, phase).set(seconds)
        facts = {"format": name, "phase": run.phase, "cause": run.cause, "failures_in_row": after.failures_in_row}
        if run.outcome is not Outcome.PASSED:
            _log.warning("canary run " + run.outcome.value, **facts)
        told = news(before, after)
        if told is News.ALARM:
            _log.error("canary failed three times", **facts)
        elif told is News.RECOVERED:
            _log.info("canary works again", format=name)


def _detail(error: Exception) -> str:
    if isinstance(error, Refusal):
        return f"{error.detail} ({error.code})"
    return f"{type(error).__name__}: {explain(error)}"
