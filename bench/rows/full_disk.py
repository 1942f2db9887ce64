"""Twice what fits, from 16 clients, on a small volume; then space comes back. Ours and three peers, one by one.

Another program's file takes a part of the volume from the start and goes at the end: that is how space returns, to all
in the same way and without a restart.
"""

import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

from bench import contest, measure
from bench.bed import Context
from bench.big import random_deb
from bench.contest import DONE, Contestant, Reply
from bench.measure import Measure, at_most
from bench.peers import pulp
from bench.synthetic import Item
from tests.support.volumes import MIB, LoopVolume, loop_volume

CLIENTS = 16
VOLUME_BYTES = 320 * MIB
FILLER_BYTES = 64 * MIB
PACKAGE_BYTES = 8 * MIB
READ_PAUSE_S = 0.1
LOAD_S = 300.0
QUIET_S = 10.0
RECOVERY_S = 60.0
AFTERWARDS = 10
SAMPLE_CHARS = 500

Enter = Callable[[Path, Path], AbstractContextManager[Contestant]]


@dataclass(slots=True)
class Tally:
    """What one contestant did."""

    answers: Counter[str] = field(default_factory=Counter)
    acknowledged: list[Item] = field(default_factory=list)
    samples: dict[str, str] = field(default_factory=dict)
    without_retry_after: int = 0
    reads: Counter[bool] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def book(self, item: Item, step: str, reply: Reply) -> None:
        """Count one upload by what came of it."""
        with self.lock:
            if step == DONE:
                self.acknowledged.append(item)
            label = f"{reply.label} {step}"
            self.answers[label] += 1
            if step != DONE:
                self.samples.setdefault(label, reply.body.decode(errors="replace")[:SAMPLE_CHARS])
            self.without_retry_after += reply.status == 503 and "retry-after" not in reply.headers


@dataclass(slots=True)
class Outcome:
    """What became of one contestant; sizes in bytes, ``after_s`` infinite when it did not come back."""

    name: str
    version: str
    tally: Tally
    over_bytes: int
    over_inodes: int
    left: list[int]
    torn: int
    after_s: float = math.inf
    again: int = 0

    def answers(self) -> str:
        """How often each last answer came, and in which step."""
        return ", ".join(f"{count} × {label}" for label, count in self.tally.answers.most_common())

    def broken(self) -> int:
        """Answers that tell a client nothing but that the server has a problem."""
        bad = ("500", "502", "reset", "timeout")
        return sum(count for label, count in self.tally.answers.items() if label.startswith(bad))

    def recovery(self) -> str:
        """When it stored again."""
        return f"not within {RECOVERY_S:g} s" if math.isinf(self.after_s) else f"after {self.after_s:.1f} s"


def run(context: Context) -> list[Measure]:
    """Every contestant that can be had, each on a new volume; the comparison is kept beside the figures."""
    contestants: dict[str, Enter] = {
        "entrepot": contest.Ours.on,
        "nginx": contest.NginxDav.on,
        "aptly": contest.AptlyApi.on,
    }
    if pulp.available():
        contestants["pulp"] = pulp.Pulp.on
    outcomes: list[Outcome] = []
    for name, enter in contestants.items():
        context.log(f"full disk: {name}")
        with loop_volume(context.work / f"full-{name}", "ext4", VOLUME_BYTES) as volume:
            outcomes.append(one(context, volume, enter))
    table = compare(outcomes)
    context.log(table)
    measure.save_text("full_disk", table)
    return _measures(outcomes[0])


def one(context: Context, volume: LoopVolume, enter: Enter) -> Outcome:
    """One contestant's run."""
    filler = volume.fill(volume.free_bytes() - FILLER_BYTES)
    folder = volume.path / "server"
    folder.mkdir()
    with enter(folder, context.work) as server:
        first = random_deb("a-first", 64 * 1024)
        step, reply = server.upload(first)
        assert step == DONE, (step, reply)
        volume.sync()
        room_bytes, inodes = volume.free_bytes(), volume.free_inodes()
        tally = _load(server, 2 * room_bytes, PACKAGE_BYTES)
        for label, text in tally.samples.items():
            context.log(f"{server.name}: {label}: {text}")
        time.sleep(QUIET_S)
        volume.sync()
        stored_bytes = sum(len(item.content) for item in tally.acknowledged)
        left = [path.stat().st_size for path in server.left()]
        outcome = Outcome(
            server.name,
            server.version(),
            tally,
            over_bytes=room_bytes - volume.free_bytes() - stored_bytes,
            over_inodes=inodes - volume.free_inodes() - len(tally.acknowledged),
            left=left,
            torn=sum(server.fetch(item) != item.content for item in tally.acknowledged),
        )
        filler.unlink()
        _recover(context, server, outcome)
    return outcome


