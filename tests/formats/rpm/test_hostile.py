"""Packages that must be refused: each with its code, and nothing worse."""

import hashlib
import struct
import time
from dataclasses import replace

import pytest

from entrepot.formats.rpm import FORMAT
from entrepot.formats.rpm import header as rpm_header
from entrepot.formats.rpm.inspection import check_same
from entrepot.formats.rpm.render import render
from entrepot.model.errors import Refusal
from entrepot.model.limits import RPM_FILES_MAX, RPM_HEADER_BYTES_MAX, RPM_RELATIONS_MAX
from entrepot.streams.errors import OutsideWindow
from entrepot.streams.window import Window
from tests.formats.rpm.inspecting import inspect, refused
from tests.support.builders import FastRpm, Tag, fast_rpm_bytes
from tests.support.rpmfast import (
    BIN,
    INT32,
    LEAD_MAGIC,
    REGION_IMMUTABLE,
    REGION_SIGNATURES,
    STRING,
    STRING_ARRAY,
    header_bytes,
)

GOOD = fast_rpm_bytes(FastRpm("good", files={"/usr/bin/good": b"x" * 500}))


def rebuilt(
    header: bytes, payload: bytes = b"payload", *, more: tuple[Tag, ...] = (), without: tuple[int, ...] = ()
) -> bytes:
    """A package around a header of one's own, with right sizes and digests, but for the tags in `without`."""
    tags = [
        Tag(269, STRING, hashlib.sha1(header, usedforsecurity=False).hexdigest()),
        Tag(273, STRING, hashlib.sha256(header).hexdigest()),
        Tag(1000, INT32, len(header) + len(payload)),
        *more,
    ]
    signature = header_bytes([tag for tag in tags if tag.number not in without], REGION_SIGNATURES)
    lead = LEAD_MAGIC + struct.pack(">HH66sHH16x", 0, 1, b"x", 1, 5)
    return b"".join([lead, signature, b"\0" * (-len(signature) % 8), header, payload])


def header_of(data: bytes) -> tuple[int, int]:
    """Where the main header of a whole package begins and ends."""
    structure = rpm_header.read_structure(Window.of_bytes(data))
    return structure.header.offset_bytes, structure.header.end_bytes


def custom(
    *tags: Tag, name: str | bytes = "odd", version: str = "1", release: str = "1", arch: str = "x86_64"
) -> bytes:
    """A package with a minimal header of the given tags."""
    base = [
        Tag(1000, STRING, name),
        Tag(1001, STRING, version),
        Tag(1002, STRING, release),
        Tag(1022, STRING, arch),
        Tag(1044, STRING, "odd-1-1.src.rpm"),
    ]
    given = {tag.number for tag in tags}
    return rebuilt(header_bytes([*(tag for tag in base if tag.number not in given), *tags], REGION_IMMUTABLE))


def test_the_minimal_package_is_fine() -> None:
    """Goal: the refusals below are for the one thing that each changes. Method: the same builders, nothing
    changed."""
    assert inspect(custom()).filename == "odd-1-1.x86_64.rpm"
    assert inspect(GOOD).filename == "good-1.0-1.x86_64.rpm"
    start, end = header_of(GOOD)
    assert inspect(rebuilt(GOOD[start:end], GOOD[end:])).name == "good"


@pytest.mark.parametrize(
    "data", [b"", b"x", b"\xed\xab\xee", b"!<arch>\ndebian-binary", b"PK\x03\x04" + b"\0" * 200, b"\0" * 5000]
)
def test_not_a_package(data: bytes) -> None:
    """Goal: other files are told apart from damaged packages. Method: other magic numbers under an .rpm name."""
    assert refused(data).code == "not_a_package"


@pytest.mark.parametrize("name", ["hello_1.0_amd64.deb", "hello.jar", "hello.rpm.txt", "hello.drpm"])
def test_wrong_kind_of_file(name: str) -> None:
    """Goal: a file of another format says so, by name, before it is read. Method: other suffixes, real rpm inside."""
    assert refused(GOOD, name).code == "format_mismatch"


