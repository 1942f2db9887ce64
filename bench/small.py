"""Small packages to the server and to a peer, in turn on one machine."""

from collections.abc import Callable

from bench import synthetic
from bench.bed import Context, package_path
from bench.push import Client
from bench.synthetic import Item
from bench.timing import seconds

UPLOADS = 20
"""Uploads to us for each one to the peer, which takes far longer."""


def in_turn(
    context: Context, client: Client, kind: str, push: Callable[[Item], object]
) -> tuple[list[float], list[float]]:
    """Seconds of each upload to us and of each to the peer; the first round of both only warms up.

    Args: ``kind`` deb or rpm; ``push`` sends one package to the peer and has it published.
    """
    mine: list[float] = []
    peers: list[float] = []
    sent = 0
    for round_number in range(context.size(7, 3) + 1):
        client.reconnect()
        for _ in range(UPLOADS):
            item = synthetic.make(kind, sent, suffix="~bench")
            mine.append(client.put(package_path(kind, item.filename), item.content))
            sent += 1
        item = synthetic.make(kind, sent, suffix="~peer")
        peers.append(seconds(lambda item=item: push(item)))
        if round_number == 0:
            mine.clear()
            peers.clear()
    return mine, peers
