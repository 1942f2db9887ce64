"""What the fault tests share: a server that can be armed, a memory of what it was sent, and the invariants.

I1 what was acknowledged is present byte for byte, listed in the signed index, and can be fetched by the address that
the index gives; I2 what was not is absent or complete, and nothing is listed without its bytes; I3 the catalog is
sound; I4 nothing is left behind: bytes, inodes, descriptors, reservations; I5 trouble with space or disks is never a
500, and its 503 says when to come back.
"""

import hashlib
import json
import os
import socket
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import httpx

from tests.fault.listings import listing
from tests.fault.tally import Counts
from tests.support.forker import Forker
from tests.support.ports import free_port
from tests.support.server import Process, ServerProcess

FULL = os.environ.get("FAULT_LANE") == "full"
"""`make fault`: every point of every sweep; `make test` takes a sample that fits its time."""

PLAIN_ENV = {
    # A volume that met a fault is tried, and one that was full is taken back, at once: the next request finds it well.
    "ENTREPOT_DISK_LEAVE_S": "0",
    "ENTREPOT_DISK_LEAVE_PERCENT": "0",
    "ENTREPOT_DISK_PROBE_S": "0",
    "ENTREPOT_DISK_REFUSAL_DELAY_S": "0.05",
    "ENTREPOT_SIGNING_DEFAULT_ALGORITHM": "ed25519",
    "ENTREPOT_SIGNING_SPARE_KEYS": "1",
    "ENTREPOT_SERVER_DRAIN_WAIT_S": "0",
    "ENTREPOT_UPLOAD_INSPECTION_PROCESSES": "1",
    "ENTREPOT_UPLOAD_PUBLICATION_WAIT_S": "30",
}
ARMED = [sys.executable, "-m", "tests.fault.armed"]
START_LIMIT_S = 90.0  # dozens of starts on a loaded machine: slowness is the benches' business
SETTLE_S = 40.0
IDLE_S = 20.0
ROUND_S = 120.0  # a whole round of the leaks' walk takes up to a minute
GOOD = (200, 201, 202)
DISK_CODES = ("no_room", "storage_failed", "catalog_failed", "busy")
"""What a client may be told when a disk fails or is full."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a client saw; ``status`` 0 is a connection that ended without an answer."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    text: str = ""

    @property
    def code(self) -> str:
        """The stable error code."""
        return self.headers.get("x-entrepot-code", "")


Key = tuple[str, str]
"""Repository and sha256 of a file."""


@dataclass(slots=True)
class World:
    """What a server was sent: ``must`` be there, ``may`` be there, ``gone`` for certain.

    Files are given by their bytes, or by their sha256.
    """

    must: set[Key] = field(default_factory=set)
    may: set[Key] = field(default_factory=set)
    gone: set[Key] = field(default_factory=set)
    acknowledged: int = 0
    counts: Counts = field(default_factory=Counts)

    def sent(self, repository: str, file: bytes | str, answer: Answer) -> None:
        """Book an upload by its answer: 2xx binds the server, anything else leaves both ends open."""
        key = _key(repository, file)
        self.counts.sent += 1
        if answer.status in GOOD:
            self.acknowledged += 1
            self.counts.acknowledged += 1
            self.must.add(key)
            self.may.discard(key)
            self.gone.discard(key)
        elif key not in self.must:
            self.may.add(key)

    def yanked(self, repository: str, file: bytes | str, answer: Answer) -> None:
        """Book a yank by its answer."""
        key = _key(repository, file)
        self.counts.sent += 1
        self.must.discard(key)
        if answer.status == 200:
            self.counts.acknowledged += 1
            self.gone.add(key)
            self.may.discard(key)
        else:
            self.may.add(key)

    def replaced(self, repository: str, file: bytes | str, answer: Answer) -> None:
        """Book what an upload took the place of, by the upload's answer."""
        key = _key(repository, file)
        self.must.discard(key)
        (self.gone if answer.status in GOOD else self.may).add(key)

    def returned(self, repository: str, file: bytes | str, answer: Answer) -> None:
        """Book an unyank by its answer."""
        self.gone.discard(_key(repository, file))
        self.sent(repository, file, answer)


