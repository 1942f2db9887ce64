"""Pushing files: hash, ask what is there, send the rest from several threads, and wait until the index lists them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import groupby
from threading import Lock
from typing import BinaryIO

from entrepot.client import clock, places
from entrepot.client.crew import Crew
from entrepot.client.errors import ClientError, Exit, FileChanged, Problem, Unreachable, UsageError, reason
from entrepot.client.observer import Observer, Outcome, Report, Status
from entrepot.client.resume import Remembered
from entrepot.client.selection import Item, Kind, Unsent
from entrepot.client.session import Answer, Session
from entrepot.client.target import PushTarget

PARALLEL = 4
WAIT_FOR_S = 120.0
POLL_FIRST_S = 0.5
POLL_MAX_S = 5.0
BATCH_FILES = 200
BATCH_BYTES = 4 * 1024**3
HASH_CHUNK_BYTES = 1024 * 1024


@dataclass(frozen=True)
class Options:
    """How to push. ``wait`` False is content with what the server has accepted; ``wait_for_s`` bounds the wait."""

    parallel: int = PARALLEL
    skip_duplicates: bool = False
    dry_run: bool = False
    wait: bool = True
    wait_for_s: float = WAIT_FOR_S


@dataclass(frozen=True)
class Hashed:
    """A file with its digest, as it was when it was read; which distributions lack it; whether the server has the bytes
    elsewhere.
    """

    item: Item
    size_bytes: int
    sha256: str
    distributions: tuple[str, ...] = ()
    bytes_there: bool = False


class Push:
    """One push of some files to one target; ``run`` once."""

    def __init__(
        self,
        session: Session,
        target: PushTarget,
        kind: Kind,
        items: Sequence[Item],
        options: Options,
        observer: Observer,
        remembered: Remembered,
    ) -> None:
        """Args: ``kind`` from :func:`places.kind_of`; ``remembered`` digests of earlier pushes."""
        self._session = session
        self._target = target
        self._kind = kind
        self._items = items
        self._options = options
        self._observer = observer
        self._remembered = remembered
        self._lock = Lock()
        self._outcomes: dict[Item, Outcome] = {}
        self._unlisted: dict[Item, Outcome] = {}
        self._fatal: ClientError | None = None
        self._answered = False
        self._crew = Crew(options.parallel, lambda: _Worker(session, observer), _Worker.close)

    def run(self) -> Report:
        """Push everything; what happens to each file is in the report, and told to the observer as it happens.

        Raises Problem and Unreachable when the server cannot even be asked what it has.
        """
        began = clock.monotonic()
        items = [item for item in self._items if item.unsent is None]
        self._observer.begin(len(items), sum(_size(item) for item in items))
        try:
            for item in self._items:
                if item.unsent is not None:
                    self._finish(_left_out(item, item.unsent))
            for _, wave in groupby(items, key=lambda item: item.wave):
                for batch in _batches(list(wave)):
                    self._batch(batch)
            if self._unlisted and self._fatal is None:
                self._settle()
        finally:
            self._crew.close()
        for outcome in list(self._unlisted.values()):
            self._finish(outcome)
        for item in self._items:
            if item not in self._outcomes:
                self._finish(self._left(item))
        report = Report(tuple(self._outcomes[item] for item in self._items), clock.monotonic() - began)
        self._observer.end(report)
        return report

    # ------------------------------------------------------------------ one batch

    def _batch(self, batch: Sequence[Item]) -> None:
        if self._fatal is not None:
            return
        hashed: list[Hashed] = []
        self._crew.each(lambda _, item: self._hash(item, hashed), batch)
        place = {item: index for index, item in enumerate(batch)}
        hashed.sort(key=lambda each: place[each.item])
        try:
            there = places.have(self._session, self._target.repository, [each.sha256 for each in hashed])
        except (Problem, Unreachable) as error:
            if not self._answered:
                raise  # nothing was sent yet: the command itself fails
            self._stop(error)
            return
        self._answered = True
        wanted = []
        for each in hashed:
            known = there.get(each.sha256, places.NOTHING)
            missing = places.missing(each.item, self._kind, self._target, known.files)
            if missing:
                wanted.append(replace(each, distributions=missing, bytes_there=known.bytes_there))
            else:
                self._present(each, known.files)
        if self._options.dry_run:
            for each in wanted:
                self._finish(self._outcome(each, Status.WOULD_SEND))
        else:
            self._crew.each(self._send, wanted)

    def _hash(self, item: Item, hashed: list[Hashed]) -> None:
        try:
            found = _digest(item, self._remembered, self._observer)
        except OSError as error:
            self._finish(Outcome(item, Status.REFUSED, (), _size(item), code="file_unreadable", detail=reason(error)))
            return
        with self._lock:
            hashed.append(found)

    def _present(self, each: Hashed, rows: Sequence[places.There]) -> None:
        """The server has these bytes everywhere; an earlier push may have been killed before they were listed."""
        outcome = self._outcome(replace(each, distributions=self._target.distributions), Status.PRESENT)
        unlisted, held = places.waiting(self._kind, each.item, outcome.distributions, rows)
        if unlisted and not self._options.dry_run:
            self._wait_for(replace(outcome, status=Status.HELD if held else Status.PENDING))
        else:
            self._finish(outcome)

    # ------------------------------------------------------------------ sending

    def _send(self, worker: _Worker, each: Hashed) -> None:
        """Send one file; every end is an outcome."""
        began = clock.monotonic()
        worker.item = each.item
        sent = _Count()
        try:
            with each.item.path.open("rb") as stream:
                answer = self._upload(worker.session, each, stream, sent)
            outcome = self._judge(each, answer, attempts=sent.attempts)
        except OSError as error:
            outcome = self._outcome(each, Status.REFUSED, code="file_unreadable", detail=reason(error))
        except ClientError as error:
            outcome = self._failed(each, error)
        outcome = replace(outcome, sent_bytes=sent.size_bytes, seconds=clock.monotonic() - began)
        if outcome.status in (Status.PENDING, Status.HELD):
            self._wait_for(outcome)
        else:
            self._finish(outcome)

    def _upload(self, session: Session, each: Hashed, stream: BinaryIO, sent: _Count) -> Answer:
        path, query = places.address(self._target.repository, each.distributions, each.item, each.sha256)
        if each.bytes_there:
            with _unless_gone():
                sent.attempts = 1
                return session.call("POST", path, query=[*query, ("reference", "1")])

        def moved(size_bytes: int) -> None:
            sent.size_bytes += size_bytes
            self._observer.sent(each.item, size_bytes)

        def restart() -> None:
            sent.attempts += 1
            self._observer.started(each.item, each.size_bytes)

        if os.fstat(stream.fileno()).st_size != each.size_bytes:
            raise FileChanged(f"{each.item.path}: the length changed since the file was hashed.")
        return session.upload(
            "POST",
            path,
            stream,
            each.size_bytes,
            query=query,
            on_bytes=moved,
            on_restart=restart,
        )

    def _judge(self, each: Hashed, answer: Answer, *, attempts: int) -> Outcome:
        """What an answer below 400 means: 201 listed, 202 accepted, 200 there already (or what our first try left)."""
        document = answer.document()
        status = document.get("status") if isinstance(document, dict) else None
        if status == "held":
            return self._outcome(each, Status.HELD)
        if answer.status == 202:
            return self._outcome(each, Status.PENDING)
        if answer.status == 200 and status == "same":
            return self._outcome(each, Status.PRESENT if attempts == 1 else Status.PUBLISHED)
        return self._outcome(each, Status.PUBLISHED if answer.status == 201 else Status.ACCEPTED)

    def _failed(self, each: Hashed, error: ClientError) -> Outcome:
        if isinstance(error, Problem) and error.status == 409:
            status = Status.SKIPPED if self._options.skip_duplicates else Status.CONFLICT
        elif error.exit_code is Exit.AUTHENTICATION:
            status = Status.UNAUTHORISED
            self._stop(error)
        elif error.exit_code is Exit.UNREACHABLE:
            status = Status.GAVE_UP
            self._stop(error)
        else:
            status = Status.REFUSED
            if isinstance(error, UsageError):
                self._stop(error)
        return self._outcome(each, status, code=error.code, detail=error.detail, remedy=error.remedy)

    def _stop(self, error: ClientError) -> None:
        """Whatever this was, the other files would meet it too."""
        with self._lock:
            self._fatal = self._fatal or error
        self._crew.stopping.set()

    def _left(self, item: Item) -> Outcome:
        """A file whose turn never came."""
        error = self._fatal
        code, detail = (error.code, error.detail) if error is not None else ("stopped", "The push was stopped.")
        exits = {Exit.AUTHENTICATION: Status.UNAUTHORISED, Exit.UNREACHABLE: Status.GAVE_UP}
        status = exits.get(error.exit_code, Status.NOT_SENT) if error is not None else Status.NOT_SENT
        return Outcome(item, status, self._target.distributions, _size(item), code=code, detail=detail)

    # ------------------------------------------------------------------ until it is listed

    def _wait_for(self, outcome: Outcome) -> None:
        if self._options.wait:
            with self._lock:
                self._unlisted[outcome.item] = outcome
        else:
            self._finish(replace(outcome, status=Status.ACCEPTED))

    def _settle(self) -> None:
        """Ask until every accepted file is listed, or the time for it is over."""
        deadline = clock.monotonic() + self._options.wait_for_s
        pause_s = POLL_FIRST_S
        while self._unlisted:
            asked = [outcome.sha256 for outcome in self._unlisted.values()]
            try:
                there = places.have(self._session, self._target.repository, asked)
            except (Problem, Unreachable) as error:
                self._stop(error)
                return
            for outcome in list(self._unlisted.values()):
                rows = there.get(outcome.sha256, places.NOTHING).files
                unlisted, held = places.waiting(self._kind, outcome.item, outcome.distributions, rows)
                if rows and not unlisted:
                    del self._unlisted[outcome.item]
                    fresh = outcome.sent_bytes > 0
                    status = Status.PUBLISHED if fresh else Status.PRESENT
                    self._finish(replace(outcome, status=status, code="", detail="", remedy=""))
                else:
                    self._unlisted[outcome.item] = _unlisted(outcome, held=held)
            if all(outcome.status is Status.HELD for outcome in self._unlisted.values()):
                return  # every file of this push is there: nothing that we wait for will come
            if clock.monotonic() + pause_s > deadline:
                return
            self._crew.stopping.wait(pause_s)
            pause_s = min(pause_s * 1.5, POLL_MAX_S)

    # ------------------------------------------------------------------ outcomes

    def _outcome(self, each: Hashed, status: Status, *, code: str = "", detail: str = "", remedy: str = "") -> Outcome:
        names = each.distributions or self._target.distributions
        return Outcome(each.item, status, names, each.size_bytes, each.sha256, code=code, detail=detail, remedy=remedy)

    def _finish(self, outcome: Outcome) -> None:
        with self._lock:
            self._outcomes[outcome.item] = outcome
        self._observer.done(outcome)


@contextmanager
def _unless_gone() -> Iterator[None]:
    """Pass over the refusal of a reference: the bytes were collected between the question and now."""
    try:
        yield
    except Problem as problem:
        if problem.code != "not_found":
            raise


class _Worker:
    """A thread's connection, and the file that it is about."""

    def __init__(self, session: Session, observer: Observer) -> None:
        self.item: Item | None = None
        self.session = session.clone(on_wait=lambda wait: observer.waiting(self.item, wait))

    def close(self) -> None:
        self.session.close()


