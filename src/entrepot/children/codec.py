"""How a child's result crosses to the node: a tagged binary encoding of plain values and of known frozen dataclasses.

The child parses hostile packages, so its bytes are treated as an attacker's. Unpickling them would run code of the
attacker's choice in the node; :func:`decode` builds only what the caller named, checks every field against its
annotation, and bounds depth, count and length before it allocates.

One tag byte, then: ``N`` None · ``T`` ``F`` bool · ``i`` u8 length, two's complement · ``f`` 8 bytes · ``s`` ``b`` u32
length, bytes · ``l`` ``t`` u32 count, items · ``d`` u32 count, pairs (keys str or bytes) · ``o`` class name, u32 count,
fields in order · ``e`` enum name, member name. All numbers are big-endian.
"""

import dataclasses
import enum
import struct
import types
import typing
from collections.abc import Iterable, Mapping, Sequence

MESSAGE_BYTES_MAX = 64 * 1024 * 1024
DEPTH_MAX = 32
# A dict of 100,000 files with ten fields each still fits. Without it, 64 MiB of one-byte items would become gigabytes
# of objects.
ITEMS_MAX = 2_000_000
INTEGER_BYTES_MAX = 32

_U32 = struct.Struct(">I")
_DOUBLE = struct.Struct(">d")

KnownType = type[object]


class CodecError(ValueError):
    """A value cannot be encoded, or bytes are no encoding of an allowed value; the message says which rule was
    broken."""


def type_name(cls: KnownType) -> str:
    """The name under which a dataclass or enum travels: ``module:QualifiedName``."""
    return f"{cls.__module__}:{cls.__qualname__}"


def encode(value: object) -> bytes:
    """The bytes of a plain value, a frozen dataclass instance or an enum member, nested up to ``DEPTH_MAX``.

    Raises: CodecError for another type, a key that is neither str nor bytes, too much depth, or text that is not valid
    Unicode.
    """
    out = bytearray()
    _encode_into(out, value, 0)
    return bytes(out)


def _encode_into(out: bytearray, value: object, depth: int) -> None:
    if depth > DEPTH_MAX:
        raise CodecError(f"nested deeper than {DEPTH_MAX}")
    if isinstance(value, enum.Enum):  # before str and int: StrEnum and IntEnum are both
        out += b"e"
        _put_sized(out, type_name(type(value)).encode())
        _put_sized(out, value.name.encode())
    elif value is None or value is True or value is False:
        out += b"N" if value is None else b"T" if value else b"F"
    elif isinstance(value, int):
        size = value.bit_length() // 8 + 1
        if size > INTEGER_BYTES_MAX:
            raise CodecError(f"an integer of more than {INTEGER_BYTES_MAX} bytes")
        out += b"i" + bytes((size,)) + value.to_bytes(size, "big", signed=True)
    elif isinstance(value, float):
        out += b"f" + _DOUBLE.pack(value)
    elif isinstance(value, str):
        out += b"s"
        try:
            _put_sized(out, value.encode())
        except UnicodeEncodeError as error:
            raise CodecError("text with a lone surrogate; send bytes instead") from error
    elif isinstance(value, bytes | bytearray | memoryview):
        out += b"b"
        _put_sized(out, value)
    else:
        _encode_container(out, value, depth)


def _encode_container(out: bytearray, value: object, depth: int) -> None:
    if isinstance(value, list | tuple):
        out += (b"l" if isinstance(value, list) else b"t") + _U32.pack(len(value))
        for item in value:
            _encode_into(out, item, depth + 1)
    elif isinstance(value, Mapping):
        out += b"d" + _U32.pack(len(value))
        for key, item in value.items():
            if not isinstance(key, str | bytes) or isinstance(key, enum.Enum):
                raise CodecError(f"a mapping's key is str or bytes, not {type(key).__name__}")
            _encode_into(out, key, depth + 1)
            _encode_into(out, item, depth + 1)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = [field for field in dataclasses.fields(value) if field.init]
        out += b"o"
        _put_sized(out, type_name(type(value)).encode())
        out += _U32.pack(len(fields))
        for field in fields:
            _encode_into(out, getattr(value, field.name), depth + 1)
    else:
        raise CodecError(f"a {type(value).__name__} does not cross to the node; use plain values or a frozen dataclass")


