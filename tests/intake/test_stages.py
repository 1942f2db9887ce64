"""The stages of one upload without HTTP: bounded memory, nothing left behind, and no trust in a child's answer."""

import asyncio
import contextlib
import hashlib
import os
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, cast

import pytest

from entrepot.children.errors import ChildCrashed, ChildFailed, ChildPoolBusy, ChildTimedOut
from entrepot.children.pool import ChildLimits, ChildPool
from entrepot.disk.ledger import Ledger, Snapshot
from entrepot.disk.volume import Volume
from entrepot.formats.protocol import Inspection, Member, PackageFacts, Upload
from entrepot.formats.registry import formats
from entrepot.intake.admit import IntakeLimits, Slots, check_path, check_size, publication_need
from entrepot.intake.inspect import FRAGMENTS_BYTES_MAX, PRELOAD, RESULT_TYPES, Inspector, check_inspection
from entrepot.intake.receive import Received, Receiver
from entrepot.model.errors import Refusal
from entrepot.model.limits import GIB, MIB
from entrepot.model.nouns import Digests
from entrepot.observe import metrics
from entrepot.storage.folder import FolderStore
from entrepot.storage.protocol import Staged
from tests.support.builders import deb_bytes

IDLE = Snapshot(0, 0, 0)


class Room:
    """A real store in a folder, with its ledger and two worker threads."""

    def __init__(self, folder: Path) -> None:
        self.ledger = Ledger(Volume(folder))
        self.store = FolderStore(folder, self.ledger)
        self.workers = ThreadPoolExecutor(2)

    def receive(self, chunks: AsyncIterator[bytes], declared: int | None, **options: object) -> Received:
        """Run one Receiver to its end."""
        extra = options.get("extra", frozenset())
        bytes_max = options.get("bytes_max", GIB)
        assert isinstance(extra, frozenset)
        assert isinstance(bytes_max, int)

        async def run() -> Received:
            receiver = Receiver(self.workers, lambda: self.store.stage(declared), extra=extra, bytes_max=bytes_max)
            return await receiver.run(chunks, declared)

        return asyncio.run(run())


@pytest.fixture
def room(tmp_path: Path) -> Room:
    """A room of its own for each test."""
    return Room(tmp_path)


def open_descriptors() -> int:
    """How many descriptors this process has."""
    return len(os.listdir("/proc/self/fd"))


async def pieces(*chunks: bytes, error: Exception | None = None) -> AsyncIterator[bytes]:
    """An async stream of chunks, which may end with an error."""
    for chunk in chunks:
        yield chunk
    if error is not None:
        raise error


def test_the_bytes_and_every_digest_arrive(room: Room) -> None:
    """Goal: what is staged is what was sent, and digests of both lanes are right. Method: sizes around a batch, tiny
    chunks.
    """
    for size in (0, 1, MIB - 1, MIB, MIB + 1, 3 * MIB + 7):
        data = os.urandom(size)
        for step in (256 * 1024, 4093):
            chunks = [data[at : at + step] for at in range(0, size, step)]
            received = room.receive(pieces(*chunks), size, extra=frozenset({"md5", "sha1", "sha512"}))
            with received.staged as staged:
                assert staged.read_at(0, size + 1) == data
                assert received.size_bytes == size
                found = received.digests
                for name in ("sha256", "md5", "sha1", "sha512"):
                    assert getattr(found, name) == hashlib.new(name, data).hexdigest()
    assert room.ledger.snapshot() == IDLE


@pytest.mark.parametrize("case", ["short", "broken", "large", "long"])
def test_a_body_that_fails_leaves_nothing(room: Room, case: str) -> None:
    """Goal: no descriptor, no reservation. Method: an early end, an error in the stream, a bound, more than was
    declared.
    """
    data = bytes(3 * MIB)
    before, in_flight_bytes = open_descriptors(), metrics.in_flight_bytes._value.get()
    wanted = {
        "short": "length_mismatch",
        "broken": "upload_interrupted",
        "large": "too_large",
        "long": "length_mismatch",
    }
    error = Refusal("upload_interrupted") if case == "broken" else None
    declared = {"short": len(data) + 1, "broken": 2 * len(data), "large": None, "long": MIB}[case]
    chunks = [data[at : at + 65536] for at in range(0, len(data), 65536)]
    with pytest.raises(Refusal) as refused:
        room.receive(pieces(*chunks, error=error), declared, bytes_max=2 * MIB if case == "large" else GIB)
    assert refused.value.code == wanted[case]
    assert open_descriptors() == before
    assert room.ledger.snapshot() == IDLE
    assert metrics.in_flight_bytes._value.get() == in_flight_bytes


