"""The changes that the fault tests break: ways in, new repositories, first publications, merges, yank, unyank,
collection.
"""

import hashlib
import itertools
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from tests.fault.listings import debian
from tests.fault.pushing import push_once
from tests.fault.rig import GOOD, Answer, Rig
from tests.support.builders import FastRpm, deb_bytes, fast_rpm_bytes, make_dsc, make_jar, make_pom

TAIL_ENTRIES = 4
QUIET_S = 0.25
LARGE_BYTES = 3_500_000
DISTRIBUTIONS_OF_SCOPES = ("debian/bullseye", "debian/trixie", "ubuntu/jammy", "ubuntu/noble", "ubuntu/focal")
_numbers = itertools.count(1)


def fresh_deb(size_bytes: int = 0, name: str = "") -> tuple[str, bytes]:
    """(file name, bytes) of a package that was never sent before."""
    name = name or f"pkg{next(_numbers)}"
    files = {f"usr/share/{name}/data": name.encode() + b"\0" * size_bytes}
    return f"{name}_1.0-1_amd64.deb", deb_bytes(name, files=files, compression="none")


class Route(ABC):
    """One kind of change: ``prepare`` once for a repository, ``ready`` before each point, both without a fault; then
    ``act`` makes the change and books its answer.
    """

    name: ClassVar[str]
    uploads: ClassVar[bool] = True
    """Whether it brings a file in: then the store's fallback without O_TMPFILE is a way of its own."""
    calls_files: ClassVar[bool] = True
    """Whether it makes file calls of ours itself; else it writes rows alone, and a merge beside it may make some."""

    def prepare(self, rig: Rig, repository: str) -> None:
        """Bring the repository to where the change is the next thing that happens."""
        assert repository in rig.repositories

    def ready(self, rig: Rig, repository: str) -> None:
        """Make what the next change needs: for most, nothing beyond what `prepare` made."""
        assert repository in rig.repositories

    @abstractmethod
    def act(self, rig: Rig, repository: str) -> Answer:
        """Make the change once; each call makes another one."""

    def home(self, rig: Rig, repository: str) -> str:
        """Where the last change was made."""
        assert repository in rig.repositories
        return repository

    def wrong(self, rig: Rig, repository: str) -> list[str]:
        """What breaks a promise of this kind of change, beyond what every repository is looked at for."""
        assert repository in rig.repositories
        return []


class DebPut(Route):
    """curl -T of a .deb into a scope that was published before."""

    name = "deb"

    def prepare(self, rig: Rig, repository: str) -> None:
        put_deb(rig, repository)

    def act(self, rig: Rig, repository: str) -> Answer:
        return put_deb(rig, repository)


class LargeDebPut(Route):
    """curl -T of a file of several batches, whose write-back starts before its end."""

    name = "large"

    def prepare(self, rig: Rig, repository: str) -> None:
        put_deb(rig, repository)

    def act(self, rig: Rig, repository: str) -> Answer:
        filename, data = fresh_deb(LARGE_BYTES)
        answer = rig.send("PUT", f"/{repository}/debian/bookworm/{filename}", content=self.body(data))
        rig.world.sent(repository, data, answer)
        return answer

    def body(self, data: bytes) -> bytes | Iterator[bytes]:
        """What is handed to the client."""
        return data


class ChunkedDebPut(LargeDebPut):
    """curl -T - : a body of unknown length, for which room is taken in steps while it comes."""

    name = "chunked"

    def body(self, data: bytes) -> Iterator[bytes]:
        return (data[start : start + 500_000] for start in range(0, len(data), 500_000))


class RpmPut(Route):
    """curl -T of an .rpm."""

    name = "rpm"

    def prepare(self, rig: Rig, repository: str) -> None:
        self.act(rig, repository)

    def act(self, rig: Rig, repository: str) -> Answer:
        package = FastRpm(f"rpm{next(_numbers)}")
        data = fast_rpm_bytes(package)
        answer = rig.send("PUT", f"/{repository}/el/9/{package.file_name}", content=data)
        rig.world.sent(repository, data, answer)
        return answer


class Form(Route):
    """packagecloud's multipart form."""

    name = "form"

    def prepare(self, rig: Rig, repository: str) -> None:
        put_deb(rig, repository)

    def act(self, rig: Rig, repository: str) -> Answer:
        filename, data = fresh_deb()
        answer = rig.send(
            "POST",
            f"/api/v1/repos/{repository}/packages.json",
            data={"package[distro_version_id]": "debian/bookworm"},
            files={"package[package_file]": (filename, data)},
        )
        rig.world.sent(repository, data, answer)
        return answer


