"""What is said of a volume at one moment: its state, why, and the figures behind it, for probes, metrics and pages."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class State(StrEnum):
    """How a volume is doing, from best to worst. Entered on one sample, left with hysteresis."""

    OK = "OK"
    PRESSURE = "PRESSURE"
    """Uploads are taken, fewer at once; what can be reclaimed is reclaimed."""
    SHED = "SHED"
    """Uploads that leave the volume above READONLY are taken; traffic should go elsewhere."""
    READONLY = "READONLY"
    """Nothing new is written; reads, deletes, yank and garbage collection go on."""
    RECYCLE = "RECYCLE"
    """A local cause that a restart cures: the node finishes what it holds and ends."""
    BROKEN = "BROKEN"
    """The volume fails or stalls: nothing is written; what can be read is read."""

    @property
    def takes_uploads(self) -> bool:
        """Whether an upload that fits may be written."""
        return self in (State.OK, State.PRESSURE, State.SHED)


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Available bytes and inodes below which a state is entered."""

    pressure_bytes: int
    shed_bytes: int
    readonly_bytes: int
    pressure_inodes: int = 0
    shed_inodes: int = 0
    readonly_inodes: int = 0


@dataclass(frozen=True, slots=True)
class Status:
    """One volume at one moment.

    ``name`` is its path; ``uses`` what lies on it (``blobs``, ``catalog``, ``incoming``, ``scratch``); ``shared`` that
    others write to it too: then ``unaccounted_bytes`` counts our own folders alone and ``others_bytes`` what is not
    ours. ``available_bytes`` is statvfs's figure less what is reserved. Inode figures are None where the file system
    makes inodes at will.
    """

    name: str
    uses: tuple[str, ...]
    shared: bool
    state: State
    cause: str
    since_s: float
    size_bytes: int
    used_bytes: int
    reserved_bytes: int
    available_bytes: int
    known_bytes: int
    unaccounted_bytes: int
    others_bytes: int
    deleted_open_bytes: int
    thresholds: Thresholds
    inodes_total: int | None = None
    inodes_available: int | None = None
    inodes_reserved: int = 0
    inodes_unaccounted: int = 0
    ballast_bytes: int = 0
    errors: Mapping[str, int] = field(default_factory=dict)
    """Failed file calls by errno name (``ENOSPC``, ``EIO``) since the start."""
