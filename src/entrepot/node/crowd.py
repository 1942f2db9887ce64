"""How many connections one address may hold, idle ones too.

The HTTP server accepts in its own thread and knows no such bound, and a connection that asks nothing never reaches the
app. So the node looks at its own sockets once a second, and closes the newest of an address that has too many.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable

from entrepot.disk import fs
from entrepot.model.addresses import client_group
from entrepot.node.connections import OWN_FDS, Connection, Peer, close, connections
from entrepot.observe import logs, metrics

_log = logs.get("node")

LOOK_S = 1.0


class Crowd:
    """Bounds the connections to one port. For one thread at a time.

    Args: ``most`` for one address; ``exempt`` says whose connections are not counted: a proxy's are its clients'.
    """

    def __init__(self, port: int, most: int, exempt: Callable[[str], bool]) -> None:
        self._port = port
        self._most = most
        self._exempt = exempt
        self._seen: dict[Peer, int] = {}
        self._looks = 0

    def look(self) -> int:
        """Close what is too much; returns how many connections that were."""
        names = fs.listdir(OWN_FDS)
        if len(names) <= self._most:  # nobody can have too many: the usual case costs one call
            self._seen.clear()
            return 0
        self._looks += 1
        groups: defaultdict[str, list[Connection]] = defaultdict(list)
        for connection in connections(self._port, names):
            groups[client_group(connection.peer[0])].append(connection)
        now = {each.peer for group in groups.values() for each in group}
        self._seen = {peer: self._seen.get(peer, self._looks) for peer in now}
        cut = 0
        for group, held in groups.items():
            if len(held) > self._most and not self._exempt(held[0].peer[0]):
                held.sort(key=lambda each: self._seen[each.peer])
                closed = sum(close(each) for each in held[self._most :])
                _log.warning("connections cut", address=group, connections=len(held), cut=closed)
                cut += closed
        metrics.connections_cut_total.inc(cut)
        return cut


async def bound(crowd: Crowd) -> None:
    """Look every second, for as long as the server runs."""
    while True:
        await asyncio.sleep(LOOK_S)
        try:
            await asyncio.to_thread(crowd.look)
        except OSError as error:  # out of descriptors: the next look may do better
            _log.warning("connections cannot be counted", reason=str(error)[:200])
