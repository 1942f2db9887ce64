"""The central directory of a zip file and single members of it (PKWARE APPNOTE 6.3.10; section numbers are its)."""

import zlib
from dataclasses import dataclass
from struct import Struct

from entrepot.streams.errors import BudgetExceeded, Damaged, Hostile
from entrepot.streams.window import Window

_END = Struct("<4sHHHHIIH")  # 4.3.16
_END64_LOCATOR = Struct("<4sIQI")  # 4.3.15
_END64 = Struct("<4sQHHIIQQQQ")  # 4.3.14
_CENTRAL = Struct("<4sHHHHHHIIIHHHHHII")  # 4.3.12
_LOCAL = Struct("<4sHHHHHIIIHH")  # 4.3.7
_COMMENT_BYTES_MAX = 0xFFFF
_STORED, _DEFLATED = 0, 8
_ENCRYPTED_BIT, _UTF8_BIT = 0x0001, 0x0800


@dataclass(frozen=True, slots=True)
class ZipMember:
    """One entry of the central directory; ``offset_bytes`` is where its local header begins in the file."""

    name: str
    method: int
    flags: int
    crc32: int
    packed_bytes: int
    size_bytes: int
    offset_bytes: int


@dataclass(frozen=True, slots=True)
class _Directory:
    entries: int
    size_bytes: int
    offset_bytes: int  # where it lies in the file
    shift_bytes: int  # what stands before the zip proper (a launch script), to add to every offset inside


def members(window: Window, *, members_max: int, directory_bytes_max: int) -> tuple[ZipMember, ...]:
    """Every entry of the central directory, in its order, from the tail of the window.

    Raises Damaged when the file is no zip, is truncated, or its records contradict one another; Hostile for too many
    entries or for entries that overlap (one kernel of data listed many times is a bomb); BudgetExceeded for a
    directory above ``directory_bytes_max``; OutsideWindow when the directory is longer than the tail.
    """
    directory = _find_directory(window)
    if directory.entries > members_max:
        raise Hostile(f"The zip has more than {members_max} entries; build it with fewer.", members_max=members_max)
    if directory.size_bytes > directory_bytes_max:
        raise BudgetExceeded(directory_bytes_max, "The directory of the zip")
    data = window.read(directory.offset_bytes, directory.size_bytes)
    found: list[ZipMember] = []
    at = 0
    while at < len(data):
        if len(found) == directory.entries:
            raise Damaged("The zip's directory holds more entries than it says; build it again.")
        member, at = _entry(data, at, directory.shift_bytes)
        found.append(member)
    if len(found) != directory.entries:
        raise Damaged("The zip's directory holds fewer entries than it says; build it again.")
    _check_overlap(found, directory.offset_bytes)
    return tuple(found)


def _find_directory(window: Window) -> _Directory:
    size = window.size_bytes
    if size < _END.size:
        raise Damaged("The file is too short to be a zip; send it again.")
    span = min(size, _END.size + _COMMENT_BYTES_MAX, max(window.tail_bytes, size if window.head_bytes == size else 0))
    tail = window.read(size - span, span)
    at = tail.rfind(b"PK\x05\x06")
    while at >= 0:
        # The comment must reach exactly to the end: a record inside a comment is how two readers are shown two
        # different zips.
        if at + _END.size <= len(tail) and at + _END.size + _END.unpack_from(tail, at)[7] == len(tail):
            break
        at = tail.rfind(b"PK\x05\x06", 0, at)
    if at < 0:
        raise Damaged(
            "The file has no zip directory at its end: it is no zip, is truncated, or is followed by other bytes."
        )
    _, disk, directory_disk, here, entries, length, offset, _ = _END.unpack_from(tail, at)
    end_at = size - span + at
    if (disk, directory_disk) not in ((0, 0), (0xFFFF, 0xFFFF)):
        raise Damaged("The zip is one of several volumes; build it as one file.")
    if 0xFFFF in (here, entries, disk) or 0xFFFFFFFF in (length, offset):
        found = _find_directory64(window, end_at)
        if found is not None:
            here64, entries64, length64, offset64, end_at = found
            pairs = (
                (here, here64, 0xFFFF),
                (entries, entries64, 0xFFFF),
                (length, length64, 0xFFFFFFFF),
                (offset, offset64, 0xFFFFFFFF),
            )
            if any(small not in (mark, large) for small, large, mark in pairs):
                raise Damaged("The zip's two directory records contradict each other; build it again.")
            here, entries, length, offset = here64, entries64, length64, offset64
    start = end_at - length
    if here != entries or start < 0 or start < offset:
        raise Damaged("The zip's directory record is wrong; build it again.")
    return _Directory(entries, length, start, start - offset)


def _find_directory64(window: Window, end_at: int) -> tuple[int, int, int, int, int] | None:
    """(entries on this disk, entries, length, offset, where the record lies), or None without a zip64 locator."""
    locator_at = end_at - _END64_LOCATOR.size
    if locator_at < _END64.size:
        return None
    magic, _, _, disks = _END64_LOCATOR.unpack(window.read(locator_at, _END64_LOCATOR.size))
    if magic != b"PK\x06\x07":
        return None
    record_at = locator_at - _END64.size
    magic, record_size, _, _, disk, directory_disk, here, entries, length, offset = _END64.unpack(
        window.read(record_at, _END64.size)
    )
    if magic != b"PK\x06\x06" or record_size != _END64.size - 12 or disk or directory_disk or disks > 1:
        raise Damaged("The zip's zip64 record is not where it must be; build it again.")
    return here, entries, length, offset, record_at


