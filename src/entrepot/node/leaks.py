"""The thread that looks for leaks, pass after pass, and tells each volume's watch what they come to."""

import threading
from collections.abc import Sequence

from entrepot.disk.watch import Watch
from entrepot.observe import logs
from entrepot.observe.clock import Clock
from entrepot.upkeep.leaks import LeakFinder

_log = logs.get("node")

# Four passes look at everything: what appears is found within this, twice, at the latest, and so within a minute.
PASS_S = 10.0
# Until everything was walked once, what a crash left cannot be told from the sign of a wrong catalog.
FIRST_PASS_S = 0.2


class LeakWatch:
    """Runs a finder. A pass that fails is logged and comes again."""

    def __init__(self, finder: LeakFinder, watches: Sequence[Watch], clock: Clock) -> None:
        self._finder = finder
        self._watches = {watch.volume.name: watch for watch in watches}
        self._clock = clock
        self._wake = threading.Event()
        self._stopping = False
        # Named as upkeep: its file calls are not a request's.
        self._thread = threading.Thread(target=self._run, name="upkeep-leaks", daemon=True)

    def start(self) -> None:
        """Begin; the first pass runs at once."""
        self._thread.start()

    def wake(self) -> None:
        """Make the next pass now: the volume fills up."""
        self._wake.set()

    def stop(self) -> None:
        """End after the pass that is running."""
        self._stopping = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(10.0)

    def details(self) -> dict[str, object]:
        """For ``/statusz``."""
        return {"leaks": self._finder.book.documents()}

    def _run(self) -> None:
        while not self._stopping:
            self._wake.clear()
            started = self._clock.monotonic()
            try:
                self._pass()
            except Exception as error:  # the next pass may work
                if not self._stopping:
                    _log.warning("leak check failed", error=type(error).__name__, reason=str(error)[:500])
            every_s = PASS_S if self._finder.walked_once else FIRST_PASS_S
            self._wake.wait(max(every_s - (self._clock.monotonic() - started), FIRST_PASS_S))

    def _pass(self) -> None:
        for report in self._finder.run():
            balance = report.balance
            self._watches[report.volume].account(
                known_bytes=balance.known.size_bytes,
                unaccounted_bytes=balance.unaccounted.size_bytes,
                others_bytes=balance.others_bytes,
                deleted_open_bytes=report.deleted_open_bytes,
                inodes_unaccounted=balance.unaccounted.inodes,
            )
