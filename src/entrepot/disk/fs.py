"""The one seam for every file call of the product.

Everything that touches a file goes through here, so that a test can fail, cut short or kill at every single call
(:func:`set_hook`, ``disk.faults``). Each function is the system call of its name with its errors (OSError) unless said
otherwise.
"""

import ctypes
import errno
import fcntl
import itertools
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from entrepot.model.limits import MIB

if TYPE_CHECKING:
    from entrepot.disk.faults import Hook
    from entrepot.streams.window import ReadAt

_hook: "Hook | None" = None
_calls = itertools.count(1)  # next() on it is one bytecode: atomic under the interpreter lock
_SKIP = -1

_libc = ctypes.CDLL(None, use_errno=True)
# off_t is 32 bits in the plain names of 32-bit glibc; the 64 forms exist there, and are the same function elsewhere.
_fallocate = getattr(_libc, "fallocate64", None) or _libc.fallocate
_fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
_fallocate.restype = ctypes.c_int
_syncfs = _libc.syncfs
_syncfs.argtypes = (ctypes.c_int,)
_syncfs.restype = ctypes.c_int
_sync_file_range = _libc.sync_file_range
_sync_file_range.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)
_sync_file_range.restype = ctypes.c_int

_FALLOC_FL_KEEP_SIZE = 0x01
_SYNC_WAIT_BEFORE, _SYNC_WRITE, _SYNC_WAIT_AFTER = 1, 2, 4

NO_ROOM_ERRNOS = frozenset({errno.ENOSPC, errno.EDQUOT})
"""No room on the volume (bytes, inodes or a quota): what a later try may cure."""
NO_DESCRIPTOR_ERRNOS = frozenset({errno.EMFILE, errno.ENFILE})
"""Out of descriptors: this process's or this machine's trouble, not the volume's."""
UNSUPPORTED_ERRNOS = frozenset({errno.EOPNOTSUPP, errno.ENOSYS, errno.EISDIR, errno.EINVAL, errno.ENOENT})
"""What a kernel or file system without O_TMPFILE (or a link out of it) answers."""


def set_hook(hook: "Hook | None") -> None:
    """Install or remove the fault hook of this process; for tests alone."""
    global _hook
    _hook = hook


def _ask(call: str, *args: object) -> int | None:
    hook = _hook
    return None if hook is None else hook(call, next(_calls), args)


# ------------------------------------------------------------------------------------------------ opening


def open_dir(path: str | os.PathLike[str], *, dir_fd: int | None = None) -> int:
    """A descriptor of a folder, for ``*_at`` calls and fsync. The last component must not be a symbolic link."""
    if _hook is not None:
        _ask("open_dir", os.fspath(path))
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=dir_fd)


def open_tmpfile(dir_fd: int, mode: int = 0o644) -> int:
    """A readable and writable file without a name in the volume of ``dir_fd``; it vanishes with its last descriptor.

    Raises OSError out of :data:`UNSUPPORTED_ERRNOS` where the file system has no O_TMPFILE.
    """
    if _hook is not None:
        _ask("open_tmpfile", dir_fd)
    return os.open(".", os.O_RDWR | os.O_TMPFILE | os.O_CLOEXEC, mode, dir_fd=dir_fd)


def open_new(name: str, *, dir_fd: int | None = None, mode: int = 0o644) -> int:
    """A new named file, readable and writable. Raises FileExistsError."""
    if _hook is not None:
        _ask("open_new", name)
    return os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode, dir_fd=dir_fd)


def open_unnamed(dir_fd: int, name: str) -> int:
    """A file that is gone with its descriptor: without a name, or, where the file system cannot, with ``name`` for a
    moment. For trials; an upload must not have a name that a kill leaves behind."""
    try:
        return open_tmpfile(dir_fd)
    except OSError as error:
        if error.errno not in UNSUPPORTED_ERRNOS:
            raise
    with suppress(FileNotFoundError):
        unlink(name, dir_fd=dir_fd)
    fd = open_new(name, dir_fd=dir_fd)
    unlink(name, dir_fd=dir_fd)
    return fd


def open_read(path: str | os.PathLike[str], *, dir_fd: int | None = None) -> int:
    """A file for reading. Symbolic links as the last component are refused, and nobody waits for the writer of a pipe:
    reading one at an offset is an error.
    """
    if _hook is not None:
        _ask("open_read", os.fspath(path))
    return os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=dir_fd)


def open_lock(path: str | os.PathLike[str], *, mode: int = 0o600) -> int:
    """A file to :func:`flock`, created when missing."""
    if _hook is not None:
        _ask("open_lock", os.fspath(path))
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, mode)


def close(fd: int) -> None:
    """Close; the descriptor is gone even when this raises (FUSE and NFS report lost writes here)."""
    try:
        if _hook is not None:
            _ask("close", fd)
    finally:
        os.close(fd)


# ------------------------------------------------------------------------------------------------ bytes