class _Count:
    """What one file cost so far."""

    __slots__ = ("attempts", "size_bytes")

    def __init__(self) -> None:
        self.attempts = 0
        self.size_bytes = 0


def _left_out(item: Item, why: Unsent) -> Outcome:
    if why.refused:
        return Outcome(item, Status.REFUSED, (), code=why.code, detail=why.detail)
    size_bytes = 0 if item.path.is_dir() else _size(item)
    return Outcome(item, Status.PASSED_OVER, (), size_bytes, code=why.code, detail=why.detail)


def _unlisted(outcome: Outcome, *, held: bool) -> Outcome:
    if held:
        detail = "The server keeps it until the other files of its set are there; push them within 24 hours."
        return replace(outcome, status=Status.HELD, code="held", detail=detail)
    detail = "The server has it, but its index does not list it yet; it will without another push."
    return replace(outcome, status=Status.PENDING, code="pending", detail=detail)


def _digest(item: Item, remembered: Remembered, observer: Observer) -> Hashed:
    path = os.path.abspath(item.path)
    with item.path.open("rb") as stream:
        status = os.fstat(stream.fileno())
        sha256 = remembered.find(path, status)
        if sha256 is None:
            digest = hashlib.sha256()
            while chunk := stream.read(HASH_CHUNK_BYTES):
                digest.update(chunk)
                observer.hashed(len(chunk))
            after = os.fstat(stream.fileno())
            sha256 = digest.hexdigest()
            if (after.st_mtime_ns, after.st_size) == (status.st_mtime_ns, status.st_size):
                remembered.add(path, status, sha256)
        else:
            observer.hashed(status.st_size)
    return Hashed(item, status.st_size, sha256)


def _size(item: Item) -> int:
    try:
        return item.path.stat().st_size
    except OSError:
        return 0


def _batches(items: Sequence[Item]) -> Iterator[list[Item]]:
    """Pieces of at most 200 files and about 4 GiB: the first files go out before the last are hashed."""
    batch: list[Item] = []
    size_bytes = 0
    for item in items:
        batch.append(item)
        size_bytes += _size(item)
        if len(batch) >= BATCH_FILES or size_bytes >= BATCH_BYTES:
            yield batch
            batch, size_bytes = [], 0
    if batch:
        yield batch
