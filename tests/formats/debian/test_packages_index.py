"""Entries of Packages against the field's own tools, for packages made by dpkg-deb and for Debian's."""

import hashlib
from pathlib import Path

import pytest

from tests.formats.debian.judging import facts_of, facts_of_file, fields_of
from tests.support.builders import Compression, deb_bytes, make_deb
from tests.support.debian_archive import archive_root, archive_sample
from tests.support.process import run

ALL_FIELDS = {
    "Source": "foosrc (1.0)",
    "Pre-Depends": "dpkg (>= 1.17)",
    "Depends": "libc6 (>= 2.36), a | b (<< 2~) | c:any",
    "Recommends": "r",
    "Suggests": "s",
    "Enhances": "e",
    "Breaks": "x (<< 1)",
    "Conflicts": "y",
    "Replaces": "z",
    "Provides": "virtual (= 3)",
    "Built-Using": "gcc-12 (= 12.2.0-14)",
    "Multi-Arch": "foreign",
    "Essential": "no",
    "Installed-Size": "7",
    "Homepage": "https://example.org/",
    "X-Own": "kept",
    "Tag": "role::program",
    "Bugs": "https://example.org/bugs",
    "Description": "short\n Long text, é and more.\n .\n  indented",
}
INDEX_FIELDS = ("filename", "size", "sha256")


def ftparchive(folder: Path, kind: str = "packages") -> list[str]:
    """The stanzas that apt-ftparchive writes for a folder; its paths begin with the folder's name."""
    switches = ["--no-md5", "--no-sha1", "--no-sha512"] if kind == "packages" else ["--no-sha512"]
    text = run(["apt-ftparchive", *switches, kind, folder.name], cwd=folder.parent).stdout
    return [stanza + "\n\n" for stanza in text.split("\n\n") if stanza.strip()]


def renamed(stanza: str, filename: str) -> str:
    """The stanza with another Filename: the one field that says where a repository keeps its files."""
    return "".join(
        f"Filename: {filename}\n" if line.startswith("Filename: ") else line
        for line in stanza.splitlines(keepends=True)
    )


@pytest.mark.parametrize("compression", ["gz", "xz", "zst", "none"])
def test_entry_is_what_apt_ftparchive_writes(tmp_path: Path, compression: Compression) -> None:
    """Goal: every field, apt's order, each compression. Method: dpkg-deb builds, both index it, bytes are compared."""
    path = make_deb(tmp_path, "foo", "2:1.0+x~rc1-3", compression=compression, fields=ALL_FIELDS)
    facts = facts_of_file(path)
    ours = facts.fragments["Packages"].decode()
    location = fields_of(ours)["filename"]
    assert ours == renamed(ftparchive(tmp_path)[0], location)
    assert location == f"pool/bookworm/main/f/foosrc/{fields_of(ours)['sha256'][:32]}/foo_1.0+x~rc1-3_amd64.deb"


def test_entry_has_what_dpkg_scanpackages_writes(tmp_path: Path) -> None:
    """Goal: no field lost or changed, as the second tool sees it.

    Method: dpkg-scanpackages, compared field by field.
    """
    path = make_deb(tmp_path, "foo", "1.0-1", fields=ALL_FIELDS)
    theirs = fields_of(run(["dpkg-scanpackages", "-h", "sha256", "."], cwd=tmp_path).stdout)
    ours = fields_of(facts_of_file(path).fragments["Packages"].decode())
    del theirs["filename"], ours["filename"]
    assert ours == theirs


@pytest.mark.clients
def test_entries_of_debians_own_packages(tmp_path: Path) -> None:
    """Goal: real packages. Method: over 100 from the archive; bytes as apt-ftparchive's, fields as Debian's own index.

    Debian's index lacks the long description (it is in Translation files) and has fields that its archive adds.
    """
    sample = archive_sample()
    assert len(sample.packages) > 100
    for package in sample.packages:
        (tmp_path / package.name.replace("%3a", ":")).symlink_to(package)
    theirs = {}
    for stanza in ftparchive(tmp_path):
        fields = fields_of(stanza)
        theirs[fields["package"]] = stanza
    for package in sample.packages:
        facts = facts_of_file(package)
        ours = facts.fragments["Packages"].decode()
        # apt writes the colon of an epoch into the names of what it downloads; a repository leaves the epoch out.
        assert facts.filename.split("_")[0::2] == package.name.split("_")[0::2]
        assert ours == renamed(theirs[facts.name], fields_of(ours)["filename"])


