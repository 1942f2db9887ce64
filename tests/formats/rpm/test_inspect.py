"""Real packages: facts, and entries equal to createrepo_c's."""

import gzip
import hashlib
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import createrepo_c
import pytest

from entrepot.formats.protocol import PackageFacts
from entrepot.formats.rpm import FORMAT
from tests.formats.rpm.inspecting import inspect
from tests.support.builders import FastRpm, Recipe, Tag, fast_rpm_bytes, make_rpm, sign_rpm
from tests.support.gpg import GpgHome
from tests.support.process import run

COMMON = "{http://linux.duke.edu/metadata/common}"
CHANGELOGS = [
    (f"Wed Jan {day:02d} 2025", f"Zoë <z@example.org> - 1.{day}", f"change {day} & <more>") for day in (8, 2, 1)
]

RECIPES = {
    "binary": (
        Recipe("plain", files={"/usr/bin/plain": "x", "/etc/plain.conf": "y", "/usr/share/plain/a b&c": "z"}),
        False,
    ),
    "noarch": (Recipe("anywhere", arch="noarch"), False),
    "source": (Recipe("origin", relations={"BuildRequires": ["make >= 4", "gcc"]}), True),
    "epoch": (Recipe("younger", epoch=3, version="1.0~rc1", release="2^git5"), False),
    "weak": (
        Recipe(
            "weak",
            relations={
                "Recommends": ["nice >= 1"],
                "Suggests": ["nicer"],
                "Supplements": ["base"],
                "Enhances": ["other < 2:3-4"],
                "Requires": ["(foo if bar else baz)", "need = 1:2-3", "/bin/sh"],
                "Provides": ["virtual(thing) = 4", "config(weak) = 1"],
                "Conflicts": ["enemy < 2"],
                "Obsoletes": ["elder <= 1.0"],
            },
        ),
        False,
    ),
    "scripts": (Recipe("scripted", scripts={"post": "echo one", "preun": "echo two"}), False),
    "many files": (Recipe("many", generated_files=3000), False),
    "changelog": (Recipe("logged", changelogs=CHANGELOGS), False),
    "latin-1": (Recipe("ancien", summary_raw="d\xe9j\xe0 vu"), False),
    "zstd": (Recipe("modern", compression="w3.zstdio"), False),
    "i686": (Recipe("small", arch="i686"), False),
}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Every recipe, built by rpmbuild, and one package signed by rpmsign, in one folder."""
    folder = tmp_path_factory.mktemp("packages")
    made = {label: make_rpm(folder, recipe, source=source) for label, (recipe, source) in RECIPES.items()}
    signed = make_rpm(folder, Recipe("signed"))
    with GpgHome() as key:
        made["signed"] = sign_rpm(signed, key)
    return made


def canonical(element: ElementTree.Element) -> object:
    """An element as a value, without what must differ: where the file lies and when it was written."""
    attributes = {} if element.tag == f"{COMMON}location" else dict(element.attrib)
    if element.tag == f"{COMMON}time":
        attributes.pop("file")
    return element.tag, attributes, (element.text or "").strip(), [canonical(child) for child in element]


def entries(document: bytes) -> dict[str, object]:
    """Package digest → entry, of one of the three documents."""
    found = {}
    for package in ElementTree.fromstring(document):
        digest = package.get("pkgid") or package.findtext(f"{COMMON}checksum")
        assert digest is not None
        found[digest] = canonical(package)
    return found


def ours(packages: list[PackageFacts], stream: str) -> bytes:
    """A whole document of one stream."""
    return FORMAT.head(stream, len(packages)) + b"".join(p.fragments[stream] for p in packages) + FORMAT.foot(stream)


@pytest.mark.parametrize("program", ["debian", "pypi"])
def test_entries_equal_those_of_createrepo_c(built: dict[str, Path], tmp_path: Path, program: str) -> None:
    """Goal: a client reads from us what it would read from createrepo_c.

    Method: index all built packages by the real command (Debian's, then PyPI's), and compare every entry of the three
    documents."""
    for path in built.values():
        shutil.copy(path, tmp_path)
    tool = "/usr/bin/createrepo_c" if program == "debian" else str(Path(sys.executable).parent / "createrepo_c")
    option = ["--compress-type", "gz"] if program == "debian" else ["--general-compress-type", "gz"]
    run([tool, "-q", "--no-database", *option, tmp_path])
    facts = [inspect(path.read_bytes(), path.name) for path in built.values()]
    for stream in ("primary", "filelists", "other"):
        (theirs,) = (tmp_path / "repodata").glob(f"*-{stream}.xml.gz")
        assert entries(ours(facts, stream)) == entries(gzip.decompress(theirs.read_bytes()))


def test_fragments_are_byte_identical_to_the_library_on_the_whole_file(built: dict[str, Path]) -> None:
    """Goal: reading only the header loses nothing. Method: the same library on the whole named file, with the same
    location and time."""
    for path in built.values():
        facts = inspect(path.read_bytes())
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        href = f"Packages/{digest[:32]}/{path.name}"
        package = createrepo_c.package_from_rpm(str(path), location_href=href)
        package.time_file = package.time_build
        assert [text.strip("\n") + "\n" for text in createrepo_c.xml_dump(package)] == [
            facts.fragments[stream].decode() for stream in ("primary", "filelists", "other")
        ]


def test_facts_of_a_binary_package(built: dict[str, Path]) -> None:
    """Goal: what the catalog keeps is right. Method: one package with an epoch and one with every kind of
    relation."""
    facts = inspect(built["epoch"].read_bytes(), "renamed-by-hand.rpm")
    assert (facts.type, facts.name, facts.version, facts.release, facts.epoch) == (
        "rpm",
        "younger",
        "1.0~rc1",
        "2^git5",
        3,
    )
    assert facts.filename == facts.path == "younger-1.0~rc1-2^git5.x86_64.rpm"
    assert facts.conflict_key == "younger-3:1.0~rc1-2^git5.x86_64"
    assert facts.part == facts.architecture == "x86_64"
    assert not facts.replaces
    weak = inspect(built["weak"].read_bytes()).metadata
    relations = {item["context"]: item["dependencies"] for item in weak["dependencies"]}  # type: ignore[attr-defined]
    assert "(foo if bar else baz)" in relations["requires"]
    assert "need = 1:2-3" in relations["requires"]
    assert relations["recommends"] == ["nice >= 1"]
    assert relations["enhances"] == ["other < 2:3-4"]
    assert weak["licenses"] == ["GPL-3.0-or-later"]
    assert weak["homepage"] == "https://example.org/"


def test_parts(built: dict[str, Path]) -> None:
    """Goal: each kind of package is listed in the right place. Method: noarch, source, i686."""
    noarch, source, small = (inspect(built[label].read_bytes()) for label in ("noarch", "source", "i686"))
    assert (noarch.part, noarch.filename) == ("noarch", "anywhere-1.0-1.noarch.rpm")
    assert (source.part, source.filename, source.type) == ("src", "origin-1.0-1.src.rpm", "srpm")
    assert (small.part, small.architecture) == ("i386", "i686")
    assert noarch.conflict_key == "anywhere-0:1.0-1.noarch"


def test_latin_1_becomes_utf_8(built: dict[str, Path]) -> None:
    """Goal: an old header does not break the index. Method: a summary in ISO 8859-1, by rpmbuild."""
    facts = inspect(built["latin-1"].read_bytes())
    assert facts.metadata["summary"] == "déjà vu"
    assert "<summary>déjà vu</summary>".encode() in facts.fragments["primary"]


HOSTILE_TEXTS = [
    (b"bell\x07 and \x1b[31m escape", "bell and [31m escape"),
    (b"\xed\xa0\x80 surrogate", " surrogate"),
    (b"\xef\xbf\xbe noncharacter \xef\xbf\xbf", " noncharacter "),
    (b"\xc0\xaf overlong \xe0\x80\xaf \xf0\x80\x80\xaf", " overlong  "),
    (b"\xf4\x90\x80\x80 past the end \xf7\xbf\xbf\xbf", " past the end "),
    (b"caf\xe9 \x01 \xc0\xaf", "café  À"),  # ISO 8859-1; createrepo_c leaves out 0x80 to 0xBF
    (b"]]> &amp; <summary>", "]]> &amp; <summary>"),
    ("tab\there \U0001f600".encode(), "tab\there \U0001f600"),
]


PARSERS: dict[str, Callable[[str], list[Any]]] = {
    "primary": lambda text: parsed(createrepo_c.xml_parse_primary_snippet, text),
    "filelists": lambda text: parsed(createrepo_c.xml_parse_filelists_snippet, text),
    "other": lambda text: parsed(createrepo_c.xml_parse_other_snippet, text),
}


def parsed(parse: Callable[..., None], text: str) -> list[Any]:
    """The packages that libxml2, through createrepo_c's reader, finds in an entry."""
    found: list[Any] = []
    parse(text, pkgcb=found.append)
    return found


