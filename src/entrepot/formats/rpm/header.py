"""The binary structure of an rpm file: lead, signature header, header; and the checks that need no rpm library.

Layout (rpm, docs/manual/format_v4.md and format_header.md): a lead of 96 bytes; the signature header, padded to 8
bytes; the header; the payload. A header is an intro (magic, number of entries, size of the store), an index of
16-byte entries and the store. Integers are big-endian."""

import hashlib
import re
import struct
from dataclasses import dataclass

from entrepot.model.errors import Refusal
from entrepot.model.limits import MIB, RPM_HEADER_BYTES_MAX
from entrepot.streams.errors import Damaged, Hostile
from entrepot.streams.window import Window

LEAD_BYTES = 96
LEAD_MAGIC = b"\xed\xab\xee\xdb"
HEADER_MAGIC = b"\x8e\xad\xe8\x01"
_INTRO_BYTES = 16
_ENTRY_BYTES = 16
_ENTRIES_MAX = 65_535  # rpm's own HEADER_TAGS_MAX; real headers have under 100

_INT32, _INT64, _STRING, _STRING_ARRAY, _I18N_STRING = 4, 5, 6, 8, 9
_TEXT_KINDS = frozenset({_STRING, _STRING_ARRAY, _I18N_STRING})

# Signature header (RPMSIGTAG_*).
_SIG_SHA1, _SIG_SHA256, _SIG_LONG_SIZE, _SIG_SIZE, _SIG_MD5 = 269, 273, 270, 1000, 1004
# Header (RPMTAG_*).
NAME, VERSION, RELEASE, EPOCH, ARCH, SOURCE_RPM = 1000, 1001, 1002, 1003, 1022, 1044
NO_SOURCE, NO_PATCH, PAYLOAD_FORMAT = 1051, 1052, 1124
OLD_FILENAMES, DIR_INDEXES, BASENAMES, DIRNAMES = 1027, 1116, 1117, 1118
_PAYLOAD_DIGEST, _PAYLOAD_DIGEST_ALGORITHM, _PAYLOAD_SIZE = 5092, 5093, 5112
_PAYLOAD_ALGORITHMS = {8: "sha256", 9: "sha384", 10: "sha512"}

# What XML 1.0 forbids becomes DEL here, of equal length, so that no offset moves; DEL is taken out of the XML again.
_CONTROL_TO_DEL = bytes(0x7F if byte < 0x20 and byte not in (0, 9, 10, 13) else byte for byte in range(256))
_NONCHARACTERS = re.compile(rb"\xef\xbf[\xbe\xbf]")  # U+FFFE and U+FFFF
# libxml2's xmlCheckUTF8 looks at the pattern of leading bits only, so more passes it than is UTF-8.
_LOOSE_UTF8 = re.compile(
    rb"(?:[\x00-\x7f]|[\xc0-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf7][\x80-\xbf]{3})*"
)
_ILLEGAL_UTF8 = re.compile(
    rb"[\xc0\xc1][\x80-\xbf]|\xe0[\x80-\x9f][\x80-\xbf]|\xf0[\x80-\x8f][\x80-\xbf]{2}"  # overlong
    rb"|\xed[\xa0-\xbf][\x80-\xbf]"  # surrogates
    rb"|\xf4[\x90-\xbf][\x80-\xbf]{2}|[\xf5-\xf7][\x80-\xbf]{3}"  # past U+10FFFF
)


@dataclass(frozen=True, slots=True)
class Entry:
    """One index entry: rpm's data type, where its data begins in the store, how many values, and where the next
    entry's data begins."""

    kind: int
    start: int
    count: int
    end: int


