"""rpm's version order as bytes: memcmp of two keys is rpmvercmp of the versions behind them."""

import re

# rpmvercmp (rpm, rpmio/rpmvercmp.c) cuts a version into runs of digits and runs of ASCII letters, skips everything
# else, and lets ``~`` sort before the end of the string and ``^`` right after it; letters sort before digits. One
# byte per token carries exactly that order.
_TOKENS = re.compile(rb"[0-9]+|[A-Za-z]+|~|\^")
_TILDE, _END, _CARET, _LETTERS, _DIGITS = b"\x01", b"\x02", b"\x03", b"\x04", b"\x05"


def version_key(version: str) -> bytes:
    """A version or a release as bytes whose memcmp order is rpmvercmp's; versions equal to rpm (1.0 and 1.00) have
    equal keys."""
    parts = []
    for token in _TOKENS.findall(version.encode("utf-8", "surrogateescape")):
        if token == b"~":
            parts.append(_TILDE)
        elif token == b"^":
            parts.append(_CARET)
        elif token[0] >= 0x41:
            parts += (_LETTERS, token)  # ended by the next token, which is below every letter, as strcmp has it
        else:
            digits = token.lstrip(b"0")  # rpm compares numbers by length, then by strcmp; leading zeros do not count
            parts += (_DIGITS, len(digits).to_bytes(4, "big"), digits)
    parts.append(_END)
    return b"".join(parts)


def evr_key(epoch: int, version: str, release: str) -> bytes:
    """Epoch (unsigned 32 bits), version and release in rpm's order."""
    return epoch.to_bytes(4, "big") + version_key(version) + version_key(release)


def order_key(name: str, epoch: int, version: str, release: str, arch: str, sha256: str) -> bytes:
    """Name, version in rpm's order, architecture, content: the order in which the indexes list packages."""
    return b"".join(
        (name.encode(), b"\0", evr_key(epoch, version, release), arch.encode(), b"\0", bytes.fromhex(sha256))
    )
