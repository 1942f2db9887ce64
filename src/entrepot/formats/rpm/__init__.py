"""rpm-md repositories for dnf, yum, microdnf and zypper. The answers to each method of the protocol, and why:

* ``mounts``: none; the first segment of an address is always a distribution's family.
* ``route``: see :mod:`entrepot.formats.rpm.addresses`. Packages lie at ``Packages/<32 hex of sha256>/<file>`` below the
  scope, so that a name that returns never meets a stale cache; packagecloud's flat address works beside it.
* ``needs``: the first 32 MiB (lead and both headers), no tail, no digest beside sha256: everything a repository says of
  a package is in its header, and the payload is never unpacked.
* ``inspect``: sizes (SIZE, LONGSIZE, PAYLOADSIZE) against the file's, then each header digest that is there (none:
  refused, as rpm since 4.14 does), then names, then the payload digest where the window holds the whole file (longer
  files: rpm checks it when it installs). Only then createrepo_c gets the header, in memory.
* ``conflict_key``: NEVRA, epoch 0 when absent. Never ``replaces``: a version is released once.
* ``order_key``: name, epoch, version and release in rpmvercmp's order, architecture, sha256.
* ``part``: base architecture, ``noarch`` or ``src``; no document scopes, no ``requires``, no ``claims``.
* ``fragments``: createrepo_c's own text, 10 newest changelogs (its default), file time = build time (an upload has no
  time of its own, and equal input must give equal output), what XML forbids taken out, parsed once before it is let in.
* ``indexes``: per base architecture one index of three streams in one order (createrepo_c's reader asks for that);
  architecture A lists {A, noarch}, ``SRPMS`` lists {src}. x86_64, aarch64 and SRPMS always exist: a client fails hard
  on a missing repomd.xml.
* ``head``, ``foot``: createrepo_c's; ``packages=`` may be stale between merges, no client relies on it.
* ``manifest``: repomd.xml with the generation as revision and the publication's date as timestamp; a detached
  signature; the key beside it, where zypper looks. repomd.xml and its signature are a pair.
* ``sample``, ``locate``: one x86_64 package in el/9; repomd.xml with its signature, primary, the entry.
* ``nameless_suffix``: .rpm, there is no other kind of file. ``type_filters``: rpm(s), source packages too, as
  packagecloud lists them. ``in_group``: no groups.
* ``version_lines``: a package in one architecture; source packages have one of their own, ``src``.
* ``setup``: a .repo file with repo_gpgcheck=1 and gpgcheck=0 (packages stay as built, signed or not; the signed index
  holds their sha256), a zypper line, a curl line.
"""

from collections.abc import Iterable, Mapping

from entrepot.formats.protocol import (
    OCTETS,
    Format,
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
from entrepot.formats.rpm import addresses, inspection, install, repodata
from entrepot.formats.rpm import sample as samples
from entrepot.formats.rpm import setup as setup_lines
from entrepot.model.limits import RPM_HEADER_BYTES_MAX
from entrepot.streams.window import Window

_TYPES = ("rpm", "srpm")


class RpmFormat:
    """The rpm format; see :class:`entrepot.formats.protocol.Format` for what each method promises."""

    name = "rpm"
    mounts: tuple[str, ...] = ()
    nameless_suffix = ".rpm"
    installs: Mapping[str, bool] = install.INSTALLS
    signatures: tuple[Signature, ...] = repodata.SIGNATURES
    type_filters: Mapping[str, tuple[str, ...]] = {"rpm": _TYPES, "rpms": _TYPES}
    version_lines: Mapping[str, tuple[str, ...]] = dict.fromkeys(_TYPES, ("type", "name", "architecture"))

    def route(self, method: str, path: str) -> Target | None:
        """See :mod:`entrepot.formats.rpm.addresses`."""
        return addresses.route(method, path)

    def address(self, distribution: str, scope: str, name: str) -> str:
        """See :class:`entrepot.formats.protocol.Format`."""
        return addresses.address(distribution, scope, name)

    def needs(self, path: str) -> Needs:
        """The head, up to the longest header; nothing of the end; no digest beside sha256."""
        return Needs(head_bytes=RPM_HEADER_BYTES_MAX, tail_bytes=0)

    def inspect(self, upload: Upload, window: Window) -> Inspection:
        """See :mod:`entrepot.formats.rpm.inspection`."""
        return inspection.inspect(upload, window)

    def indexes(self, distribution: str, parts: frozenset[str]) -> tuple[IndexSpec, ...]:
        """One per base architecture, and SRPMS."""
        return repodata.indexes(parts)

    def head(self, stream: str, entries: int) -> bytes:
        """XML declaration and opening tag of primary, filelists or other."""
        return repodata.head(stream, entries)

    def foot(self, stream: str) -> bytes:
        """The closing tag."""
        return repodata.foot(stream)

    def manifest(self, request: ManifestInput) -> Manifest:
        """repomd.xml, its detached signature and the key."""
        return repodata.manifest(request)

    def content_type(self, filename: str) -> str:
        """One for every package."""
        return "application/x-rpm" if filename.endswith(".rpm") else OCTETS

    def in_group(self, path: str, group: str) -> bool:
        """Never: packages have no groups."""
        return False

    def setup(self, request: SetupInput) -> Iterable[SetupLines]:
        """dnf and yum, zypper, curl."""
        return setup_lines.setup(request)

    def install(self, name: str, request: InstallInput) -> InstallFile:
        """See :class:`entrepot.formats.protocol.Format`."""
        return install.install(name, request)

    def sample(self, serial: int, payload_bytes: int) -> Sample:
        """See :mod:`entrepot.formats.rpm.sample`."""
        return samples.sample(serial, payload_bytes)

    def locate(self, sample: Sample, reader: IndexReader) -> tuple[Located, ...]:
        """See :mod:`entrepot.formats.rpm.sample`."""
        return samples.locate(sample, reader)


FORMAT: Format = RpmFormat()
