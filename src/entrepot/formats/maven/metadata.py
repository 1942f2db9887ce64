"""maven-metadata.xml, rendered from what is there (Maven's "Repository Metadata" reference, model 1.1.0)."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Final
from xml.sax.saxutils import escape

from entrepot.formats.maven import versions
from entrepot.formats.maven.layout import CHECKSUMS, METADATA, Place, parse
from entrepot.formats.protocol import Document, ListedFile
from entrepot.model.errors import Refusal

CONTENT_TYPE: Final = "text/xml"
_Entry = tuple[Place, ListedFile]


def documents(scope: str, files: Sequence[ListedFile], date_s: int) -> tuple[Document, ...]:
    """All metadata of one folder: its own ``maven-metadata.xml``, and that of each snapshot version in it.

    A folder may be an artifact's and a group's at once (``org.a:b`` and plugins of group ``org.a.b``): one file then
    says both, as in any Maven repository.
    Args: ``scope`` the folder; ``files`` in any order; ``date_s`` of the publication, seconds since 1970 UTC.
    """
    entries = [(place, file) for file in files if (place := _place(file.path)) is not None]
    own = [entry for entry in entries if entry[0].folder == scope]
    plugins = [entry for entry in entries if entry[0].group_folder == scope and entry[0].folder != scope]
    listed = versions.ordered({place.version for place, _ in own if place.extension == "pom" and not place.classifier})
    body = [*_plugins(plugins), *_artifact(own, listed, date_s)]
    made = [_document(METADATA, body)] if body else []
    for version in listed:
        if versions.is_snapshot(version):
            there = [entry for entry in own if entry[0].version == version]
            made.append(_document(f"{version}/{METADATA}", _snapshot(version, there)))
    return tuple(made)


def _place(path: str) -> Place | None:
    try:
        return parse(path)
    except Refusal:
        return None


def _document(name: str, body: Iterable[str]) -> Document:
    text = "\n".join(
        ('<?xml version="1.0" encoding="UTF-8"?>', '<metadata modelVersion="1.1.0">', *body, "</metadata>", "")
    )
    return Document(name, text.encode(), CONTENT_TYPE, {each: f"{name}.{each}" for each in CHECKSUMS})


def _element(depth: int, name: str, text: object) -> str:
    return f"{'  ' * depth}<{name}>{escape(str(text))}</{name}>"


def _stamp(seconds: int) -> str:
    """yyyyMMddHHmmss, UTC."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y%m%d%H%M%S")


def _artifact(own: Sequence[_Entry], listed: Sequence[str], date_s: int) -> Iterator[str]:
    """Artifact level. ``latest`` is the greatest version, ``release`` the greatest that is no snapshot."""
    if not listed:
        return
    releases = [each for each in listed if not versions.is_snapshot(each)]
    yield _element(1, "groupId", own[0][0].group)
    yield _element(1, "artifactId", own[0][0].artifact)
    yield "  <versioning>"
    yield _element(2, "latest", listed[-1])
    if releases:
        yield _element(2, "release", releases[-1])
    yield "    <versions>"
    yield from (_element(3, "version", each) for each in listed)
    yield "    </versions>"
    yield _element(2, "lastUpdated", _stamp(date_s))
    yield "  </versioning>"


def _snapshot(version: str, there: Sequence[_Entry]) -> Iterator[str]:
    """Version level: of each classifier and extension the newest file, out of builds whose POM is there.

    Without that rule a client in the middle of a deploy would be sent to a jar whose POM is yet to come.
    """
    whole = {place.build for place, _ in there if place.extension == "pom" and not place.classifier}
    chosen: dict[tuple[str, str], _Entry] = {}
    for entry in sorted((each for each in there if each[0].build in whole), key=_age):
        chosen[entry[0].extension, entry[0].classifier] = entry
    yield _element(1, "groupId", there[0][0].group)
    yield _element(1, "artifactId", there[0][0].artifact)
    yield _element(1, "version", version)
    yield "  <versioning>"
    builds = sorted((each for each in whole if each is not None), key=lambda build: (build.timestamp, build.number))
    if builds:
        yield "    <snapshot>"
        yield _element(3, "timestamp", builds[-1].timestamp)
        yield _element(3, "buildNumber", builds[-1].number)
        yield "    </snapshot>"
    yield _element(2, "lastUpdated", max(_updated(*entry) for entry in chosen.values()))
    yield "    <snapshotVersions>"
    for (extension, classifier), (place, file) in sorted(chosen.items()):
        yield "      <snapshotVersion>"
        if classifier:
            yield _element(4, "classifier", classifier)
        yield _element(4, "extension", extension)
        suffix = place.build.suffix if place.build else "SNAPSHOT"
        yield _element(4, "value", version.removesuffix("SNAPSHOT") + suffix)
        yield _element(4, "updated", _updated(place, file))
        yield "      </snapshotVersion>"
    yield "    </snapshotVersions>"
    yield "  </versioning>"


def _age(entry: _Entry) -> tuple[str, int, int]:
    """Sorts a version's files by age; a unique build wins over a file named SNAPSHOT, which has no build."""
    place, file = entry
    return (place.build.timestamp, place.build.number, 0) if place.build else ("", 0, file.created_at)


def _updated(place: Place, file: ListedFile) -> str:
    return place.build.timestamp.replace(".", "") if place.build else _stamp(file.created_at)


def _plugins(entries: Sequence[_Entry]) -> Iterator[str]:
    """Group level: which artifact a plugin prefix means. The greatest version counts, its jar before its POM."""
    prefixed: dict[str, list[_Entry]] = {}
    for entry in entries:
        if entry[1].metadata.get("plugin_prefix"):
            prefixed.setdefault(entry[0].artifact, []).append(entry)
    latest: dict[str, tuple[object, object]] = {}
    for artifact, mine in sorted(prefixed.items()):
        listed = versions.ordered({place.version for place, _ in mine if place.extension == "pom"})
        if listed:
            newest = sorted((each for each in mine if each[0].version == listed[-1]), key=_age)
            said = {place.extension: file.metadata for place, file in newest}
            title = said["pom"].get("summary") or artifact
            latest[artifact] = title, said.get("jar", said["pom"])["plugin_prefix"]
    if not latest:
        return
    yield "  <plugins>"
    for artifact, (title, prefix) in latest.items():
        yield "    <plugin>"
        yield _element(3, "name", title)
        yield _element(3, "prefix", prefix)
        yield _element(3, "artifactId", artifact)
        yield "    </plugin>"
    yield "  </plugins>"
