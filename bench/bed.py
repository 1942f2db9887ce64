"""Where a row runs: a volume made for it, the real server on it, and volumes that were filled once and are kept.

A filled volume is a sparse image file; rows get a copy of it, so that none sees what another left.
"""

import contextlib
import hashlib
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench import load, synthetic
from bench.push import Client
from entrepot.catalog import repositories
from entrepot.catalog.engine import Catalog
from entrepot.model.nouns import RepositoryName
from tests.support.server import ServerProcess
from tests.support.volumes import LoopVolume, attach, loop_volume

GIB = 1 << 30
ROOT = Path(__file__).parents[1]
DISTRIBUTIONS = {"deb": "debian/bookworm", "rpm": "el/9"}
FORMATS = {"deb": "debian", "rpm": "rpm"}
REPOSITORY = "admin/bench"
# What the contents of a filled volume depend on.
_SOURCES = (
    "bench/load.py",
    "bench/synthetic.py",
    "src/entrepot/catalog/schema.py",
)


@dataclass(frozen=True, slots=True)
class Context:
    """What every row gets: where it may work, and whether a rough figure will do."""

    work: Path
    quick: bool = False
    log: Callable[[str], None] = field(default=print)

    def size(self, full: int, quick: int) -> int:
        """A count that is smaller in quick runs."""
        return quick if self.quick else full


@contextmanager
def volume(context: Context, size_bytes: int = 6 * GIB) -> Iterator[LoopVolume]:
    """An empty ext4 volume."""
    folder = context.work / f"volume-{time.monotonic_ns()}"
    with loop_volume(folder, "ext4", size_bytes) as made:
        try:
            yield made
        finally:
            made.sync()
    with contextlib.suppress(OSError):
        (folder / "mount").rmdir()
        folder.rmdir()


@contextmanager
def kept_volume(
    context: Context, name: str, fill: Callable[[LoopVolume], None], size_bytes: int = 6 * GIB
) -> Iterator[LoopVolume]:
    """A copy of the volume that ``fill`` filled, once for each ``name``."""
    kept = context.work / "filled" / f"{name}.img"
    if not kept.exists():
        context.log(f"filling {name}")
        kept.parent.mkdir(parents=True, exist_ok=True)
        folder = context.work / f"fill-{name}"
        with loop_volume(folder, "ext4", size_bytes) as made:
            fill(made)
            made.sync()
            made.closers.pop()()  # unmount before the image is taken; the device goes with the volume
            subprocess.run(
                ["cp", "--sparse=always", "--reflink=auto", made.image, kept.with_suffix(".new")], check=True
            )
        kept.with_suffix(".new").rename(kept)
    folder = context.work / f"volume-{time.monotonic_ns()}"
    folder.mkdir(parents=True)
    image = folder / "ext4.img"
    copy_image(kept, image)
    made = attach(image, folder / "mount", "ext4")
    try:
        yield made
    finally:
        made.close()
        image.unlink()
        with contextlib.suppress(OSError):
            (folder / "mount").rmdir()
            folder.rmdir()


def copy_image(source: Path, target: Path) -> None:
    """A sparse copy."""
    subprocess.run(["cp", "--sparse=always", "--reflink=auto", source, target], check=True)


def source_key() -> str:
    """Changes when a filled volume must be made again."""
    digest = hashlib.sha256()
    for name in _SOURCES:
        digest.update((ROOT / name).read_bytes())
    return digest.hexdigest()[:12]


@contextmanager
def filled(
    context: Context, kind: str, count: int, *, arches: tuple[str, ...] = (), algorithm: str = "rsa3072"
) -> Iterator[LoopVolume]:
    """A volume whose folder ``data`` holds a stopped server with ``count`` packages, published."""
    name = f"{kind}-{count}-{len(arches) or 1}-{algorithm}-{source_key()}"

    def fill(made: LoopVolume) -> None:
        data = made.path / "data"
        env = {"ENTREPOT_SIGNING_DEFAULT_ALGORITHM": algorithm}
        with server(data, env=env):
            pass
        _load(data, kind, count, arches)
        with server(data, env=env) as running:
            wait_published(running, timeout_s=600)

    with kept_volume(context, name, fill) as made:
        yield made


def _load(data: Path, kind: str, count: int, arches: tuple[str, ...]) -> None:
    catalog = Catalog(f"sqlite:///{data}/catalog.db")
    try:
        with catalog.read() as conn:
            row = repositories.get(conn, RepositoryName.parse(REPOSITORY))
        place = load.Place(row.id, DISTRIBUTIONS[kind], FORMATS[kind])
        load.fill(catalog, data / "blobs", place, synthetic.series(kind, count, arches), int(time.time()))
    finally:
        catalog.close()


@contextmanager
def server(
    data: Path, *, env: dict[str, str] | None = None, create: bool = True, prefix: Sequence[str] = ()
) -> Iterator[ServerProcess]:
    """The real server with the shipped defaults; ends by SIGTERM. ``create``: make the repository if missing;
    ``prefix``: what starts it, instead of nothing."""
    quick = {"ENTREPOT_SERVER_DRAIN_WAIT_S": "0", **(env or {})}
    running = ServerProcess(data, env=quick, prefix=prefix, calm=False)
    running.start()
    try:
        if create:
            with Client.of(running) as client:
                client.create_repository(REPOSITORY)
        yield running
        running.stop(timeout_s=120.0)
    finally:
        running.close()
        running.log_path.unlink(missing_ok=True)


def dirty_scopes(data: Path) -> int:
    """Scopes whose changes are not all published, read from beside the running server."""
    import sqlite3

    with contextlib.closing(sqlite3.connect(f"file:{data}/catalog.db?mode=ro", uri=True, timeout=30)) as conn:
        return int(conn.execute("SELECT count(*) FROM scope WHERE last_change > published_change").fetchone()[0])


def wait_published(running: ServerProcess, timeout_s: float = 60.0) -> None:
    """Return when nothing is left to publish."""
    end = time.monotonic() + timeout_s
    while dirty_scopes(running.data):
        if time.monotonic() > end:
            raise AssertionError(f"not published after {timeout_s} s\n{running.log_tail()}")
        time.sleep(0.1)


def package_path(kind: str, filename: str) -> str:
    """Where a package is sent."""
    return f"/{REPOSITORY}/{DISTRIBUTIONS[kind]}/{filename}"