class Watched:
    """Real staged bytes whose writes take a while, and which note an abort in the middle of one."""

    aborted_while_writing: ClassVar[list[bool]] = []

    def __init__(self, staged: Staged) -> None:
        self.staged = staged
        self.writing = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self.staged, name)

    def write(self, chunk: bytes | bytearray | memoryview) -> None:
        """Write, slowly."""
        self.writing = True
        time.sleep(0.3)
        self.staged.write(chunk)
        self.writing = False

    def abort(self) -> None:
        """Note whether a write is under way, then abort."""
        self.aborted_while_writing.append(self.writing)
        self.staged.abort()


def test_a_cancelled_upload_leaves_nothing(room: Room) -> None:
    """Goal: cancellation waits for the writing thread before it closes its file. Method: cancel in the middle of a
    stream.
    """
    before = unnamed()

    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield bytes(MIB // 4)
            await asyncio.sleep(0)

    async def run() -> None:
        receiver = Receiver(room.workers, lambda: cast(Staged, Watched(room.store.stage(None))), bytes_max=GIB)
        task = asyncio.create_task(receiver.run(endless()))
        await asyncio.sleep(0.2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(run())
    assert Watched.aborted_while_writing == [False]
    assert room.ledger.snapshot() == IDLE
    assert unnamed() == before


def unnamed() -> list[str]:
    """Open files without a name; the runner's own are among them."""
    found = []
    for descriptor in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            target = os.readlink(f"/proc/self/fd/{descriptor}")
            if "(deleted)" in target:
                found.append(target)
    return sorted(found)


def test_slots_are_bounded_and_given_back() -> None:
    """Goal: at most so many at once, a short queue, then busy. Method: one slot, one waiter, a third caller."""
    slots = None

    async def run() -> None:
        nonlocal slots
        slots = Slots(IntakeLimits(uploads_max=1, waiting_max=1, wait_s=0.3))
        async with slots.hold():
            waiter = asyncio.create_task(_hold(slots))
            await asyncio.sleep(0.05)
            with pytest.raises(Refusal, match="busy"):
                await _hold(slots)
        await waiter
        async with slots.hold():
            with pytest.raises(Refusal, match="busy"):
                await _hold(slots)
        assert slots.active == 0

    asyncio.run(run())


async def _hold(slots: Slots) -> None:
    async with slots.hold():
        pass


def test_half_as_many_under_pressure() -> None:
    """Goal: while a volume fills up half as many bodies come in at once, and at least one. Method: four slots; two
    uploads hold when the pressure comes: no third gets in; when it goes, who waits gets in with the next end.
    """
    pressed = False

    async def run() -> None:
        nonlocal pressed
        slots = Slots(IntakeLimits(uploads_max=4, waiting_max=1, wait_s=0.05), lambda: pressed)
        async with slots.hold(), slots.hold():
            async with slots.hold():
                pressed = True
            with pytest.raises(Refusal, match="busy"):
                await _hold(slots)
            pressed = False
            await _hold(slots)
        assert slots.active == 0
        pressed = True
        single = Slots(IntakeLimits(uploads_max=1), lambda: pressed)
        await _hold(single)

    asyncio.run(run())


def test_an_upload_that_fails_gives_its_slot_back() -> None:
    """Goal: no error keeps a slot. Method: one slot, a body that raises, the next upload."""

    async def run() -> None:
        slots = Slots(IntakeLimits(uploads_max=1, waiting_max=0))
        with contextlib.suppress(ConnectionError):
            async with slots.hold():
                raise ConnectionError
        await _hold(slots)
        assert slots.active == 0

    asyncio.run(run())


def test_names_and_sizes_are_judged_before_the_body() -> None:
    """Goal: a name that no file system or index can carry is refused. Method: one of each kind; and those that are
    fine.
    """
    for bad in (
        "",
        "a/",
        "/a",
        "a//b",
        "../a",
        "a/..",
        "a/./b",
        "a\nb",
        "a\0b",
        "a\\b",
        "n" * 256,
        "ü" * 200,
        "d/" * 600 + "x",
    ):
        with pytest.raises(Refusal) as refused:
            check_path(bad)
        assert refused.value.code == "package_name_invalid"
    for good in ("a", "hello_1.0~rc1+b2_amd64.deb", "org/example/lib/1.0/lib-1.0.jar", "n" * 255):
        assert check_path(good) == good.rpartition("/")[2]
    with pytest.raises(Refusal, match="too_large"):
        check_size(11, IntakeLimits(upload_bytes_max=10))
    check_size(10, IntakeLimits(upload_bytes_max=10))
    assert publication_need(100 * GIB) <= 20 * MIB


FACTS = PackageFacts(
    type="deb",
    name="hello",
    version="1.0",
    architecture="amd64",
    filename="hello_1.0_amd64.deb",
    path="hello_1.0_amd64.deb",
    conflict_key="hello_1.0_amd64",
    order_key=b"hello",
    part="main:amd64",
    fragments={"Packages": b"Package: hello\n\n"},
)


@pytest.mark.parametrize(
    "hostile",
    [
        replace(FACTS, path="../../etc/passwd"),
        replace(FACTS, path="/etc/passwd"),
        replace(FACTS, filename="a/b"),
        replace(FACTS, name="a\nb"),
        replace(FACTS, name=""),
        replace(FACTS, version="v" * 5000),
        replace(FACTS, order_key=bytes(1 << 20)),
        replace(FACTS, fragments={"Packages": bytes(FRAGMENTS_BYTES_MAX + 1)}),
        replace(FACTS, requires=(Member("../x", 1, {}),)),
        replace(FACTS, requires=tuple(Member(f"x{number}", 1, {}) for number in range(5000))),
        replace(FACTS, metadata={"description": "d" * (2 << 20)}),
        replace(FACTS, metadata={"description": b"bytes"}),
        replace(FACTS, document_scopes=tuple(f"scope{number}" for number in range(100))),
    ],
)
def test_a_child_that_was_taken_over_is_not_believed(hostile: PackageFacts) -> None:
    """Goal: names and sizes from the child are checked again. Method: one broken fact at a time; sound ones pass."""
    check_inspection(Inspection(FACTS))
    with pytest.raises(Refusal) as refused:
        check_inspection(Inspection(hostile))
    assert refused.value.kind.status == 422


def test_what_becomes_of_a_child_becomes_a_refusal(room: Room) -> None:
    """Goal: a crash, a hang or nonsense is the package's fault (422), a full pool is ours (503). Method: a pool that
    raises each.
    """

    class Pool(ChildPool):
        def __init__(self, outcome: object) -> None:
            self.outcome = outcome

        def call(self, *args: object, **options: object) -> object:
            if isinstance(self.outcome, Exception):
                raise self.outcome
            return self.outcome

    received = room.receive(pieces(b"x"), 1)
    upload = Upload("debian/bookworm", "x.deb", 1, Digests("0" * 64))
    with received.staged:
        for outcome, code in (
            (ChildCrashed("it died", -9), "inspection_failed"),
            (ChildTimedOut(1.0), "inspection_failed"),
            (ChildFailed("MemoryError", "", ""), "inspection_failed"),
            (ChildFailed("ImportError", "libglib-2.0.so.0: cannot open shared object file", ""), "internal"),
            ("nonsense", "inspection_failed"),
            (ChildPoolBusy(), "busy"),
        ):
            with pytest.raises(Refusal) as refused:
                Inspector(Pool(outcome)).inspect(formats()["debian"], upload, received.staged)
            assert refused.value.code == code


def test_a_real_child_reads_the_staged_file(room: Room) -> None:
    """Goal: the child sees the parent's unnamed file by its descriptor. Method: a .deb, and the same cut short."""
    content = deb_bytes("child", "1.0-1")
    with ChildPool(ChildLimits(size=1), preload=PRELOAD, result_types=RESULT_TYPES) as children:
        inspector = Inspector(children)
        for data, code in ((content, None), (content[:-200], "package_damaged")):
            received = room.receive(pieces(data), len(data))
            upload = Upload("debian/bookworm", "child_1.0-1_amd64.deb", len(data), received.digests)
            with received.staged as staged:
                if code is None:
                    facts = inspector.inspect(formats()["debian"], upload, staged).package
                    assert facts is not None
                    assert (facts.name, facts.version) == ("child", "1.0-1")
                else:
                    with pytest.raises(Refusal) as refused:
                        inspector.inspect(formats()["debian"], upload, staged)
                    assert refused.value.kind.status == 422
