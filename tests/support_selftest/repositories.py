"""Static signed repositories made by the field's own tools."""

import os
import time
from pathlib import Path

from tests.support.gpg import GpgHome
from tests.support.process import run


def publish_apt(folder: Path, key: GpgHome, age_s: int = 0) -> None:
    """Make a flat signed apt repository of everything in `folder` with dpkg-dev's and apt's own tools.

    The file server answers 304 by whole seconds, so two publications in one second need ages that differ.
    """
    for tool, index in (("dpkg-scanpackages", "Packages"), ("dpkg-scansources", "Sources")):
        flags = ["--multiversion"] if index == "Packages" else []
        (folder / index).write_text(run([tool, *flags, "."], cwd=folder).stdout)
    release = run(["apt-ftparchive", "release", "."], cwd=folder).stdout
    (folder / "InRelease").write_bytes(key.sign(release.encode()).inline)
    (folder / "key.asc").write_bytes(key.public_key())
    stamp_s = time.time() - age_s
    for name in ("InRelease", "Packages", "Sources"):
        os.utime(folder / name, (stamp_s, stamp_s))


def publish_rpm(folder: Path, key: GpgHome) -> None:
    """Make a signed rpm-md repository with createrepo_c."""
    run(["createrepo_c", "--no-database", folder])
    repomd = folder / "repodata/repomd.xml"
    Path(f"{repomd}.asc").write_bytes(key.sign(repomd.read_bytes()).detached)
    Path(f"{repomd}.key").write_bytes(key.public_key())