@dataclass(frozen=True, slots=True)
class Header:
    """One header: where it lies in the file, its bytes (intro included), its entries by tag."""

    offset_bytes: int
    raw: bytes
    entries: dict[int, Entry]

    @property
    def end_bytes(self) -> int:
        """Offset in the file of the first byte after it."""
        return self.offset_bytes + len(self.raw)

    def __contains__(self, tag: int) -> bool:
        return tag in self.entries

    def count(self, tag: int) -> int:
        """How many values the tag has; 0 when it is absent."""
        entry = self.entries.get(tag)
        return entry.count if entry else 0

    def data(self, tag: int) -> bytes:
        """The bytes of a tag up to the next one's, alignment padding included; empty when it is absent."""
        entry = self.entries.get(tag)
        return self.raw[entry.start : entry.end] if entry else b""

    def text(self, tag: int) -> bytes | None:
        """A string without its NUL; None when absent or of another type. Raises Damaged when it is not ended, or has
        bytes after NUL."""
        entry = self.entries.get(tag)
        if entry is None or entry.kind != _STRING:
            return None
        value, nul, rest = self.data(tag).partition(b"\0")
        if not nul or rest.strip(b"\0"):  # "name\0other": what C code and ours would read apart
            raise Damaged("A text in the rpm header is not ended as it should be; build the package again.", tag=tag)
        return value

    def strings(self, tag: int) -> list[bytes]:
        """The values of a string array (or of one string). Raises Damaged when there are fewer than the entry
        says."""
        entry = self.entries.get(tag)
        if entry is None or entry.kind not in _TEXT_KINDS:
            return []
        values = self.data(tag).split(b"\0", entry.count)
        if len(values) <= entry.count:
            raise Damaged("A list in the rpm header is shorter than its count; build the package again.", tag=tag)
        return values[: entry.count]

    def numbers(self, tag: int) -> tuple[int, ...]:
        """The values of a 32 or 64 bit integer tag; empty when absent or of another type. Raises Damaged when cut
        short."""
        entry = self.entries.get(tag)
        if entry is None or entry.kind not in (_INT32, _INT64):
            return ()
        width = 4 if entry.kind == _INT32 else 8
        data = self.raw[entry.start : entry.start + width * entry.count]
        if len(data) != width * entry.count:
            raise Damaged("A list in the rpm header is shorter than its count; build the package again.", tag=tag)
        return struct.unpack(f">{entry.count}{'I' if width == 4 else 'Q'}", data)

    def presentable(self) -> bytes:
        """The header's bytes with everything in its texts that XML forbids replaced by DEL; nothing moves."""
        clean = bytearray(self.raw)
        for entry in self.entries.values():
            if entry.kind in _TEXT_KINDS:
                clean[entry.start : entry.end] = _presentable(self.raw[entry.start : entry.end])
        return bytes(clean)


def _presentable(data: bytes) -> bytes:
    """NUL-separated texts without what createrepo_c refuses (control characters) or libxml2 cuts an attribute at."""
    data = data.translate(_CONTROL_TO_DEL)
    if data.isascii():
        return data
    data = _NONCHARACTERS.sub(b"\x7f\x7f\x7f", data)
    try:
        data.decode()
    except UnicodeDecodeError:
        return b"\0".join(map(_strict, data.split(b"\0")))
    return data


def _strict(value: bytes) -> bytes:
    """A text that createrepo_c would pass on as UTF-8 although it is not (surrogates, overlong forms); else as it is.

    createrepo_c takes texts that are no UTF-8 at all as ISO 8859-1, which makes XML of every byte.
    """
    try:
        value.decode()
    except UnicodeDecodeError:
        if _LOOSE_UTF8.fullmatch(value):
            return _ILLEGAL_UTF8.sub(lambda found: b"\x7f" * len(found[0]), value)
    return value


@dataclass(frozen=True, slots=True)
class Structure:
    """An rpm file's headers; ``start`` is lead, signature header and padding, as they are."""

    start: bytes
    signature: Header
    header: Header


def read_structure(window: Window) -> Structure:
    """Find both headers. Raises Refusal: not_a_package (no rpm lead), package_damaged, package_hostile (header too
    large)."""
    lead = window.read(0, min(LEAD_BYTES, window.size_bytes))
    if not lead.startswith(LEAD_MAGIC):
        raise Refusal(
            "not_a_package", "The file does not begin as an rpm package does; push the .rpm that rpmbuild wrote."
        )
    # The rest of the lead is vestigial: rpm itself has ignored it since 4.15 (rpm, docs/manual/format_lead.md).
    signature = _read_header(window, LEAD_BYTES, RPM_HEADER_BYTES_MAX - LEAD_BYTES, "signature header")
    header_at = signature.end_bytes + -signature.end_bytes % 8
    header = _read_header(window, header_at, RPM_HEADER_BYTES_MAX - header_at, "header")
    if not header.entries:
        raise Damaged("The rpm header is empty; build the package again.")
    return Structure(window.read(0, header_at), signature, header)


