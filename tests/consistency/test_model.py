"""Random additions, replacements, removals, returns and restarts against a model, each seen by a real client.

Limits of segments and tails are a few entries, so that a short run crosses every boundary many times; the count of
merges is asserted, since a run without one would show nothing of them.
"""

import random
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.consistency.bed import (
    DEB,
    RPM,
    SMALL_LIMITS,
    Bed,
    Package,
    Pusher,
    apt_listed,
    long_or,
    push_deb,
    push_rpm,
)
from tests.fault.tally import note
from tests.support.apt import AptRoot
from tests.support.dnf import DnfRepo, DnfRoot

pytestmark = [pytest.mark.clients, pytest.mark.fault, pytest.mark.timeout(long_or(300, 1800))]

PUSHERS = 3


class Steps:
    """Changes a repository at random and keeps what it must list. ``push`` sends one package; ``file_of`` names it."""

    def __init__(
        self,
        bed: Bed,
        seed: int,
        distribution: str,
        arches: tuple[str, ...],
        push: Callable[[Pusher, str, Package], None],
        file_of: Callable[[Package], str],
    ) -> None:
        self.bed = bed
        self.repository = bed.repository()
        self.chance = random.Random(seed)
        self.listed: set[Package] = set()
        self.yanked: set[Package] = set()
        self.done: Counter[str] = Counter()
        self.merges = 0.0
        self._distribution = distribution
        self._arches = arches
        self._push = push
        self._file_of = file_of
        self._names = 0
        self._pushers: list[Pusher] = []

    @property
    def format(self) -> str:
        """The metric's label."""
        return "debian" if self._distribution == DEB else "rpm"

    def step(self, restart_share: float) -> str:
        """One random change; it is listed when this returns. Returns its kind."""
        kind = self.chance.choices(
            ("add", "add_many", "replace", "yank", "yank_many", "unyank", "restart"),
            (30, 10, 22, 14, 4, 12, 100 * restart_share),
        )[0]
        if kind in ("replace", "yank", "yank_many") and not self.listed:
            kind = "add"
        if kind == "unyank" and not self.yanked:
            kind = "add"
        self.done[kind] += 1
        getattr(self, kind)()
        return kind

    def add(self) -> None:
        """One new package."""
        self._send([self._new()])

    def add_many(self) -> None:
        """Several new packages at the same moment."""
        self._send([self._new() for _ in range(self.chance.choice((3, 8, 14)))])

    def replace(self) -> None:
        """A newer version; half of the time the old one goes."""
        old = self.chance.choice(sorted(self.listed))
        version, _, release = old.version.partition("-")
        fresh = Package(old.name, f"{version}-{int(release) + 1}", old.arch)
        while fresh in self.listed or fresh in self.yanked:
            fresh = Package(old.name, f"{version}-{int(fresh.version.partition('-')[2]) + 1}", old.arch)
        self._send([fresh])
        if self.chance.random() < 0.5:
            self._yank([old])

    def yank(self) -> None:
        """One file goes."""
        self._yank([self.chance.choice(sorted(self.listed))])

    def yank_many(self) -> None:
        """All versions of several names go, by a glob."""
        stem = self.chance.choice(sorted(self.listed)).name[:-1]
        gone = [package for package in self.listed if package.name.startswith(stem)]
        self._change("yank", f"{stem}?[_-]*", gone)
        self.listed.difference_update(gone)
        self.yanked.update(gone)

    def unyank(self) -> None:
        """One file returns."""
        back = self.chance.choice(sorted(self.yanked))
        self._change("unyank", self._file_of(back), [back])
        self.yanked.discard(back)
        self.listed.add(back)

    def restart(self) -> None:
        """The server ends, in order or not, and starts again."""
        self.count_merges()
        self.close()
        self.bed.restart(kill=self.chance.random() < 0.5)

    def count_merges(self) -> None:
        """Add this process's merges to ``merges``; a restart begins to count anew."""
        self.merges += self.bed.metric("merge_seconds_count", format=self.format)

    def close(self) -> None:
        """Close the connections."""
        for pusher in self._pushers:
            pusher.close()
        self._pushers.clear()

    def _new(self) -> Package:
        self._names += 1
        name = f"{self.chance.choice('abcxyz')}{self.chance.randrange(10)}-{self._names:04d}"
        return Package(name, f"1.{self.chance.randrange(12)}-1", self.chance.choice(self._arches))

    def _send(self, packages: list[Package]) -> None:
        while len(self._pushers) < PUSHERS:
            self._pushers.append(self.bed.pusher())

        def send(lane: int) -> None:
            for package in packages[lane::PUSHERS]:
                self._push(self._pushers[lane], self.repository, package)

        if len(packages) == 1:
            send(0)
        else:
            with ThreadPoolExecutor(PUSHERS) as crew:
                list(crew.map(send, range(PUSHERS)))
        self.listed.update(packages)

    def _yank(self, packages: list[Package]) -> None:
        for package in packages:
            self._change("yank", self._file_of(package), [package])
        self.listed.difference_update(packages)
        self.yanked.update(packages)

    def _change(self, verb: str, pattern: str, packages: list[Package]) -> None:
        with self.bed.pusher() as pusher:
            answer = pusher.call(
                "POST", f"/api/v2/repos/{self.repository}/{verb}", filename=pattern, distribution=self._distribution
            )
        assert answer["indexed"] is True
        assert sorted(each["filename"] for each in answer["files"]) == sorted(self._file_of(each) for each in packages)


