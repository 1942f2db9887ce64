"""Packages by rpmbuild of every kind, pushed by curl: the served XML against what the real createrepo_c writes."""

import gzip
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.clients.site import Site
from tests.clients.test_dnf import dnf
from tests.support.builders import Recipe, make_rpm, sign_rpm
from tests.support.curl import Answer
from tests.support.gpg import GpgHome
from tests.support.process import run

pytestmark = [pytest.mark.clients, pytest.mark.xdist_group("clients-real-rpm"), pytest.mark.timeout(300)]

DISTRIBUTION = "el/9"
LONG_LIST_FILES = 5_000
CHANGELOGS = 15  # createrepo_c keeps the newest ten
STREAMS = ("primary", "filelists", "other")


def recipes() -> list[tuple[Recipe, bool]]:
    """(recipe, whether its source package is meant)."""
    weak = {
        tag: [f"{tag.lower()}-this >= 1.2", "other"] for tag in ("Recommends", "Suggests", "Supplements", "Enhances")
    }
    strong = {
        "Requires": ["lib >= 2:1.0-3", "/usr/bin/tool", "lib < 9:1"],
        "Requires(post)": ["/usr/bin/tool"],
        "Provides": ["virtual = 7", "feature(x86-64)"],
        "Conflicts": ["enemy <= 3"],
        "Obsoletes": ["ancestor < 1"],
    }
    days = [("Wed Jan 01 2025", f"A & B <a{number}@example.org> - 1-{number}", f"change <{number}> & more")
            for number in range(CHANGELOGS)]  # fmt: skip
    return [
        (Recipe("epoch", epoch=3, version="1.0~rc1^git5", release="2.el9"), False),
        (Recipe("plain", relations=strong), False),
        (Recipe("weak", relations=weak), False),
        (Recipe("lib", epoch=2, version="1.0", release="3", arch="aarch64"), False),
        (Recipe("lib", epoch=2, version="1.0", release="3"), False),
        (Recipe("tool", arch="noarch", files={"/usr/bin/tool": "#!/bin/sh\n", "/etc/tool.conf": "a\n"}), False),
        (Recipe("files", generated_files=LONG_LIST_FILES, files={"/usr/share/files/a & b <c>": "x"}), False),
        (Recipe("history", changelogs=days), False),
        (Recipe("ancien", summary_raw="d\xe9j\xe0 vu"), False),
        (Recipe("scripts", scripts={"post": "echo hello", "preun": "true"}), False),
        (Recipe("zstd", compression="w3.zstdio"), False),
        (Recipe("xz", compression="w2.xzdio"), False),
        (Recipe("old", arch="i686"), False),
        (Recipe("plain", relations={"BuildRequires": ["gcc >= 12"]}), True),
    ]


@dataclass(frozen=True)
class Pushed:
    """A repository with all of them; `files` by name, `signed` among them."""

    repository: str
    files: dict[str, Path]
    signed: Path
    key: GpgHome


@pytest.fixture(scope="module")
def pushed(plain_site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pushed]:
    """Build, sign one, push all."""
    folder = tmp_path_factory.mktemp("rpms")
    with GpgHome() as key:
        paths = [make_rpm(folder, recipe, source=is_source) for recipe, is_source in recipes()]
        signed = sign_rpm(make_rpm(folder, Recipe("signed")), key)
        repository = plain_site.repository()
        for path in (*paths, signed):
            plain_site.push(plain_site.near, repository, DISTRIBUTION, path)
        yield Pushed(repository, {path.name: path for path in (*paths, signed)}, signed, key)


def get(site: Site, path: str) -> Answer:
    """A GET that must be answered with 200."""
    answer = site.near.curl(path)
    assert answer.status == 200, f"{path}: {answer.text}"
    return answer


def shape(element: ET.Element) -> tuple[object, ...]:
    """An element as nested tuples: name, attributes, text, children in order. What depends on where the file lies, and
    on when it was copied there, is left out.
    """
    name = element.tag.rpartition("}")[2]
    attributes = dict(element.attrib)
    if name == "location":
        attributes.pop("href")
    if name == "time":
        attributes.pop("file")
    text = (element.text or "").strip()
    return (name, tuple(sorted(attributes.items())), text, tuple(shape(child) for child in element))


def packages(document: bytes, stream: str) -> dict[str, tuple[object, ...]]:
    """Package by its digest. The number in the root's `packages=` is not compared: the server's is that of the last
    merge, and no client reads it.
    """
    root = ET.fromstring(document)
    found: dict[str, tuple[object, ...]] = {}
    for package in root:
        if stream == "primary":
            (digest,) = [child.text for child in package if child.tag.endswith("}checksum")]
        else:
            digest = package.attrib["pkgid"]
        assert digest is not None
        found[digest] = shape(package)
    return found


