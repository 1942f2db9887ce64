"""What /api/v2 takes and answers, as types: handlers build their answers of them, so that mypy holds one to the other,
and the OpenAPI document is made of them.

Times are seconds since 1970 UTC, sizes are bytes. A field that an answer always has may still be null.
"""

from typing import Annotated, Any, Literal, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

from entrepot.intake.commit import Status
from entrepot.model.errors import TABLE
from entrepot.model.limits import (
    API_DISTRIBUTIONS_MAX,
    API_FILES_ASKED_MAX,
    API_SELECTION_CHARS_MAX,
    API_TEXT_CHARS_MAX,
    KEEP_VERSIONS_MAX,
    KEY_TEXT_CHARS_MAX,
    QUOTA_BYTES_MAX,
    TOKEN_LIFE_S_MAX,
    TOKEN_REPOSITORIES_MAX,
)
from entrepot.model.nouns import Role
from entrepot.signing.keys import ALGORITHMS, PASSPHRASE_CHARS_MAX

Text = Annotated[str, Field(min_length=1, max_length=API_TEXT_CHARS_MAX)]
SelectionText = Annotated[str, Field(min_length=1, max_length=API_SELECTION_CHARS_MAX)]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
SizeBytes = Annotated[int, Field(ge=0)]
KeyText = Annotated[str, Field(min_length=1, max_length=KEY_TEXT_CHARS_MAX)]
QuotaBytes = Annotated[int, Field(ge=0, le=QUOTA_BYTES_MAX)]

# ---------------------------------------------------------------------- errors


class Problem(TypedDict):
    """A refusal (RFC 9457). The figures and names behind it stand beside these as members of their own."""

    type: str
    title: str
    status: int
    code: Annotated[str, Field(json_schema_extra={"enum": list(TABLE)})]
    detail: str
    request_id: str


# ---------------------------------------------------------------------- tokens


class NewToken(TypedDict):
    """A token to be made; without ``repositories`` it is for all of its owner's."""

    name: Text
    role: NotRequired[Role]
    repositories: NotRequired[Annotated[list[str], Field(max_length=TOKEN_REPOSITORIES_MAX)] | None]
    expires_in_s: NotRequired[Annotated[int, Field(ge=1, le=TOKEN_LIFE_S_MAX)] | None]
    owner: NotRequired[Text | None]


class Token(TypedDict):
    """A token without its text; ``every_owner``: it may act for all of them."""

    id: int
    owner: str
    name: str
    role: Role
    repositories: list[str] | None
    every_owner: bool
    created_at: int
    expires_at: int | None
    last_used_at: int | None


class CreatedToken(Token):
    """A new token with its text, ``token``, which is never shown again."""

    token: str


class TokenList(TypedDict):
    """Tokens."""

    tokens: list[Token]


class Self(Token):
    """The token that asked, and the address that it came from."""

    address: str


# ---------------------------------------------------------------------- repositories and owners


class NewRepository(TypedDict):
    """A repository to be made; ``name`` is USER/REPO."""

    name: Text
    private: NotRequired[bool]


class Repository(TypedDict):
    """A repository; ``used_bytes`` and ``yanked_bytes`` together are what the quota bounds."""

    name: str
    url: str
    private: bool
    created_at: int
    last_push_at: int | None
    files: int
    used_bytes: SizeBytes
    yanked_bytes: SizeBytes
    reserved_bytes: SizeBytes
    quota_bytes: int | None
    owner_quota_bytes: int | None


class RepositoryList(TypedDict):
    """Repositories by name."""

    repositories: list[Repository]


class Key(TypedDict):
    """A signing key; ``signs``: its signatures are in what is published now. ``expires_at`` null: never."""

    fingerprint: str
    algorithm: str
    user_id: str
    imported: bool
    signs: bool
    created_at: int
    expires_at: int | None
    days_left: int | None
    retired_at: int | None
    public_key: str


class PackageKey(TypedDict):
    """A public key by which packages were signed before they were pushed; served as ``url``."""

    name: str
    url: str
    fingerprint: str
    user_id: str
    created_at: int
    expires_at: int | None
    public_key: str


