"""Packages of Debian's own archive, pushed by curl: the served indexes against dpkg-scanpackages and
dpkg-scansources, and apt-get with what is inside the set.
"""

import hashlib
import os
import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.clients.site import Site
from tests.clients.test_apt import DISTRIBUTION, apt, source
from tests.support.builders import Compression, make_deb
from tests.support.debian_archive import ArchiveSample, archive_sample, control_member
from tests.support.process import run

pytestmark = [pytest.mark.clients, pytest.mark.xdist_group("clients-real-debian"), pytest.mark.timeout(300)]

# The archive of this release holds neither; the same dpkg-deb builds them.
BUILT: tuple[Compression, ...] = ("zst", "none")
AT_ONCE = 4


@dataclass(frozen=True)
class Pushed:
    """A repository with the whole sample, and the same files in a folder for dpkg's tools."""

    repository: str
    sample: ArchiveSample
    debs: tuple[Path, ...]
    folder: Path


def plain_name(path: Path) -> str:
    """The name that a repository gives: apt writes an epoch's colon into what it downloads, dpkg leaves it out."""
    name, version, rest = path.name.replace("%3a", ":").split("_")
    return f"{name}_{version.rpartition(':')[2]}_{rest}"


@pytest.fixture(scope="module")
def pushed(plain_site: Site, tmp_path_factory: pytest.TempPathFactory) -> Pushed:
    """Push everything, several at once, in no particular order."""
    top = tmp_path_factory.mktemp("real")
    folder = top / "pool"
    folder.mkdir()
    sample = archive_sample()
    built = [
        make_deb(top, f"made-{kind}", compression=kind, fields={"Depends": f"{sample_name(sample)}"}) for kind in BUILT
    ]
    debs = (*sample.packages, *built)
    for path in debs:
        link(path, folder / plain_name(path))
    repository = plain_site.repository()

    def push(path: Path) -> None:
        plain_site.push(plain_site.near, repository, DISTRIBUTION, path)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(push, sorted(debs, key=lambda path: hashlib.sha256(path.name.encode()).digest())))
    for path in sample.source:
        link(path, folder / path.name)
        if path != sample.dsc:
            plain_site.push(plain_site.near, repository, DISTRIBUTION, path, status=202)
    plain_site.push(plain_site.near, repository, DISTRIBUTION, sample.dsc)
    return Pushed(repository, sample, debs, folder)


def link(path: Path, target: Path) -> None:
    """A second name without a second copy, where the file system can."""
    try:
        os.link(path, target)
    except OSError:
        shutil.copyfile(path, target)


def sample_name(sample: ArchiveSample) -> str:
    """A package of the sample that needs nothing."""
    for path in sample.packages:
        if path.name.endswith("_all.deb") and path.stat().st_size < 100_000:
            fields = run(["dpkg-deb", "--field", path, "Depends", "Pre-Depends"]).stdout.strip()
            if not fields:
                return path.name.partition("_")[0]
    raise AssertionError("no package of the sample is without dependencies")


def stanzas(text: str, key: str) -> dict[tuple[str, str, str], str]:
    """Stanza by (package, version, architecture), without the field that says where the file lies."""
    found = {}
    for stanza in text.strip("\n").split("\n\n"):
        name, version, arch = (
            re.search(rf"^{field}: (.*)$", stanza, re.MULTILINE) for field in ("Package", "Version", "Architecture")
        )
        assert name is not None, stanza
        assert version is not None, stanza
        assert arch is not None, stanza
        found[name[1], version[1], arch[1]] = re.sub(rf"^{key}: .*\n", "", stanza + "\n", flags=re.MULTILINE)
    return found


def test_the_sample_is_what_it_must_be(pushed: Pushed) -> None:
    """Goal: the tests below mean something. Method: at least 100 of the archive, every compression, one above 50 MB."""
    assert len(pushed.sample.packages) >= 100
    assert max(path.stat().st_size for path in pushed.debs) > 50_000_000
    small = [path for path in pushed.debs if path.stat().st_size < 1_000_000]
    kinds = {control_member(path).removeprefix("control.tar").removeprefix(".") for path in small}
    assert kinds == {"gz", "xz", "zst", ""}