def pread(fd: int, length: int, offset: int) -> bytes:
    """``length`` bytes at ``offset``; fewer only at the end of the file (short reads are continued)."""
    if _hook is not None:
        _ask("pread", fd, length, offset)
    data = os.pread(fd, length, offset)
    if len(data) == length or not data:
        return data
    parts = [data]
    got = len(data)
    while got < length and (more := os.pread(fd, length - got, offset + got)):
        parts.append(more)
        got += len(more)
    return b"".join(parts)


def reader_at(fd: int) -> "ReadAt":
    """``read_at(offset, length)`` over an open descriptor, for ``streams.window.Window``."""
    return lambda offset, length: pread(fd, length, offset)


def write_all(fd: int, data: bytes | bytearray | memoryview) -> bool:
    """Write everything at the current position, going on after short writes; whether there was none.

    A nearly full xfs writes part of a chunk before it says ENOSPC; taking the short count for success would tear the
    file.
    """
    view = memoryview(data).cast("B")
    calls = 0
    while view:
        most = _ask("write", fd, len(view)) if _hook is not None else None
        done = os.write(fd, view if most is None or most < 0 else view[:most])
        if done <= 0:
            raise OSError(errno.EIO, "write(2) wrote nothing")
        view = view[done:]
        calls += 1
    return calls <= 1


def fsync(fd: int) -> None:
    """fsync(2). A failure is final: Linux marks the lost pages clean, so a second fsync that succeeds proves
    nothing."""
    if _hook is not None and _ask("fsync", fd) == _SKIP:
        return
    os.fsync(fd)


def fdatasync(fd: int) -> None:
    """fdatasync(2); the same warning as :func:`fsync`."""
    if _hook is not None and _ask("fdatasync", fd) == _SKIP:
        return
    os.fdatasync(fd)


def syncfs(fd: int) -> None:
    """syncfs(2): everything that was written to the file system of ``fd`` is durable. A failure is final, as with
    :func:`fsync`; since Linux 5.8 it reports each write-back that failed since the descriptor was opened."""
    if _hook is not None and _ask("syncfs", fd) == _SKIP:
        return
    if _syncfs(fd) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def drop_cached(fd: int) -> None:
    """Forget the clean pages of a file, so that the next read comes from the disk. Only a hint: never raises."""
    if _hook is not None:
        _ask("drop_cached", fd)
    with suppress(OSError):
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)


def sync_file_range(fd: int, offset: int, length: int, *, wait: bool = False) -> None:
    """Start write-back of a range now, so that the last fsync is short; with ``wait``, also wait for it (bounds the
    dirty pages).

    No durability of its own. File systems that lack it are ignored; EIO and ENOSPC of the write-back are raised.
    """
    if _hook is not None and _ask("sync_file_range", fd, offset, length) == _SKIP:
        return
    flags = _SYNC_WAIT_BEFORE | _SYNC_WRITE | _SYNC_WAIT_AFTER if wait else _SYNC_WRITE
    if _sync_file_range(fd, offset, length, flags) != 0:
        number = ctypes.get_errno()
        if number not in (errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL, errno.ESPIPE, errno.EINTR):
            raise OSError(number, os.strerror(number))


def fallocate(fd: int, offset: int, length: int, *, keep_size: bool = False) -> None:
    """Allocate a range with fallocate(2) itself: ``os.posix_fallocate`` may fall back to writing every block.

    On failure the file is cut back to its old size at once: ext4 keeps whatever it had grabbed, the whole rest of the
    volume.

    Raises OSError: ENOSPC, EDQUOT, EFBIG; EOPNOTSUPP where the file system cannot.
    """
    if length <= 0:
        return
    size = os.fstat(fd).st_size
    try:
        if _hook is not None:
            _ask("fallocate", fd, offset, length)
        while _fallocate(fd, _FALLOC_FL_KEEP_SIZE if keep_size else 0, offset, length) != 0:
            number = ctypes.get_errno()
            if number != errno.EINTR:
                raise OSError(number, os.strerror(number))
    except OSError:
        with suppress(OSError):  # the first error is the one to report; closing the file frees the rest
            os.ftruncate(fd, size)
        raise


def ftruncate(fd: int, size_bytes: int) -> None:
    """ftruncate(2)."""
    if _hook is not None:
        _ask("ftruncate", fd, size_bytes)
    os.ftruncate(fd, size_bytes)


# ------------------------------------------------------------------------------------------------ names


def link_fd(fd: int, name: str, *, dst_dir_fd: int) -> None:
    """Give an open file (O_TMPFILE too) a name with linkat(2). Raises FileExistsError; never replaces.

    ``dst_dir_fd`` is what makes CPython call linkat with AT_SYMLINK_FOLLOW; plain ``os.link`` of a /proc path is EXDEV.
    """
    if _hook is not None:
        _ask("link_fd", fd, name)
    os.link(f"/proc/self/fd/{fd}", name, dst_dir_fd=dst_dir_fd, follow_symlinks=True)


def unlink(name: str | os.PathLike[str], *, dir_fd: int | None = None) -> None:
    """unlink(2)."""
    if _hook is not None:
        _ask("unlink", os.fspath(name))
    os.unlink(name, dir_fd=dir_fd)


