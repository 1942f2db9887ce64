"""The Maven 2 repository layout: GROUP/PATH/ARTIFACT/VERSION/ARTIFACT-VERSION[-CLASSIFIER].EXTENSION.

Coordinates come from the path alone; a file that says otherwise is refused, because a client asks by path. Section
names are those of Maven's "Repository Layout" and "Repository Metadata" references.
"""

import re
from dataclasses import dataclass
from typing import Final

from entrepot.formats.maven.versions import VERSION_CHARS_MAX, is_snapshot
from entrepot.model.errors import Refusal
from entrepot.model.limits import FILENAME_CHARS_MAX, PATH_CHARS_MAX

DISTRIBUTION: Final = "java/maven2"
MOUNT: Final = "maven2"
METADATA: Final = "maven-metadata.xml"
CHECKSUMS: Final = {"md5": 32, "sha1": 40, "sha256": 64, "sha512": 128}
"""Checksum files by suffix, and the number of hex digits in each."""

# What Maven's model validation allows in ids; the first character keeps hidden files and option-like names out.
_ID: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]*\Z")
_ARTIFACT: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*\Z")
_VERSION: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+~-]*\Z")
_REST: Final = re.compile(r"[A-Za-z0-9_.+~@$=!-]*\Z")
# <base>-yyyyMMdd.HHmmss-<build number> of a unique snapshot.
_BUILD: Final = re.compile(r"([0-9]{8}\.[0-9]{6})-([0-9]{1,9})(?=[.-])")
_BUILD_VERSION: Final = re.compile(r"(?:.*-)?[0-9]{8}\.[0-9]{6}-[0-9]+\Z")
_DOUBLE_EXTENSION: Final = re.compile(r"(?:\A|\.)(tar\.[A-Za-z0-9]+)\Z")


@dataclass(frozen=True, slots=True)
class Build:
    """One unique snapshot build: ``timestamp`` yyyyMMdd.HHmmss, ``number`` counted by the client."""

    timestamp: str
    number: int

    @property
    def suffix(self) -> str:
        """What stands in file names in the place of SNAPSHOT."""
        return f"{self.timestamp}-{self.number}"


@dataclass(frozen=True, slots=True)
class Place:
    """A file's place in the layout. ``version`` is the folder's (``1.0-SNAPSHOT`` for every build of it).

    ``extension`` is all after the classifier (``jar``, ``tar.gz``, ``pom.asc``); ``build`` is a unique snapshot's.
    """

    group: str
    artifact: str
    version: str
    filename: str
    classifier: str
    extension: str
    build: Build | None

    @property
    def group_folder(self) -> str:
        """The group's folder, which is also the scope of its plugins."""
        return self.group.replace(".", "/")

    @property
    def folder(self) -> str:
        """The artifact's folder, which is also the scope of its metadata."""
        return f"{self.group_folder}/{self.artifact}"

    @property
    def path(self) -> str:
        """The whole path."""
        return f"{self.folder}/{self.version}/{self.filename}"

    @property
    def snapshot(self) -> bool:
        """Whether it lies in a snapshot's folder."""
        return is_snapshot(self.version)


def parse(path: str) -> Place:
    """Read a path.

    Raises Refusal("package_name_invalid") for a path that is no place in the layout, or names that Maven or a file
    system could not use; Refusal("coordinates_mismatch") when the file name does not begin with its folders' artifact
    and version.
    """
    if len(path) > PATH_CHARS_MAX:
        raise _bad(path, f"A path has at most {PATH_CHARS_MAX} characters.")
    *groups, artifact, version, filename = ["", "", "", *path.split("/")]
    groups = groups[3:]
    if not groups or not version:
        raise _bad(path, "Send a file to GROUP/PATH/ARTIFACT/VERSION/FILE, as Maven and Gradle do.")
    if not all(len(each) <= FILENAME_CHARS_MAX for each in (*groups, artifact, version, filename)):
        raise _bad(path, f"Each part of a path has at most {FILENAME_CHARS_MAX} characters.")
    if not all(_ID.match(each) for each in groups):
        # A dot inside a folder would let two paths stand for one group id.
        raise _bad(path, "The folders of a group id hold letters, digits, - and _; its dots become slashes.")
    if not _ARTIFACT.match(artifact) or ".." in artifact:
        raise _bad(path, "An artifact id holds letters, digits, . - _ and begins with a letter, a digit or _.")
    check_version(version)
    rest, build = _after_version(path, artifact, version, filename)
    classifier, extension = _split(rest)
    if not _REST.match(rest) or ".." in rest or not extension:
        raise _bad(
            path, "A file name is ARTIFACT-VERSION[-CLASSIFIER].EXTENSION, of letters, digits and ._+~@$=!- alone."
        )
    return Place(".".join(groups), artifact, version, filename, classifier, extension, build)


