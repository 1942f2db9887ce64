"""Finds small regular members in a tar stream (POSIX.1-1988 ustar, POSIX.1-2001 pax, GNU long names) without
extracting anything."""

from collections.abc import Collection
from dataclasses import dataclass, field

from entrepot.streams.bounded import Reader
from entrepot.streams.errors import BudgetExceeded, Damaged, Hostile

BLOCK_BYTES = 512
_LONG_BYTES_MAX = 64 * 1024  # of one long name or one pax header
_REGULAR = (b"0", b"\0", b"7")
_LINKS = {b"1": "a hard link", b"2": "a symbolic link"}


@dataclass(slots=True)
class _Pending:
    """What the extension headers before a member said about it."""

    name: str | None = None
    size_bytes: int | None = None


@dataclass(slots=True)
class _Scan:
    reader: Reader
    wanted: Collection[str]
    member_bytes_max: int
    members_max: int
    found: dict[str, bytes] = field(default_factory=dict)
    members: int = 0


def find_members(
    reader: Reader, wanted: Collection[str], *, member_bytes_max: int, members_max: int
) -> dict[str, bytes]:
    """Contents by name of those ``wanted`` regular members that are there; ``./control`` and ``control`` are the same
    name.

    The whole stream is read: a second member of a wanted name would be what dpkg keeps and we never saw. Other members
    are skipped, links among them are never followed. ``reader`` carries the budget for the whole (see
    ``DecompressingReader``).

    Raises Damaged for a broken or truncated tar or bytes after its end; Hostile for a wanted name that is a link, a
    special file or there twice, or for too many members; BudgetExceeded for a wanted member above ``member_bytes_max``.
    """
    scan = _Scan(reader, frozenset(wanted), member_bytes_max, members_max)
    pending = _Pending()
    while True:
        block = _take(reader, BLOCK_BYTES, at_end_ok=True)
        if not block or not any(block):
            break
        scan.members += 1
        if scan.members > members_max:
            raise Hostile(
                f"The tar has more than {members_max} members; build the package with fewer.", members_max=members_max
            )
        pending = _one(scan, block, pending)
    _only_zeros(reader)
    return scan.found


def _one(scan: _Scan, block: bytes, pending: _Pending) -> _Pending:
    """Handle one header and its data; returns what is pending for the next member."""
    _check_sum(block)
    kind = block[156:157]
    size = (
        pending.size_bytes
        if pending.size_bytes is not None and kind not in (b"x", b"g", b"L", b"K")
        else _number(block[124:136])
    )
    if kind in (b"x", b"g", b"L", b"K"):
        if size > _LONG_BYTES_MAX:
            raise BudgetExceeded(_LONG_BYTES_MAX, "A long name in the tar")
        return _extension(kind, _data(scan.reader, size), pending)
    if kind == b"S":
        raise Hostile("The tar holds a sparse file; build the package without --sparse.")
    name = _plain(pending.name if pending.name is not None else _header_name(block))
    # Links, devices and folders carry no data, whatever their size field says (POSIX ustar: the field is ignored for
    # them).
    size = 0 if kind in (b"1", b"2", b"3", b"4", b"5", b"6") else size
    if name not in scan.wanted:
        _skip(scan.reader, size)
        return _Pending()
    if kind not in _REGULAR:
        raise Hostile(
            f"The member {name} is {_LINKS.get(kind, 'no regular file')}; build the package with a regular file.",
            member=name,
        )
    if name in scan.found:
        raise Hostile(f"The member {name} is in the tar twice; build the package with one.", member=name)
    if size > scan.member_bytes_max:
        raise BudgetExceeded(scan.member_bytes_max, f"The member {name}")
    scan.found[name] = _data(scan.reader, size)
    return _Pending()


