"""Two at once: the same file, the same name, the collector and an upload, many uploads of one scope."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from tests.fault.rig import FULL, Answer, Rig, running
from tests.fault.routes import fresh_deb
from tests.support.builders import deb_bytes

pytestmark = [pytest.mark.fault, pytest.mark.timeout(600 if FULL else 180)]

ROUNDS = 40 if FULL else 8


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """One server for the races."""
    with running(tmp_path_factory.mktemp("races") / "data") as made:
        yield made


def at_once(*works: Callable[[], Answer]) -> list[Answer]:
    """Run all at the same instant; their answers."""
    barrier = threading.Barrier(len(works))
    answers: list[Answer | None] = [None] * len(works)

    def run(number: int, work: Callable[[], Answer]) -> None:
        barrier.wait()
        answers[number] = work()

    threads = [threading.Thread(target=run, args=(number, work)) for number, work in enumerate(works)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return [answer for answer in answers if answer is not None]


def putting(rig: Rig, repository: str, filename: str, data: bytes) -> Callable[[], Answer]:
    """A PUT that is still to be made."""

    def put() -> Answer:
        answer = rig.send("PUT", f"/{repository}/debian/bookworm/{filename}", content=data)
        rig.world.sent(repository, data, answer)
        return answer

    return put


def test_the_same_file_twice_at_once(rig: Rig) -> None:
    """Goal: one of them makes it, the other finds it there, and its bytes lie there once. Method: two, then four PUTs
    of the same bytes at the same instant.
    """
    repository = rig.repository("acme/same")
    for turn in range(ROUNDS):
        filename, data = fresh_deb(100_000)
        count = 2 + 2 * (turn % 2)
        statuses = Counter(each.status for each in at_once(*[putting(rig, repository, filename, data)] * count))
        assert statuses == {201: 1, 200: count - 1}
    rig.check()
    rig.check_idle()


def test_the_same_name_with_other_bytes_at_once(rig: Rig) -> None:
    """Goal: the first wins whole, the second is told. Method: two builds of one version at the same instant: 201 and
    409, and the bytes that are served are those that got 201.
    """
    repository = rig.repository("acme/name")
    for turn in range(ROUNDS):
        name = f"twin{turn}"
        builds = [deb_bytes(name, "1.0-1", files={"usr/share/twin": bytes([number]) * 5000}) for number in range(2)]
        answers = at_once(*[putting(rig, repository, f"{name}_1.0-1_amd64.deb", data) for data in builds])
        assert sorted(answer.status for answer in answers) == [201, 409]
        assert {answer.code for answer in answers} == {"", "name_taken"}
    rig.check()
    rig.check_idle()


def test_an_upload_races_the_collector(rig: Rig) -> None:
    """Goal: never an acknowledged package without its bytes. Method: a package is yanked, and put again while the
    collector takes its bytes away, again and again; after each answer the package is listed and whole.
    """
    repository = rig.repository("acme/collected")
    filename, data = fresh_deb(50_000)
    put = putting(rig, repository, filename, data)
    assert put().status == 201
    stopping = threading.Event()
    runs: list[Answer] = []

    def collect() -> None:
        while not stopping.is_set():
            runs.append(rig.send("POST", "/api/v2/gc", json={}))

    collectors = [threading.Thread(target=collect) for _ in range(2)]
    for thread in collectors:
        thread.start()
    try:
        for _ in range(ROUNDS * 4):
            gone = rig.send("DELETE", f"/api/v1/repos/{repository}/debian/bookworm/{filename}")
            assert gone.status == 200, gone.text
            rig.world.yanked(repository, data, gone)
            answer = put()
            # While the yanked row still holds the name, the same bytes bring it back.
            assert answer.status in (200, 201), answer.text
            wrong = rig.wrong()
            assert not wrong, wrong
    finally:
        stopping.set()
        for thread in collectors:
            thread.join(30)
    assert {run.status for run in runs} == {200}, Counter(run.text for run in runs if run.status != 200)
    rig.check_idle()


def test_many_at_once_are_all_listed(rig: Rig) -> None:
    """Goal: uploads of one scope share publications, and none is forgotten. Method: 64 uploads at the same instant."""
    repository = rig.repository("acme/many")
    works = [putting(rig, repository, *fresh_deb()) for _ in range(64)]
    answers = at_once(*works)
    assert Counter(answer.status for answer in answers) == {201: 64}
    wrong = rig.wrong()
    assert not wrong, wrong
    rig.check_idle()


def test_two_publications_in_one_second(rig: Rig) -> None:
    """Goal: two generations of one second are never taken for each other. Method: InRelease is asked for with the
    Last-Modified of the one before, right after each of six publications: a change is never hidden behind 304.
    """
    repository = rig.repository("acme/second")
    address = f"/{repository}/debian/dists/bookworm/InRelease"
    known, modified = "", ""
    begin = time.monotonic()
    for _ in range(6):
        assert putting(rig, repository, *fresh_deb())().status == 201
        answer = rig.send("GET", address, headers={"If-Modified-Since": modified} if modified else {})
        assert answer.status == 200
        assert answer.text != known
        known, modified = answer.text, answer.headers["last-modified"]
    assert time.monotonic() - begin < 30
    rig.check()
