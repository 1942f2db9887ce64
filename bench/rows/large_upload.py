"""One 1 GiB upload, durable and hashed, against nginx: PUT, then ``sync`` of the file, then ``sha256sum``.

And the bytes that reach the block device for each byte uploaded. Server, peer and source file: the same volume for
both servers; the source file lies on the host's disk and, just written, in memory for both.
"""

from contextlib import ExitStack
from pathlib import Path

from bench.bed import GIB, Context, package_path, server, volume
from bench.big import large_deb
from bench.measure import Measure, at_most, median, shown, times_at_most
from bench.peers.nginx import Nginx
from bench.timing import seconds
from tests.support.process import run as execute
from tests.support.server import ServerProcess

MIB = 1 << 20


def run(context: Context) -> list[Measure]:
    """In turn, each upload a new file; space is given back between the rounds."""
    size = context.size(GIB, 128 * MIB)
    source_folder = context.work / "large"
    source_folder.mkdir(exist_ok=True)
    mine: list[float] = []
    peers: list[float] = []
    amplification: list[float] = []
    with ExitStack() as stack:
        made = stack.enter_context(volume(context, 16 * GIB))
        running = stack.enter_context(server(made.path / "data"))
        nginx = stack.enter_context(Nginx(made.path / "nginx"))
        for number in range(context.size(5, 3) + 1):
            source = large_deb(source_folder / f"large{number}.deb", f"large{number}", size)
            made.sync()
            before = made.written_bytes()
            mine.append(seconds(lambda source=source: put(running, source)))
            made.sync()
            amplification.append((made.written_bytes() - before) / source.stat().st_size)
            peers.append(seconds(lambda source=source: nginx.put_durable(source, source.name)))
            made.sync()
            for kept in nginx.files.iterdir():
                kept.unlink()
            source.unlink()
    source_folder.rmdir()
    del mine[0], peers[0], amplification[0]
    name = f"one {size // MIB:,} MiB upload, durable and hashed"
    rates = f"{size / MIB / median(mine):,.0f} MiB/s against {size / MIB / median(peers):,.0f}"
    return [
        times_at_most(name, "s", median(mine), median(peers), 1.0, f"peer: nginx PUT + sync + sha256sum; {rates}"),
        at_most("bytes written at the block device for each byte uploaded", "", median(amplification), 1.02),
        shown("the same, slowest round", "s", max(mine), max(peers)),
    ]


def put(running: ServerProcess, source: Path) -> None:
    """curl -T, as a user does it."""
    url = running.url + package_path("deb", f"{source.stem}_1.0-1_amd64.deb")
    user = f"{running.admin_token}:"
    execute(["curl", "-sS", "--fail-with-body", "-o", "/dev/null", "-u", user, "-T", source, url], timeout_s=600)
