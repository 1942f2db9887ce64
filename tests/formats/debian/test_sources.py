"""Source packages: the entry of Sources against the field's own tools, and what must be refused."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from entrepot.formats.debian import FORMAT
from entrepot.formats.debian.clearsign import signed_text
from entrepot.formats.protocol import Inspection
from entrepot.model.errors import Refusal
from tests.formats.debian.judging import facts_of, facts_of_file, fields_of, inspect
from tests.formats.debian.test_packages_index import ftparchive
from tests.support.builders import SourcePackage, make_changes, make_deb, make_dsc
from tests.support.debian_archive import archive_sample
from tests.support.gpg import GpgHome
from tests.support.process import run

FIELDS = {
    "Uploaders": "a <b@c>,\n d <e@f>",
    "Homepage": "https://example.org/",
    "Testsuite": "autopkgtest",
    "Vcs-Git": "https://example.org/x.git",
    "Build-Depends": "debhelper-compat (= 13), libfoo-dev [amd64 !i386] <!nocheck>",
    "X-Own": "kept",
}


@pytest.fixture
def package(tmp_path: Path) -> SourcePackage:
    """A source package of two members, with an epoch, alone in its folder."""
    return make_dsc(tmp_path, "hello", "1:2.0-1", fields=FIELDS)


def without_outer_blanks(text: str) -> str:
    """Lines without blanks at their ends: the builder writes one after ``Package-List:``."""
    return "".join(f"{line.rstrip(' ')}\n" for line in text.splitlines())


def test_entry_is_what_apt_ftparchive_writes(tmp_path: Path, package: SourcePackage) -> None:
    """Goal: every field, apt's order, the .dsc in its own lists. Method: both index one .dsc, bytes are compared."""
    ours = facts_of_file(package.dsc).fragments["Sources"].decode()
    sha256 = hashlib.sha256(package.dsc.read_bytes()).hexdigest()
    folder = f"pool/bookworm/main/h/hello/{sha256[:32]}"
    assert fields_of(ours)["directory"] == folder
    theirs = without_outer_blanks(ftparchive(tmp_path, "sources")[0])
    assert ours.replace(f"Directory: {folder}\n", f"Directory: {tmp_path.name}\n") == theirs


def test_entry_has_what_dpkg_scansources_writes(tmp_path: Path, package: SourcePackage) -> None:
    """Goal: the second tool agrees field by field. Method: dpkg-scansources, which invents a priority."""
    theirs = fields_of(run(["dpkg-scansources", "."], cwd=tmp_path).stdout)
    ours = fields_of(facts_of_file(package.dsc).fragments["Sources"].decode())
    for fields in (ours, theirs):
        fields.pop("directory", None)
    theirs.pop("priority", None)
    assert ours == theirs


@pytest.mark.clients
def test_entry_of_debians_own_source_package(tmp_path: Path) -> None:
    """Goal: a real, signed .dsc. Method: one of the archive, against apt-ftparchive; its members are judged too."""
    sample = archive_sample()
    for path in sample.source:
        (tmp_path / path.name).symlink_to(path)
    facts = facts_of_file(sample.dsc)
    assert sample.dsc.read_bytes().startswith(b"-----BEGIN PGP SIGNED MESSAGE-----")
    ours = fields_of(facts.fragments["Sources"].decode())
    theirs = fields_of(ftparchive(tmp_path, "sources")[0])
    del ours["directory"]
    theirs.pop("directory", None)
    assert ours == theirs
    members = {path.name: facts_of_file(path) for path in sample.source if path != sample.dsc}
    assert {member.path for member in facts.requires} <= set(members)
    assert all(member.part is None and member.member and member.type == "dsc-member" for member in members.values())


