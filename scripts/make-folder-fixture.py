#!/usr/bin/env python3
"""Makes a data folder with a given version of the program and packs it: the fixture that later versions must migrate.

    scripts/make-folder-fixture.py --program /opt/entrepot-0.1.0/bin/entrepot

Run it for each version when it is tagged, with that version's own program, and commit what it writes to
tests/fixtures/folders. ``expected.json`` in the archive says what is in the folder; what only takes room (the catalog's
kept pages, the ballast) is taken out.
"""

import argparse
import hashlib
import json
import lzma
import sqlite3
import subprocess
import sys
import tarfile
import tempfile
from contextlib import closing
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import httpx  # noqa: E402

from tests.support.deb import deb_bytes  # noqa: E402
from tests.support.java import make_jar, make_pom  # noqa: E402
from tests.support.rpmfast import FastRpm, fast_rpm_bytes  # noqa: E402
from tests.support.server import ServerProcess  # noqa: E402

TARGET = ROOT / "tests" / "fixtures" / "folders"
KEPT = ("format", "secret", "admin-token", "catalog.db", "blobs")
ENV = {"ENTREPOT_SIGNING_DEFAULT_ALGORITHM": "ed25519", "ENTREPOT_SIGNING_SPARE_KEYS": "0"}


def packages() -> dict[str, bytes]:
    """What is pushed: path below USER/REPO → bytes."""
    rpm = fast_rpm_bytes(FastRpm(name="hello", version="1.0", release="1", files={"/usr/share/hello": b"1.0"}))
    found = {f"debian/bookworm/hello_{each}_amd64.deb": deb_bytes("hello", each) for each in ("1.0", "1.1", "1.2")}
    found["el/9/hello-1.0-1.x86_64.rpm"] = rpm
    base = "java/maven2/org/acme/hello/1.0/hello-1.0"
    found[f"{base}.pom"] = make_pom("org.acme", "hello", "1.0")
    found[f"{base}.jar"] = make_jar({"hello": b"1.0"})
    return found


def fill(server: ServerProcess) -> dict[str, object]:
    """Push, yank one, make tokens; what a later version must find."""
    token = server.admin_token
    with httpx.Client(base_url=server.url, auth=(token, ""), timeout=60, trust_env=False) as admin:
        for name, private in (("acme/tools", False), ("acme/secret", True)):
            admin.post("/api/v2/repos", json={"name": name, "private": private}).raise_for_status()
        reader = (
            admin.post(
                "/api/v2/tokens",
                json={"name": "reader", "role": "read", "owner": "acme", "repositories": ["acme/secret"]},
            )
            .raise_for_status()
            .json()["token"]
        )
        content = packages()
        for path, body in content.items():
            admin.put(f"/acme/tools/{path}", content=body).raise_for_status()
        secret = deb_bytes("secret", "1.0")
        admin.put("/acme/secret/debian/bookworm/secret_1.0_amd64.deb", content=secret).raise_for_status()
        yanked = {"filename": "hello_1.1_amd64.deb"}
        admin.post("/api/v2/repos/acme/tools/yank", json=yanked).raise_for_status()
        key = admin.get("/acme/tools/gpgkey").raise_for_status().text
    digests = {path: hashlib.sha256(body).hexdigest() for path, body in content.items()}
    return {"admin_token": token, "reader_token": reader, "sha256": digests, "yanked": yanked["filename"], "key": key}


def slim(data: Path) -> str:
    """Take out of the catalog what only keeps room; its schema."""
    with closing(sqlite3.connect(data / "catalog.db", isolation_level=None)) as conn:
        conn.execute("DELETE FROM spare")
        conn.execute("PRAGMA journal_mode = DELETE")
        conn.execute("VACUUM")
        return str(conn.execute("SELECT version_num FROM alembic_version").fetchone()[0])


def main() -> int:
    """Make one fixture; its path is printed."""
    parser = argparse.ArgumentParser(description="Make a data folder with a version of the program, for the tests.")
    parser.add_argument("--program", default=str(Path(sys.executable).with_name("entrepot")), help="that version's")
    options = parser.parse_args()
    said = subprocess.run([options.program, "--version"], check=True, capture_output=True, text=True)
    version = said.stdout.split()[-1]
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        with ServerProcess(data, command=[options.program], env=ENV) as server:
            expected = fill(server)
            server.stop()
        schema = slim(data)
        (data / "expected.json").write_text(json.dumps({"version": version, "schema": schema, **expected}, indent=1))
        TARGET.mkdir(parents=True, exist_ok=True)
        path = TARGET / f"{version}-schema-{schema}.tar.xz"
        with lzma.open(path, "wb", preset=9) as packed, tarfile.open(fileobj=packed, mode="w") as archive:
            for name in (*KEPT, "expected.json"):
                archive.add(data / name, arcname=name)
    print(f"{path.relative_to(ROOT)}: {path.stat().st_size} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
