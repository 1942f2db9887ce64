"""The servers that share a catalog, and the permits by which only a few of them retire at the same moment."""

from collections.abc import Callable

from sqlalchemy import Connection, delete, func, insert, select, update

from entrepot.catalog.schema import node

LIVE_S = 180
"""A node that was not seen for this long is not counted; clocks of nodes may differ by a part of it."""
FORGET_S = 86_400
PERMIT_S = 900
"""A permit covers the drain of its node and the start of the next one; it ends by itself, because its holder does."""


def beat(conn: Connection, name: str, started_at: int, now_s: int) -> None:
    """Show that the node is there, and forget nodes that have been gone for a day."""
    seen = conn.execute(update(node).where(node.c.name == name).values(seen_at=now_s)).rowcount
    if not seen:
        conn.execute(insert(node).values(name=name, started_at=started_at, seen_at=now_s))
        conn.execute(delete(node).where(node.c.seen_at < now_s - FORGET_S))


def live(conn: Connection, now_s: int) -> int:
    """How many nodes were seen lately."""
    return int(conn.execute(select(func.count()).where(node.c.seen_at > now_s - LIVE_S)).scalar_one())


def take_permit(conn: Connection, name: str, now_s: int, permits_of: Callable[[int], int]) -> bool:
    """Whether this node may retire now; a permit that it has is good again. ``permits_of`` gives the number of permits
    for a number of live nodes.

    A node that is not seen any more but whose permit runs still counts: its successor has yet to start.
    """
    # Touches every row, so that two nodes that ask at once wait for each other on any engine.
    conn.execute(update(node).values(retiring_until=node.c.retiring_until))
    others = conn.execute(select(func.count()).where(node.c.retiring_until > now_s, node.c.name != name)).scalar_one()
    if others >= permits_of(live(conn, now_s)):
        return False
    taken = update(node).where(node.c.name == name).values(retiring_until=now_s + PERMIT_S)
    return conn.execute(taken).rowcount == 1
