"""Yank of one package at 100,000, until the index without it is served."""

from bench import synthetic
from bench.bed import REPOSITORY, Context, filled, package_path, server
from bench.measure import Measure, at_most, median, shown
from bench.push import Client
from bench.timing import seconds


def run(context: Context) -> list[Measure]:
    """Packages from the beginning, the middle and the end of the sorted index, and one that is still in the tail."""
    count = context.size(100_000, 10_000)
    times: dict[str, list[float]] = {"sorted part": [], "tail": []}
    with filled(context, "deb", count) as volume, server(volume.path / "data") as running, Client.of(running) as client:
        for number in range(5):
            _push(client, number, "~warm")
        rounds = context.size(15, 6)
        for number in range(rounds):
            victim = synthetic.deb(number * (count // rounds))
            times["sorted part"].append(_yank(client, victim.filename))
            times["tail"].append(_yank(client, _push(client, number, "~tail")))
    times["sorted part"].pop(0)  # the first one reads the base into memory
    return [
        at_most(f"yank at {count:,} packages, visible: {where}", "ms", median(found) * 1000, 150)
        for where, found in times.items()
    ] + [shown("slowest yank", "ms", max(max(found) for found in times.values()) * 1000)]


def _push(client: Client, number: int, suffix: str) -> str:
    item = synthetic.deb(number, suffix=suffix)
    client.put(package_path("deb", item.filename), item.content)
    return item.filename


def _yank(client: Client, filename: str) -> float:
    path = f"/api/v1/repos/{REPOSITORY}/debian/bookworm/{filename}"

    def work() -> None:
        status, _, body = client.request("DELETE", path)
        assert status == 200, (status, body[:300])

    return seconds(work)
