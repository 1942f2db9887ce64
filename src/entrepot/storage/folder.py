"""Copies in a folder.

    DIR/blobs/00/ … DIR/blobs/ff/     256 folders, made (and made durable) at start
    DIR/blobs/aa/aaxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx
                                      one copy: 32 hexadecimal digits, unique to it, the first two name its folder
    DIR/incoming/KEY                  only where O_TMPFILE does not work: files being written, each held by flock
    DIR/blobs/incoming/KEY            the same when DIR/blobs is a volume of its own: a name cannot move across volumes

A staged file has no name (O_TMPFILE), so however the process ends the kernel frees it. Commit = cut to length →
fsync(file) → linkat → fsync(folder). In that order: a name before its data survives a power cut as an empty file, data
without the folder's fsync not at all.
"""

import errno
import os
import re
import secrets
import threading
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import NoReturn, Self

from entrepot.disk import fs
from entrepot.disk.ledger import Ledger, Reservation, refuse, steps
from entrepot.model.errors import Refusal
from entrepot.model.limits import MIB
from entrepot.storage import probe
from entrepot.storage.group_sync import GroupSync, write_back
from entrepot.storage.opened import OpenFile
from entrepot.storage.protocol import CopyInfo
from entrepot.storage.sweep import KEY, SEALED_MODE, STAGED_MODE, copy_path, reap_incoming

# Write-back starts every 8 MiB and is waited for 32 MiB later: the last fsync has little left to do, and a fast sender
# on a slow disk cannot fill the memory with dirty pages.
WRITE_BACK_BYTES = 8 * MIB
WRITE_BACK_LAG_BYTES = 32 * MIB

# Commits that follow one another share a folder, so that waiting fsyncs of that folder become one; then the next
# folder, so that all fill alike.
_COMMITS_PER_SHARD = 64
_PAGE_MAX = 10_000