def indexes(site: Site, pushed: Pushed, folder: str) -> dict[str, bytes]:
    """The three XML documents that repomd.xml of a folder names."""
    base = f"{pushed.repository}/{DISTRIBUTION}/{folder}"
    found = {}
    for data in ET.fromstring(get(site, f"{base}/repodata/repomd.xml").body):
        if data.tag.endswith("}data"):
            (place,) = [child.attrib["href"] for child in data if child.tag.endswith("}location")]
            found[data.attrib["type"]] = gzip.decompress(get(site, f"{base}/{place}").body)
    assert sorted(found) == sorted(STREAMS)
    return found


@pytest.mark.parametrize("folder", ["x86_64", "aarch64", "i386", "SRPMS"])
def test_xml_is_what_createrepo_c_writes(site: Site, pushed: Pushed, tmp_path: Path, folder: str) -> None:
    """Goal: every element, attribute and order inside a package as the field's own tool. Method: createrepo_c over the
    files that belong there; compare package by package in all three documents.
    """
    there = {"x86_64": ("x86_64", "noarch"), "aarch64": ("aarch64", "noarch"), "i386": ("i686", "noarch")}
    arches = there.get(folder, ("src",))
    for name, path in pushed.files.items():
        if name.removesuffix(".rpm").rpartition(".")[2] in arches:
            (tmp_path / name).symlink_to(path)
    run(["createrepo_c", "--no-database", "--simple-md-filenames", "--quiet", tmp_path], timeout_s=120)
    served = indexes(site, pushed, folder)
    for stream in STREAMS:
        wanted = packages(gzip.decompress((tmp_path / f"repodata/{stream}.xml.gz").read_bytes()), stream)
        found = packages(served[stream], stream)
        assert found.keys() == wanted.keys()
        for digest, package in wanted.items():
            differing = [pair for pair in zip(found[digest], package, strict=True) if pair[0] != pair[1]]
            assert found[digest] == package, f"{stream}: {differing}"


def test_files_are_served_as_they_were_sent(site: Site, pushed: Pushed, tmp_path: Path) -> None:
    """Goal: nothing is rewritten, signatures least of all. Method: fetch each by the index's own address; rpmkeys."""
    seen = set()
    for folder in ("x86_64", "aarch64", "i386", "SRPMS"):
        base = f"{pushed.repository}/{DISTRIBUTION}/{folder}"
        for package in ET.fromstring(indexes(site, pushed, folder)["primary"]):
            (href,) = [child.attrib["href"] for child in package if child.tag.endswith("}location")]
            name = href.rpartition("/")[2]
            assert ".." not in href
            assert get(site, f"{base}/{href}").body == pushed.files[name].read_bytes()
            seen.add(name)
    assert seen == set(pushed.files)
    (tmp_path / "key").write_bytes(pushed.key.public_key())
    served = tmp_path / pushed.signed.name
    served.write_bytes(get(site, f"{pushed.repository}/{DISTRIBUTION}/x86_64/{pushed.signed.name}").body)
    database = ["--dbpath", str(tmp_path / "db")]
    run(["rpmkeys", *database, "--import", tmp_path / "key"])
    assert "signatures OK" in run(["rpmkeys", *database, "--checksig", served]).stdout


def test_dnf_reads_all_of_it(site: Site, pushed: Pushed, tmp_path: Path) -> None:
    """Goal: what the XML says reaches the user. Method: dnf's own queries; install with dependencies inside the set."""
    root = dnf(tmp_path / "root", site.near, pushed.repository)
    assert root.repoquery("--qf", "%{evr}", "epoch") == ["3:1.0~rc1^git5-2.el9"]
    assert root.repoquery("--recommends", "weak") == ["other", "recommends-this >= 1.2"]
    assert root.repoquery("--supplements", "weak") == ["other", "supplements-this >= 1.2"]
    assert root.repoquery("--file", "/usr/bin/tool") == ["tool-0:1.0-1.noarch"]
    assert len(root.repoquery("--list", "files")) == LONG_LIST_FILES + 1
    assert root.repoquery("--qf", "%{summary}", "ancien") == ["déjà vu"]
    root.install("plain", "signed", "zstd")
    assert {"lib-1.0-3.x86_64", "plain-1.0-1.x86_64", "tool-1.0-1.noarch"} <= set(root.installed())


def test_nothing_else_is_left(site: Site, pushed: Pushed) -> None:
    """Goal: the files and nothing more. Method: the full account."""
    site.check_left(pushed.repository, [f"{DISTRIBUTION}/{name}" for name in pushed.files])
