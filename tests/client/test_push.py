"""One push of several files against a server that answers as the test wants."""

import hashlib
import time
from pathlib import Path

import pytest

from entrepot.client.errors import Exit, Problem
from entrepot.client.observer import Status
from entrepot.client.push import Options
from entrepot.client.selection import KINDS, select
from tests.client.fake import Fake, Handler, Recorder, created, fake, push_files, refuse
from tests.support.capabilities import permissions_hold


def files(folder: Path, count: int) -> list[Path]:
    """Files with different content."""
    paths = [folder / f"p{number}.deb" for number in range(count)]
    for path in paths:
        path.write_bytes(path.name.encode() * 50)
    return paths


def listed(server: Fake, path: Path, *, indexed: bool = True, held: bool = False) -> None:
    """Make the server know a file."""
    row = {
        "distribution": "debian/bookworm",
        "filename": path.name,
        "path": path.name,
        "indexed": indexed,
        "held": held,
    }
    server.known[hashlib.sha256(path.read_bytes()).hexdigest()] = [row]


def test_only_what_is_missing_is_sent(tmp_path: Path) -> None:
    """Goal: a push that was killed carries on. Method: the server lists two of five; three are sent."""
    paths = files(tmp_path, 5)
    with fake(created) as server:
        listed(server, paths[0])
        listed(server, paths[3])
        report = push_files(server, paths)
    assert sorted(server.uploads) == ["p1.deb", "p2.deb", "p4.deb"]
    assert [outcome.status for outcome in report.outcomes] == [
        Status.PRESENT,
        Status.PUBLISHED,
        Status.PUBLISHED,
        Status.PRESENT,
        Status.PUBLISHED,
    ]
    assert report.sent_bytes == sum(paths[number].stat().st_size for number in (1, 2, 4))
    assert report.exit_code is Exit.OK


def test_a_dry_run_sends_nothing(tmp_path: Path) -> None:
    """Goal: it says what would be sent. Method: two files, one there."""
    paths = files(tmp_path, 2)
    with fake(created) as server:
        listed(server, paths[0])
        report = push_files(server, paths, Options(dry_run=True))
    assert server.uploads == []
    assert [outcome.status for outcome in report.outcomes] == [Status.PRESENT, Status.WOULD_SEND]


@pytest.mark.parametrize(("skip", "status", "code"), [(False, "conflict", 5), (True, "skipped", 0)])
def test_a_taken_name(tmp_path: Path, skip: bool, status: str, code: int) -> None:
    """Goal: exit code 5, or none with --skip-duplicates; the other files go on. Method: the first answer is 409."""
    with fake(refuse(409, "name_taken"), created) as server:
        report = push_files(server, files(tmp_path, 3), Options(parallel=1, skip_duplicates=skip))
    assert [outcome.status.value for outcome in report.outcomes] == [status, "published", "published"]
    assert report.exit_code == code


def test_a_refused_file_does_not_stop_the_others(tmp_path: Path) -> None:
    """Goal: one bad package costs itself; its reason is kept; 1 wins over 5. Method: 422, 409, then fine."""
    with fake(refuse(422, "not_a_package"), refuse(409, "name_taken"), created) as server:
        report = push_files(server, files(tmp_path, 3), Options(parallel=1))
    assert [outcome.code for outcome in report.outcomes] == ["not_a_package", "name_taken", ""]
    assert report.exit_code is Exit.REFUSED


def test_a_bad_token_stops_everything(tmp_path: Path) -> None:
    """Goal: 401 is not asked a hundred times. Method: 30 files, one worker; one request."""
    with fake(refuse(401, "token_expired")) as server:
        report = push_files(server, files(tmp_path, 30), Options(parallel=1))
    assert len(server.uploads) == 1
    assert {outcome.status for outcome in report.outcomes} == {Status.UNAUTHORISED}
    assert (report.exit_code, len(report.outcomes)) == (Exit.AUTHENTICATION, 30)


def test_a_server_that_stays_busy(tmp_path: Path) -> None:
    """Goal: exit code 4, waits are told, every file has an outcome. Method: 503 for ever and 1.5 s of patience."""
    recorder = Recorder()
    with fake(refuse(503, "no_room", Retry_After="1")) as server:
        report = push_files(server, files(tmp_path, 6), recorder=recorder, retry_for_s=1.5)
    assert report.exit_code is Exit.UNREACHABLE
    assert {outcome.status for outcome in report.outcomes} == {Status.GAVE_UP}
    assert recorder.waits


def test_several_files_go_at_once_and_no_more_than_asked(tmp_path: Path) -> None:
    """Goal: --parallel. Method: slow answers; the most uploads that the server saw at once."""

    def slow(handler: Handler) -> None:
        time.sleep(0.1)
        created(handler)

    with fake(slow) as server:
        push_files(server, files(tmp_path, 12), Options(parallel=3))
    assert server.most == 3


def accepted(handler: Handler) -> None:
    """202: in, but not listed yet."""
    handler.body()
    handler.answer(202, {"status": "created", "indexed": False, "files": []})


