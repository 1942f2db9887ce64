"""What lies in the data folder and should not: a walk that tells our own files, by their names and places, from others.

Nothing here decides what is removed; see ``upkeep.leaks``. Every listing is bounded: a folder with a million strangers
is reported by its first hundred and a count.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Literal

from entrepot.disk import fs
from entrepot.disk.account import NOTHING, Amount
from entrepot.disk.ballast import FOLDER as BALLAST
from entrepot.storage import sweep
from entrepot.storage.sweep import Entry

SHARDS = 256
STRAYS_MAX = 100
NAMES_MAX = 200_000
TREE_NAMES_MAX = 1_000
SIDE_SUFFIX = ".new"
# What may lie at the top of each volume, and is nobody's leak.
_OF_VOLUMES = frozenset({BALLAST, "lost+found", ".trial"})


class Kind(StrEnum):
    """What kind of leak it is: a closed set, a label of metrics."""

    ORPHAN = "orphan"
    """Bytes of a copy that no row names."""
    INCOMING = "incoming"
    """A file in ``incoming`` that no living upload holds."""
    SIDE_FILE = "side_file"
    """``.NAME.new``: a small file that was being replaced when the process ended."""
    SCRATCH = "scratch"
    """Something that a library left in the scratch folder."""
    FOREIGN = "foreign"
    """A file that is not shaped like ours. Never removed."""
    DESCRIPTOR = "descriptor"
    """A deleted file that a process holds open."""
    UNEXPLAINED = "unexplained"
    """Bytes or inodes of a volume of our own that nothing found explains."""


Use = Literal["catalog", "blobs", "scratch"]
"""What a volume is for; several uses may share one."""


@dataclass(frozen=True, slots=True)
class Stray:
    """One of them. ``path`` is below the data folder, or what a process calls a deleted file; ``amount`` what it takes,
    a folder's content included; ``process`` who holds it."""

    kind: Kind
    path: str
    amount: Amount
    inode: int = 0
    process: str | None = None

    @property
    def identity(self) -> tuple[Kind, str, int]:
        """What makes it the same one at the next look."""
        return self.kind, self.path, self.inode


@dataclass(slots=True)
class Found:
    """What one part of the walk came to. ``volume`` is where it lies, by its use; ``known`` is ours; ``strays`` are the
    first of those that are there, ``counts`` and ``amount`` all of them; ``removed`` were there and are gone now."""

    volume: Use = "blobs"
    known: Amount = NOTHING
    strays: list[Stray] = field(default_factory=list)
    removed: list[Stray] = field(default_factory=list)
    counts: Counter[Kind] = field(default_factory=Counter)
    amount: Amount = NOTHING

    def own(self, entry: Entry) -> None:
        """One more of our own."""
        self.known += Amount(entry.size_bytes, 1)

    def own_folder(self, entry: Entry, dir_fd: int) -> None:
        """A folder of ours that no other part looks into: the ballast. The others count themselves."""
        if entry.name == BALLAST:
            self.known += tree(entry, dir_fd)

    def stray(self, each: Stray) -> None:
        """One more that should not be there."""
        self.counts[each.kind] += 1
        self.amount += each.amount
        if len(self.strays) < STRAYS_MAX:
            self.strays.append(each)

    def unlisted(self) -> "Found":
        """The same without what ``strays`` lists, for whoever sorts that again."""
        listed = Counter(each.kind for each in self.strays)
        amount = self.amount - sum((each.amount for each in self.strays), NOTHING)
        return Found(self.volume, self.known, [], list(self.removed), self.counts - listed, amount)

    def gone(self, each: Stray) -> None:
        """One more that was there and has just been removed."""
        self.removed.append(each)


