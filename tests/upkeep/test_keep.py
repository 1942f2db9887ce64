"""Keep rules on a real catalog, with the formats' own order of versions."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from entrepot.catalog import blobs, files, keep
from entrepot.catalog.engine import Catalog
from entrepot.catalog.keep import KeepRule
from entrepot.catalog.rows import FileFacts, NewFile, ScopeUse
from entrepot.formats.debian import version as debian
from entrepot.formats.maven import versions as maven
from entrepot.formats.protocol import Format
from entrepot.formats.registry import formats
from entrepot.formats.rpm import order as rpm
from entrepot.model.nouns import Digests
from entrepot.observe.clock import FixedClock
from entrepot.upkeep.keep import Keeper
from tests.catalog.helpers import NOW, a_deb, catalog_with_repository, needed, put

LINES: Mapping[str, Mapping[str, tuple[str, ...]]] = {each.name: each.version_lines for each in formats().values()}


@dataclass
class Bed:
    """A catalog with one repository, filled with rows as inspection makes them."""

    catalog: Catalog
    repository_id: int

    def add(
        self,
        kind: str,
        name: str,
        version: str,
        arch: str,
        order_key: bytes,
        *,
        distribution: str,
        filename: str,
        type_: str | None = None,
        epoch: int | None = None,
        release: str | None = None,
        content: str | None = None,
    ) -> int:
        """One file; its id."""
        body = content or f"{filename} {distribution}"
        sha256 = hashlib.sha256(body.encode()).hexdigest()
        facts = FileFacts(
            type=type_ or kind, name=name, version=version, architecture=arch, filename=filename, path=filename,
            conflict_key=filename, order_key=order_key, epoch=epoch, release=release, part=arch or None,
        )  # fmt: skip
        new = NewFile(self.repository_id, distribution, kind, facts, Digests(sha256), len(body), "ci")
        key = f"copy-{sha256[:20]}-{distribution}"
        return put(self.catalog, new, key, (ScopeUse(distribution, kind, listed=True),)).file_id

    def deb(
        self,
        name: str,
        version: str,
        arch: str = "amd64",
        distribution: str = "debian/bookworm",
        content: str | None = None,
    ) -> int:
        """A .deb."""
        key = debian.order_key(name, debian.parse_version(version), arch, "00" * 32)
        filename = f"{name}_{version.rpartition(':')[2]}_{arch}.deb"
        return self.add(
            "debian",
            name,
            version,
            arch,
            key,
            distribution=distribution,
            filename=filename,
            type_="deb",
            content=content,
        )

    def rpm(self, name: str, epoch: int, version: str, release: str, arch: str = "x86_64") -> int:
        """An .rpm."""
        key = rpm.order_key(name, epoch, version, release, arch, "00" * 32)
        filename = f"{name}-{epoch}-{version}-{release}.{arch}.rpm"
        return self.add(
            "rpm", name, version, arch, key, distribution="el/9", filename=filename, epoch=epoch, release=release
        )  # fmt: skip

    def maven(self, name: str, version: str, *extensions: str) -> None:
        """The files of one version of an artifact."""
        for extension in extensions:
            filename = f"{name.partition(':')[2]}-{version}{extension}"
            key = name.encode() + b"\0" + maven.sort_key(version) + b"\0" + filename.encode()
            self.add(
                "maven", name, version, "", key, distribution="java/maven2", filename=filename,
                type_=extension.rpartition(".")[2],
            )  # fmt: skip

    def live(self) -> list[str]:
        """File names that are not yanked."""
        with self.catalog.read() as conn:
            return sorted(row.filename for row in files.list_files(conn, self.repository_id))

    def rule(self, versions: int | None, distribution: str | None = None) -> None:
        """Set one."""
        self.catalog.submit(
            lambda conn: keep.set_rule(conn, self.repository_id, "acme/tools", distribution, versions, NOW)
        )

    def beyond(self, versions: int, distribution: str | None = None) -> tuple[int, ...]:
        """What a rule alone would take out."""
        with self.catalog.read() as conn:
            return keep.beyond(conn, self.repository_id, [KeepRule(distribution, versions)], LINES)

    def generations(self) -> dict[str, int]:
        """The last change of each scope."""
        with self.catalog.read() as conn:
            return dict(conn.exec_driver_sql("SELECT name, last_change FROM scope").all())


@pytest.fixture
def bed(tmp_path: Path) -> Iterator[Bed]:
    with catalog_with_repository(tmp_path) as (catalog, repository_id):
        yield Bed(catalog, repository_id)


def test_versions_are_counted_in_their_formats_order(bed: Bed) -> None:
    """Goal: what stays is what apt, dnf and mvn call the newest, not what was pushed last. Method: versions pushed in
    another order than theirs, with epochs, tildes, carets and leading zeros; two of each are kept."""
    for version in ("1:0.5", "2.0~rc1", "1.10", "2.0", "1.9"):
        bed.deb("hello", version)
    for epoch, version, release in (
        (0, "1.10", "1"),
        (1, "0.1", "1"),
        (0, "1.9", "2"),
        (0, "1.10", "10"),
        (0, "1.10", "9"),
    ):
        bed.rpm("hello", epoch, version, release)
    for version in ("1.0", "1.0-SNAPSHOT", "1.0-rc1", "0.9"):
        bed.maven("org.acme:hello", version, ".pom", ".jar", "-sources.jar")
    bed.rule(2)
    Keeper(bed.catalog, FixedClock(NOW + 1), LINES).run()
    assert bed.live() == [
        "hello-0-1.10-10.x86_64.rpm",
        "hello-1-0.1-1.x86_64.rpm",
        "hello-1.0-SNAPSHOT-sources.jar",
        "hello-1.0-SNAPSHOT.jar",
        "hello-1.0-SNAPSHOT.pom",
        "hello-1.0-sources.jar",
        "hello-1.0.jar",
        "hello-1.0.pom",
        "hello_0.5_amd64.deb",
        "hello_2.0_amd64.deb",
    ]


def test_each_line_counts_for_itself(bed: Bed) -> None:
    """Goal: a slow architecture, another package and another distribution lose nothing to a fast one. Method: five
    versions of one, single ones of the others; one is kept."""
    for number in range(5):
        bed.deb("fast", f"1.{number}")
    bed.deb("fast", "1.0", "arm64")
    bed.deb("slow", "0.1")
    bed.deb("fast", "1.0", distribution="debian/trixie")
    bed.rule(1)
    Keeper(bed.catalog, FixedClock(NOW + 1), LINES).run()
    assert bed.live() == ["fast_1.0_amd64.deb", "fast_1.0_arm64.deb", "fast_1.4_amd64.deb", "slow_0.1_amd64.deb"]


def test_a_distribution_may_have_a_rule_of_its_own(bed: Bed) -> None:
    """Goal: the rule of a distribution goes before that of all; without one nothing goes. Method: three versions in two
    distributions; rules set and taken away."""
    for number in range(3):
        for distribution in ("debian/bookworm", "debian/trixie"):
            bed.deb("hello", f"1.{number}", distribution=distribution)
    keeper = Keeper(bed.catalog, FixedClock(NOW + 1), LINES)
    assert keeper.run() == []
    bed.rule(2, "debian/trixie")
    keeper.run()
    assert len(bed.live()) == 5
    bed.rule(1)
    keeper.run()
    assert bed.live() == ["hello_1.1_amd64.deb", "hello_1.2_amd64.deb", "hello_1.2_amd64.deb"]
    bed.rule(None, "debian/trixie")
    keeper.run()
    assert bed.live() == ["hello_1.2_amd64.deb", "hello_1.2_amd64.deb"]
    with bed.catalog.read() as conn:
        assert keep.rules(conn, bed.repository_id) == (KeepRule(None, 1),)


def test_one_change_of_each_scope_and_none_when_nothing_is_new(bed: Bed) -> None:
    """Goal: many files cost one publication of their scope, and a tick without a push reads no files. Method: the
    scopes' change numbers; the second run must find nothing to ask."""
    for number in range(25):
        bed.deb("hello", f"1.{number}")
    for number in range(3):
        bed.rpm("hello", 0, f"1.{number}", "1")
    before = bed.generations()
    bed.rule(1)
    keeper = Keeper(bed.catalog, FixedClock(NOW + 1), LINES)
    tickets = keeper.run()
    assert {name: change - before[name] for name, change in bed.generations().items()} == dict.fromkeys(before, 1)
    assert len(tickets) == 2
    assert keeper.run() == []
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(keep, "beyond", None)
        assert keeper.run() == []
    bed.deb("hello", "2.0")
    keeper.run()
    assert bed.live() == ["hello-0-1.2-1.x86_64.rpm", "hello_2.0_amd64.deb"]


