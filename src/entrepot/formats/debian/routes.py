"""Addresses of a Debian repository: packagecloud's layout, and a pool of our own whose locations carry the digest."""

import re

from entrepot.formats.debian.names import DIGEST_CHARS, is_filename
from entrepot.formats.protocol import DigestTarget, EntryTarget, FileTarget, Target, UploadTarget

# One signature covers a whole codename, so a distribution has one scope and it needs no name.
SCOPE = ""
# apt reads Release and Release.gpg one after the other when there is no InRelease; from two generations the signature
# would not fit.
RELEASE_PAIR = "Release"

_SEGMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,127}\Z")
_ENTRY = re.compile(
    r"[a-z][a-z0-9-]{0,31}/(?:binary-[a-z0-9][a-z0-9-]{0,62}/Packages(?:\.gz)?|source/Sources(?:\.gz)?)\Z"
)
_BY_HASH = re.compile(
    r"[a-z][a-z0-9-]{0,31}/(?:binary-[a-z0-9][a-z0-9-]{0,62}|source)/by-hash/SHA256/(?P<sha256>[0-9a-f]{64})\Z"
)
_DIGEST = re.compile(rf"[0-9a-f]{{{DIGEST_CHARS}}}\Z")
# "debian/dists" and "debian/pool" are the folders that clients read, never a codename to send to.
_NO_CODENAMES = frozenset({"dists", "pool"})
# Files whose own sha256 stands in their location; the other files of a source package lie beside their .dsc, under its
# digest.
_DIGEST_SUFFIXES = (".deb", ".ddeb", ".dsc")


def route(method: str, path: str) -> Target | None:
    """See :meth:`entrepot.formats.protocol.Format.route`."""
    segments = path.split("/")
    if method == "PUT":
        return _upload(segments)
    if (
        method not in ("GET", "HEAD")
        or len(segments) < 4
        or not _SEGMENT.match(segments[0])
        or not _SEGMENT.match(segments[2])
    ):
        return None
    distribution = f"{segments[0]}/{segments[2]}"
    if segments[1] == "dists":
        return _index(distribution, "/".join(segments[3:]))
    if segments[1] == "pool":
        return _file(distribution, segments[3:])
    return None


def address(distribution: str, name: str) -> str:
    """Where an entry point of a codename is."""
    family, _, codename = distribution.partition("/")
    return f"{family}/dists/{codename}/{name}"


def _upload(segments: list[str]) -> UploadTarget | None:
    if (
        len(segments) != 3
        or not _SEGMENT.match(segments[0])
        or not _SEGMENT.match(segments[1])
        or segments[1] in _NO_CODENAMES
    ):
        return None
    return UploadTarget(f"{segments[0]}/{segments[1]}", segments[2])


def _index(distribution: str, name: str) -> Target | None:
    if name == "InRelease":
        return EntryTarget(distribution, SCOPE, name)
    if name in ("Release", "Release.gpg"):
        return EntryTarget(distribution, SCOPE, name, pair=RELEASE_PAIR)
    if _ENTRY.match(name):
        return EntryTarget(distribution, SCOPE, name)
    if found := _BY_HASH.match(name):
        return DigestTarget(distribution, SCOPE, found["sha256"])
    return None


def _file(distribution: str, below: list[str]) -> FileTarget | None:
    """``<component>/<prefix>/<name>[/<digest>]/<filename>``: with the digest in our indexes, without it in
    packagecloud's links.
    """
    if (
        len(below) not in (4, 5)
        or not all(_SEGMENT.match(segment) for segment in below[:3])
        or not is_filename(below[-1])
    ):
        return None
    filename = below[-1]
    if len(below) == 4:
        return FileTarget(distribution, filename)
    if not _DIGEST.match(below[3]):
        return None
    # The name alone finds a tarball: in one distribution a name has one content (conflict_key), whichever .dsc leads to
    # it.
    return FileTarget(distribution, filename, below[3] if filename.endswith(_DIGEST_SUFFIXES) else None)
