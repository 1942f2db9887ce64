"""The background thread of a node: spare keys, expired sets, old index generations, digests, deleted
repositories.
"""

import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict

from entrepot.catalog import Connection, audit, repositories
from entrepot.catalog.engine import Catalog
from entrepot.catalog.tokens import touch
from entrepot.disk.state import State
from entrepot.disk.watch import Volumes
from entrepot.formats.registry import formats
from entrepot.model.errors import Refusal
from entrepot.node.dates import Dates
from entrepot.node.folder import DataFolder
from entrepot.node.keyring import Keyring
from entrepot.observe import logs, metrics
from entrepot.observe.clock import Clock
from entrepot.publish.publisher import Publisher
from entrepot.settings.sources import Settings
from entrepot.storage.protocol import BlobStore
from entrepot.upkeep.collect import Collector
from entrepot.upkeep.disk_use import DiskUse
from entrepot.upkeep.keep import Keeper
from entrepot.upkeep.retention import Policy, Retention

_log = logs.get("node")

TICK_S = 30.0
PAUSE_S = 1.0  # between two ticks at least, however often it is woken
# Rows of deleted repositories go a few hundred at a time; a tick removes at most this many portions.
PURGES_MAX = 200


class Upkeep:
    """Runs upkeep in one thread, in bounded steps; a failing step is logged and comes again at the next tick."""

    def __init__(
        self,
        catalog: Catalog,
        store: BlobStore,
        clock: Clock,
        keyring: Keyring,
        publisher: Publisher,
        settings: Settings,
        volumes: Volumes,
        dates: Dates,
    ) -> None:
        self._catalog = catalog
        self._keyring = keyring
        self._publisher = publisher
        self._settings = settings
        self._dates = dates
        self._collector = Collector(catalog, store, clock)
        lines = {each.name: each.version_lines for each in formats().values()}
        self._keeper = Keeper(catalog, clock, lines)
        self.disk_use = DiskUse(catalog, volumes, clock, lines).document
        kept = settings.publication

        self._ledgers = {volumes.watch_of(use).ledger for use in ("blobs", "catalog")}
        packages = volumes.watch_of("blobs").volume

        def cap_bytes() -> int:
            return int(packages.measure().size_bytes * kept.keep_volume_percent_max / 100)

        policy = Policy(kept.keep_s, kept.keep_hourly_s, kept.keep_s_min)
        self._cap_bytes = cap_bytes
        self._retention = Retention(catalog, clock, cap_bytes, policy)
        self._catalog_watch = volumes.watch_of("catalog")
        self._spare_is_out = False
        volumes.on_reclaim.append(self.wake)
        self._collecting = threading.Lock()
        # Token id → second of its last use; the web floor's, set once both are built.
        self.take_used_tokens: Callable[[], Mapping[int, int]] = dict
        self._stop = threading.Event()
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._run, name="upkeep", daemon=True)

    def start(self) -> None:
        """Begin; the first tick runs at once."""
        self._thread.start()

    def wake(self) -> None:
        """Begin the next tick now: a volume is filling up. Returns at once."""
        self._wake.set()

    def ask_to_stop(self) -> None:
        """No further step begins; what the running one still raises is not worth a log line."""
        self._stop.set()
        self._wake.set()

    def stop(self) -> None:
        """End after the step that is running."""
        self.ask_to_stop()
        if self._thread.is_alive():
            self._thread.join(60.0)
        with suppress(Refusal):
            self.touch_tokens()

    def _run(self) -> None:
        while True:
            self._wake.clear()
            for step in self._steps():
                if self._stop.is_set():
                    return
                try:
                    step()
                except Exception as error:  # upkeep must go on; what failed comes again with the next tick
                    if self._stop.is_set():
                        return
                    name = getattr(step, "__name__", "step")
                    _log.warning("upkeep step failed", step=name, error=type(error).__name__, reason=str(error)[:500])
            if self._stop.wait(PAUSE_S):
                return
            self._wake.wait(TICK_S - PAUSE_S)

    def _steps(self) -> tuple[Callable[[], object], ...]:
        return (
            self.mind_spare,
            self.spare_keys,
            self._keyring.watch_ends,
            self.touch_tokens,
            self.look_at_dates,
            self.look_at_backup,
            self.expire_held,
            self.drop_old_indexes,
            self.apply_keep_rules,
            self.drop_replaced,
            self.purge_deleted,
            self.free_unreferenced,
            self._collector.fill_digests,
        )

    def spare_keys(self) -> None:
        """Keep the wanted number of keys made ahead."""
        self._keyring.fill_spares(self._settings.signing.spare_keys)

    def mind_spare(self) -> None:
        """Give the catalog's spare room to deletes before its volume is full, and take it back when there is room."""
        state = self._catalog_watch.state
        if state in (State.SHED, State.READONLY) and not self._spare_is_out:
            self._catalog.release_spare()
            self._spare_is_out = True
        elif state is State.OK and self._spare_is_out:
            self._catalog.ensure_spare()
            self._spare_is_out = False

    def drop_old_indexes(self) -> None:
        """Drop old generations, and keep from uploads what those that come may still take of their share."""
        left = self._retention.run().left
        for ledger in self._ledgers:
            ledger.keep(self._cap_bytes() - left.total_bytes)

    def look_at_dates(self) -> None:
        """Learn the newest date of the indexes that earlier processes made."""
        self._dates.load(self._catalog)

    def look_at_backup(self) -> None:
        """Learn when the last back-up was made: another process makes them."""
        metrics.last_backup_time_seconds.set(DataFolder.last_backup(self._settings.server.data_folder) or 0)

    def expire_held(self) -> None:
        """Drop members of sets that stayed incomplete for a day."""
        self._publisher.notify(self._collector.expire_held())

    def apply_keep_rules(self) -> None:
        """Take out of the indexes what keep rules do not keep any more."""
        self._publisher.notify(self._keeper.run())

    def drop_replaced(self) -> None:
        """Forget files that others replaced, or that a keep rule took out, a while ago."""
        self._collector.drop_replaced(self._settings.publication.keep_replaced_s)

    def touch_tokens(self) -> None:
        """Write down when tokens were last used, all in one transaction."""
        used = self.take_used_tokens()

        def work(conn: Connection) -> None:
            for token_id, at in used.items():
                touch(conn, token_id, at)

        if used:
            self._catalog.submit(work)

    def purge_deleted(self) -> None:
        """Remove rows of deleted repositories, in small portions, so that uploads are not held up."""
        for _ in range(PURGES_MAX):
            if self._stop.is_set() or not self._catalog.submit(repositories.purge_deleted):
                return

    def free_unreferenced(self) -> None:
        """Free bytes that nothing refers to; yanked files keep theirs until a collection is asked for."""
        with self._collecting:
            self._collector.free_unreferenced()

    def reclaim(self) -> None:
        """Free at once what may go, for a node in trouble; a step that fails is passed over."""
        for step in (self.expire_held, self.drop_old_indexes, self.free_unreferenced):
            with suppress(Exception):
                step()

    def collect(self, dry_run: bool, actor: audit.Actor) -> Mapping[str, object]:
        """One garbage collection that ``actor`` asks for: what it freed, or would free. Raises Refusal."""
        with self._collecting:
            found = self._collector.preview() if dry_run else self._collector.collect(actor)
        return {"dry_run": dry_run, **asdict(found)}
