"""The tables. Times are whole seconds since 1970 UTC unless a column says otherwise; digests are lower-case hex.

owner ─< repository ─< file >─ blob ─< copy          file ─< fragment (one row a stream), file ─< requirement
(files it needs)
             │            └──< membership >── scope    (the scopes that list a file, with the change that added or
             removed it)
             └──< scope ─< index_base ─< base_segment >─ segment (bytes in a blob's copy)
                     │        └──< tail_delta          (raw-deflate deltas, in order)
                     ├──< publication ─< document      (Release, InRelease, repomd.xml…)
                     └──< index_version                (sha256 → base, tail position, trailer: an old index is a
                     row, not a file)
"""

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

metadata = MetaData()

# SQLite makes an autoincrementing rowid only of exactly INTEGER; PostgreSQL wants 64 bits.
BigKey = BigInteger().with_variant(Integer, "sqlite")


def _id() -> Column[int]:
    return Column("id", BigKey, primary_key=True, autoincrement=True)


meta = Table("meta", metadata, Column("key", String, primary_key=True), Column("value", Text, nullable=False))

# Held room: rows of random bytes, given up when the volume is full so that deletes find free pages inside the
# database file.
spare = Table("spare", metadata, _id(), Column("content", LargeBinary, nullable=False))

# Running servers of a catalog that several share, and which of them hold a permit to retire. Rows that are old are dead
# nodes.
node = Table(
    "node",
    metadata,
    Column("name", String, primary_key=True),  # random for each process
    Column("started_at", BigInteger, nullable=False),
    Column("seen_at", BigInteger, nullable=False),
    Column("retiring_until", BigInteger),
)

owner = Table(
    "owner",
    metadata,
    _id(),
    Column("name", String, nullable=False, unique=True),
    Column("created_at", BigInteger, nullable=False),
    Column("quota_bytes", BigInteger),
)

token = Table(
    "token",
    metadata,
    _id(),
    Column("owner_id", ForeignKey("owner.id"), nullable=False),
    Column("name", String, nullable=False),
    Column("hash", String, nullable=False, unique=True),  # sha256 of 48 hex characters: 192 random bits need no salt
    Column("role", String, nullable=False),
    Column("repositories", Text, nullable=True),  # JSON list of USER/REPO; null: every repository of the owner
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger),
    Column("revoked_at", BigInteger),
    Column("last_used_at", BigInteger),
    # The token that a machine made this one with, at its set-up: it is revoked and ends with that one.
    Column("parent_id", ForeignKey("token.id")),
)
Index("token_parent", token.c.parent_id)

audit = Table(
    "audit",
    metadata,
    _id(),
    Column("at", BigInteger, nullable=False),
    Column("actor", String, nullable=False),  # token name and id, or "cli", or "server"
    Column("address", String),
    Column("action", String, nullable=False),
    Column("subject", String, nullable=False),
    Column("detail", Text, nullable=False),  # JSON
)
Index("audit_subject", audit.c.subject, audit.c.id)

distribution = Table(  # rows added by `distro add`; the built-in table is data in the package
    "distribution",
    metadata,
    Column("id", BigKey, primary_key=True, autoincrement=False),
    Column("family", String, nullable=False),
    Column("version", String, nullable=False),
    Column("type", String, nullable=False),
    Column("format", String, nullable=False),
    Column("family_display", String, nullable=False),
    Column("version_display", String, nullable=False),
    Column("version_number", String),
    UniqueConstraint("family", "version"),
)