def _entry(data: bytes, at: int, shift: int) -> tuple[ZipMember, int]:
    if len(data) - at < _CENTRAL.size:
        raise Damaged("The zip's directory is truncated; send the file again.")
    fields = _CENTRAL.unpack_from(data, at)
    magic, flags, method, crc32, packed, size = fields[0], fields[3], fields[4], fields[7], fields[8], fields[9]
    name_bytes, extra_bytes, comment_bytes, disk, offset = fields[10], fields[11], fields[12], fields[13], fields[16]
    end = at + _CENTRAL.size + name_bytes + extra_bytes + comment_bytes
    if magic != b"PK\x01\x02" or end > len(data) or disk not in (0, 0xFFFF):
        raise Damaged("The zip's directory is damaged; send the file again.")
    name_at = at + _CENTRAL.size
    raw = data[name_at : name_at + name_bytes]
    extra = data[name_at + name_bytes : name_at + name_bytes + extra_bytes]
    if 0xFFFFFFFF in (packed, size, offset):
        size, packed, offset = _sizes64(extra, size, packed, offset)
    name = raw.decode("utf-8" if flags & _UTF8_BIT else "cp437", "surrogateescape")
    return ZipMember(name, method, flags, crc32, packed, size, offset + shift), end


def _sizes64(extra: bytes, size: int, packed: int, offset: int) -> tuple[int, int, int]:
    """The zip64 extra field (4.5.3): 8 bytes for each of the three that is all ones, in this order."""
    at = 0
    while at + 4 <= len(extra):
        tag, length = int.from_bytes(extra[at : at + 2], "little"), int.from_bytes(extra[at + 2 : at + 4], "little")
        if tag == 1:
            values = extra[at + 4 : at + 4 + length]
            out = []
            for value in (size, packed, offset):
                if value == 0xFFFFFFFF:
                    if len(values) < 8:
                        break
                    value, values = int.from_bytes(values[:8], "little"), values[8:]
                out.append(value)
            if len(out) == 3:
                return out[0], out[1], out[2]
            break
        at += 4 + length
    raise Damaged("A zip entry promises a zip64 field that it lacks; build the zip again.")


def _check_overlap(found: list[ZipMember], directory_at: int) -> None:
    end = 0
    for member in sorted(found, key=lambda each: each.offset_bytes):
        if member.offset_bytes < end:
            raise Hostile(f"Two entries of the zip overlap (at {member.name!r}); build it again.", member=member.name)
        end = member.offset_bytes + _LOCAL.size + member.packed_bytes
    if end > directory_at:
        raise Damaged("An entry of the zip reaches into its directory; build it again.")


def read_member(window: Window, member: ZipMember, *, budget_bytes: int) -> bytes:
    """The data of one member (stored or deflated), checked against its CRC-32 and both headers.

    Raises BudgetExceeded above ``budget_bytes``, Damaged when headers contradict each other or the data does not
    decode to the promised size and CRC, Hostile for encryption or another compression, OutsideWindow when the member
    lies too far inside.
    """
    if member.flags & _ENCRYPTED_BIT or member.method not in (_STORED, _DEFLATED):
        raise Hostile(
            f"The entry {member.name!r} is encrypted or uses an unusual compression; build it with deflate.",
            member=member.name,
        )
    if member.size_bytes > budget_bytes or member.packed_bytes > budget_bytes + 1024:
        raise BudgetExceeded(budget_bytes, f"The entry {member.name!r}")
    head = _LOCAL.unpack(window.read(member.offset_bytes, _LOCAL.size))
    name_at = member.offset_bytes + _LOCAL.size
    codec = "utf-8" if member.flags & _UTF8_BIT else "cp437"
    if head[0] != b"PK\x03\x04" or head[3] != member.method:
        raise Damaged(
            f"The entry {member.name!r} is not where the zip's directory says; build it again.", member=member.name
        )
    if window.read(name_at, head[9]).decode(codec, "surrogateescape") != member.name:
        raise Hostile(
            f"The entry {member.name!r} has another name in its own header; build the zip again.", member=member.name
        )
    packed = window.read(name_at + head[9] + head[10], member.packed_bytes)
    data = packed if member.method == _STORED else _inflate(packed, member)
    if len(data) != member.size_bytes or zlib.crc32(data) != member.crc32:
        raise Damaged(
            f"The entry {member.name!r} does not have the size and CRC it promises; send the file again.",
            member=member.name,
        )
    return data


def _inflate(packed: bytes, member: ZipMember) -> bytes:
    codec = zlib.decompressobj(wbits=-15)
    try:
        data = codec.decompress(packed, member.size_bytes + 1)  # one past the promise tells exact from too much
    except zlib.error as error:
        raise Damaged(
            f"The entry {member.name!r} cannot be inflated ({error}); send the file again.", member=member.name
        ) from error
    if not codec.eof and len(data) == member.size_bytes:
        data += codec.decompress(codec.unconsumed_tail, 1)  # the end mark may still be pending
    if not codec.eof or codec.unused_data:
        raise Damaged(
            f"The entry {member.name!r} does not inflate to the size it promises; send the file again.",
            member=member.name,
        )
    return data
