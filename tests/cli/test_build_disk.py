"""What a start says of the file system below the data folder."""

from contextlib import ExitStack
from pathlib import Path

import pytest

from entrepot.cli import build_disk
from entrepot.observe.clock import FixedClock
from entrepot.settings.concerns import DiskSettings


@pytest.mark.parametrize(
    ("kind", "says"),
    [("nfs4", "SQLite's locks"), ("fuse.sshfs", "SQLite's locks"), ("btrfs", "chattr +C"), ("ext4", "")],
)
def test_limits_of_a_file_system_stand_in_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, says: str
) -> None:
    """Goal: who puts the data folder on NFS reads at the start what does not hold there. Method: the kernel's word for
    the file system is replaced; what is logged. Seen to fail without the question."""
    monkeypatch.setattr("entrepot.disk.proc.file_system", lambda folder: kind)
    monkeypatch.setenv("TMPDIR", "")
    monkeypatch.setenv("SQLITE_TMPDIR", "")
    told: list[str] = []
    monkeypatch.setattr(build_disk._log, "warning", lambda event, **fields: told.append(fields["limit"]))
    with ExitStack() as stack:
        volumes = build_disk.open_volumes(DiskSettings(ballast_bytes=0), tmp_path, FixedClock(), stack)
        build_disk.open_store(tmp_path, volumes, stack)
    assert [says in each for each in told] == [True] * bool(says)
