"""Reserving room on a volume, so that what is admitted always fits.

Looking at the free space and then writing admits every concurrent upload and finishes none. The ledger decides under
one lock: available − outstanding − floor ≥ need. When the bytes become real (fallocate), the volume's own count shows
them, and the ledger drops them in the same critical section, so that nothing is counted twice or not at all.
"""

import errno
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from types import TracebackType
from typing import NoReturn, Protocol, Self, TypeVar

from entrepot.disk import fs
from entrepot.disk.volume import Measure, Volume
from entrepot.model.errors import Refusal
from entrepot.model.limits import MIB

FIRST_STEP_BYTES = 1 * MIB
LAST_STEP_BYTES = 64 * MIB
ASSIST_BYTES = 1 * MIB  # what a file system's own tables may lack beside a file's bytes

T = TypeVar("T")


def steps() -> Iterator[int]:
    """Step sizes for a body of unknown length: 1, 2, 4 … 64, 64, 64 … MiB."""
    step = FIRST_STEP_BYTES
    while True:
        yield step
        step = min(step * 2, LAST_STEP_BYTES)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a ledger holds at one moment; all zero when nothing is under way."""

    outstanding_bytes: int
    outstanding_inodes: int
    reservations: int


@dataclass(frozen=True, slots=True)
class Floor:
    """What stays free whatever comes: room for the catalog, deletes and the way back. ``closed`` says why not even
    what is above it may be taken now; empty when it may."""

    free_bytes: int = 0
    free_inodes: int = 0
    closed: str = ""


class Gate(Protocol):
    """Who decides, at each admission, whether a volume takes new bytes at all (``disk.watch.Watch``)."""

    def check(self) -> None:
        """From memory, before anybody waits for the volume. Raises Refusal ``storage_failed`` when it failed."""

    def admit(self, now: Measure, reserved_bytes: int, reserved_inodes: int) -> Floor:
        """Take this sample into account; what uploads must leave of it."""

    def give(self, need_bytes: int, need_inodes: int) -> bool:
        """Free what an index lacks out of the ballast; whether there was any."""


class Ledger:
    """The reservations of one volume; one per ``Volume.device`` in a process. Safe for any number of threads."""

    def __init__(
        self, volume: Volume, *, floor_bytes: int = 0, floor_inodes: int = 0, gate: Gate | None = None
    ) -> None:
        """Args: ``floor_bytes`` and ``floor_inodes`` are the floor when there is no ``gate`` that says it."""
        self.volume = volume
        self._floor = Floor(floor_bytes, floor_inodes)
        self._gate = gate
        self._kept_bytes = 0
        self._lock = threading.Lock()
        self._bytes = 0
        self._inodes = 0
        self._live: set[Reservation] = set()

    @property
    def lock(self) -> threading.Lock:
        """Held by whoever looks at what is free and then takes of it."""
        return self._lock

    def snapshot(self) -> Snapshot:
        """What is reserved and not yet written or given back. Never waits: whoever holds the lock may wait for the
        volume, and probes ask this."""
        return Snapshot(self._bytes, self._inodes, len(self._live))

    def keep(self, kept_bytes: int) -> None:
        """Keep so many bytes from uploads, beside the floor, for what the node itself writes by and by."""
        with self._lock:
            self._kept_bytes = max(0, kept_bytes)

    def reserve(self, need_bytes: int, need_inodes: int = 1, *, from_floor: bool = False) -> "Reservation":
        """Set room aside; decided and booked under one lock. ``from_floor`` may use what the floor keeps from uploads:
        indexes must be written on a volume that uploads have filled, or nothing could ever be yanked from it.

        Raises Refusal: ``too_large_for_volume`` when even the empty volume could not hold it; ``no_room`` when it does
        not fit now, or when the volume cannot be measured because it is out of room; ``storage_failed`` when it cannot
        be measured at all.
        """
        if need_bytes < 0 or need_inodes < 0:
            raise ValueError("a need is never negative")
        self._check_gate()
        with self._lock:
            self._check(need_bytes, need_inodes, from_floor=from_floor)
            reservation = Reservation(self, vital=from_floor)
            self._book(reservation, need_bytes, need_inodes)
            self._live.add(reservation)
        return reservation

    def _check_gate(self) -> None:
        if self._gate is not None:
            self._gate.check()

    def _check(self, need_bytes: int, need_inodes: int, *, from_floor: bool = False) -> None:
        """Refuse what does not fit. The lock is held."""
        now, floor = self._sample()
        if from_floor:
            floor = Floor()
            if self._from_ballast(now, need_bytes, need_inodes):
                return  # what it lacked was given up for it; the allocation has the last word
        if need_bytes > now.size_bytes - floor.free_bytes:
            raise Refusal(
                "too_large_for_volume",
                f"The file needs {need_bytes} bytes and the volume {self.volume.name} has {now.size_bytes} in all; "
                "it can never fit."
                " Split it, or ask for a larger volume.",
                volume=self.volume.name, needed_bytes=need_bytes, size_bytes=now.size_bytes,
                available_bytes=max(0, now.available_bytes - self._bytes - floor.free_bytes),
            )  # fmt: skip
        # An index on a volume that somebody else filled goes before what uploads in flight may still write.
        left = now.available_bytes - (0 if from_floor else self._bytes) - floor.free_bytes
        if floor.closed and (need_bytes or need_inodes):
            raise self._closed(need_bytes, left, floor.closed)
        if need_bytes > left:
            raise self._no_room(need_bytes, left)
        if now.inodes_known:
            taken = floor.free_inodes + (0 if from_floor else self._inodes)
            self._check_inodes(now, need_inodes, need_bytes, left, taken)

    def _sample(self) -> tuple[Measure, Floor]:
        """The volume now, and what uploads must leave of it."""
        try:
            now = self.volume.measure()
        except OSError as error:
            refuse(error, self.volume)
        floor = self._floor if self._gate is None else self._gate.admit(now, self._bytes, self._inodes)
        return now, replace(floor, free_bytes=floor.free_bytes + self._kept_bytes)

    def _give(self, need_bytes: int, need_inodes: int) -> bool:
        """Give up ballast for what was measured to fit and did not. The lock is held."""
        return self._gate is not None and self._gate.give(need_bytes, need_inodes)

    def _from_ballast(self, now: Measure, need_bytes: int, need_inodes: int) -> bool:
        """Give an index what it lacks out of the ballast; whether that was needed and possible.

        Not measured again: on ext4 what is freed goes to the blocks kept for root first, when those are in use too.
        """
        lacks_bytes = min(need_bytes, need_bytes + self._bytes - now.available_bytes)
        lacks_inodes = min(need_inodes, need_inodes + self._inodes - now.inodes_free) if now.inodes_known else 0
        if self._gate is None or (lacks_bytes <= 0 and lacks_inodes <= 0):
            return False
        return self._gate.give(max(0, lacks_bytes), max(0, lacks_inodes))

    def _check_inodes(
        self, now: Measure, need_inodes: int, need_bytes: int, left_bytes: int, taken_inodes: int
    ) -> None:
        left = now.inodes_free - taken_inodes
        if need_inodes > left:
            raise Refusal(
                "no_room",
                f"The volume {self.volume.name} has no inodes left for {need_inodes} more files. Send it again "
                "later; the operator can"
                " run `entrepot gc`, yank packages or enlarge the volume.",
                volume=self.volume.name, needed_bytes=need_bytes, available_bytes=max(0, left_bytes),
                needed_inodes=need_inodes, available_inodes=max(0, left),
            )  # fmt: skip

    def _closed(self, need_bytes: int, left_bytes: int, cause: str) -> Refusal:
        return Refusal(
            "no_room",
            f"The volume {self.volume.name} takes no uploads now ({cause}). Send it again later; the operator can run"
            " `entrepot gc`, yank packages or enlarge the volume.",
            volume=self.volume.name, needed_bytes=need_bytes, available_bytes=max(0, left_bytes),
        )  # fmt: skip

    def _no_room(self, need_bytes: int, left_bytes: int) -> Refusal:
        return Refusal(
            "no_room",
            f"The volume {self.volume.name} has {max(0, left_bytes)} bytes for uploads and this one needs "
            f"{need_bytes}. Send it again"
            " later; the operator can run `entrepot gc`, yank packages or enlarge the volume.",
            volume=self.volume.name, needed_bytes=need_bytes, available_bytes=max(0, left_bytes),
        )  # fmt: skip

    def _book(self, reservation: "Reservation", more_bytes: int, more_inodes: int) -> None:
        """Change one reservation and the sum together; never below zero. The lock is held."""
        more_bytes = max(more_bytes, -reservation.outstanding_bytes)
        more_inodes = max(more_inodes, -reservation.outstanding_inodes)
        reservation.outstanding_bytes += more_bytes
        reservation.outstanding_inodes += more_inodes
        self._bytes += more_bytes
        self._inodes += more_inodes


class Reservation:
    """Room set aside for one upload and its publication. A context manager: leaving it releases what is still
    outstanding.

    ``vital``: for an index. A file system may have less to give than it says (xfs keeps blocks for itself, btrfs counts
    what it cannot use); then the ballast steps in.
    """

    def __init__(self, ledger: Ledger, *, vital: bool = False) -> None:
        self._ledger = ledger
        self._vital = vital
        self._released = False
        self._others: list[Reservation] = []
        self.outstanding_bytes = 0
        self.outstanding_inodes = 0

    @property
    def released(self) -> bool:
        """Whether :meth:`release` was called."""
        return self._released

    def attach(self, other: "Reservation") -> None:
        """Release ``other``, room on another volume for the same upload, together with this one."""
        self._others.append(other)

    def grow(self, step_bytes: int, step_inodes: int = 0) -> None:
        """Set more room aside, for a body of unknown length. Raises Refusal as :meth:`Ledger.reserve`; RuntimeError
        once released."""
        self._ledger._check_gate()
        with self._ledger._lock:
            self._must_live()
            self._ledger._check(step_bytes, step_inodes)
            self._ledger._book(self, step_bytes, step_inodes)

    def create(self, open_fd: Callable[[], int], size_bytes: int) -> int:
        """Open a new file and allocate ``size_bytes`` of it; its bytes and its inode leave the ledger in the same
        critical section.

        Returns the descriptor, which the caller closes. Raises Refusal ``no_room`` or ``storage_failed`` with nothing
        left open.
        """
        with self._ledger._lock:
            self._must_live()
            fd = self._assisted(open_fd, 0, 1)
            try:
                self._allocate(fd, 0, size_bytes)
            except BaseException:
                with suppress(OSError):  # the first error is the one to report
                    fs.close(fd)
                raise
            self._ledger._book(self, 0, -1)
            return fd

    def materialise(self, fd: int, size_bytes: int, *, offset_bytes: int = 0) -> None:
        """Allocate ``size_bytes`` at ``offset_bytes`` of an open file and drop as many from the ledger, in one
        critical section.

        Where the file system cannot allocate ahead (NFS, some FUSE) the ledger keeps them until :meth:`release`:
        counted twice while they are being written, which refuses too early but never too late.

        Raises Refusal ``no_room`` or ``storage_failed``; RuntimeError once released.
        """
        with self._ledger._lock:
            self._must_live()
            self._allocate(fd, offset_bytes, size_bytes)

    def _allocate(self, fd: int, offset_bytes: int, size_bytes: int) -> None:
        def allocate() -> bool:
            try:
                fs.fallocate(fd, offset_bytes, size_bytes)
            except OSError as error:
                if error.errno not in (errno.EOPNOTSUPP, errno.ENOSYS):
                    raise
                return False
            return True

        if self._assisted(allocate, size_bytes, 0):
            self._ledger._book(self, -size_bytes, 0)

    def _assisted(self, call: Callable[[], T], need_bytes: int, need_inodes: int) -> T:
        """The result of a call that takes room; for an index once more when it finds none and there is ballast. The
        ledger's lock is held. Raises Refusal ``no_room`` or ``storage_failed``."""
        try:
            with self._ledger.volume.observer.calling():  # it holds the lock: who waits for it must not wait for ever
                try:
                    return call()
                except OSError as error:
                    lacks_room = self._vital and error.errno in fs.NO_ROOM_ERRNOS
                    if not lacks_room or not self._ledger._give(need_bytes + ASSIST_BYTES, need_inodes):
                        raise
                    return call()
        except OSError as error:
            refuse(error, self._ledger.volume, needed_bytes=need_bytes or None)

    def release(self) -> None:
        """Give back what is outstanding. Any number of times."""
        with self._ledger._lock:
            if self._released:
                return
            self._released = True
            self._ledger._book(self, -self.outstanding_bytes, -self.outstanding_inodes)
            self._ledger._live.discard(self)
        for other in self._others:
            other.release()

    def _must_live(self) -> None:
        if self._released:
            raise RuntimeError("the reservation was released")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def refuse(error: OSError, volume: Volume, *, needed_bytes: int | None = None, writing: bool = True) -> NoReturn:
    """Tell the volume's observer, and raise the Refusal that an OSError of a volume means: ``no_room`` for ENOSPC and
    EDQUOT, ``busy`` when this process has no descriptor left, ``storage_failed`` for the rest. ``writing``: the call
    would have changed something."""
    volume.observer.failed(error, writing=writing)
    if error.errno in fs.NO_ROOM_ERRNOS:
        raise Refusal(
            "no_room",
            f"The volume {volume.name} is full. Send it again later; the operator can run `entrepot gc`, yank "
            "packages or enlarge it.",
            volume=volume.name, needed_bytes=needed_bytes, available_bytes=0,
        ) from error  # fmt: skip
    if error.errno in fs.NO_DESCRIPTOR_ERRNOS:
        raise Refusal("busy", "This node has no file descriptor left; send it again.", volume=volume.name) from error
    raise Refusal(
        "storage_failed",
        f"The volume {volume.name} failed ({error.strerror or error}); nothing was kept. Send the file again; the "
        "operator should look"
        " at the kernel's log.",
        volume=volume.name, errno=errno.errorcode.get(error.errno or 0, "unknown"),
    ) from error  # fmt: skip