@pytest.mark.clients
def test_entries_have_what_debians_index_says() -> None:
    """Goal: what Debian's archive itself publishes of a package is what we would.

    Method: the archive's index as apt holds it, for each package of the sample. The archive keeps the long description
    in Translation files and the index has its md5; Section and Priority are its overrides, Tag is added; all other
    fields must be equal.
    """
    sample = archive_sample()
    dump = archive_root().run("apt-cache", "dumpavail").stdout
    index = [fields_of(stanza) for stanza in dump.split("\n\n") if stanza.strip()]
    published = {fields["sha256"]: fields for fields in index}
    compared = 0
    for path in sample.packages:
        stanza = facts_of_file(path).fragments["Packages"].decode()
        ours = fields_of(stanza)
        theirs = dict(published.get(ours["sha256"], {}))
        if not theirs:
            continue  # the archive has a newer version by now
        description = stanza.partition("\nDescription: ")[2]
        lines = description.splitlines(keepends=True)
        end = next((at for at, line in enumerate(lines) if at and line[0] != " "), len(lines))
        assert theirs.pop("description-md5") == hashlib.md5("".join(lines[:end]).encode()).hexdigest()
        for field in ("filename", "description", "section", "priority", "tag", "md5sum"):
            ours.pop(field, None)
            theirs.pop(field, None)
        assert ours == theirs
        compared += 1
    assert compared > 50


def test_facts_of_a_package() -> None:
    """Goal: what the catalog keeps. Method: one package with an epoch, sent under a name of no meaning."""
    data = deb_bytes(
        "libfoo-dev", "1:2.0-3", "arm64", fields={"Depends": "a (>= 1),\n b | c", "Homepage": "https://x/"}
    )
    facts = facts_of(data, "4f7sa9")
    assert (facts.type, facts.name, facts.version, facts.epoch, facts.release) == ("deb", "libfoo-dev", "2.0-3", 1, "3")
    assert facts.filename == facts.path == facts.conflict_key == "libfoo-dev_2.0-3_arm64.deb"
    assert (facts.part, facts.requires, facts.replaces, facts.document_scopes) == ("main:arm64", (), False, ())
    assert facts.metadata["summary"] == "package libfoo-dev for tests"
    assert facts.metadata["description"] == "It was made by a builder in code."
    assert facts.metadata["homepage"] == "https://x/"
    assert facts.metadata["dependencies"] == [{"context": "depends", "dependencies": ["a (>= 1)", "b | c"]}]
    assert b"/main/libf/libfoo-dev/" in facts.fragments["Packages"]
    assert "md5sum" not in fields_of(facts_of(data, "x.deb").fragments["Packages"].decode())


def test_latin_1_is_kept_byte_for_byte() -> None:
    """Goal: old packages survive.

    Method: a Latin-1 maintainer, which is not UTF-8; bytes in the entry, text in metadata.
    """
    control = b"Package: foo\nVersion: 1\nArchitecture: all\nMaintainer: J\xf6rg\nDescription: caf\xe9\n"
    facts = facts_of(deb_bytes("foo", control_raw=control))
    assert b"Maintainer: J\xf6rg\n" in facts.fragments["Packages"]
    assert facts.metadata["maintainer"] == "Jörg"
    assert facts.part == "main:all"


def test_fields_that_are_the_index_own_are_replaced() -> None:
    """Goal: a control file cannot say where its file is or what its digest is.

    Method: one that tries, in odd spelling.
    """
    extra = "FileName: evil.deb\nsha256: 0\nMSDOS-Filename: x\nSize: 1\nSHA512: 0\nStatus: install ok installed\n"
    stanza = facts_of(deb_bytes("foo", control_extra=extra)).fragments["Packages"].decode()
    lines = [line.partition(":")[0].lower() for line in stanza.splitlines() if line and line[0] != " "]
    assert len(lines) == len(set(lines))
    assert "evil" not in stanza
    assert not {"msdos-filename", "sha512", "status"} & set(lines)


def test_package_with_signature_members() -> None:
    """Goal: members with a leading underscore are passed over, as dpkg does; debsigs puts one at the very end."""
    data = deb_bytes("foo", members_between=[("_note", b"abc")], members_after=[("_gpgorigin", b"x" * 500)])
    assert facts_of(data).name == "foo"


def test_control_files_of_other_tools() -> None:
    """Goal: what dpkg takes is taken: CRLF, blanks before the colon, a comma at the end, a Source of free
    text, no Maintainer.
    """
    control = (
        b"\nPackage : foo\r\nVersion: 1.0\r\nArchitecture: amd64\r\nSource: My Thing\r\n"
        b"Depends: a, b,\r\nDescription: d\r\n\n"
    )
    facts = facts_of(deb_bytes("foo", control_raw=control))
    stanza = facts.fragments["Packages"]
    assert b"\r" not in stanza
    assert stanza.startswith(b"Package: foo\nArchitecture: amd64\nVersion: 1.0\nSource: My Thing\n")
    assert b"/main/f/foo/" in stanza