def test_facts_of_a_source_package(package: SourcePackage) -> None:
    """Goal: what the catalog keeps, and what the .dsc waits for. Method: facts of the .dsc and of its members."""
    facts = facts_of_file(package.dsc)
    assert (facts.type, facts.name, facts.version, facts.epoch, facts.release) == ("dsc", "hello", "2.0-1", 1, "1")
    assert (facts.part, facts.path, facts.architecture) == ("main:source", "hello_2.0-1.dsc", "all")
    assert [(member.path, member.size_bytes) for member in facts.requires] == [
        (path.name, path.stat().st_size) for path in package.members
    ]
    for member, path in zip(facts.requires, package.members, strict=True):
        data = path.read_bytes()
        assert member.digests == {name: hashlib.new(name, data).hexdigest() for name in ("md5", "sha1", "sha256")}
        kept = facts_of_file(path)
        assert (kept.type, kept.part, kept.fragments, kept.name) == ("dsc-member", None, {}, "hello")
        assert kept.conflict_key == kept.path == path.name
    assert {"context": "build-depends", "dependencies": FIELDS["Build-Depends"].split(", ")} in facts.metadata[
        "dependencies"
    ]  # type: ignore[operator]


def test_changes_makes_claims(tmp_path: Path, package: SourcePackage) -> None:
    """Goal: what dput sends last is checked, not kept. Method: a .changes over a .deb and a source package."""
    deb = make_deb(tmp_path, "hello", "1:2.0-1")
    changes = make_changes(tmp_path, "hello", "1:2.0-1", [deb, *package.members, package.dsc])
    judged = inspect(changes.read_bytes(), changes.name)
    assert judged.package is None
    assert {claim.path: claim.size_bytes for claim in judged.claims} == {
        path.name: path.stat().st_size for path in (deb, *package.members, package.dsc)
    }
    claim = next(claim for claim in judged.claims if claim.path == deb.name)
    assert claim.digests["sha256"] == hashlib.sha256(deb.read_bytes()).hexdigest()


def test_buildinfo_is_accepted_and_not_kept() -> None:
    """Goal: dput's set goes through whole. Method: a .buildinfo, and one that is no stanza."""
    assert inspect(b"Format: 1.0\nSource: hello\n", "hello_1_amd64.buildinfo") == Inspection(None)
    with pytest.raises(Refusal, match="package_field_invalid"):
        inspect(b"<html>\n", "hello_1_amd64.buildinfo")


def test_dsc_by_its_content(package: SourcePackage) -> None:
    """Goal: upload clients that send a random name.

    Method: the same .dsc without a suffix; the digests must be asked for.
    """
    data = package.dsc.read_bytes()
    assert facts_of(data, "k3v0sd").fragments == facts_of_file(package.dsc).fragments


def test_signed_dsc_is_read_like_the_unsigned(package: SourcePackage) -> None:
    """Goal: a signature changes nothing but the .dsc's digest. Method: gpg --clear-sign, fields compared."""
    plain = package.dsc.read_bytes()
    with GpgHome() as gpg:
        signed = gpg.sign(plain).inline
    assert signed_text(signed, ".dsc").strip() == plain.strip()
    assert facts_of(signed, package.dsc.name).requires == facts_of(plain, package.dsc.name).requires


SIGNED = (
    b"-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA512\n\nSource: good\n-----BEGIN PGP SIGNATURE-----\n\niQ==\n"
    b"-----END PGP SIGNATURE-----\n"
)


def test_signed_text_of_a_good_message() -> None:
    """Goal: the base of the next test is good. Method: the message itself, with blank lines around and CRLF."""
    assert signed_text(SIGNED, ".dsc") == b"Source: good"
    assert signed_text(b"\n" + SIGNED + b"\n\n", ".dsc") == b"Source: good"
    assert signed_text(SIGNED.replace(b"\n", b"\r\n"), ".dsc") == b"Source: good\r"


