"""A folder store on real file systems, in both of its ways to stage."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from entrepot.disk import fs
from entrepot.disk.ledger import Ledger, Snapshot
from entrepot.disk.volume import Volume
from entrepot.storage.folder import FolderStore
from tests.disk.mounts import open_descriptors
from tests.support.guarded import guarded


@pytest.fixture(params=[True, False], ids=["tmpfile", "named"])
def use_tmpfile(request: pytest.FixtureRequest) -> bool:
    """Whether the store stages without names (O_TMPFILE), or by the fallback."""
    return bool(request.param)


@pytest.fixture
def store(tmp_path: Path, use_tmpfile: bool) -> Iterator[FolderStore]:
    """A store that must end with no descriptor, reservation or half-written file left."""
    descriptors = open_descriptors()
    with FolderStore(tmp_path, Ledger(Volume(tmp_path)), use_tmpfile=use_tmpfile) as opened:
        assert opened.uses_tmpfile == use_tmpfile
        with guarded(opened, "_lock", {"_commits"}):
            yield opened
        fs.set_hook(None)
        assert opened.ledger.snapshot() == Snapshot(0, 0, 0)
        assert list((tmp_path / "incoming").iterdir()) == []
    assert open_descriptors() == descriptors
