"""Debian versions (deb-version(7)): what is valid, and bytes that sort as dpkg compares."""

import re
from dataclasses import dataclass

from entrepot.model.errors import Refusal
from entrepot.model.limits import FILENAME_CHARS_MAX

EPOCH_MAX = 2**31 - 1  # dpkg keeps the epoch in an int
_UPSTREAM = re.compile(r"[0-9][A-Za-z0-9.+~:-]*\Z")
_REVISION = re.compile(r"[A-Za-z0-9+.~]+\Z")
_EPOCH = re.compile(r"[0-9]{1,10}\Z")
_PART = re.compile(r"([^0-9]*)([0-9]*)")

_NON_DIGITS_END = 0x02


@dataclass(frozen=True, slots=True)
class Version:
    """``epoch:upstream-revision``; ``epoch`` None when not written, ``revision`` None for a native package."""

    epoch: int | None
    upstream: str
    revision: str | None

    @property
    def without_epoch(self) -> str:
        """As it stands in file names."""
        return self.upstream if self.revision is None else f"{self.upstream}-{self.revision}"

    def sort_key(self) -> bytes:
        """Bytes whose memcmp order is dpkg's order; equal bytes for versions that dpkg calls equal ("1.0" and
        "0:1.00-0").
        """
        return (self.epoch or 0).to_bytes(4, "big") + _part_key(self.upstream) + _part_key(self.revision or "")


def parse_version(text: str) -> Version:
    """Read a version. Raises Refusal("package_field_invalid") for all that `dpkg -i` refuses.

    A revision is what follows the last hyphen; a colon in the upstream part needs an epoch (deb-version(7)).
    """
    epoch_text, colon, rest = text.partition(":")
    upstream, hyphen, revision = (rest if colon else text).rpartition("-")
    if not hyphen:
        upstream, revision = revision, ""
    valid = (
        len(text) <= FILENAME_CHARS_MAX
        and (not colon or (_EPOCH.match(epoch_text) is not None and int(epoch_text) <= EPOCH_MAX))
        and _UPSTREAM.match(upstream) is not None
        and (not hyphen or _REVISION.match(revision) is not None)
    )
    if not valid:
        raise Refusal(
            "package_field_invalid",
            "The Version is not one that dpkg accepts; it is [epoch:]upstream[-revision], begins with a digit and is"
            " made of letters, digits and . + ~ -",
            field="Version",
            value=text[:100],
        )
    return Version(int(epoch_text) if colon else None, upstream, revision if hyphen else None)


def _part_key(text: str) -> bytes:
    """The alternating parts of dpkg's verrevcmp: non-digits by character, then digits as a number, and so on.

    A part without digits counts as 0 and every text goes on for ever with ("", 0), so the first pair is always written
    and the end is the mark of an empty non-digit part. That mark lies above ~ and below letters, and letters below all
    else.
    """
    out = bytearray()
    at = 0
    while True:
        match = _PART.match(text, at)
        assert match is not None  # the pattern matches the empty string
        out += bytes(map(_rank, match.group(1)))
        out.append(_NON_DIGITS_END)
        digits = match.group(2).lstrip("0")
        # The number of digits first: numbers of any length compare without being converted.
        out += len(digits).to_bytes(2, "big") + digits.encode("ascii")
        at = match.end()
        if at == len(text):
            break
    out.append(_NON_DIGITS_END)
    return bytes(out)


def _rank(character: str) -> int:
    if character == "~":
        return 0x01
    return ord(character) if character.isalpha() else ord(character) + 0x80


def order_key(name: str, version: Version, architecture: str, sha256: str) -> bytes:
    """The order of an index: name, version as dpkg compares, architecture, sha256; no two files have the same key."""
    return (
        b"\0".join((name.encode("ascii"), version.sort_key()))
        + architecture.encode("ascii")
        + b"\0"
        + bytes.fromhex(sha256)
    )