@pytest.mark.parametrize(
    "message",
    [
        b"Source: evil\n" + SIGNED,
        b"Source: evil\n\n" + SIGNED,
        SIGNED + b"Source: evil\n",
        SIGNED + b"\nSource: evil\n",
        SIGNED + SIGNED,
        SIGNED.replace(b"Hash: SHA512", b"Source: evil"),
        SIGNED.replace(b"Hash: SHA512", b"Hash: SHA512\nSource: evil"),
        SIGNED.replace(b"Source: good", b"- Source: evil"),
        SIGNED.replace(b"Source: good", b"- -----BEGIN PGP SIGNATURE-----"),
        SIGNED.replace(b"-----END PGP SIGNATURE-----\n", b""),
        SIGNED[: SIGNED.index(b"-----BEGIN PGP SIGNATURE")],
        b"-----BEGIN PGP SIGNED MESSAGE-----\n",
        b"Source: evil\n-----BEGIN PGP SIGNATURE-----\n",
        SIGNED.removeprefix(b"-----BEGIN PGP SIGNED MESSAGE-----\n"),
    ],
)
def test_text_outside_the_signed_part(message: bytes) -> None:
    """Goal: nothing unsigned is read from a signed file.

    Method: fields before, after, in the header, half signatures.
    """
    with pytest.raises(Refusal) as caught:
        signed_text(message, ".dsc")
    assert caught.value.code == "package_damaged"


Change = Callable[[str], str]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda text: text.replace("hello_2.0.orig", "../hello_2.0.orig"), "package_name_invalid"),
        (lambda text: text.replace("hello_2.0.orig", "/etc/hello_2.0.orig"), "package_name_invalid"),
        (lambda text: text.replace("hello_2.0.orig", "other_2.0.orig"), "package_name_invalid"),
        (lambda text: text.replace("hello_2.0.orig.tar.xz", "hello_2.0-1_amd64.deb"), "package_name_invalid"),
        (lambda text: text.replace("hello_2.0.orig.tar.xz", "hello_2.0-1.dsc"), "package_name_invalid"),
        (lambda text: text.replace("Source: hello", "Source: ../x"), "package_name_invalid"),
        (lambda text: text.replace("Source: hello\n", ""), "package_field_invalid"),
        (lambda text: text.replace("Version: ", "Version: v"), "package_field_invalid"),
        (lambda text: text.replace("Format: 3.0 (quilt)\n", ""), "package_field_invalid"),
        (lambda text: text + "Source: bash\n", "package_field_invalid"),
        (lambda text: text + "\nSource: bash\n", "package_field_invalid"),
        (lambda text: text.replace("Checksums-Sha256", "X-Sha256"), "package_field_invalid"),
        (lambda text: text.replace("Files", "X-Files"), "package_field_invalid"),
        (lambda text: text + text.rstrip("\n").split("\n")[-1] + "\n", "package_field_invalid"),
        (lambda text: text + f" {'0' * 32} 5 hello_2.0.orig-extra.tar.xz\n", "package_field_invalid"),
        (lambda text: text.replace(" hello_2.0.orig", "0 hello_2.0.orig", 1), "package_field_invalid"),
        (lambda text: text.replace(" hello_2.0.orig", " x hello_2.0.orig", 1), "package_field_invalid"),
        (lambda text: text.replace("Files:\n ", "Files:\n z"), "package_field_invalid"),
        (lambda text: text.replace("Files:\n ", "Files:\n 00"), "package_field_invalid"),
        (lambda text: text + "X: " + "x" * (1 << 20) + "\n", "package_hostile"),
    ],
)
def test_bad_dsc(package: SourcePackage, change: Change, code: str) -> None:
    """Goal: no paths, no files of others, lists that agree. Method: a good .dsc with one change."""
    text = package.dsc.read_text()
    changed = change(text)
    assert changed != text
    with pytest.raises(Refusal) as caught:
        inspect(changed.encode(), package.dsc.name)
    assert caught.value.code == code
    assert len(caught.value.detail) > 20


