"""Growth of peak memory between a 10 MiB and a 4 GiB upload; resident memory idle at 100,000 packages."""

import time

from bench import synthetic
from bench.bed import GIB, Context, filled, package_path, server, volume
from bench.big import large_deb
from bench.measure import Measure, at_most, shown
from bench.push import Client
from bench.rows.large_upload import put
from tests.support.server import ServerProcess

MIB = 1 << 20
ARCHES = ("amd64", "arm64", "armhf", "i386")


def run(context: Context) -> list[Measure]:
    """All processes of the server together; shared pages count in each."""
    return _growth(context) + _idle(context)


def _growth(context: Context) -> list[Measure]:
    sizes = (10 * MIB, context.size(4 * GIB, GIB))
    peaks: list[float] = []
    folder = context.work / "large"
    folder.mkdir(exist_ok=True)
    with volume(context, 16 * GIB) as made, server(made.path / "data") as running:
        for name in ("warm0", "warm1"):
            _peak(running, folder, name, sizes[0])
        for size in sizes:
            peaks.append(_peak(running, folder, f"size{size}", size) / MIB)
    folder.rmdir()
    text = f"growth of peak memory between a 10 MiB and a {sizes[1] // GIB} GiB upload"
    return [at_most(text, "MiB", max(0.0, peaks[1] - peaks[0]), 32, f"{peaks[0]:.0f} to {peaks[1]:.0f} MiB")]


def _peak(running: ServerProcess, folder: object, name: str, size: int) -> int:
    source = large_deb(folder / f"{name}.deb", name, size)  # type: ignore[operator]
    running.reset_peak_rss()
    put(running, source)
    source.unlink()
    return running.peak_rss_bytes()


def _idle(context: Context) -> list[Measure]:
    count = context.size(100_000, 10_000)
    with filled(context, "deb", count, arches=ARCHES) as made, server(made.path / "data") as running:
        time.sleep(3)
        started = running.rss_bytes() / MIB
        with Client.of(running) as client:
            for number, arch in enumerate(ARCHES * 5):
                item = synthetic.deb(number, arch, suffix="~bench")
                client.put(package_path("deb", item.filename), item.content)
        time.sleep(10)
        used = running.rss_bytes() / MIB
        own = running.peak_rss_bytes() / MIB
    where = f"at {count:,} packages in {len(ARCHES)} architectures"
    return [
        at_most(f"resident memory idle {where}, after uploads to each", "MiB", used, 300 * 1000 * 1000 / MIB),
        shown(f"the same just started {where}", "MiB", started),
        shown("the same, peak of the whole run", "MiB", own),
    ]
