"""Seconds that two publications share, and clocks that are set back: apt must take the new index all the same."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.consistency.bed import Bed, Package, apt_listed, push_deb
from tests.support.apt import AptRoot
from tests.support.curl import Answer, curl

pytestmark = [pytest.mark.clients, pytest.mark.timeout(180)]

HOUR_S = 3600


@pytest.fixture
def bed(tmp_path: Path) -> Iterator[Bed]:
    """A server with a clock of its own."""
    with Bed(tmp_path, clock=True) as made:
        yield made


class Apt:
    """A repository, a package pusher and an apt that reads it."""

    def __init__(self, bed: Bed, folder: Path) -> None:
        self.bed = bed
        self.repository = bed.repository()
        self.names: set[str] = set()
        self.root = AptRoot(folder / "apt", bed.apt_source(self.repository, bed.keyring(self.repository)))
        self.inrelease = f"{bed.url}/{self.repository}/debian/dists/bookworm/InRelease"

    def publish(self, name: str) -> None:
        """One publication."""
        with self.bed.pusher() as pusher:
            push_deb(pusher, self.repository, Package(name, "1.0-1", "amd64"))
        self.names.add(name)

    def check(self) -> None:
        """An update sees everything that was published."""
        self.root.update()
        assert {package.name for package in apt_listed(self.root.root)} == self.names

    def fetch(self, *headers: str) -> Answer:
        """InRelease with conditions."""
        return curl(self.inrelease, headers=headers)


def test_apt_sees_the_second_of_two_publications_in_one_second(bed: Bed, tmp_path: Path) -> None:
    """Goal: equal Last-Modified never means "not modified". Method: stop the clock; publish, update, five times.

    Seen to fail with `not_modified_safe` always true.
    """
    apt = Apt(bed, tmp_path)
    now_s = int(time.time())
    bed.set_clock(f"={now_s}")
    for number in range(5):
        apt.publish(f"p{number}")
        apt.check()
    bed.set_clock(f"={now_s + 5}")
    apt.publish("last")
    apt.check()


def test_not_modified_is_said_when_it_is_certain(bed: Bed, tmp_path: Path) -> None:
    """Goal: 304 for the one publication of a second that is over, else 200. Method: a stopped clock, If-Modified-Since
    and If-None-Match with what was served.
    """
    apt = Apt(bed, tmp_path)
    start_s = int(time.time()) - 100
    bed.set_clock(f"={start_s}")
    apt.publish("aa")
    bed.set_clock(f"={start_s + 10}")
    apt.publish("bb")
    first = apt.fetch()
    since = f"If-Modified-Since: {first.headers['last-modified']}"
    assert apt.fetch(since).status == 200, "its second is not over: another publication may follow in it"
    assert apt.fetch(f"If-None-Match: {first.headers['etag']}").status == 304, "a digest is always certain"
    bed.set_clock(f"={start_s + 11}")
    assert apt.fetch(since).status == 304
    again = apt.fetch(since, f'If-None-Match: {first.headers["etag"][:-3]}00"')
    assert again.status == 200, "If-None-Match decides when it is there"
    apt.publish("cc")
    newer = apt.fetch(since)
    assert newer.status == 200
    assert newer.body != first.body
    apt.publish("dd")
    bed.set_clock(f"={start_s + 20}")
    shared = apt.fetch()
    assert apt.fetch(f"If-Modified-Since: {shared.headers['last-modified']}").status == 200, "two shared that second"


@pytest.mark.parametrize("back_s", [47, HOUR_S])
def test_apt_takes_the_new_index_after_the_clock_was_set_back(bed: Bed, tmp_path: Path, back_s: int) -> None:
    """Goal: apt ignores a Release that is older than its own without a word, so none may be. Method: set the server's
    clock back, publish, restart, publish, let it run on: an update after each.

    Seen to fail with the publication's date taken from the clock alone.
    """
    apt = Apt(bed, tmp_path)
    apt.publish("aa")
    apt.check()
    bed.set_clock(f"-{back_s}")
    for name in ("bb", "cc"):
        apt.publish(name)
        apt.check()
    bed.restart()
    apt.publish("dd")
    apt.check()
    apt.check()
    bed.set_clock("0")
    apt.publish("ee")
    apt.check()


def test_no_date_lies_in_the_future(bed: Bed, tmp_path: Path) -> None:
    """Goal: Last-Modified is never later than the server's own clock (RFC 9110 section 8.8.2.1). Method: set it back
    after a publication, look at the entry point.
    """
    apt = Apt(bed, tmp_path)
    now_s = int(time.time())
    bed.set_clock(f"={now_s}")
    apt.publish("aa")
    bed.set_clock(f"={now_s - 500}")
    answer = apt.fetch()
    assert answer.headers["last-modified"] == time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(now_s - 500))
    assert apt.fetch(f"If-Modified-Since: {answer.headers['last-modified']}").status == 200
