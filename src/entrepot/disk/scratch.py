"""The folder for temporary files of libraries: a watched place, emptied at each start.

Entrepot itself makes no temporary files, and an upload touches none. What else runs in its processes must not fall back
to a place that nobody watches: Python's ``tempfile`` silently goes to /tmp, and to the working folder, when TMPDIR is
full.
"""

from contextlib import suppress
from pathlib import Path

from entrepot.disk import fs


def prepare(folder: Path) -> None:
    """Make the folder, or empty it: who held files in it is dead, because the data folder is locked.

    What cannot be removed stays; a full or failing volume must not keep a node from starting. Raises OSError when there
    is no such folder and none can be made.
    """
    fs.mkdir(folder, 0o700)
    _empty(folder)


def _empty(folder: Path) -> None:
    """Remove everything below a folder, never following a symbolic link."""
    with suppress(OSError), fs.scandir(folder) as entries:
        for entry in entries:
            path = folder / entry.name
            with suppress(OSError):
                if entry.is_dir(follow_symlinks=False):
                    _empty(path)
                    fs.rmdir(path)
                else:
                    fs.unlink(path)
