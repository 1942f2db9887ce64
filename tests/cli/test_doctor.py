"""``entrepot doctor``: each check is seen to find what it is for, and a healthy server passes all of them."""

import json
import os
import sqlite3
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from entrepot.cli.checks import CHECKS, examination
from entrepot.node.folder import DataFolder
from entrepot.observe import clock as clock_module
from entrepot.settings.sources import Settings
from entrepot.signing.proof import Prover, new_nonce
from tests.cli.real import Client
from tests.disk.mounts import needs_root, tmpfs
from tests.support.ports import free_port
from tests.support.server import ServerProcess
from tests.support.tls import CertificateAuthority, TlsProxy
from tests.upkeep.saving import bed_in, small_catalogs

# One after the other in one process: the last one looks at what the others have seen.
pytestmark = pytest.mark.serial

MIB = 1 << 20
seen: set[str] = set()
"""Checks that some test here has seen to complain."""


@dataclass
class Sick:
    """A data folder without a server, to be made ill."""

    folder: Path
    changes: dict[str, Mapping[str, Any]] = field(default_factory=dict)

    def look(self) -> dict[str, list[tuple[str, str, str]]]:
        """(state, text, remedy) by check."""
        server = {"listen": f"127.0.0.1:{free_port()}", **self.changes.get("server", {})}
        settings = Settings.for_testing(self.folder, **{**self.changes, "server": server})
        found: dict[str, list[tuple[str, str, str]]] = {}
        for each in examination.examine(settings, None, None):
            found.setdefault(each.check, []).append((each.state, each.text, each.remedy))
            if each.state in ("failed", "warning"):
                assert each.remedy
                seen.add(each.check)
        return found

    def state(self, check: str) -> str:
        """The worst state of one check."""
        states = [state for state, _, _ in self.look()[check]]
        return max(states, key=("ok", "skipped", "warning", "failed").index)

    def sql(self, *statements: str) -> None:
        """Change the catalog."""
        with closing(sqlite3.connect(self.folder / "catalog.db")) as conn:
            for statement in statements:
                conn.execute(statement)
            conn.commit()


@pytest.fixture
def sick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sick]:
    with tmpfs(tmp_path / "volume", size_bytes=64 * MIB) as volume, small_catalogs(monkeypatch):
        with bed_in(volume) as bed:
            bed.add("hello")
        (bed.data / "format").write_text("1\n")
        for name in ("secret", "entrepot.toml"):
            (bed.data / name).chmod(0o600)
        monkeypatch.setattr(clock_module, "is_synchronised", lambda: True)
        yield Sick(bed.data)


