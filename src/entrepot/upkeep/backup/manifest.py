"""The manifest of a back-up: what it holds, and by that whether it is whole."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from entrepot.disk import fs
from entrepot.upkeep.backup.errors import BackupError

NAME = "backup.json"
FORMAT = 1
"""Version of the layout of a back-up."""
_BYTES_MAX = 4 * 1024 * 1024
_NUMBER_MAX = 2**53
_MADE_AT_MAX = 253_402_300_799
"""The end of the year 9999: no calendar has a later moment."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """One complete back-up.

    ``made_at``: when its state of the catalog was taken, seconds since 1970 UTC. ``made_by``: Entrepot's version;
    ``data_format``: that of the data folder. ``state``: the folder of the catalog and the small files, ``files`` their
    sha256 by name. ``lacking``: copies that the catalog lists and that were missing or damaged already when the back-up
    was made, by key: why.
    """

    format: int
    installation: str
    made_at: int
    made_by: str
    data_format: int
    revision: str
    state: str
    files: Mapping[str, str]
    catalog_bytes: int
    copies: int
    size_bytes: int
    lacking: Mapping[str, str]

    def write(self, folder: Path) -> None:
        """Put it in place, durably: from then on it is what the folder holds. Raises OSError."""
        text = json.dumps(asdict(self), indent=1, sort_keys=True) + "\n"
        fs.write_small_atomically(folder / NAME, text.encode(), mode=0o600)


_KINDS: Mapping[str, type] = {
    "format": int, "installation": str, "made_at": int, "made_by": str, "data_format": int, "revision": str,
    "state": str, "files": dict, "catalog_bytes": int, "copies": int, "size_bytes": int, "lacking": dict,
}  # fmt: skip


def read(folder: Path) -> Manifest | None:
    """The manifest in a folder; None when there is none.

    Raises BackupError: ``backup_damaged`` for one that cannot be read, ``backup_too_new`` for one of a later version.
    """
    path = folder / NAME
    try:
        found = json.loads(fs.read_small(path, bytes_max=_BYTES_MAX))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise BackupError("backup_damaged", f"{path} cannot be read: {error}.", "Use another back-up.") from error
    version = found.get("format") if isinstance(found, dict) else None
    if type(version) is int and version > FORMAT:
        raise BackupError(
            "backup_too_new",
            f"{folder} is a back-up of format {version}; this version of Entrepot knows {FORMAT}.",
            "Use the Entrepot that made it, or a later one.",
        )
    if not _fits(found):
        raise BackupError("backup_damaged", f"{path} is not what a back-up writes there.", "Use another back-up.")
    return Manifest(**{field.name: found[field.name] for field in fields(Manifest)})


def _fits(found: Any) -> bool:
    if not isinstance(found, dict) or not all(type(found.get(name)) is kind for name, kind in _KINDS.items()):
        return False
    if any(not 0 <= found[name] <= _NUMBER_MAX for name, kind in _KINDS.items() if kind is int):
        return False
    if found["made_at"] > _MADE_AT_MAX:
        return False
    texts = (*found["files"].items(), *found["lacking"].items())
    plain = all(isinstance(each, str) for pair in texts for each in pair)
    # Names become paths: none may leave its folder.
    return plain and not any("/" in name or name.startswith(".") for name in (found["state"], *found["files"]))