def test_name_without_a_suffix() -> None:
    """Goal: Java's upload client sends a random name: the content tells. Method: a real rpm, and other bytes."""
    assert inspect(GOOD, "k3v9q2hc7p").filename == inspect(GOOD).filename
    assert refused(b"!<arch>\ndebian-binary", "k3v9q2hc7p").code == "format_mismatch"
    assert refused(b"", "k3v9q2hc7p").code == "format_mismatch"


@pytest.mark.parametrize("cut", [4, 95, 96, 100, 111, 112, 200, 400, 600, len(GOOD) - 300, len(GOOD) - 1])
def test_truncated(cut: int) -> None:
    """Goal: a cut file is never listed, wherever it is cut. Method: cuts in lead, both headers and payload."""
    assert refused(GOOD[:cut]).code == "package_damaged"


def test_truncated_payload_without_a_digest() -> None:
    """Goal: a cut payload is found by its size alone: longer files have their payload digest checked by nobody here.

    Method: a package without payload digests, one byte short.
    """
    refusal = refused(custom()[:-1])
    assert (refusal.code, "truncated" in refusal.detail) == ("package_damaged", True)


@pytest.mark.parametrize("tail", [b"\0", b"trailing", b"\0" * 100_000, GOOD])
def test_trailing_bytes(tail: bytes) -> None:
    """Goal: bytes after the package are refused. Method: a NUL, text, padding, a second package."""
    refusal = refused(GOOD + tail)
    assert refusal.code == "package_damaged"
    assert "follow the end" in refusal.detail
    assert refusal.numbers == {"expected_bytes": len(GOOD), "size_bytes": len(GOOD) + len(tail)}


def test_every_corrupted_header_is_refused() -> None:
    """Goal: createrepo_c, which takes 89 of 200 corrupted headers, never sees one. Method: flip a bit in every byte
    of the header."""
    start, end = header_of(GOOD)
    for place in range(start, end):
        damaged = bytearray(GOOD)
        damaged[place] ^= 0x04
        assert refused(bytes(damaged)).code in {"package_damaged", "package_hostile", "package_field_invalid"}, place


def test_wrong_header_digest() -> None:
    """Goal: SHA256HEADER is verified even where SHA1HEADER is right, and the other way round. Method: one wrong
    digest each."""
    assert refused(fast_rpm_bytes(FastRpm("x"), header_digest="0" * 64)).code == "package_damaged"
    start, end = header_of(GOOD)
    wrong_sha1 = rebuilt(GOOD[start:end], GOOD[end:], without=(269,))
    assert inspect(wrong_sha1).name == "good"  # SHA256HEADER alone is enough
    tags = [Tag(273, STRING, hashlib.sha256(GOOD[start:end]).hexdigest()), Tag(269, STRING, "0" * 40)]
    signature = header_bytes([*tags, Tag(1000, INT32, len(GOOD) - start)], REGION_SIGNATURES)
    data = GOOD[:96] + signature + b"\0" * (-len(signature) % 8) + GOOD[start:]
    assert refused(data).code == "package_damaged"


def test_no_digest_or_no_size() -> None:
    """Goal: what cannot be checked is not listed; rpm would not install it either. Method: packages without the
    tags."""
    start, end = header_of(GOOD)
    assert "no digest" in refused(rebuilt(GOOD[start:end], GOOD[end:], without=(269, 273))).detail
    assert inspect(rebuilt(GOOD[start:end], GOOD[end:], without=(273,))).name == "good"  # rpm before 4.14
    assert "how long" in refused(rebuilt(GOOD[start:end], GOOD[end:], without=(1000,))).detail


