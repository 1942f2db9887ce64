"""The ballast of a volume: bytes and inodes kept back for the way out of a full one.

    DIR/ballast/bytes           one allocated file
    DIR/ballast/inode-00 …      empty files

When a volume has nothing left, an index that drops a yanked package still has to be written before the package's
bytes can go. Then the ledger takes exactly what is missing out of the ballast, under its lock and just before the bytes
are allocated: another process that fills the volume meanwhile has no moment to take it. It is made again once the
volume has room.

No descriptor is kept open: a ballast that is deleted by hand gives its bytes back at once, is reported and made again.
"""

import errno
from contextlib import suppress
from pathlib import Path

from entrepot.disk import fs
from entrepot.disk.volume import Measure
from entrepot.model.limits import BALLAST_BYTES_MAX, BALLAST_INODES_MAX, MIB
from entrepot.observe import logs

_log = logs.get("disk")

FOLDER = "ballast"
_BYTES_FILE = "bytes"
_PERCENT = 1
# What one percent of a small volume is too little for: the segments of one index.
_LEAST_BYTES, _LEAST_SHARE = 4 * MIB, 32
_INODE_SHARE = 64
_ROOM = 4  # as many times the ballast must be available before it is made
_SLACK_BYTES = 64 * 1024  # what a file system takes for its own tables
_SLACK_INODES = 1


class Ballast:
    """The ballast in one folder. The methods that change it are called under the ledger's lock or by the watching
    thread; they never raise for trouble with the volume."""

    def __init__(self, folder: Path, wanted_bytes: int | None) -> None:
        """Args: ``wanted_bytes`` its size; None: a percent of the volume, at most a gibibyte; 0: none."""
        self._folder = folder / FOLDER
        self._wanted = wanted_bytes
        self._unsupported = False
        self.held_bytes = 0
        self.held_inodes = 0

    def wanted(self, now: Measure) -> tuple[int, int]:
        """Bytes and inodes that it should hold on a volume of this size."""
        size = self._wanted
        if size is None:
            size = max(now.size_bytes * _PERCENT // 100, min(_LEAST_BYTES, now.size_bytes // _LEAST_SHARE))
            size = min(size, BALLAST_BYTES_MAX)
        inodes = min(BALLAST_INODES_MAX, now.inodes_total // _INODE_SHARE) if size and now.inodes_known else 0
        return size, inodes

    def look(self) -> None:
        """See what is there; report what somebody else took away."""
        before = self.held_bytes, self.held_inodes
        try:
            names = fs.listdir(self._folder)
            self.held_inodes = sum(name.startswith("inode-") for name in names)
            self.held_bytes = fs.stat(self._folder / _BYTES_FILE).st_blocks * 512 if _BYTES_FILE in names else 0
        except OSError as error:
            self.held_bytes = self.held_inodes = 0
            if error.errno not in (errno.ENOENT, errno.ENOTDIR):
                return
        if self.held_bytes < before[0] or self.held_inodes < before[1]:
            _log.warning("the ballast was taken away", folder=str(self._folder), bytes=before[0] - self.held_bytes)

    def restore(self, now: Measure) -> None:
        """Make it whole where the volume has several times its size available."""
        size, inodes = self.wanted(now)
        if not size or self._unsupported or (self.held_bytes >= size and self.held_inodes >= inodes):
            return
        roomy = now.available_bytes >= _ROOM * size and (not inodes or now.inodes_free >= _ROOM * inodes)
        if not roomy:
            return
        try:
            fs.mkdir(self._folder, 0o700)
            self._fill(size)
            for number in range(inodes):
                fs.close(fs.open_lock(self._folder / f"inode-{number:02}"))
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.ENOSYS):
                return  # full or failing after all: the next sample says so
            self._unsupported = True
            _log.warning("no ballast: this file system cannot allocate a file ahead", folder=str(self._folder))
        self.look()

    def _fill(self, size_bytes: int) -> None:
        fd = fs.open_lock(self._folder / _BYTES_FILE)
        try:
            fs.fallocate(fd, 0, size_bytes)
        finally:
            fs.close(fd)

    def give(self, need_bytes: int, need_inodes: int) -> bool:
        """Give up so many bytes and inodes, and a little for the file system's own tables; whether there was any."""
        gave = False
        with suppress(OSError):
            if need_bytes > 0 and self.held_bytes > 0:
                self._shrink(max(0, self.held_bytes - need_bytes - _SLACK_BYTES))
                gave = True
            if need_inodes > 0:
                names = sorted(name for name in fs.listdir(self._folder) if name.startswith("inode-"))
                for name in names[: need_inodes + _SLACK_INODES]:
                    fs.unlink(self._folder / name)
                    self.held_inodes -= 1
                    gave = True
        return gave

    def _shrink(self, size_bytes: int) -> None:
        fd = fs.open_lock(self._folder / _BYTES_FILE)
        try:
            fs.ftruncate(fd, size_bytes)
            self.held_bytes = fs.fstat(fd).st_blocks * 512
        finally:
            fs.close(fd)
