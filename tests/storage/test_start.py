"""The start of a folder store: what it makes is durable, and a start that fails leaves nothing open."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from entrepot.disk import faults, fs
from entrepot.disk.ledger import Ledger
from entrepot.disk.volume import Volume
from entrepot.model.errors import Refusal
from entrepot.storage.folder import FolderStore
from tests.disk.mounts import open_descriptors


@pytest.fixture(autouse=True)
def _no_hook_left() -> Iterator[None]:
    yield
    fs.set_hook(None)


def test_new_folders_are_synced_after_the_last_is_made(tmp_path: Path) -> None:
    """Goal: a shard that a commit syncs is itself durable, whatever the file system does of its own accord (journals
    of ext4, xfs and btrfs keep new folders anyway, so no cut of the power there shows it). Method: the order of calls:
    ``blobs`` and the data folder are each synced after the last folder was made in them, and before any file is.
    """
    calls: list[tuple[str, str]] = []

    def note(call: str, counter: int, args: tuple[object, ...]) -> None:
        where = os.readlink(f"/proc/self/fd/{args[0]}") if call == "fsync" else str(args[0])
        calls.append((call, where))

    fs.set_hook(note)
    with FolderStore(tmp_path, Ledger(Volume(tmp_path))):
        fs.set_hook(None)
    last_shard = calls.index(("mkdir", "ff"))
    first_file = next(number for number, (call, _) in enumerate(calls) if call.startswith("open_tmpfile"))
    for folder in (tmp_path / "blobs", tmp_path):
        assert last_shard < calls.index(("fsync", str(folder))) < first_file, folder


# What a start calls beside one mkdir for each shard; the last three say what a file system lacks.
CALLS = ("open_dir", "fsync", "unlink", "fstat", "stat", "scandir", "mkdir", "open_tmpfile", "link_fd", "fallocate")
FAULTS = [(call, "EIO") for call in CALLS] + [(call, "EOPNOTSUPP") for call in CALLS[-3:]]


@pytest.mark.parametrize(("call", "number"), FAULTS)
def test_a_start_that_fails_leaves_nothing_open(tmp_path: Path, call: str, number: str) -> None:
    """Goal: an error at the start costs no descriptor, whether it ends the start or only chooses the fallback. Method:
    the first, second and third call of each kind fails.
    """
    ledger = Ledger(Volume(tmp_path))
    FolderStore(tmp_path, ledger).close()
    before = open_descriptors()
    for nth in (1, 2, 3):
        rule = faults.Rule(call, nth, number)
        fs.set_hook(rule)
        try:
            with FolderStore(tmp_path, ledger):
                pass
        except (Refusal, OSError):
            assert rule.reached
        fs.set_hook(None)
        assert open_descriptors() == before, f"{call} {nth}"
        if not rule.reached:
            break
