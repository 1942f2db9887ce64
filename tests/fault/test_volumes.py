"""Volumes of their own below the data folder, and TMPDIR: what lies where, and whose trouble is whose."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.fault.rig import Rig, running
from tests.fault.routes import Route, every_route, fresh_deb, put_deb, yank
from tests.support.process import run
from tests.support.volumes import MIB, attach, loop_volume, tmpfs

pytestmark = [pytest.mark.fault, pytest.mark.timeout(300)]


def test_packages_on_a_volume_of_their_own(tmp_path: Path) -> None:
    """Goal: blobs/ may be a mount; each volume's state refuses only what writes to it. Method: a tmpfs at DIR/blobs
    before the first start; fill it: uploads name it, the catalog goes on; then it is gone: uploads are refused, and
    nothing is written below the mount point."""
    blobs = tmp_path / "data" / "blobs"
    blobs.mkdir(parents=True)
    with tmpfs(blobs, 64 * MIB) as volume, running(tmp_path / "data") as rig:
        repository = rig.repository("acme/apart")
        filename, data = fresh_deb(MIB)
        address = f"/{repository}/debian/bookworm/{filename}"
        assert rig.send("PUT", address, content=data).status == 201
        uses = {each["name"]: set(each["uses"]) for each in rig.statusz()["volumes"]}
        assert uses == {str(rig.data): {"catalog", "scratch"}, str(blobs): {"blobs", "incoming"}}
        filler = volume.fill()
        refused = put_deb(rig, repository)
        assert (refused.status, refused.code) == (503, "no_room")
        assert str(blobs) in refused.text
        rig.repository("acme/catalog-goes-on")
        assert rig.send("DELETE", f"/api/v1/repos/{repository}/debian/bookworm/{filename}").status == 200
        filler.unlink()
        assert put_deb(rig, repository).status == 201
        rig.check()
        assert os.listdir(rig.data / "incoming") == [] if (rig.data / "incoming").exists() else True
        gone(rig, blobs, repository)


def test_a_full_catalog_beside_roomy_packages(tmp_path: Path) -> None:
    """Goal: an upload reserves on every volume that it writes, so that room for packages is not enough. Method: two
    volumes; another program fills that of the catalog to the last byte: uploads name it, reads and tokens go on, a
    yank and a collection work; then it goes away, and nothing is restarted. Seen to fail when an upload reserves
    beside the packages alone."""
    with tmpfs(tmp_path / "catalog", 96 * MIB) as catalog:
        blobs = catalog.path / "data" / "blobs"
        blobs.mkdir(parents=True)
        with tmpfs(blobs, 64 * MIB), running(catalog.path / "data") as rig:
            repository = rig.repository("acme/rows")
            filename, data = fresh_deb(MIB)
            stored = rig.send("PUT", f"/{repository}/debian/bookworm/{filename}", content=data)
            rig.world.sent(repository, data, stored)
            assert stored.status == 201
            filler = catalog.fill()
            refused = put_deb(rig, repository)
            assert (refused.status, refused.code) == (503, "no_room")
            assert f'"volume":"{rig.data}"' in refused.text
            assert "takes no uploads now (READONLY" in refused.text  # by the ledger, not by SQLite after the body
            assert refused.headers["retry-after"].isdigit()
            assert rig.send("GET", f"/{repository}/debian/dists/bookworm/InRelease").status == 200
            assert rig.send("GET", "/api/v2/tokens").status == 200
            assert yank(rig, repository, filename, data).status == 200
            assert '"files":1' in rig.send("POST", "/api/v2/gc", json={}).text
            filler.unlink()
            assert put_deb(rig, repository).status == 201
            rig.check()
            assert rig.stop() == 0


def gone(rig: Rig, blobs: Path, repository: str) -> None:
    """Unmount under the running server; mount another volume there, for the test's own end."""
    subprocess.run(["umount", "--lazy", blobs], check=True)
    try:
        lost = put_deb(rig, repository)
        assert (lost.status, lost.code) == (503, "storage_failed"), lost.text
        assert lost.headers["retry-after"].isdigit()
        assert rig.send("GET", f"/{repository}/debian/dists/bookworm/InRelease").status == 200
        assert os.listdir(blobs) == []
    finally:
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", blobs], check=True)


def test_a_file_system_error_makes_it_read_only(tmp_path: Path) -> None:
    """Goal: a volume that its kernel turns read-only under the server is BROKEN, not full: uploads are refused, reads
    go on, the node ends cleanly, and all that was acknowledged is there when the volume was mended. Method: ext4 with
    errors=remount-ro and an error put into it; then the server stops, the volume is checked and mounted again."""
    with loop_volume(tmp_path, "ext4", 96 * MIB, options="errors=remount-ro") as volume:
        rig = Rig(volume.path / "data")
        rig.control, rig.log_path = tmp_path / "control", tmp_path / "server.log"
        rig.env["FAULT_CONTROL"] = str(rig.control)
        with rig:
            repository = rig.repository("acme/frail")
            kept = put_deb(rig, repository)
            assert kept.status == 201
            Path(f"/sys/fs/ext4/{volume.device}/trigger_fs_error").write_text("found while reading its own figures")
            lost = put_deb(rig, repository)
            assert (lost.status, lost.code) == (503, "storage_failed"), lost.text
            assert lost.headers["retry-after"].isdigit()
            assert [each["state"] for each in rig.statusz()["volumes"]] == ["BROKEN"]
            assert rig.send("GET", f"/{repository}/debian/dists/bookworm/InRelease").status == 200
            again = put_deb(rig, repository)
            assert (again.status, again.code) == (503, "storage_failed"), again.text
            assert rig.stop() == 0
            volume.close()
            run(["e2fsck", "-fy", volume.image], check=False)
            volume.closers = attach(volume.image, volume.path, "ext4").closers
            rig.start()
            rig.check()
            assert put_deb(rig, repository).status == 201
            rig.check()


def test_no_upload_touches_tmpdir(tmp_path: Path) -> None:
    """Goal: no way in, no publication, merge or yank uses a temporary file, in the server or in its children. Method:
    TMPDIR is a folder that the server empties at its start; after every route it was not even changed (its time of
    modification stands) and nothing deleted is held open."""
    scratch = tmp_path / "data" / "scratch"
    (scratch / "left").mkdir(parents=True)
    (scratch / "left" / "over").write_text("of an earlier process")
    with running(tmp_path / "data", lies=["tail=4"]) as rig:
        assert os.listdir(scratch) == []
        repository = rig.repository("acme/clean")
        put_deb(rig, repository)  # the children are there now
        children = [pid for pid in rig.pids() if pid != rig.pid]
        assert children
        for pid in children:
            # They are given none at all: what would make a temporary file there fails.
            assert b"TMPDIR=/nonexistent" in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        before = scratch.stat().st_mtime_ns
        for route in every_route():
            act(rig, route, repository)
        assert os.listdir(scratch) == []
        assert scratch.stat().st_mtime_ns == before
        assert rig.deleted_but_open() == []
        rig.check()


def act(rig: Rig, route: Route, repository: str) -> None:
    """One change by this way in."""
    route.prepare(rig, repository)
    route.ready(rig, repository)
    answer = route.act(rig, repository)
    assert answer.status in (200, 201, 202), f"{route.name}: {answer.status} {answer.text}"
