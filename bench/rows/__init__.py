"""One module for each measure; ``run(context)`` returns what it found."""

from collections.abc import Callable
from importlib import import_module

from bench.bed import Context
from bench.measure import Measure

NAMES = (
    "publication",
    "small_deb",
    "small_rpm",
    "stream",
    "crowd",
    "yank",
    "large_upload",
    "memory",
    "generations",
    "download",
    "conditional",
    "start",
    "leak",
    "backup",
    "clone",
    "full_disk",
)


def row(name: str) -> Callable[[Context], list[Measure]]:
    """The function that runs a row."""
    found: Callable[[Context], list[Measure]] = import_module(f"bench.rows.{name}").run
    return found
