"""The canary of a real server: green, gone without a trace, and heard within three intervals when something breaks."""

import contextlib
import json
import os
import socket
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from entrepot.formats.registry import formats
from tests.support.server import ServerProcess

FORMATS = frozenset(formats())
RUNS = 1000 if os.environ.get("FAULT_LANE") == "full" else 12
WAIT_S = 100.0 + (RUNS - 12) * 5
ENV = {
    "ENTREPOT_CANARY_INTERVAL_S": "1",
    "ENTREPOT_SIGNING_DEFAULT_ALGORITHM": "ed25519",
    "ENTREPOT_SIGNING_SPARE_KEYS": "0",
    "ENTREPOT_SERVER_DRAIN_WAIT_S": "0",
    "ENTREPOT_UPLOAD_PUBLICATION_WAIT_S": "2",
}
pytestmark = [pytest.mark.fault, pytest.mark.timeout(int(WAIT_S) + 60)]


def standing(server: ServerProcess) -> Mapping[str, Any]:
    """The canary's part of /statusz."""
    answer = httpx.get(f"http://127.0.0.1:{server.port + 1}/statusz", trust_env=False, timeout=30)
    return dict(answer.json()["canary"])


def figure(server: ServerProcess, name: str, **labels: str) -> float:
    """The sum of a metric over the series that have these labels."""
    text = httpx.get(f"http://127.0.0.1:{server.port + 1}/metrics", trust_env=False, timeout=30).text
    rows = [line for line in text.splitlines() if line.startswith(f"entrepot_{name}{{")]
    wanted = [f'{label}="{value}"' for label, value in labels.items()]
    return sum(float(line.rpartition(" ")[2]) for line in rows if all(each in line for each in wanted))


def passed(server: ServerProcess) -> float:
    """Runs that passed, of the format that had the fewest."""
    return min(figure(server, "canary_runs_total", format=name, outcome="passed") for name in FORMATS)


def wait_until(server: ServerProcess, holds: Callable[[], object], what: str) -> None:
    """Return when ``holds``; AssertionError with the end of the log when that takes too long."""
    end = time.monotonic() + WAIT_S
    while not holds():
        assert time.monotonic() < end, f"{what}\n{server.log_tail(2000)}"
        time.sleep(0.1)


def events(server: ServerProcess) -> list[dict[str, Any]]:
    """The log lines that the canary wrote."""
    lines = (json.loads(line) for line in server.log().splitlines() if line.startswith("{"))
    return [line for line in lines if str(line.get("event", "")).startswith("canary")]


@contextlib.contextmanager
def catalog(server: ServerProcess) -> Iterator[sqlite3.Connection]:
    """A connection of the test's own to the running server's catalog."""
    with contextlib.closing(sqlite3.connect(server.data / "catalog.db", timeout=60, isolation_level=None)) as conn:
        yield conn


