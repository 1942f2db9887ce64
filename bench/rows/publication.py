"""Server-side publication (index, signature, commit) at every fill of the tail: 100,000 packages against 1,000.

Two writers, one on each repository, publish in turn in one process, so that what else the machine does falls on both.
One file is committed before each publication, outside the measured time. Merges are shown by a publication too; they
are measured at the end. Then the same figure as the server itself reports it, over HTTP.
"""

import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from bench import load, synthetic
from bench.bed import DISTRIBUTIONS, FORMATS, REPOSITORY, Context, filled
from bench.measure import Measure, at_most, median, percentile, shown, times_at_most
from entrepot.catalog import publications as sql
from entrepot.catalog import repositories
from entrepot.catalog import schema as s
from entrepot.catalog.engine import Catalog
from entrepot.disk.ledger import Ledger
from entrepot.disk.volume import Volume
from entrepot.formats.protocol import IndexSpec
from entrepot.formats.registry import formats
from entrepot.model.limits import TAIL_ENTRIES_MAX
from entrepot.model.nouns import RepositoryName
from entrepot.observe.clock import SystemClock
from entrepot.publish.base import BaseBuilder
from entrepot.publish.scope import Identity, Merged, ScopeWriter
from entrepot.publish.segments import SegmentStore
from entrepot.signing.make import generate
from entrepot.signing.signer import Signer
from entrepot.storage.folder import FolderStore

MADE_S = 1_750_000_000

RATIO_MAX = 1.5
ED25519_MS_MAX = 5.0
BINS = 8


class Bench:
    """A catalog, a store and the writer of one scope, as the publisher puts them together."""

    def __init__(self, data: Path, kind: str, signer: Signer) -> None:
        self.kind = kind
        self.catalog = Catalog(f"sqlite:///{data}/catalog.db")
        self.catalog.migrate()
        self.blobs = data / "blobs"
        self.store = FolderStore(data, Ledger(Volume(data)))
        self.segments = SegmentStore(self.store)
        self.signer = signer
        self.format = formats()[FORMATS[kind]]
        with self.catalog.read() as conn:
            repository = repositories.get(conn, RepositoryName.parse(REPOSITORY))
            query = s.scope.select().where(s.scope.c.repository_id == repository.id, s.scope.c.last_change > 1)
            self.scope_id = int(conn.execute(query.order_by(s.scope.c.last_change.desc())).first()[0])  # type: ignore
        self.place = load.Place(repository.id, DISTRIBUTIONS[kind], FORMATS[kind])
        self.clock = SystemClock()
        self.writer = self._writer()
        self._sent = 0

    def _writer(self) -> ScopeWriter:
        now_s = self.clock.now_s()
        epoch = self.catalog.submit(lambda conn: sql.claim(conn, self.scope_id, "folder", now_s, 3600))
        with self.catalog.read() as conn:
            row = sql.scope_by_id(conn, self.scope_id)
        assert row is not None
        assert epoch is not None
        identity = Identity("packages.example.com/admin/bench", "bench")
        writer = ScopeWriter(row, epoch, self.catalog, self.segments, self.format, identity, self.clock, "folder")
        writer.load()
        return writer

    def add(self) -> None:
        """Commit one package."""
        item = synthetic.make(self.kind, self._sent, suffix="~bench")
        self._sent += 1
        key = load.new_key()
        load.write_copy(self.blobs, key, item.content)
        ready = load.inspected(item, self.place)
        self.catalog.submit(lambda conn: load.commit(conn, self.place, ready, key, self.clock.now_s()))

    def publish_s(self, signer: Signer | None = None) -> float:
        """Seconds of one publication."""
        started = time.perf_counter()
        done = self.writer.publish(signer or self.signer)
        elapsed = time.perf_counter() - started
        assert done is not None
        return elapsed

    def merge_s(self) -> float:
        """Seconds of a merge in the background; the next publication shows it."""
        started = time.perf_counter()
        for spec, built, change in self.writer.full_indexes():
            self._merge(spec, built, change)
        return time.perf_counter() - started

    def _merge(self, spec: IndexSpec, built: object, change: int) -> None:
        builder = BaseBuilder(self.catalog, self.segments, self.format, self.scope_id, spec)
        keys = self.writer.touched_since(spec, built, change)  # type: ignore[arg-type]
        new = builder.build(built, keys, change, change)  # type: ignore[arg-type]
        self.writer.merged[spec.name] = Merged(spec.name, change, new, tuple(builder.written))

    def close(self) -> None:
        """Close catalog and store."""
        self.store.close()
        self.catalog.close()