class FolderStore:
    """A :class:`~entrepot.storage.protocol.BlobStore` in one folder of one volume. One process owns the folder (the
    node's lock)."""

    def __init__(self, folder: str | os.PathLike[str], ledger: Ledger, *, use_tmpfile: bool = True) -> None:
        """Make the layout where it is missing, probe the file system, and reap what an earlier process left.

        Args: ``folder`` an existing folder, whose ``blobs`` lies on ``ledger``'s volume; ``use_tmpfile`` False forces
        the fallback with named files.

        Raises Refusal (``storage_failed``, ``no_room``); ValueError when the folder is on another volume than the
        ledger's.
        """
        self.folder = Path(folder)
        self._ledger = ledger
        self._lock = threading.Lock()
        self._commits = secrets.randbelow(256) * _COMMITS_PER_SHARD
        self._dirs: list[int] = []
        # Changed and copied in single steps of the interpreter: no lock.
        self._unconfirmed: set[str] = set()
        self._descriptors: set[int] = set()
        try:
            self._blobs = self._prepare()
            if fs.fstat(self._blobs).st_dev != ledger.volume.device:
                raise ValueError(f"{self.folder}/blobs is not on the volume {ledger.volume.name}")
            own_volume = fs.stat(self.folder).st_dev != ledger.volume.device
            self.incoming_path = "blobs/incoming" if own_volume else "incoming"
            self._incoming = self._open_folder(self.incoming_path)
            observer = ledger.volume.observer
            self._syncs = [GroupSync(self._blobs, f"{shard:02x}", observer.syncing) for shard in range(256)]
            self.uses_tmpfile = use_tmpfile and probe.has_tmpfile(self._blobs, self._incoming)
            self.limits = probe.limits(unnamed=self.uses_tmpfile, allocates=probe.has_fallocate(self._incoming))
            self.reap()
        except OSError as error:
            self.close()
            self._fail(error, writing=True)
        except BaseException:
            self.close()
            raise

    @property
    def ledger(self) -> Ledger:
        """The reservations of this store's volume."""
        return self._ledger

    def close(self) -> None:
        """Close the store's own descriptors. Staged and open copies have their own, but can no longer be committed."""
        while self._dirs:
            with suppress(OSError):
                fs.close(self._dirs.pop())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -------------------------------------------------------------------------------------------- start

    def _open_folder(self, name: str) -> int:
        fs.mkdir(self.folder / name)
        fd = fs.open_dir(self.folder / name)
        self._dirs.append(fd)
        return fd

    def _prepare(self) -> int:
        """Make every shard now, so that a commit never has to make a parent durable. Returns the descriptor of
        ``blobs``."""
        fd = self._open_folder("blobs")
        for shard in range(256):
            fs.mkdir(f"{shard:02x}", dir_fd=fd)
        # Not only when something is new: an earlier process may have been killed between its mkdir and its fsync.
        fs.fsync(fd)
        root = fs.open_dir(self.folder)
        try:
            fs.fsync(root)
        finally:
            fs.close(root)
        return fd

    def _new_key(self) -> str:
        with self._lock:
            shard = self._commits // _COMMITS_PER_SHARD % 256
            self._commits += 1
        return f"{shard:02x}{secrets.token_hex(15)}"

    # -------------------------------------------------------------------------------------------- in

    def stage(
        self, expected_size_bytes: int | None, reservation: Reservation | None = None, *, from_floor: bool = False
    ) -> "StagedFile":
        """See :meth:`BlobStore.stage`."""
        own = reservation is None
        try:
            reservation = reservation or self._ledger.reserve(expected_size_bytes or 0, 1, from_floor=from_floor)
            return StagedFile(self, expected_size_bytes, reservation, own=own)
        except BaseException:
            if reservation is not None:
                reservation.release()
            raise

    def _open_staged(self) -> tuple[int, str | None]:
        """A descriptor and, for the fallback, its name in ``incoming``. Raises OSError."""
        if self.uses_tmpfile:
            return fs.open_tmpfile(self._blobs), None
        while True:
            name = secrets.token_hex(16)
            fd = fs.open_new(name, dir_fd=self._incoming)
            try:
                # Between open and flock the reaper may have taken it for a leftover: then it has no name any more, and
                # we try again.
                if fs.flock(fd) and fs.fstat(fd).st_nlink:
                    return fd, name
            except BaseException:
                self._drop_named(fd, name)
                raise
            fs.close(fd)

    def _drop_named(self, fd: int, name: str | None) -> None:
        """Remove a staged file, name first: while we hold the lock, no reaper works on the same name."""
        self._drop_name(name)
        with suppress(OSError):  # nothing of it is kept, so a lost write does not matter
            fs.close(fd)

    def _drop_name(self, name: str | None) -> None:
        if name is not None:
            with suppress(OSError):  # the reaper comes again
                fs.unlink(name, dir_fd=self._incoming)

    def _publish(self, fd: int, name: str | None) -> str:
        """fsync(file) → name → fsync(folder). Returns the key. Raises OSError with no name left."""
        if not self._dirs:
            raise RuntimeError("the store is closed")  # its descriptors' numbers may belong to other files by now
        with write_back(), self._ledger.volume.observer.syncing():
            fs.fsync(fd)
        key = self._new_key()
        path = f"{key[:2]}/{key}"
        self._unconfirmed.add(key)  # before the name: whoever sees the name finds the key here, or its row
        try:
            with self._ledger.volume.observer.calling():
                if name is None:
                    fs.link_fd(fd, path, dst_dir_fd=self._blobs)
                else:
                    fs.rename(name, path, src_dir_fd=self._incoming, dst_dir_fd=self._blobs)
            try:
                self._syncs[int(key[:2], 16)].sync()
            except BaseException:
                # The name may or may not survive a power cut, and its upload is being refused: take it away again.
                with suppress(OSError):
                    fs.unlink(path, dir_fd=self._blobs)
                raise
        except BaseException:
            self._unconfirmed.discard(key)
            raise
        return key

    # -------------------------------------------------------------------------------------------- out

    def open(self, key: str) -> "OpenFile":
        """See :meth:`BlobStore.open`."""
        try:
            fd = fs.open_read(self._path(key), dir_fd=self._blobs)
        except FileNotFoundError:
            raise Refusal("not_found") from None
        except OSError as error:
            self._fail(error)
        try:
            return OpenFile(fd, fs.fstat(fd).st_size, self._descriptors, self._fail)
        except BaseException as error:
            with suppress(OSError):
                fs.close(fd)
            if isinstance(error, OSError):
                self._fail(error)
            raise

    def stat(self, key: str) -> CopyInfo | None:
        """See :meth:`BlobStore.stat`."""
        try:
            facts = fs.stat(self._path(key), dir_fd=self._blobs)
        except FileNotFoundError:
            return None
        except OSError as error:
            self._fail(error)
        return CopyInfo(key, facts.st_size, facts.st_mtime)

    def delete(self, key: str) -> bool:
        """See :meth:`BlobStore.delete`. Not fsynced: a copy that a power cut brings back has no row, and is collected
        again."""
        try:
            fs.unlink(self._path(key), dir_fd=self._blobs)
        except FileNotFoundError:
            return False
        except OSError as error:
            self._fail(error, writing=True)
        finally:
            self._unconfirmed.discard(key)  # also after a failure: then it is an orphan, and found as one
        return True

    def iterate(self, after: str | None = None, limit: int = 1000) -> Sequence[CopyInfo]:
        """See :meth:`BlobStore.iterate`. Reads one folder of the 256 at a time."""
        if not 1 <= limit <= _PAGE_MAX:
            raise ValueError(f"limit is 1 to {_PAGE_MAX}")
        if after is not None and not KEY.fullmatch(after):
            raise ValueError("after is no key")
        page: list[CopyInfo] = []
        for shard in range(int(after[:2], 16) if after else 0, 256):
            for key in self._keys(f"{shard:02x}", after or ""):
                info = self.stat(key)
                if info is not None:  # else deleted since the folder was read
                    page.append(info)
                if len(page) == limit:
                    return page
        return page

    def _keys(self, shard: str, after: str) -> list[str]:
        try:
            fd = fs.open_dir(shard, dir_fd=self._blobs)
            try:
                return sorted(
                    name for name in fs.listdir(fd) if name > after and KEY.fullmatch(name) and name[:2] == shard
                )
            finally:
                fs.close(fd)
        except OSError as error:
            self._fail(error)

    def reap(self) -> int:
        """See :meth:`BlobStore.reap`: whoever holds no lock on its file in ``incoming`` is dead."""
        try:
            return reap_incoming(self._incoming)
        except OSError as error:
            self._fail(error)

    # -------------------------------------------------------------------------------------------- who vouches

    def confirm(self, keys: Iterable[str]) -> None:
        """See :meth:`BlobStore.confirm`. Seals the copies: they can no longer be written."""
        for key in keys:
            with suppress(OSError):  # an unsealed copy with a row is sealed by a later walk
                fs.chmod(self._path(key), SEALED_MODE, dir_fd=self._blobs)
            self._unconfirmed.discard(key)

    def condemn(self, keys: Iterable[str]) -> None:
        """See :meth:`BlobStore.condemn`."""
        condemned: list[str] = []
        for key in keys:
            condemned.append(key)
            self._unconfirmed.add(key)  # until it is deleted: no leak meanwhile
            try:
                fs.chmod(self._path(key), STAGED_MODE, dir_fd=self._blobs)
            except FileNotFoundError:
                continue
            except OSError as error:
                # Where this fails the deletion may fail as well, and a sealed copy without a row is kept for a day.
                self._unconfirmed.difference_update(condemned)  # a later walk seals those that were broken open
                self._fail(error)

    def unconfirmed(self) -> frozenset[str]:
        """Copies whose row is coming (living uploads and publications) or going (garbage about to be deleted): alive,
        whatever the catalog says."""
        return frozenset(self._unconfirmed)

    def own_descriptors(self) -> frozenset[int]:
        """Descriptors of staged files and of copies that are being read: that they have no name is no leak."""
        return frozenset(self._descriptors)

    # -------------------------------------------------------------------------------------------- trouble

    @staticmethod
    def _path(key: str) -> str:
        # A key comes out of the catalog, but a path made of it must never leave the folder.
        if not KEY.fullmatch(key):
            raise Refusal("not_found")
        return copy_path(key)

    def _fail(self, error: OSError, needed_bytes: int | None = None, *, writing: bool = False) -> NoReturn:
        refuse(error, self._ledger.volume, needed_bytes=needed_bytes, writing=writing)