def rows(server: ServerProcess) -> dict[str, int]:
    """Rows of every table."""
    with catalog(server) as conn:
        names = [row[0] for row in conn.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {name: conn.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in names}


def at_rest(server: ServerProcess) -> dict[str, int]:
    """Rows of every table, and the bytes of all package files, at a moment between two runs."""
    end = time.monotonic() + WAIT_S
    while True:
        first = rows(server)
        size_bytes = sum(each.size_bytes for each in server.leftovers())
        if first["file"] == 0 and first == rows(server):
            return {**first, "bytes": size_bytes}
        assert time.monotonic() < end, f"there never was a moment without a sample: {first}"
        time.sleep(0.05)


def grown(before: Mapping[str, int], after: Mapping[str, int]) -> dict[str, int]:
    """What has become more, and by how much. Upkeep, which comes when it likes, may have made other things less."""
    return {name: after[name] - before[name] for name in before if after[name] > before[name]}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server whose canary has passed."""
    with ServerProcess(tmp_path_factory.mktemp("canary") / "data", env=ENV) as running:
        wait_until(running, lambda: standing(running).keys() == FORMATS, "the canary did not run")
        yield running


def admin(server: ServerProcess) -> httpx.Client:
    """A client with the administrator's token."""
    return httpx.Client(base_url=server.url, auth=(server.admin_token, ""), timeout=30, trust_env=False)


def test_every_format_passes(server: ServerProcess) -> None:
    """Goal: a healthy node's canary is green, with its figures. Method: the real server, its own front door."""
    wait_until(server, lambda: passed(server) >= 2, "no second run passed")
    for name in FORMATS:
        found = standing(server)[name]
        assert (found["ok"], found["failures_in_row"], found["cause"]) == (True, 0, ""), found
        assert figure(server, "canary_success", format=name) == 1
        for phase in ("upload", "index", "download", "yank", "gone"):
            assert figure(server, "canary_seconds", format=name, phase=phase) > 0, (name, phase)
    assert events(server) == []


def test_its_repository_is_nobody_elses_business(server: ServerProcess) -> None:
    """Goal: the canary's repository cannot be read, made or seen in lists, and its token is nowhere in the log.
    Method: every list, a client without and one with another owner's token."""
    repository = "entrepot-canary/folder"
    with catalog(server) as conn:
        hashes = [row[0] for row in conn.execute("SELECT hash FROM token WHERE name = 'canary-folder'")]
    assert len(hashes) == 1
    addresses = ("debian/dists/bookworm/InRelease", "el/9/x86_64/repodata/repomd.xml", "gpgkey", "")
    with admin(server) as client:
        for listing in ("/api/v1/repos.json", "/api/v2/repos", "/"):
            assert "entrepot-canary" not in client.get(listing).text
        made = client.post("/api/v2/repos", json={"name": "entrepot-canary/mine"})
        assert (made.status_code, made.json()["code"]) == (422, "repository_name_invalid")
        client.post("/api/v2/repos", json={"name": "acme/tools"})
        other = client.post("/api/v2/tokens", json={"name": "ci", "owner": "acme", "role": "admin"}).json()["token"]
    for address in addresses:
        where = f"{server.url}/{repository}/{address}"
        assert httpx.get(where, trust_env=False).status_code == 401
        assert httpx.get(where, trust_env=False, auth=(other, "")).status_code == 403


def test_it_leaves_nothing_behind(server: ServerProcess) -> None:
    """Goal: no row and no byte more after any number of runs. Method: count every table and every file between runs,
    before and after."""
    before, runs = at_rest(server), passed(server)
    wait_until(server, lambda: passed(server) >= runs + RUNS, f"{RUNS} more runs did not pass")
    wait_until(server, lambda: not grown(before, at_rest(server)), f"it was {before}")


def test_a_restart_gives_the_token_a_new_text(server: ServerProcess) -> None:
    """Goal: no text that let the canary in outlives its process. Method: the hash before and after a restart."""
    text = "SELECT hash FROM token WHERE name = 'canary-folder'"
    with catalog(server) as conn:
        (before,) = conn.execute(text).fetchall()
    server.restart()
    wait_until(server, lambda: passed(server) >= 1, "no run passed after a restart")
    with catalog(server) as conn:
        (after,) = conn.execute(text).fetchall()
    assert before != after


def test_three_failures_are_an_alarm_that_ends(server: ServerProcess) -> None:
    """Goal: publication that stopped working is heard, with its cause, and so is its return; what the failures left is
    gone afterwards. Method: a trigger in the catalog makes every publication fail, until it is dropped."""
    before = at_rest(server)
    with catalog(server) as conn:
        conn.execute(
            "CREATE TRIGGER broken BEFORE INSERT ON publication BEGIN SELECT RAISE(ABORT, 'broken by the test'); END"
        )
    alarms: dict[str, dict[str, Any]] = {}

    def heard() -> bool:
        alarms.update((e["format"], e) for e in events(server) if e["event"] == "canary failed three times")
        return alarms.keys() == FORMATS

    wait_until(server, heard, "no alarm")
    for name, alarm in alarms.items():
        assert (alarm["level"], alarm["failures_in_row"]) == ("error", 3)
        assert "does not list the sample" in alarm["cause"], alarm
        assert figure(server, "canary_success", format=name) == 0
        assert figure(server, "canary_failures_in_row", format=name) >= 3
        assert not standing(server)[name]["ok"]
    with catalog(server) as conn:
        conn.execute("DROP TRIGGER broken")
    wait_until(server, lambda: all(each["ok"] for each in standing(server).values()), "it does not recover")
    assert {e["format"] for e in events(server) if e["event"] == "canary works again"} == FORMATS
    wait_until(server, lambda: not grown(before, at_rest(server)), f"the failed runs left rows: {before}")


def test_a_failing_volume_is_an_alarm(tmp_path: Path) -> None:
    """Goal: storage that fails is heard, with what failed. Method: every link(2) of the blob store, from soon after
    the start on, fails with EIO."""
    with ServerProcess(tmp_path / "data", env={**ENV, "ENTREPOT_FAULT": "link_fd:10+:EIO"}) as running:

        def heard() -> bool:
            found = standing(running)
            return bool(found) and all(each["failures_in_row"] >= 3 for each in found.values())

        wait_until(running, heard, "no alarm")
        alarms = [e for e in events(running) if e["event"] == "canary failed three times"]
        assert {e["format"] for e in alarms} == FORMATS
        assert all("storage_failed" in e["cause"] and e["phase"] == "upload" for e in alarms)


def test_a_full_volume_refuses_and_raises_no_alarm(tmp_path: Path) -> None:
    """Goal: a node that has no room and says so has not failed; the cause is named. Method: every fallocate(2) of the
    blob store, from soon after the start on, fails with ENOSPC."""
    with ServerProcess(tmp_path / "data", env={**ENV, "ENTREPOT_FAULT": "fallocate:10+:ENOSPC"}) as running:

        def refused_often() -> bool:
            return all(figure(running, "canary_runs_total", format=name, outcome="refused") >= 4 for name in FORMATS)

        wait_until(running, refused_often, "the canary was not refused")
        for found in standing(running).values():
            assert (found["outcome"], found["failures_in_row"], found["ok"]) == ("refused", 0, False)
            assert "no_room" in found["cause"]
        assert "canary failed three times" not in running.log()


def test_it_goes_where_the_settings_say(tmp_path: Path) -> None:
    """Goal: `canary.url` is where the canary goes (a load balancer), and a front door that nobody opens is an alarm
    while the node itself is well. Method: a URL with a port that nobody listens on."""
    env = {**ENV, "ENTREPOT_CANARY_URL": "http://127.0.0.1:9"}
    with ServerProcess(tmp_path / "data", env=env) as running:
        wait_until(running, lambda: "canary failed three times" in running.log(), "no alarm")
        (cause,) = {found["cause"] for found in standing(running).values()}
        assert "cannot be reached" in cause


def test_a_stop_does_not_wait_for_a_silent_front_door(tmp_path: Path) -> None:
    """Goal: a load balancer that takes connections and never answers does not hold up a stop. Method: a socket that is
    silent, and a limit for answers that is longer than any stop may take."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(WAIT_S)
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        env = {**ENV, "ENTREPOT_CANARY_URL": url, "ENTREPOT_UPLOAD_PUBLICATION_WAIT_S": "300"}
        with ServerProcess(tmp_path / "data", env=env) as running:
            connection, _ = silent.accept()
            with connection:
                assert running.stop(timeout_s=60) == 0
