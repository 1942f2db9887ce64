"""What the formats' samples share: content that does not compress, and index files held against their digests."""

import gzip
import hashlib
import io
import zlib

from entrepot.formats.protocol import FileMissing, IndexFault, IndexReader
from entrepot.model.limits import MIB

NAME = "entrepot-canary"
"""What every sample is called, so that nobody takes it for a package of theirs."""

_PLAIN_BYTES_MAX = 64 * MIB


def payload(serial: int, size_bytes: int) -> bytes:
    """``size_bytes`` that no compression makes smaller; the same for the same ``serial``, others for another."""
    return hashlib.shake_128(f"{NAME} {serial}".encode()).digest(size_bytes)


def fetch_checked(reader: IndexReader, path: str, sha256: str) -> bytes:
    """The file that an index names by its digest. Raises FileMissing, IndexFault when it has other bytes."""
    content = reader.fetch(path)
    if content is None:
        raise FileMissing(f"{path} is named in the index, and is not there")
    return checked(content, path, sha256)


def checked(content: bytes, path: str, sha256: str) -> bytes:
    """``content``, when it has this digest. Raises IndexFault when not."""
    if hashlib.sha256(content).hexdigest() != sha256:
        raise IndexFault(f"{path} has another sha256 than the index says")
    return content


def gunzip(content: bytes, path: str) -> bytes:
    """All members of a gzip file. Raises IndexFault when it is damaged, or larger than the index of a sample can be."""
    try:
        plain = gzip.GzipFile(fileobj=io.BytesIO(content)).read(_PLAIN_BYTES_MAX + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise IndexFault(f"{path} is no whole gzip file: {error}") from None
    if len(plain) > _PLAIN_BYTES_MAX:
        raise IndexFault(f"{path} holds more than {_PLAIN_BYTES_MAX} bytes")
    return plain
