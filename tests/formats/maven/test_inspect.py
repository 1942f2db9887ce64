"""Good uploads: what the catalog learns of them."""

import pytest

from entrepot.formats.protocol import Inspection, Member
from tests.formats.maven.judging import judge, kept, place
from tests.support.java import make_jar, make_pom

G, A, V = "org.example.deep", "lib-x", "1.0"
CONFIGURED = (
    "<build><plugins><plugin><artifactId>maven-plugin-plugin</artifactId>"
    "<configuration><goalPrefix>hi</goalPrefix></configuration></plugin></plugins></build>"
)
FOLDER = "org/example/deep/lib-x"


def test_pom_tells_what_people_want_to_see() -> None:
    """Goal: names, licences and dependencies with properties resolved; the POM is what lists a release."""
    body = (
        "<name>The Lib</name><description>Does things.</description><url>https://example.org/${project.artifactId}</url>"
        "<licenses><license><name>GPL-3.0</name></license></licenses><properties><x.version>7</x.version></properties>"
        "<dependencies><dependency><groupId>g</groupId><artifactId>a</artifactId><version>${x.version}</version></dependency>"
        "<dependency><groupId>junit</groupId><artifactId>junit</artifactId><version>${unknown}</version><scope>test</scope>"
        "</dependency></dependencies>"
    )
    facts = kept(place(G, A, V, ".pom"), make_pom(G, A, V, body=body))
    assert (facts.type, facts.name, facts.version, facts.filename) == ("pom", f"{G}:{A}", V, f"{A}-{V}.pom")
    assert facts.path == facts.conflict_key == place(G, A, V, ".pom")
    assert facts.document_scopes == (FOLDER,)
    assert not facts.replaces
    assert dict(facts.metadata) == {
        "group": G,
        "artifact": A,
        "extension": "pom",
        "packaging": "jar",
        "summary": "The Lib",
        "description": "Does things.",
        "homepage": "https://example.org/lib-x",
        "licenses": ["GPL-3.0"],
        "dependencies": [
            {"context": "compile", "dependencies": ["g:a:7"]},
            {"context": "test", "dependencies": ["junit:junit:${unknown}"]},
        ],
    }


@pytest.mark.parametrize(
    ("suffix", "classifier", "extension"),
    [
        (".jar", "", "jar"),
        ("-sources.jar", "sources", "jar"),
        ("-linux-x86_64.jar", "linux-x86_64", "jar"),
        (".war", "", "war"),
        (".aar", "", "aar"),
        ("-bin.tar.gz", "bin", "tar.gz"),
        (".tar.gz", "", "tar.gz"),
        (".tar.gz.asc", "", "tar.gz.asc"),
        ("-jdk1.5.jar", "jdk1.5", "jar"),
        (".jar.asc", "", "jar.asc"),
        ("-sources.jar.asc", "sources", "jar.asc"),
        (".module", "", "module"),
        (".so", "", "so"),
    ],
)
def test_any_packaging_and_classifier(suffix: str, classifier: str, extension: str) -> None:
    """Goal: whatever mvn and gradle deploy is kept, with classifier and extension told apart; none lists a release."""
    facts = kept(place(G, A, V, suffix), make_jar())
    assert facts.metadata["extension"] == extension
    assert facts.metadata.get("classifier", "") == classifier
    assert facts.document_scopes == ()
    assert facts.path == place(G, A, V, suffix)


def test_parent_gives_group_and_version() -> None:
    """Goal: a POM that inherits its coordinates agrees with its path."""
    own = f"<project><parent><groupId>{G}</groupId><artifactId>p</artifactId><version>{V}</version></parent>"
    pom = f"{own}<artifactId>{A}</artifactId></project>".encode()
    assert kept(place(G, A, V, ".pom"), pom).version == V


@pytest.mark.parametrize("version", ["${revision}", "${unknown}", "${parent.version}"])
def test_expressions_in_a_version(version: str) -> None:
    """Goal: CI-friendly versions: resolved from the POM's own properties, let pass when only a parent knows."""
    body = "<properties><revision>1.0</revision></properties>"
    assert kept(place(G, A, V, ".pom"), make_pom(G, A, version, body=body)).version == V


@pytest.mark.parametrize("encoding", ["UTF-8", "ISO-8859-1", "UTF-16"])
def test_encodings(encoding: str) -> None:
    """Goal: POMs of every age are read, with and without namespace."""
    for namespace in ("", ' xmlns="http://maven.apache.org/POM/4.0.0"', ' xmlns="http://maven.apache.org/POM/4.1.0"'):
        text = (
            f'<?xml version="1.0" encoding="{encoding}"?><project{namespace}><groupId>{G}</groupId>'
            f"<artifactId>{A}</artifactId><version>{V}</version><name>Grüße</name></project>"
        )
        assert kept(place(G, A, V, ".pom"), text.encode(encoding)).metadata["summary"] == "Grüße"


def test_snapshots() -> None:
    """Goal: a file named SNAPSHOT is replaced by the next one, a timestamped one stays; both change metadata."""
    version, build = "1.0-SNAPSHOT", "1.0-20260101.120000-12"
    named = kept(place(G, A, version, ".jar"), make_jar())
    assert named.replaces
    assert named.document_scopes == (FOLDER,)
    unique = kept(place(G, A, version, "-sources.jar", build), make_jar())
    assert not unique.replaces
    assert unique.version == version
    assert unique.path == f"{FOLDER}/{version}/{A}-{build}-sources.jar"
    assert unique.document_scopes == (FOLDER,)
    assert kept(place(G, A, version, ".pom", build), make_pom(G, A, version)).document_scopes == (FOLDER,)
    assert kept(place(G, A, version, ".pom", build), make_pom(G, A, build)).version == version
    assert kept(place(G, A, "SNAPSHOT", ".jar", "20260101.120000-1"), make_jar()).version == "SNAPSHOT"


