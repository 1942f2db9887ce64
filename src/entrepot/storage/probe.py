"""What a file system can do, tried once at the start."""

import errno
import secrets
from collections.abc import Sequence

from entrepot.disk import fs


def has_tmpfile(blobs: int, incoming: int) -> bool:
    """Whether O_TMPFILE and linkat out of it work here (old overlayfs, NFS and FUSE lack them). Raises OSError.

    Args: descriptors of two folders of one volume.
    """
    name = secrets.token_hex(16)
    try:
        fd = fs.open_tmpfile(blobs)
        try:
            fs.link_fd(fd, name, dst_dir_fd=incoming)  # a kill before the unlink leaves it to the reaper
            fs.unlink(name, dir_fd=incoming)
        finally:
            fs.close(fd)
    except OSError as error:
        if error.errno in fs.UNSUPPORTED_ERRNOS:
            return False
        if error.errno not in fs.NO_ROOM_ERRNOS:
            raise
        # A full volume at start: it understood the call, and reading and deleting must work.
    return True


def has_fallocate(incoming: int) -> bool:
    """Whether room can be allocated ahead of the bytes; a volume without room to try counts as yes. Raises OSError."""
    try:
        fd = fs.open_unnamed(incoming, "probe")
        try:
            fs.fallocate(fd, 0, 1)
        finally:
            fs.close(fd)
    except OSError as error:
        if error.errno in (errno.EOPNOTSUPP, errno.ENOSYS):
            return False
        if error.errno not in fs.NO_ROOM_ERRNOS:
            raise
    return True


def limits(*, unnamed: bool, allocates: bool) -> Sequence[str]:
    """What is weaker here, in sentences for the log; empty on a local file system."""
    found = []
    if not unnamed:
        found.append("no unnamed files (O_TMPFILE): uploads are named files below incoming, held by a lock")
    if not allocates:
        found.append("no fallocate: a reservation counts twice while its file is written, and there is no ballast")
    return found
