"""The members of a Unix ar archive (ar(5); deb(5) names it as a .deb's container)."""

from dataclasses import dataclass

from entrepot.streams.errors import Damaged, Hostile
from entrepot.streams.window import Window

MAGIC = b"!<arch>\n"
HEADER_BYTES = 60
_NAME_BYTES = 16


@dataclass(frozen=True, slots=True)
class ArMember:
    """One member: ``name`` without GNU's trailing slash, ``offset_bytes`` of its first byte, ``size_bytes`` of its
    data."""

    name: str
    size_bytes: int
    offset_bytes: int


def members(window: Window, *, members_max: int) -> tuple[ArMember, ...]:
    """Every member, in order, after checks that dpkg and ar make too: two readers that disagree about a member are an
    attack.

    Checks the magic, each header's end mark and decimal size, that data and padding lie inside the file, and that
    nothing follows the last member. Names in the System V ("//" table) and BSD ("#1/N") long form are refused: a .deb
    has none (deb(5)).

    Raises Damaged for a broken archive, Hostile for more than ``members_max`` members, OutsideWindow for a header too
    far inside.
    """
    if window.size_bytes < len(MAGIC) or window.read(0, len(MAGIC)) != MAGIC:
        raise Damaged("The file is not an ar archive (it does not begin with !<arch>); is it a .deb at all?")
    found: list[ArMember] = []
    at = len(MAGIC)
    while at < window.size_bytes:
        if len(found) == members_max:
            raise Hostile(
                f"The ar archive has more than {members_max} members; build it with dpkg-deb.", members_max=members_max
            )
        if window.size_bytes - at < HEADER_BYTES:
            raise Damaged("The ar archive is followed by other bytes, or truncated in a header; send the file again.")
        member = _member(window.read(at, HEADER_BYTES), at + HEADER_BYTES)
        found.append(member)
        at = _end(window, member)
    return tuple(found)


def _member(header: bytes, offset_bytes: int) -> ArMember:
    if header[58:60] != b"`\n":
        raise Damaged("An ar header does not end as it must; the file is damaged, send it again.")
    digits = header[48:58].rstrip(b" ")
    if not digits.isdigit():  # bytes.isdigit is ASCII only: no sign, no blank in the middle, no other script's digits
        raise Damaged("An ar header has a size that is no number; build the package again.")
    raw = header[:_NAME_BYTES].rstrip(b" ")
    if raw.startswith((b"#1/", b"/")):
        raise Hostile("The ar archive uses long member names, which a .deb never does; build it with dpkg-deb.")
    raw = raw.removesuffix(b"/")
    if not raw or not all(0x21 <= byte <= 0x7E for byte in raw) or b"/" in raw:
        raise Hostile(
            "An ar member has an empty name, or one with blanks, control characters or a slash; build it with dpkg-deb."
        )
    return ArMember(raw.decode("ascii"), int(digits), offset_bytes)


def _end(window: Window, member: ArMember) -> int:
    """Offset of the next header. Data of odd length is followed by one newline (ar(5))."""
    end = member.offset_bytes + member.size_bytes
    if end > window.size_bytes:
        raise Damaged(
            f"The member {member.name} goes past the end of the file: it is truncated, send it again.",
            member=member.name,
        )
    if member.size_bytes % 2 == 0:
        return end
    if end == window.size_bytes or (window.holds(end, 1) and window.read(end, 1) != b"\n"):
        raise Damaged(
            f"The padding after the member {member.name} is missing or wrong; build the package again.",
            member=member.name,
        )
    return end + 1