def test_packages_is_what_dpkg_scanpackages_writes(site: Site, pushed: Pushed) -> None:
    """Goal: every field as dpkg's own tool, for every package. Method: compare stanza by stanza, the place of the
    file aside; which index lists which architecture; every Filename leads to its file.
    """
    scanned = run(["dpkg-scanpackages", "--multiversion", "."], cwd=pushed.folder, timeout_s=120).stdout
    wanted = stanzas(scanned, "Filename")
    assert len(wanted) == len(pushed.debs)
    top = f"{pushed.repository}/debian"
    served = site.near.curl(f"{top}/dists/bookworm/main/binary-amd64/Packages").text
    found = stanzas(served, "Filename")
    assert found.keys() == wanted.keys()
    for key in wanted:
        assert fields(found[key]) == without_weak_digests(fields(wanted[key]))
    by_digest = {hashlib.sha256(path.read_bytes()).hexdigest() for path in pushed.debs}
    for stanza in served.strip("\n").split("\n\n"):
        filename = re.search(r"^Filename: (.*)$", stanza, re.MULTILINE)
        sha256 = re.search(r"^SHA256: (.*)$", stanza, re.MULTILINE)
        assert filename is not None
        assert sha256 is not None
        assert sha256[1] in by_digest
        assert site.near.curl(f"{top}/{filename[1]}", "--head").status == 200
    others = stanzas(site.near.curl(f"{top}/dists/bookworm/main/binary-arm64/Packages").text, "Filename")
    assert others == {key: stanza for key, stanza in found.items() if key[2] == "all"}


def test_fields_are_in_apts_order(site: Site, pushed: Pushed) -> None:
    """Goal: the order too, which dpkg-scanpackages has its own of: the one of apt's tools, as in Debian's archive.

    Method: apt-ftparchive over the same files, compared line by line.
    """
    digests = ("MD5", "SHA1", "SHA512")
    flags = [word for name in digests for word in ("-o", f"APT::FTPArchive::{name}=false")]
    archived = run(["apt-ftparchive", *flags, "packages", "."], cwd=pushed.folder, timeout_s=120).stdout
    served = site.near.curl(f"{pushed.repository}/debian/dists/bookworm/main/binary-amd64/Packages").text
    wanted, found = stanzas(archived, "Filename"), stanzas(served, "Filename")
    assert found.keys() == wanted.keys()
    for key, stanza in wanted.items():
        assert found[key].splitlines() == stanza.splitlines()


def without_weak_digests(stanza: dict[str, list[str]]) -> dict[str, list[str]]:
    """The server gives no MD5sum and SHA1 of a .deb: they are weak, and sha256 is what clients check."""
    return {name: lines for name, lines in stanza.items() if name not in ("md5sum", "sha1")}


def test_sources_is_what_dpkg_scansources_writes(site: Site, pushed: Pushed) -> None:
    """Goal: the entry of a source package as dpkg's own tool. Method: compare the fields; Directory and the overrides
    (Priority, Section) aside.
    """
    scanned = run(["dpkg-scansources", "."], cwd=pushed.folder).stdout
    served = site.near.curl(f"{pushed.repository}/debian/dists/bookworm/main/source/Sources").text
    ours, theirs = (sorted(fields(text).items()) for text in (served, scanned))
    assert ours == theirs


def fields(text: str) -> dict[str, list[str]]:
    """Field → its lines, sorted; Directory is where the files lie, in the one place or the other.

    A line of blanks in a description is kept by one tool and cut by the other.
    """
    found: dict[str, list[str]] = {}
    name = ""
    for line in text.strip("\n").splitlines():
        if not line.startswith((" ", "\t")):
            name, _, value = line.partition(":")
            found[name.lower()] = [value.strip()]
        else:
            found[name.lower()].append(line.strip())
    return {key: sorted(lines) for key, lines in found.items() if key != "directory"}


def test_apt_installs_from_the_set(site: Site, pushed: Pushed, tmp_path: Path) -> None:
    """Goal: real packages install, with a dependency inside the set, and the largest one arrives whole; the source
    package unpacks with its signature-free digests.

    Method: apt-get update, install of what needs nothing and of what depends on it, download of the largest, source.
    """
    text = source(site.near.url, pushed.repository, site.key(pushed.repository, tmp_path))
    root = apt(tmp_path / "root", site.near, text)
    root.update()
    names = {path.name.partition("_")[0] for path in pushed.debs}
    assert set(root.pkgnames()) == names
    root.install(*(f"made-{kind}" for kind in BUILT))
    base = sample_name(pushed.sample)
    assert set(root.installed()) == {base, *(f"made-{kind}" for kind in BUILT)}
    largest = max(pushed.debs, key=lambda path: path.stat().st_size)
    root.download(largest.name.partition("_")[0])
    assert (root.root / "work" / largest.name).read_bytes() == largest.read_bytes()
    root.source("hello", download_only=True)
    for path in pushed.sample.source:
        if path.suffix != ".asc":
            assert (root.root / "work" / path.name).read_bytes() == path.read_bytes()


def test_nothing_else_is_left(site: Site, pushed: Pushed) -> None:
    """Goal: a hundred uploads, four at a time, leave their files and nothing more. Method: the full account."""
    names = [plain_name(path) for path in pushed.debs] + [path.name for path in pushed.sample.source]
    site.check_left(pushed.repository, [f"{DISTRIBUTION}/{name}" for name in names])