def _read_header(window: Window, offset: int, budget_bytes: int, what: str) -> Header:
    intro = window.read(offset, _INTRO_BYTES)
    if not intro.startswith(HEADER_MAGIC):
        raise Damaged(
            f"The rpm {what} does not begin with its magic number; build the package again.", offset_bytes=offset
        )
    entries, store_bytes = struct.unpack(">2I", intro[8:])
    size = _INTRO_BYTES + _ENTRY_BYTES * entries + store_bytes
    if offset + size > window.size_bytes:
        raise Damaged(
            f"The file ends inside the rpm {what}: it is truncated. Send it again.", size_bytes=window.size_bytes
        )
    # 16 bytes of a file could else ask for 4 GiB of memory.
    if entries > _ENTRIES_MAX or size > budget_bytes:
        raise Hostile(
            f"The rpm {what} is larger than the {RPM_HEADER_BYTES_MAX // MIB} MiB it may have; split the package.",
            size_bytes=size,
            limit_bytes=RPM_HEADER_BYTES_MAX,
        )
    raw = window.read(offset, size)
    return Header(offset, raw, _entries(raw, entries, what))


def _entries(raw: bytes, count: int, what: str) -> dict[int, Entry]:
    store = _INTRO_BYTES + _ENTRY_BYTES * count
    index = list(struct.iter_unpack(">4I", raw[_INTRO_BYTES:store]))
    starts = sorted(store + offset for _, _, offset, _ in index)
    if starts and starts[-1] >= len(raw):
        raise Damaged(f"An entry of the rpm {what} points past its end; build the package again.")
    # 65,535 entries over the same megabytes would make every pass over the entries' data that much longer; rpm
    # refuses overlaps too.
    if len(set(starts)) < len(starts):
        raise Damaged(f"Two entries of the rpm {what} share their data; build the package again.")
    next_start = dict(zip(starts, [*starts[1:], len(raw)], strict=True))
    found: dict[int, Entry] = {}
    for tag, kind, offset, values in index:
        # Two values for one tag: which one counts would be up to each reader, so a checker and an installer could see
        # different packages.
        if tag in found:
            raise Refusal(
                "package_field_invalid", f"Tag {tag} stands twice in the rpm {what}; build the package again.", tag=tag
            )
        start = store + offset
        if not 0 < values <= len(raw) - start:  # every value takes a byte at least
            raise Damaged(
                f"An entry of the rpm {what} is empty or longer than its data; build the package again.", tag=tag
            )
        found[tag] = Entry(kind, start, values, next_start[start])
    return found


# ------------------------------------------------------------------------------------------- promises inside the file


def check_sizes(structure: Structure, size_bytes: int) -> None:
    """Hold the file's length against what it says of itself. Raises Damaged: truncated, trailing bytes, or no size at
    all.

    RPMSIGTAG_SIZE and LONGSIZE are header plus payload; RPMTAG_PAYLOADSIZE (format 6) is the payload alone.
    """
    said = [
        number + structure.header.offset_bytes
        for tag in (_SIG_SIZE, _SIG_LONG_SIZE)
        for number in structure.signature.numbers(tag)[:1]
    ]
    said += [number + structure.header.end_bytes for number in structure.header.numbers(_PAYLOAD_SIZE)[:1]]
    if not said:
        raise Damaged(
            "The package does not say how long it is, so it cannot be checked; build it again with rpm 4 or newer."
        )
    for expected in said:
        if expected > size_bytes:
            raise Damaged("The package is truncated; send it again.", expected_bytes=expected, size_bytes=size_bytes)
        if expected < size_bytes:
            raise Damaged(
                "Bytes follow the end of the package; send the file that rpmbuild wrote.",
                expected_bytes=expected,
                size_bytes=size_bytes,
            )


def check_header_digests(structure: Structure) -> None:
    """Verify SHA256HEADER and SHA1HEADER over the header: each that is there. Raises Damaged on a mismatch, or when
    there is neither.

    rpm since 4.14 refuses to install a package without a header digest (``%_pkgverify_level digest``), so we do not
    list one. Only a digest shows that createrepo_c, which verifies none, will read what the builder wrote."""
    checked = 0
    for tag, algorithm in ((_SIG_SHA256, "sha256"), (_SIG_SHA1, "sha1")):
        if tag not in structure.signature:
            continue
        digest = hashlib.new(algorithm, structure.header.raw, usedforsecurity=algorithm != "sha1").hexdigest()
        if structure.signature.text(tag) != digest.encode():
            raise Damaged(f"The {algorithm} digest of the rpm header is wrong: the package is damaged. Send it again.")
        checked += 1
    if not checked:
        raise Damaged(
            "The package has no digest of its header, and rpm would not install it; build it again with rpm 4."
        )


