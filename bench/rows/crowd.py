"""64 small uploads at once against one client after the other; every one must be listed at the end."""

import gzip
import threading
from collections.abc import Sequence

from bench import synthetic
from bench.bed import REPOSITORY, Context, package_path, server, volume, wait_published
from bench.measure import Measure, at_least, median, shown
from bench.push import Client
from bench.synthetic import Item
from bench.timing import seconds
from tests.support.server import ServerProcess

CLIENTS = 64


def run(context: Context) -> list[Measure]:
    """Rounds of both, in turn, on an empty repository."""
    per_round = context.size(640, 192)
    alone: list[float] = []
    together: list[float] = []
    sent = 0
    with volume(context) as made, server(made.path / "data") as running:
        for _ in range(context.size(5, 3)):
            items = [synthetic.deb(number, suffix="~one") for number in range(sent, sent + per_round // 4)]
            alone.append(len(items) / seconds(lambda items=items: _all(running, items)))
            items = [synthetic.deb(number, suffix="~many") for number in range(sent, sent + per_round)]
            together.append(len(items) / seconds(lambda items=items: _crowd(running, items)))
            sent += per_round
        wait_published(running)
        listed = _listed(running)
        wanted = context.size(5, 3) * (per_round // 4 + per_round)
    ratio = median(together) / median(alone)
    return [
        Measure(
            "64 small uploads at once (peer: one client)", "/s", median(together), median(alone), ratio, "≥ 3 times",
            ratio >= 3,
        ),
        at_least("listed at the end", "packages", listed, wanted),
        shown("rounds: slowest of 64 at once, slowest alone", "/s", min(together), min(alone)),
    ]  # fmt: skip


def _all(running: ServerProcess, items: Sequence[Item]) -> None:
    with Client.of(running) as client:
        for item in items:
            client.put(package_path("deb", item.filename), item.content)


def _crowd(running: ServerProcess, items: Sequence[Item]) -> None:
    failures: list[BaseException] = []

    def work(mine: Sequence[Item]) -> None:
        try:
            _all(running, mine)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(items[start::CLIENTS],)) for start in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


def _listed(running: ServerProcess) -> int:
    with Client.of(running) as client:
        path = f"/{REPOSITORY}/debian/dists/bookworm/main/binary-amd64/Packages.gz"
        return gzip.decompress(client.request("GET", path)[2]).count(b"\nSHA256: ")