class Maven(Route):
    """A jar, then its POM, as mvn deploys them."""

    name = "maven"

    def act(self, rig: Rig, repository: str) -> Answer:
        version = f"1.{next(_numbers)}"
        jar, pom = make_jar(version=version), make_pom("org.example", "app", version)
        folder = f"/{repository}/maven2/org/example/app/{version}"
        first = rig.send("PUT", f"{folder}/app-{version}.jar", content=jar)
        second = rig.send("PUT", f"{folder}/app-{version}.pom", content=pom)
        whole = first if first.status not in GOOD else second
        rig.world.sent(repository, pom, second)
        # A jar is listed by its POM: acknowledged together they bind, else it may be there.
        rig.world.sent(repository, jar, whole)
        return whole


class NewScope(Route):
    """The first package of a distribution: the first publication of its scope writes the index's first segment."""

    name = "new-scope"

    def __init__(self) -> None:
        self._used: dict[str, int] = {}

    def act(self, rig: Rig, repository: str) -> Answer:
        # A repository has a handful of distributions that the listing knows; then the next repository.
        count = self._used.get(repository, 0)
        self._used[repository] = count + 1
        turn, place = divmod(count, len(DISTRIBUTIONS_OF_SCOPES))
        home = repository if turn == 0 else f"{repository}-{turn}"
        if home not in rig.repositories:
            rig.repository(home)
        filename, data = fresh_deb()
        answer = rig.send("PUT", f"/{home}/{DISTRIBUTIONS_OF_SCOPES[place]}/{filename}", content=data)
        rig.world.sent(home, data, answer)
        return answer

    def ready(self, rig: Rig, repository: str) -> None:
        count = self._used.get(repository, 0)
        turn = count // len(DISTRIBUTIONS_OF_SCOPES)
        home = repository if turn == 0 else f"{repository}-{turn}"
        if home not in rig.repositories:
            rig.repository(home)

    def home(self, rig: Rig, repository: str) -> str:
        return rig.repositories[-1]


class NewRepository(Route):
    """A repository is made, with its key, and gets its first package."""

    name = "new-repository"

    def __init__(self) -> None:
        self._keys: dict[str, str] = {}
        self._made: list[str] = []
        self._unanswered: list[str] = []

    def ready(self, rig: Rig, repository: str) -> None:
        while self._unanswered:  # whoever got no answer asks again: it is there by then, or it is made
            name = self._unanswered.pop()
            answer = rig.send("POST", "/api/v2/repos", json={"name": name})
            assert answer.status == 201 or answer.code == "repository_exists", answer.text
            self._take(rig, name)

    def act(self, rig: Rig, repository: str) -> Answer:
        name = f"{repository}-{next(_numbers)}"
        answer = rig.send("POST", "/api/v2/repos", json={"name": name})
        if answer.status != 201:
            self._unanswered.append(name)
            return answer
        self._take(rig, name)
        return put_deb(rig, name)

    def _take(self, rig: Rig, name: str) -> None:
        rig.repositories.append(name)
        self._made.append(name)

    def home(self, rig: Rig, repository: str) -> str:
        return rig.repositories[-1]

    def wrong(self, rig: Rig, repository: str) -> list[str]:
        """A repository that is there has a key, and for ever the same."""
        found = []
        for name in self._made[-3:]:
            answer = rig.send("GET", f"/{name}/gpgkey")
            there = answer.status == 200 and answer.text.startswith("-----BEGIN PGP PUBLIC KEY BLOCK-----")
            if not there or self._keys.setdefault(name, answer.text) != answer.text:
                found.append(f"I1: {name}: another key, or none: {answer.status} {answer.text}")
        return found


class Merge(Route):
    """The uploads that fill a tail (`tail=4`), and the background merge that follows."""

    name = "merge"
    uploads = False

    def ready(self, rig: Rig, repository: str) -> None:
        for _ in range(TAIL_ENTRIES - 1):
            assert put_deb(rig, repository).status in (201, 202)
        time.sleep(QUIET_S)

    def act(self, rig: Rig, repository: str) -> Answer:
        first = put_deb(rig, repository)
        if first.status == 0:
            return first
        time.sleep(QUIET_S)
        second = put_deb(rig, repository)
        time.sleep(QUIET_S)
        return first if first.status != 201 else second


