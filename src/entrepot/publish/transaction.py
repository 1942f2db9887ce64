"""The one transaction that makes a publication visible, and what readers hold afterwards."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from entrepot.catalog import Connection
from entrepot.catalog import publications as sql
from entrepot.formats.protocol import Format, IndexState
from entrepot.publish.base import BuiltBase, SegmentRef
from entrepot.publish.index import LiveIndex
from entrepot.publish.tail import Sealed

KEY_CONTENT_TYPE = "application/pgp-keys"


@dataclass(frozen=True, slots=True)
class Shown:
    """The visible generation of a scope as readers hold it. ``versions`` maps logical paths to index files."""

    scope_id: int
    generation: int
    change: int
    published_at: int
    date_s: int
    second_shared: bool
    documents: Mapping[str, sql.DocumentRow]
    versions: Mapping[str, sql.VersionRow]


@dataclass(frozen=True, slots=True)
class Version:
    """An index file about to be shown; its base may not have a row yet."""

    index: LiveIndex
    row: sql.VersionRow


def index_versions(
    live: Sequence[LiveIndex], sealed: Mapping[str, Mapping[str, Sealed]], fmt: Format, now_s: int
) -> list[Version]:
    """Both forms of every stream of every index."""
    versions: list[Version] = []
    for index in live:
        for stream in index.spec.streams:
            done = sealed[index.spec.name][stream.name]
            place = (index.base_id or 0, stream.name, index.position)
            gz = sql.VersionRow(done.gz_sha256, done.gz_size_bytes, stream.gz_path, "gz", *place, done.trailer, now_s)
            foot = fmt.foot(stream.name)
            plain = sql.VersionRow(
                done.plain_sha256, done.plain_size_bytes, stream.plain_path, "plain", *place, foot, now_s
            )
            versions += [Version(index, gz), Version(index, plain)]
    return versions


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A publication ready to be saved; ``before`` are the versions that are current now."""

    scope_id: int
    epoch: int
    previous_change: int
    change: int
    generation: int
    now_s: int
    date_s: int
    second_shared: bool
    live: Sequence[LiveIndex]
    states: Sequence[IndexState]
    versions: Sequence[Version]
    before: Mapping[str, sql.VersionRow]
    documents: Sequence[sql.DocumentRow]
    store_name: str
    lease_until: int

    def save(self, conn: Connection) -> Shown:
        """Write everything; raises sql.Fenced. After any error the live indexes must be thrown away."""
        for index in self.live:
            if index.base_id is None:
                index.base_id = self._insert_base(conn, index)
        versions, changed = self._resolve()
        sql.save_publication(conn, self._publication(changed), self.lease_until)
        for index in self.live:
            index.pending = []
            index.changed = False
        documents = {document.name: document for document in self.documents}
        return Shown(
            self.scope_id,
            self.generation,
            self.change,
            self.now_s,
            self.date_s,
            self.second_shared,
            documents,
            versions,
        )

    def _resolve(self) -> tuple[dict[str, sql.VersionRow], list[sql.VersionRow]]:
        """All current versions by path, and those that were not current before."""
        versions: dict[str, sql.VersionRow] = {}
        changed: list[sql.VersionRow] = []
        for version in self.versions:
            assert version.index.base_id is not None
            row = replace(version.row, base_id=version.index.base_id)
            old = self.before.get(row.logical_path)
            if old is not None and old.sha256 == row.sha256 and old.base_id == row.base_id:
                row = old
            else:
                changed.append(row)
            versions[row.logical_path] = row
        return versions, changed

    def _publication(self, changed: Sequence[sql.VersionRow]) -> sql.NewPublication:
        saved = {
            index.spec.name: {
                "base_id": index.base_id,
                "position": index.position,
                "tail_entries": index.tail_entries,
            }
            for index in self.live
        }
        deltas = [(index.base_id, delta) for index in self.live if index.base_id is not None for delta in index.pending]
        return sql.NewPublication(
            scope_id=self.scope_id,
            epoch=self.epoch,
            generation=self.generation,
            previous_change=self.previous_change,
            change=self.change,
            now_s=self.now_s,
            date_s=self.date_s,
            second_shared=self.second_shared,
            state=json.dumps({"indexes": saved}, separators=(",", ":")),
            deltas=deltas,
            versions=changed,
            retired=[self.before[row.logical_path] for row in changed if row.logical_path in self.before],
            documents=self.documents,
        )

    def _insert_base(self, conn: Connection, index: LiveIndex) -> int:
        base = index.built.base
        saved: dict[str, tuple[int, str]] = {}
        for item in base.ranges:
            for ref in item.segments.values():
                if ref.segment_id is None and ref.copy_key not in saved:
                    new = sql.NewSegment(
                        ref.copy_key,
                        ref.entries,
                        ref.plain_size_bytes,
                        ref.gz_size_bytes,
                        ref.plain_sha256,
                        ref.gz_sha256,
                    )
                    saved[ref.copy_key] = sql.insert_segment(conn, self.scope_id, new, self.store_name, self.now_s)
        index.built = _with_rows(index.built, saved)
        ids = {key: number for key, (number, _) in saved.items()}
        return sql.insert_base(conn, self.scope_id, base.index_name, base.base_change, base.manifest(ids), self.now_s)


def _with_rows(built: BuiltBase, saved: Mapping[str, tuple[int, str]]) -> BuiltBase:
    """The base with the ids that its new segments got, and the copies that their rows name."""

    def settled(ref: SegmentRef) -> SegmentRef:
        if ref.segment_id is not None:
            return ref
        number, key = saved[ref.copy_key]
        return replace(ref, segment_id=number, copy_key=key)

    ranges = tuple(
        replace(item, segments={name: settled(ref) for name, ref in item.segments.items()})
        for item in built.base.ranges
    )
    return BuiltBase(replace(built.base, ranges=ranges), built.prefixes)
