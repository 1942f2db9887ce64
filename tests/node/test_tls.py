"""HTTPS of the server's own: what it speaks, what it refuses to start with, and renewal under load."""

import http.client
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

import httpx
import pytest

from tests.support.builders import deb_bytes
from tests.support.ports import free_port
from tests.support.server import ServerProcess
from tests.support.tls import CertificateAuthority

P256 = ("ec", "-pkeyopt", "ec_paramgen_curve:P-256")
ENV = {
    "ENTREPOT_SIGNING_DEFAULT_ALGORITHM": "ed25519",
    "ENTREPOT_SIGNING_SPARE_KEYS": "1",
    "ENTREPOT_SERVER_DRAIN_WAIT_S": "0",
    "ENTREPOT_UPLOAD_INSPECTION_PROCESSES": "1",
    "ENTREPOT_CANARY_INTERVAL_S": "2",
}
LIMIT_S = 30.0
PROGRAM = str(Path(sys.executable).with_name("entrepot"))


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> CertificateAuthority:
    """A private authority."""
    return CertificateAuthority(tmp_path_factory.mktemp("ca"))


@dataclass
class Secure:
    """A server that speaks HTTPS, its files and what it is checked with."""

    server: ServerProcess
    authority: CertificateAuthority
    folder: Path
    context: ssl.SSLContext = field(init=False)

    def __post_init__(self) -> None:
        self.context = ssl.create_default_context(cafile=self.authority.ca_file)

    def renew(self, **options: object) -> str:
        """Put another pair in place; its certificate's fingerprint."""
        certificate, _ = self.authority.issue(self.folder, ["127.0.0.1"], **{"key": P256, **options})  # type: ignore[arg-type]
        return sha256(ssl.PEM_cert_to_DER_cert(certificate.read_text())).hexdigest()

    def connect(self) -> ssl.SSLSocket:
        """A connection whose certificate is good."""
        plain = socket.create_connection((self.server.address, self.server.port), LIMIT_S)
        return self.context.wrap_socket(plain, server_hostname="127.0.0.1")

    def served(self) -> str:
        """The fingerprint of the certificate that is served now."""
        with self.connect() as connection:
            return sha256(connection.getpeercert(binary_form=True) or b"").hexdigest()

    def client(self) -> httpx.Client:
        """With the administrator's token."""
        return httpx.Client(
            base_url=self.server.url,
            auth=(self.server.admin_token, ""),
            timeout=30,
            trust_env=False,
            verify=self.context,
        )

    def status(self) -> dict[str, object]:
        """``/statusz``."""
        found = httpx.get(f"http://127.0.0.1:{self.server.port + 1}/statusz", trust_env=False)
        return dict(found.raise_for_status().json())

    def metric(self, name: str) -> float:
        """A metric's value; several lines of one name are summed up."""
        text = httpx.get(f"http://127.0.0.1:{self.server.port + 1}/metrics", trust_env=False).text
        lines = [line for line in text.splitlines() if line.startswith(f"entrepot_{name}")]
        assert lines, name
        return sum(float(line.rpartition(" ")[2]) for line in lines)


@pytest.fixture(params=["granian", "uvicorn"])
def secure(request: pytest.FixtureRequest, authority: CertificateAuthority, tmp_path: Path) -> Iterator[Secure]:
    """A server with TLS, on each HTTP server."""
    certificate, key = authority.issue(tmp_path / "tls", ["127.0.0.1"], key=P256)
    args = ["--tls-cert", str(certificate), "--tls-key", str(key), "--http-server", request.param]
    with ServerProcess(tmp_path / "data", env=ENV, args=args, ca_file=authority.ca_file) as server:
        yield Secure(server, authority, tmp_path / "tls")


def wait_for(holds: Callable[[], bool], what: str) -> None:
    """Wait for a condition."""
    end = time.monotonic() + LIMIT_S
    while not holds():
        assert time.monotonic() < end, what
        time.sleep(0.1)


def speaks(secure: Secure, version: ssl.TLSVersion) -> bool:
    """Whether the server takes a client that speaks this version alone."""
    context = ssl.create_default_context(cafile=secure.authority.ca_file)
    context.set_ciphers("ALL:@SECLEVEL=0")  # as weak as the client can be made, so that the refusal is the server's
    with warnings.catch_warnings(action="ignore"):
        context.minimum_version = context.maximum_version = version
    plain = socket.create_connection((secure.server.address, secure.server.port), LIMIT_S)
    try:
        with context.wrap_socket(plain, server_hostname="127.0.0.1") as connection:
            return connection.version() is not None
    except ssl.SSLError:
        return False
    finally:
        plain.close()


def test_versions_the_canary_and_renewal_under_load(secure: Secure) -> None:
    """Goal: TLS 1.2 and 1.3 and nothing older; plain HTTP is no answer; the canary goes through; renewed files are
    taken without a restart, while nothing fails: not a request, not a new connection, not an upload that began before.
    Method: four clients that connect anew for each request, an upload held open, two renewals.
    """
    assert [speaks(secure, each) for each in (ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_2)] == [True, True]
    assert not speaks(secure, ssl.TLSVersion.TLSv1_1)
    with pytest.raises(httpx.HTTPError):
        httpx.get(f"http://{secure.server.address}:{secure.server.port}/livez", trust_env=False)
    with secure.client() as admin:
        admin.post("/api/v2/repos", json={"name": "acme/r"}).raise_for_status()
        links = admin.get("/api/v1/repos/acme/r.json").json()
        assert secure.server.url in json.dumps(links)
    content = deb_bytes("held", "1", files={"usr/share/x": os.urandom(500_000)})
    with asking(secure) as outcome, secure.connect() as upload:
        upload.sendall(head(secure, len(content)) + content[:200_000])
        for _ in range(2):
            wanted = secure.renew()
            wait_for(lambda expected=wanted: secure.served() == expected, "the renewed certificate is not served")  # type: ignore[misc]
        upload.sendall(content[200_000:])
        assert upload.recv(65536).startswith(b"HTTP/1.1 201")
    assert outcome.failures == []
    assert outcome.answers > 50
    assert 29 < secure.metric("tls_certificate_days") <= 30
    assert dict(secure.status()["tls"])["names"] == ["127.0.0.1"]  # type: ignore[call-overload]
    wait_for(lambda: secure.metric("canary_success") == 3, "the canary does not get through")