def check_payload_digest(structure: Structure, window: Window) -> None:
    """Verify the digest of the payload where the window holds all of it. Raises Damaged on a mismatch.

    PAYLOADDIGEST is over the payload alone, which only the inspection could hash; files longer than the window are
    left to rpm, which checks it at installation. Older packages have RPMSIGTAG_MD5 over header and payload instead.
    """
    payload_at = structure.header.end_bytes
    if not window.holds(payload_at, window.size_bytes - payload_at):
        return
    expected = structure.header.strings(_PAYLOAD_DIGEST)[:1]
    algorithm = _PAYLOAD_ALGORITHMS.get(next(iter(structure.header.numbers(_PAYLOAD_DIGEST_ALGORITHM)), 8))
    if expected and algorithm:
        digest, wanted = hashlib.new(algorithm), expected[0].lower()
    elif _SIG_MD5 in structure.signature:
        digest = hashlib.new("md5", structure.header.raw, usedforsecurity=False)
        wanted = structure.signature.data(_SIG_MD5)[:16].hex().encode()
    else:
        return
    reader = window.reader(payload_at, window.size_bytes - payload_at)
    while chunk := reader.read(MIB):
        digest.update(chunk)
    if digest.hexdigest().encode() != wanted:
        raise Damaged("The digest of the rpm payload is wrong: the package is damaged. Send it again.")


# ------------------------------------------------------------------------------------------------ identity

# What rpmbuild allows (rpm, build/parsePreamble.c), less "%", "{" and "}", which only a broken spec leaves behind. No
# slash, no NUL, no newline, no "..": names become paths, URLs and lines of text.
_NAME = re.compile(rb"[A-Za-z0-9_][A-Za-z0-9._+-]*\Z")
_VERSION = re.compile(rb"[A-Za-z0-9._+~^]+\Z")
_ARCH = re.compile(rb"[a-z][a-z0-9_]{0,31}\Z")


@dataclass(frozen=True, slots=True)
class Identity:
    """Name, epoch, version, release and architecture; ``arch`` is ``src`` or ``nosrc`` for source packages."""

    name: str
    epoch: int | None
    version: str
    release: str
    arch: str

    @property
    def filename(self) -> str:
        """``name-version-release.arch.rpm``."""
        return f"{self.name}-{self.version}-{self.release}.{self.arch}.rpm"

    @property
    def nevra(self) -> str:
        """``name-epoch:version-release.arch`` with epoch 0 where there is none."""
        return f"{self.name}-{self.epoch or 0}:{self.version}-{self.release}.{self.arch}"


def read_identity(header: Header) -> Identity:
    """Read it from the header's own bytes. Raises Refusal: package_field_invalid (missing), package_name_invalid
    (characters)."""
    name = _checked(header, NAME, "Name", _NAME)
    version = _checked(header, VERSION, "Version", _VERSION)
    release = _checked(header, RELEASE, "Release", _VERSION)
    arch = _checked(header, ARCH, "Arch", _ARCH)
    if SOURCE_RPM not in header:  # rpm's own test of a source package (headerIsSource)
        arch = "nosrc" if NO_SOURCE in header or NO_PATCH in header else "src"
    elif arch in ("src", "nosrc"):
        raise Refusal(
            "package_field_invalid", "A binary package cannot have the architecture of a source package.", field="Arch"
        )
    epochs = header.numbers(EPOCH)
    if EPOCH in header and len(epochs) != 1:
        raise Refusal(
            "package_field_invalid", "The rpm header's Epoch is not one number; build the package again.", field="Epoch"
        )
    return Identity(name, epochs[0] if epochs else None, version, release, arch)


def _checked(header: Header, tag: int, field: str, pattern: re.Pattern[bytes]) -> str:
    value = header.text(tag)
    if not value:
        raise Refusal("package_field_invalid", f"The rpm header has no {field}; build the package again.", field=field)
    if not pattern.match(value):
        raise Refusal(
            "package_name_invalid",
            f"The package's {field} has characters that rpm names do not have; change it in the spec file.",
            field=field,
            value=value[:80].decode("ascii", "backslashreplace"),
        )
    return value.decode("ascii")
