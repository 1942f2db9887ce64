"""The thread that scrubs: one copy after the other, at the rate that the settings allow, while the volume works."""

import threading

from entrepot.catalog.engine import Catalog
from entrepot.disk.state import State
from entrepot.disk.watch import Watch
from entrepot.observe import logs
from entrepot.observe.clock import Clock
from entrepot.settings.concerns import ScrubSettings
from entrepot.storage.protocol import BlobStore
from entrepot.upkeep.scrub import IDLE_S, Scrubber, Stopped

_log = logs.get("node")


class Scrub:
    """Runs a :class:`Scrubber`. A step that fails is logged and comes again."""

    def __init__(self, catalog: Catalog, store: BlobStore, clock: Clock, watch: Watch, settings: ScrubSettings) -> None:
        """Args: ``watch`` of the volume of the copies."""
        self._stop = threading.Event()
        self._watch = watch
        self._enabled = settings.bytes_per_s > 0
        self._scrubber = Scrubber(
            catalog,
            store,
            clock,
            self._stop.wait,
            bytes_per_s=max(1, settings.bytes_per_s),
            round_s=settings.round_s,
        )
        # Named as upkeep: its file calls are not a request's.
        self._thread = threading.Thread(target=self._run, name="upkeep-scrub", daemon=True)

    def start(self) -> None:
        """Begin, unless the settings say no."""
        if self._enabled:
            self._thread.start()

    def stop(self) -> None:
        """End after the piece that is being read."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(10.0)

    def details(self) -> dict[str, object]:
        """For ``/statusz``."""
        return {"scrub": self._scrubber.document() if self._enabled else None}

    def _run(self) -> None:
        wait_s = 0.0
        while not self._stop.wait(wait_s):
            if self._watch.state is State.BROKEN:
                wait_s = IDLE_S  # every read would be blamed on a copy
                continue
            try:
                wait_s = self._scrubber.step()
            except Stopped:
                break
            except Exception as error:  # the next step may work
                wait_s = IDLE_S
                if not self._stop.is_set():
                    _log.warning("scrub step failed", error=type(error).__name__, reason=str(error)[:500])
        try:
            self._scrubber.save()
        except Exception as error:  # it begins where it was saved last
            _log.warning("the scrub's place was not kept", error=type(error).__name__, reason=str(error)[:500])
