"""Every client in loops, from eight machines, while each repository is published to many times a second.

Each run of a client must succeed and must see every package whose upload was answered before the run began.
"""

import re
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.consistency.bed import (
    RPM,
    Bed,
    Package,
    Pusher,
    apt_listed,
    long_or,
    push_deb,
    push_rpm,
    rpm_listed,
)
from tests.fault.tally import note
from tests.support.apt import AptRoot
from tests.support.builders import make_jar, make_pom
from tests.support.dnf import DnfRepo, DnfRoot
from tests.support.maven import MavenClient
from tests.support.netns import Network, network
from tests.support.zypper import ZypperRoot

pytestmark = [pytest.mark.clients, pytest.mark.fault, pytest.mark.timeout(long_or(300, 600))]

SECONDS = long_or(15, 60)
# Together more than 20 publications a second.
PACE_PER_S = {"deb": 10.0, "rpm": 10.0, "maven": 2.0}
# The whole programme wants its twenty a second; in the sample a machine that is busy with other things publishes more
# slowly, and fewer than this in all would show nothing.
PUBLICATIONS_MIN = SECONDS * long_or(2, 20)
GROUP, ARTIFACT = "org/example", "lib"
# Tails that are merged every few seconds.
LIMITS: dict[str, object] = {
    "entrepot.publish.base:SEGMENT_ENTRIES_MAX": 64,
    "entrepot.publish.index:TAIL_ENTRIES_MAX": 24,
    "entrepot.publish.scope:TAIL_ENTRIES_MAX": 24,
}


class PlainMaven(MavenClient):
    """mvn that is allowed plain HTTP to another machine: the mirror that blocks it is given nothing to mirror."""

    def write_settings(self, profiles: str) -> None:
        """As for every client, with one more mirror."""
        super().write_settings(profiles)
        mirror = (
            "<mirror><id>maven-default-http-blocker</id><mirrorOf>none</mirrorOf><url>http://0.0.0.0/</url></mirror>"
        )
        self.settings.write_text(self.settings.read_text().replace("</mirrors>", mirror + "</mirrors>"))


class Feed:
    """One repository's publications, a fixed number a second; ``answered`` of them are listed: 0 … answered-1."""

    def __init__(self, pusher: Pusher, push: Callable[[Pusher, int], None], pace_per_s: float) -> None:
        self._pusher = pusher
        self._push = push
        self._pause_s = 1 / pace_per_s
        self.answered = 0

    def publish(self) -> None:
        """One publication."""
        self._push(self._pusher, self.answered)
        self.answered += 1

    def run(self, stop: threading.Event) -> None:
        """Publish until told to stop. Less than a second of delay is caught up with, more is let go."""
        due = time.monotonic()
        while not stop.wait(max(0.0, due - time.monotonic())):
            self.publish()
            due = max(due + self._pause_s, time.monotonic() - 1.0)

    def close(self) -> None:
        """Close the connection."""
        self._pusher.close()


class Loop:
    """One client on its machine: ``update`` fetches and returns how many of the feed's packages it sees without gap."""

    def __init__(self, kind: str, feed: Feed, update: Callable[[], int]) -> None:
        self.kind = kind
        self.runs = 0
        self._feed = feed
        self._update = update

    def once(self) -> None:
        """One run. AssertionError when it fails or is stale."""
        before = self._feed.answered
        seen = self._update()
        assert seen >= before, f"{self.kind}: sees {seen} packages, {before} had been answered when it started"
        self.runs += 1

    def run(self, stop: threading.Event) -> None:
        """Run after run."""
        while not stop.is_set():
            self.once()


def without_gap(names: set[str]) -> int:
    """How many of p0000, p0001 … are there; a package beyond a gap is an index that no publication ever was."""
    count = 0
    while f"p{count:04d}" in names:
        count += 1
    assert len(names) == count, f"p{count:04d} is missing among {len(names)}"
    return count


@pytest.fixture
def net() -> Iterator[Network]:
    """Eight machines."""
    with network(8) as made:
        yield made


def push_snapshot(repository: str) -> Callable[[Pusher, int], None]:
    """Deploys build after build of one SNAPSHOT as mvn does: the jar, then the POM that makes it visible."""

    def push(pusher: Pusher, number: int) -> None:
        version = f"1.0-20260101.{number // 60 % 24:02d}{number % 60:02d}00-{number + 1}"
        stem = f"/{repository}/maven2/{GROUP}/{ARTIFACT}/1.0-SNAPSHOT/{ARTIFACT}-{version}"
        pusher.send("PUT", stem + ".jar", make_jar(version=version), expect=(200, 201, 202))
        pusher.send("PUT", stem + ".pom", make_pom("org.example", ARTIFACT, "1.0-SNAPSHOT"), expect=(201,))

    return push


def apt_loop(bed: Bed, repository: str, folder: Path, keyring: Path, prefix: tuple[str, ...], feed: Feed) -> Loop:
    root = AptRoot(folder, bed.apt_source(repository, keyring), prefix=prefix)

    def update() -> int:
        root.update()
        return without_gap({package.name for package in apt_listed(folder)})

    return Loop("apt", feed, update)


