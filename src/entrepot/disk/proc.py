"""What only the kernel knows: who holds deleted files of a volume open, a lock or a port, and whether a volume is ours
alone.

Reads /proc, which is no disk: not through ``disk.fs``, whose calls are counted and failed by tests.
"""

import os
import socket
import sys
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

PROCESSES_MAX = 4096
DESCRIPTORS_MAX = 65_536
_DELETED = " (deleted)"
_BLOCK_BYTES = 512
_EVERYWHERE = frozenset({"0.0.0.0", "::"})
_REMOTE = frozenset({"nfs", "nfs4", "cifs", "smb3", "9p", "ceph", "glusterfs", "fuse", "virtiofs"})
_LISTENS = "0A"  # TCP_LISTEN, as /proc/net/tcp has it


@dataclass(frozen=True, slots=True)
class DeletedFile:
    """A file without a name that a process holds open. ``size_bytes`` is what it takes on the volume."""

    pid: int
    process: str
    fd: int
    path: str
    inode: int
    size_bytes: int


def family(pid: int) -> list[int]:
    """A process and its living descendants, itself first. Processes that end meanwhile are left out."""
    children: dict[int, list[int]] = {}
    for each in processes():
        try:
            with open(f"/proc/{each}/stat", "rb", 0) as file:
                fields = file.read(1024).rpartition(b")")[2].split()
        except OSError:
            continue
        children.setdefault(int(fields[1]), []).append(each)
    found = [pid]
    for each in found:  # grows while it is walked: breadth first
        found += children.get(each, [])
    return found


def processes() -> list[int]:
    """Every process that this one may see, at most :data:`PROCESSES_MAX`."""
    return [int(name) for name in os.listdir("/proc") if name.isdigit()][:PROCESSES_MAX]


def deleted_files(pids: Iterable[int], device: int) -> list[DeletedFile]:
    """Files on the file system ``device`` that have no name left and are open in these processes, each once, for the
    first process that holds it. What this process may not look into is left out.
    """
    found: dict[int, DeletedFile] = {}
    left = DESCRIPTORS_MAX
    for pid in pids:
        try:
            names = os.listdir(f"/proc/{pid}/fd")[:left]
        except OSError:
            continue
        left -= len(names)
        for name in names:
            link = f"/proc/{pid}/fd/{name}"
            try:
                target = os.readlink(link)
                if not target.endswith(_DELETED):
                    continue
                facts = os.stat(link)
            except OSError:
                continue
            if facts.st_dev == device and facts.st_nlink == 0 and facts.st_ino not in found:
                path, size = target.removesuffix(_DELETED), facts.st_blocks * _BLOCK_BYTES
                found[facts.st_ino] = DeletedFile(pid, _name(pid), int(name), path, facts.st_ino, size)
    return list(found.values())


def open_inodes(pids: Iterable[int], device: int) -> frozenset[int]:
    """Inodes on the file system ``device`` that are open in these processes, as far as this one may look."""
    found: set[int] = set()
    for pid in pids:
        try:
            names = os.listdir(f"/proc/{pid}/fd")[:DESCRIPTORS_MAX]
        except OSError:
            continue
        for name in names:
            try:
                facts = os.stat(f"/proc/{pid}/fd/{name}")
            except OSError:
                continue
            if facts.st_dev == device:
                found.add(facts.st_ino)
    return frozenset(found)


def lock_holder(path: str | os.PathLike[str]) -> int | None:
    """The process that holds the flock on a file; None when nobody does, or when it cannot be told (a process of
    another container, a file system whose locks are listed under another device). It takes no lock itself.
    """
    try:
        facts = os.stat(path)
        lines = Path("/proc/locks").read_text().splitlines()
    except OSError:
        return None
    place = f"{os.major(facts.st_dev):02x}:{os.minor(facts.st_dev):02x}:{facts.st_ino}"
    for fields in (line.split() for line in lines):
        # 1: FLOCK  ADVISORY  WRITE 4711 08:01:1234 0 EOF; those who wait for it have "->" behind the number.
        if len(fields) >= 6 and fields[1] == "FLOCK" and fields[5] == place:
            return int(fields[4])
    return None


