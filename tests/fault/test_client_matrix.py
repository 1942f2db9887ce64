"""The real clients against a volume that is short of room: what each says, that none hangs, and that reads go on."""

import json
import random
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.fault.rig import FULL, Rig
from tests.fault.routes import RpmPut, put_deb
from tests.fault.tally import note
from tests.support.apt import AptRoot
from tests.support.builders import deb_bytes, make_changes, make_jar
from tests.support.dnf import DnfRepo, DnfRoot
from tests.support.dput import DputClient
from tests.support.maven import MavenClient, MavenServer
from tests.support.process import Result, client_env, run
from tests.support.volumes import MIB, Volume, tmpfs

pytestmark = [pytest.mark.fault, pytest.mark.clients, pytest.mark.timeout(900)]

VOLUME_BYTES = 64 * MIB
# What another process leaves free: between the thresholds of SHED and READONLY of such a volume, and nothing.
LEFT_BYTES = {"SHED": 6 * MIB, "READONLY": 0}
UPLOAD_BYTES = 3 * MIB
RETRY_S = 6
CLIENT_S_MAX = 240.0
NAME = "wanted"


@dataclass(frozen=True, slots=True)
class Stand:
    """Where the clients stand: the server, its repository, and a folder with files to send."""

    rig: Rig
    repository: str
    folder: Path

    @property
    def url(self) -> str:
        """The repository's address."""
        return f"{self.rig.url}/{self.repository}"

    def deb(self) -> Path:
        """A .deb that is not there yet."""
        path = self.folder / f"{NAME}_1.0-1_amd64.deb"
        path.write_bytes(deb_bytes(NAME, files={"usr/share/wanted": bytes(UPLOAD_BYTES)}, compression="none"))
        return path


def by_curl(stand: Stand, *more: str) -> Result:
    """curl -T; like every client here it is told to fail on a refusal."""
    deb = stand.deb()
    flags = ["--silent", "--show-error", "--fail-with-body", "-u", f"{stand.rig.admin_token}:", *more]
    return run(["curl", *flags, "-T", deb, f"{stand.url}/debian/bookworm/"], check=False, timeout_s=CLIENT_S_MAX)


def by_curl_retry(stand: Stand) -> Result:
    """The same, coming back as the server says."""
    return by_curl(stand, "--retry", "2", "--retry-max-time", "60")


def by_push(stand: Stand) -> Result:
    """The product's own client, which comes back for a while."""
    env = client_env(stand.folder, {"ENTREPOT_URL": stand.rig.url, "ENTREPOT_TOKEN": stand.rig.admin_token})
    program = Path(sys.executable).with_name("entrepot")
    args: list[str | Path] = ["push", f"{stand.repository}/debian/bookworm", stand.deb(), "--retry-for", f"{RETRY_S}s"]
    return run([program, *args], check=False, env=env, timeout_s=CLIENT_S_MAX)


def by_dput(stand: Stand) -> Result:
    """dput of a .changes."""
    changes = make_changes(stand.folder, NAME, "1.0-1", [stand.deb()])
    client = DputClient(
        stand.folder / "dput", f"{stand.url}/debian/bookworm/", login="token", password=stand.rig.admin_token,
        timeout_s=CLIENT_S_MAX,
    )  # fmt: skip
    return client.upload(changes, check=False)


def jar_of(stand: Stand) -> Path:
    """A jar that is not there yet."""
    jar = stand.folder / "app.jar"
    jar.write_bytes(make_jar({"data": random.Random(1).randbytes(UPLOAD_BYTES)}))
    return jar


def by_mvn(stand: Stand) -> Result:
    """mvn deploy:deploy-file."""
    servers = [MavenServer("test", stand.rig.admin_token, "x")]  # mvn ignores an empty password
    client = MavenClient(stand.folder / "maven", servers=servers, timeout_s=CLIENT_S_MAX)
    return client.deploy_file(jar_of(stand), f"{stand.url}/maven2", "org.example:app:1.0", check=False)


def by_gradle(stand: Stand) -> Result:
    """gradle publish."""
    client = MavenClient(stand.folder / "gradle", timeout_s=CLIENT_S_MAX)
    return client.gradle_publish(
        jar_of(stand), f"{stand.url}/maven2", "org.example:app:1.0", username=stand.rig.admin_token, password="x",
        check=False,
    )  # fmt: skip


