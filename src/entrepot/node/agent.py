"""HAProxy's agent-check: how much traffic this node wants, one line over TCP (HAProxy manual, ``agent-check``).

Each answer is a whole one, ``up ready N%``: the balancer remembers what it heard last, so a node that once said `drain`
and came back must take it back itself. `drain` is said only by a node that is not up, stops or retires; trouble that
another node may share never takes the last percent away, for a balancer whose servers all have weight 0 answers with a
503 of its own, without Retry-After.
"""

import asyncio
from collections.abc import Callable

from entrepot.node.condition import Condition
from entrepot.node.listener import Listener


class AgentServer(Listener):
    """Answers every connection with the line for the node's condition; what is sent to it is not read."""

    def __init__(self, address: tuple[str, int], condition: Callable[[], Condition]) -> None:
        super().__init__("agent", address, self._tell)
        self._condition = condition

    async def _tell(self, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(line(self._condition()))


def line(condition: Condition) -> bytes:
    """The agent's answer."""
    return f"up ready {condition.weight_percent}%\n".encode() if condition.weight_percent else b"drain\n"
