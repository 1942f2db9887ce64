"""Every bound of the product in one place. Bytes unless the name says otherwise."""

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB

# Names. 255 is NAME_MAX of every file system we run on; 64 keeps USER/REPO readable in URLs and file names of clients.
REPOSITORY_NAME_CHARS_MAX = 64
FILENAME_CHARS_MAX = 255
PATH_CHARS_MAX = 1024
FIELD_BYTES_MAX = 256 * KIB
STANZA_BYTES_MAX = 1 * MIB

# One upload.
UPLOAD_BYTES_MAX = 64 * GIB
QUOTA_BYTES_MAX = 1024 * 1024 * 1024 * GIB  # one exbibyte: sums of what is charged stay within 64 bits
BATCH_BYTES = 1 * MIB
DRAIN_BYTES_MAX = 64 * MIB
DRAIN_S_MAX = 5.0
RATE_BYTES_PER_S_MIN = 1 * KIB
RATE_WINDOW_S = 20.0  # over which the rate of a body is judged
FORM_FIELD_BYTES_MAX = 64 * KIB
FORM_PARTS_MAX = 128
FORM_FRAME_BYTES_MAX = 16 * KIB  # what an upload form usually has beside its files: a quota must not refuse for these

# Requests of /api/v2.
API_TEXT_CHARS_MAX = 200
API_SELECTION_CHARS_MAX = PATH_CHARS_MAX  # of a name, version or pattern: whatever was taken can be yanked
API_FILES_ASKED_MAX = 1000
API_DISTRIBUTIONS_MAX = 64  # of one upload
TOKEN_LIFE_S_MAX = 100 * 365 * 86_400
TOKEN_REPOSITORIES_MAX = 1000

# Inspection of hostile packages.
INSPECT_S_MAX = 20.0
INSPECT_MEMORY_BYTES_MAX = 512 * MIB
DEB_CONTROL_PACKED_BYTES_MAX = 16 * MIB
DEB_CONTROL_BYTES_MAX = 64 * MIB
# Lead, signature header and header together: what inspection of an rpm holds in memory. 100,000 files take about 13
# MiB.
RPM_HEADER_BYTES_MAX = 32 * MIB
RPM_FILES_MAX = 250_000
RPM_FILE_PATHS_BYTES_MAX = 24 * MIB
RPM_RELATIONS_MAX = 100_000
POM_BYTES_MAX = 4 * MIB

# Index segments and tails (reference: design section 6).
SEGMENT_ENTRIES_MAX = 2048
SEGMENT_BYTES_MAX = 4 * MIB
TAIL_ENTRIES_MAX = 2048
TAIL_BYTES_MAX = 4 * MIB

# Keys of one repository: those that sign at the same time, and the public ones of packages that came signed.
SIGNING_KEYS_MAX = 8
PACKAGE_KEYS_MAX = 32
KEY_TEXT_CHARS_MAX = 384 * KIB  # armored, or 256 KiB in base64

# Waiting.
PUBLICATION_WAIT_S = 10.0

# One publication takes at most this many additions into a tail; the rest follows in the next one.
PUBLICATION_ADDITIONS_MAX = 1024

# The catalog.
CATALOG_QUEUE_MAX = 1024  # callers that wait for the writer lane
CATALOG_BATCH_MAX = 128  # changes that share one commit
CATALOG_WAIT_S = 30.0  # for the lane, for a reader, for a lock
CATALOG_READERS = 8
CATALOG_WAL_PAGES = 1024  # pages of 4 KiB in the write-ahead log before it is copied into the database
CATALOG_WAL_BYTES_MAX = 64 * MIB  # what the log's file keeps after a burst
CATALOG_SPARE_BYTES = 16 * MIB  # room in the database file, and in the log beyond CATALOG_WAL_PAGES, for a full volume
CATALOG_ROWS_MAX = 500  # rows of one statement with a list, rows of one collection step
PAGE_ROWS_MAX = 1000
AUDIT_SCAN_ROWS_MAX = 20_000  # of one question to the audit trail; a client goes on from there
MATCH_FILES_MAX = 10_000
DISTRIBUTIONS_ADDED_MAX = 1000
SCOPES_PER_FILE_MAX = 64
TOKEN_TOUCH_S = 60
MACHINE_TOKENS_MAX = 10_000  # that one token makes for the machines that are set up with it
HELD_S = 24 * 3600
KEEP_VERSIONS_MAX = 100_000

# Readers: how long the first file of a pair fixes the generation of the second for a client, and how many are held.
PAIR_S = 10.0
PAIRS_MAX = 10_000
SCOPES_SHOWN_MAX = 1024
# Index files whose places are remembered; each holds its tail, which may have TAIL_BYTES_MAX.
VIEWS_MAX = 256
VIEWS_BYTES_MAX = 64 * MIB

# What is kept back on a volume for the way out of a full one.
BALLAST_BYTES_MAX = 1 * GIB
BALLAST_INODES_MAX = 32
