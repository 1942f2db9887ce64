"""Upload and publication of one small .deb over HTTP at 50,000 packages, against ``aptly api serve``."""

from contextlib import ExitStack

from bench import synthetic
from bench.bed import Context, filled, kept_volume, server
from bench.measure import Measure, median, percentile, shown, times_faster
from bench.peers.aptly import Aptly
from bench.push import Client
from bench.small import in_turn
from tests.support.gpg import GpgHome
from tests.support.volumes import LoopVolume

FASTER = 100


def run(context: Context) -> list[Measure]:
    """Both at once on the machine, in turn."""
    count = context.size(50_000, 5_000)
    with ExitStack() as stack:
        key = stack.enter_context(GpgHome(algorithm="rsa3072"))

        def fill(made: LoopVolume) -> None:
            Aptly(made.path / "aptly", key).fill(synthetic.series("deb", count))

        theirs = stack.enter_context(kept_volume(context, f"aptly-{count}", fill))
        ours = stack.enter_context(filled(context, "deb", 2 * count))  # the same volume as other rows: harder for us
        aptly = Aptly(theirs.path / "aptly", key)
        # A key of this run signs, so the first publication is made now; it is not measured.
        aptly.publish()
        stack.enter_context(aptly)
        running = stack.enter_context(server(ours.path / "data"))
        client = stack.enter_context(Client.of(running))
        mine, peers = in_turn(context, client, "deb", aptly.push)
    name = f"one small .deb, HTTP upload + publication, at {count:,} packages (ours: {2 * count:,})"
    return [
        times_faster(name, "s", median(mine), median(peers), FASTER, "peer: aptly api serve"),
        shown("the same, 99th percentile", "s", percentile(mine, 99), max(peers)),
    ]