def _key(repository: str, file: bytes | str) -> Key:
    return repository, file if isinstance(file, str) else hashlib.sha256(file).hexdigest()


class Rig(ServerProcess):
    """A server on a data folder of its own, with the control socket of :mod:`tests.fault.armed`.

    Its starts are forks of one process that has imported everything, which a rig of the same ``lies`` may lend it.
    """

    def __init__(
        self, data: Path, *, env: Mapping[str, str] | None = None, lies: Sequence[str] = (), lent: Forker | None = None
    ) -> None:
        self.lies = tuple(lies)
        self._lent = lent
        self._own: Forker | None = None
        self.control = data.with_name(data.name + ".control")
        self.admin_port = free_port()
        extra = {"FAULT_CONTROL": str(self.control), "FAULT_LIE": ",".join(lies)}
        extra["ENTREPOT_SERVER_ADMIN_LISTEN"] = f"127.0.0.1:{self.admin_port}"
        super().__init__(data, command=ARMED, env={**PLAIN_ENV, **extra, **(env or {})})
        self.world = World()
        self.client = httpx.Client(base_url=self.url, timeout=60, trust_env=False)
        self.admin = httpx.Client(base_url=f"http://127.0.0.1:{self.admin_port}", timeout=30, trust_env=False)
        self.repositories: list[str] = []
        self._fetched: set[str] = set()

    def start(self, *, wait: bool = True, env: Mapping[str, str] | None = None) -> Self:
        """As the base class; the control socket of the process before is removed."""
        self.control.unlink(missing_ok=True)
        super().start(wait=False, env=env)
        try:
            if wait:
                self.wait_live(START_LIMIT_S)
                self.client.auth = (self.admin_token, "")
        except BaseException:
            self.close()
            raise
        return self

    def spawn(self, command: Sequence[str], env: Mapping[str, str], passed: Sequence[int]) -> Process:
        """As the base class; without the imports, unless a test has put something round the program."""
        if self.prefix or self.program != ARMED:
            return super().spawn(command, env, passed)
        self.log_path.touch()
        return self.forker.fork(command[len(ARMED) :], env, self.log_path, env.get("ENTREPOT_FAULT", ""))

    @property
    def forker(self) -> Forker:
        """Of its starts; to lend to another rig."""
        if self._lent is not None:
            return self._lent
        if self._own is None:
            self._own = Forker("tests.fault.armed", {"FAULT_LIE": ",".join(self.lies)})
        return self._own

    def close(self) -> None:
        """End the server and the clients; what was counted goes to the report."""
        self.client.close()
        self.admin.close()
        super().close()
        if self._own is not None:
            self._own.close()
            self._own = None
        self.world.counts.write()

    @property
    def counts(self) -> Counts:
        """What is counted of this server."""
        return self.world.counts

    # ------------------------------------------------------------------ the control socket

    def _ask(self, **asked: object) -> dict[str, Any]:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(10)
            connection.connect(str(self.control))
            connection.sendall(json.dumps(asked).encode() + b"\n")
            with connection.makefile("rb") as file:
                answer: dict[str, Any] = json.loads(file.readline())
        return answer

    def arm(self, nth: int, action: str | None, *, call: str = "*", on: bool = False) -> None:
        """Put one fault in force, counted from now; None only counts calls."""
        if action is not None:
            self.counts.faults += 1
        self._ask(op="arm", nth=nth, action=action, call=call, on=on)

    def disarm(self) -> dict[str, Any]:
        """Take the fault away: whether it was reached, the call that met it, all calls since."""
        return self._ask(op="disarm")

    def wait_written(self) -> None:
        """Wait until every volume that failed was tried again and found well."""
        deadline = time.monotonic() + SETTLE_S
        while any(each["state"] == "BROKEN" for each in self.statusz()["volumes"]):
            assert time.monotonic() < deadline, self.statusz()["volumes"]
            time.sleep(0.02)

    def calls(self) -> list[str]:
        """Take the fault away; the calls that were made while it was in force."""
        found: list[str] = self.disarm()["calls"]
        return found

    # ------------------------------------------------------------------ requests

    def repository(self, name: str) -> str:
        """Make a repository."""
        answer = self.client.post("/api/v2/repos", json={"name": name, "private": False})
        assert answer.status_code == 201, answer.text
        self.repositories.append(name)
        return name

    def send(self, method: str, path: str, **given: Any) -> Answer:
        """One request; a connection that breaks is an answer of its own."""
        try:
            answer = self.client.request(method, path, **given)
        except httpx.HTTPError as error:
            return Answer(0, text=type(error).__name__)
        self.counts.answered(answer.status_code, answer.headers)
        return Answer(answer.status_code, dict(answer.headers), answer.text)

    def statusz(self) -> dict[str, Any]:
        """The admin address's account of the node."""
        answer = self.admin.get("/statusz")
        found: dict[str, Any] = answer.raise_for_status().json()
        return found

    # ------------------------------------------------------------------ invariants

    def check(self) -> None:
        """I1, I2 and I3 on the running server. Waits for publications that an upload was promised (202, restart)."""
        self._fetched.clear()
        self._settled(self.wrong, SETTLE_S)

    def check_near(self, repositories: Sequence[str]) -> None:
        """I1 and I2 of some repositories. What was fetched whole since the last :meth:`check` is not fetched again."""
        self._settled(lambda: self._wrong_in(repositories), SETTLE_S)

    def check_that(self, wrong: Callable[[], list[str]]) -> None:
        """As :meth:`check`, of something else."""
        self._settled(wrong, SETTLE_S)

    def _settled(self, look: Callable[[], list[str]], limit_s: float) -> None:
        """Look until nothing is wrong; what still is at the end is counted, and fails the test."""
        deadline = time.monotonic() + limit_s
        while wrong := look():
            if time.monotonic() >= deadline:
                self.counts.violated(wrong)
                raise AssertionError("\n".join(wrong))
            time.sleep(0.1)

    def wrong(self) -> list[str]:
        """What breaks I1 to I3 now."""
        return catalog_faults(self.data) + self._wrong_in(self.repositories)

    def _wrong_in(self, repositories: Sequence[str]) -> list[str]:
        found: list[str] = []
        for repository in repositories:
            try:
                listed = listing(self.client, repository)
            except AssertionError as error:
                found.append(f"I2: {repository}: {error}")
                continue
            found += self._compare(repository, listed)
        return found

    def _compare(self, repository: str, listed: Mapping[str, str]) -> list[str]:
        found = []
        for name, sha256 in self.world.must:
            if name == repository and sha256 not in listed:
                found.append(f"I1: {name}: {sha256} was acknowledged and is not listed")
        for sha256, address in listed.items():
            key = (repository, sha256)
            if key in self.world.gone:
                found.append(f"I1: {repository}: {sha256} was yanked and is listed")
            elif key not in self.world.must and key not in self.world.may:
                found.append(f"I2: {repository}: {sha256} is listed and was never sent")
            if address in self._fetched:
                continue
            answer = self.client.get(address)
            if answer.status_code != 200 or hashlib.sha256(answer.content).hexdigest() != sha256:
                found.append(f"I2: {address} is listed and gives {answer.status_code}, {len(answer.content)} bytes")
            else:
                self._fetched.add(address)
        return found

    def check_idle(self, *, orphans_max: int = 0, staged_max: int = 0) -> None:
        """I4 on the running server: no reservation, no descriptor, nothing staged, no bytes without a row.

        ``orphans_max`` and ``staged_max`` files may lie there after faults that forbade to take them away again.
        """
        try:
            self._settled(lambda: self.left_behind(orphans_max, staged_max), IDLE_S)
        except AssertionError:
            left = {path: (self.data / path).stat().st_size for path in self._strays()}
            left |= {each.path: each.size_bytes for each in self.deleted_but_open()}
            self.counts.leaked_files += len(left)
            self.counts.leaked_bytes += sum(left.values())
            raise

    def _strays(self) -> list[str]:
        """Files below the data folder that no row knows."""
        return [f"blobs/{key[:2]}/{key}" for key in self.orphans()] + [
            f"incoming/{name}" for name in os.listdir(self.data / "incoming")
        ]

    def left_behind(self, orphans_max: int = 0, staged_max: int = 0) -> list[str]:
        """What breaks I4 now."""
        found = []
        held = self.statusz()["reservations"]
        if held != {"count": 0, "bytes": 0, "inodes": 0}:
            found.append(f"I4: reservations: {held}")
        mine = sorted(os.path.relpath(each, self.data) for each in self.fds() if each.startswith(f"{self.data}/"))
        mine = [each for each in mine if not each.startswith("catalog.db")]
        if mine != ["blobs", "incoming", "lock"]:
            found.append(f"I4: descriptors: {mine}")
        if self.deleted_but_open():
            found.append(f"I4: deleted but open: {self.deleted_but_open()}")
        orphans = self.orphans()
        if len(orphans) > orphans_max:
            found.append(f"I4: files without a row: {sorted(orphans)}")
        if len(staged := os.listdir(self.data / "incoming")) > staged_max:
            found.append(f"I4: incoming: {staged}")
        if lost := rows(self.data) - stored(self.data):
            found.append(f"I2: rows without a file: {sorted(lost)}")
        return found

    def orphans(self) -> set[str]:
        """Keys of files that no row knows."""
        return stored(self.data) - rows(self.data)

    def check_orphans_go(self) -> int:
        """I4 after kills: what a kill left between a name and its row is removed by the next process.

        Returns how many there were.
        """
        orphans = self.orphans()
        self.restart()
        deadline = time.monotonic() + ROUND_S
        while self.orphans():
            assert time.monotonic() < deadline, f"I4: not collected: {sorted(self.orphans())}"
            time.sleep(0.1)
        return len(orphans)


