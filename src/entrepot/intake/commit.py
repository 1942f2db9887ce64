"""From received and judged to durable: bytes, name, row, in that order; and whatever fails leaves nothing behind.

A crash between name and row leaves bytes without a row, which upkeep removes a day later; the other order would
leave rows without bytes.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Literal

from entrepot.catalog import Connection
from entrepot.catalog import files as catalog_files
from entrepot.catalog.engine import Catalog
from entrepot.catalog.files import CommitOutcome, FileFacts, FileRow, Needed, NewFile, ScopeUse
from entrepot.formats.protocol import Format, Inspection, Member, PackageFacts
from entrepot.intake.receive import Borrowed, Received
from entrepot.model.errors import Refusal
from entrepot.model.nouns import Ticket
from entrepot.observe.clock import Clock
from entrepot.storage.protocol import BlobStore


@dataclass(frozen=True, slots=True)
class Source:
    """Who sends a file: ``uploader`` is the token's name, ``address`` the client's; ``actor`` is the token as the audit
    trail names it, None for its name.
    """

    uploader: str
    address: str | None = None
    actor: str | None = None


@dataclass(frozen=True, slots=True)
class Claimed:
    """A received file and where its sender says it goes: ``path`` below ``distribution`` (its canonical
    family/version).
    """

    received: Received
    format: Format
    distribution: str
    path: str
    hints: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Judged:
    """The same after inspection."""

    claimed: Claimed
    inspection: Inspection


Status = Literal["created", "same", "held", "accepted", "unchecked"]


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of one upload.

    ``status``: ``created`` (new, waits for ``tickets``), ``same`` (these very bytes were there already), ``held``
    (kept, in no index until its set is complete), ``accepted`` (a claim that holds, or a client's own index: not kept),
    ``unchecked`` (a claim about a file that is not here: neither compared nor kept).
    ``files`` are the rows, one for each file and distribution; ``created`` says whether any of them is new, a held one
    too.
    """

    status: Status
    tickets: tuple[Ticket, ...]
    files: tuple[FileRow, ...]
    created: bool


class Committer:
    """Writes judged files. Blocking; for worker threads."""

    def __init__(self, catalog: Catalog, store: BlobStore, clock: Clock, *, store_name: str = "folder") -> None:
        self._catalog = catalog
        self._store = store
        self._clock = clock
        self._store_name = store_name

    def commit(
        self, repository_id: int, judged: Sequence[Judged], source: Source, on_charged: Callable[[], None]
    ) -> Receipt:
        """Store and list every file of one upload, all or none; ``on_charged`` is called in the transaction that
        charges them, maybe on another thread.

        Raises Refusal: the store's and the catalog's; ``digest_mismatch`` when a claim disagrees with what is there.
        """
        kept = [each for each in judged if each.inspection.package is not None]
        copies: dict[int, str | None] = {}
        try:
            for each in kept:
                received = each.claimed.received
                if id(received) not in copies:
                    borrowed = isinstance(received.staged, Borrowed)
                    copies[id(received)] = None if borrowed else received.staged.commit(received.digests.sha256)
            now_s = self._clock.now_s()
            results, unchecked = self._catalog.submit(
                lambda conn: self._transaction(conn, repository_id, judged, copies, source, now_s, on_charged)
            )
        except BaseException as error:
            # After a failed commit nobody knows whether the row is there: then the bytes stay, for upkeep to judge.
            if not (isinstance(error, Refusal) and error.code == "catalog_failed"):
                self._drop(copies.values())
            raise
        used = {id(each.claimed.received) for each, outcome in zip(kept, results, strict=True) if outcome.copy_used}
        self._store.confirm([key for owner, key in copies.items() if owner in used and key is not None])
        self._drop([key for owner, key in copies.items() if owner not in used])
        receipt = self._receipt(repository_id, kept, results, source, now_s)
        receipt = replace(receipt, files=self._as_stored(receipt.files, results))
        return receipt if results or not unchecked else replace(receipt, status="unchecked")

    def _transaction(
        self,
        conn: Connection,
        repository_id: int,
        judged: Sequence[Judged],
        copies: Mapping[int, str | None],
        source: Source,
        now_s: int,
        on_charged: Callable[[], None],
    ) -> tuple[list[CommitOutcome], bool]:
        """What became of each kept file, and whether a claim had nothing to be compared with. Runs in the writer lane,
        maybe on another caller's thread.
        """
        outcomes: dict[int, CommitOutcome] = {}
        unchecked = False
        # In sorted order of distribution: the catalog locks scopes in that order (design section 5.4).
        order = sorted(range(len(judged)), key=lambda index: (judged[index].claimed.distribution, index))
        for index in order:
            each = judged[index]
            claims = each.inspection.claims
            unchecked |= not _check_claims(conn, repository_id, each.claimed.distribution, claims)
            facts = each.inspection.package
            if facts is None:
                continue
            claimed = each.claimed
            new = NewFile(
                repository_id=repository_id,
                distribution=claimed.distribution,
                format=claimed.format.name,
                facts=to_file_facts(facts),
                digests=claimed.received.digests,
                size_bytes=claimed.received.size_bytes,
                uploader=source.uploader,
                address=source.address,
                actor=source.actor,
                store=self._store_name,
            )
            uses = scope_uses(conn, claimed.format, repository_id, claimed.distribution, facts)
            outcomes[index] = catalog_files.commit_file(conn, new, copies[id(claimed.received)], uses, now_s)
        on_charged()
        return [outcomes[index] for index in sorted(outcomes)], unchecked

    def _as_stored(self, files: Sequence[FileRow], outcomes: Sequence[CommitOutcome]) -> tuple[FileRow, ...]:
        """The rows as the catalog has them where these very bytes were there: who sent them first, and when."""
        again = [outcome.file_id for outcome in outcomes if not outcome.created]
        if not again:
            return tuple(files)
        with self._catalog.read() as conn:
            stored = {row.id: row for row in catalog_files.by_ids(conn, again)}
        return tuple(stored.get(row.id, row) for row in files)

    def _drop(self, keys: Iterable[str | None]) -> None:
        for key in keys:
            if key is not None:
                with suppress(Refusal):  # bytes without a row: upkeep collects them
                    self._store.delete(key)

    def _receipt(
        self, repository_id: int, kept: Sequence[Judged], outcomes: Sequence[CommitOutcome], source: Source, now_s: int
    ) -> Receipt:
        tickets: dict[int, int] = {}
        rows: list[FileRow] = []
        for each, outcome in zip(kept, outcomes, strict=True):
            for ticket in outcome.tickets:
                tickets[ticket.scope_id] = max(ticket.change, tickets.get(ticket.scope_id, 0))
            rows.append(_file_row(repository_id, each, outcome, source, now_s))
        status: Status
        if not outcomes:
            status = "accepted"
        elif any(outcome.created and not outcome.held for outcome in outcomes):
            status = "created"
        elif any(outcome.held for outcome in outcomes):
            status = "held"
        else:
            status = "same"
        shown = tuple(Ticket(scope_id, change) for scope_id, change in tickets.items())
        return Receipt(status, shown, tuple(rows), created=any(outcome.created for outcome in outcomes))


