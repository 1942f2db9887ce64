"""What this process itself uses, from /proc: kernel memory, no disk."""

import os
import resource
from dataclasses import dataclass
from pathlib import Path

_PAGE_BYTES = resource.getpagesize()


@dataclass(frozen=True, slots=True)
class Vitals:
    """Open descriptors (``files`` are those that are no sockets), their limit, and resident memory."""

    descriptors: int
    files: int
    files_max: int
    resident_bytes: int


def sample() -> Vitals:
    """This process now. Raises OSError where there is no /proc, and EMFILE when no descriptor is left to look with."""
    numbers = os.listdir("/proc/self/fd")
    files = sum(not _is_socket(number) for number in numbers) - 1  # the listing's own
    resident_bytes = int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE_BYTES
    return Vitals(len(numbers) - 1, files, resource.getrlimit(resource.RLIMIT_NOFILE)[0], resident_bytes)


def _is_socket(number: str) -> bool:
    try:
        return os.readlink(f"/proc/self/fd/{number}").startswith("socket:")
    except OSError:  # closed meanwhile
        return True