def _load(server: Contestant, offered_bytes: int, size_bytes: int) -> Tally:
    """16 clients that offer so much between them, each its next package when the last was answered, for five minutes at
    most (a server that hangs would take for ever); one reader.
    """
    end = time.monotonic() + LOAD_S
    tally, left, numbers = Tally(), [offered_bytes], iter(range(1_000_000))
    done = threading.Event()

    def client() -> None:
        while True:
            with tally.lock:
                if left[0] <= 0 or time.monotonic() > end:
                    return
                left[0] -= size_bytes
                number = next(numbers)
            item = random_deb(f"load{number:05}", size_bytes)
            tally.book(item, *server.upload(item))

    def reader() -> None:
        while not done.wait(READ_PAUSE_S):
            tally.reads[server.read().status == 200] += 1

    threads = [threading.Thread(target=client) for _ in range(CLIENTS)]
    watching = threading.Thread(target=reader)
    for thread in (watching, *threads):
        thread.start()
    for thread in threads:
        thread.join()
    done.set()
    watching.join()
    return tally


def _recover(context: Context, server: Contestant, outcome: Outcome) -> None:
    """Send until one upload is stored, then ten more."""
    began = time.monotonic()
    for number in range(1000):
        step, reply = server.upload(random_deb(f"back{number:03}", 256 * 1024))
        if step == DONE:
            outcome.after_s = time.monotonic() - began
            later = [random_deb(f"later{index}", 256 * 1024) for index in range(AFTERWARDS)]
            outcome.again = sum(server.upload(item)[0] == DONE for item in later)
            return
        if time.monotonic() - began > RECOVERY_S:
            context.log(f"{server.name}: after {RECOVERY_S:g} s: {step}: {reply.label}: {reply.body[:SAMPLE_CHARS]!r}")
            return
        time.sleep(0.5)


def compare(outcomes: Sequence[Outcome]) -> str:
    """A Markdown table: one column for each contestant."""
    lines = [
        ("version", [each.version for each in outcomes]),
        ("uploads stored", [f"{len(each.tally.acknowledged)} of {each.tally.answers.total()}" for each in outcomes]),
        ("last answers", [each.answers() for each in outcomes]),
        ("500, resets, time-outs", [str(each.broken()) for each in outcomes]),
        ("acknowledged, but not served whole", [str(each.torn) for each in outcomes]),
        (
            "reads that failed meanwhile",
            [f"{each.tally.reads[False]} of {each.tally.reads.total()}" for each in outcomes],
        ),
        ("temporary and half files left", [f"{len(each.left)}, {sum(each.left) / MIB:.1f} MiB" for each in outcomes]),
        (
            "taken beyond what was stored",
            [f"{each.over_bytes / MIB:.1f} MiB, {each.over_inodes} inodes" for each in outcomes],
        ),
        ("stores again after space returned", [each.recovery() for each in outcomes]),
        (f"of the next {AFTERWARDS} uploads stored", [str(each.again) for each in outcomes]),
    ]
    head = ["", *(each.name for each in outcomes)]
    rows = [head, ["---"] * len(head), *([label, *cells] for label, cells in lines)]
    return "".join("| " + " | ".join(row) + " |\n" for row in rows)


def _measures(ours: Outcome) -> list[Measure]:
    """Our own figures against their bars."""
    tally = ours.tally
    return [
        at_most("answers 500, resets, time-outs", "", ours.broken(), 0, note=ours.answers()),
        at_most("503 without Retry-After", "", tally.without_retry_after, 0),
        at_most("acknowledged, but not served whole", "", ours.torn, 0),
        at_most("reads that failed meanwhile", "", tally.reads[False], 0, note=f"of {tally.reads.total()}"),
        at_most("temporary and half files left", "", len(ours.left), 0),
        at_most("taken beyond what was stored", "MiB", ours.over_bytes / MIB, 1, note=f"{ours.over_inodes} inodes"),
        at_most("from space returned to the next stored upload", "s", ours.after_s, 30),
    ]
