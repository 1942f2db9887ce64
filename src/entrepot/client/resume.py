"""Remembered digests of local files, so that a killed push of a big folder need not read it all again.

One line of JSON for each file, appended as it is hashed: a kill loses at most the line being written, and a broken
line is passed over. What is remembered only saves time: the server is always asked, and the bytes that are sent are
compared with the digest there.
"""

from __future__ import annotations

import fcntl
import json
import os
from contextlib import suppress
from pathlib import Path
from threading import Lock

CACHE_BYTES_MAX = 8 * 1024 * 1024
LINE_BYTES_MAX = 16 * 1024
FILE_NAME = "sha256.jsonl"

_Key = tuple[str, int, int]


def cache_folder(environment: dict[str, str] | os._Environ[str]) -> Path:
    """``$XDG_CACHE_HOME/entrepot``, by default below ``~/.cache``."""
    base = environment.get("XDG_CACHE_HOME") or os.path.join(environment.get("HOME", "/"), ".cache")
    return Path(base) / "entrepot"


class Remembered:
    """sha256 by path, modification time and size. Safe for several threads, and for several pushes at once.

    Every failure of the cache's own file (no home, full disk, no permission) means that nothing is remembered.
    """

    def __init__(self, folder: Path | None) -> None:
        """Args: ``folder`` None remembers nothing."""
        self._path = None if folder is None else folder / FILE_NAME
        self._known: dict[_Key, str] = {}
        self._lock = Lock()
        self._fd = -1
        if self._path is not None:
            with suppress(OSError):
                self._load(self._path)

    def _load(self, path: Path) -> None:
        os.makedirs(path.parent, mode=0o700, exist_ok=True)
        # Compaction replaces the file, so the lock that keeps two pushes apart is on the folder, which stays.
        folder_fd = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(folder_fd, fcntl.LOCK_EX)
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            size_bytes = os.fstat(self._fd).st_size
            kept = os.pread(self._fd, CACHE_BYTES_MAX // 2, max(0, size_bytes - CACHE_BYTES_MAX // 2))
            self._read(kept)
            if size_bytes > CACHE_BYTES_MAX:
                self._compact(path, kept[kept.find(b"\n") + 1 :])
            elif kept and not kept.endswith(b"\n"):
                os.write(self._fd, b"\n")  # a push was killed in the middle of a line
        finally:
            os.close(folder_fd)

    def _compact(self, path: Path, kept: bytes) -> None:
        """Keep the newer half."""
        fresh = path.with_suffix(".new")
        fd = os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o600)
        os.write(fd, kept)
        os.rename(fresh, path)
        os.close(self._fd)
        self._fd = fd

    def _read(self, text: bytes) -> None:
        for line in text.split(b"\n"):
            with suppress(ValueError, TypeError):
                path, changed_ns, size_bytes, sha256 = json.loads(line)
                if isinstance(path, str) and isinstance(sha256, str) and len(sha256) == 64:
                    self._known[(path, int(changed_ns), int(size_bytes))] = sha256

    def find(self, path: str, status: os.stat_result) -> str | None:
        """The sha256 of an unchanged file, or None."""
        return self._known.get((path, status.st_mtime_ns, status.st_size))

    def add(self, path: str, status: os.stat_result, sha256: str) -> None:
        """Remember the digest of a file as it was at ``status``."""
        line = json.dumps([path, status.st_mtime_ns, status.st_size, sha256]).encode() + b"\n"
        with self._lock:
            self._known[(path, status.st_mtime_ns, status.st_size)] = sha256
            if self._fd >= 0 and len(line) <= LINE_BYTES_MAX:
                try:
                    os.write(self._fd, line)
                except OSError:
                    self.close_file()

    def close_file(self) -> None:
        """Stop writing."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            with suppress(OSError):
                os.close(fd)

    def close(self) -> None:
        """Close the cache's file."""
        with self._lock:
            self.close_file()
