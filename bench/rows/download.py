"""CPU seconds of the server for a 1 GiB download, against nginx without sendfile."""

from contextlib import ExitStack

from bench.bed import GIB, REPOSITORY, Context, server, volume
from bench.big import large_deb
from bench.cpu import process_cpu_s
from bench.measure import Measure, median, shown, times_at_most
from bench.peers.nginx import Nginx
from bench.push import Client
from bench.rows.large_upload import put
from bench.timing import seconds
from tests.support.process import run as execute

MIB = 1 << 20


def run(context: Context) -> list[Measure]:
    """In turn; the file is in memory for both."""
    size = context.size(GIB, 256 * MIB)
    mine: list[float] = []
    peers: list[float] = []
    walls: tuple[list[float], list[float]] = ([], [])
    with ExitStack() as stack:
        made = stack.enter_context(volume(context, 8 * GIB))
        running = stack.enter_context(server(made.path / "data"))
        nginx = stack.enter_context(Nginx(made.path / "nginx"))
        source = large_deb(nginx.files / "large.deb", "large", size)
        put(running, source)
        url = running.url + _location(running.url, running.admin_token)
        for _ in range(context.size(5, 3) + 1):
            for target, pids, found, wall in (
                (url, running.pids, mine, walls[0]),
                (f"{nginx.url}/large.deb", nginx.pids, peers, walls[1]),
            ):
                before = process_cpu_s(pids())
                wall.append(seconds(lambda target=target: _get(target)))
                found.append(process_cpu_s(pids()) - before)
    del mine[0], peers[0], walls[0][0], walls[1][0]
    return [
        times_at_most(f"{size // MIB:,} MiB download, CPU", "s", median(mine), median(peers), 2, "peer: nginx"),
        shown("the same, wall", "s", median(walls[0]), median(walls[1])),
    ]


def _get(url: str) -> None:
    execute(["curl", "-sS", "--fail", "-o", "/dev/null", url], timeout_s=600)


def _location(url: str, token: str) -> str:
    """Where the index says that the package is."""
    with Client(url, token) as client:
        packages = client.request("GET", f"/{REPOSITORY}/debian/dists/bookworm/main/binary-amd64/Packages")[2]
    name = next(line for line in packages.decode().splitlines() if line.startswith("Filename: "))
    return f"/{REPOSITORY}/debian/{name.removeprefix('Filename: ')}"