def _put_sized(out: bytearray, data: bytes | bytearray | memoryview) -> None:
    if len(out) + len(data) > MESSAGE_BYTES_MAX:
        raise CodecError(f"the result is larger than {MESSAGE_BYTES_MAX} bytes")
    out += _U32.pack(len(data))
    out += data


class KnownTypes:
    """The frozen dataclasses and enums that a child's answer may contain.

    Args: the classes. Each class that an annotation of theirs names has to be among them.
    Raises: TypeError for a class that is neither a frozen dataclass nor an enum, or an annotation that cannot be
    checked.
    """

    def __init__(self, classes: Iterable[KnownType] = ()) -> None:
        self.enums: dict[str, type[enum.Enum]] = {}
        self.dataclasses: dict[str, tuple[KnownType, tuple[tuple[str, object], ...]]] = {}
        chosen = tuple(classes)
        for cls in chosen:
            if issubclass(cls, enum.Enum):
                self.enums[type_name(cls)] = cls
            elif dataclasses.is_dataclass(cls) and cls.__dataclass_params__.frozen:  # type: ignore[attr-defined]
                hints = typing.get_type_hints(cls)
                fields = tuple((field.name, hints[field.name]) for field in dataclasses.fields(cls) if field.init)
                self.dataclasses[type_name(cls)] = (cls, fields)
            else:
                raise TypeError(f"{type_name(cls)} is neither a frozen dataclass nor an enum")
        for _, fields in self.dataclasses.values():
            for _, hint in fields:
                _require_checkable(hint, frozenset(chosen))


_PLAIN = (int, float, str, bytes, bool, type(None), list, tuple, dict)


def _require_checkable(hint: object, known: frozenset[KnownType]) -> None:
    """Raise TypeError unless :func:`_conforms` can decide about ``hint``: found when the pool is built, not at the
    first answer."""
    origin = typing.get_origin(hint)
    if hint is object or hint is typing.Any or hint in known or hint in _PLAIN or origin is typing.Literal:
        return
    if origin in (typing.Union, types.UnionType, list, tuple, dict, Mapping, Sequence):
        for inner in typing.get_args(hint):
            if inner is not Ellipsis:
                _require_checkable(inner, known)
        return
    raise TypeError(f"the annotation {hint!r} cannot be checked; use plain types, or name its class to the pool")


def _conforms(value: object, hint: object) -> bool:
    """Whether a decoded value is what the annotation says: a hostile child must not smuggle a str in where the node
    counts bytes."""
    if hint is object or hint is typing.Any:
        return True
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Literal:
        return any(type(value) is type(choice) and value == choice for choice in inner)
    if origin in (typing.Union, types.UnionType):
        return any(_conforms(value, choice) for choice in inner)
    if origin is tuple and not (len(inner) == 2 and inner[1] is Ellipsis):
        return isinstance(value, tuple) and len(value) == len(inner) and all(map(_conforms, value, inner))
    if origin in (list, tuple, Sequence):
        wanted = (list, tuple) if origin is Sequence else origin
        return isinstance(value, wanted) and all(_conforms(item, inner[0]) for item in value)
    if origin in (dict, Mapping):
        return isinstance(value, dict) and all(
            _conforms(k, inner[0]) and _conforms(v, inner[1]) for k, v in value.items()
        )
    if hint is float:
        return type(value) in (int, float)
    return type(value) is hint