@pytest.mark.parametrize(
    ("artifact", "body", "prefix"),
    [
        ("hello-maven-plugin", "", "hello"),
        ("maven-hello-plugin", "", "hello"),
        ("maven-plugin-plugin", "", "plugin"),
        (
            "other",
            CONFIGURED,
            "hi",
        ),
    ],
)
def test_plugin_prefix_of_a_pom(artifact: str, body: str, prefix: str) -> None:
    """Goal: a plugin touches its group's metadata under the prefix Maven would give it."""
    facts = kept(place(G, artifact, V, ".pom"), make_pom(G, artifact, V, packaging="maven-plugin", body=body))
    assert facts.metadata["plugin_prefix"] == prefix
    assert facts.document_scopes == ("org/example/deep", f"org/example/deep/{artifact}")


def test_plugin_prefix_of_a_jar() -> None:
    """Goal: the descriptor in the jar counts; one that is hostile or odd is passed over, and the jar is kept."""
    for descriptor, prefix in (
        (b"<plugin><goalPrefix>hey</goalPrefix></plugin>", "hey"),
        (b"<plugin><goalPrefix>a b</goalPrefix></plugin>", None),
        (b'<!DOCTYPE p [<!ENTITY x SYSTEM "file:///etc/passwd">]><plugin><goalPrefix>&x;</goalPrefix></plugin>', None),
        (b"rubbish", None),
    ):
        facts = kept(place(G, A, V, ".jar"), make_jar({"META-INF/maven/plugin.xml": descriptor}))
        assert facts.metadata.get("plugin_prefix") == prefix
        assert facts.document_scopes == (("org/example/deep",) if prefix else ())


@pytest.mark.parametrize("content", ["{hex}", "{hex}\n", "{HEX}", "{hex}  lib-x-1.0.jar\n", "{hex} *lib-x-1.0.jar"])
@pytest.mark.parametrize(("algorithm", "digits"), [("md5", 32), ("sha1", 40), ("sha256", 64), ("sha512", 128)])
def test_a_checksum_file_is_a_claim(content: str, algorithm: str, digits: int) -> None:
    """Goal: a client's checksum is compared with its file, and not kept, in each of the shapes tools write."""
    hexes = "0a" * (digits // 2)
    data = content.format(hex=hexes, HEX=hexes.upper()).encode()
    for suffix in (".jar", ".jar.asc", ".pom"):
        path = place(G, A, V, suffix)
        assert judge(f"{path}.{algorithm}", data) == Inspection(None, (Member(path, None, {algorithm: hexes}),))


@pytest.mark.parametrize("folder", ["org/ex/a", "org/ex/a/1-SNAPSHOT", "org/ex"])
@pytest.mark.parametrize("suffix", ["", ".md5", ".sha1", ".sha256", ".sha512"])
def test_a_clients_metadata_is_taken_and_dropped(folder: str, suffix: str) -> None:
    """Goal: the last step of every deploy succeeds, and cannot change what the server says, nor be used to attack."""
    assert judge(
        f"{folder}/maven-metadata.xml{suffix}", b'<!DOCTYPE x [<!ENTITY a "b">]>rubbish' * 100_000
    ) == Inspection(None)


@pytest.mark.parametrize(
    ("coordinates", "filename", "path"),
    [
        ("org.example:lib:1.0", "lib-1.0.jar", "org/example/lib/1.0/lib-1.0.jar"),
        ("org.example:lib:1.0", "lib-1.0-sources.jar", "org/example/lib/1.0/lib-1.0-sources.jar"),
        ("org.example:lib:1.0", "whatever.jar", "org/example/lib/1.0/lib-1.0.jar"),
        ("org.example:lib:1.0", "whatever.tar.gz", "org/example/lib/1.0/lib-1.0.tar.gz"),
        ("org.example:lib:war:1.0", "build.war", "org/example/lib/1.0/lib-1.0.war"),
        ("org.example:lib:jar:tests:1.0", "x.jar", "org/example/lib/1.0/lib-1.0-tests.jar"),
    ],
)
def test_coordinates_sent_along(coordinates: str, filename: str, path: str) -> None:
    """Goal: packagecloud's API sends a bare name and coordinates; the file gets its place in the layout."""
    assert kept(filename, make_jar(), {"coordinates": coordinates}).path == path


def test_coordinates_inside() -> None:
    """Goal: a bare jar or POM goes where its own coordinates say; coordinates sent along count more for a jar."""
    properties = b"#Generated\ngroupId=org.in\nartifactId=side\nversion=2\n"
    jar = make_jar({"META-INF/maven/org.in/side/pom.properties": properties, "big": bytes(3 << 20)})
    assert kept("x.jar", jar).path == "org/in/side/2/side-2.jar"
    assert kept("x.jar", jar, {"coordinates": "a:b:3"}).path == "a/b/3/b-3.jar"
    only_pom = make_jar({"META-INF/maven/org.in/side/pom.xml": make_pom("org.in", "side", "3")})
    assert kept("side-3-tests.jar", only_pom).path == "org/in/side/3/side-3-tests.jar"
    assert kept("x.pom", make_pom("org.in", "side", "4")).path == "org/in/side/4/side-4.pom"


def test_order_key_sorts_names_then_versions() -> None:
    """Goal: listings show 1.9 before 1.10 and a snapshot before its release."""
    names = [("a.b", "c", "1.9"), ("a.b", "c", "1.10-SNAPSHOT"), ("a.b", "c", "1.10"), ("a.b", "d", "1.0")]
    keys = [kept(place(*each, ".jar"), make_jar()).order_key for each in names]
    assert keys == sorted(keys)
