"""What a catalog out of a back-up needs before a server goes on with it."""

import json
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from entrepot.catalog.beside import CatalogFileError

# A publication takes 5 ms at the least, so no scope has had more generations than this since the back-up.
_GENERATIONS_PER_S = 200
_ELAPSED_S_LEAST = 3600

# A scope whose publication names no index builds all of them anew, from the entries that are in the catalog.
_FORGET_INDEXES = """
    UPDATE publication SET state = '{"indexes": {}}' WHERE scope_id IN
        (SELECT g.scope_id FROM segment g JOIN copy c ON c.blob_id = g.blob_id WHERE c.key = ?)"""


def renew(path: Path, made_at: int, now_s: int, lost: Sequence[str] = ()) -> int:
    """Make every index of a restored catalog newer than any that clients may have seen; how many scopes that is.

    Clients may hold indexes that were published after the back-up. apt silently keeps the newer one of two, and would
    go on to ask for packages that are gone; so each scope gets a change of its own, which the server publishes with a
    date of now at its start, and a generation (rpm's revision) above all that it can have had since ``made_at``.

    Args: ``path`` the catalog, which nobody else has open; ``made_at`` and ``now_s`` seconds since 1970 UTC; ``lost``
    keys of copies whose bytes are not there: their rows go, so that the next upload of the same bytes brings them back,
    and indexes that were made of them are made again. Raises CatalogFileError.
    """
    jump = _GENERATIONS_PER_S * max(now_s - made_at, _ELAPSED_S_LEAST)
    detail = json.dumps({"made_at": made_at, "lost_copies": len(lost)})
    try:
        with closing(sqlite3.connect(path, isolation_level=None)) as driver:
            driver.execute("PRAGMA foreign_keys = ON")
            driver.execute("PRAGMA synchronous = FULL")
            driver.execute("PRAGMA temp_store = MEMORY")
            driver.execute("BEGIN IMMEDIATE")
            keys = [(key,) for key in lost]
            driver.executemany(_FORGET_INDEXES, keys)
            driver.executemany("DELETE FROM copy WHERE key = ?", keys)
            touched = driver.execute(
                "UPDATE scope SET last_change = last_change + 1, generation = generation + ? WHERE generation > 0",
                (jump,),
            ).rowcount
            # No date before now, whatever the clock does next; and a date alone must not answer 304 in this second.
            driver.execute("UPDATE publication SET date_s = max(date_s, ?), second_shared = 1", (now_s,))
            driver.execute(
                "INSERT INTO audit (at, actor, action, subject, detail) VALUES (?, 'cli', 'server.restore', ?, ?)",
                (now_s, "catalog", detail),
            )
            driver.execute("COMMIT")
    except sqlite3.Error as error:
        raise CatalogFileError(f"{path}: {error}") from error
    return int(touched)