def test_dsc_without_sha256(package: SourcePackage) -> None:
    """Goal: no member goes without a digest that holds. Method: a .dsc of old, with md5 and sha1 only."""
    text = package.dsc.read_text().replace("Checksums-Sha256", "X-Sha256")
    with pytest.raises(Refusal) as caught:
        inspect(text.encode(), package.dsc.name)
    assert caught.value.numbers["field"] == "Checksums-Sha256"


def test_bounds_of_text_files(package: SourcePackage) -> None:
    """Goal: bounds on what is read and listed. Method: a signature of 2 MiB around a small .dsc; 513 files."""
    signed = SIGNED.replace(b"Source: good", package.dsc.read_bytes().rstrip())
    assert facts_of(signed, package.dsc.name).name == "hello"
    with pytest.raises(Refusal) as caught:
        inspect(signed.replace(b"iQ==", b"iQ==\n" * (2 << 18)), package.dsc.name)
    assert (caught.value.code, caught.value.numbers["limit_bytes"]) == ("package_hostile", 1 << 20)
    rows = ["".join(f" {'0' * width} 1 foo_{number}.tar.gz\n" for number in range(513)) for width in (32, 64)]
    stanza = f"Format: 1.0\nSource: foo\nVersion: 1\nArchitecture: all\nFiles:\n{rows[0]}Checksums-Sha256:\n{rows[1]}"
    with pytest.raises(Refusal, match="package_hostile"):
        inspect(stanza.encode(), "foo_1.dsc")


def test_changes_with_paths(package: SourcePackage) -> None:
    """Goal: a claim names a file of this distribution only. Method: a path in every list."""
    text = package.changes.read_text().replace("hello_2.0.orig", "../../x/hello_2.0.orig")
    with pytest.raises(Refusal, match="package_name_invalid"):
        inspect(text.encode(), package.changes.name)


@pytest.mark.parametrize(
    ("name", "source", "version"),
    [
        ("foo_1.0.orig.tar.gz", "foo", "1.0"),
        ("foo_1.0.orig-doc.tar.bz2", "foo", "1.0"),
        ("foo_1.0.orig.tar.xz.asc", "foo", "1.0"),
        ("foo_1.0-1.debian.tar.xz", "foo", "1.0-1"),
        ("foo_1.0-1.diff.gz", "foo", "1.0-1"),
        ("foo_1.0.tar.zst", "foo", "1.0"),
    ],
)
def test_member_names(name: str, source: str, version: str) -> None:
    """Goal: dpkg-source's names, and content that fits them. Method: each with its magic, then with an error page."""
    magic = {
        ".gz": b"\x1f\x8b",
        ".bz2": b"BZh9",
        ".xz": b"\xfd7zXZ\0",
        ".zst": b"\x28\xb5\x2f\xfd",
        ".asc": b"-----BEGIN PGP SIGNATURE-----",
    }
    facts = facts_of(magic[name[name.rindex(".") :]] + b"rest", name)
    assert (facts.name, facts.version, facts.filename) == (source, version, name)
    for data in (b"<html>", b""):
        with pytest.raises(Refusal, match="not_a_package"):
            inspect(data, name)


@pytest.mark.parametrize(
    "name", ["foo.tar.gz", "foo-1.0.tar.gz", "foo_x.tar.gz", "Foo_1.0.tar.gz", "foo_1.0.tar.gz.asc.asc", "foo_1.gz"]
)
def test_names_that_are_no_members(name: str) -> None:
    """Goal: a repository is no file dump. Method: tarballs that dpkg-source would not name so."""
    with pytest.raises(Refusal, match="not_a_package"):
        inspect(b"\x1f\x8b rest", name)


def test_needs() -> None:
    """Goal: what is asked of the way in. Method: each kind of name."""
    assert FORMAT.needs("a.deb").digests == frozenset()
    assert FORMAT.needs("a.dsc").digests == FORMAT.needs("random").digests == {"md5", "sha1"}
    assert FORMAT.needs("a.tar.gz").head_bytes <= 4096
    assert FORMAT.needs("random").head_bytes == FORMAT.needs("a.deb").head_bytes == 16 << 20