def check_version(version: str) -> None:
    """Raises Refusal("package_name_invalid") for a version that cannot be a folder, or that is a snapshot's build."""
    if not _VERSION.match(version) or ".." in version or len(version) > VERSION_CHARS_MAX or version.endswith("."):
        raise _bad(version, "A version holds letters, digits and . _ + ~ -, and begins with a letter, a digit or '_'.")
    if _BUILD_VERSION.match(version):
        raise _bad(version, "A unique snapshot lies in the folder of its base version, such as 1.0-SNAPSHOT.")


def _after_version(path: str, artifact: str, version: str, filename: str) -> tuple[str, Build | None]:
    """What follows ARTIFACT-VERSION in the file name, beginning with '.' or '-', and the build of a unique snapshot."""
    stem = f"{artifact}-{version}"
    if filename.startswith(stem) and filename[len(stem) : len(stem) + 1] in (".", "-"):
        return filename[len(stem) :], None
    if is_snapshot(version):
        base = f"{artifact}-{version.removesuffix('SNAPSHOT')}"
        if filename.startswith(base) and (found := _BUILD.match(filename, len(base))):
            return filename[found.end() :], Build(found[1], int(found[2]))
    raise Refusal(
        "coordinates_mismatch",
        f"The file name must begin with {stem}, which is what its folders say; send it to its own folder. "
        "(curl -T adds the file's name to an address that ends with a slash.)",
        path=path[:PATH_CHARS_MAX],
        expected=stem,
    )


def _split(rest: str) -> tuple[str, str]:
    """(classifier, extension) of ``-sources.jar`` or ``.tar.gz.asc``.

    The name alone does not tell where an extension begins; it is the last suffix, or ``tar.*``, and a signature's
    begins where the extension of the signed file does.
    """
    signed = rest.endswith(".asc")
    body = rest.removesuffix(".asc") if signed else rest
    if double := _DOUBLE_EXTENSION.search(body):
        classifier, extension = body[: double.start(1)].removesuffix("."), double[1]
    else:
        classifier, _, extension = body.rpartition(".")
    classifier = classifier.removeprefix("-")
    return classifier, f"{extension}.asc" if signed and extension else extension


def _bad(path: str, detail: str) -> Refusal:
    return Refusal("package_name_invalid", detail, field="path", value=path[:PATH_CHARS_MAX])


def place_of(coordinates: str, filename: str) -> Place:
    """Where a file with a bare name goes: ``coordinates`` are GROUP:ARTIFACT[:PACKAGING[:CLASSIFIER]]:VERSION.

    The file's own name gives classifier and extension when it begins with ARTIFACT-VERSION; else its last suffix is
    the extension. Raises Refusal("package_field_invalid") for other coordinates, and what :func:`parse` raises.
    """
    parts = coordinates.split(":")
    if not 3 <= len(parts) <= 5 or not all(parts):
        raise Refusal(
            "package_field_invalid",
            "Coordinates are GROUP:ARTIFACT:VERSION, for example org.example:lib:1.0.",
            field="coordinates",
        )
    group, artifact, version = parts[0], parts[1], parts[-1]
    check_version(version)
    stem = f"{artifact}-{version}"
    if len(parts) == 3 and filename.startswith(stem) and filename[len(stem) : len(stem) + 1] in (".", "-"):
        rest = filename[len(stem) :]
    else:
        classifier = f"-{parts[3]}" if len(parts) == 5 else ""
        rest = f"{classifier}.{_split('.' + filename)[1]}"
    if "/" in group + artifact + rest:
        raise _bad(coordinates, "Coordinates hold no slashes.")
    return parse(f"{group.replace('.', '/')}/{artifact}/{version}/{stem}{rest}")
