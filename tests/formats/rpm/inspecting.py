"""Helpers of this folder: inspect bytes, and lay a repository out by hand as a server would serve it."""

import gzip
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from entrepot.formats.protocol import IndexState, ManifestInput, PackageFacts, StreamState, Upload
from entrepot.formats.rpm import FORMAT
from entrepot.model.errors import Refusal
from entrepot.model.nouns import Digests
from entrepot.streams.window import Window
from tests.support.gpg import GpgHome

DISTRIBUTION = "el/9"
DATE_S = 1_700_000_100


def inspect(data: bytes, path: str = "sent.rpm") -> PackageFacts:
    """The facts of a package, seen through exactly the window that the format asks for."""
    need = FORMAT.needs(path)
    head = data[: need.head_bytes]
    window = Window.of_ends(len(data), head, data[len(data) - need.tail_bytes :] if need.tail_bytes else b"")
    upload = Upload(DISTRIBUTION, path, len(data), Digests(hashlib.sha256(data).hexdigest()))
    package = FORMAT.inspect(upload, window).package
    assert package is not None
    return package


def refused(data: bytes, path: str = "sent.rpm") -> Refusal:
    """The refusal of a package that must be refused; its detail must tell what to do."""
    with pytest.raises(Refusal) as caught:
        inspect(data, path)
    assert caught.value.detail.endswith("."), caught.value.detail
    return caught.value


@dataclass(frozen=True, slots=True)
class Pushed:
    """One package as the catalog would hold it."""

    facts: PackageFacts
    data: bytes

    @classmethod
    def of(cls, data: bytes) -> "Pushed":
        return cls(inspect(data), data)


def lay_out(base: Path, packages: Sequence[Pushed], key: GpgHome, *, generation: int = 7) -> None:
    """Write `base`/el/9/SCOPE/… for every scope: packages, indexes, signed repomd.xml; and the key as
    `base`/gpgkey."""
    base.mkdir(parents=True, exist_ok=True)
    (base / "gpgkey").write_bytes(key.public_key())
    ordered = sorted(packages, key=lambda package: package.facts.order_key)
    parts = frozenset(package.facts.part for package in packages if package.facts.part is not None)
    for spec in FORMAT.indexes(DISTRIBUTION, parts):
        folder = base / DISTRIBUTION / spec.scope
        (folder / "repodata").mkdir(parents=True)
        listed = [package for package in ordered if package.facts.part in spec.parts]
        states = []
        for stream in spec.streams:
            fragments = b"".join(package.facts.fragments[stream.name] for package in listed)
            plain = FORMAT.head(stream.name, len(listed)) + fragments + FORMAT.foot(stream.name)
            gz = gzip.compress(plain, mtime=0)
            state = StreamState(
                stream=stream.name,
                plain_path=stream.plain_path,
                gz_path=stream.gz_path,
                gz_size_bytes=len(gz),
                gz_sha256=hashlib.sha256(gz).hexdigest(),
                plain_size_bytes=len(plain),
                plain_sha256=hashlib.sha256(plain).hexdigest(),
            )
            (folder / "repodata" / f"{state.gz_sha256}-{stream.gz_path}").write_bytes(gz)
            states.append(state)
        index = IndexState(spec.name, len(listed), tuple(states))
        request = ManifestInput("host/u/r", "r", DISTRIBUTION, spec.scope, DATE_S, generation, (index,))
        made = FORMAT.manifest(request)
        contents = {document.name: document.content for document in made.documents}
        for signature in made.signatures:
            contents[signature.name] = key.sign(contents[signature.document]).detached
        assert made.key_name is not None
        contents[made.key_name] = key.public_key()
        for name, content in contents.items():
            (folder / "repodata" / name).write_bytes(content)
        for package in listed:
            digest = hashlib.sha256(package.data).hexdigest()[:32]
            place = folder / "Packages" / digest / package.facts.filename
            place.parent.mkdir(parents=True)
            place.write_bytes(package.data)
