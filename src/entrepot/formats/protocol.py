"""What a package format answers (docs/adr/0001-format-protocol.md).

A format is pure: no clock, no file, no network, no catalog. It gets values and a
:class:`~entrepot.streams.window.Window` over the
staged bytes, and returns values. Everything above this floor knows formats only through these types.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from entrepot.model.nouns import Digests
from entrepot.streams.window import Window

# ------------------------------------------------------------------------------------------------ addresses


@dataclass(frozen=True, slots=True)
class UploadTarget:
    """A file sent here: the distribution it goes to and the path below it (a bare file name, or a Maven layout
    path)."""

    distribution: str
    path: str


@dataclass(frozen=True, slots=True)
class EntryTarget:
    """A file of a scope's *current* publication by its name: ``InRelease``, ``main/binary-amd64/Packages.gz``,
    ``repomd.xml.asc``…

    ``pair`` names files that clients fetch apart but must match (Release and Release.gpg); files of one pair group
    are pinned
    to one generation per client for a few seconds. Empty: no pair.
    """

    distribution: str
    scope: str
    name: str
    pair: str = ""


@dataclass(frozen=True, slots=True)
class DigestTarget:
    """An index file of a scope, of any generation that is still kept, by its sha256 (by-hash,
    ``<sha256>-primary.xml.gz``): immutable."""

    distribution: str
    scope: str
    sha256: str


@dataclass(frozen=True, slots=True)
class FileTarget:
    """A package file by its location. ``sha256`` (a prefix of at least 16 hex digits, or None) is what the location
    says of the content.

    ``derive`` asks for a checksum file of it instead: "md5", "sha1", "sha256" or "sha512".
    """

    distribution: str
    path: str
    sha256: str | None = None
    derive: str | None = None


Target = UploadTarget | EntryTarget | DigestTarget | FileTarget

# ------------------------------------------------------------------------------------------------ the way in


@dataclass(frozen=True, slots=True)
class Needs:
    """What inspection of a file of this name needs: windows at both ends, and which digests beside sha256."""

    head_bytes: int
    tail_bytes: int
    digests: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Upload:
    """One received file, as inspection sees it. ``hints`` are strings the way in may carry (``coordinates`` of
    packagecloud's API)."""

    distribution: str
    path: str
    size_bytes: int
    digests: Digests
    hints: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Member:
    """A file that another file names (a .dsc its tarballs, a .changes its files, a .sha1 its jar).

    ``path`` is below the distribution; ``size_bytes`` None when the naming file does not say; ``digests`` maps
    algorithm → hex.
    """

    path: str
    size_bytes: int | None
    digests: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class PackageFacts:
    """All that the catalog keeps of one package file in one distribution.

    * ``conflict_key``: two files with the same key in one repository and distribution are the same name (409 unless
    equal bytes).
    * ``replaces``: a file under the same key with other bytes takes its place (Maven non-unique SNAPSHOT) instead of
    409.
    * ``path``: where clients may read it by name below the distribution (unique with conflict_key); the digest is not
    part of it.
    * ``order_key``: bytes whose memcmp order is name, then version (then the rest); segments are sorted by it.
    * ``part``: which part of the indexes lists it (``main:amd64``, ``noarch``); None when no index lists it.
    * ``fragments``: stream name → the entry's bytes in that stream (``Packages`` → stanza with its closing blank line).
    * ``document_scopes``: scopes whose whole documents must be rendered again (``org/example/lib``).
    * ``requires``: files that must be there before this one is listed; until then it is held (202) and expires after
    24 h.
    * ``member``: of use only as a part of another file that requires it (a source tarball); held in the same way until
    some file does.
    * ``type``: packagecloud's word: deb, dsc, rpm, srpm, jar…; ``metadata`` is JSON-able and shown by the API and the
    pages:
      ``summary``, ``description``, ``licenses`` (list), ``homepage``, ``dependencies`` (list of {"context",
      "dependencies"}).
    """

    type: str
    name: str
    version: str
    architecture: str
    filename: str
    path: str
    conflict_key: str
    order_key: bytes
    epoch: int | None = None
    release: str | None = None
    part: str | None = None
    fragments: Mapping[str, bytes] = field(default_factory=dict)
    document_scopes: tuple[str, ...] = ()
    requires: tuple[Member, ...] = ()
    replaces: bool = False
    member: bool = False
    metadata: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Inspection:
    """The verdict on one upload.

    ``package`` None: the file is accepted but not kept (a checksum or a .changes that only makes claims, a client's
    maven-metadata.xml).
    ``claims``: files whose digests must agree with what is there; a claim about a file that is not there yet is let
    pass.
    """

    package: PackageFacts | None
    claims: tuple[Member, ...] = ()


# ------------------------------------------------------------------------------------------------ the way out

OCTETS = "application/octet-stream"
"""The content type of a file that says no more of itself."""


@dataclass(frozen=True, slots=True)
class StreamSpec:
    """One stream of an index: the fragments' stream ``name``, and the logical paths of its two forms inside the
    scope."""

    name: str
    plain_path: str
    gz_path: str


@dataclass(frozen=True, slots=True)
class IndexSpec:
    """One index of a scope: an ordered list of the entries whose part is in ``parts``; all streams list them in the
    same order."""

    scope: str
    name: str
    parts: frozenset[str]
    streams: tuple[StreamSpec, ...]


@dataclass(frozen=True, slots=True)
class StreamState:
    """The bytes of one stream in one generation: sizes and digests of the gz form and of the plain ("open") form."""

    stream: str
    plain_path: str
    gz_path: str
    gz_size_bytes: int
    gz_sha256: str
    plain_size_bytes: int
    plain_sha256: str


@dataclass(frozen=True, slots=True)
class IndexState:
    """One index of one generation."""

    name: str
    entries: int
    streams: tuple[StreamState, ...]


@dataclass(frozen=True, slots=True)
class ListedFile:
    """A live file of a document scope, as ``documents`` needs it."""

    path: str
    name: str
    version: str
    created_at: int
    metadata: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Document:
    """A small whole file of a publication. ``digest_names`` maps algorithm → name of a checksum file to serve beside
    it."""

    name: str
    content: bytes
    content_type: str
    digest_names: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Signature:
    """A signature to make over ``document``, served as ``name``. ``style``: ``clear`` (cleartext framework),
    ``detached`` (one armored block), or ``blocks`` (detached, an armored block for each key that signs)."""

    document: str
    name: str
    style: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """What one publication shows: documents, signatures to make over them, and the name under which the public key is
    served (or None)."""

    documents: tuple[Document, ...]
    signatures: tuple[Signature, ...] = ()
    key_name: str | None = None


@dataclass(frozen=True, slots=True)
class ManifestInput:
    """What a manifest is made of. ``date_s`` is seconds since 1970 UTC; ``origin`` is HOST/user/repo, ``label`` the
    repository's name."""

    origin: str
    label: str
    distribution: str
    scope: str
    date_s: int
    generation: int
    indexes: tuple[IndexState, ...]
    files: Sequence[ListedFile] = ()


@dataclass(frozen=True, slots=True)
class SetupInput:
    """What set-up lines are made of. ``base_url`` is the public URL of the repository without a closing slash."""

    base_url: str
    owner: str
    repository: str
    private: bool
    distributions: tuple[str, ...]

    def one_line(self, script: str) -> str:
        """The command by which a machine is set up; TOKEN stands for the user's own."""
        tail = f"/{self.owner}/{self.repository}"
        who = "-u TOKEN: " if self.private else ""
        return f"curl -fsSL {who}{self.base_url.removesuffix(tail)}/install/repositories{tail}/{script} | sudo sh\n"


@dataclass(frozen=True, slots=True)
class SetupLines:
    """Ready-to-paste lines for one client: ``title`` ("apt"), where they go (``file`` or "shell"), and the lines."""

    title: str
    file: str
    text: str


@dataclass(frozen=True, slots=True)
class InstallInput:
    """What a set-up script, and each file that it asks for, is made of.

    ``base_url`` and ``install_url`` are the public addresses of the repository and of its set-up, without a closing
    slash; ``token`` reads it where it is private; ``distribution`` is empty for a script; ``any``: the script is for
    packages that fit every distribution; ``options`` are fields of the query, as they came; ``package_keys`` the names
    of the public keys by which packages are signed.
    """

    base_url: str
    install_url: str
    owner: str
    repository: str
    token: str | None = None
    distribution: str = ""
    any: bool = False
    options: Mapping[str, str] = field(default_factory=dict)
    package_keys: tuple[str, ...] = ()

    @property
    def stem(self) -> str:
        """The name of the repository in files."""
        return f"{self.owner}_{self.repository}"

    @property
    def title(self) -> str:
        """The name of the repository for people."""
        return f"{self.owner}/{self.repository}"

    def with_token(self, path: str) -> str:
        """An address below the repository, with the token as its user name where one is needed."""
        if self.token is None:
            return f"{self.base_url}/{path}"
        scheme, _, rest = self.base_url.partition("://")
        return f"{scheme}://{self.token}:@{rest}/{path}"


@dataclass(frozen=True, slots=True)
class InstallFile:
    """One answer below ``/install/repositories/USER/REPO/``."""

    content_type: str
    text: str


# ------------------------------------------------------------------------------------------------ the sample


@dataclass(frozen=True, slots=True)
class SampleFile:
    """One file of a sample: the path below USER/REPO/ that it is PUT to, and its bytes."""

    path: str
    content: bytes


@dataclass(frozen=True, slots=True)
class Sample:
    """A real package, made in memory, by which a node tries itself out: ``files`` are sent in this order.

    ``name`` and ``version`` are what inspection makes of each file, so that one yank takes them all.
    """

    distribution: str
    name: str
    version: str
    files: tuple[SampleFile, ...]


@dataclass(frozen=True, slots=True)
class Located:
    """Where an index says that a file is (below USER/REPO/), and the sha256 that it says the file has."""

    path: str
    sha256: str


class IndexFault(Exception):
    """An index that is served does not hold together: a file that it names is missing or has other bytes."""


class FileMissing(IndexFault):
    """A file that an index names is not there: for one moment no fault, when it was just yanked."""


class IndexReader(Protocol):
    """How :meth:`Format.locate` reaches a repository; whoever calls it brings the network and the keys."""

    def fetch(self, path: str) -> bytes | None:
        """The file at ``path`` below USER/REPO/; None when there is none."""

    def verify(self, document: bytes, signature: bytes | None = None) -> bytes:
        """The text that the repository's key signed: inside ``document`` (cleartext), or ``document`` under a detached
        ``signature``. Raises IndexFault.
        """


class Format(Protocol):
    """One package format. Stateless; every method is a pure function of its arguments and safe to call from any
    thread.

    * ``mounts``: first segments of addresses that this format owns beside its distributions' families.
    * ``nameless_suffix``: what an upload is taken for whose sender named it without an extension (``.rpm``); empty
    when ``inspect`` tells by the content alone.
    * ``installs``: names below ``/install/repositories/USER/REPO/`` → whether the file is for one distribution.
    * ``signatures``: those that each publication of it carries; all are made anew when a repository's keys change.
    * ``type_filters``: packagecloud's words for types in lists and addresses → the types of PackageFacts that each
    means (``rpms`` → rpm, srpm). A word belongs to one format.
    * ``version_lines``: which files are versions of one thing, so that "the last five" means something. Type of
    PackageFacts (or ``""`` alone: all types are one) → the fields that they have in common, out of ``type``, ``name``
    and ``architecture``; within these, ``order_key`` is the order of versions. A type that is not named goes with the
    files that require it.
    """

    name: str
    mounts: tuple[str, ...]
    nameless_suffix: str
    installs: Mapping[str, bool]
    signatures: tuple[Signature, ...]
    type_filters: Mapping[str, tuple[str, ...]]
    version_lines: Mapping[str, tuple[str, ...]]

    def route(self, method: str, path: str) -> Target | None:
        """Say what ``path`` (below USER/REPO/, percent-decoded, no leading slash) means for ``method`` (GET or PUT;
        HEAD counts as GET).

        None: not an address of this format.
        Paths with empty, ``.`` or ``..`` segments, NUL or control characters never reach this call.
        """

    def address(self, distribution: str, scope: str, name: str) -> str:
        """The path below USER/REPO/ of an entry point: what :meth:`route` takes apart."""

    def needs(self, path: str) -> Needs:
        """What inspection of a file sent to ``path`` needs."""

    def inspect(self, upload: Upload, window: Window) -> Inspection:
        """Judge one received file; runs in a child process with a memory and time cap.

        Raises Refusal (not_a_package, package_damaged, package_hostile, package_field_invalid,
        package_name_invalid, format_mismatch,
        coordinates_mismatch, digest_mismatch).
        """

    def indexes(self, distribution: str, parts: frozenset[str]) -> tuple[IndexSpec, ...]:
        """Every index of a distribution that holds ``parts``; includes those that exist by default with nothing in
        them."""

    def head(self, stream: str, entries: int) -> bytes:
        """The plain bytes before the first entry of a stream that held ``entries`` entries when its base was
        written."""

    def foot(self, stream: str) -> bytes:
        """The plain bytes after the last entry."""

    def manifest(self, request: ManifestInput) -> Manifest:
        """Render the documents of one generation of one scope (Release; repomd.xml; maven-metadata.xml)."""

    def content_type(self, filename: str) -> str:
        """The content type under which a package file of this name is served; ``OCTETS`` for any other name."""

    def in_group(self, path: str, group: str) -> bool:
        """Whether the file at ``path`` (below its distribution) is of ``group``, as packagecloud's addresses write it
        before a file name. Always False where packages have no groups.
        """

    def setup(self, request: SetupInput) -> Iterable[SetupLines]:
        """Lines that a user pastes to read from, or push to, the repository."""

    def install(self, name: str, request: InstallInput) -> InstallFile:
        """A file of ``installs``: a script in POSIX sh, or what it asks for. No text of ``options`` gets into it.

        Raises LookupError where a format has no such files.
        """

    def sample(self, serial: int, payload_bytes: int) -> Sample:
        """A package that installs, with ``payload_bytes`` of content that does not compress. Another ``serial`` (0 or
        more) is another version; equal arguments give equal bytes.
        """

    def locate(self, sample: Sample, reader: IndexReader) -> tuple[Located, ...]:
        """Read the index as this format's client does, every digest and signature checked; where it lists each file of
        ``sample``. Empty when it lists none of them.

        Raises IndexFault, and what ``reader`` raises.
        """
