"""The rehearsal of a change of keys: is what the server serves right now accepted by a client that knows one key alone?

What clients do with a signature of several keys: apt and dnf 4 are content with one good signature of a key that they
know. dnf 5 and zypper go by the first signature alone, and ask for its key where they do not know it: so that one must
be in gpgkey.
"""

import base64
import binascii
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from entrepot.client import programs
from entrepot.client.errors import UsageError

_BLOCK = re.compile(
    rb"-----BEGIN PGP (?P<kind>[A-Z ]+)-----\r?\n(?P<body>.*?)\r?\n-----END PGP (?P=kind)-----\r?\n?", re.DOTALL
)


DONE = {
    "gpgkey": "served",
    "gpgv": "accepted",
    "first": "accepted by dnf 5 and zypper",
    "rpm": "imported by rpm",
}
"""The tools of findings, and what it means that they accept."""


class Source(Protocol):
    """Where a repository is read from: a session."""

    def get(self, path: str) -> Any:
        """The JSON at a path."""

    def call(self, method: str, path: str) -> Any:
        """One request; its answer has a ``body``."""


@dataclass(frozen=True)
class Finding:
    """One check: whether a client that knows ``key`` (a fingerprint, or ``gpgkey`` for all that is served) accepts
    ``file``; ``note`` says why not, or on what it depends.
    """

    key: str
    tool: str
    file: str
    accepted: bool
    note: str = ""


def rehearse(source: Source, repository: str, environment: Mapping[str, str]) -> Iterator[Finding]:
    """Check everything that is signed with each key that signs, one at a time. Raises UsageError for a program that is
    missing and for a repository without a signed index; Problem, Unreachable.
    """
    keys = [key for key in source.get(f"/api/v2/repos/{repository}/keys")["keys"] if key["signs"]]
    signed = source.get(f"/api/v2/repos/{repository}/signed")["signed"]
    if not signed:
        raise UsageError(
            f"{repository} has no signed index yet.", remedy="Push a package first; then there is something to check."
        )
    with_rpm = any(each["each"] for each in signed)
    with programs.bench(["gpgv", *(["rpm", "rpmkeys"] if with_rpm else [])], environment) as place:
        served = source.call("GET", f"/{repository}/gpgkey").body
        yield from _served(keys, served)
        for each in signed:
            yield from _document(source, repository, place, keys, served, each)
        if with_rpm:
            yield from _rpm(place, keys, served)


def _served(keys: Sequence[Mapping[str, Any]], served: bytes) -> Iterator[Finding]:
    """Each key that signs must be among those that clients can fetch."""
    blocks = {binary(match[0]) for match in _BLOCK.finditer(served)}
    for key in keys:
        there = binary(key["public_key"].encode()) in blocks
        yield Finding(key["fingerprint"], "gpgkey", "gpgkey", there, "" if there else "it is not served")


def _document(
    source: Source,
    repository: str,
    place: programs.Bench,
    keys: Sequence[Mapping[str, Any]],
    served: bytes,
    each: Mapping[str, Any],
) -> Iterator[Finding]:
    path = each["document"]
    document = source.call("GET", f"/{repository}/{path}").body
    signature = None if each["signature"] is None else source.call("GET", f"/{repository}/{each['signature']}").body
    shown = each["signature"] or path
    for key in keys:
        ring = binary(key["public_key"].encode())
        verdict = programs.gpgv(place, ring, document, signature)
        accepted = key["fingerprint"] in verdict.good and not verdict.bad
        yield Finding(key["fingerprint"], "gpgv", shown, accepted, "" if accepted else verdict.reason)
    if each["each"] and signature is not None:
        first = _BLOCK.search(signature)
        every = b"".join(binary(match[0]) for match in _BLOCK.finditer(served))
        verdict = programs.gpgv(place, every, document, signature if first is None else first[0])
        for key in keys:
            mine = key["fingerprint"] in verdict.good
            note = (
                "" if mine else f"dnf 5 and zypper go by the first signature, and will fetch {' '.join(verdict.good)}"
            )
            accepted = bool(verdict.good) and not verdict.bad
            yield Finding(key["fingerprint"], "first", shown, accepted, note if accepted else verdict.reason)


def _rpm(place: programs.Bench, keys: Sequence[Mapping[str, Any]], served: bytes) -> Iterator[Finding]:
    """rpm must take each key, and all of them from the one file that clients are told of."""
    for number, key in enumerate(keys):
        yield _taken(place, str(number), key["fingerprint"], key["public_key"].encode(), [key])
    yield _taken(place, "all", "gpgkey", served, keys)


def _taken(place: programs.Bench, name: str, shown: str, armored: bytes, keys: Sequence[Mapping[str, Any]]) -> Finding:
    try:
        there = programs.rpm_import(place, name, armored)
    except UsageError as error:
        return Finding(shown, "rpm", "gpgkey", False, error.detail)
    ids = [key["fingerprint"][-8:].lower() for key in keys]
    missing = [each for each in ids if not any(each in version.lower() for version in there)]
    return Finding(shown, "rpm", "gpgkey", not missing, f"rpm did not import {' '.join(missing)}" if missing else "")


def binary(armored: bytes) -> bytes:
    """The bytes of the first armored block (RFC 4880 section 6.2), without its headers and checksum. Raises UsageError
    for none.
    """
    match = _BLOCK.search(armored)
    if match is None:
        raise UsageError("The server sent no armored key.")
    # A blank line ends the headers; the checksum is a line that begins with "=".
    lines = match["body"].replace(b"\r", b"").split(b"\n")
    start = lines.index(b"") + 1 if b"" in lines else 0
    text = b"".join(line for line in lines[start:] if not line.startswith(b"="))
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise UsageError("The server sent a damaged armored key.") from None
