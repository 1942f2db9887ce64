"""What every test of the Debian format needs: a file judged through the window that the format asks
for, and no more.
"""

import hashlib
from pathlib import Path

from entrepot.formats.debian import FORMAT
from entrepot.formats.protocol import Inspection, PackageFacts, Upload
from entrepot.model.nouns import Digests
from entrepot.streams.window import Window

DISTRIBUTION = "debian/bookworm"


def inspect(data: bytes, path: str, distribution: str = DISTRIBUTION) -> Inspection:
    """Judge bytes sent to a path, with only the ends and the digests that ``needs`` names."""
    needs = FORMAT.needs(path)
    extra = {name: hashlib.new(name, data).hexdigest() for name in needs.digests}
    digests = Digests(hashlib.sha256(data).hexdigest(), **extra)
    head, tail = data[: needs.head_bytes], data[max(0, len(data) - needs.tail_bytes) :]
    window = Window.of_ends(len(data), head, tail)
    return FORMAT.inspect(Upload(distribution, path, len(data), digests), window)


def facts_of(data: bytes, path: str = "sent.deb", distribution: str = DISTRIBUTION) -> PackageFacts:
    """The facts of a file that must be kept."""
    package = inspect(data, path, distribution).package
    assert package is not None
    return package


def facts_of_file(path: Path) -> PackageFacts:
    """The facts of a file on disk, sent under its own name."""
    return facts_of(path.read_bytes(), path.name)


def fields_of(stanza: str) -> dict[str, str]:
    """A stanza as lower-case field → value with each line stripped; for comparing tools that differ in
    order and blanks only.
    """
    fields: dict[str, str] = {}
    name = ""
    for line in stanza.strip("\n").split("\n"):
        if line[0] in " \t":
            fields[name] += "\n" + line.strip()
        else:
            name, _, value = line.partition(":")
            name = name.lower()
            fields[name] = value.strip()
    return fields
