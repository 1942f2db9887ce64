"""Permissions that hold for tests too: root passes them all by its capabilities."""

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager

# capset(2), linux/capability.h.
_VERSION_3 = 0x20080522
_DAC_OVERRIDE, _DAC_READ_SEARCH = 1 << 1, 1 << 2


class _Head(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Sets(ctypes.Structure):
    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


_libc = ctypes.CDLL(None, use_errno=True)


@contextmanager
def permissions_hold() -> Iterator[None]:
    """This thread, and those that it starts, may read only what the permissions of files allow; programs that root
    starts meanwhile are as before.
    """
    head, kept = _Head(_VERSION_3, 0), (_Sets * 2)()
    _call("capget", head, kept)
    less = (_Sets * 2).from_buffer_copy(kept)
    less[0].effective &= ~(_DAC_OVERRIDE | _DAC_READ_SEARCH)
    _call("capset", head, less)
    try:
        yield
    finally:
        _call("capset", head, kept)


def _call(name: str, head: _Head, sets: object) -> None:
    if getattr(_libc, name)(ctypes.byref(head), sets) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), name)
