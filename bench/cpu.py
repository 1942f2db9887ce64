"""CPU seconds of processes."""

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path


def process_cpu_s(pids: Sequence[int]) -> float:
    """User and system seconds that these processes have used."""
    ticks = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")
