"""A secret that does not open the signing keys is told at the start; a lost one can be replaced; keys that cannot be
made or opened are refusals, and no reading needs the secret.
"""

import os
import signal
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import httpx
import pytest

from entrepot.signing.verify import signed_by
from tests.support.builders import deb_bytes
from tests.support.server import process_tree
from tests.support.starts import Start, Starts, copied

pytestmark = [pytest.mark.timeout(300), pytest.mark.xdist_group("starts")]

OTHER_SECRET = "0123456789abcdef" * 4
SOUND, BROKEN = "acme/sound", "acme/broken"


@pytest.fixture(scope="module")
def starts() -> Iterator[Starts]:
    """One process that forks all servers of this module."""
    with Starts() as found:
        yield found


@contextmanager
def running(starts: Starts, data: Path, *args: str) -> Iterator[tuple[Start, httpx.Client]]:
    """A server that got ready, and its administrator."""
    with starts.begin(data, *args, env={"ENTREPOT_UPLOAD_PUBLICATION_WAIT_S": "20"}) as start:
        assert start.settle() is None, start.log
        token = (data / "admin-token").read_text().strip()
        with httpx.Client(base_url=start.url, auth=(token, ""), timeout=60, trust_env=False) as client:
            yield start, client


def push(client: httpx.Client, repository: str, name: str) -> int:
    """Push a new package; the status."""
    path = f"/{repository}/debian/bookworm/{name}_1.0-1_amd64.deb"
    return client.put(path, content=deb_bytes(name)).status_code


def key(client: httpx.Client, repository: str) -> bytes:
    """The public key as clients fetch it."""
    return client.get(f"/{repository}/gpgkey").raise_for_status().content


def listed(client: httpx.Client, repository: str) -> bytes:
    """What the entry point says, once its signature is that of the key that is served."""
    entry = client.get(f"/{repository}/debian/dists/bookworm/InRelease").raise_for_status().content
    return signed_by(key(client, repository), entry)