def test_an_accepted_file_is_waited_for(tmp_path: Path) -> None:
    """Goal: 0 only once the index lists it. Method: 202; `have` says indexed at the third question."""
    paths = files(tmp_path, 1)
    with fake(accepted) as server:
        server.on_have = lambda asked: listed(server, paths[0], indexed=asked >= 4) if asked > 1 else None
        report = push_files(server, paths)
        assert server.asked == 4
    (outcome,) = report.outcomes
    assert outcome.status is Status.PUBLISHED
    assert (outcome.code, outcome.detail, outcome.remedy) == ("", "", ""), "what it waited for is over"
    assert report.exit_code is Exit.OK


def test_a_file_that_is_never_listed(tmp_path: Path) -> None:
    """Goal: exit code 6 when the wait ends; 0 with --no-wait. Method: 202 and an index that never comes."""
    paths = files(tmp_path, 1)
    with fake(accepted) as server:
        server.on_have = lambda asked: listed(server, paths[0], indexed=False) if asked > 1 else None
        report = push_files(server, paths, Options(wait_for_s=1.0))
        assert (report.outcomes[0].status, report.exit_code) == (Status.PENDING, Exit.NOT_LISTED)
        server.known.clear()
        server.asked = 0
        report = push_files(server, paths, Options(wait=False))
        assert (report.outcomes[0].status, report.exit_code) == (Status.ACCEPTED, Exit.OK)


def test_a_held_file_is_reported_at_once(tmp_path: Path) -> None:
    """Goal: an incomplete source set is not waited for: nothing will come. Method: 202 held; a wait of a minute."""
    paths = files(tmp_path, 1)

    def held(handler: Handler) -> None:
        handler.body()
        handler.answer(202, {"status": "held", "indexed": False, "files": []})

    with fake(held) as server:
        server.on_have = lambda asked: listed(server, paths[0], indexed=False, held=True) if asked > 1 else None
        began = time.monotonic()
        report = push_files(server, paths, Options(wait_for_s=60))
    assert time.monotonic() - began < 10
    assert (report.outcomes[0].status, report.exit_code) == (Status.HELD, Exit.NOT_LISTED)


def test_what_is_passed_over_is_said_and_does_not_fail_the_push(tmp_path: Path) -> None:
    """Goal: exit code 0, an outcome for each file, only packages sent. Method: a folder with a .deb and a .udeb."""
    (package,) = files(tmp_path, 1)
    (tmp_path / "x_1_amd64.udeb").write_bytes(b"installer")
    with fake(created) as server:
        report = push_files(server, [], items=select([str(tmp_path)], KINDS["deb"]))
    assert server.uploads == [package.name]
    assert {outcome.item.path.suffix: outcome.status for outcome in report.outcomes} == {
        ".deb": Status.PUBLISHED,
        ".udeb": Status.PASSED_OVER,
    }
    assert report.exit_code is Exit.OK


def test_an_unreadable_file_is_refused_by_itself(tmp_path: Path) -> None:
    """Goal: a file that vanished after the selection costs itself alone. Method: remove it before the push."""
    paths = files(tmp_path, 2)
    paths[0].unlink()
    with fake(created) as server:
        report = push_files(server, paths)
    assert [(outcome.status, outcome.code) for outcome in report.outcomes] == [
        (Status.REFUSED, "file_unreadable"),
        (Status.PUBLISHED, ""),
    ]


def test_what_was_left_out_is_refused_and_the_rest_is_pushed(tmp_path: Path) -> None:
    """Goal: exit code 1 and a line for each part that was not pushed. Method: a folder with a link that leads nowhere
    and one that cannot be read; then that one alone.
    """
    (package,) = files(tmp_path, 1)
    (tmp_path / "lost.deb").symlink_to("nowhere")
    (tmp_path / "locked").mkdir(0)
    with fake(created) as server, permissions_hold():
        report = push_files(server, [], items=select([str(tmp_path)], KINDS["deb"]))
        alone = push_files(server, [], items=select([str(tmp_path / "locked")], KINDS["deb"]))
    assert server.uploads == [package.name]
    assert sorted((outcome.item.path.name, outcome.status, outcome.code) for outcome in report.outcomes) == [
        ("locked", Status.REFUSED, "file_unreadable"),
        ("lost.deb", Status.REFUSED, "file_unreadable"),
        (package.name, Status.PUBLISHED, ""),
    ]
    assert (report.exit_code, alone.exit_code, len(alone.outcomes)) == (Exit.REFUSED, Exit.REFUSED, 1)


def test_a_push_to_no_repository_fails_whatever_else_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Goal: exit code 0 never stands for files that were not sent. Method: `have` refuses the first batch, after a
    .udeb was passed over; then the second, after a file was published.
    """
    files(tmp_path, 2)
    (tmp_path / "x_1_amd64.udeb").write_bytes(b"installer")
    items = select([str(tmp_path)], KINDS["deb"])
    monkeypatch.setattr("entrepot.client.push.BATCH_FILES", 1)
    with fake(created) as server:
        server.gone_from = 1
        with pytest.raises(Problem, match="no such repository"):
            push_files(server, [], items=items)
    with fake(created) as server:
        server.gone_from = 2
        report = push_files(server, [], items=items)
    assert report.count(Status.PUBLISHED) == report.count(Status.NOT_SENT) == 1
    assert report.exit_code is Exit.REFUSED
