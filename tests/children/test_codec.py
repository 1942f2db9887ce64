"""The encoding of results: what comes back equal, and what a hostile child can not send."""

import struct
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from entrepot.children.codec import DEPTH_MAX, CodecError, KnownTypes, decode, encode, type_name
from tests.children.targets import Colour, Member, Verdict

NOTHING = KnownTypes()
KNOWN = KnownTypes((Verdict, Member, Colour))

_leaves = (
    st.none()
    | st.booleans()
    | st.integers(-(2**200), 2**200)
    | st.floats(allow_nan=False)
    | st.text(st.characters(codec="utf-8"))
    | st.binary()
)
_values = st.recursive(
    _leaves,
    lambda inner: (
        st.lists(inner)
        | st.lists(inner).map(tuple)
        | st.dictionaries(st.text(st.characters(codec="utf-8")) | st.binary(), inner)
    ),
    max_leaves=30,
)


@given(_values)
@settings(max_examples=300, deadline=None)
def test_what_goes_in_comes_out(value: object) -> None:
    """Goal: no value changes on the way. Method: random nested values; types compared too (True is not 1)."""
    back = decode(encode(value), NOTHING)
    assert back == value
    assert repr(back) == repr(value)


@given(st.binary(max_size=300))
@settings(max_examples=1000, deadline=None)
def test_random_bytes_give_a_value_or_a_codec_error(data: bytes) -> None:
    """Goal: no bytes crash the node. Method: random bytes; any other exception fails the test."""
    try:
        decode(data, KNOWN)
    except CodecError:
        return


@given(st.integers(0, 200), st.integers(0, 255))
@settings(max_examples=500, deadline=None)
def test_damaged_verdict_gives_a_verdict_or_a_codec_error(at: int, byte: int) -> None:
    """Goal: what is decoded obeys its annotations. Method: change one byte of a good answer."""
    data = bytearray(encode(Verdict("a", b"k", (Member("p", 1),), {"k": 1}, Colour.RED)))
    data[at % len(data)] = byte
    try:
        value = decode(bytes(data), KNOWN)
    except CodecError:
        return
    if isinstance(value, Verdict):
        assert isinstance(value.name, str)
        assert isinstance(value.order_key, bytes)
        assert all(type(member) is Member for member in value.members)
        assert value.colour is Colour.RED


def _count(tag: bytes, count: int) -> bytes:
    return tag + struct.pack(">I", count)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "truncated"),
        (b"Z", "unknown tag"),
        (b"NN", "bytes after the end"),
        (_count(b"s", 5) + b"abc", "truncated"),
        (_count(b"s", 1) + b"\xff", "not UTF-8"),
        (_count(b"l", 0xFFFFFFFF), "more items"),
        (_count(b"l", 3) + b"N", "more items"),
        (_count(b"l", 1) * (DEPTH_MAX + 2) + b"N", "nested deeper"),
        (b"i\xff" + bytes(255), "an integer of 255 bytes"),
        (b"i\x00", "an integer of 0 bytes"),
        (_count(b"d", 1) + b"i\x01\x05N", "key is str or bytes"),
        (b"o" + struct.pack(">I", 9) + b"os:system" + _count(b"", 0), "was not named to the pool"),
        (b"e" + struct.pack(">I", 3) + b"a:b" + struct.pack(">I", 1) + b"c", "not known here"),
    ],
)
def test_bytes_that_no_honest_child_sends(data: bytes, message: str) -> None:
    """Goal: each attack named in the codec is refused by its own check. Method: one crafted answer for each."""
    with pytest.raises(CodecError, match=message):
        decode(data, KNOWN)


def test_one_byte_items_cannot_grow_without_bound() -> None:
    """Goal: an answer within its byte bound cannot become gigabytes of objects. Method: three million one-byte
    items."""
    with pytest.raises(CodecError, match="more items"):
        decode(_count(b"l", 3_000_000) + b"N" * 3_000_000, NOTHING)


def test_constructor_checks_run() -> None:
    """Goal: a dataclass's own rules hold for what a child sends. Method: a class that refuses negative sizes."""
    with pytest.raises(CodecError, match="refuses its fields: negative"):
        decode(encode(Checked(5)).replace(b"i\x01\x05", b"i\x01\xfb"), KnownTypes((Checked,)))


@dataclass(frozen=True)
class Checked:
    """A value with a rule."""

    size_bytes: int

    def __post_init__(self) -> None:
        if self.size_bytes < 0:
            raise ValueError("negative size")


@dataclass
class Mutable:
    """Not frozen."""

    size_bytes: int


@dataclass(frozen=True)
class Uncheckable:
    """Has a field whose annotation cannot be checked."""

    handle: range


@pytest.mark.parametrize(
    ("cls", "message"), [(Mutable, "neither a frozen"), (int, "neither a frozen"), (Uncheckable, "cannot be checked")]
)
def test_classes_that_cannot_be_checked_are_refused_at_once(cls: type[object], message: str) -> None:
    """Goal: a result type without a check is found when the pool is built. Method: three unsuitable classes."""
    with pytest.raises(TypeError, match=message):
        KnownTypes((cls,))


def test_nested_class_has_to_be_named() -> None:
    """Goal: naming a class does not open the door for others. Method: leave out the nested one."""
    with pytest.raises(TypeError, match="Member"):
        KnownTypes((Verdict, Colour))


@pytest.mark.parametrize("value", [object(), {1: 2}, {"a", "b"}, "\udcff", 2**300, len])
def test_values_that_do_not_cross(value: object) -> None:
    """Goal: the child learns that a value cannot cross. Method: one of each kind."""
    with pytest.raises(CodecError):
        encode(value)


def test_names_are_module_and_class() -> None:
    """Goal: two classes of one name stay apart. Method: the travelling name."""
    assert type_name(Member) == "tests.children.targets:Member"