class Stocked(Route):
    """A change of packages that are there: ``stock`` holds those that it may take, by repository."""

    uploads = False

    def __init__(self) -> None:
        self.stock: dict[str, list[tuple[str, bytes]]] = {}

    def supply(self, rig: Rig, repository: str, count: int) -> None:
        """Upload packages for the changes to come."""
        for _ in range(count):
            filename, data = fresh_deb()
            answer = rig.send("PUT", f"/{repository}/debian/bookworm/{filename}", content=data)
            assert answer.status in (201, 202), answer.text
            rig.world.sent(repository, data, answer)
            self.stock.setdefault(repository, []).append((filename, data))


class Yank(Stocked):
    """Taking a package out of a sorted segment: the publication writes a new one."""

    name = "yank"

    def prepare(self, rig: Rig, repository: str) -> None:
        self.supply(rig, repository, TAIL_ENTRIES * 5)
        time.sleep(QUIET_S)

    def ready(self, rig: Rig, repository: str) -> None:
        self.supply(rig, repository, 1)

    def act(self, rig: Rig, repository: str) -> Answer:
        return yank(rig, repository, *self.stock[repository].pop(0))


class Unyank(Stocked):
    """Putting a yanked package back: a delta in the tail."""

    name = "unyank"
    calls_files = False

    def prepare(self, rig: Rig, repository: str) -> None:
        self.supply(rig, repository, TAIL_ENTRIES + 1)

    def ready(self, rig: Rig, repository: str) -> None:
        self.supply(rig, repository, 1)
        answer = yank(rig, repository, *self.stock[repository][0])
        assert answer.status == 200, answer.text

    def act(self, rig: Rig, repository: str) -> Answer:
        filename, data = self.stock[repository].pop(0)
        answer = rig.send("POST", f"/api/v2/repos/{repository}/unyank", json={"filename": filename})
        rig.world.returned(repository, data, answer)
        return answer


class Collect(Stocked):
    """Garbage collection of two yanked packages; the one kind of change whose bytes go."""

    name = "gc"

    def prepare(self, rig: Rig, repository: str) -> None:
        put_deb(rig, repository)

    def ready(self, rig: Rig, repository: str) -> None:
        self.supply(rig, repository, 2)
        for filename, data in self.stock.pop(repository):
            answer = yank(rig, repository, filename, data)
            assert answer.status == 200, answer.text
        rig.check_near([repository])  # what is still listed is not collected

    def act(self, rig: Rig, repository: str) -> Answer:
        return rig.send("POST", "/api/v2/gc", json={})


class Reference(Stocked):
    """Bytes that are there already, named by their digest: no body is sent."""

    name = "reference"

    def prepare(self, rig: Rig, repository: str) -> None:
        put_deb(rig, repository)
        rig.repository(f"{repository}-source")

    def ready(self, rig: Rig, repository: str) -> None:
        self.supply(rig, f"{repository}-source", 1)

    def act(self, rig: Rig, repository: str) -> Answer:
        filename, data = self.stock[f"{repository}-source"].pop(0)
        query = {"filename": filename, "distribution": "debian/bookworm", "reference": "1"}
        query["sha256"] = hashlib.sha256(data).hexdigest()
        answer = rig.send("POST", f"/api/v2/repos/{repository}/packages", params=query)
        rig.world.sent(repository, data, answer)
        return answer


class Several(Route):
    """One file to two distributions, its bytes sent once: in both, or in none."""

    name = "several"

    def __init__(self) -> None:
        self._sent: dict[str, set[str]] = {}

    def prepare(self, rig: Rig, repository: str) -> None:
        put_deb(rig, repository)
        put_deb(rig, repository, "ubuntu/noble")

    def act(self, rig: Rig, repository: str) -> Answer:
        filename, data = fresh_deb()
        query = {"filename": filename, "distribution": ["debian/bookworm", "ubuntu/noble"]}
        answer = rig.send("POST", f"/api/v2/repos/{repository}/packages", params=query, content=data)
        rig.world.sent(repository, data, answer)
        self._sent.setdefault(repository, set()).add(hashlib.sha256(data).hexdigest())
        return answer

    def wrong(self, rig: Rig, repository: str) -> list[str]:
        """What is in one distribution is in the other."""
        sent = self._sent.get(repository, set())
        one = sent & dict(debian(rig.client, f"/{repository}/debian", "bookworm")).keys()
        other = sent & dict(debian(rig.client, f"/{repository}/ubuntu", "noble")).keys()
        return [f"I2: {repository}: {sha256} is in one distribution of two" for sha256 in one ^ other]


