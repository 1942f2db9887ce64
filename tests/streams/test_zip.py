"""The zip reader against the standard library's archives, and against zips that lie."""

import io
import struct
import zipfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from entrepot.streams import zip as zips
from entrepot.streams.errors import BudgetExceeded, Damaged, Hostile, OutsideWindow
from entrepot.streams.window import Window

POM = "META-INF/maven/g/a/pom.xml"


def make(
    entries: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED, comment: bytes = b"", force_zip64: bool = False
) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        archive.comment = comment
        for name, data in entries.items():
            info = zipfile.ZipInfo(name)
            info.compress_type = method
            with archive.open(info, "w", force_zip64=force_zip64) as member:
                member.write(data)
    return out.getvalue()


def make_deflated(entries: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return out.getvalue()


def read(data: bytes, *, members_max: int = 100, window: Window | None = None) -> dict[str, bytes]:
    window = window or Window.of_bytes(data)
    found = zips.members(window, members_max=members_max, directory_bytes_max=100_000)
    return {each.name: zips.read_member(window, each, budget_bytes=1 << 20) for each in found}


@settings(max_examples=40)
@given(st.dictionaries(st.text("abc/é.", min_size=1, max_size=20), st.binary(max_size=3000), max_size=6))
def test_agrees_with_the_standard_library(entries: dict[str, bytes]) -> None:
    """Goal: names and data are those that zipfile wrote. Method: random archives, stored and deflated."""
    assert read(make_deflated(entries)) == entries
    assert read(make(entries, zipfile.ZIP_STORED)) == entries


def test_variants_of_honest_zips() -> None:
    """Goal: comments, zip64 records and a launch script in front are read. Method: one zip of each."""
    entries = {POM: b"<project/>" * 100, "a.class": b"\xca\xfe" * 500}
    assert read(make(entries, comment=b"PK\x05\x06 is in this comment")) == entries
    assert read(make(entries, force_zip64=True)) == entries
    assert read(b"#!/bin/sh\nexec java -jar $0\n" + make_deflated(entries)) == entries


def test_directory_from_the_tail_only() -> None:
    """Goal: names come from the tail, a member outside both ends is refused by name. Method: a big zip and two small
    ends."""
    data = make({"first": b"1" * 100, "big": bytes(100_000), "last": b"2" * 100}, zipfile.ZIP_STORED)
    window = Window.of_ends(len(data), data[:500], data[-1000:])
    found = {each.name: each for each in zips.members(window, members_max=10, directory_bytes_max=1000)}
    assert list(found) == ["first", "big", "last"]
    assert zips.read_member(window, found["first"], budget_bytes=1000) == b"1" * 100
    assert zips.read_member(window, found["last"], budget_bytes=1000) == b"2" * 100
    with pytest.raises(OutsideWindow):
        zips.read_member(window, found["big"], budget_bytes=1 << 20)


def test_bounds() -> None:
    """Goal: entries, directory and member are bounded. Method: at the bound and one past it."""
    data = make_deflated({f"f{n}": b"x" * 50 for n in range(10)})
    window = Window.of_bytes(data)
    found = zips.members(window, members_max=10, directory_bytes_max=10_000)
    assert zips.read_member(window, found[0], budget_bytes=50) == b"x" * 50
    with pytest.raises(BudgetExceeded):
        zips.read_member(window, found[0], budget_bytes=49)
    with pytest.raises(Hostile):
        zips.members(window, members_max=9, directory_bytes_max=10_000)
    with pytest.raises(BudgetExceeded):
        zips.members(window, members_max=10, directory_bytes_max=100)


def test_trailing_bytes_and_truncation() -> None:
    """Goal: no cut and no appendix is a zip. Method: every cut of a small zip, and one byte behind."""
    data = make_deflated({POM: b"<project/>"})
    for cut in range(len(data)):
        with pytest.raises(Damaged):
            read(data[:cut])
    with pytest.raises(Damaged):
        read(data + b"x")


def patch(data: bytes, signature: bytes, offset: int, value: bytes) -> bytes:
    at = data.rindex(signature) + offset
    return data[:at] + value + data[at + len(value) :]


@pytest.mark.parametrize(
    ("signature", "offset", "value"),
    [
        (b"PK\x05\x06", 4, b"\x01\x00"),  # another volume
        (b"PK\x05\x06", 10, b"\x03\x00"),  # more entries than there are
        (b"PK\x05\x06", 8, b"\x01\x00\x01\x00"),  # fewer
        (b"PK\x05\x06", 12, b"\xff\xff\xff\x7f"),  # a directory longer than the file
        (b"PK\x05\x06", 16, b"\xff\xff\xff\x7f"),  # a directory behind its own record
        (b"PK\x05\x06", 16, b"\xff\xff\xff\xff"),  # promises a zip64 record that is not there
        (b"PK\x01\x02", 24, b"\x05\x00\x00\x00"),  # size of the text
        (b"PK\x01\x02", 16, b"\0\0\0\0"),  # CRC
        (b"PK\x01\x02", 20, b"\xff\xff\xff\xff"),  # promises a zip64 field that is not there
        (b"PK\x01\x02", 42, b"\xff\xff\xff\x0f"),  # local header past the end
        (b"PK\x01\x02", 8, b"\x01\x00"),  # encrypted
        (b"PK\x01\x02", 10, b"\x0e\x00"),  # LZMA
        (b"PK\x03\x04", 30, b"x"),  # the local header has another name
        (b"PK\x03\x04", 8, b"\x00\x00"),  # and another method
        (b"PK\x03\x04", 0, b"PK\x03\x05"),
    ],
)
def test_lies(signature: bytes, offset: int, value: bytes) -> None:
    """Goal: each field that contradicts another is refused. Method: patch one field of an honest zip of two entries."""
    data = make_deflated({"a": b"first", POM: b"<project/>" * 30})
    with pytest.raises((Damaged, Hostile)):
        read(patch(data, signature, offset, value))


def test_overlapping_entries() -> None:
    """Goal: one kernel listed many times (a bomb without nesting) is refused. Method: the second entry points at the
    first."""
    data = make({"a": b"x" * 100, "b": b"x" * 100}, zipfile.ZIP_STORED)
    with pytest.raises(Hostile):
        read(patch(data, b"PK\x01\x02", 42, struct.pack("<I", 0)))


def test_zip64_record_that_contradicts() -> None:
    """Goal: two directory records must agree. Method: a zip64 zip whose old record names another count."""
    data = make_deflated({"a": b"x"})
    end_at = data.rindex(b"PK\x05\x06")
    _, _, _, here, entries, size, offset, _ = struct.unpack("<4sHHHHIIH", data[end_at:])
    record = struct.pack("<4sQHHIIQQQQ", b"PK\x06\x06", 44, 45, 45, 0, 0, here, entries, size, offset)
    locator = struct.pack("<4sIQI", b"PK\x06\x07", 0, end_at, 1)
    old = struct.pack("<4sHHHHIIH", b"PK\x05\x06", 0, 0, here, entries, size, 0xFFFFFFFF, 0)
    assert read(data[:end_at] + record + locator + old) == {"a": b"x"}
    lie = struct.pack("<4sHHHHIIH", b"PK\x05\x06", 0, 0, 7, 7, size, 0xFFFFFFFF, 0)
    with pytest.raises(Damaged):
        read(data[:end_at] + record + locator + lie)
