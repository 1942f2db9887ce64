"""The runtime beside the pure machine: one :class:`Watch` per volume samples it, counts its errors, times its syncs,
and says what is known of it; :class:`Volumes` holds those of a node.

Everything that asks (probes, metrics, pages) is answered from memory. Each volume is sampled by a thread of its own: a
disk that hangs must not hide the state of the others, nor its own.
"""

import errno
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from entrepot.disk import fs, proc
from entrepot.disk.ballast import Ballast
from entrepot.disk.ledger import Floor, Ledger
from entrepot.disk.pressure import Pressure
from entrepot.disk.state import State, Status
from entrepot.disk.volume import Measure, Volume
from entrepot.model.errors import Refusal
from entrepot.model.limits import MIB
from entrepot.observe import logs, metrics
from entrepot.observe.clock import Clock
from entrepot.settings.concerns import DiskSettings

_log = logs.get("disk")

TICK_S = 1.0
NEAR_TICK_S = 0.1  # near a limit: what one second of uploads could fill
TRIAL_BYTES = 1 * MIB
VITAL_BYTES = 1 * MIB
VITAL_INODES = 4  # the catalog's log and its shared memory, and one to spare
_UPLOAD_USES = frozenset({"blobs", "incoming", "catalog"})
_NO_VOLUME_ERRNOS = fs.NO_DESCRIPTOR_ERRNOS | {errno.ENOENT, errno.EEXIST, errno.EINTR, errno.EFBIG, errno.ENOTDIR}
"""Errors that say nothing about the volume."""


@dataclass(frozen=True, slots=True)
class Account:
    """What the accounting found; see :class:`~entrepot.disk.state.Status`."""

    known_bytes: int = 0
    unaccounted_bytes: int = 0
    others_bytes: int = 0
    deleted_open_bytes: int = 0
    inodes_unaccounted: int = 0