def port_holder(address: str, port: int) -> int | None:
    """The process that listens on a TCP port of an IP address, or of all; None when nobody does, or when it cannot be
    told (a process of another user or container).
    """
    inodes: set[str] = set()
    for name in ("tcp", "tcp6"):
        try:
            lines = Path(f"/proc/net/{name}").read_text().splitlines()[1:]
        except OSError:
            continue
        for fields in (line.split() for line in lines):
            # 0: 0100007F:20E4 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 12345 …
            if len(fields) > 9 and fields[3] == _LISTENS:
                there, _, number = fields[1].partition(":")
                if int(number, 16) == port and _overlap(_address(there), address):
                    inodes.add(f"socket:[{fields[9]}]")
    return next((pid for pid in processes() if inodes & set(_links(pid))), None) if inodes else None


def _address(digits: str) -> str:
    """An address as the kernel prints it: words of 32 bits in the machine's own order."""
    words = bytes.fromhex(digits)
    if sys.byteorder == "little":
        words = b"".join(words[start : start + 4][::-1] for start in range(0, len(words), 4))
    return socket.inet_ntop(socket.AF_INET if len(words) == 4 else socket.AF_INET6, words)


def _overlap(one: str, other: str) -> bool:
    return one.removeprefix("::ffff:") == other.removeprefix("::ffff:") or not {one, other}.isdisjoint(_EVERYWHERE)


def _links(pid: int) -> list[str]:
    """What the descriptors of a process lead to, as far as this one may look."""
    found: list[str] = []
    try:
        names = os.listdir(f"/proc/{pid}/fd")[:DESCRIPTORS_MAX]
    except OSError:
        return found
    for name in names:
        with suppress(OSError):
            found.append(os.readlink(f"/proc/{pid}/fd/{name}"))
    return found


def named(pid: int) -> str:
    """A process for a message: its number and its program's name. Not its arguments, which may hold secrets."""
    return f"process {pid} ({_name(pid)})"


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return "?"


def is_dedicated(folder: str | os.PathLike[str]) -> bool:
    """Whether a folder is the root of a file system of its own, so that everything on it should be ours.

    A mounted sub-folder (a bind mount, a container's named volume, a Kubernetes subPath) has a mount of its own too,
    but shares its file system with whatever lies beside it. False also when the mounts cannot be read.
    """
    path = os.path.realpath(folder)
    # A later mount on the same folder hides an earlier one.
    root = next((fields[3] for fields in reversed(_mounts()) if _unescape(fields[4]) == path), None)
    return root == "/"


def file_system(folder: str | os.PathLike[str]) -> str:
    """The type of the file system that holds a folder (``ext4``, ``btrfs``); empty when the mounts cannot be read."""
    path = Path(os.path.realpath(folder))
    best, name = -1, ""
    for fields in _mounts():
        point = Path(_unescape(fields[4]))
        if path.is_relative_to(point) and len(point.parts) >= best:
            best, name = len(point.parts), fields[fields.index("-") + 1]
    return name


def is_remote(kind: str) -> bool:
    """Whether a file system of this type asks another machine or program for its bytes: there locks and shared memory
    are not to be relied on."""
    return kind in _REMOTE or kind.startswith("fuse.")


def _mounts() -> list[list[str]]:
    """The fields of each mount, in order; see proc(5). Empty when they cannot be read."""
    try:
        lines = Path("/proc/self/mountinfo").read_text().splitlines()
    except OSError:
        return []
    return [fields for line in lines if "-" in (fields := line.split(" "))[5:]]


def _unescape(text: str) -> str:
    """Mount points with blanks are written with octal escapes."""
    for escape in ("040", "011", "012", "134"):
        text = text.replace(f"\\{escape}", chr(int(escape, 8)))
    return text