def test_payload_digest() -> None:
    """Goal: a payload damaged on its way is refused while it fits the window. Method: flip its last bit; and the old
    MD5 way."""
    assert "payload" in refused(GOOD[:-1] + bytes([GOOD[-1] ^ 1])).detail
    header = header_bytes(
        [
            Tag(1000, STRING, "old"),
            Tag(1001, STRING, "1"),
            Tag(1002, STRING, "1"),
            Tag(1022, STRING, "noarch"),
            Tag(1044, STRING, "old.src.rpm"),
        ],
        REGION_IMMUTABLE,
    )
    right = hashlib.md5(header + b"payload", usedforsecurity=False).digest()
    assert inspect(rebuilt(header, more=(Tag(1004, BIN, right),))).name == "old"
    assert "payload" in refused(rebuilt(header, more=(Tag(1004, BIN, b"\0" * 16),))).detail


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", "../../etc/passwd"),
        ("name", "a/b"),
        ("name", ".."),
        ("name", ".hidden"),
        ("name", "-rf"),
        ("name", "a\nb"),
        ("name", "a b"),
        ("name", "a\x01b"),
        ("name", "caf\u00e9"),
        ("name", "<name>"),
        ("version", "1/2"),
        ("version", "1-2"),
        ("version", "1\n2"),
        ("release", "1/../2"),
        ("release", "1 2"),
        ("arch", "../x"),
        ("arch", "X86"),
        ("arch", "x" * 40),
        ("name", "n" * 300),
        ("version", "1" * 300),
    ],
)
def test_names_that_would_be_paths(field: str, value: str) -> None:
    """Goal: no name leaves its folder, breaks a line or is too long for a file system. Method: bad values, right
    digests."""
    assert refused(custom(**{field: value})).code == "package_name_invalid"


def test_nul_inside_a_name() -> None:
    """Goal: a name that C and Python read apart is refused. Method: `good NUL evil` in the name's bytes."""
    refusal = refused(custom(Tag(1000, STRING, b"good\0evil")))
    assert (refusal.code, "not ended" in refusal.detail) == ("package_damaged", True)


@pytest.mark.parametrize("tag", [1000, 1001, 1002, 1022])
def test_missing_fields(tag: int) -> None:
    """Goal: a package without an identity is refused. Method: leave out, or empty, each tag."""
    tags = [Tag(number, STRING, "1") for number in (1000, 1001, 1002) if number != tag]
    tags += [Tag(1022, STRING, "noarch")] if tag != 1022 else []
    data = rebuilt(header_bytes([*tags, Tag(1044, STRING, "x.src.rpm")], REGION_IMMUTABLE))
    assert refused(data).code == "package_field_invalid"
    empty = rebuilt(header_bytes([*tags, Tag(tag, STRING, ""), Tag(1044, STRING, "x.src.rpm")], REGION_IMMUTABLE))
    assert refused(empty).code == "package_field_invalid"


def test_repeated_fields() -> None:
    """Goal: two names in one header are refused: an installer might take the other. Method: each identity tag
    twice."""
    for number in (1000, 1001, 1002, 1022):
        both = [Tag(number, STRING, "one"), Tag(number, STRING, "two")]
        assert refused(custom(*both)).code == "package_field_invalid"


def test_binary_package_that_says_it_is_a_source() -> None:
    """Goal: the source folder holds sources only. Method: architecture src with a SOURCERPM tag."""
    assert refused(custom(arch="src")).code == "package_field_invalid"


def test_two_readings_of_one_header() -> None:
    """Goal: librpm's reading of a header must be ours. Method: hold a rendered entry against another identity."""
    structure = rpm_header.read_structure(Window.of_bytes(GOOD))
    rendered = render(structure, size_bytes=len(GOOD), sha256="0" * 64, href="x")
    identity = rpm_header.read_identity(structure.header)
    check_same(identity, rendered)
    for change in (
        {"name": "other"},
        {"epoch": 1},
        {"version": "2"},
        {"release": "2"},
        {"arch": "i686"},
        {"arch": "src"},
    ):
        with pytest.raises(Refusal, match="package_field_invalid"):
            check_same(replace(identity, **change), rendered)


def test_repeated_digest() -> None:
    """Goal: a right digest cannot hide a wrong one. Method: SHA256HEADER twice."""
    start, end = header_of(GOOD)
    data = rebuilt(GOOD[start:end], GOOD[end:], more=(Tag(273, STRING, "0" * 64),))
    assert refused(data).code == "package_field_invalid"


def sized(entries: int, store: int) -> bytes:
    """A lead and a signature header that claims a size."""
    return GOOD[:96] + b"\x8e\xad\xe8\x01\0\0\0\0" + struct.pack(">2I", entries, store)


