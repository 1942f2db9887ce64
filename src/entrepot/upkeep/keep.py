"""Keep rules: what upkeep takes out because newer versions are there."""

from entrepot.catalog import keep
from entrepot.catalog.engine import Catalog
from entrepot.catalog.keep import KeepRule, Lines
from entrepot.model.errors import Refusal
from entrepot.model.limits import MATCH_FILES_MAX
from entrepot.model.nouns import Ticket
from entrepot.observe import logs
from entrepot.observe.clock import Clock

_log = logs.get("upkeep")


class Keeper:
    """Applies keep rules. For one thread; every call may raise Refusal (catalog_failed, busy)."""

    def __init__(self, catalog: Catalog, clock: Clock, lines: Lines) -> None:
        """Args: ``lines`` by format."""
        self._catalog = catalog
        self._clock = clock
        self._lines = lines
        # Repository → its rules and its newest file when nothing was left to do: until one of them changes, nothing is.
        self._done: dict[int, tuple[tuple[KeepRule, ...], int]] = {}

    def run(self) -> list[Ticket]:
        """Yank what the rules of every repository do not keep, in one change of each scope; the tickets of these."""
        with self._catalog.read() as conn:
            wanted = {each: (keep.rules(conn, each), keep.newest_file(conn, each)) for each in keep.with_rules(conn)}
        self._done = {each: state for each, state in self._done.items() if each in wanted}
        tickets: list[Ticket] = []
        for repository_id, state in wanted.items():
            if self._done.get(repository_id) != state:
                tickets += self._apply(repository_id, state)
        return tickets

    def _apply(self, repository_id: int, state: tuple[tuple[KeepRule, ...], int]) -> tuple[Ticket, ...]:
        with self._catalog.read() as conn:
            ids = keep.beyond(conn, repository_id, state[0], self._lines)
        if len(ids) < MATCH_FILES_MAX // 2:  # all of them: the rest comes with the next run
            self._done[repository_id] = state
        if not ids:
            return ()
        now_s = self._clock.now_s()
        try:
            tickets = self._catalog.submit(lambda conn: keep.supersede(conn, ids, now_s))
        except Refusal:
            self._done.pop(repository_id, None)
            raise
        _log.info("versions superseded", repository_id=repository_id, files=len(ids), scopes=len(tickets))
        return tickets
