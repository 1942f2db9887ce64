"""Back-up and return of a real server, as an operator types it and as its clients see it."""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.cli.real import PROGRAM, SETTINGS, Client
from tests.support.apt import AptRoot
from tests.support.deb import deb_bytes
from tests.support.dnf import DnfRepo, DnfRoot
from tests.support.process import run
from tests.support.rpmfast import FastRpm, fast_rpm_bytes
from tests.support.server import ServerProcess

LIMIT_S = 30.0


@dataclass
class Story:
    """One server with its clients."""

    server: ServerProcess
    folder: Path
    entrepot: Client
    repository: str

    def push(self, version: str, text: str = "") -> None:
        """A package of each kind in this version, listed."""
        content = {f"usr/share/hello/{version}": (text or version).encode()}
        deb = deb_bytes("hello", version, files=content)
        rpm = fast_rpm_bytes(
            FastRpm(
                name="hello", version=version, release="1", files={f"/{each}": body for each, body in content.items()}
            )
        )
        with httpx.Client(
            base_url=self.server.url, auth=(self.server.admin_token, ""), timeout=60, trust_env=False
        ) as admin:
            for path, body in (
                (f"debian/bookworm/hello_{version}_amd64.deb", deb),
                (f"el/9/hello-{version}-1.x86_64.rpm", rpm),
            ):
                assert admin.put(f"/{self.repository}/{path}", content=body).status_code == 201

    def get(self, path: str) -> bytes:
        """A file of the repository."""
        answer = httpx.get(f"{self.server.url}/{self.repository}/{path}", timeout=60, trust_env=False)
        assert answer.status_code == 200
        return answer.content

    def indexes(self) -> tuple[bytes, bytes]:
        """Both entry points."""
        return self.get("debian/dists/bookworm/InRelease"), self.get("el/9/x86_64/repodata/repomd.xml")

    def apt(self) -> AptRoot:
        """apt, which trusts the repository's key."""
        key = self.folder / "key.asc"
        key.write_bytes(self.get("gpgkey"))
        return AptRoot(
            self.folder / "apt", f"deb [signed-by={key}] {self.server.url}/{self.repository}/debian bookworm main"
        )

    def dnf(self) -> DnfRoot:
        """dnf, the same."""
        base = f"{self.server.url}/{self.repository}"
        return DnfRoot(self.folder / "dnf", [DnfRepo(f"{base}/el/9/x86_64", gpgkey=f"{base}/gpgkey")])


@pytest.fixture
def story(server: ServerProcess, entrepot: Client, tmp_path: Path, request: pytest.FixtureRequest) -> Story:
    """On the server that all tests of the command line share."""
    return Story(server, tmp_path, entrepot, entrepot.repository(f"saved/{request.node.name}"))


@pytest.fixture
def doomed(tmp_path: Path) -> Iterator[Story]:
    """On a server of its own."""
    home = tmp_path / "home"
    home.mkdir()
    with ServerProcess(tmp_path / "data", env=SETTINGS) as server:
        entrepot = Client(server, home)
        yield Story(server, tmp_path, entrepot, entrepot.repository("acme/r"))


@pytest.mark.clients
def test_clients_that_saw_newer_indexes_go_on(doomed: Story) -> None:
    """Goal: load, back up, kill, wipe, restore: and clients that had seen what was pushed after the back-up update
    without an error, see what is there, and install it. Method: the real apt-get and dnf before and after.

    Seen to fail with the indexes not published anew: apt kept the newer list, and asked for a package that was gone."""
    story, dest = doomed, doomed.folder / "dest"
    story.push("1.0")
    story.entrepot("backup", dest, "--data", story.server.data)
    saved = story.indexes()
    time.sleep(1.1)  # dates have seconds: what clients saw must be newer than the back-up
    story.push("2.0")
    apt, dnf = story.apt(), story.dnf()
    apt.update()
    dnf.makecache()
    assert apt.candidate("hello") == "2.0"
    assert dnf.repoquery() == ["hello-0:1.0-1.x86_64", "hello-0:2.0-1.x86_64"]
    token, seen = story.server.admin_token, story.indexes()
    story.server.kill9()
    shutil.rmtree(story.server.data)
    run([PROGRAM, "restore", dest, story.server.data])
    story.server.start()
    assert story.server.admin_token == token
    end = time.monotonic() + LIMIT_S
    while any(now == old for now, old in zip(story.indexes(), saved, strict=True)):
        assert time.monotonic() < end, "the indexes were not published anew"
        time.sleep(0.05)
    assert not set(story.indexes()) & set(seen)
    apt.update()
    assert apt.candidate("hello") == "1.0"
    apt.install("hello")
    assert apt.installed() == {"hello": "1.0"}
    dnf.makecache()
    assert dnf.repoquery() == ["hello-0:1.0-1.x86_64"]
    dnf.install("hello")
    story.push("2.0", "other bytes under a name that came back")
    apt.update()
    assert apt.candidate("hello") == "2.0"
    apt.upgrade()
    assert apt.installed() == {"hello": "2.0"}
    dnf.upgrade()
    assert dnf.installed() == ["hello-2.0-1.x86_64"]


