"""What readers see: entry points of the visible generation from memory, index files of any kept generation by digest.

A pair (Release and Release.gpg, repomd.xml and .asc) is fetched in two requests by clients that fail on a mix:
whichever is
read first fixes the generation of the other for that client, for a few seconds.
"""

import threading
import zlib
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass

from entrepot.catalog import publications as sql
from entrepot.catalog.engine import Catalog
from entrepot.model.limits import PAIR_S, PAIRS_MAX, SCOPES_SHOWN_MAX, VIEWS_BYTES_MAX, VIEWS_MAX
from entrepot.observe.clock import Clock
from entrepot.publish.base import parse_manifest, segment_ids
from entrepot.publish.segments import SegmentStore
from entrepot.publish.tail import GZIP_HEADER, gunzip_member
from entrepot.publish.transaction import KEY_CONTENT_TYPE, Shown

_CHUNK_BYTES = 256 * 1024
ScopeKey = tuple[int, str, str]


@dataclass(frozen=True, slots=True)
class Piece:
    """Part of an index file: bytes in memory, or a whole stored segment."""

    size_bytes: int
    content: bytes | None
    copy_key: str | None


@dataclass(frozen=True, slots=True)
class IndexView:
    """One immutable index file. ``kind`` is gz or plain; :meth:`iterate` blocks and belongs in a thread."""

    sha256: str
    size_bytes: int
    last_modified_s: int
    kind: str
    pieces: tuple[Piece, ...]
    segments: SegmentStore

    @property
    def held_bytes(self) -> int:
        """What the view itself keeps in memory: head and tail."""
        return sum(piece.size_bytes for piece in self.pieces if piece.content is not None)

    def iterate(self, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """The bytes [start, stop) in chunks of at most 256 KiB. Raises Refusal (storage_failed)."""
        end = self.size_bytes if stop is None else min(stop, self.size_bytes)
        offset = 0
        for piece in self.pieces:
            low, high = max(start, offset) - offset, min(end, offset + piece.size_bytes) - offset
            offset += piece.size_bytes
            if low < high:
                yield from self._slice(piece, low, high)

    def _slice(self, piece: Piece, low: int, high: int) -> Iterator[bytes]:
        if piece.content is not None:
            content = piece.content
        elif self.kind == "plain":
            content = gunzip_member(self.segments.read(piece.copy_key or ""))
        else:
            for at in range(low, high, _CHUNK_BYTES):
                yield self.segments.read_range(piece.copy_key or "", at, min(_CHUNK_BYTES, high - at))
            return
        for at in range(low, high, _CHUNK_BYTES):
            yield content[at : min(at + _CHUNK_BYTES, high)]


@dataclass(frozen=True, slots=True)
class EntryView:
    """A file of the visible generation. ``content`` is the whole file, or the index file behind a canonical name.

    ``not_modified_safe``: a client that holds a file with this Last-Modified holds this very one, so 304 is true: its
    generation was
    alone in its second, that second is over, and the clock has not gone back behind it.
    """

    content: bytes | IndexView
    content_type: str
    sha256: str
    size_bytes: int
    last_modified_s: int
    not_modified_safe: bool


@dataclass(slots=True)
class _Pin:
    """The generation that a client is to see of a pair: since when, and by which name. ``answered``: another name was
    read since; ``goes_on``: then the key, so the first name once more belongs to the same run.
    """

    at: float
    name: str
    shown: Shown
    answered: bool = False
    goes_on: bool = False


_PinKey = tuple[str, ScopeKey, str]


class Reader:
    """Reads publications. Thread-safe; entry points of a scope come from memory once they were read or published."""

    def __init__(self, catalog: Catalog, segments: SegmentStore, clock: Clock) -> None:
        self._catalog = catalog
        self._segments = segments
        self._clock = clock
        self._lock = threading.Lock()
        self._shown: OrderedDict[ScopeKey, Shown] = OrderedDict()
        self._pins: OrderedDict[_PinKey, _Pin] = OrderedDict()
        self._views: OrderedDict[sql.VersionRow, IndexView] = OrderedDict()
        self._views_bytes = 0

    def on_shown(self, row: sql.ScopeRow, shown: Shown) -> None:
        """Take a new generation; called by the publisher after its transaction."""
        self._put((row.repository_id, row.distribution, row.name), shown)

    def _put(self, key: ScopeKey, shown: Shown) -> None:
        with self._lock:
            known = self._shown.get(key)
            if known is None or known.generation <= shown.generation:
                self._shown[key] = shown
            self._shown.move_to_end(key)
            while len(self._shown) > SCOPES_SHOWN_MAX:
                self._shown.popitem(last=False)

    def forget_repository(self, repository_id: int) -> None:
        """Drop what is held of a repository that was deleted."""
        with self._lock:
            for key in [key for key in self._shown if key[0] == repository_id]:
                del self._shown[key]
            for pin in [pin for pin in self._pins if pin[1][0] == repository_id]:
                del self._pins[pin]

    def cached(self, repository_id: int, distribution: str, scope: str) -> bool:
        """True when :meth:`entry` for a document of this scope needs no SQL: it may be called on the event loop."""
        return (repository_id, distribution, scope) in self._shown

    def _current(self, key: ScopeKey) -> Shown | None:
        shown = self._shown.get(key)
        if shown is not None:
            return shown
        with self._catalog.read() as conn:
            row = sql.find_scope(conn, *key)
            latest = sql.latest(conn, row.id) if row else None
            if row is None or latest is None:
                return None
            documents = {document.name: document for document in sql.documents(conn, latest.id)}
            versions = sql.current_versions(conn, row.id)
        shown = Shown(
            row.id,
            latest.generation,
            latest.change,
            latest.published_at,
            latest.date_s,
            latest.second_shared,
            documents,
            versions,
        )
        self._put(key, shown)
        return self._shown.get(key, shown)

    # ------------------------------------------------------------------ entry points

    def entry(
        self,
        repository_id: int,
        distribution: str,
        scope: str,
        name: str,
        client_key: str | None = None,
        pair: str = "",
    ) -> EntryView | None:
        """A file of the visible generation by name, or None. ``client_key`` and ``pair`` fix the generation of the
        pair's other file."""
        key = (repository_id, distribution, scope)
        shown = self._current(key)
        if shown is None:
            return None
        if pair and client_key is not None:
            shown = self._pinned((client_key, key, pair), name, shown)
        document = shown.documents.get(name)
        if document is not None:
            return self._entry(shown, document.content, document.content_type, document.sha256, len(document.content))
        version = shown.versions.get(name)
        if version is None:
            return None
        view = self._index_view(version)
        kind = "application/gzip" if version.kind == "gz" else "text/plain; charset=utf-8"
        return self._entry(shown, view, kind, version.sha256, version.size_bytes) if view is not None else None

    def _entry(
        self, shown: Shown, content: bytes | IndexView, content_type: str, sha256: str, size_bytes: int
    ) -> EntryView:
        now_s = self._clock.now_s()
        safe = not shown.second_shared and now_s > shown.date_s
        return EntryView(content, content_type, sha256, size_bytes, min(shown.date_s, now_s), safe)

    def _pinned(self, key: "_PinKey", name: str, current: Shown) -> Shown:
        """The generation that the pair's other file was read in less than ten seconds ago, else the current one,
        pinned anew.

        The first name again is a new look, with one exception: zypper reads repomd.xml, its signature, the key, and
        then repomd.xml once more for the same run. Nobody else asks for the key after the signature.
        """
        now = self._clock.monotonic()
        document = current.documents.get(name)
        is_key = document is not None and document.content_type == KEY_CONTENT_TYPE
        with self._lock:
            held = self._pins.get(key)
            if held is not None and now - held.at <= PAIR_S:
                again = name == held.name
                if not again or held.goes_on:
                    held.goes_on = is_key and held.answered
                    held.answered = held.answered or not (again or is_key)
                    return held.shown
            if not is_key:
                self._pins[key] = _Pin(now, name, current)
                self._pins.move_to_end(key)
            # In order of time. What is over goes at once: each pin holds a whole generation's documents.
            while self._pins and (len(self._pins) > PAIRS_MAX or now - next(iter(self._pins.values())).at > PAIR_S):
                self._pins.popitem(last=False)
            return current

    # ------------------------------------------------------------------ index files

    def by_digest(self, repository_id: int, distribution: str, scope: str, sha256: str) -> IndexView | EntryView | None:
        """An index file, or a document, of a kept generation by its sha256; None when it never was or is gone."""
        shown = self._current((repository_id, distribution, scope))
        if shown is None:
            return None
        for document in shown.documents.values():
            if document.sha256 == sha256:
                return self._entry(shown, document.content, document.content_type, sha256, len(document.content))
        # The row is asked each time: whether the file is still kept, and on which base it lies now. A content that
        # comes back (yank, unyank) moves to a new base, and the old one's segments are collected.
        with self._catalog.read() as conn:
            version = sql.version_by_sha256(conn, shown.scope_id, sha256)
        return self._index_view(version) if version is not None else None

    def _index_view(self, version: sql.VersionRow) -> IndexView | None:
        """The file behind a version, or None when retention dropped it meanwhile."""
        with self._lock:
            known = self._views.get(version)
            if known is not None:
                self._views.move_to_end(version)
                return known
        try:
            view = self._load_view(version)
        except KeyError:
            return None
        with self._lock:
            if version not in self._views:
                self._views[version] = view
                self._views_bytes += view.held_bytes
            while len(self._views) > VIEWS_MAX or self._views_bytes > VIEWS_BYTES_MAX:
                self._views_bytes -= self._views.popitem(last=False)[1].held_bytes
        return view

    def _load_view(self, version: sql.VersionRow) -> IndexView:
        """Where every byte of a version lies. Raises KeyError when its base is gone."""
        with self._catalog.read() as conn:
            name, change, text = sql.base_manifest(conn, version.base_id)
            rows = sql.segments(conn, segment_ids(text))
            deltas = sql.deltas(conn, version.base_id, version.stream, version.position)
        base = parse_manifest(name, change, text, rows)
        refs = [item.segments[version.stream] for item in base.ranges]
        head = base.heads[version.stream]
        if version.kind == "gz":
            tail = GZIP_HEADER + b"".join([delta.content for delta in deltas]) + version.trailer
            stored = [Piece(ref.gz_size_bytes, None, ref.copy_key) for ref in refs]
        else:
            head = gunzip_member(head) if head else b""
            tail = _inflate(b"".join([delta.content for delta in deltas])) + version.trailer
            stored = [Piece(ref.plain_size_bytes, None, ref.copy_key) for ref in refs]
        pieces = (Piece(len(head), head, None), *stored, Piece(len(tail), tail, None))
        return IndexView(version.sha256, version.size_bytes, version.created_at, version.kind, pieces, self._segments)


def _inflate(deltas: bytes) -> bytes:
    return zlib.decompressobj(-15).decompress(deltas) if deltas else b""
