"""The Maven format: a pure answer to each question of the protocol."""

from collections.abc import Iterator, Mapping
from typing import Final

from entrepot.formats.maven import archive, layout, metadata, pom, versions
from entrepot.formats.maven import sample as samples
from entrepot.formats.maven.layout import CHECKSUMS, DISTRIBUTION, METADATA, MOUNT, Place
from entrepot.formats.maven.setup import setup
from entrepot.formats.protocol import (
    OCTETS,
    EntryTarget,
    FileTarget,
    IndexReader,
    IndexSpec,
    Inspection,
    InstallFile,
    InstallInput,
    Located,
    Manifest,
    ManifestInput,
    Member,
    Needs,
    PackageFacts,
    Sample,
    SetupInput,
    SetupLines,
    Signature,
    Target,
    Upload,
    UploadTarget,
)
from entrepot.model.errors import Refusal
from entrepot.model.limits import KIB, POM_BYTES_MAX
from entrepot.streams.window import Window

_CHECKSUM_FILE_BYTES_MAX: Final = 4 * KIB
_CONTENT_TYPES: Final = {
    "jar": "application/java-archive",
    "war": "application/java-archive",
    "pom": "application/xml",
    "xml": "application/xml",
    "asc": "text/plain; charset=utf-8",
}
_KEPT_DIGESTS: Final = frozenset({"md5", "sha1", "sha512"})


class MavenFormat:
    """See :class:`entrepot.formats.protocol.Format`, and this package's docstring for each answer."""

    name = "maven"
    mounts: tuple[str, ...] = (MOUNT,)
    nameless_suffix = ".jar"
    installs: Mapping[str, bool] = {}
    signatures: tuple[Signature, ...] = ()
    type_filters: Mapping[str, tuple[str, ...]] = {
        "java": ("jar", "war", "aar", "pom"),
        "jar": ("jar", "war", "aar"),
    }
    version_lines: Mapping[str, tuple[str, ...]] = {"": ("name",)}

    def route(self, method: str, path: str) -> Target | None:
        """``maven2/PATH`` and ``java/maven2/PATH``; the distribution is always java/maven2."""
        rest = path.removeprefix("java/").removeprefix(f"{MOUNT}/")
        if not rest or path not in (f"{MOUNT}/{rest}", f"{DISTRIBUTION}/{rest}"):
            return None
        if method == "PUT":
            return UploadTarget(DISTRIBUTION, rest)
        if method != "GET":
            return None
        stem, algorithm = _split_checksum(rest)
        folder, _, filename = stem.rpartition("/")
        if filename == METADATA and folder:
            return _metadata_target(folder, algorithm)
        return FileTarget(DISTRIBUTION, stem, derive=algorithm)

    def address(self, distribution: str, scope: str, name: str) -> str:
        """See :class:`entrepot.formats.protocol.Format`."""
        return f"{MOUNT}/{scope}/{name}"

    def needs(self, path: str) -> Needs:
        """A POM whole, both ends of a zip, a checksum file whole, nothing of any other file."""
        stem, algorithm = _split_checksum(path)
        if algorithm is not None or _is_metadata(stem):
            return Needs(_CHECKSUM_FILE_BYTES_MAX, 0)
        extension = path.rpartition(".")[2]
        if extension == "pom":
            return Needs(POM_BYTES_MAX, 0, _KEPT_DIGESTS)
        if extension in archive.EXTENSIONS:
            return Needs(archive.HEAD_BYTES, archive.TAIL_BYTES, _KEPT_DIGESTS)
        return Needs(0, 0, _KEPT_DIGESTS)

    def inspect(self, upload: Upload, window: Window) -> Inspection:
        """See the protocol; raises Refusal with the codes named there."""
        stem, algorithm = _split_checksum(upload.path)
        if _is_metadata(stem):
            return Inspection(None)  # the server makes its own: a client's knows only what that client has seen
        if algorithm is not None:
            place = layout.parse(stem)
            return Inspection(None, (Member(place.path, None, {algorithm: _checksum(upload, window, algorithm)}),))
        return Inspection(_facts(upload, window))

    def indexes(self, distribution: str, parts: frozenset[str]) -> tuple[IndexSpec, ...]:
        """None: Maven reads whole documents only."""
        return ()

    def head(self, stream: str, entries: int) -> bytes:
        """Nothing: there are no streams."""
        return b""

    def foot(self, stream: str) -> bytes:
        """Nothing: there are no streams."""
        return b""

    def manifest(self, request: ManifestInput) -> Manifest:
        """maven-metadata.xml of one folder and of its snapshot versions, unsigned: Maven verifies none."""
        return Manifest(metadata.documents(request.scope, request.files, request.date_s))

    def content_type(self, filename: str) -> str:
        """By the last extension: a signature of a jar is text."""
        return _CONTENT_TYPES.get(filename.rpartition(".")[2], OCTETS)

    def in_group(self, path: str, group: str) -> bool:
        """By the layout; ``group`` may be written with dots or as folders."""
        return layout.parse(path).group == group.replace("/", ".")

    def setup(self, request: SetupInput) -> Iterator[SetupLines]:
        """settings.xml, pom.xml, build.gradle, curl."""
        return setup(request)

    def install(self, name: str, request: InstallInput) -> InstallFile:
        """Has no such files: build tools are set up in the project."""
        raise LookupError(name)

    def sample(self, serial: int, payload_bytes: int) -> Sample:
        """See :mod:`entrepot.formats.maven.sample`."""
        return samples.sample(serial, payload_bytes)

    def locate(self, sample: Sample, reader: IndexReader) -> tuple[Located, ...]:
        """See :mod:`entrepot.formats.maven.sample`."""
        return samples.locate(sample, reader)


