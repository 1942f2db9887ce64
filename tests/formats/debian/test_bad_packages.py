"""Packages that must be refused: each with the stable code, and a sentence that says what to do."""

import pytest

from entrepot.formats.debian import binary
from entrepot.formats.debian.control import parse_stanza
from entrepot.model.errors import Refusal
from entrepot.streams.window import Window
from tests.formats.debian.judging import facts_of
from tests.support.builders import Compression, TarMember, deb_bytes

GOOD = deb_bytes("foo")
CONTROL = "Package: foo\nVersion: 1.0\nArchitecture: amd64\nMaintainer: a <a@b.c>\nDescription: d\n"


def refused(data: bytes, path: str = "sent.deb") -> Refusal:
    """The refusal of bytes that must not get in; its sentence must be one."""
    with pytest.raises(Refusal) as caught:
        facts_of(data, path)
    assert len(caught.value.detail) > 20
    return caught.value


def refused_control(control: str | bytes) -> Refusal:
    """The refusal of a package with this control file."""
    return refused(deb_bytes("foo", control_raw=control.encode() if isinstance(control, str) else control))


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "not_a_package"),
        (b"just text, no package\n", "not_a_package"),
        (b"<html>502 Bad Gateway</html>", "not_a_package"),
        (b"!<arch>\n", "not_a_package"),
        (deb_bytes("foo", format_version=b"0.939000\n"), "not_a_package"),
        (deb_bytes("foo", format_version=b"3.0\n"), "not_a_package"),
        (deb_bytes("foo", members_before=[("other", b"2.0\n")]), "not_a_package"),
        (deb_bytes("foo", members_between=[("other", b"x")]), "package_damaged"),
        (deb_bytes("foo", members_after=[("control.tar.gz", b"x")]), "package_hostile"),
        (deb_bytes("foo", members_after=[("data.tar.gz", b"x")]), "package_hostile"),
        (deb_bytes("foo", trailing=b"garbage"), "package_damaged"),
        (deb_bytes("foo", trailing=b"\n"), "package_damaged"),
        (deb_bytes("foo", trailing=GOOD), "package_damaged"),
        (GOOD[:-1], "package_damaged"),
        (GOOD[: len(GOOD) // 2], "package_damaged"),
        (GOOD[:200], "package_damaged"),
        (GOOD[:40], "package_damaged"),
        (b"\xed\xab\xee\xdb" + bytes(200), "format_mismatch"),
        (b"PK\x03\x04" + bytes(200), "format_mismatch"),
    ],
)
def test_file_that_is_no_whole_package(data: bytes, code: str) -> None:
    """Goal: not a package, an old one, truncated, trailing bytes, a second archive. Method: each, under a .deb name."""
    assert refused(data).code == code


def test_every_truncation_is_refused() -> None:
    """Goal: a cut anywhere is seen. Method: every 7th length of a small package."""
    data = deb_bytes("foo", compression="xz")
    for length in range(0, len(data), 7):
        assert refused(data[:length]).code in ("package_damaged", "not_a_package")


@pytest.mark.parametrize("name", ["foo.rpm", "foo.jar", "foo.pom", "foo_1_amd64.udeb"])
def test_other_kinds_of_packages(name: str) -> None:
    """Goal: a package of another kind is named as such. Method: by the suffix alone."""
    assert refused(GOOD, name).code == "format_mismatch"


def test_udeb_by_its_field() -> None:
    """Goal: an installer package is not offered to apt, whatever its name. Method: Package-Type."""
    by_field = refused(deb_bytes("foo", fields={"Package-Type": "udeb"}))
    assert by_field.code == "format_mismatch"
    assert "installer" in by_field.detail
    assert refused(GOOD, "foo_1_amd64.udeb").detail == by_field.detail


@pytest.mark.parametrize("field", ["Package", "Version", "Architecture"])
@pytest.mark.parametrize("how", ["missing", "empty", "twice", "twice, other case", "folded", "not ascii"])
def test_mandatory_fields(field: str, how: str) -> None:
    """Goal: identity is there, once, on one line. Method: each field broken in each way."""
    lines = {line.partition(":")[0]: line + "\n" for line in CONTROL.splitlines()}
    own = lines[field]
    lines[field] = {
        "missing": "",
        "empty": f"{field}: \n",
        "twice": own + own,
        "twice, other case": own + own.lower(),
        "folded": own + " more\n",
        "not ascii": f"{field}: é\n",
    }[how]
    refusal = refused_control("".join(lines.values()))
    assert refusal.code == "package_field_invalid"
    assert field.lower() in refusal.detail.lower()