class KeyList(TypedDict):
    """The keys of a repository, oldest first, retired ones too."""

    keys: list[Key]
    package_keys: list[PackageKey]


class RepositoryKeys(TypedDict):
    """The keys of one repository that are in use."""

    repository: str
    keys: list[Key]


class AllKeys(TypedDict):
    """The keys in use of every repository that the token may see, by repository."""

    repositories: list[RepositoryKeys]


class NewKey(TypedDict):
    """A key to be imported: ``key`` is the secret key, armored text, or its binary form in base64.

    ``alone``: true retires the keys that sign until now at once, false lets them sign beside it; without it they are
    retired if no index of the repository was ever published.
    """

    key: KeyText
    passphrase: NotRequired[Annotated[str, Field(max_length=PASSPHRASE_CHARS_MAX)] | None]
    alone: NotRequired[bool | None]


class Rotation(TypedDict):
    """A key to be made beside those that sign; without ``algorithm`` of the kind that the settings name."""

    algorithm: NotRequired[Annotated[str, Field(json_schema_extra={"enum": list(ALGORITHMS)})] | None]


class KeyChange(TypedDict):
    """A changed key; ``indexed``: everything that is published has been signed anew."""

    key: Key
    indexed: bool


class SecretKey(TypedDict):
    """A secret key, armored, under the passphrase that it came with."""

    fingerprint: str
    secret_key: str


class NewPackageKey(TypedDict):
    """A public key of signed packages, as ``key`` of an import; ``name`` is the end of its address."""

    key: KeyText
    name: NotRequired[Text | None]


class Signed(TypedDict):
    """A signed file of an index. ``signature`` is null where it stands in the document itself; with ``each``, the first
    signature alone counts for some clients.
    """

    distribution: str
    document: str
    signature: str | None
    each: bool


class SignedList(TypedDict):
    """The signed files of every index of a repository; addresses are below USER/REPO."""

    signed: list[Signed]


class Quota(TypedDict):
    """A bound in bytes; null for none."""

    quota_bytes: QuotaBytes | None


class Owner(TypedDict):
    """The sums over an owner's repositories, and its quota."""

    name: str
    repositories: int
    files: int
    used_bytes: SizeBytes
    yanked_bytes: SizeBytes
    reserved_bytes: SizeBytes
    quota_bytes: int | None


class OwnerList(TypedDict):
    """Owners by name."""

    owners: list[Owner]


# ---------------------------------------------------------------------- distributions


class NewDistribution(TypedDict):
    """A distribution to be added; ``path`` is FAMILY/VERSION, ``like`` a family that it is of the kind of."""

    path: Text
    like: NotRequired[Text | None]
    display: NotRequired[Text | None]
    version_number: NotRequired[Text | None]


class AddedDistribution(TypedDict):
    """A distribution; ``path`` is FAMILY/VERSION, ``type`` the kind of its packages."""

    id: int
    path: str
    type: str
    format: str


class Distribution(AddedDistribution):
    """A distribution as the list shows it."""

    version_number: str | None


class DistributionList(TypedDict):
    """Every distribution."""

    distributions: list[Distribution]


# ---------------------------------------------------------------------- files


class File(TypedDict):
    """A package file in one distribution; ``path`` is below it."""

    id: int
    name: str
    version: str
    release: str | None
    epoch: int | None
    architecture: str
    type: str
    filename: str
    distribution: str
    path: str
    sha256: Sha256
    size_bytes: SizeBytes
    uploader: str
    created_at: int
    held_until: int | None
    yanked_at: int | None


class Upload(TypedDict):
    """What became of an upload; ``indexed``: the signed index that lists it is being served."""

    status: Status
    indexed: bool
    files: list[File]


class UploadQuery(TypedDict):
    """How an upload is called and where it goes. ``reference``: take the bytes of ``sha256`` from what is here."""

    filename: str
    distribution: Annotated[list[str], Field(min_length=1, max_length=API_DISTRIBUTIONS_MAX)]
    sha256: NotRequired[Sha256]
    reference: NotRequired[Literal["1"]]
    coordinates: NotRequired[str]