def check_answer(answer: Answer, where: str = "") -> None:
    """I5: success, or 503 with Retry-After and one of the codes of a failing disk; never a 500."""
    if answer.status in GOOD:
        return
    assert answer.status == 503, f"{where}: {answer.status} {answer.text}"
    assert answer.headers.get("retry-after", "").isdigit(), f"{where}: {answer.headers}"
    assert answer.code in DISK_CODES, f"{where}: {answer.text}"


def catalog_faults(data: Path) -> list[str]:
    """I3: what SQLite itself says of the catalog. A connection of another process, as an operator would open it."""
    with closing(sqlite3.connect(f"file:{data}/catalog.db?mode=ro", uri=True, timeout=30)) as db:
        found = [f"I3: {row[0]}" for row in db.execute("PRAGMA integrity_check") if row[0] != "ok"]
        found += [f"I3: dangling reference {row}" for row in db.execute("PRAGMA foreign_key_check")]
    return found


def rows(data: Path) -> set[str]:
    """Keys of all copies in the catalog."""
    with closing(sqlite3.connect(f"file:{data}/catalog.db?mode=ro", uri=True, timeout=30)) as db:
        return {str(row[0]) for row in db.execute("SELECT key FROM copy")}


def stored(data: Path) -> set[str]:
    """Keys of all files below blobs/."""
    return {path.name for path in (data / "blobs").glob("*/*")}


@contextmanager
def running(data: Path, *, env: Mapping[str, str] | None = None, lies: Sequence[str] = ()) -> Iterator[Rig]:
    """A started rig."""
    with Rig(data, env=env, lies=lies) as rig:
        yield rig
