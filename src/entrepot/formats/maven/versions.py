"""The order of Maven versions (Maven's "Version Order Specification", as ComparableVersion of maven-artifact 3.8).

A version is a list of numbers, qualifiers and nested lists. A hyphen, or a change between digits and letters, opens a
nested list; so does a qualifier after a dot. Trailing nulls (0, "", ga, final, release) do not count.
"""

from collections.abc import Iterable
from functools import cmp_to_key, lru_cache
from itertools import zip_longest
from typing import Final, TypeAlias

VERSION_CHARS_MAX = 255

_QUALIFIERS: Final = ("alpha", "beta", "milestone", "rc", "snapshot", "", "sp")
_ALIASES: Final = {"ga": "", "final": "", "release": "", "cr": "rc"}
_SHORT: Final = {"a": "alpha", "b": "beta", "m": "milestone"}
_RELEASE: Final = str(_QUALIFIERS.index(""))

Item: TypeAlias = "int | str | list[Item]"


def compare(left: str, right: str) -> int:
    """-1, 0 or 1, as Maven would order the two."""
    return _compare(_parse(left), _parse(right))


def ordered(versions: Iterable[str]) -> list[str]:
    """The versions, oldest first; equal ones (``1``, ``1.0``) in the order of their text, so that output is stable."""
    return sorted(sorted(versions), key=cmp_to_key(compare))


def sort_key(version: str) -> bytes:
    """Bytes whose memcmp order is Maven's for the usual shapes (numbers, then at most one known or unknown qualifier).

    An approximation, good enough to sort listings: Maven's order is not even transitive for odd mixtures, so no key can
    have it. What clients rely on (``latest``, ``release``, the order in maven-metadata.xml) uses :func:`compare`.
    """
    out = bytearray()
    _encode(_parse(version), out)
    return bytes(out)


def is_snapshot(version: str) -> bool:
    """Whether a version folder holds snapshots (``1.0-SNAPSHOT``, or ``SNAPSHOT`` alone)."""
    return version == "SNAPSHOT" or version.endswith("-SNAPSHOT")


@lru_cache(maxsize=4096)
def _parse(text: str) -> "list[Item]":
    root: list[Item] = []
    stack = [root]

    def nest() -> None:
        inner: list[Item] = []
        stack[-1].append(inner)
        stack.append(inner)

    def nest_if_filled() -> None:
        if stack[-1]:
            nest()

    text = text[:VERSION_CHARS_MAX].lower()
    start, in_digits = 0, False
    for at, char in enumerate(text):
        if char in ".-":
            stack[-1].append(_item(text[start:at], in_digits) if at > start else 0)
            start = at + 1
            if char == "-":
                nest()
        elif char.isascii() and char.isdigit():
            if not in_digits and at > start:
                nest_if_filled()
                stack[-1].append(_qualifier(text[start:at], before_digit=True))
                start = at
                nest()
            in_digits = True
        else:
            if in_digits and at > start:
                stack[-1].append(int(text[start:at]))
                start = at
                nest()
            in_digits = False
    if start < len(text):
        if not in_digits:
            nest_if_filled()
        stack[-1].append(_item(text[start:], in_digits))
    for each in reversed(stack):
        _drop_nulls(each)
    return root


def _item(text: str, in_digits: bool) -> "Item":
    return int(text) if in_digits else _qualifier(text)


def _qualifier(text: str, *, before_digit: bool = False) -> str:
    if before_digit:
        text = _SHORT.get(text, text)
    return _ALIASES.get(text, text)


def _drop_nulls(items: "list[Item]") -> None:
    for at in range(len(items) - 1, -1, -1):
        if items[at] in (0, "", []):
            del items[at]
        elif not isinstance(items[at], list):
            break


def _rank(qualifier: str) -> str:
    """What Maven compares, as text: the place of a known qualifier, else one that lies behind all of them."""
    if qualifier in _QUALIFIERS:
        return str(_QUALIFIERS.index(qualifier))
    return f"{len(_QUALIFIERS)}-{qualifier}"


def _sign(left: "int | str", right: "int | str") -> int:
    return (left > right) - (left < right)  # type: ignore[operator]  # both are of one type wherever this is called


def _compare(left: "Item | None", right: "Item | None") -> int:
    if left is None:
        return 0 if right is None else -_compare(right, None)
    if isinstance(left, list):
        return _compare_list(left, right)
    if isinstance(left, int):
        if right is None:
            return int(left != 0)
        return _sign(left, right) if isinstance(right, int) else 1
    if right is None:
        return _sign(_rank(left), _RELEASE)
    return _sign(_rank(left), _rank(right)) if isinstance(right, str) else -1


def _compare_list(left: "list[Item]", right: "Item | None") -> int:
    if right is None:
        return next((result for item in left if (result := _compare(item, None))), 0)
    if isinstance(right, int):
        return -1
    if isinstance(right, str):
        return 1
    pairs = zip_longest(left, right)
    return next((result for one, other in pairs if (result := _compare(one, other))), 0)


def _encode(items: "list[Item]", out: bytearray) -> None:
    """Item by item, a tag that orders kinds as Maven does: known pre-release < end < sp and others < list < number."""
    for item in items:
        if isinstance(item, int):
            digits = str(item).encode()
            out += b"\x80" + len(digits).to_bytes(1, "big") + digits
        elif isinstance(item, str):
            rank = _rank(item)
            out += (b"\x10" if rank < _RELEASE else b"\x50") + rank.encode("utf-8", "replace") + b"\0"
        elif item and isinstance(item[0], str) and _rank(item[0]) < _RELEASE:
            _encode(item, out)  # 1-alpha < 1: a list of a pre-release sorts as the pre-release does
        else:
            out += b"\x60"
            _encode(item, out)
    out += b"\x40"