def test_a_healthy_server_passes(server: ServerProcess, entrepot: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Goal: no false alarm, exit code 0, and one JSON object a check. Method: the shared server, and its own URL."""
    env = {"ENTREPOT_SERVER_LISTEN": f"{server.address}:{server.port}", "ENTREPOT_SERVER_PUBLIC_URL": server.url}
    entrepot("backup", server.data.with_name("healthy"), "--data", server.data)
    shown = entrepot("doctor", "--data", server.data, env=env)
    assert f"{server.url} leads to this server" in shown.stdout
    assert f"is the server of {server.data}" in shown.stdout
    rows = entrepot.json("doctor", "--data", server.data, env=env)
    assert {row["check"] for row in rows} == set(CHECKS)
    assert [row for row in rows if row["state"] == "failed"] == []
    # The public URL is loopback here, and a build machine's clock may be nobody's business.
    assert {row["check"] for row in rows if row["state"] == "warning"} <= {"public_url", "clock", "room"}
    assert server.admin_token not in shown.output


def test_a_server_with_other_settings_is_seen(server: ServerProcess, entrepot: Client) -> None:
    """Goal: who started the server with options of the command line is not told to start it. Method: the shared server,
    and settings that name ports where nobody is.

    Seen to fail with the lock of the folder not looked at.
    """
    env = {"ENTREPOT_SERVER_LISTEN": "127.0.0.1:9", "ENTREPOT_SERVER_ADMIN_LISTEN": "127.0.0.1:10"}
    rows = entrepot.json("doctor", "--data", server.data, env=env, rc=1)
    [row] = [row for row in rows if row["check"] == "server"]
    assert row["state"] == "failed"
    assert f"runs on {server.data}" in row["text"]
    assert f"{server.data}/entrepot.toml" in row["remedy"]


@needs_root
def test_each_illness_of_a_folder_is_found(sick: Sick, monkeypatch: pytest.MonkeyPatch) -> None:
    """Goal: every check of what lies on this machine can fail, and says how to mend it. Method: one illness after the
    other on a sound folder, each cured before the next."""
    assert sick.state("folder") == "ok"
    folder = sick.folder
    (folder / "secret").chmod(0o644)
    assert (
        "failed",
        f"{folder}/secret has mode 0644: others may read it",
        f"chmod 600 {folder}/secret",
    ) in sick.look()["secrets"]
    (folder / "secret").chmod(0o600)
    assert sick.state("secrets") == "ok"
    os.chown(folder / "catalog.db", 1, -1)
    assert sick.look()["folder"][0][2] == f"chown -R root: {folder}"
    os.chown(folder / "catalog.db", 0, -1)
    folder.chmod(0o755)
    assert sick.state("folder") == "warning"
    folder.chmod(0o700)
    (folder / "format").rename(folder / "restoring")
    assert "did not get to its end" in sick.look()["folder"][0][1]
    (folder / "restoring").rename(folder / "format")
    (folder / "format").write_text("2\n")
    assert "knows 1" in sick.look()["folder"][0][1]
    (folder / "format").write_text("1\n")
    filler = folder / "filler"
    filler.write_bytes(bytes(os.statvfs(folder).f_bavail * 4096 - MIB))
    assert sick.state("room") == "failed"
    filler.unlink()
    assert sick.state("room") in ("ok", "warning")
    assert sick.state("backup") == "warning"
    DataFolder.note_backup(folder, 1_700_000_000)
    assert "of 2023" in sick.look()["backup"][0][1]
    monkeypatch.setattr("entrepot.cli.checks.inside.is_synchronised", lambda: False)
    assert sick.state("clock") == "warning"
    monkeypatch.setattr("entrepot.cli.checks.inside.is_synchronised", lambda: None)
    assert sick.state("clock") == "ok"
    monkeypatch.setattr("entrepot.storage.probe.has_fallocate", lambda fd: False)
    assert "no fallocate" in sick.look()["file_system"][0][1]


@needs_root
def test_each_illness_of_a_catalog_is_found(sick: Sick) -> None:
    """Goal: the same for what the catalog knows. Method: rows that say so."""
    folder = sick.folder
    far = 4_000_000_000
    assert sick.state("tokens") == "failed"
    sick.sql(
        "INSERT INTO owner (id, name, created_at) VALUES (99, 'admin', 1)",
        "INSERT INTO token (owner_id, name, hash, role, created_at) VALUES (99, 'admin', 'h', 'admin', 1)",
    )
    assert sick.state("tokens") == "ok"
    sick.sql(
        "INSERT INTO token (owner_id, name, hash, role, created_at, last_used_at, expires_at)"
        " VALUES (99, 'ci', 'i', 'push', 1, 1, unixepoch() + 86400)"
    )
    assert "admin/ci" in sick.look()["tokens"][0][1]
    assert sick.state("keys") == "ok"
    sick.sql(
        "INSERT INTO signing_key (repository_id, algorithm, fingerprint, public_armored, secret_sealed, created_at,"
        " expires_at) VALUES (1, 'ed25519', 'ABCD', '', x'00', 1, unixepoch() + 864000)"
    )
    texts = [text for _, text, _ in sick.look()["keys"]]
    assert texts[0] == "the secret does not open signing key ABCD"
    assert texts[1] in ("ABCD ends in 9 days", "ABCD ends in 10 days")
    assert sick.state("copies") == "ok"
    sick.sql("INSERT INTO damage (key, found_at, why) SELECT key, 1, 'missing' FROM copy")
    assert sick.state("copies") == "failed"
    sick.sql(
        "INSERT INTO publication (scope_id, generation, change, epoch, published_at, date_s, second_shared, state)"
        f" SELECT id, 1, 1, 1, 1, {far}, 0, '' FROM scope"
    )
    assert sick.state("clock") == "failed"
    assert sick.state("catalog") == "ok"
    sick.sql("UPDATE alembic_version SET version_num = '9999'")
    assert "later version" in sick.look()["catalog"][0][1]
    (folder / "catalog.db").write_bytes(b"not a database at all" * 1000)
    assert sick.state("catalog") == "failed"


class _Impostor(BaseHTTPRequestHandler):
    """Another server at the public URL: it answers as one of ours would, with a secret of its own."""

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
        pass

    def do_GET(self) -> None:
        nonce = self.path.partition("nonce=")[2]
        content = json.dumps({"nonce": nonce, "proof": Prover(b"other" * 8).prove(nonce)}).encode()
        self.send_response(200 if "proof" in self.path else 404)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


@contextmanager
def impostor() -> Iterator[int]:
    """Its port."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Impostor) as other:
        thread = threading.Thread(target=other.serve_forever)
        thread.start()
        try:
            yield other.server_address[1]
        finally:
            other.shutdown()
            thread.join()


def test_the_public_url_must_lead_here(server: ServerProcess, entrepot: Client, tmp_path: Path) -> None:
    """Goal: the public URL passes when it leads to this server, through TLS and a proxy, and fails when nothing,
    another server, or one with an untrusted certificate is there. Method: each of them."""
    listen = {"ENTREPOT_SERVER_LISTEN": f"{server.address}:{server.port}"}

    def look(url: str, *more: str | Path, rc: int = 1) -> tuple[str, str]:
        rows = entrepot.json(
            "doctor", "--data", server.data, *more, env={**listen, "ENTREPOT_SERVER_PUBLIC_URL": url}, rc=rc
        )
        found = next(row for row in rows if row["check"] == "public_url")
        seen.update(row["check"] for row in rows if row["state"] in ("failed", "warning"))
        assert found["state"] == "ok" or found["remedy"]
        return found["state"], found["text"]

    assert look(f"http://127.0.0.1:{free_port()}")[0] == "failed"
    with impostor() as port:
        assert "another server" in look(f"http://127.0.0.1:{port}")[1]
        for admin, words in ((server.port + 1, "is another server"), (free_port(), "is in use")):
            env = {
                "ENTREPOT_SERVER_LISTEN": f"127.0.0.1:{port}",
                "ENTREPOT_SERVER_ADMIN_LISTEN": f"127.0.0.1:{admin}",
            }
            rows = entrepot.json("doctor", "--data", server.data, env=env, rc=1)
            assert any(row["check"] == "listen" and words in row["text"] for row in rows)
            seen.update(row["check"] for row in rows if row["state"] in ("failed", "warning"))
    authority = CertificateAuthority(tmp_path / "ca")
    proxy = TlsProxy(tmp_path / "proxy", authority, f"{server.address}:{server.port}")
    with proxy as running:
        state, text = look(running.url)
        assert (state, "certificate" in text.lower()) == ("failed", True)
        assert look(running.url, "--ca-file", authority.ca_file, rc=0) == ("ok", f"{running.url} leads to this server")


def test_settings_that_cannot_be_read(entrepot: Client, tmp_path: Path) -> None:
    """Goal: exit code 2 and the setting's name. Method: a misspelt one, and one that is not set."""
    (tmp_path / "entrepot.toml").write_text("[server]\nlistn = '1'\n")
    assert "server.listn" in entrepot("doctor", "--data", tmp_path, rc=2).stderr
    (tmp_path / "entrepot.toml").unlink()
    assert "is not there" in entrepot("doctor", "--data", tmp_path / "nowhere", rc=1).stdout


def test_a_proof_says_nothing_of_the_secret_and_binds_the_number() -> None:
    """Goal: only the same secret answers the same number. Method: others, and what is no number."""
    nonce = new_nonce()
    proof = Prover(b"s" * 32).prove(nonce)
    assert proof == Prover(b"s" * 32).prove(nonce)
    assert proof not in (Prover(b"t" * 32).prove(nonce), Prover(b"s" * 32).prove(new_nonce()))
    for wrong in ("", "x" * 64, "a" * 31, "a" * 129, "A" * 64):
        with pytest.raises(ValueError, match="hexadecimal"):
            Prover(b"s" * 32).prove(wrong)


def test_every_check_was_seen_to_complain() -> None:
    """Goal: no check is there that never finds anything. Method: what the tests above have seen."""
    assert set(CHECKS) - seen == set()
