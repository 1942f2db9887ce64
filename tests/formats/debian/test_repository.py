"""The indexes, Release and the set-up lines, with a real apt over a repository laid out from the
format's own answers.
"""

import gzip
import hashlib
from pathlib import Path

import pytest

from entrepot.formats.debian import FORMAT
from entrepot.formats.protocol import (
    FileTarget,
    IndexSpec,
    IndexState,
    Manifest,
    ManifestInput,
    PackageFacts,
    SetupInput,
    StreamState,
)
from tests.formats.debian.judging import DISTRIBUTION, facts_of
from tests.support.apt import AptRoot
from tests.support.builders import deb_bytes, make_dsc
from tests.support.gpg import GpgHome

DATE_S = 1_735_689_600


def lay_out(root: Path, files: list[tuple[bytes, PackageFacts]], gpg: GpgHome) -> None:
    """Write what a publication would show: indexes from fragments in order, Release, both signatures, and the files."""
    parts = frozenset(facts.part for _, facts in files if facts.part is not None)
    states = tuple(_index(root, spec, [facts for _, facts in files]) for spec in FORMAT.indexes(DISTRIBUTION, parts))
    request = ManifestInput("example.org/user/repo", "repo", DISTRIBUTION, "", DATE_S, 1, states)
    release = FORMAT.manifest(request).documents[0].content
    signed = gpg.sign(release)
    dists = root / "debian/dists/bookworm"
    for name, content in (("Release", release), ("Release.gpg", signed.detached), ("InRelease", signed.inline)):
        (dists / name).write_bytes(content)
    folders = [_location(facts) for _, facts in files if facts.part is not None]
    for data, facts in files:
        for folder in folders:  # members of source packages lie in each folder that may name them
            path = root / "debian" / folder / facts.filename
            path.parent.mkdir(parents=True, exist_ok=True)
            target = FORMAT.route("GET", path.relative_to(root).as_posix())
            assert isinstance(target, FileTarget)
            if target.sha256 is None or hashlib.sha256(data).hexdigest().startswith(target.sha256):
                path.write_bytes(data)


def _location(facts: PackageFacts) -> str:
    stanza = next(iter(facts.fragments.values())).decode()
    line = next(line for line in stanza.splitlines() if line.startswith(("Filename: ", "Directory: ")))
    value = line.partition(": ")[2]
    return value.rpartition("/")[0] if line.startswith("Filename") else value


def _index(root: Path, spec: IndexSpec, facts: list[PackageFacts]) -> IndexState:
    listed = sorted((each for each in facts if each.part in spec.parts), key=lambda each: each.order_key)
    streams = []
    for stream in spec.streams:
        entries = b"".join(each.fragments[stream.name] for each in listed)
        plain = FORMAT.head(stream.name, len(listed)) + entries + FORMAT.foot(stream.name)
        packed = gzip.compress(plain)
        sha256 = hashlib.sha256(packed).hexdigest()
        path = root / "debian/dists/bookworm" / stream.gz_path
        (path.parent / "by-hash/SHA256").mkdir(parents=True, exist_ok=True)
        path.write_bytes(packed)
        (path.parent / "by-hash/SHA256" / sha256).write_bytes(packed)
        plain_sha256 = hashlib.sha256(plain).hexdigest()
        streams.append(
            StreamState(stream.name, stream.plain_path, stream.gz_path, len(packed), sha256, len(plain), plain_sha256)
        )
    return IndexState(spec.name, len(listed), tuple(streams))


@pytest.mark.clients
def test_apt_reads_the_repository(tmp_path: Path) -> None:
    """Goal: apt updates, orders versions, sees ``all`` everywhere, installs and gets sources, with the
    lines of ``setup``.

    Method: packages of two architectures and ``all``, versions that sort oddly, a source package; a real apt of amd64
    and arm64 over file: addresses, with the deb822 source as printed.
    """
    repository, sources = tmp_path / "repo", tmp_path / "sources"
    sources.mkdir()
    files = [(data, facts_of(data)) for data in _packages()]
    package = make_dsc(sources, "hello", "1:2.0-1")
    files += [(path.read_bytes(), facts_of(path.read_bytes(), path.name)) for path in (package.dsc, *package.members)]
    with GpgHome() as gpg:
        lay_out(repository, files, gpg)
        key = tmp_path / "key.asc"
        key.write_bytes(gpg.public_key())
    lines = {line.title: line for line in FORMAT.setup(_setup(f"file:{repository}", private=False))}
    source = lines["apt, debian/bookworm"].text.replace("/etc/apt/keyrings/user_repo.asc", str(key))
    apt = AptRoot(tmp_path / "apt", source, foreign_arches=["arm64"])
    apt.update()
    assert apt.pkgnames() == ["foo", "tool"]
    assert apt.versions("foo") == ["1:0.1", "10.0-1", "9.0-1", "9.0~rc1-1"]
    assert apt.candidate("foo:arm64") == "2.0"
    apt.install("foo=9.0-1", "tool")
    assert apt.installed() == {"foo": "9.0-1", "tool": "1.0"}
    apt.source("hello", download_only=True)
    assert set(apt.work_files()) == {path.name for path in (package.dsc, *package.members)}
    apt.write_sources(lines["apt, debian/bookworm, one line"].text.replace("/etc/apt/keyrings/user_repo.asc", str(key)))
    apt.update()
    assert apt.candidate("tool") == "1.0"


