"""The sorted part of an index: ranges of keys, each with one segment per stream, and how a new base is built from an
old one.

A base lists the entries added up to ``base_change``. Ranges partition the key space: range *i* holds the keys in
(last key of *i-1*,
last key of *i*]; what lies above the last range belongs to it when it is built again. Only touched ranges are
rendered and
written; the rest is read once to carry the digests on. One pass, one range in memory at a time.
"""

import base64
import json
from bisect import bisect_left
from collections import deque
from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace

from entrepot.catalog import entries as entry_rows
from entrepot.catalog import publications as sql
from entrepot.catalog.engine import Catalog
from entrepot.formats.protocol import Format, IndexSpec
from entrepot.model.limits import SEGMENT_BYTES_MAX, SEGMENT_ENTRIES_MAX
from entrepot.publish.segments import SegmentStore
from entrepot.publish.tail import Prefix, gunzip_member, gzip_member

Key = tuple[bytes, int]

# Entries that are cut out of stored bytes one by one; more are rendered again.
_CUTS_MAX = 64
# Segments that are read and unpacked ahead of the digests, each by a thread: at most as many times SEGMENT_BYTES_MAX.
_READ_AHEAD = 2


@dataclass(frozen=True, slots=True)
class SegmentRef:
    """One stream of one range. ``segment_id`` is None until the publication that shows it is saved."""

    segment_id: int | None
    copy_key: str
    entries: int
    plain_size_bytes: int
    gz_size_bytes: int
    plain_sha256: str
    gz_sha256: str


@dataclass(frozen=True, slots=True)
class Range:
    """A run of entries in key order; ``last`` is the key of its last entry when it was built."""

    last: Key
    entries: int
    segments: Mapping[str, SegmentRef]


@dataclass(frozen=True, slots=True)
class Touched:
    """A run of keys (low, high] that must be rendered again; None is open."""

    low: Key | None
    high: Key | None


@dataclass(frozen=True, slots=True)
class Base:
    """The sorted part of one index: entries added up to ``base_change`` that were not removed by ``alive_at``.

    ``heads`` are complete gzip members (empty when the format has no head).
    """

    index_name: str
    base_change: int
    alive_at: int
    entries: int
    heads: Mapping[str, bytes]
    ranges: tuple[Range, ...]

    def manifest(self, ids: Mapping[str, int]) -> str:
        """The JSON kept in the catalog; ``ids`` maps copy keys of new segments to the ids they got."""
        ranges = [
            {
                "key": item.last[0].hex(),
                "id": item.last[1],
                "entries": item.entries,
                "segments": {name: ref.segment_id or ids[ref.copy_key] for name, ref in item.segments.items()},
            }
            for item in self.ranges
        ]
        heads = {name: base64.b64encode(head).decode() for name, head in self.heads.items()}
        content = {"entries": self.entries, "alive_at": self.alive_at, "heads": heads, "ranges": ranges}
        return json.dumps(content, separators=(",", ":"))


@dataclass(frozen=True, slots=True)
class BuiltBase:
    """A base with the digest states at every boundary: ``prefixes[stream][0]`` after the head, ``[i+1]`` after range
    *i*."""

    base: Base
    prefixes: Mapping[str, tuple[Prefix, ...]]

    def prefix(self, stream: str) -> Prefix:
        """Everything before the tail."""
        return self.prefixes[stream][-1]


def parse_manifest(index_name: str, base_change: int, text: str, segments: Mapping[int, sql.SegmentRow]) -> Base:
    """The base that :meth:`Base.manifest` wrote."""
    data = json.loads(text)
    heads = {name: base64.b64decode(head) for name, head in data["heads"].items()}
    ranges = tuple(
        Range(
            (bytes.fromhex(item["key"]), item["id"]),
            item["entries"],
            {name: _ref(segments[number]) for name, number in item["segments"].items()},
        )
        for item in data["ranges"]
    )
    return Base(index_name, base_change, data["alive_at"], data["entries"], heads, ranges)


def segment_ids(text: str) -> list[int]:
    """The segments a manifest refers to."""
    return [number for item in json.loads(text)["ranges"] for number in item["segments"].values()]


def _ref(row: sql.SegmentRow) -> SegmentRef:
    return SegmentRef(
        row.id, row.copy_key, row.entries, row.plain_size_bytes, row.gz_size_bytes, row.plain_sha256, row.gz_sha256
    )


