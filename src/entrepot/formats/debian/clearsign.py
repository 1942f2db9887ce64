"""The signed text inside the OpenPGP cleartext framework (RFC 9580 section 7), and nothing of what stands around it."""

import re

from entrepot.model.errors import Refusal

_BEGIN = b"-----BEGIN PGP SIGNED MESSAGE-----"
_SIGNATURE = b"-----BEGIN PGP SIGNATURE-----"
_END = b"-----END PGP SIGNATURE-----"
_HASH = re.compile(rb"Hash: [A-Za-z0-9, -]{1,200}\Z")


def signed_text(data: bytes, what: str) -> bytes:
    """``data`` itself when it is not signed, else the text between header and signature; ``what`` names it in messages.

    The signature is not verified: the pusher's token says who sent it, and a .dsc is signed by people whose keys are
    not known here. Raises Refusal("package_damaged") for text before or after the signed part, for a header that is not
    Hash (text could hide in one), a second or unfinished message, and for dash-escaped lines (no control field begins
    with a dash, so each is a trick).
    """
    raw = data.split(b"\n")
    # Blanks and carriage returns at ends of lines, and blank lines around the whole: what dpkg-source and gpg pass over
    # as well.
    lines = [line.rstrip(b" \t\r") for line in raw]
    first = next((number for number, line in enumerate(lines) if line), 0)
    while lines and not lines[-1]:
        lines.pop()
    lines, raw = lines[first:], raw[first:]
    if not lines or lines[0] != _BEGIN:
        if any(line.startswith(b"-----") for line in lines):
            # The attack: fields before the signed part, which a reader of signatures never sees.
            raise _damaged(f"The {what} has text before its signed part, or half a signature")
        return data
    at = 1
    while at < len(lines) and lines[at]:
        if not _HASH.match(lines[at]):
            raise _damaged(f"The {what} has an armor header that is not Hash")
        at += 1
    try:
        end = lines.index(_SIGNATURE, at)
    except ValueError:
        raise _damaged(f"The {what} has no signature after its signed part: it is truncated") from None
    body = lines[at + 1 : end]
    if any(line.startswith(b"-") for line in body):
        raise _damaged(f"The {what} has a line that begins with a dash inside its signed part")
    # The last line must be the signature's end, and it must be the only one: nothing may follow.
    if lines[-1] != _END or lines.index(_END, end) != len(lines) - 1:
        raise _damaged(f"The {what} has text after its signature, or the signature is truncated")
    return b"\n".join(raw[at + 1 : end])


def _damaged(detail: str) -> Refusal:
    return Refusal("package_damaged", f"{detail}; sign it again with debsign and send it.")