class StagedFile:
    """A :class:`~entrepot.storage.protocol.Staged` without a name (or, in the fallback, with one in ``incoming``)."""

    def __init__(
        self, store: FolderStore, expected_size_bytes: int | None, reservation: Reservation, *, own: bool
    ) -> None:
        self._store = store
        self._reservation = reservation
        self._own = own
        self._size = 0
        self._allocated = expected_size_bytes or 0
        self._growing = expected_size_bytes is None
        self._steps = steps()
        self._name: str | None = None
        self._broken = False
        try:
            self._fd: int | None = reservation.create(self._open, self._allocated)
        except BaseException:
            store._drop_name(self._name)  # create closed the file; in the fallback its name is still there
            raise
        store._descriptors.add(self._fd)

    def _open(self) -> int:
        fd, self._name = self._store._open_staged()
        return fd

    @property
    def size_bytes(self) -> int:
        """Bytes written so far."""
        return self._size

    def fileno(self) -> int:
        """The staged file's descriptor. Raises RuntimeError once committed or aborted."""
        if self._fd is None:
            raise RuntimeError("the staged file is closed")
        return self._fd

    def write(self, chunk: bytes | bytearray | memoryview) -> None:
        """See :meth:`Staged.write`."""
        fd = self.fileno()
        if self._broken:
            raise RuntimeError("a write to this staged file failed; it can only be aborted")
        view = memoryview(chunk).cast("B")
        before, observer = self._size, self._store.ledger.volume.observer
        try:
            self._make_room(fd, before + len(view))
            with observer.calling():
                if not fs.write_all(fd, view):
                    observer.failed(OSError(errno.ENOSPC, "short write"), writing=True)
                self._size = before + len(view)
                self._write_back(fd, before)
        except OSError as error:
            self._broken = True
            self._store._fail(error, needed_bytes=len(view), writing=True)
        except BaseException:
            self._broken = True
            raise

    def _make_room(self, fd: int, end: int) -> None:
        """Reserve and allocate the next steps before bytes go past what is allocated. Raises Refusal ``no_room``."""
        while end > self._allocated:
            if not self._growing:
                raise Refusal("length_mismatch", "The body is longer than its declared length; send the file again.")
            step = next(self._steps)
            self._reservation.grow(step)
            self._reservation.materialise(fd, step, offset_bytes=self._allocated)
            self._allocated += step

    def _write_back(self, fd: int, before: int) -> None:
        """Start write-back of each full 8 MiB, and wait for the one that began 32 MiB earlier."""
        full = WRITE_BACK_BYTES
        with write_back():
            for start in range(before // full * full, self._size // full * full, full):
                fs.sync_file_range(fd, start, full)
                if start >= WRITE_BACK_LAG_BYTES:
                    fs.sync_file_range(fd, start - WRITE_BACK_LAG_BYTES, full, wait=True)

    def read_at(self, offset_bytes: int, length_bytes: int) -> bytes:
        """See :meth:`Staged.read_at`."""
        # The file is allocated further than it is written: what lies past the written bytes is zeros, not data.
        length = max(0, min(length_bytes, self._size - offset_bytes))
        try:
            return fs.pread(self.fileno(), length, offset_bytes)
        except OSError as error:
            self._store._fail(error)

    def commit(self, sha256: str) -> str:
        """See :meth:`Staged.commit`. The folder keeps no attributes: ``sha256`` is only checked for being one."""
        fd = self.fileno()
        if self._broken:
            raise RuntimeError("a write to this staged file failed; it can only be aborted")
        if not re.fullmatch(r"[0-9a-f]{64}", sha256):
            raise ValueError("sha256 is 64 lower-case hexadecimal digits")
        # Whatever happens from here on, this file is never written or synced again: a second fsync could report a
        # success that is none.
        self._broken = True
        try:
            if self._allocated != self._size:
                fs.ftruncate(fd, self._size)
            key = self._store._publish(fd, self._name)
        except OSError as error:
            self.abort()
            self._store._fail(error, writing=True)
        except BaseException:
            self.abort()
            raise
        self._fd = None
        self._store._descriptors.discard(fd)
        with suppress(OSError):  # durable already: what close could still report was reported by fsync
            fs.close(fd)
        if self._own:
            self._reservation.release()
        return key

    def abort(self) -> None:
        """See :meth:`Staged.abort`."""
        fd, self._fd = self._fd, None
        if fd is not None:
            self._store._descriptors.discard(fd)
            self._store._drop_named(fd, self._name)
            self._reservation.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.abort()
