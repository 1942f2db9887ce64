"""5,000 small uploads in a row at 100,000 packages, merges included: the slow ones, and stalls of the event loop."""

from bench import synthetic
from bench.bed import Context, filled, package_path, server
from bench.measure import Measure, at_most, median, percentile, shown, times_at_most
from bench.push import Client
from bench.timing import LoopProbe


def run(context: Context) -> list[Measure]:
    """One client after the other's answer; a probe beside it."""
    count, uploads = context.size(100_000, 10_000), context.size(5_000, 2_500)
    with filled(context, "deb", count) as volume, server(volume.path / "data") as running, Client.of(running) as client:
        for number in range(50):
            _push(client, number, "~warm")
        with LoopProbe(running.address, running.port) as probe:
            times = [_push(client, number, "~bench") * 1000 for number in range(uploads)]
    stall_ms = max(probe.answers_s) * 1000
    note = f"slowest answer of {len(probe.answers_s):,} probes; the probe's own worst delay {probe.own_s * 1000:.0f} ms"
    return [
        times_at_most(
            f"{uploads:,} small uploads in a row at {count:,} packages: 99th percentile (peer: median)",
            "ms",
            percentile(times, 99),
            median(times),
            10,
        ),
        at_most("longest stall of the event loop meanwhile", "ms", stall_ms, 100, note),
        shown("slowest upload", "ms", max(times)),
    ]


def _push(client: Client, number: int, suffix: str) -> float:
    item = synthetic.deb(number, suffix=suffix)
    return client.put(package_path("deb", item.filename), item.content)