def test_apt_sees_the_model_after_every_step(tmp_path: Path) -> None:
    """Goal: whatever happens to a repository, the next ``apt-get update`` sees exactly what it should.

    Method: random steps; after each a real update, then names and versions as apt's cache has them, and every
    (name, version, architecture) of both architectures' lists, against the model.
    """
    steps_count, restart_share = long_or(50, 240), 0.06
    with Bed(tmp_path, limits=SMALL_LIMITS) as bed:
        steps = Steps(bed, 11, DEB, ("amd64", "amd64", "all", "arm64"), push_deb, lambda package: package.deb)
        source = bed.apt_source(steps.repository, bed.keyring(steps.repository))
        steps.add()
        root = AptRoot(tmp_path / "apt", source, foreign_arches=["arm64"])
        for number in range(steps_count):
            kind = steps.step(restart_share)
            root.update()
            assert apt_listed(root.root) == steps.listed, f"step {number}: {kind}"
            names = {package.name for package in steps.listed}
            assert set(root.pkgnames()) == names, f"step {number}: {kind}"
            native = {package.name for package in steps.listed if package.arch != "arm64"}
            shown = root.run("apt-cache", "madison", *sorted(native), check=False).stdout if native else ""
            rows = {tuple(cell.strip() for cell in line.split("|")[:2]) for line in shown.splitlines()}
            assert rows == {(package.name, package.version) for package in steps.listed if package.name in native}
        steps.count_merges()
        steps.close()
        note(model_steps=steps_count)
        assert steps.done["restart"] >= 2
        assert steps.merges >= steps_count / 10, f"{steps.merges} merges: the run did not cross what it is about"


def test_dnf_sees_the_model_after_every_step(tmp_path: Path) -> None:
    """Goal: the same for rpm: after each step ``dnf makecache`` with repo_gpgcheck=1, then every package as dnf knows
    it.

    Method: as for apt; several changes make one step, because a run of dnf takes seconds.
    """
    steps_count, restart_share = long_or(8, 110), 0.03
    with Bed(tmp_path, limits=SMALL_LIMITS) as bed:
        steps = Steps(bed, 5, RPM, ("x86_64", "x86_64", "noarch"), push_rpm, lambda package: package.rpm)
        base = f"{bed.url}/{steps.repository}"
        steps.add()
        root = DnfRoot(tmp_path / "dnf", [DnfRepo(f"{base}/{RPM}/x86_64", gpgkey=f"{base}/gpgkey")])
        wanted = ["repoquery", "--cacheonly", "--qf", "%{name} %{version}-%{release} %{arch}"]
        for number in range(steps_count):
            kinds = [steps.step(restart_share) for _ in range(long_or(5, 2))]
            root.makecache()
            shown = [line for line in root.run("--quiet", *wanted).stdout.splitlines() if line]
            expected = sorted(f"{package.name} {package.version} {package.arch}" for package in steps.listed)
            assert sorted(shown) == expected, f"step {number}: {kinds}"
        steps.count_merges()
        steps.close()
        note(model_steps=steps_count)
        assert steps.merges >= steps_count / 10, f"{steps.merges} merges: the run did not cross what it is about"