def chmod(name: str, mode: int, *, dir_fd: int | None = None) -> None:
    """chmod(2)."""
    if _hook is not None:
        _ask("chmod", name)
    os.chmod(name, mode, dir_fd=dir_fd)


def rmdir(name: str | os.PathLike[str], *, dir_fd: int | None = None) -> None:
    """rmdir(2): an empty folder only."""
    if _hook is not None:
        _ask("rmdir", os.fspath(name))
    os.rmdir(name, dir_fd=dir_fd)


def mkdir(name: str | os.PathLike[str], mode: int = 0o755, *, dir_fd: int | None = None) -> bool:
    """mkdir(2); whether the folder is new. A name that is there already but no folder raises FileExistsError."""
    if _hook is not None:
        _ask("mkdir", os.fspath(name))
    try:
        os.mkdir(name, mode, dir_fd=dir_fd)
    except FileExistsError:
        if (os.stat(name, dir_fd=dir_fd).st_mode & 0o170000) != 0o040000:
            raise
        return False
    return True


def rename(source: str, target: str, *, src_dir_fd: int | None = None, dst_dir_fd: int | None = None) -> None:
    """rename(2): replaces the target."""
    if _hook is not None:
        _ask("rename", source, target)
    os.rename(source, target, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)


@contextmanager
def scandir(path: str | os.PathLike[str] | int) -> Iterator[Iterator["os.DirEntry[str]"]]:
    """The entries of a folder, one at a time: memory does not grow with the folder."""
    if _hook is not None:
        _ask("scandir", path)
    with os.scandir(path) as entries:
        yield entries


def listdir(path: str | os.PathLike[str] | int) -> list[str]:
    """Every name in a folder that is known to be small."""
    if _hook is not None:
        _ask("listdir", path)
    return os.listdir(path)


# ------------------------------------------------------------------------------------------------ facts and locks


def stat(path: str | os.PathLike[str], *, dir_fd: int | None = None) -> os.stat_result:
    """stat(2) of the name itself: symbolic links are not followed."""
    if _hook is not None:
        _ask("stat", os.fspath(path))
    return os.stat(path, dir_fd=dir_fd, follow_symlinks=False)


def fstat(fd: int) -> os.stat_result:
    """fstat(2)."""
    if _hook is not None:
        _ask("fstat", fd)
    return os.fstat(fd)


def statvfs(path_or_fd: str | os.PathLike[str] | int) -> os.statvfs_result:
    """statvfs(3). ``f_bavail * f_frsize`` is what we may use; ``f_bfree`` counts what only root may."""
    if _hook is not None:
        _ask("statvfs", path_or_fd)
    return os.statvfs(path_or_fd)


def flock(fd: int, *, shared: bool = False, wait: bool = False) -> bool:
    """flock(2); False when another holds it (only without ``wait``). The lock ends with the descriptor, however the
    process ends."""
    if _hook is not None:
        _ask("flock", fd)
    try:
        fcntl.flock(fd, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    return True


def memory_file(name: str, data: bytes) -> int:
    """A descriptor of a file that lies in memory alone, for a library that wants a path: ``/proc/self/fd/N`` is one.
    ``name`` is what /proc shows of it.
    """
    fd = os.memfd_create(name, os.MFD_CLOEXEC)
    try:
        write_all(fd, data)
    except BaseException:
        close(fd)
        raise
    return fd


# ------------------------------------------------------------------------------------------------ whole small files


def read_small(path: str | os.PathLike[str], *, bytes_max: int = 1 * MIB) -> bytes:
    """A whole small file. Raises FileNotFoundError; OSError EFBIG above ``bytes_max``."""
    fd = open_read(path)
    try:
        data = pread(fd, bytes_max + 1, 0)
    finally:
        close(fd)
    if len(data) > bytes_max:
        raise OSError(errno.EFBIG, "file is larger than it may be", os.fspath(path))
    return data


def write_small_atomically(path: str | os.PathLike[str], data: bytes, *, mode: int = 0o644) -> None:
    """Replace a small file: after a crash it has the old content or the new, and the new once this returned.

    Written beside it as ``.NAME.new`` with exactly ``mode`` from its first byte (a secret is at no moment readable to
    others), fsynced, renamed, and the folder fsynced. A leftover of a crash is replaced by the next write.
    """
    folder, name = os.path.split(os.fspath(path))
    side = f".{name}.new"
    dir_fd = open_dir(folder or ".")
    try:
        with suppress(FileNotFoundError):
            unlink(side, dir_fd=dir_fd)
        fd = open_new(side, dir_fd=dir_fd, mode=mode & 0o600)
        try:
            os.fchmod(fd, mode)
            write_all(fd, data)
            fsync(fd)
            rename(side, name, src_dir_fd=dir_fd, dst_dir_fd=dir_fd)
        except BaseException:
            with suppress(OSError):
                os.unlink(side, dir_fd=dir_fd)
            raise
        finally:
            close(fd)
        fsync(dir_fd)
    finally:
        close(dir_fd)


if "ENTREPOT_FAULT" in os.environ:  # for tests alone: lets a sweep reach into a real server process
    from entrepot.disk import faults

    set_hook(faults.parse(os.environ["ENTREPOT_FAULT"]))
