"""The upload that fault sweeps make, also in a child process: it imports nothing that is slow to start."""

import hashlib

from entrepot.storage.protocol import BlobStore

CHUNK_BYTES = 1 << 20
DATA = bytes(range(256)) * 4096 * 10  # 10 MiB: write-back starts, and an undeclared length takes four steps
SHA256 = hashlib.sha256(DATA).hexdigest()


def upload(store: BlobStore, known: bool) -> str:
    """One upload in chunks of 1 MiB, read back in the middle as inspection does; the copy's key.

    A known length is declared 5 bytes too long, so that commit has to cut the file.
    """
    with store.stage(len(DATA) + 5 if known else None) as staged:
        for at in range(0, len(DATA), CHUNK_BYTES):
            staged.write(DATA[at : at + CHUNK_BYTES])
        assert staged.read_at(0, 8) == DATA[:8]
        return staged.commit(SHA256)
