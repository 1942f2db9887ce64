"""The Debian format: each method of the protocol, handed to the module that knows."""

from collections.abc import Iterable, Mapping

from entrepot.formats.debian import binary, install, release, routes, setup, sources
from entrepot.formats.debian import sample as samples
from entrepot.formats.protocol import (
    OCTETS,
    IndexReader,
    IndexSpec,
    Inspection,
    InstallFile,
    InstallInput,
    Located,
    Manifest,
    ManifestInput,
    Needs,
    Sample,
    SetupInput,
    SetupLines,
    Signature,
    Target,
    Upload,
)
from entrepot.model.errors import Refusal
from entrepot.model.limits import KIB
from entrepot.streams.window import Window

_BINARY_SUFFIXES = (".deb", ".ddeb")
_SOURCE_DIGESTS = frozenset({"md5", "sha1"})  # of the .dsc itself, for its own line in Files and Checksums-Sha1
_MEMBER_HEAD_BYTES = 4 * KIB
# Packages that do belong somewhere, but not here: a better answer than "damaged".
_FOREIGN_SUFFIXES = (".rpm", ".jar", ".pom", ".war", ".aar", ".whl", ".gem", ".apk", ".udeb")
_FOREIGN_MAGIC = (b"\xed\xab\xee\xdb", b"PK\x03\x04")  # rpm, zip (jar, whl)
_CONTENT_TYPES = {
    "deb": "application/vnd.debian.binary-package",
    "ddeb": "application/vnd.debian.binary-package",
    "dsc": "text/plain; charset=utf-8",
    "asc": "text/plain; charset=utf-8",
}
_BINARIES = ("deb", "ddeb")
_PGP = b"-----BEGIN PGP SIGNED MESSAGE-----"


class DebianFormat:
    """.deb and source packages, read by apt. Stateless."""

    name = "debian"
    mounts: tuple[str, ...] = ()
    nameless_suffix = ""
    installs = install.INSTALLS
    signatures: tuple[Signature, ...] = release.SIGNATURES
    type_filters: Mapping[str, tuple[str, ...]] = {
        "deb": _BINARIES,
        "debs": _BINARIES,
        "dsc": ("dsc",),
        "dscs": ("dsc",),
    }
    version_lines: Mapping[str, tuple[str, ...]] = {
        "deb": ("type", "name", "architecture"),
        "ddeb": ("type", "name", "architecture"),
        "dsc": ("type", "name"),
    }

    def route(self, method: str, path: str) -> Target | None:
        """See :class:`entrepot.formats.protocol.Format`."""
        return routes.route(method, path)

    def address(self, distribution: str, scope: str, name: str) -> str:
        """See :class:`entrepot.formats.protocol.Format`."""
        return routes.address(distribution, name)

    def needs(self, path: str) -> Needs:
        """Both ends of a .deb, the whole of a .dsc, .changes or .buildinfo, a few bytes of a tarball; for a name that
        says nothing (some upload clients send a random one) all that any kind could need.
        """
        if path.endswith(_BINARY_SUFFIXES):
            return Needs(binary.HEAD_BYTES, binary.TAIL_BYTES)
        if path.endswith(".dsc"):
            return Needs(sources.TEXT_BYTES_MAX, 0, _SOURCE_DIGESTS)
        if path.endswith((".changes", ".buildinfo")):
            return Needs(sources.TEXT_BYTES_MAX, 0)
        if _is_member(path) or path.endswith(_FOREIGN_SUFFIXES):
            return Needs(_MEMBER_HEAD_BYTES, 0)
        return Needs(binary.HEAD_BYTES, binary.TAIL_BYTES, _SOURCE_DIGESTS)

    def inspect(self, upload: Upload, window: Window) -> Inspection:
        """See :class:`entrepot.formats.protocol.Format`. The kind is told by the name, else by the content."""
        path = upload.path.rpartition("/")[2]
        start = window.read(0, min(window.size_bytes, 4))
        if path.endswith(".udeb"):
            raise binary.udeb_refusal()
        if path.endswith(_FOREIGN_SUFFIXES) or start in _FOREIGN_MAGIC:
            raise Refusal(
                "format_mismatch",
                f"{upload.distribution} takes .deb and Debian source packages; send this to its own kind.",
            )
        if path.endswith(_BINARY_SUFFIXES):
            return binary.inspect_binary(upload, window)
        if path.endswith(".dsc"):
            return sources.inspect_dsc(upload, window)
        if path.endswith(".changes"):
            return sources.inspect_changes(window)
        if path.endswith(".buildinfo"):
            return sources.inspect_buildinfo(window)
        if _is_member(path):
            return sources.inspect_member(upload, window, path)
        return self._by_content(upload, window)

    def _by_content(self, upload: Upload, window: Window) -> Inspection:
        head = window.read(0, min(window.size_bytes, 256))
        if head.startswith(b"!<arch>\n"):
            return binary.inspect_binary(upload, window)
        if head.lstrip().startswith((b"Format:", _PGP)):
            return sources.inspect_dsc(upload, window)
        raise Refusal(
            "not_a_package", "The file is neither a .deb nor part of a Debian source package; check what was sent."
        )

    def indexes(self, distribution: str, parts: frozenset[str]) -> tuple[IndexSpec, ...]:
        """See :class:`entrepot.formats.protocol.Format`."""
        return release.indexes(parts)

    def head(self, stream: str, entries: int) -> bytes:
        """Nothing: stanzas follow each other."""
        return b""

    def foot(self, stream: str) -> bytes:
        """Nothing: each stanza brings its closing blank line."""
        return b""

    def manifest(self, request: ManifestInput) -> Manifest:
        """See :class:`entrepot.formats.protocol.Format`."""
        return release.manifest(request)

    def content_type(self, filename: str) -> str:
        """See :class:`entrepot.formats.protocol.Format`."""
        return _CONTENT_TYPES.get(filename.rpartition(".")[2], OCTETS)

    def in_group(self, path: str, group: str) -> bool:
        """Never: packages have no groups."""
        return False

    def setup(self, request: SetupInput) -> Iterable[SetupLines]:
        """See :class:`entrepot.formats.protocol.Format`."""
        return setup.setup(request)

    def install(self, name: str, request: InstallInput) -> InstallFile:
        """See :class:`entrepot.formats.protocol.Format`."""
        return install.install(name, request)

    def sample(self, serial: int, payload_bytes: int) -> Sample:
        """See :mod:`entrepot.formats.debian.sample`."""
        return samples.sample(serial, payload_bytes)

    def locate(self, sample: Sample, reader: IndexReader) -> tuple[Located, ...]:
        """See :mod:`entrepot.formats.debian.sample`."""
        return samples.locate(sample, reader)


def _is_member(path: str) -> bool:
    return path.endswith((".gz", ".bz2", ".xz", ".lzma", ".zst", ".asc"))