SECOND = "Package: bash\nVersion: 9\nArchitecture: amd64\nDescription: evil\n"


@pytest.mark.parametrize(
    "between",
    ["\n", "\n\n", " \n", "\t\n", " \t \n", "\r\n", " \r\n", "\n\r\n", "\r", "\n\r", "\x0b", "\x0c", "\0", "\n\x1c"],
)
def test_smuggled_second_stanza(between: str) -> None:
    """Goal: one package is one entry of the index.

    Method: a second stanza after everything that some reader calls a blank line.
    """
    assert refused_control(CONTROL + between + SECOND).code == "package_field_invalid"
    assert refused_control(CONTROL.removesuffix("\n") + between + SECOND).code == "package_field_invalid"


@pytest.mark.parametrize(
    "line",
    ["no colon here", "#comment: x", "-dash: x", ": x", "Na me: x", "Nämé: x", "Bell: \a", "Esc: \x1b[2J", "Del: \x7f"],
)
def test_malformed_lines(line: str) -> None:
    """Goal: a line is a field, a continuation or refused.

    Method: lines that readers take differently, or that reach terminals.
    """
    assert refused_control(CONTROL + line + "\n").code == "package_field_invalid"


def test_continuation_without_a_field() -> None:
    """Goal: no value without a name. Method: a control file that begins with a blank."""
    assert refused_control(" x\n" + CONTROL).code == "package_field_invalid"
    assert refused_control("").code == "package_field_invalid"


@pytest.mark.parametrize(
    "name",
    [
        "a/b",
        "../../etc/passwd",
        "..",
        ".foo",
        "-rf",
        "a",
        "Foo",
        "foo bar",
        "foo_bar",
        "a" * 300,
        "foo%2f",
        "foo\\bar",
        "föö",
    ],
)
def test_names_that_cannot_be(name: str) -> None:
    """Goal: Policy 5.6.7, and no path tricks. Method: slash, dots, blanks, capitals, 300 characters."""
    assert refused_control(CONTROL.replace("foo", name)).code in ("package_name_invalid", "package_field_invalid")


@pytest.mark.parametrize(
    "version",
    [
        "a1",
        "v1.0",
        "1.0_1",
        "1/2",
        "1.0-",
        "-1",
        ":1",
        "1:",
        "x:1",
        "-1:1",
        "2147483648:1",
        "1 0",
        "1:a",
        "1.0-a-",
        "1" * 300,
        "1é",
    ],
)
def test_versions_that_cannot_be(version: str) -> None:
    """Goal: what `dpkg -i` refuses never gets in. Method: bad characters, empty parts, an epoch above an int."""
    assert refused_control(CONTROL.replace("1.0", version)).code == "package_field_invalid"


@pytest.mark.parametrize(
    "architecture", ["any", "source", "linux-any", "any-amd64", "../x", "amd64 i386", "AMD64", "a" * 80, "a_b"]
)
def test_architectures_that_cannot_be(architecture: str) -> None:
    """Goal: one concrete architecture, which names a folder of the index. Method: wildcards, lists, path tricks."""
    assert refused_control(CONTROL.replace("amd64", architecture)).code == "package_field_invalid"


def test_file_name_that_is_too_long() -> None:
    """Goal: what is in bounds field by field may still not fit a file name. Method: 120 + 140 characters."""
    control = CONTROL.replace("foo", "f" * 120).replace("1.0", "1" * 140)
    assert refused_control(control).code == "package_name_invalid"


@pytest.mark.parametrize(
    "value",
    [
        "a,,b",
        ",a",
        "a || b",
        "a |",
        "a (>= 1",
        "a (1)",
        "a (>= )",
        "a [amd64]",
        "a <!x>",
        "a b",
        "a (>= 1) (<< 2)",
        "$(x)",
        "${x}",
        ">= 1",
        "(>= 1)",
        "a )",
        "a (>= 1) b",
        "a (=> 1)",
        "a (>= ${v})",
        "a (>= 1 2)",
    ],
)
@pytest.mark.parametrize("field", ["Depends", "Provides"])
def test_relations_that_would_stop_apt(field: str, value: str) -> None:
    """Goal: one package cannot take the index from every client.

    Method: clauses at which apt-get update ends with 100, or dpkg.
    """
    refusal = refused(deb_bytes("foo", fields={field: value}))
    assert (refusal.code, refusal.numbers["field"]) == ("package_field_invalid", field)


