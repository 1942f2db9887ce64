"""maven-metadata.xml to the letter, at each of its three levels."""

from collections.abc import Sequence
from xml.etree import ElementTree

from entrepot.formats.maven import FORMAT
from entrepot.formats.protocol import ListedFile, ManifestInput, PackageFacts
from tests.formats.maven.judging import DISTRIBUTION, kept, listed, place, release
from tests.support.java import make_jar, make_pom

DATE_S = 1_767_268_800  # 2026-01-01 12:00:00 UTC
G, A = "org.example", "lib"


def _documents(scope: str, files: Sequence[ListedFile]) -> dict[str, str]:
    manifest = FORMAT.manifest(ManifestInput("h/u/r", "r", DISTRIBUTION, scope, DATE_S, 1, (), files))
    assert manifest.signatures == ()
    for document in manifest.documents:
        assert document.digest_names == {
            name: f"{document.name}.{name}" for name in ("md5", "sha1", "sha256", "sha512")
        }
        ElementTree.fromstring(document.content)
    return {document.name: document.content.decode() for document in manifest.documents}


def _in_scope(scope: str, facts: Sequence[PackageFacts], created_at: int = DATE_S) -> list[ListedFile]:
    """What the catalog would pass: the files that named this scope."""
    return [listed(each, created_at) for each in facts if scope in each.document_scopes]


ARTIFACT = """\
<?xml version="1.0" encoding="UTF-8"?>
<metadata modelVersion="1.1.0">
  <groupId>org.example</groupId>
  <artifactId>lib</artifactId>
  <versioning>
    <latest>1.10.1-SNAPSHOT</latest>
    <release>1.10</release>
    <versions>
      <version>1.9</version>
      <version>1.10-rc1</version>
      <version>1.10</version>
      <version>1.10.1-SNAPSHOT</version>
    </versions>
    <lastUpdated>20260101120000</lastUpdated>
  </versioning>
</metadata>
"""

SNAPSHOT = """\
<?xml version="1.0" encoding="UTF-8"?>
<metadata modelVersion="1.1.0">
  <groupId>org.example</groupId>
  <artifactId>lib</artifactId>
  <version>1.0-SNAPSHOT</version>
  <versioning>
    <snapshot>
      <timestamp>20260101.130000</timestamp>
      <buildNumber>2</buildNumber>
    </snapshot>
    <lastUpdated>20260101130000</lastUpdated>
    <snapshotVersions>
      <snapshotVersion>
        <extension>jar</extension>
        <value>1.0-20260101.130000-2</value>
        <updated>20260101130000</updated>
      </snapshotVersion>
      <snapshotVersion>
        <classifier>sources</classifier>
        <extension>jar</extension>
        <value>1.0-20260101.120000-1</value>
        <updated>20260101120000</updated>
      </snapshotVersion>
      <snapshotVersion>
        <extension>pom</extension>
        <value>1.0-20260101.130000-2</value>
        <updated>20260101130000</updated>
      </snapshotVersion>
    </snapshotVersions>
  </versioning>
</metadata>
"""

PLUGINS = """\
<?xml version="1.0" encoding="UTF-8"?>
<metadata modelVersion="1.1.0">
  <plugins>
    <plugin>
      <name>A &lt;great&gt; one</name>
      <prefix>great</prefix>
      <artifactId>great-maven-plugin</artifactId>
    </plugin>
    <plugin>
      <name>hello-maven-plugin</name>
      <prefix>hi</prefix>
      <artifactId>hello-maven-plugin</artifactId>
    </plugin>
  </plugins>
</metadata>
"""


def test_artifact_level() -> None:
    """Goal: versions in Maven's order whatever the order of upload; latest, release and lastUpdated."""
    facts = [each for version in ("1.10", "1.9", "1.10.1-SNAPSHOT", "1.10-rc1") for each in release(G, A, version)]
    made = _documents("org/example/lib", _in_scope("org/example/lib", facts))
    assert made["maven-metadata.xml"] == ARTIFACT
    assert set(made) == {"maven-metadata.xml", "1.10.1-SNAPSHOT/maven-metadata.xml"}