repository = Table(
    "repository",
    metadata,
    _id(),
    Column("owner_id", ForeignKey("owner.id"), nullable=False),
    Column("name", String, nullable=False),
    Column("private", Integer, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("deleted_at", BigInteger),
    Column("last_push_at", BigInteger),
    Column("quota_bytes", BigInteger),
    # Sum of file.size_bytes over the files that are not yanked (held ones count), and their number.
    Column("used_bytes", BigInteger, nullable=False, server_default=text("0")),
    Column("file_count", BigInteger, nullable=False, server_default=text("0")),
    # The same sum over the yanked ones, which the quota bounds too until they are collected.
    Column("yanked_bytes", BigInteger, nullable=False, server_default=text("0")),
)
Index(
    "repository_live_name",
    repository.c.owner_id,
    repository.c.name,
    unique=True,
    sqlite_where=text("deleted_at IS NULL"),
    postgresql_where=text("deleted_at IS NULL"),
)

# How many versions of each package are kept; the older ones are yanked by upkeep.
keep_rule = Table(
    "keep_rule",
    metadata,
    Column("repository_id", ForeignKey("repository.id"), primary_key=True),
    Column("distribution", String, primary_key=True),  # the empty text: each that has no rule of its own
    Column("versions", Integer, nullable=False),
)

signing_key = Table(
    "signing_key",
    metadata,
    _id(),
    Column("repository_id", ForeignKey("repository.id")),  # null: made ahead, not given out yet
    Column("algorithm", String, nullable=False),
    Column("fingerprint", String, nullable=False),
    Column("user_id", String, nullable=False, server_default=""),
    Column("imported", Integer, nullable=False, server_default=text("0")),
    Column("public_armored", Text, nullable=False),
    Column("secret_sealed", LargeBinary, nullable=False),
    Column("created_at", BigInteger, nullable=False),  # the order of a repository's keys
    Column("expires_at", BigInteger),  # null: never
    Column("retired_at", BigInteger),
    UniqueConstraint("repository_id", "fingerprint"),  # several repositories may have one key
)

# Public keys by which packages were signed before they came here.
package_key = Table(
    "package_key",
    metadata,
    _id(),
    Column("repository_id", ForeignKey("repository.id"), nullable=False),
    Column("name", String, nullable=False),  # as its address ends
    Column("fingerprint", String, nullable=False),
    Column("user_id", String, nullable=False),
    Column("public_armored", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger),
    UniqueConstraint("repository_id", "name"),
    UniqueConstraint("repository_id", "fingerprint"),
)

blob = Table(
    "blob",
    metadata,
    _id(),
    Column("sha256", String, nullable=False, unique=True),
    Column("size_bytes", BigInteger, nullable=False),
    Column("md5", String),
    Column("sha1", String),
    Column("sha512", String),
    Column("created_at", BigInteger, nullable=False),
)

copy = Table(
    "copy",
    metadata,
    Column("key", String, primary_key=True),  # where the bytes lie; never the digest
    Column("blob_id", ForeignKey("blob.id"), nullable=False, index=True),
    Column("store", String, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("created_at", BigInteger, nullable=False),
)
Index("copy_store", copy.c.store, copy.c.size_bytes)  # covers the sum of known bytes of a store

# Copies that were found missing or damaged and not whole again since (upkeep.scrub).
damage = Table(
    "damage",
    metadata,
    Column("key", String, primary_key=True),  # of the copy, whose row may be gone by now
    Column("found_at", BigInteger, nullable=False),
    Column("why", Text, nullable=False),
)

file = Table(
    "file",
    metadata,
    _id(),
    Column("repository_id", ForeignKey("repository.id"), nullable=False),
    Column("distribution", String, nullable=False),
    Column("format", String, nullable=False),
    Column("type", String, nullable=False),
    Column("name", String, nullable=False),
    Column("version", String, nullable=False),
    Column("epoch", Integer),
    Column("release", String),
    Column("architecture", String, nullable=False),
    Column("filename", String, nullable=False),
    Column("path", String, nullable=False),
    Column("conflict_key", String, nullable=False),
    Column("order_key", LargeBinary, nullable=False),
    Column("part", String),
    Column("blob_id", ForeignKey("blob.id"), nullable=False, index=True),
    Column("size_bytes", BigInteger, nullable=False),
    Column("metadata", Text, nullable=False),  # JSON
    # JSON list of [name, format]: the scopes that will list a held file, kept while it is yanked; null when not held
    Column("held_scopes", Text),
    Column("uploader", String, nullable=False),  # token name
    Column("created_at", BigInteger, nullable=False),
    Column("held_until", BigInteger),  # set while members are missing
    Column("yanked_at", BigInteger),
    Column("replaced_by", BigInteger),
    # 1: yanked by a keep rule, so that nobody has to ask for its bytes to be collected.
    Column("superseded", Integer, nullable=False, server_default=text("0")),
)
Index(
    "file_live_key",
    file.c.repository_id,
    file.c.distribution,
    file.c.conflict_key,
    unique=True,
    sqlite_where=text("yanked_at IS NULL"),
    postgresql_where=text("yanked_at IS NULL"),
)
Index("file_path", file.c.repository_id, file.c.distribution, file.c.path)
Index("file_filename", file.c.repository_id, file.c.filename)
Index("file_name", file.c.repository_id, file.c.name, file.c.version)
Index("file_listing", file.c.repository_id, file.c.id)
Index(
    "file_held",
    file.c.held_until,
    sqlite_where=text("held_until IS NOT NULL"),
    postgresql_where=text("held_until IS NOT NULL"),
)
Index(
    "file_yanked",
    file.c.yanked_at,
    sqlite_where=text("yanked_at IS NOT NULL"),
    postgresql_where=text("yanked_at IS NOT NULL"),
)

# The files that a file names and cannot be used without (a .dsc its tarballs). ``path`` without a slash is a file name.
requirement = Table(
    "requirement",
    metadata,
    Column("file_id", ForeignKey("file.id"), primary_key=True),
    Column("path", String, primary_key=True),
    Column("repository_id", ForeignKey("repository.id"), nullable=False),
    Column("distribution", String, nullable=False),
    Column("size_bytes", BigInteger),
    Column("digests", Text, nullable=False),  # JSON: algorithm to hex
)
Index("requirement_path", requirement.c.repository_id, requirement.c.distribution, requirement.c.path)

fragment = Table(
    "fragment",
    metadata,
    Column("file_id", ForeignKey("file.id"), primary_key=True),
    Column("stream", String, primary_key=True),
    Column("content", LargeBinary, nullable=False),
)

scope = Table(
    "scope",
    metadata,
    _id(),
    Column("repository_id", ForeignKey("repository.id"), nullable=False),
    Column("distribution", String, nullable=False),
    Column("format", String, nullable=False),
    Column("name", String, nullable=False),
    Column("last_change", BigInteger, nullable=False),
    Column("published_change", BigInteger, nullable=False),
    Column("published_at", BigInteger),
    Column("generation", BigInteger, nullable=False),
    Column("epoch", BigInteger, nullable=False),  # lease epoch: a publication of an older epoch never becomes visible
    Column("holder", String),
    Column("lease_until", BigInteger),
    # The highest removed_change among memberships whose rows were deleted.
    Column("purged_change", BigInteger, nullable=False, server_default="0"),
    UniqueConstraint("repository_id", "distribution", "name"),
)
Index(
    "scope_dirty",
    scope.c.id,
    sqlite_where=text("last_change > published_change"),
    postgresql_where=text("last_change > published_change"),
)

# The parts that a distribution of a repository has ever held; which indexes exist follows from it.
part = Table(
    "part",
    metadata,
    Column("repository_id", ForeignKey("repository.id"), primary_key=True),
    Column("distribution", String, primary_key=True),
    Column("part", String, primary_key=True),
)

# One row per time that a file is in a scope: the change that put it in and the one that took it out. An entry is
# listed at
# change C when added_change <= C and (removed_change is null or removed_change > C); a row whose two changes are
# equal was never
# listed and only remembers that the scope is the file's (a scope that came into being while the file was yanked).
membership = Table(
    "membership",
    metadata,
    _id(),
    Column("scope_id", ForeignKey("scope.id"), nullable=False),
    Column("file_id", ForeignKey("file.id"), nullable=False, index=True),
    Column("part", String),
    Column("order_key", LargeBinary, nullable=False),
    Column("added_change", BigInteger, nullable=False),
    Column("removed_change", BigInteger),
)
Index("membership_added", membership.c.scope_id, membership.c.added_change)
Index(
    "membership_removed",
    membership.c.scope_id,
    membership.c.removed_change,
    sqlite_where=text("removed_change IS NOT NULL"),
    postgresql_where=text("removed_change IS NOT NULL"),
)
Index("membership_order", membership.c.scope_id, membership.c.part, membership.c.order_key, membership.c.id)

segment = Table(
    "segment",
    metadata,
    _id(),
    Column("scope_id", ForeignKey("scope.id"), nullable=False),
    Column("blob_id", ForeignKey("blob.id"), nullable=False, index=True),
    Column("entries", Integer, nullable=False),
    Column("plain_size_bytes", BigInteger, nullable=False),
    Column("gz_size_bytes", BigInteger, nullable=False),
    Column("plain_sha256", String, nullable=False),
    Column("gz_sha256", String, nullable=False),
)

# One base = the sorted part of one index in all its streams, plus the tail that grows on it.
index_base = Table(
    "index_base",
    metadata,
    _id(),
    Column("scope_id", ForeignKey("scope.id"), nullable=False, index=True),
    Column("index_name", String, nullable=False),
    Column("base_change", BigInteger, nullable=False),  # entries added up to here are in segments
    # JSON: ranges [{last_key, last_id, entries, segments: {stream: segment_id}}], head segments
    Column("manifest", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
)

tail_delta = Table(
    "tail_delta",
    metadata,
    Column("base_id", ForeignKey("index_base.id"), primary_key=True),
    Column("stream", String, primary_key=True),
    Column("position", Integer, primary_key=True),  # 0, 1, 2 … in publication order
    Column("content", LargeBinary, nullable=False),  # raw deflate, ends at a sync flush
    Column("plain_size_bytes", BigInteger, nullable=False),
    Column("crc32", BigInteger, nullable=False),  # of the whole tail's plain bytes up to and including this delta
)

publication = Table(
    "publication",
    metadata,
    _id(),
    Column("scope_id", ForeignKey("scope.id"), nullable=False),
    Column("generation", BigInteger, nullable=False),
    Column("change", BigInteger, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("published_at", BigInteger, nullable=False),
    Column("date_s", BigInteger, nullable=False),
    Column("second_shared", Integer, nullable=False),  # 1: another publication of the scope fell in the same second
    Column("state", Text, nullable=False),  # JSON: per index {base_id, position, entries, streams…}
    UniqueConstraint("scope_id", "generation"),
)

document = Table(
    "document",
    metadata,
    Column("publication_id", ForeignKey("publication.id"), primary_key=True),
    Column("name", String, primary_key=True),
    Column("content_type", String, nullable=False),
    Column("sha256", String, nullable=False),
    Column("content", LargeBinary, nullable=False),
)

index_version = Table(
    "index_version",
    metadata,
    Column("scope_id", ForeignKey("scope.id"), primary_key=True),
    Column("sha256", String, primary_key=True),
    Column("logical_path", String, primary_key=True),  # equal indexes (several empty ones) share a digest
    Column("size_bytes", BigInteger, nullable=False),
    Column("kind", String, nullable=False),  # "gz" or "plain"
    Column("base_id", ForeignKey("index_base.id"), nullable=False, index=True),
    Column("stream", String, nullable=False),
    Column("position", Integer, nullable=False),  # deltas 0 … position-1 belong to it
    Column("trailer", LargeBinary, nullable=False),  # gz: deflate end, crc32, size; plain: the closing text
    Column("created_at", BigInteger, nullable=False),
    Column("retired_at", BigInteger),  # null while current
)
Index("index_version_retired", index_version.c.retired_at)
