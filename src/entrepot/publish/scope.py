"""One publication of one scope: read the changes, bring the indexes forward, render, sign, and make it visible in one
transaction.

The writer of a scope holds its lease's epoch. Whatever fails, the in-memory state is dropped and read again from the
catalog, so
what was published is the only truth.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from entrepot.catalog import Connection
from entrepot.catalog import entries as entry_rows
from entrepot.catalog import files as file_rows
from entrepot.catalog import publications as sql
from entrepot.catalog.engine import Catalog
from entrepot.formats.protocol import Format, IndexSpec, ListedFile, Manifest, ManifestInput
from entrepot.model.errors import Refusal
from entrepot.model.limits import PUBLICATION_ADDITIONS_MAX, TAIL_ENTRIES_MAX
from entrepot.observe.clock import Clock
from entrepot.publish.base import BaseBuilder, BuiltBase, parse_manifest, segment_ids
from entrepot.publish.index import LiveIndex
from entrepot.publish.segments import SegmentStore
from entrepot.publish.transaction import KEY_CONTENT_TYPE, Plan, Shown, index_versions
from entrepot.signing.signer import Signer

LEASE_S = 30


@dataclass(frozen=True, slots=True)
class Identity:
    """What a repository's publications say of themselves; ``origin`` is HOST/user/repo, ``label`` the repository's
    name."""

    origin: str
    label: str


@dataclass(frozen=True, slots=True)
class Merged:
    """A base built in the background at change ``change``, waiting to be shown by the next publication."""

    index_name: str
    change: int
    built: BuiltBase
    written: tuple[str, ...]


class ScopeWriter:
    """The one writer of one scope; every call under the scope's lock."""

    def __init__(
        self,
        row: sql.ScopeRow,
        epoch: int,
        catalog: Catalog,
        segments: SegmentStore,
        fmt: Format,
        identity: Identity,
        clock: Clock,
        store_name: str,
    ) -> None:
        self.row = row
        self._epoch = epoch
        self._catalog = catalog
        self._segments = segments
        self._format = fmt
        self._identity = identity
        self._clock = clock
        self._store_name = store_name
        self._indexes: dict[str, LiveIndex] = {}
        self._versions: Mapping[str, sql.VersionRow] = {}
        self._published = row.published_change
        self._generation = row.generation
        self._date_s = 0
        self.merged: dict[str, Merged] = {}
        self.doubtful: list[str] = []
        """Segments of a failed commit: to be discarded once a later commit has succeeded."""

    # ------------------------------------------------------------------ state

    @property
    def published_change(self) -> int:
        """The change up to which the scope is published."""
        return self._published

    def load(self) -> None:
        """Read the visible generation back: bases, digest states, tails."""
        with self._catalog.read() as conn:
            latest = sql.latest(conn, self.row.id)
            self._versions = sql.current_versions(conn, self.row.id)
            specs = {spec.name: spec for spec in self._specs(conn)}
        if latest is None:
            return
        self._date_s = latest.date_s
        for name, saved in json.loads(latest.state)["indexes"].items():
            if name in specs:
                self._indexes[name] = self._load_index(specs[name], saved)

    def _load_index(self, spec: IndexSpec, saved: dict[str, int]) -> LiveIndex:
        base_id, position = saved["base_id"], saved["position"]
        with self._catalog.read() as conn:
            name, change, text = sql.base_manifest(conn, base_id)
            rows = sql.segments(conn, segment_ids(text))
            contents = {
                item.name: [delta.content for delta in sql.deltas(conn, base_id, item.name, position)]
                for item in spec.streams
            }
        built = self._builder(spec).load(parse_manifest(name, change, text, rows))
        index = LiveIndex.on(spec, built, base_id)
        index.restore(contents, position, saved["tail_entries"])
        return index

    def _specs(self, conn: Connection) -> list[IndexSpec]:
        parts = sql.known_parts(conn, self.row.repository_id, self.row.distribution)
        specs = self._format.indexes(self.row.distribution, parts)
        return [spec for spec in specs if spec.scope == self.row.name]

    def _builder(self, spec: IndexSpec, written: list[str] | None = None) -> BaseBuilder:
        return BaseBuilder(self._catalog, self._segments, self._format, self.row.id, spec, written)

    def rest(self) -> None:
        """Give up memory while nothing happens."""
        for index in self._indexes.values():
            index.rest()

    def full_indexes(self) -> list[tuple[IndexSpec, BuiltBase, int]]:
        """Indexes whose tail should be merged: (spec, base, change that is published)."""
        return [
            (index.spec, index.built, self._published)
            for name, index in self._indexes.items()
            if index.tail_is_full and name not in self.merged
        ]

    # ------------------------------------------------------------------ one publication

    def publish(self, signer_for: Callable[[int], Signer]) -> Shown | None:
        """Publish the changes that are there now (bounded: the rest stays dirty); None when nothing is new.

        ``signer_for`` is asked after the changes were read: a change of the repository's keys is one of them.

        Raises sql.Fenced when the lease is lost, Refusal when the store or the catalog fails; drop this writer after
        any error.
        """
        with self._catalog.read() as conn:
            row = sql.scope_by_id(conn, self.row.id)
            if row is None or (row.last_change <= self._published and not self.merged):
                return None
            if row.epoch != self._epoch:
                raise sql.Fenced(f"scope {self.row.id}: epoch {self._epoch} is over")
            target = self._target(conn, row.last_change)
            specs = self._specs(conn)
            added = entry_rows.additions(conn, self.row.id, self._published, target, target)
            removed = entry_rows.removals(conn, self.row.id, self._published, target)
        new_segments = self._drop_stale_merges(row.purged_change)
        try:
            for spec in specs:
                self._advance(spec, added, removed, target, new_segments)
            return self._show(target, specs, signer_for(self.row.repository_id))
        except Refusal as refusal:
            # A commit that failed may still be found whole by the catalog's recovery after a crash; until the next
            # commit has settled that, its segments must stay.
            if refusal.code == "catalog_failed":
                self.doubtful += new_segments
                new_segments = []
            raise
        finally:
            # What goes: after a failure all; after success those that a removal replaced before they were ever shown.
            self.settle(new_segments)

    def _drop_stale_merges(self, purged_change: int) -> list[str]:
        """Drop merges that may list an entry whose rows the collector has deleted since: nothing says any more that it
        must leave. The tail is still full, so it is merged anew. Returns the segments that were written for them."""
        stale = [name for name, item in self.merged.items() if purged_change > item.built.base.alive_at]
        return [key for name in stale for key in self.merged.pop(name).written]

    def settle(self, keys: Sequence[str]) -> None:
        """The end of a publication's or merge's segments: those that a row names are confirmed, the others were written
        for nothing and are deleted."""
        if not keys:
            return
        with self._catalog.read() as conn:
            known = sql.known_copies(conn, keys)
        self._segments.confirm(known)
        for key in set(keys).difference(known):
            with suppress(Refusal):  # an orphan now, and found as one
                self._segments.delete(key)

    def _target(self, conn: Connection, last_change: int) -> int:
        """The change to publish up to: all, or as many additions as one publication takes."""
        first = entry_rows.additions(
            conn, self.row.id, self._published, last_change, last_change, PUBLICATION_ADDITIONS_MAX + 1
        )
        if len(first) <= PUBLICATION_ADDITIONS_MAX:
            return last_change
        if entry_rows.count_additions(conn, self.row.id, self._published, last_change) > TAIL_ENTRIES_MAX:
            return last_change  # so many that a new base is cheaper than a tail
        cut = first[-1].added_change - 1
        return cut if cut > self._published else first[-1].added_change

    def _advance(
        self,
        spec: IndexSpec,
        added: Sequence[entry_rows.EntryRow],
        removed: Sequence[entry_rows.EntryRow],
        target: int,
        new_segments: list[str],
    ) -> None:
        mine = [entry for entry in added if entry.part in spec.parts]
        gone = [entry for entry in removed if entry.part in spec.parts]
        index = self._indexes.get(spec.name)
        merged = self.merged.pop(spec.name, None)
        if merged is not None:
            new_segments.extend(merged.written)
        if index is None:
            builder = self._builder(spec, new_segments)
            self._replace(spec, builder.build(builder.empty(), [], target, target), target)
        elif merged is not None:
            self._rebase(spec, merged.built, target, new_segments)
        elif gone:
            self._rebase(spec, index.built, target, new_segments)
        elif len(mine) > TAIL_ENTRIES_MAX:
            builder = self._builder(spec, new_segments)
            tail = self.touched_since(spec, index.built, target)
            self._replace(spec, builder.build(index.built, tail, target, target), target)
        elif mine:
            with self._catalog.read() as conn:
                content = entry_rows.fragments(conn, [entry.file_id for entry in mine])
            index.append(mine, content)

    def touched_since(self, spec: IndexSpec, built: BuiltBase, upto: int) -> list[tuple[bytes, int]]:
        """Keys that a base at change ``upto`` has and ``built`` has not, or the other way round. Any thread."""
        base = built.base
        with self._catalog.read() as conn:
            added = entry_rows.additions(conn, self.row.id, base.base_change, upto, upto)
            gone = entry_rows.removals(conn, self.row.id, base.alive_at, upto)
        entries = added + [entry for entry in gone if entry.added_change <= base.base_change]
        return [(entry.order_key, entry.id) for entry in entries if entry.part in spec.parts]

    def _rebase(self, spec: IndexSpec, built: BuiltBase, target: int, new_segments: list[str]) -> None:
        """Put a fresh tail on ``built``, and take out of it what was removed since it was built."""
        base_change = built.base.base_change
        with self._catalog.read() as conn:
            removed = entry_rows.removals(conn, self.row.id, built.base.alive_at, target)
        gone = [entry for entry in removed if entry.part in spec.parts and entry.added_change <= base_change]
        builder = self._builder(spec, new_segments)
        if gone:
            keys = [(entry.order_key, entry.id) for entry in gone]
            built = builder.without(built, gone, target) or builder.build(built, keys, base_change, target)
        self._replace(spec, built, target)

    def _replace(self, spec: IndexSpec, built: BuiltBase, target: int) -> None:
        index = LiveIndex.on(spec, built, None)
        with self._catalog.read() as conn:
            entries = entry_rows.additions(conn, self.row.id, built.base.base_change, target, target)
            tail = [entry for entry in entries if entry.part in spec.parts]
            content = entry_rows.fragments(conn, [entry.file_id for entry in tail])
        index.append(tail, content)
        index.changed = True
        self._indexes[spec.name] = index

    # ------------------------------------------------------------------ rendering and the transaction

    def _show(self, target: int, specs: Sequence[IndexSpec], signer: Signer) -> Shown:
        now_s = self._clock.now_s()
        date_s = max(now_s, self._date_s)
        second_shared = date_s == self._date_s
        generation = self._generation + 1
        live = [self._indexes[spec.name] for spec in specs]
        sealed = {index.spec.name: index.seal(self._format) for index in live}
        states = tuple(index.state(sealed[index.spec.name]) for index in live)
        with self._catalog.read() as conn:
            listed = [] if specs else _listed(conn, self.row.id)
        request = ManifestInput(
            self._identity.origin,
            self._identity.label,
            self.row.distribution,
            self.row.name,
            date_s,
            generation,
            states,
            listed,
        )
        plan = Plan(
            scope_id=self.row.id,
            epoch=self._epoch,
            previous_change=self._published,
            change=target,
            generation=generation,
            now_s=now_s,
            date_s=date_s,
            second_shared=second_shared,
            live=live,
            states=states,
            versions=index_versions(live, sealed, self._format, now_s),
            before=self._versions,
            documents=_documents(self._format.manifest(request), signer),
            store_name=self._store_name,
            lease_until=now_s + LEASE_S,
        )
        shown = self._catalog.submit(plan.save)
        self._published, self._generation, self._date_s = target, generation, date_s
        self._versions = shown.versions
        return shown