class Watch:
    """Watches one volume. Every method may be called from any thread, and none of them waits for the volume but
    :meth:`tick`."""

    def __init__(
        self, volume: Volume, settings: DiskSettings, clock: Clock, *, shared: bool, ephemeral: bool = False
    ) -> None:
        """Args: ``shared`` others write to the volume too; ``ephemeral`` nothing on it outlives the node."""
        self.volume = volume
        self.uses: tuple[str, ...] = ()
        self.shared = shared
        self.on_state: Callable[[Watch, State], None] = lambda watch, before: None
        """Called after a change, in the thread that samples; gets the state before."""
        self._clock = clock
        self._settings = settings
        self._lock = threading.Lock()
        self._pressure = Pressure(settings, clock.monotonic(), ephemeral=ephemeral)
        self._told = State.OK
        self._now = Measure(0, 0, 0, 0, 0)
        self._errors: Counter[str] = Counter()
        self._account = Account()
        self._waiting: dict[object, float] = {}
        self._ballast = Ballast(volume.path, 0 if ephemeral else settings.ballast_bytes)
        self._ballast.look()
        self._wake = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="disk-watch", daemon=True)
        volume.observer = self
        self.ledger = Ledger(volume, gate=self)
        self.tick()

    # ------------------------------------------------------------------ life

    def start(self) -> None:
        """Sample from now on, each second and faster near a limit."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread; one that hangs in the volume is left behind."""
        self._stopping = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(2.0)

    def _run(self) -> None:
        while not self._stopping:
            self._wake.wait(self._pause_s())
            self._wake.clear()
            if self._stopping:
                return
            try:
                self.tick()
            except Exception:  # the watch must go on
                _log.exception("watching a volume failed", volume=self.volume.name)

    def _pause_s(self) -> float:
        with self._lock:
            state, limits, left = self._pressure.state, self._pressure.thresholds, self._now.available_bytes
        near = state is not State.OK or left < limits.pressure_bytes + limits.pressure_bytes // 8
        return NEAR_TICK_S if near else TICK_S

    def tick(self) -> None:
        """Sample, try a broken volume when it has rested, and tell of a change. For the watching thread (and tests)."""
        try:
            with self._timed():
                now = self.volume.measure()
                if now.read_only:
                    raise OSError(errno.EROFS, "it is mounted read-only")
        except OSError as error:
            self._break(error)
        else:
            reserved = self.ledger.snapshot()
            with self._lock:
                self._take(now, reserved.outstanding_bytes, reserved.outstanding_inodes)
                state = self._pressure.state
            self._keep_ballast(now, state)
            self._try()
        self._tell()

    def _keep_ballast(self, now: Measure, state: State) -> None:
        with self.ledger.lock, self._timed():  # whoever gives it up holds this lock too
            self._ballast.look()
            if state in (State.OK, State.PRESSURE):
                self._ballast.restore(now)

    def _tell(self) -> None:
        with self._lock:
            before, self._told = self._told, self._pressure.state
            state, cause = self._pressure.state, self._pressure.cause
        if before is not state:
            level = _log.info if state is State.OK else _log.warning
            level("volume state", volume=self.volume.name, state=str(state), before=str(before), cause=cause)
            self.on_state(self, before)

    # ------------------------------------------------------------------ samples and events

    def _take(self, now: Measure, reserved_bytes: int, reserved_inodes: int) -> None:
        """One sample. The lock is held."""
        at_s = self._clock.monotonic()
        self._now = now
        self._pressure.sample(at_s, now, reserved_bytes, reserved_inodes)
        self._check_stall(at_s)

    def _check_stall(self, at_s: float) -> None:
        oldest = min(self._waiting.values(), default=at_s)
        if at_s - oldest >= self._settings.stall_s:
            self._pressure.broke(at_s, f"a call has not come back from the disk for {at_s - oldest:.0f} s")

    def check(self) -> None:
        """See :class:`~entrepot.disk.ledger.Gate`."""
        if self.state is State.BROKEN:
            with self._lock:
                cause = self._pressure.cause
            raise Refusal(
                "storage_failed",
                f"The volume {self.volume.name} failed ({cause}); nothing is written to it until it works again. Send"
                " the file again; the operator should look at the kernel's log.",
                volume=self.volume.name, state=str(State.BROKEN),
            )  # fmt: skip

    def admit(self, now: Measure, reserved_bytes: int, reserved_inodes: int) -> Floor:
        """See :class:`~entrepot.disk.ledger.Gate`: a sample for each admission."""
        with self._lock:
            self._take(now, reserved_bytes, reserved_inodes)
            state, found = self._pressure.state, self._pressure.thresholds
            closed = "" if state.takes_uploads else f"{state}: {self._pressure.cause}"
        return Floor(found.readonly_bytes, found.readonly_inodes, closed)

    def give(self, need_bytes: int, need_inodes: int) -> bool:
        """See :class:`~entrepot.disk.ledger.Gate`."""
        return self._ballast.give(need_bytes, need_inodes)

    def failed(self, error: OSError, *, writing: bool, vital: bool = False) -> None:
        """See :class:`~entrepot.disk.volume.Observer`. A failed read is counted, and is no reason to stop writing."""
        self._count(error)
        at_s = self._clock.monotonic()
        if error.errno in _NO_VOLUME_ERRNOS or not writing:
            return
        with self._lock:
            if error.errno in fs.NO_ROOM_ERRNOS:
                self._pressure.full(at_s, f"a write found no room ({_errno_name(error)})")
            else:
                self._pressure.broke(at_s, f"a call failed: {error.strerror or error}")
        if vital and error.errno in fs.NO_ROOM_ERRNOS:
            with self.ledger.lock:
                self._ballast.give(VITAL_BYTES, 1)
        self._wake.set()

    def make_way(self) -> None:
        """At a start on a volume without room: give half of the ballast to the catalog, which makes its log of it."""
        with self._lock:
            now = self._now
        short = now.available_bytes < VITAL_BYTES, now.inodes_known and now.inodes_free < VITAL_INODES
        with self.ledger.lock:
            if any(short):
                self._ballast.give(self._ballast.held_bytes // 2 if short[0] else 0, VITAL_INODES if short[1] else 0)

    def _break(self, error: OSError) -> None:
        """The volume cannot even be looked at."""
        self._count(error)
        with self._lock:
            self._pressure.broke(self._clock.monotonic(), error.strerror or str(error))

    def _count(self, error: OSError) -> None:
        name = _errno_name(error)
        with self._lock:
            self._errors[name] += 1
        metrics.os_errors_total.labels(name, self.volume.name).inc()

    @contextmanager
    def syncing(self) -> Iterator[None]:
        """See :class:`~entrepot.disk.volume.Observer`."""
        started = self._clock.monotonic()
        try:
            with self._timed():
                yield
        finally:
            metrics.fsync_seconds.labels(self.volume.name).observe(self._clock.monotonic() - started)

    def calling(self) -> AbstractContextManager[None]:
        """See :class:`~entrepot.disk.volume.Observer`."""
        return self._timed()

    @contextmanager
    def _timed(self) -> Iterator[None]:
        """Around a call that may hang: for as long as it runs, its age is known."""
        key = object()
        with self._lock:
            self._waiting[key] = self._clock.monotonic()
        try:
            yield
        finally:
            with self._lock:
                del self._waiting[key]

    # ------------------------------------------------------------------ a broken volume

    def _try(self) -> None:
        """Write and sync a new file once the volume has rested. What failed before is never synced again: a second
        fsync of the same file could report a success that is none."""
        with self._lock:
            due = self._pressure.trial_due(self._clock.monotonic())
        if not due:
            return
        try:
            with self._timed():
                self._trial()
        except OSError as error:
            self._count(error)
            with self._lock:
                if error.errno in fs.NO_ROOM_ERRNOS:  # it answers, and has no room: full, not broken
                    self._pressure.mended(self._clock.monotonic())
                    self._pressure.full(self._clock.monotonic(), "a trial found no room")
                else:
                    self._pressure.broke(self._clock.monotonic(), f"a trial failed: {error.strerror or error}")
            return
        with self._lock:
            self._pressure.mended(self._clock.monotonic())

    def _trial(self) -> None:
        folder = fs.open_dir(self.volume.path)
        try:
            fd = fs.open_unnamed(folder, ".trial")
            try:
                fs.write_all(fd, b"\xa5" * TRIAL_BYTES)
                with self.syncing():
                    fs.fsync(fd)
            finally:
                fs.close(fd)
        finally:
            fs.close(folder)

    # ------------------------------------------------------------------ figures

    def account(
        self,
        *,
        known_bytes: int,
        unaccounted_bytes: int,
        others_bytes: int,
        deleted_open_bytes: int,
        inodes_unaccounted: int,
    ) -> None:
        """Take over what the accounting found."""
        self._account = Account(known_bytes, unaccounted_bytes, others_bytes, deleted_open_bytes, inodes_unaccounted)

    @property
    def state(self) -> State:
        """The state now; a call that hangs counts even when no sample comes through."""
        with self._lock:
            self._check_stall(self._clock.monotonic())
            return self._pressure.state

    def hung_s(self) -> float:
        """For how many seconds the oldest call that runs now has not come back from the volume; 0 when none runs."""
        with self._lock:
            oldest = min(self._waiting.values(), default=None)
        return 0.0 if oldest is None else self._clock.monotonic() - oldest

    def status(self) -> Status:
        """Everything that is known, from memory."""
        reserved = self.ledger.snapshot()
        found = self._account
        with self._lock:
            self._check_stall(self._clock.monotonic())
            now, pressure = self._now, self._pressure
            return Status(
                name=self.volume.name,
                uses=self.uses,
                shared=self.shared,
                state=pressure.state,
                cause=pressure.cause,
                since_s=round(self._clock.monotonic() - pressure.since_s, 1),
                size_bytes=now.size_bytes,
                used_bytes=now.used_bytes,
                reserved_bytes=reserved.outstanding_bytes,
                available_bytes=max(0, now.available_bytes - reserved.outstanding_bytes),
                known_bytes=found.known_bytes,
                unaccounted_bytes=found.unaccounted_bytes,
                others_bytes=found.others_bytes,
                deleted_open_bytes=found.deleted_open_bytes,
                thresholds=pressure.thresholds,
                inodes_total=now.inodes_total if now.inodes_known else None,
                inodes_available=max(0, now.inodes_free - reserved.outstanding_inodes) if now.inodes_known else None,
                inodes_reserved=reserved.outstanding_inodes,
                inodes_unaccounted=found.inodes_unaccounted,
                ballast_bytes=self._ballast.held_bytes,
                errors=dict(self._errors),
            )


class Volumes:
    """The volumes of a node, one :class:`Watch` each: folders on one file system share it."""

    def __init__(self, settings: DiskSettings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._watches: list[Watch] = []
        self.on_reclaim: list[Callable[[], None]] = []
        """Called when a volume enters PRESSURE or worse; each must return at once."""

    def add(self, path: str | os.PathLike[str], use: str) -> Watch:
        """Watch the volume of an existing folder for a use (``catalog``, ``blobs``, ``incoming``, ``scratch``).

        Raises OSError when there is no such folder.
        """
        device = fs.stat(path).st_dev
        watch = next((each for each in self._watches if each.volume.device == device), None)
        if watch is None:
            folder = Path(path)
            shared = not proc.is_dedicated(folder)
            watch = Watch(Volume(folder), self._settings, self._clock, shared=shared, ephemeral=use == "scratch")
            watch.on_state = self._changed
            self._watches.append(watch)
        watch.uses = tuple(dict.fromkeys((*watch.uses, use)))
        return watch

    def start(self) -> None:
        """Start every watch."""
        for watch in self._watches:
            watch.start()

    def stop(self) -> None:
        """Stop every watch."""
        for watch in self._watches:
            watch.stop()

    def watch_of(self, use: str) -> Watch:
        """The watch of the volume that serves a use. Raises KeyError."""
        for watch in self._watches:
            if use in watch.uses:
                return watch
        raise KeyError(use)

    def watches(self) -> tuple[Watch, ...]:
        """Every watch."""
        return tuple(self._watches)

    def all(self) -> list[Status]:
        """Every volume's status, from memory."""
        return [watch.status() for watch in self._watches]

    def worst(self) -> State:
        """The worst state of any volume."""
        order = list(State)
        return max((watch.state for watch in self._watches), key=order.index, default=State.OK)

    def hung_s(self) -> float:
        """The age, in seconds, of the oldest call that has not come back from any volume."""
        return max((watch.hung_s() for watch in self._watches), default=0.0)

    def pressed(self) -> bool:
        """Whether a volume that uploads write is filling up, or worse; scratch on a volume of its own is none."""
        return any(watch.state is not State.OK and _UPLOAD_USES.intersection(watch.uses) for watch in self._watches)

    def export(self) -> None:
        """Write every volume's figures into the metrics."""
        for status in self.all():
            name, limits = status.name, status.thresholds
            figures = {
                "size": status.size_bytes,
                "used": status.used_bytes,
                "reserved": status.reserved_bytes,
                "available": status.available_bytes,
            }
            for kind, value in figures.items():
                metrics.volume_bytes.labels(name, kind).set(value)
            if status.inodes_total is not None:
                metrics.volume_inodes.labels(name, "size").set(status.inodes_total)
                metrics.volume_inodes.labels(name, "available").set(status.inodes_available or 0)
                metrics.volume_inodes.labels(name, "reserved").set(status.inodes_reserved)
            for state in State:
                metrics.volume_state.labels(name, str(state)).set(status.state is state)
            for state, value in (
                (State.PRESSURE, limits.pressure_bytes),
                (State.SHED, limits.shed_bytes),
                (State.READONLY, limits.readonly_bytes),
            ):
                metrics.volume_threshold_bytes.labels(name, str(state)).set(value)
            metrics.reservation_bytes.labels(name).set(status.reserved_bytes)
            metrics.ballast_bytes.labels(name).set(status.ballast_bytes)

    def _changed(self, watch: Watch, before: State) -> None:
        if watch.state in (State.PRESSURE, State.SHED, State.READONLY):
            for reclaim in self.on_reclaim:
                reclaim()


def _errno_name(error: OSError) -> str:
    return errno.errorcode.get(error.errno or 0, "unknown")