class Snapshot(Route):
    """A SNAPSHOT is deployed again under the same names, jar and POM: each takes the place of what was there."""

    name = "snapshot"

    def __init__(self) -> None:
        self._there: dict[str, tuple[bytes, bytes]] = {}

    def prepare(self, rig: Rig, repository: str) -> None:
        assert self.act(rig, repository).status in GOOD

    def act(self, rig: Rig, repository: str) -> Answer:
        new = (
            make_jar(title=f"build {next(_numbers)}"),
            make_pom("org.example", "app", "1-SNAPSHOT", body=f"<description>build {next(_numbers)}</description>"),
        )
        there = self._there.get(repository, (None, None))
        answers = []
        for kind, data, before in zip(("jar", "pom"), new, there, strict=True):
            address = f"/{repository}/maven2/org/example/app/1-SNAPSHOT/app-1-SNAPSHOT.{kind}"
            answers.append(rig.send("PUT", address, content=data))
            rig.world.sent(repository, data, answers[-1])
            if before is not None:
                rig.world.replaced(repository, before, answers[-1])
        self._there[repository] = new
        return next((each for each in answers if each.status not in GOOD), answers[-1])

    def wrong(self, rig: Rig, repository: str) -> list[str]:
        """Whichever build is there, both its files are."""
        folder = f"/{repository}/maven2/org/example/app/1-SNAPSHOT"
        found = [rig.send("GET", f"{folder}/app-1-SNAPSHOT.{kind}").status for kind in ("jar", "pom")]
        return [] if found == [200, 200] else [f"I1: {folder}: {found}"]


class DputSet(Route):
    """A source package as dput sends it: tarballs, .dsc, .changes, each by PUT; it ends at the first refusal."""

    name = "dput"

    def prepare(self, rig: Rig, repository: str) -> None:
        put_deb(rig, repository)

    def act(self, rig: Rig, repository: str) -> Answer:
        with tempfile.TemporaryDirectory(dir=rig.data.parent) as folder:
            made = make_dsc(Path(folder), f"src{next(_numbers)}", compression="gz")
            files = [(path.name, path.read_bytes()) for path in made.files]
        answers: list[Answer] = []
        for name, data in files:
            answers.append(rig.send("PUT", f"/{repository}/debian/bookworm/{name}", content=data))
            if answers[-1].status not in GOOD:
                break
        # Members are listed by their .dsc: all of it binds, or none. The .changes is a claim and is not kept.
        listed = answers[2] if len(answers) > 2 else answers[-1]
        for _, data in files[:3]:
            rig.world.sent(repository, data, listed)
        return answers[-1]


class Push(Route):
    """The product's own client: asks what is there, sends one file, and waits until it is listed."""

    name = "push"

    def prepare(self, rig: Rig, repository: str) -> None:
        put_deb(rig, repository)

    def act(self, rig: Rig, repository: str) -> Answer:
        filename, data = fresh_deb()
        with tempfile.TemporaryDirectory(dir=rig.data.parent) as folder:
            path = Path(folder, filename)
            path.write_bytes(data)
            answer = push_once(rig, repository, path)
        rig.world.sent(repository, data, answer)
        return answer


def yank(rig: Rig, repository: str, filename: str, data: bytes) -> Answer:
    """Take a package out and book it. What the answer says of the index is in its text."""
    body = {"filename": filename, "distribution": "debian/bookworm"}
    answer = rig.send("POST", f"/api/v2/repos/{repository}/yank", json=body)
    rig.world.yanked(repository, data, answer)
    return answer


def put_deb(rig: Rig, repository: str, distribution: str = "debian/bookworm", size_bytes: int = 0) -> Answer:
    """Upload a new small package by PUT and book it."""
    filename, data = fresh_deb(size_bytes)
    answer = rig.send("PUT", f"/{repository}/{distribution}/{filename}", content=data)
    rig.world.sent(repository, data, answer)
    return answer


def every_route() -> list[Route]:
    """One of each."""
    return [
        DebPut(), RpmPut(), Form(), Maven(), LargeDebPut(), ChunkedDebPut(), DputSet(), Push(), NewScope(), Merge(),
        Yank(), Unyank(), Collect(), NewRepository(), Reference(), Several(), Snapshot(),
    ]  # fmt: skip
