"""Upload and publication of one small .rpm over HTTP, against ``createrepo_c --update --no-database`` alone."""

from contextlib import ExitStack

from bench import synthetic
from bench.bed import Context, filled, kept_volume, server
from bench.measure import Measure, median, percentile, shown, times_faster
from bench.peers.createrepo import Createrepo
from bench.push import Client
from bench.small import in_turn
from tests.support.volumes import LoopVolume

FASTER = 100


def run(context: Context) -> list[Measure]:
    """Both at once on the machine, in turn."""
    count = context.size(50_000, 5_000)

    def fill(made: LoopVolume) -> None:
        Createrepo(made.path / "repo").fill(synthetic.series("rpm", count))

    with ExitStack() as stack:
        theirs = stack.enter_context(kept_volume(context, f"createrepo-{count}", fill))
        ours = stack.enter_context(filled(context, "rpm", 2 * count))  # the same volume as other rows: harder for us
        peer = Createrepo(theirs.path / "repo")
        running = stack.enter_context(server(ours.path / "data"))
        client = stack.enter_context(Client.of(running))
        mine, peers = in_turn(context, client, "rpm", peer.push)
    name = f"one small .rpm, HTTP upload + publication, at {count:,} packages (ours: {2 * count:,})"
    return [
        times_faster(name, "s", median(mine), median(peers), FASTER, "peer: createrepo_c --update --no-database"),
        shown("the same, 99th percentile", "s", percentile(mine, 99), max(peers)),
    ]
