"""An observer of a volume that remembers what it was told."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field


@dataclass(slots=True)
class Told:
    """Every failure, and those of calls that write by errno."""

    errors: list[OSError] = field(default_factory=list)
    writing: list[int | None] = field(default_factory=list)
    syncs: int = 0

    def failed(self, error: OSError, *, writing: bool, vital: bool = False) -> None:
        """See `entrepot.disk.volume.Observer`."""
        self.errors.append(error)
        if writing:
            self.writing.append(error.errno)

    def syncing(self) -> AbstractContextManager[None]:
        """See `entrepot.disk.volume.Observer`."""
        self.syncs += 1
        return nullcontext()

    def calling(self) -> AbstractContextManager[None]:
        """See `entrepot.disk.volume.Observer`."""
        return nullcontext()
