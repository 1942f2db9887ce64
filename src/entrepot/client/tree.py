"""Folders and patterns, read so that nothing is left out in silence: what cannot be read is handed to the caller."""

import glob
import os
from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path

# Told of each path that could not be read, and why.
Failed = Callable[[Path, OSError], None]


def walk(folder: Path, failed: Failed) -> Iterator[list["os.DirEntry[str]"]]:
    """The entries of a folder, then those of every folder below it, in alphabetical order. Links to folders are entries
    like others and are not followed: they may go round. Folders may be nested to any depth.
    """
    waiting = [folder]
    while waiting:
        where = waiting.pop()
        entries = _entries(where, failed)
        yield entries
        waiting += [Path(entry.path) for entry in reversed(entries) if _is_folder(entry, failed)]


def expand(pattern: str, failed: Failed) -> list[Path]:
    """What matches a pattern, sorted. ``*``, ``?`` and ``[…]`` match within a name, and a dot at its beginning only
    where the pattern has one; ``**`` matches any folders on the way, hidden ones excepted. An ending ``**`` is the
    folder itself.
    """
    parts = [part for part in pattern.split("/") if part]
    found = [Path("/" if pattern.startswith("/") else "")]
    for number, part in enumerate(parts, 1):
        last = number == len(parts)
        found = list(dict.fromkeys(each for folder in found for each in _step(folder, part, failed, last=last)))
    return sorted(found)


def _step(folder: Path, part: str, failed: Failed, *, last: bool) -> Iterator[Path]:
    """What one part of a pattern matches in a folder."""
    if part == "**":
        yield from (folder,) if last else _visible(folder, failed)
    elif glob.has_magic(part):
        for entry in _entries(folder, failed):
            hidden = entry.name.startswith(".") and not part.startswith(".")
            if not hidden and fnmatchcase(entry.name, part) and (last or _is_folder(entry, failed, follow_links=True)):
                yield Path(entry.path)
    else:
        path = folder / part
        try:
            os.lstat(path)
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            failed(path, error)
            return
        yield path


def _visible(folder: Path, failed: Failed) -> Iterator[Path]:
    """A folder and every folder below it without the hidden ones."""
    waiting = [folder]
    while waiting:
        where = waiting.pop()
        yield where
        names = [entry for entry in _entries(where, failed) if not entry.name.startswith(".")]
        waiting += [Path(entry.path) for entry in reversed(names) if _is_folder(entry, failed)]


def _entries(folder: Path, failed: Failed) -> list["os.DirEntry[str]"]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        failed(folder, error)
        return []


def _is_folder(entry: "os.DirEntry[str]", failed: Failed, *, follow_links: bool = False) -> bool:
    try:
        return entry.is_dir(follow_symlinks=follow_links)
    except OSError as error:
        failed(Path(entry.path), error)
        return False
