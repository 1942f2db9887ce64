"""The ar reader: members of honest archives, refusal of every dishonest one."""

import subprocess
from pathlib import Path

import pytest

from entrepot.streams import ar
from entrepot.streams.errors import Damaged, Hostile
from entrepot.streams.window import Window


def header(name: bytes, size: int | bytes, end: bytes = b"`\n") -> bytes:
    digits = b"%d" % size if isinstance(size, int) else size
    return name.ljust(16) + b"0".ljust(12) + b"0".ljust(6) + b"0".ljust(6) + b"100644".ljust(8) + digits.ljust(10) + end


def archive(*members: tuple[bytes, bytes]) -> bytes:
    out = ar.MAGIC
    for name, data in members:
        out += header(name, len(data)) + data + b"\n" * (len(data) % 2)
    return out


def read(data: bytes, members_max: int = 8) -> tuple[ar.ArMember, ...]:
    return ar.members(Window.of_bytes(data), members_max=members_max)


def test_members_of_a_real_archive(tmp_path: Path) -> None:
    """Goal: what ar(1) writes (GNU slash names) is read. Method: binutils' ar over odd, even and empty files."""
    contents = {"debian-binary": b"2.0\n", "control.tar.xz": b"odd", "data.tar": b""}
    for name, data in contents.items():
        (tmp_path / name).write_bytes(data)
    subprocess.run(["ar", "qcS", "a.deb", *contents], cwd=tmp_path, check=True)
    data = (tmp_path / "a.deb").read_bytes()
    found = read(data)
    assert {m.name: data[m.offset_bytes : m.offset_bytes + m.size_bytes] for m in found} == contents
    assert [m.name for m in found] == list(contents)


def test_plain_names_without_slash() -> None:
    """Goal: dpkg-deb's names, which have no slash, mean the same. Method: both spellings."""
    assert [m.name for m in read(archive((b"debian-binary", b"2.0\n"), (b"x/", b"y")))] == ["debian-binary", "x"]


GOOD = archive((b"debian-binary", b"2.0\n"), (b"control.tar", b"abc"))


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", Damaged),
        (b"PK\x03\x04" + bytes(80), Damaged),
        (GOOD + b"\n", Damaged),  # one byte behind
        (GOOD + b"trailing" * 20, Damaged),
        (GOOD[:-1], Damaged),  # the last padding is missing
        (GOOD[:-1] + b"x", Damaged),  # wrong padding
        (ar.MAGIC + header(b"a", 10) + b"123", Damaged),  # reaches past the end
        (ar.MAGIC + header(b"a", 0, b"\n`"), Damaged),
        (ar.MAGIC + header(b"a", b"-1"), Damaged),
        (ar.MAGIC + header(b"a", b"+1") + b"ab", Damaged),
        (ar.MAGIC + header(b"a", b"1 2") + b"ab", Damaged),
        (ar.MAGIC + header(b"a", b""), Damaged),
        (ar.MAGIC + header(b"a", b"9999999999"), Damaged),
        (ar.MAGIC + header(b"", 0), Hostile),
        (ar.MAGIC + header(b"/", 0), Hostile),
        (ar.MAGIC + header(b"//", 0), Hostile),
        (ar.MAGIC + header(b"#1/20", 20) + b"control.tar".ljust(20), Hostile),
        (ar.MAGIC + header(b"../control", 0), Hostile),
        (ar.MAGIC + header(b"con\0trol", 0), Hostile),
        (archive(*[(b"m", b"")] * 9), Hostile),
    ],
)
def test_dishonest_archives(data: bytes, error: type[Exception]) -> None:
    """Goal: each lie is refused. Method: one archive per check of the reader."""
    with pytest.raises(error):
        read(data)


def test_truncated_anywhere() -> None:
    """Goal: no cut of an archive is an archive, except between members. Method: every cut."""
    whole = len(read(GOOD))
    for cut in range(len(GOOD)):
        try:
            assert len(read(GOOD[:cut])) < whole
        except Damaged:
            continue