def head(secure: Secure, length: int) -> bytes:
    """The head of an upload."""
    lines = (
        "PUT /acme/r/debian/bookworm/held_1_amd64.deb HTTP/1.1", "Host: x", f"Content-Length: {length}",
        f"Authorization: Bearer {secure.server.admin_token}", "", "",
    )  # fmt: skip
    return "\r\n".join(lines).encode()


@dataclass
class Outcome:
    """What became of requests."""

    answers: int = 0
    failures: list[str] = field(default_factory=list)


@contextmanager
def asking(secure: Secure) -> Iterator[Outcome]:
    """Clients that ask all the time, on a new connection each time."""
    outcome, stop = Outcome(), threading.Event()

    def ask() -> None:
        while not stop.is_set():
            connection = http.client.HTTPSConnection(
                secure.server.address, secure.server.port, timeout=LIMIT_S, context=secure.context
            )
            try:
                connection.request("GET", "/livez")
                assert connection.getresponse().read() == b"ok\n"
                outcome.answers += 1
            except (OSError, http.client.HTTPException, AssertionError) as error:
                outcome.failures.append(repr(error))
            finally:
                connection.close()

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        yield outcome
    finally:
        stop.set()
        for thread in threads:
            thread.join()


@pytest.mark.parametrize("secure", ["granian"], indirect=True)
def test_a_renewed_pair_that_cannot_be_served_keeps_the_last_one(secure: Secure) -> None:
    """Goal: a bad pair is never served, and the log, a metric and a check say why; the next good one is taken, at once
    when SIGHUP asks for it. Method: another host's key, a key that the HTTP server dies of, an expired certificate.
    """
    before = secure.served()
    (secure.folder / "server.key").write_bytes(secure.authority.ca_key.read_bytes())
    bad: dict[str, Callable[[], object]] = {
        "does not belong to the certificate": lambda: None,
        "this kind of key cannot be served": lambda: secure.renew(key=("ec", "-pkeyopt", "ec_paramgen_curve:P-521")),
        "the certificate expired on": lambda: secure.renew(days=-1),
    }
    for words, put in bad.items():
        put()
        wait_for(lambda text=words: text in str(check(secure)["cause"]), words)  # type: ignore[misc]
        assert check(secure)["ok"] is False
        assert (secure.metric("tls_renewal_failed"), secure.served()) == (1, before)
        assert f"{words}" in secure.server.log()
    wanted = secure.renew()
    os.kill(secure.server.pid, signal.SIGHUP)
    wait_for(lambda: secure.served() == wanted, "the good one is not taken")
    wait_for(lambda: check(secure) == {"ok": True, "cause": ""}, "the check still fails")
    assert secure.metric("tls_renewal_failed") == 0
    assert "Traceback" not in secure.server.log()


def check(secure: Secure) -> dict[str, object]:
    """The certificate's check."""
    return dict(secure.status()["checks"]["tls"])  # type: ignore[index]


def refused(folder: Path, *args: str, prefix: tuple[str, ...] = ()) -> str:
    """What a server says that does not start; it has begun no data folder."""
    command = [*prefix, PROGRAM, "serve", "--data", str(folder / "data"), "--listen", f"127.0.0.1:{free_port()}", *args]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    assert (ended.returncode, ended.stdout) in ((1, ""), (2, "")), ended
    assert not (folder / "data").exists()
    (line,) = ended.stderr.splitlines()
    return line


def test_what_the_server_does_not_start_with(authority: CertificateAuthority, tmp_path: Path) -> None:
    """Goal: one sentence that names the setting and the remedy, exit code 1 or 2, nothing begun. Method: the real
    program; tests/node/test_certificate.py has the other pairs.
    """
    certificate, key = (str(path) for path in authority.issue(tmp_path / "good", ["packages.example.org"], key=P256))
    expired = [str(path) for path in authority.issue(tmp_path / "old", ["127.0.0.1"], key=P256, days=-1)]
    weak = [str(path) for path in authority.issue(tmp_path / "weak", ["127.0.0.1"], key=("ed448",))]
    pair = ("--tls-cert", certificate, "--tls-key", key)
    assert "tls_cert and tls_key go together" in refused(tmp_path, "--tls-cert", certificate)
    assert "the certificate expired on" in refused(tmp_path, "--tls-cert", expired[0], "--tls-key", expired[1])
    assert "kind of key cannot be served" in refused(tmp_path, "--tls-cert", weak[0], "--tls-key", weak[1])
    url = "https://pkg.example.org"
    assert f"clients ask for {url[8:]}" in refused(tmp_path, *pair, "--public-url", url)
    assert "write https://" in refused(tmp_path, *pair, "--public-url", "http://packages.example.org")
    os.chown(key, 1, 1)
    # Even root, once it may not read what others keep for themselves.
    bounded = ("setpriv", "--bounding-set=-dac_override,-dac_read_search")
    assert "may not be read by the user that the server runs as" in refused(tmp_path, *pair, prefix=bounded)
