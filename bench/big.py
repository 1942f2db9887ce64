"""Large real packages: a .deb whose data.tar holds one file of random bytes, stored, written straight to a file."""

import os
import tarfile
from pathlib import Path

from bench.synthetic import Item
from tests.support.deb import ar_member, deb_bytes

CHUNK_BYTES = 8 << 20


def large_deb(path: Path, name: str, size_bytes: int) -> Path:
    """A package of about ``size_bytes`` (a few KiB more)."""
    start = deb_bytes(name, "1.0-1")
    control_end = start.rindex(b"data.tar")
    info = tarfile.TarInfo(f"./usr/share/{name}.bin")
    info.size = size_bytes // 512 * 512
    head = info.tobuf(tarfile.GNU_FORMAT)
    tar_size = len(head) + info.size + 2 * tarfile.BLOCKSIZE
    member = ar_member("data.tar", b"", size_field=b"%d" % tar_size)
    with path.open("wb") as file:
        file.write(start[:control_end])
        file.write(member)
        file.write(head)
        left = info.size
        while left:
            step = min(left, CHUNK_BYTES)
            file.write(os.urandom(step))
            left -= step
        file.write(bytes(2 * tarfile.BLOCKSIZE))
    return path


def random_deb(name: str, size_bytes: int) -> Item:
    """A package of about this size in memory, which nothing can compress."""
    version = "1.0-1"
    content = deb_bytes(name, version, files={f"usr/share/{name}.bin": os.urandom(size_bytes)}, data_compression="none")
    return Item(f"{name}_{version}_amd64.deb", content)