def dnf_loop(bed: Bed, repository: str, folder: Path, prefix: tuple[str, ...], feed: Feed) -> Loop:
    base = f"{bed.url}/{repository}"
    root = DnfRoot(folder, [DnfRepo(f"{base}/{RPM}/x86_64", gpgkey=f"{base}/gpgkey")], prefix=prefix)

    def update() -> int:
        root.makecache()
        [repodata] = folder.rglob("test-*/repodata")
        return without_gap(rpm_listed(repodata))

    return Loop("dnf", feed, update)


def zypper_loop(bed: Bed, repository: str, folder: Path, prefix: tuple[str, ...], feed: Feed) -> Loop:
    root = ZypperRoot(folder, prefix=prefix)
    root.addrepo(f"{bed.url}/{repository}/{RPM}/x86_64")

    def update() -> int:
        root.run("refresh")
        return without_gap(rpm_listed(folder / "root/var/cache/zypp/raw/test/repodata"))

    return Loop("zypper", feed, update)


def maven_loop(bed: Bed, repository: str, folder: Path, prefix: tuple[str, ...], feed: Feed) -> Loop:
    client = PlainMaven(folder, prefix=prefix)

    def update() -> int:
        client.get("org.example:lib:1.0-SNAPSHOT", f"{bed.url}/{repository}/maven2")
        text = (client.local / GROUP / ARTIFACT / "1.0-SNAPSHOT/maven-metadata-test.xml").read_text()
        build = re.search(r"<buildNumber>(\d+)</buildNumber>", text)
        assert build is not None
        return int(build[1])

    return Loop("mvn", feed, update)


def publications(bed: Bed) -> float:
    """How many the server has made visible, merges included."""
    return sum(bed.metric("publications_total", format=name) for name in ("debian", "rpm", "maven"))


def drive(feeds: list[Feed], loops: list[Loop], seconds: float) -> tuple[list[str], float]:
    """Run everything at once for some seconds; what went wrong, and how long it really took."""
    stop = threading.Event()
    wrong: list[str] = []

    def guarded(work: Callable[[threading.Event], None]) -> None:
        try:
            work(stop)
        except Exception:
            wrong.append(traceback.format_exc())
            stop.set()

    works = [feed.run for feed in feeds] + [loop.run for loop in loops]
    threads = [threading.Thread(target=guarded, args=(work,)) for work in works]
    started = time.monotonic()
    for thread in threads:
        thread.start()
    stop.wait(seconds)
    stop.set()
    lasted_s = time.monotonic() - started
    for thread in threads:
        thread.join()
    return wrong, lasted_s


def test_loops_of_every_client_against_a_storm_of_publications(tmp_path: Path, net: Network) -> None:
    """Goal: no client ever fails or sees an old index because the repository changes under it.

    Method: apt, dnf with repo_gpgcheck=1, zypper and mvn on eight machines in loops, against about 20 publications a
    second; each run is compared with what had been answered when it began; at the end each sees everything.
    """
    with Bed(tmp_path, limits=LIMITS, address=net.host_address) as bed:
        repository = bed.repository()
        keyring = bed.keyring(repository)
        feeds = {
            "deb": Feed(
                bed.pusher(),
                lambda pusher, n: push_deb(pusher, repository, Package(f"p{n:04d}", "1.0-1", "amd64")),
                PACE_PER_S["deb"],
            ),
            "rpm": Feed(
                bed.pusher(),
                lambda pusher, n: push_rpm(pusher, repository, Package(f"p{n:04d}", "1.0-1", "x86_64")),
                PACE_PER_S["rpm"],
            ),
            "maven": Feed(bed.pusher(), push_snapshot(repository), PACE_PER_S["maven"]),
        }
        for feed in feeds.values():
            feed.publish()
        # Clients come after the server: its publications are what the loops are about.
        prefixes = [(*machine.prefix, "nice", "-n", "10") for machine in net.machines]
        kinds = ["apt", "apt", "apt", "dnf", "dnf", "zypper", "zypper", "mvn"]
        loops = []
        for number, (kind, prefix) in enumerate(zip(kinds, prefixes, strict=True)):
            folder = tmp_path / f"client{number}"
            if kind == "apt":
                loops.append(apt_loop(bed, repository, folder, keyring, prefix, feeds["deb"]))
            elif kind == "dnf":
                loops.append(dnf_loop(bed, repository, folder, prefix, feeds["rpm"]))
            elif kind == "zypper":
                loops.append(zypper_loop(bed, repository, folder, prefix, feeds["rpm"]))
            else:
                loops.append(maven_loop(bed, repository, folder, prefix, feeds["maven"]))
        for loop in loops:
            loop.once()
        earlier = publications(bed)
        wrong, lasted_s = drive(list(feeds.values()), loops, SECONDS)
        published = publications(bed) - earlier
        assert not wrong, "\n".join(wrong)
        for loop in loops:
            loop.once()
        runs = Counter({kind: sum(loop.runs for loop in loops if loop.kind == kind) for kind in set(kinds)})
        for feed in feeds.values():
            feed.close()
        sys.stdout.write(f"{published / lasted_s:.1f} publications a second for {lasted_s:.0f} s; {dict(runs)}\n")
        note(storm_publications=int(published), storm_s=round(lasted_s), client_runs=sum(runs.values()))
        assert published >= PUBLICATIONS_MIN
        assert all(loop.runs >= 3 for loop in loops), runs
        assert bed.metric("merge_seconds_count", format="debian") + bed.metric("merge_seconds_count", format="rpm") >= 1
        assert bed.metric("answers_without_publication_total") == 0