@pytest.mark.parametrize("compression", ["gz", "xz", "zst"])
def test_decompression_bomb(compression: Compression) -> None:
    """Goal: control data that swells is cut off at the budget. Method: 200 MiB of zeros behind a good control file."""
    data = deb_bytes("foo", compression=compression, control_bomb_bytes=200 << 20)
    assert len(data) < 1 << 20
    assert refused(data).code == "package_hostile"


def test_control_that_is_too_large() -> None:
    """Goal: the bounds of a stanza and of a field. Method: one byte more than each."""
    long = "X-Long: " + "x" * ((256 << 10) + 1) + "\n"
    assert refused_control(CONTROL + long).code == "package_hostile"
    many = "".join(f"X-{number}: {'x' * 1000}\n" for number in range(1100))
    assert refused_control(CONTROL + many).code == "package_hostile"
    with pytest.raises(Refusal, match="package_hostile"):  # by the reader itself, not only by that of the archive
        parse_stanza((CONTROL + many).encode(), "control file")


def test_control_archive_beyond_the_head() -> None:
    """Goal: only the head is read. Method: 17 MiB of control data that does not compress."""
    noise = b"".join(number.to_bytes(4, "big") for number in range(17 << 18))
    data = deb_bytes("foo", compression="none", control_members=[TarMember(b"./md5sums", noise)])
    assert len(noise) > binary.HEAD_BYTES
    assert refused(data).code == "package_hostile"
    with pytest.raises(Refusal) as caught:  # the same on a store where the whole file could be read
        binary.read_control(Window.of_bytes(data))
    assert caught.value.code == "package_hostile"


@pytest.mark.parametrize(
    "members",
    [
        [TarMember(b"./control", kind=b"2", link=b"/etc/passwd")],
        [TarMember(b"./control", CONTROL.replace("foo", "bash").encode())],
        [TarMember(b"control", CONTROL.replace("foo", "bash").encode())],
        [TarMember(b"./file%d" % number) for number in range(5000)],
    ],
)
def test_control_archive_with_a_second_control(members: list[TarMember]) -> None:
    """Goal: the control file that we read is the one that dpkg unpacks.

    Method: a second one, a link, too many members.
    """
    assert refused(deb_bytes("foo", control_members=members)).code == "package_hostile"


@pytest.mark.parametrize("kind", [b"1", b"2", b"3", b"5"])
def test_control_that_is_no_regular_file(kind: bytes) -> None:
    """Goal: links are never followed. Method: control as hard link, symbolic link, device and folder."""
    from tests.support.deb import ar_member, compress
    from tests.support.tar import tar_bytes

    control_tar = compress(tar_bytes([TarMember(b"./control", kind=kind, link=b"x")]), "gz")
    parts = [
        ar_member("debian-binary", b"2.0\n"),
        ar_member("control.tar.gz", control_tar),
        ar_member("data.tar", b"x" * 512),
    ]
    assert refused(b"!<arch>\n" + b"".join(parts)).code == "package_hostile"


def test_control_archive_without_control() -> None:
    """Goal: a package says what it is. Method: control.tar with nothing inside; data that is empty."""
    from tests.support.deb import ar_member, compress
    from tests.support.tar import tar_bytes

    def archive(control_tar: bytes, data: bytes) -> bytes:
        members = [("debian-binary", b"2.0\n"), ("control.tar.gz", control_tar), ("data.tar", data)]
        return b"!<arch>\n" + b"".join(ar_member(name, content) for name, content in members)

    assert refused(archive(compress(tar_bytes([]), "gz"), b"x" * 512)).code == "package_field_invalid"
    good = compress(tar_bytes([TarMember(b"./control", CONTROL.encode())]), "gz")
    assert facts_of(archive(good, b"x" * 512)).name == "foo"
    assert refused(archive(good, b"")).code == "package_damaged"
    assert refused(archive(b"no gzip at all", b"x" * 512)).code == "package_damaged"