def test_a_source_package_goes_whole(bed: Bed) -> None:
    """Goal: an old .dsc takes its own tarball along and leaves one that a newer .dsc still needs. Method: two sets with
    one orig tarball; one is kept."""

    def member(name: str) -> None:
        facts = a_deb(bed.repository_id, "hello", filename=name, content=name, part=None, member=True)
        put(bed.catalog, facts, f"copy-{name}")

    def dsc(version: str, *members: str) -> None:
        key = debian.order_key("hello", debian.parse_version(version), "source", "00" * 32)
        new = a_deb(
            bed.repository_id, "hello", version, filename=f"hello_{version}.dsc", part="main:source",
            requires=tuple(needed(each, each) for each in members),
        )  # fmt: skip
        facts = replace(new.facts, type="dsc", order_key=key, fragments={"Sources": b"x\n\n"})
        put(bed.catalog, replace(new, facts=facts), f"copy-{version}")

    for name in ("hello_1.orig.tar.gz", "hello_1-1.debian.tar.xz", "hello_1-2.debian.tar.xz"):
        member(name)
    dsc("1-1", "hello_1.orig.tar.gz", "hello_1-1.debian.tar.xz")
    dsc("1-2", "hello_1.orig.tar.gz", "hello_1-2.debian.tar.xz")
    with bed.catalog.write() as conn:
        conn.exec_driver_sql("UPDATE file SET type = 'dsc-member' WHERE filename LIKE '%.tar.%'")
    bed.rule(1)
    Keeper(bed.catalog, FixedClock(NOW + 1), LINES).run()
    assert bed.live() == ["hello_1-2.debian.tar.xz", "hello_1-2.dsc", "hello_1.orig.tar.gz"]


