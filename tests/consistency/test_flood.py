"""Publications flat out: everything is listed at the end, and what is kept of the old ones stays within its cap."""

import sqlite3
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest

from entrepot.catalog import retention
from entrepot.catalog.engine import Catalog
from tests.consistency.bed import LONG, Bed, Package, Pusher, apt_listed, long_or, push_deb, wait_until
from tests.fault.tally import note
from tests.support.apt import AptRoot
from tests.support.volumes import MIB, tmpfs

pytestmark = [pytest.mark.clients, pytest.mark.fault, pytest.mark.timeout(long_or(300, 1800))]

PUBLICATIONS = long_or(500, 10_000)
VOLUME_BYTES = long_or(192, 1024) * MIB
CAP_PERCENT = 0.1
GROWTH_BYTES_MAX = 48 * MIB
# Upkeep every half second, and in the short run tails that are merged as often as in the long one.
LIMITS: dict[str, object] = {"entrepot.node.upkeep:TICK_S": 0.5}
SMALL_TAIL: dict[str, object] = {
    "entrepot.publish.base:SEGMENT_ENTRIES_MAX": 128,
    "entrepot.publish.index:TAIL_ENTRIES_MAX": 100,
    "entrepot.publish.scope:TAIL_ENTRIES_MAX": 100,
}
# The cap may be reached at once here: by default nothing is dropped before fifteen minutes.
ENV = {
    "ENTREPOT_PUBLICATION_KEEP_S_MIN": "0",
    "ENTREPOT_PUBLICATION_KEEP_VOLUME_PERCENT_MAX": str(CAP_PERCENT),
}


def old_bytes(data: Path) -> retention.OldBytes:
    """What old generations hold, read beside the running server."""
    catalog = Catalog(f"sqlite:///{data}/catalog.db")
    try:
        with catalog.read() as conn:
            return retention.old_bytes(conn)
    finally:
        catalog.close()


def segments(data: Path) -> int:
    """Rows of segments, old and current."""
    with closing(sqlite3.connect(f"file:{data}/catalog.db?mode=ro", uri=True, timeout=30)) as conn:
        return int(conn.execute("SELECT count(*) FROM segment").fetchone()[0])


def stored_files(data: Path) -> int:
    """Files in the blob store."""
    return sum(path.is_file() for path in (data / "blobs").rglob("*"))


def test_publications_flat_out(tmp_path: Path) -> None:
    """Goal: thousands of publications one after the other lose nothing, and neither old generations nor memory grow
    with their number.

    Method: one publication per upload as fast as they go, a small volume, upkeep twice a second with a tiny cap; then
    apt's view, old bytes, files in the store against rows, resident memory against that after the first fifth.
    """
    with tmpfs(tmp_path / "volume", VOLUME_BYTES) as volume:
        bed = Bed(volume.path, limits=LIMITS if LONG else {**LIMITS, **SMALL_TAIL}, env=ENV)
        with bed, bed.pusher() as pusher:
            _flood(bed, pusher, tmp_path)


def _flood(bed: Bed, pusher: Pusher, tmp_path: Path) -> None:
    repository = bed.repository()
    data = bed.server.data
    started = time.monotonic()
    packages = [Package(f"p{number:05d}", "1.0-1", "amd64") for number in range(PUBLICATIONS)]
    early_bytes = 0
    for number, package in enumerate(packages):
        push_deb(pusher, repository, package)
        if number == PUBLICATIONS // 5:
            early_bytes = bed.server.rss_bytes()
    lasted_s = time.monotonic() - started
    growth_bytes = bed.server.rss_bytes() - early_bytes
    publications = bed.metric("publications_total", format="debian")
    merges = bed.metric("merge_seconds_count", format="debian")
    root = AptRoot(tmp_path / "apt", bed.apt_source(repository, bed.keyring(repository)))
    root.update()
    assert apt_listed(root.root) == set(packages)
    cap_bytes = VOLUME_BYTES * CAP_PERCENT / 100
    wait_until(lambda: old_bytes(data).total_bytes <= cap_bytes)
    # Upkeep frees the blobs after the rows: what is left is packages and segments that a base still lists.
    wait_until(lambda: stored_files(data) <= PUBLICATIONS + segments(data))
    kept = old_bytes(data)
    sys.stdout.write(
        f"{PUBLICATIONS / lasted_s:.0f} publications a second; {merges:.0f} merges; memory grew by"
        f" {growth_bytes / MIB:.1f} MiB; old: {kept}; {segments(data)} segments; catalog"
        f" {(data / 'catalog.db').stat().st_size / MIB:.1f} MiB\n"
    )
    note(flood_publications=int(publications), flood_old_bytes=kept.total_bytes)
    assert publications >= PUBLICATIONS
    assert merges >= 3
    assert growth_bytes <= GROWTH_BYTES_MAX
    root.update()
    assert apt_listed(root.root) == set(packages), "retention took what is current"


def test_uploads_at_once_are_all_listed(tmp_path: Path) -> None:
    """Goal: uploads that share publications are each in the index when they are answered.

    Method: eight connections push at once; after each answer the pusher reads the index by the Release of that moment
    and looks for its package.
    """
    wrong: list[str] = []
    each = long_or(15, 100)
    with Bed(tmp_path, limits=SMALL_TAIL) as bed:
        repository = bed.repository()

        def push(lane: int) -> None:
            with bed.pusher() as pusher:
                for number in range(each):
                    name = f"lane{lane}-{number}"
                    push_deb(pusher, repository, Package(name, "1.0-1", "amd64"))
                    dist = f"/{repository}/debian/dists/bookworm"
                    release = pusher.send("GET", f"{dist}/InRelease").decode()
                    [row] = [row for row in release.splitlines() if row.endswith(" main/binary-amd64/Packages")]
                    index = pusher.send("GET", f"{dist}/main/binary-amd64/by-hash/SHA256/{row.split()[0]}").decode()
                    if f"Package: {name}\n" not in index:
                        wrong.append(name)

        threads = [threading.Thread(target=push, args=(lane,)) for lane in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert wrong == []
        with bed.pusher() as pusher:
            listed = pusher.send("GET", f"/{repository}/debian/dists/bookworm/main/binary-amd64/Packages").decode()
        assert listed.count("\nPackage: ") + listed.startswith("Package: ") == 8 * each
        assert bed.metric("publications_total", format="debian") < 8 * each, "none was shared"
