"""The indexes of a codename and its Release file (DebianRepository/Format, apt-secure(8))."""

from collections import defaultdict
from email.utils import formatdate

from entrepot.formats.debian.names import COMPONENT
from entrepot.formats.debian.routes import SCOPE
from entrepot.formats.protocol import Document, IndexSpec, Manifest, ManifestInput, Signature, StreamSpec

# Present from the start, so that `apt-get update` on a common machine finds an index in a repository that has no
# package for it yet.
DEFAULT_ARCHITECTURES = ("amd64", "arm64", "armhf", "i386")
_ALL = "all"
_SOURCE = "source"


def indexes(parts: frozenset[str]) -> tuple[IndexSpec, ...]:
    """See :meth:`entrepot.formats.protocol.Format.indexes`. Packages for ``all`` are listed in each architecture's
    index.

    There is no binary-all and ``all`` is not among Release's Architectures, so apt never asks for it and needs no
    No-Support-for-Architecture-all; apt before 1.1 and other readers of repositories find them where they look.
    """
    seen: dict[str, set[str]] = defaultdict(lambda: set(DEFAULT_ARCHITECTURES))
    for part in (*parts, f"{COMPONENT}:{_ALL}"):
        component, _, architecture = part.partition(":")
        seen[component].update({architecture} - {_ALL, _SOURCE})
    specs = []
    for component in sorted(seen):
        for architecture in sorted(seen[component]):
            held = frozenset({f"{component}:{architecture}", f"{component}:{_ALL}"})
            specs.append(_spec(f"{component}/binary-{architecture}", "Packages", held))
        specs.append(_spec(f"{component}/{_SOURCE}", "Sources", frozenset({f"{component}:{_SOURCE}"})))
    return tuple(specs)


def _spec(folder: str, stream: str, parts: frozenset[str]) -> IndexSpec:
    return IndexSpec(SCOPE, folder, parts, (StreamSpec(stream, f"{folder}/{stream}", f"{folder}/{stream}.gz"),))


SIGNATURES: tuple[Signature, ...] = (
    Signature("Release", "InRelease", "clear"),
    Signature("Release", "Release.gpg", "detached"),
)


def manifest(request: ManifestInput) -> Manifest:
    """See :meth:`entrepot.formats.protocol.Format.manifest`: Release, to be signed inline and detached."""
    codename = request.distribution.partition("/")[2]
    folders = [index.name.partition("/") for index in request.indexes]
    architectures = sorted({folder.removeprefix("binary-") for _, _, folder in folders if folder.startswith("binary-")})
    fields = {
        "Origin": _one_line(request.origin),
        "Label": _one_line(request.label),
        "Suite": codename,
        "Codename": codename,
        "Version": "1",
        "Date": formatdate(request.date_s, usegmt=True).replace("GMT", "UTC"),
        "Architectures": " ".join(architectures),
        "Components": " ".join(sorted({component for component, _, _ in folders})),
        "Acquire-By-Hash": "yes",
    }
    text = "".join(f"{name}: {value}\n" for name, value in fields.items()) + "SHA256:\n" + "".join(_rows(request))
    document = Document("Release", text.encode("utf-8"), "text/plain; charset=utf-8")
    return Manifest(
        documents=(document,),
        signatures=SIGNATURES,
    )


def _rows(request: ManifestInput) -> list[str]:
    """`` SHA256 SIZE PATH`` rows. The plain form is listed too: without it apt finds no packages, and says nothing."""
    rows = []
    for index in request.indexes:
        for stream in index.streams:
            rows.append((stream.plain_path, stream.plain_sha256, stream.plain_size_bytes))
            rows.append((stream.gz_path, stream.gz_sha256, stream.gz_size_bytes))
    return [f" {sha256} {size:>16} {path}\n" for path, sha256, size in sorted(rows)]


def _one_line(text: str) -> str:
    """A field value: a newline in the configured origin must not begin a field of its own."""
    return " ".join(text.split())
