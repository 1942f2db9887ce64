"""What the addresses below USER/REPO/ mean for rpm repositories.

* ``PUT FAMILY/VERSION/FILE``: an upload;
* ``GET FAMILY/VERSION/BASEARCH/repodata/repomd.xml`` (also ``.asc`` and ``.key``): the current publication;
* ``GET FAMILY/VERSION/BASEARCH/repodata/SHA256-STREAM.xml.gz``: an index file of any generation that is kept;
* ``GET FAMILY/VERSION/BASEARCH/Packages/DIGEST/FILE.rpm``: a package as the index locates it;
* ``GET FAMILY/VERSION/ARCH/FILE.rpm``: the same package at packagecloud's flat address.
"""

import re

from entrepot.formats.protocol import DigestTarget, EntryTarget, FileTarget, Target, UploadTarget
from entrepot.formats.rpm.arches import NOARCH_PART, SOURCE_ARCHES, SOURCE_SCOPE, basearch

STREAMS = ("primary", "filelists", "other")
LOCATION_DIGEST_CHARS = 32

_SEGMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}\Z")
_ARCH_FOLDER = re.compile(r"(?:[a-z][a-z0-9_]{0,31}|SRPMS)\Z")
_INDEX_FILE = re.compile(rf"([0-9a-f]{{64}})-(?:{'|'.join(STREAMS)})\.xml\.gz\Z")
_LOCATION_DIGEST = re.compile(rf"[0-9a-f]{{{LOCATION_DIGEST_CHARS}}}\Z")

# Name of an entry point → pair group. The key does not change with a publication, but zypper reads it between the
# signature and a second look at repomd.xml.
_ENTRIES = {"repomd.xml": "repomd", "repomd.xml.asc": "repomd", "repomd.xml.key": "repomd"}


def location(sha256: str, filename: str) -> str:
    """Where a package is, relative to the folder that holds ``repodata``. The same under every architecture that
    lists it.

    The digest is in the path so that a yanked name that returns with other bytes never meets a stale copy in a cache.
    """
    return f"Packages/{sha256[:LOCATION_DIGEST_CHARS]}/{filename}"


def route(method: str, path: str) -> Target | None:
    """See :meth:`entrepot.formats.protocol.Format.route`."""
    segments = path.split("/")
    if len(segments) < 3 or not all(_SEGMENT.match(segment) for segment in segments[:2]):
        return None
    distribution = "/".join(segments[:2])
    if method == "PUT":
        return UploadTarget(distribution, segments[2]) if len(segments) == 3 else None
    if method != "GET":
        return None
    if len(segments) == 5 and segments[3] == "repodata":
        return _repodata(distribution, segments[2], segments[4])
    if len(segments) == 6 and segments[3] == "Packages" and _LOCATION_DIGEST.match(segments[4]):
        return _file(distribution, segments[2], segments[5], segments[4])
    if len(segments) == 4:
        return _file(distribution, segments[2], segments[3], None)
    return None


def address(distribution: str, scope: str, name: str) -> str:
    """Where an entry point of a folder is."""
    return f"{distribution}/{scope}/repodata/{name}"


def _repodata(distribution: str, folder: str, name: str) -> Target | None:
    if not _ARCH_FOLDER.match(folder) or folder == NOARCH_PART or folder in SOURCE_ARCHES:
        return None
    scope = basearch(folder)  # `…/el/9/i686/` is what some configuration tools write for $basearch i386
    if name in _ENTRIES:
        return EntryTarget(distribution, scope, name, _ENTRIES[name])
    if found := _INDEX_FILE.match(name):
        return DigestTarget(distribution, scope, found[1])
    return None


def _file(distribution: str, folder: str, filename: str, sha256: str | None) -> FileTarget | None:
    """A package file; its own architecture must fit the folder, so that one address means one package in one
    place."""
    if not _ARCH_FOLDER.match(folder) or not filename.endswith(".rpm"):
        return None
    arch = filename.removesuffix(".rpm").rpartition(".")[2]
    if arch in SOURCE_ARCHES:
        fits = folder == SOURCE_SCOPE
    elif arch == NOARCH_PART:
        fits = folder != SOURCE_SCOPE
    else:
        fits = basearch(arch) == basearch(folder)
    return FileTarget(distribution, filename, sha256) if fits else None
