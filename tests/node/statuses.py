"""Volumes at a moment of the test's choosing."""

from dataclasses import replace
from typing import Any

from entrepot.disk.state import State, Status, Thresholds

GB = 10**9


def a_volume(state: State = State.OK, **changes: Any) -> Status:
    """A volume of 100 GB that holds the packages, with PRESSURE below 25 GB, SHED below 12 and READONLY below 5."""
    made = Status(
        name="/srv/entrepot", uses=("blobs", "catalog"), shared=False, state=state, cause="", since_s=0.0,
        size_bytes=100 * GB, used_bytes=10 * GB, reserved_bytes=0, available_bytes=90 * GB, known_bytes=10 * GB,
        unaccounted_bytes=0, others_bytes=0, deleted_open_bytes=0,
        thresholds=Thresholds(25 * GB, 12 * GB, 5 * GB, 150, 70, 50), inodes_total=1000, inodes_available=900,
    )  # fmt: skip
    return replace(made, **changes)


def scratch(state: State = State.OK, **changes: Any) -> Status:
    """A volume that a restart empties."""
    return a_volume(state, name="/tmp", uses=("scratch",), **changes)