class BaseBuilder:
    """Builds bases of one index of one scope. ``written`` collects the keys of segments stored on the way (in the list
    that is given, where one is), for whoever has to settle them: also when a build fails half-way."""

    def __init__(
        self,
        catalog: Catalog,
        store: SegmentStore,
        fmt: Format,
        scope_id: int,
        spec: IndexSpec,
        written: list[str] | None = None,
    ) -> None:
        self._catalog = catalog
        self._segments = store
        self._format = fmt
        self._scope_id = scope_id
        self._spec = spec
        self._streams = tuple(stream.name for stream in spec.streams)
        self.written: list[str] = written if written is not None else []

    def empty(self) -> BuiltBase:
        """A base with nothing in it, at change 0."""
        heads = self._heads(0)
        prefixes = {name: (_after_head(heads[name]),) for name in self._streams}
        return BuiltBase(Base(self._spec.name, 0, 0, 0, heads, ()), prefixes)

    def load(self, base: Base) -> BuiltBase:
        """The digest states of a base whose rows were read back after a restart: reads every segment once."""
        return self._assemble(base.base_change, base.ranges, base.heads, None, base.alive_at)

    def build(self, old: BuiltBase, touched: Sequence[Key], added_upto: int, alive_at: int) -> BuiltBase:
        """A new base: the entries added up to ``added_upto`` and alive at ``alive_at``, in key order.

        ``touched``: keys of every entry that is not in ``old`` or must leave it; ranges without one are kept as they
        are.
        Raises Refusal (no_room, storage_failed) from the store.
        """
        plan: list[Range | Touched] = []
        ranges = old.base.ranges
        if not ranges:
            plan.append(Touched(None, None))
        keys = sorted(touched)
        position = 0
        low: Key | None = None
        for number, item in enumerate(ranges):
            is_last = number == len(ranges) - 1
            hit = False
            while position < len(keys) and (is_last or keys[position] <= item.last):
                hit = True
                position += 1
            plan.append(Touched(low, None if is_last else item.last) if hit else item)
            low = item.last
        # Count first: the head of some formats says how many entries follow.
        entries = 0
        for step in plan:
            entries += step.entries if isinstance(step, Range) else self._count(step, added_upto, alive_at)
        heads = self._heads(entries)
        return self._assemble(added_upto, plan, heads, old, alive_at)

    def without(self, old: BuiltBase, gone: Sequence[entry_rows.EntryRow], alive_at: int) -> BuiltBase | None:
        """``old`` less a few entries, which are cut out of the stored bytes; None when that cannot be done: build then.

        The heads stay, so in formats whose head counts the entries the number is right again with the next merge; a new
        head would change every digest from the first byte on. Raises Refusal as :meth:`build`.
        """
        ranges = old.base.ranges
        if len(gone) > _CUTS_MAX or not ranges:
            return None
        lasts = [item.last for item in ranges[:-1]]
        cuts: dict[int, list[int]] = {}
        for entry in gone:
            cuts.setdefault(bisect_left(lasts, (entry.order_key, entry.id)), []).append(entry.file_id)
        with self._catalog.read() as conn:
            content = entry_rows.fragments(conn, [entry.file_id for entry in gone])
        first = min(cuts)
        prefixes = {name: list(old.prefixes[name][: first + 1]) for name in self._streams}
        kept = list(ranges[:first])
        with closing(self._read_ahead(ranges[first:])) as stored:
            for number, item in enumerate(ranges[first:], first):
                forms = {name: next(stored) for name in self._streams}
                if number not in cuts:
                    for name, form in forms.items():
                        prefixes[name].append(prefixes[name][-1].then(*form))
                    kept.append(item)
                    continue
                left = {name: _cut(form[1], cuts[number], content, name) for name, form in forms.items()}
                plain = {name: rest for name, rest in left.items() if rest is not None}
                if len(plain) < len(left):
                    return None
                if item.entries > len(cuts[number]):
                    kept.append(self._store(item.last, item.entries - len(cuts[number]), plain, prefixes))
        entries = sum(item.entries for item in kept)
        base = replace(old.base, alive_at=alive_at, entries=entries, ranges=tuple(kept))
        return BuiltBase(base, {name: tuple(states) for name, states in prefixes.items()})

    def _count(self, step: Touched, added_upto: int, alive_at: int) -> int:
        with self._catalog.read() as conn:
            return entry_rows.count_range(conn, self._key_range(step, added_upto, alive_at))

    def _key_range(self, step: Touched, added_upto: int, alive_at: int) -> entry_rows.KeyRange:
        return entry_rows.KeyRange(self._scope_id, self._spec.parts, added_upto, alive_at, step.low, step.high)

    def _heads(self, entries: int) -> dict[str, bytes]:
        heads = {name: self._format.head(name, entries) for name in self._streams}
        return {name: gzip_member(head) if head else b"" for name, head in heads.items()}

    def _assemble(
        self,
        added_upto: int,
        plan: "Sequence[Range | Touched]",
        heads: Mapping[str, bytes],
        known: BuiltBase | None,
        alive_at: int,
    ) -> BuiltBase:
        prefixes = {name: [_after_head(heads[name])] for name in self._streams}
        ranges: list[Range] = []
        # States known from the old base hold as long as the head and every range so far are the same.
        same = 0
        if known is not None and all(known.base.heads[name] == heads[name] for name in self._streams):
            same = next((number for number, step in enumerate(plan) if isinstance(step, Touched)), len(plan))
        with closing(self._read_ahead([step for step in plan[same:] if isinstance(step, Range)])) as stored:
            for number, step in enumerate(plan):
                if isinstance(step, Touched):
                    ranges.extend(self._render(self._key_range(step, added_upto, alive_at), prefixes))
                    continue
                for name in self._streams:
                    if known is not None and number < same:
                        prefixes[name].append(known.prefixes[name][number + 1])
                    else:
                        prefixes[name].append(prefixes[name][-1].then(*next(stored)))
                ranges.append(step)
        entries = sum(item.entries for item in ranges)
        base = Base(self._spec.name, added_upto, alive_at, entries, dict(heads), tuple(ranges))
        return BuiltBase(base, {name: tuple(states) for name, states in prefixes.items()})

    def _read_ahead(self, ranges: Sequence[Range]) -> Generator[tuple[bytes, bytes], None, None]:
        """Both forms of every segment of these ranges, in order; the next ones are read and unpacked while the caller
        takes the digests of this one."""
        refs = [item.segments[name] for item in ranges for name in self._streams]
        if not refs:
            return
        with ThreadPoolExecutor(_READ_AHEAD, "read-ahead") as pool:
            ahead = deque(pool.submit(self._read, ref) for ref in refs[:_READ_AHEAD])
            for ref in refs[_READ_AHEAD:]:
                ready = ahead.popleft().result()
                ahead.append(pool.submit(self._read, ref))
                yield ready
            while ahead:
                yield ahead.popleft().result()

    def _read(self, ref: SegmentRef) -> tuple[bytes, bytes]:
        gz = self._segments.read(ref.copy_key)
        return gz, gunzip_member(gz, ref.plain_size_bytes)

    def _render(self, wanted: entry_rows.KeyRange, prefixes: Mapping[str, list[Prefix]]) -> list[Range]:
        """Render one touched range as one or more segments of about equal size."""
        with self._catalog.read() as conn:
            left = entry_rows.count_range(conn, wanted)
        done: list[Range] = []
        low = wanted.low
        while left > 0:
            pages = -(-left // SEGMENT_ENTRIES_MAX)
            part = entry_rows.KeyRange(
                wanted.scope_id, wanted.parts, wanted.added_upto, wanted.alive_at, low, wanted.high
            )
            with self._catalog.read() as conn:
                entries = entry_rows.range_entries(conn, part, -(-left // pages))
                content = entry_rows.fragments(conn, [entry.file_id for entry in entries])
            if not entries:
                break
            for run in _runs(entries, content, self._streams):
                done.append(self._store_run(run, content, prefixes))
            left -= len(entries)
            low = (entries[-1].order_key, entries[-1].id)
        return done

    def _store_run(
        self,
        run: Sequence[entry_rows.EntryRow],
        content: Mapping[tuple[int, str], bytes],
        prefixes: Mapping[str, list[Prefix]],
    ) -> Range:
        plain = {name: b"".join([content[entry.file_id, name] for entry in run]) for name in self._streams}
        return self._store((run[-1].order_key, run[-1].id), len(run), plain, prefixes)

    def _store(
        self, last: Key, entries: int, plain: Mapping[str, bytes], prefixes: Mapping[str, list[Prefix]]
    ) -> Range:
        segments: dict[str, SegmentRef] = {}
        for name, content in plain.items():
            gz = gzip_member(content)
            ref = self._segments.write(content, gz)
            self.written.append(ref.copy_key)
            segments[name] = SegmentRef(
                None, ref.copy_key, entries, len(content), len(gz), ref.plain_sha256, ref.gz_sha256
            )
            prefixes[name].append(prefixes[name][-1].then(gz, content))
        return Range(last, entries, segments)


def _cut(plain: bytes, file_ids: Sequence[int], content: Mapping[tuple[int, str], bytes], stream: str) -> bytes | None:
    """``plain`` less the entries of these files; None when one is not there exactly once, or its rows are gone."""
    for file_id in file_ids:
        entry = content.get((file_id, stream))
        if entry is None or plain.count(entry) != 1:
            return None
        plain = plain.replace(entry, b"", 1)
    return plain


def _after_head(head: bytes) -> Prefix:
    return Prefix.empty().then(head, gunzip_member(head) if head else b"")


def _runs(
    entries: Sequence[entry_rows.EntryRow], content: Mapping[tuple[int, str], bytes], streams: Sequence[str]
) -> list[list[entry_rows.EntryRow]]:
    """Cut entries where the largest stream reaches the segment's size limit."""

    def measure(entry: entry_rows.EntryRow) -> int:
        return max(len(content[entry.file_id, name]) for name in streams)

    runs: list[list[entry_rows.EntryRow]] = []
    size = SEGMENT_BYTES_MAX
    for entry in entries:
        grow = measure(entry)
        if size + grow > SEGMENT_BYTES_MAX and (not runs or runs[-1]):
            runs.append([])
            size = 0
        runs[-1].append(entry)
        size += grow
    return runs