def to_file_facts(facts: PackageFacts) -> FileFacts:
    """The catalog's plain form of a format's facts."""
    return FileFacts(
        type=facts.type,
        name=facts.name,
        version=facts.version,
        architecture=facts.architecture,
        filename=facts.filename,
        path=facts.path,
        conflict_key=facts.conflict_key,
        order_key=facts.order_key,
        epoch=facts.epoch,
        release=facts.release,
        part=facts.part,
        fragments=facts.fragments,
        requires=tuple(Needed(member.path, member.size_bytes, member.digests) for member in facts.requires),
        replaces=facts.replaces,
        member=facts.member,
        metadata=facts.metadata,
    )


def scope_uses(
    conn: Connection, format_: Format, repository_id: int, distribution: str, facts: PackageFacts
) -> tuple[ScopeUse, ...]:
    """Every scope that must exist once the file is in, and which of them list it."""
    parts = catalog_files.parts(conn, repository_id, distribution)
    if facts.part is not None:
        parts |= {facts.part}
    scopes: dict[str, set[str]] = {}
    for spec in format_.indexes(distribution, parts):
        scopes.setdefault(spec.scope, set()).update(spec.parts)
    uses = [
        ScopeUse(name, format_.name, listed=facts.part is not None and facts.part in listed, parts=frozenset(listed))
        for name, listed in scopes.items()
    ]
    uses += [ScopeUse(name, format_.name, listed=True) for name in facts.document_scopes if name not in scopes]
    return tuple(uses)


def _check_claims(conn: Connection, repository_id: int, distribution: str, claims: Sequence[Member]) -> bool:
    """Whether every claim was compared: one about a file that is not there yet is let pass. Raises
    Refusal("digest_mismatch") for one that disagrees.
    """
    compared = True
    for claim in claims:
        there = catalog_files.find_by_path(conn, repository_id, distribution, claim.path)
        if there is None:
            compared = False
            continue
        for algorithm, digest in claim.digests.items():
            known = getattr(there, algorithm, None)
            if known is not None and known != digest.lower():
                raise Refusal(
                    "digest_mismatch", path=claim.path, algorithm=algorithm, promised=digest[:128], stored=known
                )
        if claim.size_bytes is not None and claim.size_bytes != there.size_bytes:
            raise Refusal(
                "digest_mismatch", path=claim.path, promised_bytes=claim.size_bytes, stored_bytes=there.size_bytes
            )
    return compared


def _file_row(repository_id: int, each: Judged, outcome: CommitOutcome, source: Source, now_s: int) -> FileRow:
    facts, received = each.inspection.package, each.claimed.received
    assert facts is not None
    return FileRow(
        id=outcome.file_id,
        repository_id=repository_id,
        distribution=each.claimed.distribution,
        format=each.claimed.format.name,
        type=facts.type,
        name=facts.name,
        version=facts.version,
        epoch=facts.epoch,
        release=facts.release,
        architecture=facts.architecture,
        filename=facts.filename,
        path=facts.path,
        conflict_key=facts.conflict_key,
        part=facts.part,
        size_bytes=received.size_bytes,
        metadata=facts.metadata,
        uploader=source.uploader,
        created_at=now_s,
        held_until=now_s if outcome.held else None,
        yanked_at=None,
        replaced_by=None,
        sha256=received.digests.sha256,
        md5=received.digests.md5,
        sha1=received.digests.sha1,
        sha512=received.digests.sha512,
        copy_key=None,
    )
