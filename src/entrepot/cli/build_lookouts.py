"""What looks after the bytes of a node in threads of its own, joined from its parts: leak accounting and scrub."""

from contextlib import ExitStack
from dataclasses import dataclass

from entrepot.catalog.engine import Catalog
from entrepot.disk.watch import Volumes
from entrepot.node.folder import FILES, FOLDERS, DataFolder
from entrepot.node.leaks import LeakWatch
from entrepot.node.scrub import Scrub
from entrepot.observe.clock import Clock
from entrepot.settings.sources import Settings
from entrepot.storage.folder import FolderStore
from entrepot.upkeep.leaks import LeakFinder, Place
from entrepot.upkeep.strays import Use, Walk

USES: tuple[Use, ...] = ("catalog", "blobs", "scratch")


@dataclass(frozen=True, slots=True)
class Lookouts:
    """Both, to be started together."""

    leaks: LeakWatch
    scrub: Scrub

    def start(self) -> None:
        """Begin."""
        self.leaks.start()
        self.scrub.start()

    def details(self) -> dict[str, object]:
        """For ``/statusz``."""
        return {**self.leaks.details(), **self.scrub.details()}


def build_lookouts(
    settings: Settings,
    folder: DataFolder,
    catalog: Catalog,
    store: FolderStore,
    volumes: Volumes,
    clock: Clock,
    stack: ExitStack,
) -> Lookouts:
    """Lookouts that still have to be started; ``stack`` stops them."""
    watches = volumes.watches()
    places = [
        Place(watch.volume, [use for use in USES if use in watch.uses], dedicated=not watch.shared) for watch in watches
    ]
    walk = Walk(folder.path, FILES, FOLDERS, incoming=store.incoming_path, scratch=settings.disk.scratch_folder)
    leaks = LeakWatch(LeakFinder(catalog, store, walk, places, clock), watches, clock)
    volumes.on_reclaim.append(leaks.wake)
    stack.callback(leaks.stop)
    scrub = Scrub(catalog, store, clock, volumes.watch_of("blobs"), settings.scrub)
    stack.callback(scrub.stop)
    return Lookouts(leaks, scrub)
