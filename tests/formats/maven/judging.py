"""Shortcuts for the Maven tests: inspect bytes under a path, and expect a refusal."""

from collections.abc import Mapping

import pytest

from entrepot.formats.maven import FORMAT
from entrepot.formats.protocol import Inspection, ListedFile, PackageFacts, Upload
from entrepot.model.errors import Refusal
from entrepot.model.nouns import Digests
from entrepot.streams.window import Window
from tests.support.java import make_jar, make_pom

DISTRIBUTION = "java/maven2"


def judge(path: str, data: bytes, hints: Mapping[str, str] | None = None) -> Inspection:
    """The verdict, seen through the very windows that `needs` asks for."""
    needs = FORMAT.needs(path)
    window = Window(
        len(data), lambda at, length: data[at : at + length], head_bytes=needs.head_bytes, tail_bytes=needs.tail_bytes
    )
    return FORMAT.inspect(Upload(DISTRIBUTION, path, len(data), Digests("0" * 64), hints or {}), window)


def kept(path: str, data: bytes, hints: Mapping[str, str] | None = None) -> PackageFacts:
    """The facts of a file that must be kept."""
    package = judge(path, data, hints).package
    assert package is not None
    return package


def refused(path: str, data: bytes, hints: Mapping[str, str] | None = None) -> Refusal:
    """The refusal that must come; its sentence says what to do."""
    with pytest.raises(Refusal) as caught:
        judge(path, data, hints)
    assert len(caught.value.detail) > 20
    return caught.value


def place(group: str, artifact: str, version: str, suffix: str, build: str = "") -> str:
    """A layout path; `suffix` is `.jar`, `-sources.jar`…; `build` the unique version of a snapshot."""
    return f"{group.replace('.', '/')}/{artifact}/{version}/{artifact}-{build or version}{suffix}"


def listed(facts: PackageFacts, created_at: int) -> ListedFile:
    """What the publisher would pass to `manifest` for a file."""
    return ListedFile(facts.path, facts.name, facts.version, created_at, facts.metadata)


def release(group: str, artifact: str, version: str, *, packaging: str = "jar", body: str = "") -> list[PackageFacts]:
    """Facts of a release's jar and POM."""
    pom = make_pom(group, artifact, version, packaging=packaging, body=body)
    return [
        kept(place(group, artifact, version, ".jar"), make_jar()),
        kept(place(group, artifact, version, ".pom"), pom),
    ]