def decode(data: bytes, known: KnownTypes) -> object:
    """The value that ``data`` encodes; dataclasses are built by their constructor, so their own checks run too.

    Raises: CodecError for anything else: unknown tag or class, a field of another type, truncation, trailing bytes, a
    bound.
    """
    reader = _Reader(data, known)
    value = reader.value(0)
    if reader.at != len(data):
        raise CodecError("bytes after the end of the value")
    return value


class _Reader:
    """A position in the bytes, and how many items they may still hold."""

    def __init__(self, data: bytes, known: KnownTypes) -> None:
        self.data = data
        self.at = 0
        self.items_left = ITEMS_MAX
        self.known = known

    def take(self, size: int) -> bytes:
        end = self.at + size
        if end > len(self.data):
            raise CodecError("the value is truncated")
        piece = self.data[self.at : end]
        self.at = end
        return piece

    def sized(self) -> bytes:
        return self.take(_U32.unpack(self.take(4))[0])

    def text(self) -> str:
        try:
            return self.sized().decode()
        except UnicodeDecodeError as error:
            raise CodecError("text that is not UTF-8") from error

    def count(self) -> int:
        count: int = _U32.unpack(self.take(4))[0]
        self.items_left -= count
        # Attack: a few bytes that announce four billion items. Every item takes a byte at least.
        if self.items_left < 0 or count > len(self.data) - self.at:
            raise CodecError("more items than the bytes or the bound allow")
        return count

    def value(self, depth: int) -> object:
        if depth > DEPTH_MAX:  # attack: nesting until the node's stack overflows
            raise CodecError(f"nested deeper than {DEPTH_MAX}")
        tag = self.take(1)
        if tag in b"NTF":
            return None if tag == b"N" else tag == b"T"
        if tag == b"i":
            return int.from_bytes(self.take(self.integer_size()), "big", signed=True)
        if tag == b"f":
            number: float = _DOUBLE.unpack(self.take(8))[0]
            return number
        if tag == b"s":
            return self.text()
        if tag == b"b":
            return self.sized()
        if tag == b"l":
            return [self.value(depth + 1) for _ in range(self.count())]
        if tag == b"t":
            return tuple(self.value(depth + 1) for _ in range(self.count()))
        if tag == b"d":
            return self.mapping(depth)
        if tag == b"o":
            return self.instance(depth)
        if tag == b"e":
            return self.member()
        raise CodecError(f"unknown tag {tag!r}")

    def integer_size(self) -> int:
        size = self.take(1)[0]
        if not 1 <= size <= INTEGER_BYTES_MAX:
            raise CodecError(f"an integer of {size} bytes")
        return size

    def mapping(self, depth: int) -> dict[str | bytes, object]:
        result: dict[str | bytes, object] = {}
        for _ in range(self.count()):
            key = self.value(depth + 1)
            # Attack: integers chosen to collide in the hash table; str and bytes are hashed with a secret seed.
            if not isinstance(key, str | bytes) or isinstance(key, enum.Enum):
                raise CodecError(f"a mapping's key is str or bytes, not {type(key).__name__}")
            result[key] = self.value(depth + 1)
        return result

    def instance(self, depth: int) -> object:
        name = self.text()
        if name not in self.known.dataclasses:
            raise CodecError(f"the class {name[:200]!r} was not named to the pool")
        cls, fields = self.known.dataclasses[name]
        if self.count() != len(fields):
            raise CodecError(f"another number of fields than {name} has")
        values: dict[str, object] = {}
        for field_name, hint in fields:
            value = self.value(depth + 1)
            if not _conforms(value, hint):
                raise CodecError(f"{name}.{field_name} is a {type(value).__name__}, not {hint}")
            values[field_name] = value
        try:
            return cls(**values)
        except (TypeError, ValueError) as error:
            raise CodecError(f"{name} refuses its fields: {error}") from error

    def member(self) -> enum.Enum:
        name, member = self.text(), self.text()
        if name not in self.known.enums or member not in self.known.enums[name].__members__:
            raise CodecError(f"the enum member {name[:200]}.{member[:200]} is not known here")
        return self.known.enums[name][member]