@pytest.mark.parametrize(("raw", "shown"), HOSTILE_TEXTS)
def test_texts_that_xml_forbids(raw: bytes, shown: str) -> None:
    """Goal: no text in a header makes XML that a client refuses, in an element or in an attribute, and nothing after
    it is lost.

    Method: forbidden bytes in summary, relation, changelog and file name; strict parse by libxml2's and expat's
    readers."""
    text = raw.decode("utf-8", "surrogateescape")
    package = FastRpm(
        "texts",
        summary=raw,
        relations={"requires": [text.replace(" ", "_")], "provides": ["after = 1"]},
        changelogs=[(1, text, text)],
        files={"/usr/bin/odd\x01name": b""},
    )
    facts = inspect(fast_rpm_bytes(package))
    assert facts.metadata["summary"] == shown
    for stream, parse in PARSERS.items():
        assert len(ElementTree.fromstring(ours([facts], stream))) == 1
        (read,) = parse(facts.fragments[stream].decode())
        if stream == "primary":
            assert [row[0] for row in read.requires] == [shown.replace(" ", "_")]
            assert [row[0] for row in read.provides] == ["texts", "after"]
            assert [row[2] for row in read.files] == ["odd\x01name".replace("\x01", "")]


def test_ten_newest_changelogs() -> None:
    """Goal: other.xml stays small as createrepo_c's does. Method: 30 entries; the 10 newest are left."""
    logs = [(day, f"author {day}", f"- {day}") for day in range(30, 0, -1)]
    other = inspect(fast_rpm_bytes(FastRpm("logs", changelogs=logs))).fragments["other"]
    assert [row.get("date") for row in ElementTree.fromstring(other)[1:]] == [str(day) for day in range(21, 31)]


def test_nosrc() -> None:
    """Goal: a source package without its sources keeps rpm's name for it. Method: NOSOURCE in a source header."""
    facts = inspect(fast_rpm_bytes(FastRpm("blob", source=True, extra_tags=[Tag(1051, 4, [0])])))
    assert (facts.filename, facts.part, facts.type) == ("blob-1.0-1.nosrc.rpm", "src", "srpm")


@pytest.mark.serial
def test_a_hundred_thousand_files() -> None:
    """Goal: a long file list is taken within the limits of inspection. Method: 100,000 files, counted in
    filelists.xml."""
    files = {f"/usr/share/long/part{number // 1000:03d}/file{number:06d}": b"" for number in range(100_000)}
    facts = inspect(fast_rpm_bytes(FastRpm("long", files=files)))
    assert facts.fragments["filelists"].count(b"<file>") == 100_000
