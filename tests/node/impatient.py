"""The real server with shorter waits: what a node waits for by design takes ten minutes, and a test has seconds."""

import sys

_BOOT = """
import signal, sys, time
from entrepot.node import retire, steward
for name, value in {constants!r}.items():
    setattr(steward if name == "TICK_S" else retire, name, value)
# Holds up the event loop and nothing else, as a bug would: signal handlers run on the main thread.
signal.signal(signal.SIGUSR1, lambda *_: time.sleep({stall_s!r}))
signal.signal(signal.SIGUSR2, lambda *_: setattr(retire, "AGE_S_MIN", 0.0))
from entrepot.cli.main import app_main
app_main()
"""

NEVER = 1e9
"""As AGE_S_MIN: the node does not retire until it gets SIGUSR2."""


def command(*, stall_s: float = 0.0, **constants: float) -> list[str]:
    """The program for :class:`~tests.support.server.ServerProcess`. ``constants`` are those of ``node.retire`` (and
    ``TICK_S``), which no setting changes; SIGUSR1 stalls the event loop for ``stall_s``.
    """
    shorter = {"AGE_S_MIN": 5.0, "YOUNG_S": -1.0, "RECLAIM_WAIT_S": 0.5, "RECLAIM_EVERY_S": 1.0, "TICK_S": 0.2}
    return [sys.executable, "-c", _BOOT.format(constants=shorter | constants, stall_s=stall_s)]
