"""Runs the writers: a queue of dirty scopes, a few threads, merges in the background, and whoever waits for a ticket.

Requests that arrive while a scope is being published share its next publication. A publication that fails is tried
again
with a growing pause; its scope stays dirty in the catalog, so nothing is forgotten whatever dies.
"""

import asyncio
import threading
import uuid
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping, Sequence

from entrepot.catalog import publications as sql
from entrepot.catalog.engine import Catalog
from entrepot.formats.protocol import Format, IndexSpec
from entrepot.model.nouns import Ticket
from entrepot.observe import logs, metrics
from entrepot.observe.clock import Clock
from entrepot.publish.base import BaseBuilder, BuiltBase
from entrepot.publish.lag import Lag
from entrepot.publish.scope import LEASE_S, Identity, Merged, ScopeWriter
from entrepot.publish.segments import SegmentStore
from entrepot.publish.transaction import Shown
from entrepot.signing.signer import Signer

_log = logs.get("publish")

# Writers kept with their digest states, and how many of those keep their compressors (0.3 MB a stream) too.
_WRITERS_MAX = 256
_HOT_WRITERS_MAX = 16
_DOUBTFUL_MAX = 10_000
# Scopes whose published change is remembered; one that fell out is asked of the catalog again.
_PUBLISHED_MAX = 65_536
_SCAN_S = 5.0
_RETRY_S_MAX = 5.0


class _Waiter:
    """Waits until every ticket's change is published."""

    def __init__(self, missing: dict[int, int], done: Callable[[], None]) -> None:
        self.missing = missing
        self.done = done