@pytest.mark.parametrize(
    ("entries", "store"), [(0xFFFFFFFF, 0), (0, 0xFFFFFFFF), (0xFFFFFFFF, 0xFFFFFFFF), (70_000, 10)]
)
def test_header_that_claims_gigabytes(entries: int, store: int) -> None:
    """Goal: sizes in the file never become memory. Method: huge sizes in small files, and in a file said to be as
    long."""
    assert refused(sized(entries, store) + b"\0" * 100).code == "package_damaged"
    size = 1 << 37  # sparse: nothing behind the head is ever asked for
    window = Window.of_ends(size, sized(entries, store))
    with pytest.raises(Exception, match="package_hostile"):
        rpm_header.read_structure(window)


def test_header_longer_than_the_window() -> None:
    """Goal: a header that inspection cannot hold has a clear refusal. Method: signature header and header that exceed
    the bound together."""
    half = RPM_HEADER_BYTES_MAX * 2 // 3
    header = header_bytes([Tag(1000, STRING, "big"), Tag(9999, BIN, b"\1" * half)], REGION_IMMUTABLE)
    data = rebuilt(header, more=(Tag(9998, BIN, b"\1" * half),))
    refusal = refused(data)
    assert refusal.code == "package_hostile"
    assert not isinstance(refusal, OutsideWindow)
    assert refusal.numbers["limit_bytes"] == RPM_HEADER_BYTES_MAX


def test_entries_that_lie() -> None:
    """Goal: an index entry cannot point outside the store, claim more than is there, or share data. Method: patch
    entries, fix digests."""
    start, end = header_of(GOOD)
    lies = [
        (8, 0x7FFFFFF0, "past its end"),
        (8, 0xFFFFFF00, "past its end"),
        (12, 0x7FFFFFFF, "longer"),
        (12, 0, "empty"),
    ]
    for place, number, reason in lies:
        header = bytearray(GOOD[start:end])
        struct.pack_into(">I", header, 16 + 16 * 2 + place, number)  # the third entry, after region and i18n table
        refusal = refused(rebuilt(bytes(header), GOOD[end:]))
        assert (refusal.code, reason in refusal.detail) == ("package_damaged", True), refusal.detail
    header = bytearray(GOOD[start:end])
    header[16 + 16 * 2 + 8 : 16 + 16 * 2 + 12] = header[16 + 16 * 3 + 8 : 16 + 16 * 3 + 12]
    assert "share" in refused(rebuilt(bytes(header), GOOD[end:])).detail


def test_one_long_folder_name_for_many_files() -> None:
    """Goal: paths that expand a small header to gigabytes are refused at once. Method: 100,000 files in one folder of
    100 kB name."""
    count = 100_000
    data = custom(
        Tag(1028, INT32, [0] * count),
        Tag(1116, INT32, [0] * count),
        Tag(1117, STRING_ARRAY, ["f"] * count),
        Tag(1118, STRING_ARRAY, ["/" + "d" * 100_000 + "/"]),
    )
    started = time.monotonic()
    refusal = refused(data)
    assert refusal.code == "package_hostile"
    assert refusal.numbers["paths_bytes"] > 10**10  # type: ignore[operator]
    assert time.monotonic() - started < 5


def test_too_many_files_or_relations() -> None:
    """Goal: lists are bounded. Method: one more than the bound of each."""
    files = custom(Tag(1117, STRING_ARRAY, [""] * (RPM_FILES_MAX + 1)))
    assert refused(files).numbers["files"] == RPM_FILES_MAX + 1
    relations = custom(Tag(1049, STRING_ARRAY, ["a"] * (RPM_RELATIONS_MAX + 1)))
    assert refused(relations).numbers["relations"] == RPM_RELATIONS_MAX + 1


def test_delta_package() -> None:
    """Goal: a delta rpm is not listed as a package. Method: PAYLOADFORMAT drpm."""
    assert refused(custom(Tag(1124, STRING, "drpm"))).code == "not_a_package"


def test_window_asked_for_is_enough() -> None:
    """Goal: nothing behind the head is read, so that every store judges alike. Method: a long package, its end
    missing from the window."""
    need = FORMAT.needs("x.rpm")
    assert (need.tail_bytes, need.digests) == (0, frozenset())
    start, end = header_of(GOOD)
    long = rebuilt(GOOD[start:end], b"\0" * (RPM_HEADER_BYTES_MAX + 1000))
    assert inspect(long).name == "good"  # its payload digest is wrong, which only rpm can see in a file of this length