def _packages() -> list[bytes]:
    return [
        *(deb_bytes("foo", version) for version in ("10.0-1", "9.0~rc1-1", "9.0-1", "1:0.1")),
        deb_bytes("foo", "2.0", "arm64"),
        deb_bytes("tool", "1.0", "all", files={"usr/bin/tool": b"#!/bin/sh\n"}),
    ]


def _setup(base_url: str, *, private: bool) -> SetupInput:
    return SetupInput(base_url, "user", "repo", private, (DISTRIBUTION,))


def test_empty_distribution_has_indexes() -> None:
    """Goal: apt-get update works before the first push. Method: no parts at all."""
    specs = FORMAT.indexes(DISTRIBUTION, frozenset())
    assert [spec.name for spec in specs] == [
        *(f"main/binary-{name}" for name in ("amd64", "arm64", "armhf", "i386")),
        "main/source",
    ]
    assert all(spec.scope == "" for spec in specs)
    assert specs[0].parts == {"main:amd64", "main:all"}
    assert specs[-1].parts == {"main:source"}
    assert [(stream.name, stream.plain_path, stream.gz_path) for stream in specs[-1].streams] == [
        ("Sources", "main/source/Sources", "main/source/Sources.gz")
    ]


def test_indexes_grow_with_architectures() -> None:
    """Goal: an architecture that was pushed has an index; all and source make none. Method: parts of each kind."""
    parts = frozenset({"main:riscv64", "main:all", "main:source"})
    names = {spec.name for spec in FORMAT.indexes(DISTRIBUTION, parts)}
    assert names - {spec.name for spec in FORMAT.indexes(DISTRIBUTION, frozenset())} == {"main/binary-riscv64"}


def _manifest(origin: str = "example.org/user/repo") -> Manifest:
    states = tuple(
        IndexState(
            spec.name,
            0,
            tuple(StreamState(s.name, s.plain_path, s.gz_path, 20, "a" * 64, 0, "b" * 64) for s in spec.streams),
        )
        for spec in FORMAT.indexes(DISTRIBUTION, frozenset())
    )
    return FORMAT.manifest(ManifestInput(origin, "repo", DISTRIBUTION, "", DATE_S, 7, states))


def test_release_file() -> None:
    """Goal: packagecloud's fields, plain forms listed. Method: the whole text of an empty distribution."""
    manifest = _manifest()
    folders = [*(f"main/binary-{name}/Packages" for name in ("amd64", "arm64", "armhf", "i386")), "main/source/Sources"]
    rows = "".join(f" {'b' * 64} {0:>16} {path}\n {'a' * 64} {20:>16} {path}.gz\n" for path in folders)
    assert manifest.documents[0].content.decode() == (
        "Origin: example.org/user/repo\nLabel: repo\nSuite: bookworm\nCodename: bookworm\nVersion: 1\n"
        "Date: Wed, 01 Jan 2025 00:00:00 UTC\nArchitectures: amd64 arm64 armhf i386\nComponents: main\n"
        f"Acquire-By-Hash: yes\nSHA256:\n{rows}"
    )
    assert [(each.document, each.name, each.style) for each in manifest.signatures] == [
        ("Release", "InRelease", "clear"),
        ("Release", "Release.gpg", "detached"),
    ]


def test_origin_cannot_add_fields() -> None:
    """Goal: a setting cannot forge a field of what is signed. Method: newlines in the origin."""
    text = _manifest("x\nValid-Until: Thu, 01 Jan 1970 00:00:00 UTC").documents[0].content.decode()
    assert text.startswith("Origin: x Valid-Until: Thu, 01 Jan 1970 00:00:00 UTC\nLabel: ")


def test_setup_lines_of_a_private_repository() -> None:
    """Goal: lines that work as pasted, no token printed.

    Method: over https and over http, where apt wants the scheme.
    """
    lines = {line.title: line for line in FORMAT.setup(_setup("https://example.org:8443/user/repo", private=True))}
    assert lines["apt token"].file == "/etc/apt/auth.conf.d/user_repo.conf"
    assert lines["apt token"].text == "machine example.org:8443/user/repo/ login TOKEN password x\n"
    assert "-u TOKEN: https://example.org:8443/user/repo/gpgkey" in lines["apt key"].text
    assert lines["apt, debian/bookworm"].text == (
        "Types: deb deb-src\nURIs: https://example.org:8443/user/repo/debian/\nSuites: bookworm\nComponents: main\n"
        "Signed-By: /etc/apt/keyrings/user_repo.asc\n"
    )
    assert lines["apt, debian/bookworm, one line"].text == (
        "deb [signed-by=/etc/apt/keyrings/user_repo.asc] https://example.org:8443/user/repo/debian/ bookworm main\n"
    )
    assert lines["curl, debian/bookworm"].text == (
        "curl --fail-with-body -sS -T PACKAGE.deb -u TOKEN: https://example.org:8443/user/repo/debian/bookworm/\n"
    )
    dput = lines["dput, debian/bookworm"].text
    assert "method = https\nfqdn = example.org:8443\nincoming = /user/repo/debian/bookworm\n" in dput
    plain = {line.title: line for line in FORMAT.setup(_setup("http://localhost:8080/user/repo", private=True))}
    assert plain["apt token"].text == "machine http://localhost:8080/user/repo/ login TOKEN password x\n"


def test_public_repository_needs_no_token() -> None:
    """Goal: nothing that a public repository does not need. Method: no token line, no credentials for the key."""
    lines = {line.title: line for line in FORMAT.setup(_setup("https://example.org/user/repo", private=False))}
    assert "apt token" not in lines
    assert "TOKEN" not in lines["apt key"].text