class Publisher:
    """Publishes every dirty scope of the catalog.

    ``signer_for`` and ``identity_for`` take a repository id. ``on_shown`` is called after each publication, in a
    publisher thread.
    """

    def __init__(
        self,
        catalog: Catalog,
        segments: SegmentStore,
        formats: Mapping[str, Format],
        signer_for: Callable[[int], Signer],
        identity_for: Callable[[int], Identity],
        clock: Clock,
        *,
        store_name: str = "folder",
        holder: str | None = None,
        threads: int = 2,
        on_shown: Callable[[sql.ScopeRow, Shown], None] | None = None,
    ) -> None:
        self._catalog = catalog
        self._segments = segments
        self._formats = formats
        self._signer_for = signer_for
        self._identity_for = identity_for
        self._clock = clock
        self._store_name = store_name
        self._holder = holder or uuid.uuid4().hex
        self._thread_count = threads
        self._on_shown = on_shown
        self._condition = threading.Condition()
        self._queue: deque[int] = deque()
        self._queued: set[int] = set()
        self._running: set[int] = set()
        self._retry_at: dict[int, float] = {}
        self._failures: dict[int, int] = {}
        self._lag = Lag(clock)
        metrics.publication_lag_seconds.set_function(self._lag.oldest_s)
        self._writers: OrderedDict[int, ScopeWriter] = OrderedDict()
        self._published: OrderedDict[int, int] = OrderedDict()
        self._waiters: dict[int, list[_Waiter]] = {}
        self._merge_queue: deque[tuple[int, ScopeWriter, IndexSpec, BuiltBase, int]] = deque()
        self._merging: set[tuple[int, str]] = set()
        # Those that fall out are collected a day later, like all bytes without a row.
        self._doubtful: deque[str] = deque(maxlen=_DOUBTFUL_MAX)
        self._threads: list[threading.Thread] = []
        self._stopping = False

    # ------------------------------------------------------------------ life

    def start(self) -> None:
        """Start the threads and queue what an earlier process left dirty."""
        self._scan()
        targets = [self._work] * self._thread_count + [self._merge_work]
        for number, target in enumerate(targets):
            thread = threading.Thread(target=target, name=f"publish-{number}", daemon=True)
            thread.start()
            self._threads.append(thread)

    def stop(self) -> None:
        """Finish what is being published and end the threads; what is still dirty is published at the next start."""
        with self._condition:
            self._stopping = True
            self._condition.notify_all()
        for thread in self._threads:
            thread.join()
        self._threads.clear()
        for scope_id in list(self._writers):
            self._drop(scope_id)

    def _scan(self) -> None:
        with self._catalog.read() as conn:
            dirty = sql.dirty_scopes(conn)
        with self._condition:
            for scope_id in dirty:
                if scope_id not in self._retry_at:  # one that failed waits for its pause to end
                    self._enqueue(scope_id)

    # ------------------------------------------------------------------ tickets

    def notify(self, tickets: Sequence[Ticket]) -> None:
        """Say that these scopes have new changes. Any thread; returns at once."""
        with self._condition:
            for ticket in tickets:
                self._enqueue(ticket.scope_id)

    def _enqueue(self, scope_id: int) -> None:
        self._lag.waits(scope_id)
        if scope_id not in self._queued:
            self._queued.add(scope_id)
            self._queue.append(scope_id)
            self._count()
            self._condition.notify()

    def _count(self) -> None:
        metrics.dirty_scopes.set(len(self._queued) + len(self._running) + len(self._retry_at))

    def _register(self, tickets: Sequence[Ticket], done: Callable[[], None]) -> _Waiter | None:
        """A waiter for the tickets, or None when all are published already."""
        with self._condition:
            missing: dict[int, int] = {}
            for ticket in tickets:
                if self._published.get(ticket.scope_id, -1) < ticket.change:
                    missing[ticket.scope_id] = max(ticket.change, missing.get(ticket.scope_id, 0))
            if not missing:
                return None
            waiter = _Waiter(missing, done)
            for scope_id in missing:
                self._waiters.setdefault(scope_id, []).append(waiter)
            return waiter

    def _forget(self, waiter: _Waiter) -> None:
        with self._condition:
            for scope_id in waiter.missing:
                waiters = self._waiters.get(scope_id, [])
                if waiter in waiters:
                    waiters.remove(waiter)
                if not waiters:
                    self._waiters.pop(scope_id, None)

    def wait(self, tickets: Sequence[Ticket], timeout_s: float) -> bool:
        """Block until the tickets are published; False when ``timeout_s`` passed first."""
        event = threading.Event()
        waiter = self._register(tickets, event.set)
        if waiter is None:
            return True
        try:
            return event.wait(timeout_s)
        finally:
            self._forget(waiter)

    async def live(self, tickets: Sequence[Ticket], wait_s: float) -> bool:
        """As :meth:`wait`, for the event loop."""
        loop = asyncio.get_running_loop()
        event = asyncio.Event()
        waiter = self._register(tickets, lambda: _wake(loop, event))
        if waiter is None:
            return True
        try:
            async with asyncio.timeout(wait_s):
                await event.wait()
            return True
        except TimeoutError:
            return False
        finally:
            self._forget(waiter)

    def lag_s(self) -> float:
        """Age of the oldest change that is not visible yet, in seconds; what an earlier process left counts from the
        start."""
        return self._lag.oldest_s()

    def when_published(self, tickets: Sequence[Ticket], done: Callable[[], None]) -> None:
        """Call ``done`` once, from any thread, when the tickets are published or their scope is gone; maybe at once."""
        if self._register(tickets, done) is None:
            done()

    def _give_up(self, scope_id: int) -> None:
        """The scope is gone with its repository: nobody need wait for it."""
        with self._condition:
            ready = self._waiters.pop(scope_id, [])
            for waiter in ready:
                waiter.missing.pop(scope_id, None)
        for waiter in ready:
            if not waiter.missing:
                waiter.done()

    def _announce(self, scope_id: int, change: int, read_at: float) -> None:
        """Wake those whose tickets are published by now: all that the scope held at ``read_at`` is."""
        ready: list[_Waiter] = []
        with self._condition:
            self._lag.shown(scope_id, read_at, more=scope_id in self._queued)
            self._published[scope_id] = change
            self._published.move_to_end(scope_id)
            while len(self._published) > _PUBLISHED_MAX:
                self._published.popitem(last=False)
            for waiter in self._waiters.get(scope_id, []):
                if waiter.missing.get(scope_id, 0) <= change:
                    waiter.missing.pop(scope_id, None)
                    if not waiter.missing:
                        ready.append(waiter)
            left = [waiter for waiter in self._waiters.get(scope_id, []) if scope_id in waiter.missing]
            if left:
                self._waiters[scope_id] = left
            else:
                self._waiters.pop(scope_id, None)
        for waiter in ready:
            waiter.done()

    # ------------------------------------------------------------------ publishing threads

    def _work(self) -> None:
        while True:
            scope_id = self._next()
            if scope_id is None:
                return
            try:
                again = self._publish_scope(scope_id)
                self._failures.pop(scope_id, None)
            except Exception as error:
                again = False
                self._failed(scope_id, error)
            with self._condition:
                self._running.discard(scope_id)
                if again:
                    self._enqueue(scope_id)
                self._count()
                self._condition.notify_all()

    def _next(self) -> int | None:
        """The next scope to publish, or None to stop. Scans the catalog while idle: a notification may have died with
        its process."""
        while True:
            scan = False
            with self._condition:
                if self._stopping:
                    return None
                self._wake_retries()
                for _ in range(len(self._queue)):
                    scope_id = self._queue.popleft()
                    if scope_id in self._running:
                        self._queue.append(scope_id)
                        continue
                    self._queued.discard(scope_id)
                    self._running.add(scope_id)
                    return scope_id
                scan = not self._condition.wait(min(_SCAN_S, self._pause()))
            if scan:
                self._idle_scan()

    def _idle_scan(self) -> None:
        try:
            self._scan()
        except Exception as error:
            _log.error("publication_scan_failed", error=str(error))

    def _pause(self) -> float:
        now = self._clock.monotonic()
        return max(0.01, min((at - now for at in self._retry_at.values()), default=_SCAN_S))

    def _wake_retries(self) -> None:
        now = self._clock.monotonic()
        for scope_id in [key for key, at in self._retry_at.items() if at <= now]:
            del self._retry_at[scope_id]
            self._enqueue(scope_id)

    def _failed(self, scope_id: int, error: Exception) -> None:
        """Drop the writer's state and try again later; the catalog still says that the scope is dirty."""
        count = self._failures.get(scope_id, 0) + 1
        self._failures[scope_id] = count
        pause_s = 0.05 if isinstance(error, sql.Fenced) else min(_RETRY_S_MAX, 0.2 * 2 ** min(count, 8))
        metrics.publication_failures_total.labels(self._format_of(scope_id)).inc()
        _log.error(
            "publication_failed",
            scope_id=scope_id,
            attempt=count,
            retry_s=pause_s,
            error=str(error),
            kind=type(error).__name__,
        )
        self._drop(scope_id)
        with self._condition:
            self._retry_at[scope_id] = self._clock.monotonic() + pause_s

    def _format_of(self, scope_id: int) -> str:
        writer = self._writers.get(scope_id)
        return writer.row.format if writer is not None else "unknown"

    def _publish_scope(self, scope_id: int) -> bool:
        """Publish once; True when there may be more."""
        writer = self._writer(scope_id)
        if writer is None:
            return False
        started = self._clock.monotonic()
        shown = writer.publish(self._signer_for)
        if shown is None:
            # Published already, maybe by an earlier process: whoever sent the same bytes again must not wait in vain.
            self._announce(scope_id, writer.published_change, started)
            with self._catalog.read() as conn:
                if sql.scope_by_id(conn, scope_id) is None:
                    self._give_up(scope_id)
            return False
        metrics.publication_seconds.labels(writer.row.format).observe(self._clock.monotonic() - started)
        metrics.publications_total.labels(writer.row.format).inc()
        if self._on_shown is not None:
            self._on_shown(writer.row, shown)
        self._announce(scope_id, shown.change, started)
        self._settle_doubts(writer)
        self._plan_merges(writer)
        with self._catalog.read() as conn:
            row = sql.scope_by_id(conn, scope_id)
        return row is not None and row.last_change > shown.change

    def _writer(self, scope_id: int) -> ScopeWriter | None:
        """The scope's writer; takes the lease and reads the state when there is none. None: another node holds the
        lease."""
        with self._condition:
            writer = self._writers.get(scope_id)
            if writer is not None:
                self._writers.move_to_end(scope_id)
                return writer
        now_s = self._clock.now_s()
        epoch = self._catalog.submit(lambda conn: sql.claim(conn, scope_id, self._holder, now_s, LEASE_S))
        with self._catalog.read() as conn:
            row = sql.scope_by_id(conn, scope_id)
        if row is None or epoch is None:
            # Gone with its changes, or published by another node, which measures its own lag.
            self._lag.shown(scope_id, self._clock.monotonic(), more=False)
        if row is None:
            self._give_up(scope_id)
            return None
        if epoch is None:
            with self._condition:
                self._retry_at[scope_id] = self._clock.monotonic() + 1.0
            return None
        fmt, identity = self._formats[row.format], self._identity_for(row.repository_id)
        writer = ScopeWriter(row, epoch, self._catalog, self._segments, fmt, identity, self._clock, self._store_name)
        writer.load()
        self._keep(scope_id, writer)
        return writer

    def _keep(self, scope_id: int, writer: ScopeWriter) -> None:
        evicted: list[ScopeWriter] = []
        with self._condition:
            self._writers[scope_id] = writer
            for key in list(self._writers):
                if len(self._writers) <= _WRITERS_MAX:
                    break
                if key not in self._running:
                    evicted.append(self._writers.pop(key))
            hot = set(list(self._writers)[-_HOT_WRITERS_MAX:])
            cold = [item for key, item in self._writers.items() if key not in hot and key not in self._running]
            for item in cold:
                item.rest()
        for item in evicted:
            item.settle([key for merged in item.merged.values() for key in merged.written])

    def _drop(self, scope_id: int) -> None:
        with self._condition:
            writer = self._writers.pop(scope_id, None)
        if writer is not None:
            with self._condition:
                self._doubtful.extend(writer.doubtful)
            self._settle(writer, [key for merged in writer.merged.values() for key in merged.written])

    def _settle_doubts(self, writer: ScopeWriter) -> None:
        """A commit succeeded: what an earlier, failed one had written is known to be in the catalog or not."""
        with self._condition:
            keys = list(self._doubtful)
            self._doubtful.clear()
        if keys:
            self._settle(writer, keys)

    def _settle(self, writer: ScopeWriter, keys: Sequence[str]) -> None:
        """Settle segments; what cannot be deleted now has no row, and is found as a leak later."""
        try:
            writer.settle(keys)
        except Exception as error:
            _log.error("segment_settle_failed", scope_id=writer.row.id, error=str(error))

    # ------------------------------------------------------------------ merges

    def _plan_merges(self, writer: ScopeWriter) -> None:
        full = writer.full_indexes()
        with self._condition:
            for spec, built, change in full:
                if (writer.row.id, spec.name) not in self._merging:
                    self._merging.add((writer.row.id, spec.name))
                    self._merge_queue.append((writer.row.id, writer, spec, built, change))
                    self._condition.notify_all()

    def _merge_work(self) -> None:
        while True:
            with self._condition:
                while not self._merge_queue and not self._stopping:
                    self._condition.wait()
                if self._stopping:
                    return
                scope_id, writer, spec, built, change = self._merge_queue.popleft()
            try:
                self._merge(scope_id, writer, spec, built, change)
            except Exception as error:
                _log.error("merge_failed", scope_id=scope_id, index=spec.name, error=str(error))
            finally:
                with self._condition:
                    self._merging.discard((scope_id, spec.name))

    def _merge(self, scope_id: int, writer: ScopeWriter, spec: IndexSpec, built: BuiltBase, change: int) -> None:
        """Build the new base beside the running publications; the next one shows it."""
        started = self._clock.monotonic()
        builder = BaseBuilder(self._catalog, self._segments, self._formats[writer.row.format], scope_id, spec)
        keep = False
        try:
            keys = writer.touched_since(spec, built, change)
            merged = Merged(spec.name, change, builder.build(built, keys, change, change), tuple(builder.written))
            with self._condition:
                keep = self._writers.get(scope_id) is writer
                if keep:
                    writer.merged[spec.name] = merged
                    self._enqueue(scope_id)
        finally:
            if not keep:
                writer.settle(builder.written)
        metrics.merge_seconds.labels(writer.row.format).observe(self._clock.monotonic() - started)


def _wake(loop: asyncio.AbstractEventLoop, event: asyncio.Event) -> None:
    try:
        loop.call_soon_threadsafe(event.set)
    except RuntimeError:
        # The loop is closed: the server stopped while this publication ran, and nobody waits any more.
        return
