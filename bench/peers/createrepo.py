"""``createrepo_c --update --no-database`` on a folder of packages; without a signature, which is in its favour."""

from collections.abc import Iterable
from pathlib import Path

from bench.synthetic import Item
from tests.support.process import run


class Createrepo:
    """One folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def fill(self, items: Iterable[Item]) -> None:
        """Put the packages in and make the index from nothing."""
        self.folder.mkdir()
        for item in items:
            (self.folder / item.filename).write_bytes(item.content)
        run(["createrepo_c", "--quiet", "--no-database", self.folder], timeout_s=3600)

    def push(self, item: Item) -> None:
        """Add one package and update the index."""
        (self.folder / item.filename).write_bytes(item.content)
        run(["createrepo_c", "--quiet", "--update", "--no-database", self.folder], timeout_s=600)
