"""One index of one scope as its writer holds it: a base, and one tail per stream."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from entrepot.catalog import entries as entry_rows
from entrepot.catalog import publications as sql
from entrepot.formats.protocol import Format, IndexSpec, IndexState, StreamState
from entrepot.model.limits import TAIL_BYTES_MAX, TAIL_ENTRIES_MAX
from entrepot.publish.base import BuiltBase
from entrepot.publish.tail import Sealed, TailStream


@dataclass
class LiveIndex:
    """The state that makes the next publication cheap. Owned by the scope's writer; dropped and loaded again after
    any failure.

    ``base_id`` is None while the base has no row yet; ``position`` is the number of deltas in each tail.
    """

    spec: IndexSpec
    built: BuiltBase
    base_id: int | None
    tails: dict[str, TailStream]
    position: int = 0
    tail_entries: int = 0
    pending: list[sql.DeltaRow] = field(default_factory=list)
    changed: bool = False

    @classmethod
    def on(cls, spec: IndexSpec, built: BuiltBase, base_id: int | None) -> "LiveIndex":
        """An index with an empty tail on this base."""
        return cls(spec, built, base_id, {item.name: TailStream(built.prefix(item.name)) for item in spec.streams})

    @property
    def entries(self) -> int:
        """Entries listed."""
        return self.built.base.entries + self.tail_entries

    @property
    def tail_is_full(self) -> bool:
        """True when the tail should be merged into the base."""
        return self.tail_entries >= TAIL_ENTRIES_MAX or any(
            tail.plain_size_bytes >= TAIL_BYTES_MAX for tail in self.tails.values()
        )

    def append(self, entries: Sequence[entry_rows.EntryRow], content: Mapping[tuple[int, str], bytes]) -> None:
        """Add entries to the tail as one delta per stream."""
        if not entries:
            return
        for name, tail in self.tails.items():
            delta = tail.append(b"".join([content[entry.file_id, name] for entry in entries]))
            self.pending.append(sql.DeltaRow(name, self.position, delta.content, delta.plain_size_bytes, delta.crc32))
        self.position += 1
        self.tail_entries += len(entries)
        self.changed = True

    def restore(self, contents: Mapping[str, list[bytes]], position: int, tail_entries: int) -> None:
        """Take stored deltas over after a restart."""
        for name, tail in self.tails.items():
            tail.restore(contents[name])
        self.position = position
        self.tail_entries = tail_entries

    def seal(self, fmt: Format) -> dict[str, Sealed]:
        """The version of each stream as of now."""
        return {name: tail.seal(fmt.foot(name)) for name, tail in self.tails.items()}

    def state(self, sealed: Mapping[str, Sealed]) -> IndexState:
        """What a manifest says of this index."""
        streams = tuple(
            StreamState(
                item.name,
                item.plain_path,
                item.gz_path,
                sealed[item.name].gz_size_bytes,
                sealed[item.name].gz_sha256,
                sealed[item.name].plain_size_bytes,
                sealed[item.name].plain_sha256,
            )
            for item in self.spec.streams
        )
        return IndexState(self.spec.name, self.entries, streams)

    def rest(self) -> None:
        """Give up memory that the next append can make again."""
        for tail in self.tails.values():
            tail.rest()