class Walk:
    """Looks at one data folder, a part at a time. Every method may raise OSError."""

    def __init__(
        self,
        folder: Path,
        own_files: frozenset[str],
        own_folders: frozenset[str],
        *,
        incoming: str = "incoming",
        scratch: Path | None = None,
    ) -> None:
        """Args: ``own_files`` names at the top that are ours; ``own_folders`` folders that have a part of their own
        here, or are nobody's business (``lost+found``); ``incoming`` where it lies; ``scratch`` the scratch folder,
        where it is not ``scratch`` in the folder."""
        self._folder = folder
        self._incoming = incoming
        self._scratch = "scratch" if scratch is None else os.path.relpath(scratch, folder)
        self._own_files = own_files
        self._own_folders = own_folders
        self._side_files = frozenset(f".{name}{SIDE_SUFFIX}" for name in own_files)

    @contextmanager
    def _opened(self, path: str = ".") -> Iterator[int]:
        fd = fs.open_dir(self._folder / path)
        try:
            yield fd
        finally:
            fs.close(fd)

    def _each(self, use: Use, path: str, take: Callable[[Found, Entry, int], None]) -> Found:
        """Every entry of one folder, handed to ``take``; the folder itself is ours."""
        found = Found(use)
        with self._opened(path) as fd:
            own = sweep.look(".", fd)
            if own is not None:
                found.own(own)
            for name in sweep.names(fd, NAMES_MAX):
                entry = sweep.look(name, fd)
                if entry is not None:
                    take(found, entry, fd)
        return found

    def top(self) -> Found:
        """The data folder itself."""

        def take(found: Found, entry: Entry, fd: int) -> None:
            if entry.name in self._own_folders and entry.is_folder:
                found.own_folder(entry, fd)
            elif entry.name in self._own_files and entry.is_file:
                found.own(entry)
            elif entry.name in self._side_files and entry.is_file:
                found.stray(_stray(Kind.SIDE_FILE, entry.name, entry, fd))
            else:
                found.stray(_stray(Kind.FOREIGN, entry.name, entry, fd))

        return self._each("catalog", ".", take)

    def scratch(self) -> Found:
        """The scratch folder: nothing in it is meant to stay. Empty when there is no such folder."""

        def take(found: Found, entry: Entry, fd: int) -> None:
            if entry.name not in _OF_VOLUMES:
                found.stray(_stray(Kind.SCRATCH, f"{self._scratch}/{entry.name}", entry, fd))

        with suppress(FileNotFoundError):
            return self._each("scratch", self._scratch, take)
        return Found("scratch")

    def incoming(self) -> tuple[Found, list[str]]:
        """``incoming``: strangers, and the names that we could have made. Removes those that nobody
        holds."""
        ours: list[str] = []

        def take(found: Found, entry: Entry, fd: int) -> None:
            path = f"{self._incoming}/{entry.name}"
            if not (sweep.KEY.fullmatch(entry.name) and entry.is_file):
                found.stray(_stray(Kind.FOREIGN, path, entry, fd))
            elif sweep.reap_one(entry.name, fd):
                found.gone(_stray(Kind.INCOMING, path, entry, fd))
            else:
                found.own(entry)
                ours.append(entry.name)

        return self._each("blobs", self._incoming, take), ours

    def blobs(self) -> Found:
        """``blobs`` itself: 256 folders, and what lies at the top of a volume of its own."""

        def take(found: Found, entry: Entry, fd: int) -> None:
            if entry.name in _OF_VOLUMES or f"blobs/{entry.name}" == self._incoming:
                found.own_folder(entry, fd)
            elif not (sweep.SHARD.fullmatch(entry.name) and entry.is_folder):
                found.stray(_stray(Kind.FOREIGN, f"blobs/{entry.name}", entry, fd))

        return self._each("blobs", "blobs", take)

    def shard(self, number: int) -> tuple[Found, list[str]]:
        """One folder of copies: strangers, and the keys. Copies are not looked at one by one: the catalog has their
        sizes."""
        shard = f"{number:02x}"
        found, keys = Found(), []
        with self._opened(f"blobs/{shard}") as fd:
            own = sweep.look(".", fd)
            if own is not None:
                found.own(own)
            for name in sweep.names(fd, NAMES_MAX):
                if name.startswith(shard) and sweep.KEY.fullmatch(name):
                    keys.append(name)
                elif (entry := sweep.look(name, fd)) is not None:
                    found.stray(_stray(Kind.FOREIGN, f"blobs/{shard}/{name}", entry, fd))
        return found, keys

    def remove(self, stray: Stray) -> bool:
        """Remove what a stray is; whether all of it is gone. Raises no OSError: what stays is tried again."""
        folder, _, name = stray.path.rpartition("/")
        try:
            with self._opened(folder or ".") as fd:
                remove_tree(name, fd)
        except OSError:
            return False
        return True

    def copies(self, number: int, keys: list[str]) -> list[Entry]:
        """Those of ``keys`` that still lie in one shard."""
        with self._opened(f"blobs/{number:02x}") as fd:
            return [entry for key in keys if (entry := sweep.look(key, fd)) is not None]


def _stray(kind: Kind, path: str, entry: Entry, dir_fd: int) -> Stray:
    return Stray(kind, path, tree(entry, dir_fd), entry.inode)


def tree(entry: Entry, dir_fd: int, depth: int = 3) -> Amount:
    """What an entry takes with all that is below it, up to :data:`TREE_NAMES_MAX` names of each folder and ``depth``
    folders deep: enough to see that it matters."""
    total = Amount(entry.size_bytes, 1)
    if not entry.is_folder or not depth:
        return total
    try:
        fd = fs.open_dir(entry.name, dir_fd=dir_fd)
    except OSError:  # gone, or not ours to read
        return total
    try:
        for name in sweep.names(fd, TREE_NAMES_MAX):
            below = sweep.look(name, fd)
            if below is not None:
                total += tree(below, fd, depth - 1)
    finally:
        fs.close(fd)
    return total


def remove_tree(name: str, dir_fd: int, depth: int = 16) -> None:
    """Remove a file, or a folder and what is below it, within bounds: the rest with a later pass. Follows no link.

    Raises OSError, also for a folder of which something is left.
    """
    entry = sweep.look(name, dir_fd)
    if entry is None:
        return
    if not entry.is_folder:
        fs.unlink(name, dir_fd=dir_fd)
        return
    fd = fs.open_dir(name, dir_fd=dir_fd)
    try:
        for below in list(sweep.names(fd, TREE_NAMES_MAX)) if depth else ():
            remove_tree(below, fd, depth - 1)
    finally:
        fs.close(fd)
    fs.rmdir(name, dir_fd=dir_fd)