CLIENTS: dict[str, Callable[[Stand], Result]] = {
    "curl -T": by_curl,
    "curl -T --retry 2": by_curl_retry,
    "entrepot push": by_push,
    "dput": by_dput,
    "mvn deploy": by_mvn,
    "gradle publish": by_gradle,
}
SAMPLE = ("curl -T", "entrepot push", "dput")


@contextmanager
def short_of_room(folder: Path, state: str) -> Iterator[tuple[Volume, Stand]]:
    """A server with a .deb and an .rpm whose volume another process has filled; the volume is in ``state``."""
    with tmpfs(folder / "disk", VOLUME_BYTES) as volume:
        rig = Rig(volume.path / "data", env={"ENTREPOT_DISK_LEAVE_S": "1"})
        rig.control, rig.log_path = folder / "control", folder / "server.log"
        rig.env["FAULT_CONTROL"] = str(rig.control)
        with rig:
            repository = rig.repository("acme/short")
            assert put_deb(rig, repository).status == 201
            RpmPut().prepare(rig, repository)
            volume.fill(LEFT_BYTES[state])
            deadline = time.monotonic() + 60
            while rig.statusz()["volumes"][0]["state"] != state:
                assert time.monotonic() < deadline, rig.statusz()["volumes"]
                time.sleep(0.1)
            (folder / "client").mkdir()
            yield volume, Stand(rig, repository, folder / "client")


@pytest.mark.parametrize("state", list(LEFT_BYTES) if FULL else ["READONLY"])
def test_every_client_is_told(tmp_path: Path, state: str) -> None:
    """Goal: no client hangs or takes a refusal for success, each shows that there is no room, and apt and dnf read on.

    Method: each client sends a package of 3 MiB; then apt installs what is there, and dnf fetches it; then the room
    comes back, and the same curl succeeds.
    """
    with short_of_room(tmp_path, state) as (volume, stand):
        for name, client in CLIENTS.items():
            if not FULL and name not in SAMPLE:
                continue
            began = time.monotonic()
            result = client(stand)
            took_s = time.monotonic() - began
            said = said_of(result, tmp_path)
            assert not result.ok, f"{name} took the refusal for success: {result.output}"
            assert said, f"{name} does not say why: {result.output}"
            note(client=[name, state, f"ends with {result.rc} after {took_s:.0f} s", said])
        read_on(stand)
        if FULL:
            read_on_by_dnf(stand)
        (volume.path / "filler").unlink()
        deadline = time.monotonic() + 60
        while not by_curl(stand).ok:
            assert time.monotonic() < deadline
        stand.rig.check_idle()


def said_of(result: Result, folder: Path) -> str:
    """The line by which the client tells its user, without this test's own folders; empty when there is none."""
    for line in result.output.splitlines():
        if line.startswith("{"):
            return str(json.JSONDecoder().raw_decode(line)[0]["title"])  # curl's own line may follow it
        if (
            "503" in line
            or "no_room" in line
            or "bytes for uploads" in line
            or "is full" in line
            or "Service Unavailable" in line
        ):
            plain = re.sub(rf"{re.escape(str(folder))}\S*/", "", line)
            found = re.search(
                r"(Could not (transfer|PUT)|[Uu]pload|The volume|gave up).*", re.sub(r"http://[^\s']+", "URL", plain)
            )
            return " ".join((found[0] if found else plain).split())[:160]
    return ""


def read_on(stand: Stand) -> None:
    """apt updates and installs while writes are refused."""
    keyring = stand.folder / "key.asc"
    keyring.write_text(stand.rig.send("GET", f"/{stand.repository}/gpgkey").text)
    root = AptRoot(stand.folder / "root", f"deb [signed-by={keyring}] {stand.url}/debian/ bookworm main")
    root.update()
    names = root.pkgnames()
    root.install(names[0])
    assert names[0] in root.installed()
    note(client=["apt update, apt install", "any", "ends with 0", "installed"])


def read_on_by_dnf(stand: Stand) -> None:
    """dnf fetches the index with its signature, and the package, while writes are refused."""
    url = f"{stand.url}/el/9/x86_64"
    root = DnfRoot(stand.folder / "dnf", [DnfRepo(url, gpgkey=f"{stand.url}/gpgkey")])
    root.makecache()
    names = root.repoquery("--queryformat", "%{name}")
    root.download(names[0])
    assert [name for name in root.downloaded() if name.startswith(f"{names[0]}-")]
    note(client=["dnf makecache, dnf download", "any", "ends with 0", "downloaded"])
