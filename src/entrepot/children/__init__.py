"""Spawned worker processes with a time limit and a memory cap, for work on hostile input and for C code that holds the
GIL.

:class:`ChildPool` is the way in. A child is a fresh interpreter (never a fork: the node has threads), inherits no
descriptor but its own socket, and dies with the node. What it answers is read with :mod:`entrepot.children.codec`,
never unpickled.
"""

from entrepot.children.errors import (
    ChildCrashed,
    ChildError,
    ChildFailed,
    ChildPoolBusy,
    ChildPoolClosed,
    ChildTimedOut,
)
from entrepot.children.pool import ChildLimits, ChildPool

__all__ = [
    "ChildCrashed",
    "ChildError",
    "ChildFailed",
    "ChildLimits",
    "ChildPool",
    "ChildPoolBusy",
    "ChildPoolClosed",
    "ChildTimedOut",
]