def _split_checksum(path: str) -> tuple[str, str | None]:
    """(path without the suffix, algorithm) of a checksum file, else (path, None)."""
    stem, _, suffix = path.rpartition(".")
    return (stem, suffix) if suffix in CHECKSUMS and stem else (path, None)


def _is_metadata(path: str) -> bool:
    return path.rpartition("/")[2] in (METADATA, f"{METADATA}.asc")


def _metadata_target(folder: str, algorithm: str | None) -> EntryTarget:
    """A scope is a folder, so ``a/b/c/maven-metadata.xml`` needs no guess whether c is an artifact or ends a group id.

    A snapshot version's metadata belongs to its artifact's scope: both change with every deploy.
    """
    parent, _, last = folder.rpartition("/")
    name = METADATA
    if versions.is_snapshot(last) and parent:
        folder, name = parent, f"{last}/{METADATA}"
    return EntryTarget(DISTRIBUTION, folder, name if algorithm is None else f"{name}.{algorithm}", pair=name)


def _checksum(upload: Upload, window: Window, algorithm: str) -> str:
    """The digest in a checksum file: hex alone, or followed by a file name as sha1sum(1) writes it."""
    if upload.size_bytes <= _CHECKSUM_FILE_BYTES_MAX:
        words = window.read(0, upload.size_bytes).decode("latin-1").split()
        digest = words[0].lower() if words else ""
        if len(digest) == CHECKSUMS[algorithm] and set(digest) <= set("0123456789abcdef"):
            return digest
    raise Refusal(
        "package_field_invalid",
        f"A .{algorithm} file holds {CHECKSUMS[algorithm]} hexadecimal digits.",
        field=algorithm,
    )


def _facts(upload: Upload, window: Window) -> PackageFacts:
    """Judge a file that is kept."""
    extension = upload.path.rpartition(".")[2]
    place = layout.parse(upload.path) if "/" in upload.path else None
    members = archive.check(window, upload.path.rpartition("/")[2]) if extension in archive.EXTENSIONS else ()
    read = None
    if extension == "pom":
        read = _read_pom(upload, window, place)
    if place is None:
        place = _place_inside(upload, window, members, read)
    shown: dict[str, object] = {"group": place.group, "artifact": place.artifact, "extension": place.extension}
    if place.classifier:
        shown["classifier"] = place.classifier
    prefix = None
    if read is not None:
        _check_coordinates(place, read)
        shown.update(read.metadata)
        shown["packaging"] = read.packaging
        prefix = read.plugin_prefix
    elif place.extension == "jar" and not place.classifier:
        prefix = archive.plugin_prefix(window, members)
    if prefix is not None:
        shown["plugin_prefix"] = prefix
    name = f"{place.group}:{place.artifact}"
    return PackageFacts(
        type=extension[:32],
        name=name,
        version=place.version,
        architecture="",
        filename=place.filename,
        path=place.path,
        conflict_key=place.path,
        order_key=name.encode() + b"\0" + versions.sort_key(place.version) + b"\0" + place.filename.encode(),
        document_scopes=_scopes(place, read is not None, prefix is not None),
        replaces=place.snapshot and place.build is None,
        metadata=shown,
    )


def _read_pom(upload: Upload, window: Window, place: Place | None) -> pom.Pom | None:
    """A POM; None for one with a classifier (Maven 4's build POM), which need not be complete but must be harmless."""
    pom.check_size(upload.size_bytes)
    data = window.read(0, upload.size_bytes)
    if place is not None and place.classifier:
        pom.read_xml(data, "The POM")
        return None
    return pom.read(data)


def _place_inside(upload: Upload, window: Window, members: archive.Members, read: pom.Pom | None) -> Place:
    """Where a file with a bare name belongs: by the coordinates sent with it, or those inside it."""
    coordinates = upload.hints.get("coordinates")
    if not coordinates:
        coordinates = archive.of_pom(read) if read is not None else archive.coordinates(window, members)
    return layout.place_of(coordinates, upload.path)


def _check_coordinates(place: Place, read: pom.Pom) -> None:
    """A POM under a wrong path would be another package's. What only a parent elsewhere can resolve is let pass."""
    version = read.version
    if place.build is not None and version == place.version.removesuffix("SNAPSHOT") + place.build.suffix:
        version = place.version
    for field, inside, outside in (
        ("groupId", read.group, place.group),
        ("artifactId", read.artifact, place.artifact),
        ("version", version, place.version),
    ):
        if inside is not None and inside != outside:
            raise Refusal(
                "coordinates_mismatch",
                f"The POM says {field} {inside[:255]}, the path says {outside}; deploy it under its own coordinates.",
                field=field,
                inside=inside[:255],
                path=outside,
            )


def _scopes(place: Place, is_pom: bool, is_plugin: bool) -> tuple[str, ...]:
    """The folders whose metadata a file changes: a release's is changed by its POM alone, a snapshot's by each file."""
    scopes = {place.folder} if place.snapshot or is_pom else set()
    if is_plugin:
        scopes.add(place.group_folder)
    return tuple(sorted(scopes))