def run(context: Context) -> list[Measure]:
    """deb and rpm, with Ed25519 and RSA-3072 keys."""
    found: list[Measure] = []
    large = context.size(100_000, 10_000)
    for kind in ("deb", "rpm"):
        found += _kind(context, kind, large)
    return found


def _kind(context: Context, kind: str, large: int) -> list[Measure]:
    signers = {
        "Ed25519": Signer([generate("ed25519", "Bench <bench@example.com>", MADE_S).secret_armored]),
        "RSA-3072": Signer([generate("rsa3072", "Bench <bench@example.com>", MADE_S).secret_armored]),
    }
    with ExitStack() as stack:
        benches = {}
        for count in (1_000, large):
            volume = stack.enter_context(filled(context, kind, count))
            benches[count] = Bench(volume.path / "data", kind, signers["Ed25519"])
            stack.callback(benches[count].close)
        ours, small = benches[large], benches[1_000]
        for bench in benches.values():
            bench.add()
            bench.publish_s()
        times = _every_fill(context, [ours, small])
        measures = _judged(kind, large, times[0], times[1])
        measures += _merged(context, kind, large, [ours, small])
        rsa = _some(context, [ours, small], signers["RSA-3072"])
        measures.append(times_at_most(_name(kind, "RSA-3072 median", large), "ms", rsa[0], rsa[1], RATIO_MAX))
        return measures


def _every_fill(context: Context, benches: Sequence[Bench]) -> list[list[float]]:
    times: list[list[float]] = [[] for _ in benches]
    for _ in range(context.size(TAIL_ENTRIES_MAX - 1, 400)):
        for bench, found in zip(benches, times, strict=True):
            bench.add()
            found.append(bench.publish_s() * 1000)
    return times


def _some(context: Context, benches: Sequence[Bench], signer: Signer) -> list[float]:
    times: list[list[float]] = [[] for _ in benches]
    for _ in range(context.size(200, 40)):
        for bench, found in zip(benches, times, strict=True):
            bench.add()
            found.append(bench.publish_s(signer) * 1000)
    return [median(each) for each in times]


def _name(kind: str, what: str, large: int) -> str:
    return f"publication, {kind}, {what}, {large:,} packages (peer: 1,000)"


def _judged(kind: str, large: int, ours: Sequence[float], small: Sequence[float]) -> list[Measure]:
    size = max(1, len(ours) // BINS)
    bins = [(median(ours[at : at + size]), median(small[at : at + size])) for at in range(0, size * BINS, size)]
    worst = max(bins, key=lambda pair: pair[0] / pair[1])
    note = f"worst of {BINS} fills of the tail, medians"
    return [
        times_at_most(_name(kind, "Ed25519", large), "ms", worst[0], worst[1], RATIO_MAX, note),
        at_most(f"publication, {kind}, Ed25519, slowest fill's median", "ms", max(a for a, _ in bins), ED25519_MS_MAX),
        shown(_name(kind, "Ed25519 p99", large), "ms", percentile(ours, 99), percentile(small, 99)),
    ]


def _merged(context: Context, kind: str, large: int, benches: Sequence[Bench]) -> list[Measure]:
    """Whole turns of the tail, from the publication after a merge to the one that shows the next."""
    merges: list[list[float]] = [[] for _ in benches]
    showing: list[list[float]] = [[] for _ in benches]
    turns: list[list[float]] = [[] for _ in benches]
    for _ in range(context.size(4, 2)):
        for bench, merged, first, turn in zip(benches, merges, showing, turns, strict=True):
            times = []
            while not bench.writer.full_indexes():
                bench.add()
                times.append(bench.publish_s() * 1000)
            merged.append(bench.merge_s() * 1000)
            bench.add()
            first.append(bench.publish_s() * 1000)
            if times:  # not the turn that was under way
                turn.append((sum(times) + first[-1]) / (len(times) + 1))
    merge, show, mean = ([median(each) for each in found] for found in (merges, showing, turns))
    return [
        shown(_name(kind, "merge of a full tail in the background", large), "ms", *merge),
        shown(_name(kind, "the one publication that shows a merge", large), "ms", *show),
        times_at_most(_name(kind, "mean of a turn of the tail, that one included", large), "ms", *mean, RATIO_MAX),
    ]
