"""The tar reader against the standard library's and GNU tar's archives, and against hostile ones."""

import io
import subprocess
import tarfile
from pathlib import Path

import pytest

from entrepot.streams.bounded import BytesReader
from entrepot.streams.errors import BudgetExceeded, Damaged, Hostile
from entrepot.streams.tar import find_members


def find(data: bytes, *wanted: str, most: int = 10_000, members_max: int = 100) -> dict[str, bytes]:
    return find_members(BytesReader(data), wanted, member_bytes_max=most, members_max=members_max)


def make(*members: tuple[str, bytes | tarfile.TarInfo], tar_format: int = tarfile.GNU_FORMAT) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tar_format) as archive:
        for name, what in members:
            info = what if isinstance(what, tarfile.TarInfo) else tarfile.TarInfo(name)
            if isinstance(what, bytes):
                info.size = len(what)
            archive.addfile(info, io.BytesIO(what) if isinstance(what, bytes) else None)
    return out.getvalue()


def link(name: str, kind: bytes) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, "md5sums"
    return info


LONG = "usr/share/" + "d" * 120 + "/" + "f" * 140
CONTROL = b"Package: hello\n" * 50


@pytest.mark.parametrize("tar_format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_members_in_every_dialect(tar_format: int) -> None:
    """Goal: ustar, GNU and pax archives are read. Method: the standard library writes each; long names where they
    exist."""
    name = LONG if tar_format != tarfile.USTAR_FORMAT else LONG[:-50]
    members: list[tuple[str, bytes | tarfile.TarInfo]] = [("./", link("./", tarfile.DIRTYPE)), ("./ctl", b"")]
    members += [("./md5sums", b"x" * 512), ("./control", CONTROL), (name, b"long")]
    found = find(make(*members, tar_format=tar_format), "control", "ctl", name, "absent")
    assert found == {"control": CONTROL, "ctl": b"", name: b"long"}


def test_gnu_tar_itself(tmp_path: Path) -> None:
    """Goal: GNU tar's padding and folders are read. Method: tar(1) over a folder, with pax headers for the times."""
    (tmp_path / "control").write_bytes(CONTROL)
    (tmp_path / ("n" * 180)).write_bytes(b"name")
    for kind in ("gnu", "posix"):
        done = subprocess.run(["tar", "-c", f"--format={kind}", "."], cwd=tmp_path, check=True, capture_output=True)
        assert find(done.stdout, "control", "n" * 180) == {"control": CONTROL, "n" * 180: b"name"}


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_wanted_name_that_is_no_regular_file(kind: bytes) -> None:
    """Goal: a control file that points elsewhere is refused. Method: each kind of member that is no file."""
    with pytest.raises(Hostile):
        find(make(("control", link("control", kind))), "control")


def test_other_links_are_skipped() -> None:
    """Goal: links nobody asked for are passed over, never followed. Method: both kinds before the wanted member."""
    links = [("a", link("a", tarfile.SYMTYPE)), ("b", link("b", tarfile.LNKTYPE))]
    assert find(make(*links, ("control", CONTROL)), "control") == {"control": CONTROL}


def test_the_same_name_twice() -> None:
    """Goal: dpkg would keep the last, a quick reader the first; neither is taken. Method: two spellings of one name."""
    with pytest.raises(Hostile):
        find(make(("control", b"a"), ("./control", b"b")), "control")


def test_bounds() -> None:
    """Goal: member size and member count are bounded. Method: at the bound and one past it."""
    data = make(("control", CONTROL))
    assert find(data, "control", most=len(CONTROL)) == {"control": CONTROL}
    with pytest.raises(BudgetExceeded):
        find(data, "control", most=len(CONTROL) - 1)
    many = make(*((f"f{n}", b"") for n in range(10)))
    assert find(many, members_max=10) == {}
    with pytest.raises(Hostile):
        find(many, members_max=9)


def test_truncated_anywhere_inside_a_member() -> None:
    """Goal: a cut inside a header or inside data is damage. Method: every cut up to the end mark."""
    data = make(("md5sums", b"x" * 700), ("control", CONTROL))
    end = 512 * (1 + 2 + 1 + -(-len(CONTROL) // 512))
    for cut in range(1, end):
        if cut == 512 * 3:
            continue  # between two members: no cut that a reader can see
        with pytest.raises(Damaged):
            find(data[:cut], "control")


def test_bytes_after_the_end() -> None:
    """Goal: a second archive behind the end mark is refused. Method: one more member, and one stray byte."""
    data = make(("control", CONTROL))
    for tail in (make(("control", b"other")), b"\0" * 100 + b"x"):
        with pytest.raises(Damaged):
            find(data + tail, "control")


def patched(data: bytes, at: int, value: bytes) -> bytes:
    """The archive with bytes of its first header replaced and the checksum made right again."""
    block = bytearray(data[:512])
    block[at : at + len(value)] = value
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block) + data[512:]


@pytest.mark.parametrize(
    ("at", "value", "error"),
    [
        (124, b"\x80" + b"\xff" * 11, Damaged),  # base-256 size
        (124, b"-0000000010\0", Damaged),
        (124, b"00000000009\0", Damaged),  # 9 is no octal digit
        (124, b"77777777777\0", BudgetExceeded),
        (156, b"S", Hostile),  # sparse
    ],
)
def test_lying_headers(at: int, value: bytes, error: type[Exception]) -> None:
    """Goal: sizes that lie and sparse files are refused. Method: patch one field and mend the checksum."""
    with pytest.raises(error):
        find(patched(make(("control", CONTROL)), at, value), "control")


def test_wrong_checksum() -> None:
    """Goal: a damaged header is noticed. Method: change one letter of the name."""
    data = make(("control", CONTROL))
    with pytest.raises(Damaged):
        find(b"C" + data[1:], "Control")


@pytest.mark.parametrize(
    "record", [b"12 size=-5\n", b"99 path=x\n", b"xx path=y\n", b"11 path=abcd", b" =\n", b"22 GNU.sparse.major=1\n"]
)
def test_malformed_pax_records(record: bytes) -> None:
    """Goal: pax records that lie about themselves are refused. Method: one bad record before an honest member."""
    info = tarfile.TarInfo("pax")
    info.type, info.size = b"x", len(record)
    head = info.tobuf(tarfile.USTAR_FORMAT)
    with pytest.raises((Damaged, Hostile)):
        find(head + record.ljust(512, b"\0")[:512] + make(("control", CONTROL)), "control")
