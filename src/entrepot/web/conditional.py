"""Conditional and range requests (RFC 9110 sections 13 and 14) for one representation with ETag and Last-Modified."""

import email.utils
import re
from dataclasses import dataclass
from functools import lru_cache

from entrepot.model.errors import Refusal

DATE_BYTES_MAX = 64
_RANGE = re.compile(rb"bytes=\s*(\d{0,18})\s*-\s*(\d{0,18})\s*\Z")


@lru_cache(maxsize=4096)
def http_date(seconds: int) -> bytes:
    """``Sun, 06 Nov 1994 08:49:37 GMT`` of seconds since 1970."""
    return email.utils.formatdate(seconds, usegmt=True).encode()


def _date(text: bytes) -> int | None:
    """:func:`parse_http_date` of texts that can be one. Longer ones would fill the memory through its cache: a header
    may have 400 kB.
    """
    return parse_http_date(text) if len(text) <= DATE_BYTES_MAX else None


@lru_cache(maxsize=4096)
def parse_http_date(text: bytes) -> int | None:
    """Seconds since 1970 of an HTTP date, or None when it is none (RFC 9110: an invalid date is ignored)."""
    try:
        return int(email.utils.parsedate_to_datetime(text.decode("latin-1")).timestamp())
    except (ValueError, OverflowError):
        return None


@dataclass(frozen=True, slots=True)
class Validators:
    """What identifies a representation: ``etag`` (strong, without quotes) and ``last_modified_s``.

    ``date_vouches`` False: another representation carried the same Last-Modified (two publications in one second), so
    the date alone must neither answer 304 nor allow a range.
    """

    etag: str
    last_modified_s: int
    date_vouches: bool = True


def not_modified(headers: dict[bytes, bytes], validators: Validators) -> bool:
    """Whether a GET or HEAD gets 304: If-None-Match decides when it is there, else If-Modified-Since (RFC 9110 section
    13.2.2).
    """
    tags = headers.get(b"if-none-match")
    if tags is not None:
        return tags.strip() == b"*" or _listed(tags, validators.etag)
    since = headers.get(b"if-modified-since")
    if since is None or not validators.date_vouches:
        return False
    # Exactly our own date: after a clock was set back, an older file with a "newer" cached date would otherwise stay
    # stale for ever.
    return since == http_date(validators.last_modified_s) or _date(since) == validators.last_modified_s


def check_match(headers: dict[bytes, bytes], validators: Validators) -> None:
    """Raises Refusal("precondition_failed") when If-Match or If-Unmodified-Since names another representation."""
    tags = headers.get(b"if-match")
    if tags is not None:
        if tags.strip() != b"*" and not _listed(tags, validators.etag):
            raise Refusal("precondition_failed", etag=validators.etag)
        return
    unmodified = headers.get(b"if-unmodified-since")
    if unmodified is not None:
        limit = _date(unmodified)
        if limit is not None and validators.last_modified_s > limit:
            raise Refusal("precondition_failed", etag=validators.etag)


def _listed(tags: bytes, etag: str) -> bool:
    wanted = f'"{etag}"'.encode()
    return any(tag.strip().removeprefix(b"W/") == wanted for tag in tags.split(b","))


def byte_range(headers: dict[bytes, bytes], validators: Validators, size_bytes: int) -> tuple[int, int] | None:
    """The wanted range as (start, stop), stop exclusive; None: send everything.

    Several ranges, other units and malformed headers are ignored, as RFC 9110 section 14.2 allows. Raises
    Refusal("range_not_satisfiable") when the range lies outside the file.
    """
    text = headers.get(b"range")
    if text is None:
        return None
    match = _RANGE.match(text.strip())
    if match is None or not _if_range(headers.get(b"if-range"), validators):
        return None
    first, last = match.groups()
    if not first and not last:
        return None
    if not first:
        length = min(int(last), size_bytes)
        if length == 0:
            raise Refusal("range_not_satisfiable", size_bytes=size_bytes)
        return size_bytes - length, size_bytes
    start = int(first)
    stop = min(int(last) + 1, size_bytes) if last else size_bytes
    if last and int(last) < start:
        return None
    if start >= size_bytes:
        raise Refusal("range_not_satisfiable", size_bytes=size_bytes)
    return start, stop


def _if_range(value: bytes | None, validators: Validators) -> bool:
    if value is None:
        return True
    value = value.strip()
    if value.startswith(b'"'):
        return value == f'"{validators.etag}"'.encode()
    if value.startswith(b"W/"):
        return False  # a weak tag never vouches for bytes (RFC 9110 section 13.1.5)
    return validators.date_vouches and _date(value) == validators.last_modified_s