def _listed(conn: Connection, scope_id: int) -> list[ListedFile]:
    return [
        ListedFile(row.path, row.name, row.version, row.created_at, row.metadata)
        for row in file_rows.listed_files(conn, scope_id)
    ]


_DIGESTS: dict[str, Callable[[bytes], "hashlib._Hash"]] = {
    "md5": lambda data: hashlib.md5(data, usedforsecurity=False),
    "sha1": lambda data: hashlib.sha1(data, usedforsecurity=False),
    "sha256": hashlib.sha256,
    "sha512": hashlib.sha512,
}


def _row(name: str, content: bytes, content_type: str) -> sql.DocumentRow:
    return sql.DocumentRow(name, content_type, hashlib.sha256(content).hexdigest(), content)


_DETACHED = "application/pgp-signature"
_CONTENT_TYPES = {"clear": "text/plain; charset=utf-8", "detached": _DETACHED, "blocks": _DETACHED}


def _signatures(manifest: Manifest, signer: Signer) -> dict[str, bytes]:
    """Every signature by the name it is served under. Both styles over one document cost one private-key operation."""
    content = {document.name: document.content for document in manifest.documents}
    wanted: dict[str, dict[str, str]] = {}
    for item in manifest.signatures:
        wanted.setdefault(item.document, {})[item.style] = item.name
    made: dict[str, bytes] = {}
    for document, styles in wanted.items():
        if styles.keys() == {"clear", "detached"}:
            made[styles["clear"]], made[styles["detached"]] = signer.clear_and_detached(content[document])
        elif "clear" in styles:
            made[styles["clear"]] = signer.clear(content[document])
        elif "blocks" in styles:
            made[styles["blocks"]] = signer.blocks(content[document])
        else:
            made[styles["detached"]] = signer.detached(content[document])
    return made


def _documents(manifest: Manifest, signer: Signer) -> list[sql.DocumentRow]:
    """Every document of a generation: as rendered, its checksum files, its signatures, the public key."""
    rows: list[sql.DocumentRow] = []
    signed = _signatures(manifest, signer)
    for document in manifest.documents:
        rows.append(_row(document.name, document.content, document.content_type))
        for algorithm, name in document.digest_names.items():
            rows.append(_row(name, _DIGESTS[algorithm](document.content).hexdigest().encode(), "text/plain"))
    for wanted in manifest.signatures:
        rows.append(_row(wanted.name, signed[wanted.name], _CONTENT_TYPES[wanted.style]))
    if manifest.key_name is not None:
        rows.append(_row(manifest.key_name, signer.public_armored, KEY_CONTENT_TYPE))
    return rows
