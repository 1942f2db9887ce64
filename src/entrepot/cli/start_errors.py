"""What keeps a server from starting, or ends it, in one sentence with the remedy. The texts of refusals are for clients
that send files.
"""

import errno
from pathlib import Path

from entrepot.catalog.revision import HEAD, CatalogTooNew
from entrepot.model.errors import Refusal
from entrepot.node.preserve import kept_name

_FULL = "Its volume is full: make room on it, or name a folder on a larger one."
_FORBIDDEN = "This user may not use it: give it to the user that runs the server (chown -R USER: {folder})."
_READ_ONLY = "Its volume is mounted read-only: mount it for writing."
_BAD_DISK = "The disk fails: the kernel's log (dmesg) says more."

_BY_ERRNO = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    errno.EACCES: _FORBIDDEN,
    errno.EPERM: _FORBIDDEN,
    errno.EROFS: _READ_ONLY,
    errno.EEXIST: "A file lies where the server keeps a folder: move it away.",
    errno.ENOTDIR: "A file lies where the server keeps a folder: move it away.",
    errno.ENOENT: "Part of the path is missing, or a link leads nowhere.",
    errno.EMFILE: "Allow the server more open files (ulimit -n, or LimitNOFILE of its unit).",
    errno.EADDRINUSE: "Another program took a port of the server meanwhile: stop it, or choose another port.",
}

# What SQLite calls it, the more exact names first.
_BY_SQLITE_NAME = {
    "SQLITE_NOTADB": "It is no catalog. Put the right file back from a back-up.",
    "SQLITE_CORRUPT": "It is damaged. Put it back from a back-up.",
    "SQLITE_FULL": _FULL,
    "SQLITE_IOERR_SHMSIZE": _FULL,
    "SQLITE_IOERR": _BAD_DISK,
    "SQLITE_CANTOPEN": _FORBIDDEN,
    "SQLITE_READONLY": _FORBIDDEN,
    "SQLITE_BUSY": "Another program has it open: end that (fuser -v {catalog} names it).",
    "SQLITE_LOCKED": "Another program has it open: end that (fuser -v {catalog} names it).",
    "SQLITE_NOMEM": "There is not enough memory.",
}


def explain(error: CatalogTooNew | Refusal | OSError, folder: Path) -> str:
    """The sentence. Args: ``folder`` the data folder, which is named where the error names no path."""
    catalog = folder / "catalog.db"
    if isinstance(error, CatalogTooNew):
        kept = folder / kept_name(HEAD)
        way_back = (
            f"go back to {kept}, which was kept before a later version changed it (operate.md, Upgrade, says how)"
            if kept.exists()
            else "put the right file back from a back-up"
        )
        cure = f"Start the Entrepot that wrote it, or {way_back}."
        return f"{catalog} cannot be used: {error}. Nothing was changed. {cure}"
    if isinstance(error, OSError):
        remedy = _BY_ERRNO.get(error.errno or 0, _BAD_DISK)
        # A name without a folder is relative to a descriptor, and says nothing to whoever reads it.
        named = isinstance(error.filename, str) and "/" in error.filename
        return f"{error.filename if named else folder}: {error.strerror or error}. {remedy.format(folder=folder)}"
    if isinstance(error.__cause__, OSError):
        return explain(error.__cause__, folder)
    if error.code == "catalog_failed":
        name = str(error.numbers.get("cause", ""))
        remedy = next((text for prefix, text in _BY_SQLITE_NAME.items() if name.startswith(prefix)), _BAD_DISK)
        return f"{catalog}: {name or 'it cannot be written'}. {remedy.format(folder=folder, catalog=catalog)}"
    return error.detail
