"""Bytes and inodes of old generations after 10,000 publications in 10 minutes.

The cap is 2 % of the volume, but never less than the generations of the last 15 minutes: all 10,000 here.
"""

import contextlib
import os
import sqlite3
import time
from pathlib import Path

from bench import synthetic
from bench.bed import GIB, Context, package_path, server, volume, wait_published
from bench.measure import Measure, at_least, at_most, shown
from bench.push import Client
from tests.support.server import ServerProcess

MIB = 1 << 20
VOLUME = 8 * GIB


def run(context: Context) -> list[Measure]:
    """One client, one package and one publication after the other."""
    wanted, limit_s = context.size(10_000, 400), context.size(600, 60)
    with volume(context, VOLUME) as made, server(made.path / "data") as running, Client.of(running) as client:
        item = synthetic.deb(0, suffix="~first")
        client.put(package_path("deb", item.filename), item.content)
        inodes = made.free_inodes()
        started = time.monotonic()
        done = 0
        while done < wanted and time.monotonic() - started < limit_s:
            item = synthetic.deb(done, suffix="~bench")
            client.put(package_path("deb", item.filename), item.content)
            done += 1
        elapsed = time.monotonic() - started
        wait_published(running)
        facts = _facts(running)
        used_inodes = inodes - made.free_inodes()
    old_bytes = facts["old_bytes"]
    cap = VOLUME * 2 // 100
    return [
        at_least(f"publications in {limit_s:,} s", "", facts["generations"], wanted, f"took {elapsed:.0f} s"),
        at_most("bytes of old generations and what they refer to", "MiB", old_bytes / MIB, cap / MIB, "cap: 2 %"),
        at_most("inodes beyond one for each package and each current segment", "", used_inodes - done, 512),
        shown("old index files that can still be read", "", facts["old_versions"]),
        shown("catalog, with its log", "MiB", facts["catalog_bytes"] / MIB),
        shown("catalog bytes for each publication", "KiB", facts["catalog_bytes"] / max(1, done) / 1024),
    ]


def _facts(running: ServerProcess) -> dict[str, int]:
    path: Path = running.data / "catalog.db"
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=60)) as conn:

        def one(query: str) -> int:
            return int(conn.execute(query).fetchone()[0] or 0)

        deltas = one("SELECT sum(length(content)) FROM tail_delta")
        rows = one("SELECT sum(length(sha256) + length(logical_path) + length(trailer) + 40) FROM index_version")
        current = one("SELECT count(*) FROM index_version WHERE retired_at IS NULL")
        all_versions = one("SELECT count(*) FROM index_version")
        segments = one("SELECT sum(gz_size_bytes) FROM segment")
        manifests = one("SELECT sum(length(manifest)) FROM index_base")
        generations = one("SELECT max(generation) FROM scope")
    catalog_bytes = sum(os.stat(f"{path}{suffix}").st_size for suffix in ("", "-wal"))
    return {
        "old_bytes": deltas + rows + segments + manifests,
        "old_versions": all_versions - current,
        "generations": generations,
        "catalog_bytes": catalog_bytes,
    }
