"""What holds the bytes of a node's volumes, and what each remedy would free, for whoever sees a disk fill up.

Figures of packages and indexes are what they take on the volume: each copy rounded up to whole blocks, each blob once.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from entrepot.catalog import Connection, blobs, holdings, keep, repositories, retention
from entrepot.catalog.engine import Catalog
from entrepot.catalog.holdings import Holding
from entrepot.catalog.keep import KeepRule, Lines
from entrepot.disk.watch import Volumes
from entrepot.model.nouns import RepositoryName
from entrepot.observe.clock import Clock

KEEP_EXAMPLE = 5
"""Versions in the example of a keep rule."""
EXAMPLES_MAX = 3
DELETED = "(deleted)"


@dataclass(frozen=True, slots=True)
class Remedy:
    """Something that frees bytes: ``command`` to type (empty: nothing to do), what it frees, and what it costs."""

    command: str
    frees_bytes: int
    text: str


class DiskUse:
    """Answers from the catalog and the volumes' last figures. Every call may raise Refusal."""

    def __init__(self, catalog: Catalog, volumes: Volumes, clock: Clock, lines: Lines) -> None:
        """Args: ``lines`` are each format's ``version_lines``."""
        self._catalog = catalog
        self._volumes = volumes
        self._clock = clock
        self._lines = lines

    def document(self) -> Mapping[str, object]:
        """Everything, as ``GET /api/v2/disk`` shows it. Seconds at a million files."""
        block_bytes = self._volumes.watch_of("blobs").volume.measure().block_bytes
        statuses = self._volumes.all()
        now_s = self._clock.now_s()
        with self._catalog.read() as conn:
            held = holdings.by_repository(conn, block_bytes)
            old = retention.old_bytes(conn)
            waiting = holdings.going_by_themselves(conn, block_bytes)
            yanked = blobs.collectable(conn, now_s + 1, now_s + 1, block_bytes)
            catalog_bytes = holdings.database_bytes(conn)
            examples = self._examples(conn, held, block_bytes)
        unaccounted_bytes = sum(each.unaccounted_bytes for each in statuses)
        remedies = [
            Remedy(
                "entrepot gc",
                yanked.size_bytes,
                f"{yanked.files} yanked files, for good; {waiting.size_bytes} bytes of these go by themselves",
            ),
            *examples,
            Remedy(
                "",
                old.segment_bytes,
                "old indexes go by themselves: publication.keep_s, keep_hourly_s and keep_volume_percent_max say when;"
                f" {old.database_bytes} bytes of them in the catalog are used again",
            ),
            Remedy("", unaccounted_bytes, "what nobody knows: `/statusz` lists it under leaks, with path or process"),
            Remedy(
                "",
                sum(each.ballast_bytes for each in statuses),
                "the ballast: given up by itself for the way out of a full volume (disk.ballast_bytes)",
            ),
        ]
        return {
            "volumes": [asdict(each) for each in statuses],
            "repositories": [_shown(each) for each in held],
            "catalog_bytes": catalog_bytes,
            "old_indexes": {
                "files": old.versions,
                "segment_bytes": old.segment_bytes,
                "catalog_bytes": old.database_bytes,
            },
            "yanked": {"files": yanked.files, "size_bytes": yanked.size_bytes},
            "going_by_themselves": asdict(waiting),
            "remedies": [asdict(each) for each in remedies if each.frees_bytes],
        }

    def _examples(self, conn: Connection, held: list[Holding], block_bytes: int) -> list[Remedy]:
        """What a keep rule would free in the largest repositories that have none."""
        found: list[Remedy] = []
        for each in held:
            if each.name is None or holdings.is_nodes_own(each.name):
                continue
            row = repositories.find(conn, RepositoryName.parse(each.name))
            if row is None or keep.rules(conn, row.id):
                continue
            ids = keep.beyond(conn, row.id, [KeepRule(None, KEEP_EXAMPLE)], self._lines)
            freed = keep.freed(conn, ids, block_bytes)
            text = f"{freed.files} files that are older than the last {KEEP_EXAMPLE} versions of their package"
            found.append(Remedy(f"entrepot repo keep {each.name} {KEEP_EXAMPLE}", freed.size_bytes, text))
            if len(found) == EXAMPLES_MAX:
                break
        return found


def _shown(each: Holding) -> dict[str, object]:
    return {**asdict(each), "name": DELETED if each.name is None else each.name}