class Digest(TypedDict):
    """A file that a client has."""

    sha256: Sha256
    filename: NotRequired[str]


class DigestList(TypedDict):
    """Files that a client has."""

    files: Annotated[list[Digest], Field(max_length=API_FILES_ASKED_MAX)]


class ListedFile(TypedDict):
    """Where the repository has a file; ``held``: it waits for others of its set."""

    distribution: str
    filename: str
    path: str
    indexed: bool
    held: bool


class KnownDigest(TypedDict):
    """What is here of a file; ``bytes``: they can be referred to and need not be sent."""

    sha256: Sha256
    bytes: bool
    files: list[ListedFile]


class KnownDigestList(TypedDict):
    """What is here of each file, in the order of the question."""

    files: list[KnownDigest]


class Selection(TypedDict):
    """Files to yank or to put back: ``filename`` (a glob) or ``name``; one of them is needed."""

    filename: NotRequired[SelectionText | None]
    name: NotRequired[SelectionText | None]
    version: NotRequired[SelectionText | None]
    distribution: NotRequired[Text | None]
    dry_run: NotRequired[bool]


class Change(TypedDict):
    """Files that were changed, or would be; ``already``: they had been before."""

    files: list[File]
    already: bool
    dry_run: bool
    indexed: bool


# ---------------------------------------------------------------------- keep rules


class NewKeepRule(TypedDict):
    """A rule: of each package so many ``versions`` stay in ``distribution``, or in every one without a rule of its
    own; null takes it away.
    """

    versions: Annotated[int, Field(ge=1, le=KEEP_VERSIONS_MAX)] | None
    distribution: NotRequired[Text | None]
    dry_run: NotRequired[bool]


class KeepRule(TypedDict):
    """A rule; ``distribution`` null: for every one without a rule of its own."""

    distribution: str | None
    versions: int


class Keep(TypedDict):
    """A repository's rules, and what they take out now: ``file_count`` files, of which ``files`` are the first, and the
    bytes that nothing else needs. ``indexed``: the indexes without them are being served.
    """

    rules: list[KeepRule]
    dry_run: bool
    indexed: bool
    file_count: int
    size_bytes: SizeBytes
    files: list[File]


# ---------------------------------------------------------------------- the server itself


class Collection(TypedDict):
    """A collection that is asked for."""

    dry_run: NotRequired[bool]


class Collected(TypedDict):
    """What a collection freed, or would free."""

    dry_run: bool
    files: int
    blobs: int
    size_bytes: SizeBytes


class ProofQuery(TypedDict):
    """A random number to be answered."""

    nonce: Annotated[str, Field(pattern="^[0-9a-f]{32,128}$")]


class Proof(TypedDict):
    """The answer to a random number, which only who has the server's secret can give."""

    nonce: str
    proof: Sha256


class Holding(TypedDict):
    """What one repository holds: its packages' bytes, of which ``own_bytes`` are in no other repository; those that
    only yanked files need; and its indexes'.
    """

    name: str
    files: int
    package_bytes: SizeBytes
    own_bytes: SizeBytes
    yanked_bytes: SizeBytes
    index_bytes: SizeBytes


class OldIndexes(TypedDict):
    """Old generations that are still readable."""

    files: int
    segment_bytes: SizeBytes
    catalog_bytes: SizeBytes


class FilesAndBytes(TypedDict):
    """So many files, and the true bytes that they alone need."""

    files: int
    size_bytes: SizeBytes


class Remedy(TypedDict):
    """What frees bytes: ``command`` to type, empty where nothing has to be done."""

    command: str
    frees_bytes: SizeBytes
    text: str


class DiskUse(TypedDict):
    """What holds the bytes of the node's volumes. ``yanked`` is what a collection frees, ``going_by_themselves`` the
    part of it that nobody has to ask for.
    """

    volumes: list[dict[str, Any]]
    repositories: list[Holding]
    catalog_bytes: SizeBytes
    old_indexes: OldIndexes
    yanked: FilesAndBytes
    going_by_themselves: FilesAndBytes
    remedies: list[Remedy]


Settings = dict[str, dict[str, Any]]
Document = dict[str, Any]