def test_what_it_frees_is_true(bed: Bed) -> None:
    """Goal: the figure of a dry run is what the disk gets back. Method: bytes that another distribution and a yanked
    file share are not counted; then the rule, a day, and the collection."""
    bed.deb("hello", "1.0", content="x" * 1000)
    bed.deb("hello", "1.0", distribution="debian/trixie", content="x" * 1000)
    bed.deb("hello", "1.1", content="y" * 300)
    bed.deb("hello", "1.2", content="z" * 50)
    ids = bed.beyond(1, "debian/bookworm")
    with bed.catalog.read() as conn:
        found = keep.freed(conn, ids)
        assert keep.freed(conn, ids, 4096).size_bytes == 4096
    assert (found.files, found.blobs, found.size_bytes) == (2, 1, 300)
    bed.rule(1, "debian/bookworm")
    Keeper(bed.catalog, FixedClock(NOW + 1), LINES).run()
    with bed.catalog.write() as conn:
        conn.exec_driver_sql("UPDATE scope SET published_change = last_change")
    kept_s = 86_400
    purge = blobs.purge_yanked
    assert bed.catalog.submit(lambda conn: purge(conn, NOW + kept_s - kept_s, NOW, replaced_only=True)) == 0
    late_s = NOW + kept_s + 2
    assert bed.catalog.submit(lambda conn: purge(conn, late_s - kept_s, late_s, replaced_only=True)) == 2
    gone = bed.catalog.submit(lambda conn: blobs.collect(conn, late_s))
    assert sum(each.size_bytes for each in gone) == 300


def test_a_file_that_was_taken_out_can_come_back(bed: Bed) -> None:
    """Goal: until its bytes go, unyank undoes a rule's work, and the mark goes with it. Method: unyank, then the purge
    of what nobody asked for; the rule does not take it again before something new is pushed."""
    old = bed.deb("hello", "1.0")
    bed.deb("hello", "1.1")
    bed.rule(1)
    keeper = Keeper(bed.catalog, FixedClock(NOW + 1), LINES)
    keeper.run()
    assert bed.live() == ["hello_1.1_amd64.deb"]
    bed.catalog.submit(lambda conn: files.unyank(conn, [old], NOW + 2))
    keeper.run()
    assert bed.live() == ["hello_1.0_amd64.deb", "hello_1.1_amd64.deb"]
    bed.catalog.submit(lambda conn: files.yank(conn, [old], NOW + 3))
    with bed.catalog.write() as conn:
        conn.exec_driver_sql("UPDATE scope SET published_change = last_change")
    assert bed.catalog.submit(lambda conn: blobs.purge_yanked(conn, NOW + 9, NOW + 9, replaced_only=True)) == 0


@pytest.mark.parametrize("fmt", formats().values(), ids=lambda fmt: fmt.name)
def test_every_format_says_what_a_line_is(fmt: Format) -> None:
    """Goal: the contract of ``version_lines``. Method: its types and fields; a sample's type is covered."""
    lines = fmt.version_lines
    assert lines
    assert "" not in lines or set(lines) == {""}
    for fields in lines.values():
        assert "name" in fields
        assert set(fields) <= {"type", "name", "architecture"}