def test_a_version_is_listed_once_its_pom_is_there() -> None:
    """Goal: a jar, its sources or a signature list nothing; a POM does. No POM at all: no document."""
    path = place(G, A, "1.0-SNAPSHOT", ".jar")
    assert _documents("org/example/lib", [listed(kept(path, make_jar()), DATE_S)]) == {}
    assert _documents("org/example/lib", []) == {}
    signature = kept(place(G, A, "2.0", ".pom.asc"), b"x")
    facts = [*release(G, A, "1.0"), kept(place(G, A, "2.0", ".jar"), make_jar()), signature]
    text = _documents("org/example/lib", [listed(each, DATE_S) for each in facts])["maven-metadata.xml"]
    assert "<version>1.0</version>" in text
    assert "2.0" not in text


def test_snapshots_only_have_no_release() -> None:
    """Goal: `release` is left out rather than empty."""
    text = _documents("org/example/lib", _in_scope("org/example/lib", release(G, A, "1-SNAPSHOT")))[
        "maven-metadata.xml"
    ]
    assert "<latest>1-SNAPSHOT</latest>" in text
    assert "<release>" not in text


def _build(stamp: str, *suffixes: str) -> list[PackageFacts]:
    version = "1.0-SNAPSHOT"
    return [
        kept(place(G, A, version, each, f"1.0-{stamp}"), make_pom(G, A, version) if each == ".pom" else make_jar())
        for each in suffixes
    ]


def test_snapshot_level() -> None:
    """Goal: the newest of each classifier and extension, but nothing of a build whose POM is not there yet."""
    files = [
        *_build("20260101.120000-1", ".jar", ".pom", "-sources.jar"),
        *_build("20260101.130000-2", ".pom", ".jar"),
        *_build("20260101.140000-3", ".jar"),
    ]
    made = _documents("org/example/lib", _in_scope("org/example/lib", files))
    assert made["1.0-SNAPSHOT/maven-metadata.xml"] == SNAPSHOT


def test_builds_are_ordered_by_time_not_by_text() -> None:
    """Goal: build 10 is newer than build 9, and of one second's builds the higher number counts."""
    files = [each for number in (9, 10) for each in _build(f"20260101.120000-{number}", ".pom", ".jar")]
    text = _documents("org/example/lib", _in_scope("org/example/lib", files))["1.0-SNAPSHOT/maven-metadata.xml"]
    assert "<buildNumber>10</buildNumber>" in text
    assert "-9</value>" not in text


def test_snapshot_files_named_snapshot() -> None:
    """Goal: files without a build are listed under their own name, with the time they came, so a new one is seen."""
    facts = release(G, A, "1.0-SNAPSHOT")
    text = _documents("org/example/lib", _in_scope("org/example/lib", facts))["1.0-SNAPSHOT/maven-metadata.xml"]
    assert "<snapshot>" not in text
    assert text.count("<value>1.0-SNAPSHOT</value>") == 2
    assert text.count("<updated>20260101120000</updated>") == 2
    assert "<lastUpdated>20260101120000</lastUpdated>" in text


def test_group_level() -> None:
    """Goal: plugins by prefix; names are escaped; the jar's own descriptor counts more than what its POM suggests."""
    facts = [
        *release(G, "great-maven-plugin", "1", packaging="maven-plugin", body="<name>A &lt;great&gt; one</name>"),
        *release(G, "hello-maven-plugin", "1.9", packaging="maven-plugin"),
        *release(G, "hello-maven-plugin", "1.10", packaging="maven-plugin"),
        *release(G, "no-plugin", "1"),
        kept(
            place(G, "hello-maven-plugin", "1.10", ".jar"),
            make_jar({"META-INF/maven/plugin.xml": b"<plugin><goalPrefix>hi</goalPrefix></plugin>"}),
        ),
    ]
    assert _documents("org/example", _in_scope("org/example", facts)) == {"maven-metadata.xml": PLUGINS}


def test_a_folder_that_is_an_artifact_and_a_group() -> None:
    """Goal: org.example:lib and the plugins of group org.example.lib share one address; its document says both."""
    facts = [*release(G, A, "1.0"), *release("org.example.lib", "x-maven-plugin", "1", packaging="maven-plugin")]
    made = _documents("org/example/lib", _in_scope("org/example/lib", facts))
    root = ElementTree.fromstring(made["maven-metadata.xml"])
    assert root.findtext("artifactId") == "lib"
    assert root.findtext("versioning/latest") == "1.0"
    assert root.findtext("plugins/plugin/prefix") == "x"


def test_no_index() -> None:
    """Goal: Maven has no streams, so nothing of that machinery is asked for."""
    assert FORMAT.indexes(DISTRIBUTION, frozenset({"x"})) == ()
    assert FORMAT.head("x", 0) + FORMAT.foot("x") == b""