@pytest.fixture(scope="module")
def used(starts: Starts, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two repositories and a package in each; tests take copies."""
    data = tmp_path_factory.mktemp("used") / "data"
    with running(starts, data) as (_, admin):
        for repository in (SOUND, BROKEN):
            admin.post("/api/v2/repos", json={"name": repository}).raise_for_status()
            assert push(admin, repository, "hello") == 201
            assert listed(admin, repository)
    return data


@pytest.fixture
def data(used: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return copied(used, tmp_path / "data")


def break_seal(data: Path) -> None:
    """One repository's key was sealed by another secret."""
    with closing(sqlite3.connect(data / "catalog.db", isolation_level=None)) as db:
        db.execute(
            "UPDATE signing_key SET secret_sealed = CAST(secret_sealed || x'00' AS BLOB)"
            " WHERE repository_id = (SELECT id FROM repository WHERE name = ?)",
            (BROKEN.partition("/")[2],),
        )


@pytest.mark.parametrize("place", ["file", "setting"])
def test_another_secret_is_refused_at_the_start(starts: Starts, data: Path, place: str) -> None:
    """Goal: with a secret that opens no key the server does not start, and one sentence says where it came from and
    what to do; with the right one back all is well. Method: other digits, in the file or as a setting. Seen to fail
    (ready, every push a 202) without the check.
    """
    right = (data / "secret").read_text()
    env = {}
    if place == "file":
        (data / "secret").write_text(f"{OTHER_SECRET}\n")
    else:
        env = {"ENTREPOT_SIGNING_SECRET": OTHER_SECRET}
    with starts.begin(data, env=env) as start:
        assert start.settle() == 1, start.log
        told = [line for line in start.log.splitlines() if not line.startswith("{")]
        assert len(told) == 1, start.log
        source = f"entrepot: {data}/secret" if place == "file" else "entrepot: the setting signing.secret"
        assert told[0].startswith(f"{source} opens none of the signing keys in the catalog")
        assert "--replace-lost-keys" in told[0]
        assert OTHER_SECRET not in start.log
    (data / "secret").write_text(right)
    with running(starts, data) as (_, admin):
        assert push(admin, SOUND, "again") == 201


def test_a_lost_secret_is_replaced(starts: Starts, data: Path) -> None:
    """Goal: the way back when no back-up has the secret: one start with the option, and everything that was published
    is signed by new keys, which are served; packages and tokens stay. Method: the file goes; three starts, of which
    the later two change nothing, with the option and without. The old key's row is kept.
    """
    (data / "secret").unlink()
    with running(starts, data, "--replace-lost-keys") as (start, admin):
        start.wait_logged("signing keys given up")
        until = time.monotonic() + 30
        keys = {}
        for repository in (SOUND, BROKEN):
            keys[repository] = key(admin, repository)
            while True:  # the indexes follow in the background
                try:
                    assert b"Codename: bookworm" in listed(admin, repository)
                    break
                except Exception:
                    assert time.monotonic() < until
                    time.sleep(0.05)
        assert push(admin, SOUND, "again") == 201
    for option in ("--replace-lost-keys", None):
        with running(starts, data, *filter(None, [option])) as (start, admin):
            assert "given up" not in start.log
            assert {repository: key(admin, repository) for repository in (SOUND, BROKEN)} == keys
            assert b"Codename: bookworm" in listed(admin, SOUND)
    with closing(sqlite3.connect(data / "catalog.db")) as db:
        assert db.execute("SELECT count(*) FROM signing_key WHERE retired_at IS NOT NULL").fetchone() == (2,)
        assert db.execute("SELECT count(*) FROM audit WHERE action = 'key.lost'").fetchone() == (2,)


def test_one_key_that_does_not_open(starts: Starts, data: Path) -> None:
    """Goal: one bad key stops one repository: the log names it at the start, its public key is served, a push to it is
    kept, and its publication fails with a code of the table; the others work. With the option it works again.
    """
    break_seal(data)
    with starts.begin(data, env={"ENTREPOT_UPLOAD_PUBLICATION_WAIT_S": "0.5"}) as start:
        assert start.settle() is None, start.log
        token = (data / "admin-token").read_text().strip()
        with httpx.Client(base_url=start.url, auth=(token, ""), timeout=60, trust_env=False) as admin:
            assert key(admin, BROKEN).startswith(b"-----BEGIN PGP PUBLIC KEY BLOCK-----")
            assert push(admin, BROKEN, "later") == 202
            assert push(admin, SOUND, "later") in (201, 202)
        start.wait_logged(f'"event": "signing keys cannot be opened", "keys": 1, "repositories": "{BROKEN}"')
        start.wait_logged('"error": "signing_failed: The sealed key cannot be opened with this secret')
    with running(starts, data, "--replace-lost-keys") as (_, admin):
        assert push(admin, BROKEN, "last") == 201
        page = admin.get(f"/api/v2/repos/{BROKEN}").raise_for_status().json()
        assert page["files"] == 3, page
        assert b"Codename: bookworm" in listed(admin, BROKEN)


def test_a_key_that_cannot_be_made(starts: Starts, data: Path) -> None:
    """Goal: when the child that makes keys dies, the repository that was being made is there, and gets its key with
    its first push; no 500. Method: SIGKILL to the child as it comes up. Seen to fail (500) without the translation.
    """
    with running(starts, data) as (start, admin):
        until = time.monotonic() + 30
        while len(process_tree(start.pid)) < 2:  # the one that inspects packages is made ahead
            assert time.monotonic() < until
            time.sleep(0.01)
        before = set(process_tree(start.pid))
        answers: list[httpx.Response] = []
        maker = threading.Thread(target=lambda: answers.append(admin.post("/api/v2/repos", json={"name": "acme/late"})))
        maker.start()
        while not (children := set(process_tree(start.pid)) - before):
            assert time.monotonic() < until
        for pid in children:
            os.kill(pid, signal.SIGKILL)
        maker.join(60)
        assert answers[0].status_code == 201, answers[0].text
        start.wait_logged('"event": "signing key not made"')
        assert push(admin, "acme/late", "hello") == 201
        assert listed(admin, "acme/late")
