"""Keeps the catalog as it was before a newer version changes its schema: the way back to the older version.

    DIR/catalog-0004.db     the catalog of schema 0004, copied just before it was migrated; one such copy is kept

An older version does not start on a newer catalog. Whoever has to go back stops the server, puts the copy in the place
of ``catalog.db``, and loses what was pushed since.
"""

import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from entrepot.catalog.beside import CatalogFile, CatalogFileError
from entrepot.disk import fs
from entrepot.disk.ledger import Ledger, Reservation
from entrepot.model.errors import Refusal
from entrepot.observe import logs

_log = logs.get("node")

_KEPT = re.compile(r"catalog-[0-9]{4}\.db", re.ASCII)


def kept_name(revision: str) -> str:
    """What the copy of a catalog of this schema is called."""
    return f"catalog-{revision}.db"


def preserving(folder: Path, ledger: Ledger) -> Callable[[str], None]:
    """For ``Catalog.migrate``: makes the copy, on the volume of ``ledger``.

    Called with the schema that the catalog has. Raises Refusal ``no_room`` when the copy does not fit,
    ``storage_failed`` when it cannot be made; nothing was changed then.
    """

    def preserve(revision: str) -> None:
        target = folder / kept_name(revision)
        side = folder / f".{target.name}.new"
        try:
            with CatalogFile(folder / "catalog.db") as catalog:
                need_bytes = catalog.size_bytes()
                with _room(ledger, need_bytes, target):
                    _copy(catalog, side, target)
        except (OSError, CatalogFileError) as error:
            with suppress(OSError):
                fs.unlink(side)
            raise Refusal(
                "storage_failed",
                f"The catalog has to be copied to {target} before its schema {revision} is brought up to date, and that"
                f" failed: {error}. Nothing was changed; the version that ran before still starts.",
            ) from None  # the sentence has the cause
        _log.info("catalog kept", path=str(target), schema=revision, size_bytes=need_bytes)
        for name in fs.listdir(folder):
            if _KEPT.fullmatch(name) and name != target.name:
                fs.unlink(folder / name)

    return preserve


def _room(ledger: Ledger, need_bytes: int, target: Path) -> Reservation:
    try:
        return ledger.reserve(need_bytes, 1, from_floor=True)
    except Refusal as refusal:
        if refusal.code not in ("no_room", "too_large_for_volume"):
            raise
        raise Refusal(
            "no_room",
            f"This version brings the catalog's schema up to date, and copies the catalog first: {target} needs"
            f" {need_bytes} bytes. Nothing was changed. Make room on its volume (the version that ran before still"
            " starts; `entrepot gc` frees bytes), then start this one again.",
            needed_bytes=need_bytes,
        ) from refusal


def _copy(catalog: CatalogFile, side: Path, target: Path) -> None:
    """Make the copy durable under its name. Raises OSError, CatalogFileError."""
    with suppress(FileNotFoundError):
        fs.unlink(side)
    catalog.snapshot(side)
    fs.chmod(str(side), 0o600)
    file_fd, folder_fd = fs.open_read(side), fs.open_dir(side.parent)
    try:
        fs.fsync(file_fd)
        fs.rename(side.name, target.name, src_dir_fd=folder_fd, dst_dir_fd=folder_fd)
        fs.fsync(folder_fd)
    finally:
        fs.close(folder_fd)
        fs.close(file_fd)