def test_what_the_commands_say(story: Story) -> None:
    """Goal: each command says what it did and what is wrong, in sentences and in JSON, with its exit code. Method: a
    sound back-up, one with damage, a restore over it, a partial one; no secret on any output."""
    dest, back = story.folder / "dest", story.folder / "back"
    story.push("1.0")
    entrepot, data = story.entrepot, story.server.data
    first = entrepot("backup", dest, "--data", data)
    assert "holds the server of" in first.stdout
    assert "lies on the disk that it should save from" in first.stderr
    (again,) = entrepot.json("backup", dest, "--data", data)
    assert (again["new_copies"], again["lacking"], again["noted"]) == (0, [], True)
    assert int((data / "last-backup").read_text()) == again["made_at"]
    assert "all is well" in entrepot("verify", dest).stdout
    assert "all is well" in entrepot("verify", data).stdout
    refused = entrepot("restore", dest, data, rc=1)
    assert "[restore_not_empty]" in refused.stderr
    assert "Name an empty folder" in refused.stderr
    (copy, *_rest) = sorted((dest / "blobs").glob("??/*"), key=lambda path: -path.stat().st_size)
    copy.write_bytes(b"rotten")
    (state,) = dest.glob("state-*")
    (state / "secret").write_text("0" * 64)
    found = entrepot("verify", dest, rc=1)
    assert f"blobs/{copy.parent.name}/{copy.name}" in found.stdout
    assert story.repository in found.stdout
    assert "the secret does not open signing key" in found.stdout
    assert "[backup_damaged]" in entrepot("restore", dest, back, rc=1).stderr
    assert not back.exists()
    (error,) = entrepot.json("restore", dest, back, rc=1)
    assert (error["event"], error["code"]) == ("error", "backup_damaged")
    (state / "secret").unlink()
    assert entrepot("verify", dest, rc=1).stdout.count("secret") == 1
    shutil.copy(data / "secret", state / "secret")
    partial = entrepot("restore", dest, back, "--partial", rc=1)
    assert story.repository in partial.stdout
    assert "tokens revoked after it are valid" in partial.stderr
    without = story.folder / "without"
    assert "the secret is not in it" in entrepot("backup", without, "--data", data, "--without-secret").stderr
    assert list(without.glob("state-*/secret")) == []
    assert "holds no secret" in entrepot("verify", without).stderr
    for missing in (("backup", dest, "--data", story.folder / "nowhere"), ("verify", story.folder / "nowhere")):
        assert "[backup_source]" in entrepot(*missing, rc=1).stderr


def test_a_backup_runs_beside_uploads(story: Story) -> None:
    """Goal: a back-up of a busy server is whole, and no upload fails for it. Method: pushes without a pause meanwhile;
    one back-up is interrupted, the next is read whole."""
    dest = story.folder / "dest"
    command = [PROGRAM, "backup", str(dest), "--data", str(story.server.data), "--json"]
    story.push("1.0")
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, **SETTINGS})
    number = 1
    while running.poll() is None:
        number += 1
        story.push(f"1.{number}")
    assert running.returncode == 0, running.communicate()
    assert json.loads(running.communicate()[0])["copies"] >= 2
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    while not (dest / "unfinished").exists() and running.poll() is None:
        time.sleep(0.005)
    running.send_signal(signal.SIGINT)
    assert running.wait(30) in (0, 130)
    running.communicate()
    story.push("2.0")
    story.entrepot("backup", dest, "--data", story.server.data)
    assert "all is well" in story.entrepot("verify", dest).stdout
    assert not (dest / "unfinished").exists()


def test_lost_indexes_are_made_again(story: Story) -> None:
    """Goal: a restore without the bytes of an index serves the packages all the same. Method: every segment of the
    back-up is lost; a server on the partial restore lists what was pushed, under a signature that apt takes.

    Seen to fail with the indexes' state kept: no publication came, and its entry points named files that were gone."""
    dest, back = story.folder / "dest", story.folder / "back"
    story.push("1.0")
    story.entrepot("backup", dest, "--data", story.server.data)
    (state,) = dest.glob("state-*")
    with closing(sqlite3.connect(state / "catalog.db")) as conn:
        keys = [row[0] for row in conn.execute("SELECT key FROM copy WHERE blob_id IN (SELECT blob_id FROM segment)")]
    assert len(keys) >= 4
    for key in keys:
        (dest / "blobs" / key[:2] / key).unlink()
    story.entrepot("restore", dest, back, "--partial", rc=1)
    with ServerProcess(back, env=SETTINGS, public_url=story.server.url) as server:
        again = Story(server, story.folder, story.entrepot, story.repository)
        end = time.monotonic() + LIMIT_S
        while (
            b"hello"
            not in httpx.get(
                f"{server.url}/{story.repository}/debian/dists/bookworm/main/binary-amd64/Packages", trust_env=False
            ).content
        ):
            assert time.monotonic() < end, server.log_tail()
            time.sleep(0.05)
        apt = again.apt()
        apt.update()
        apt.install("hello")
        assert "all is well" in story.entrepot("verify", back).stdout