def _extension(kind: bytes, data: bytes, pending: _Pending) -> _Pending:
    if kind == b"L":
        pending.name = _text(data.rstrip(b"\0"))
    elif kind in (b"x", b"g"):
        records = _pax(data)
        if kind == b"g" and {"path", "size"} & records.keys():
            raise Hostile("A global pax header renames members of the tar; build the package again.")
        pending.name = records.get("path", pending.name)
        if any(key.startswith("GNU.sparse") for key in records):
            raise Hostile("The tar holds a sparse file; build the package without --sparse.")
        if "size" in records:
            if not (records["size"].isascii() and records["size"].isdigit() and len(records["size"]) < 20):
                raise Damaged("A pax header has a size that is no number; build the package again.")
            pending.size_bytes = int(records["size"])
    return pending


def _pax(data: bytes) -> dict[str, str]:
    """Records ``LENGTH KEY=VALUE\\n`` (pax(1), "pax extended header")."""
    records: dict[str, str] = {}
    at = 0
    while at < len(data):
        blank = data.find(b" ", at, at + 8)
        digits = data[at:blank] if blank > 0 else b""
        end = at + int(digits) if digits.isdigit() else 0
        key, equals, value = data[blank + 1 : end - 1].partition(b"=")
        if end <= blank or end > len(data) or data[end - 1 : end] != b"\n" or not equals:
            raise Damaged("A pax header of the tar is malformed; build the package again.")
        records[_text(key)] = _text(value)
        at = end
    return records


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


def _header_name(block: bytes) -> str:
    name = block[:100].split(b"\0", 1)[0]
    # Only POSIX ustar has a prefix there; GNU's magic ("ustar  ") keeps times in those bytes.
    prefix = block[345:500].split(b"\0", 1)[0] if block[257:263] == b"ustar\0" else b""
    return _text(prefix + b"/" + name if prefix else name)


def _plain(name: str) -> str:
    while name.startswith("./"):
        name = name[2:].lstrip("/")
    return name.rstrip("/")


def _number(raw: bytes) -> int:
    """An octal size. GNU's base-256 form starts at 8 GiB, far above any budget here, and is refused with the other
    oddities."""
    digits = raw.split(b"\0", 1)[0].strip(b" ")
    if not digits:
        return 0
    if not all(0x30 <= byte <= 0x37 for byte in digits):
        raise Damaged("A tar header has a size that is no octal number; build the package again.")
    return int(digits, 8)


def _check_sum(block: bytes) -> None:
    stored = block[148:156].split(b"\0", 1)[0].strip(b" ")
    if not stored or not all(0x30 <= byte <= 0x37 for byte in stored):
        raise Damaged("The data is not a tar; build the package again.")
    counted = sum(block) - sum(block[148:156]) + 8 * 0x20
    if int(stored, 8) != counted:
        raise Damaged("A tar header's checksum is wrong; the file is damaged, send it again.")


def _take(reader: Reader, length: int, *, at_end_ok: bool = False) -> bytes:
    parts: list[bytes] = []
    left = length
    while left:
        chunk = reader.read(left)
        if not chunk:
            if at_end_ok and left == length:
                return b""
            raise Damaged("The tar is truncated; send the file again.")
        parts.append(chunk)
        left -= len(chunk)
    return b"".join(parts)


def _padding(size: int) -> int:
    return -size % BLOCK_BYTES


def _data(reader: Reader, size: int) -> bytes:
    data = _take(reader, size)
    _take(reader, _padding(size))
    return data


def _skip(reader: Reader, size: int) -> None:
    left = size + _padding(size)
    while left:
        chunk = reader.read(min(left, 64 * 1024))
        if not chunk:
            raise Damaged("The tar is truncated; send the file again.")
        left -= len(chunk)


def _only_zeros(reader: Reader) -> None:
    """After the end mark: padding to the record size. Anything else is a second tar that other readers may take for
    the first."""
    while chunk := reader.read(64 * 1024):
        if chunk.count(0) != len(chunk):
            raise Damaged("The tar is followed by other bytes; build the package again.")
