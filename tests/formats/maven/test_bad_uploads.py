"""Uploads that must be refused, each with its code."""

import io
import time
import zipfile

import pytest

from entrepot.model.limits import POM_BYTES_MAX
from tests.formats.maven.judging import kept, place, refused
from tests.support.java import make_jar, make_pom

G, A, V = "org.example", "lib", "1.0"
POM_PATH = place(G, A, V, ".pom")
JAR_PATH = place(G, A, V, ".jar")


@pytest.mark.parametrize(
    "prologue",
    [
        '<!DOCTYPE project [<!ENTITY x SYSTEM "file:///etc/passwd">]>',
        '<!DOCTYPE project [<!ENTITY % x SYSTEM "http://127.0.0.1:1/x.dtd"> %x;]>',
        '<!DOCTYPE project [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;">]>',
        '<!DOCTYPE project SYSTEM "http://127.0.0.1:1/x.dtd">',
        "<!DOCTYPE project>",
    ],
)
def test_document_types_and_entities(prologue: str) -> None:
    """Goal: XXE, parameter entities and entity bombs never get as far as being resolved."""
    body = "<name>&x;</name>" if "x SYSTEM" in prologue else ""
    assert refused(POM_PATH, make_pom(G, A, V, prologue=prologue, body=body)).code == "package_hostile"


def test_huge_pom() -> None:
    """Goal: 100 MB of POM are refused by size, before a byte of them is parsed."""
    data = make_pom(G, A, V, body="<!--" + "x" * (100 << 20) + "-->")
    began = time.monotonic()
    refusal = refused(POM_PATH, data)
    assert refusal.code == "package_hostile"
    assert refusal.numbers["limit_bytes"] == POM_BYTES_MAX
    assert time.monotonic() - began < 1


@pytest.mark.parametrize("body", ["<a>" * 65 + "</a>" * 65, "<a>" * 100_000 + "</a>" * 100_000, "<a/>" * 100_001])
def test_deep_and_wide_poms(body: str) -> None:
    """Goal: elements cost a hundred times their bytes in memory, so their number and depth have bounds below 4 MiB."""
    assert refused(POM_PATH, make_pom(G, A, V, body=body)).code == "package_hostile"


def test_doubling_properties() -> None:
    """Goal: expressions that grow with each round of resolving stay small. Method: ten rounds that make tenfold."""
    steps = "".join(f"<p{n}>{f'${{p{n - 1}}}' * 10 if n else 'x' * 10}</p{n}>" for n in range(11))
    began = time.monotonic()
    facts = kept(POM_PATH, make_pom(G, A, V, body=f"<properties>{steps}</properties><name>${{p10}}</name>"))
    assert len(str(facts.metadata["summary"])) <= 4096
    assert time.monotonic() - began < 2


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "not_a_package"),
        (b"rubbish", "not_a_package"),
        (b"<project>", "not_a_package"),
        (b"<html/>", "not_a_package"),
        (b'<project xmlns="urn:other"/>', "not_a_package"),
        (b'<?xml version="1.0" encoding="no-such"?><project/>', "not_a_package"),
        (b"<project/>", "package_field_invalid"),
        (b"<project><artifactId>lib</artifactId></project>", "package_field_invalid"),
        (b"<project><artifactId>lib</artifactId><version>1.0</version></project>", "package_field_invalid"),
        (make_pom(G, A, V, body="<version>1.0</version>"), "package_field_invalid"),
        (make_pom(G, A, V, body="<artifactId>other</artifactId>"), "package_field_invalid"),
        (make_pom(G, A, V)[:-20], "not_a_package"),
        (make_pom(G, A, V) + b"<project/>", "not_a_package"),
    ],
)
def test_not_a_pom(data: bytes, code: str) -> None:
    """Goal: not a POM; truncated; trailing bytes; missing and repeated coordinates."""
    assert refused(POM_PATH, data).code == code


@pytest.mark.parametrize(
    "pom",
    [
        make_pom("org.other", A, V),
        make_pom(G, "other", V),
        make_pom(G, A, "1.1"),
        make_pom(G, A, "${r}", body="<properties><r>2</r></properties>"),
        make_pom(G, A, f"{V}\n-evil"),
    ],
)
def test_pom_differs_from_its_path(pom: bytes) -> None:
    """Goal: nobody plants a POM of one package under the path of another."""
    assert refused(POM_PATH, pom).code == "coordinates_mismatch"


def test_pom_of_a_snapshot_differs() -> None:
    """Goal: a release's POM in a snapshot's folder, and another build's, are refused."""
    path = place(G, A, "1.0-SNAPSHOT", ".pom", "1.0-20260101.120000-1")
    for version in ("1.0", "1.0-20260101.120000-2", "1.1-SNAPSHOT"):
        assert refused(path, make_pom(G, A, version)).code == "coordinates_mismatch"


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("org/example/lib/1.0/other-1.0.jar", "coordinates_mismatch"),
        ("org/example/lib/1.0/lib-1.1.jar", "coordinates_mismatch"),
        ("org/example/lib/1.0/lib-1.0", "coordinates_mismatch"),
        ("org/example/lib/1.0/lib-1.00.jar", "coordinates_mismatch"),
        ("org/example/lib/1.0/.jar", "coordinates_mismatch"),
        ("org/example/lib/1.0/lib-1.0-20260101.120000-1.jar.", "package_name_invalid"),
        ("org/example/lib/1.0-SNAPSHOT/lib-1.0.jar", "coordinates_mismatch"),
        ("org/example/lib/1.0-SNAPSHOT/lib-1.0-2026.12-1.jar", "coordinates_mismatch"),
        ("org/example/lib/1.0-SNAPSHOT/lib-1.1-20260101.120000-1.jar", "coordinates_mismatch"),
        ("org/example/lib/1.0-20260101.120000-1/lib-1.0-20260101.120000-1.jar", "package_name_invalid"),
        ("lib/1.0/lib-1.0.jar", "package_name_invalid"),
        ("1.0/lib-1.0.jar", "package_name_invalid"),
        ("org.example/lib/1.0/lib-1.0.jar", "package_name_invalid"),
        ("org/ex ample/lib/1.0/lib-1.0.jar", "package_name_invalid"),
        ("org/example/-rf/1.0/-rf-1.0.jar", "package_name_invalid"),
        ("org/example/.lib/1.0/.lib-1.0.jar", "package_name_invalid"),
        ("org/example/lib/..1/lib-..1.jar", "package_name_invalid"),
        ("org/example/lib/1..0/lib-1..0.jar", "package_name_invalid"),
        ("org/example/lib/1.0/lib-1.0..jar", "package_name_invalid"),
        ("org/example/lib/1.0/lib-1.0-a\\b.jar", "package_name_invalid"),
        ("org/example/lib/1.0/lib-1.0-a\nb.jar", "package_name_invalid"),
        ("org/example/lib/1.0/lib-1.0-é.jar", "package_name_invalid"),
        ("org/example/lib/1:0/lib-1:0.jar", "package_name_invalid"),
        ("org/example/lib/1[0/lib-1[0.jar", "package_name_invalid"),
        ("org/example/lib\x00/1.0/lib\x00-1.0.jar", "package_name_invalid"),
        ("org/example/lib/1.0/lib-1.0-" + "x" * 300 + ".jar", "package_name_invalid"),
        ("o" * 300 + "/lib/1.0/lib-1.0.jar", "package_name_invalid"),
        ("o/" * 600 + "lib/1.0/lib-1.0.jar", "package_name_invalid"),
        ("../../etc/lib/1.0/lib-1.0.jar", "package_name_invalid"),
        ("org//lib/1.0/lib-1.0.jar", "package_name_invalid"),
    ],
)
def test_paths(path: str, code: str) -> None:
    """Goal: a file lies where its coordinates say and nowhere else; tricks with names end here, in claims as well."""
    assert refused(path, make_jar()).code == code
    assert refused(f"{path}.sha1", b"0" * 40).code == code


def test_not_a_zip() -> None:
    """Goal: text under a zip's name, a truncated jar, and a jar with trailing bytes are refused."""
    whole = make_jar()
    assert refused(JAR_PATH, b"").code == "not_a_package"
    assert refused(JAR_PATH, b"<html>404</html>").code == "not_a_package"
    assert refused(place(G, A, V, ".war"), b"!<arch>\n").code == "not_a_package"
    assert refused(JAR_PATH, whole[:-1]).code == "package_damaged"
    assert refused(JAR_PATH, whole[: len(whole) // 2]).code == "package_damaged"
    assert refused(JAR_PATH, whole + b"trailing").code == "package_damaged"


def test_zip_that_looks_like_another_to_another_reader() -> None:
    """Goal: entries that overlap (one kernel listed many times is a bomb) are refused, though we unpack nothing."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as jar:
        jar.writestr("a", b"x" * 100)
        jar.filelist.append(jar.filelist[0])
    assert refused(JAR_PATH, out.getvalue()).code == "package_hostile"


def test_jar_with_a_launch_script_is_good() -> None:
    """Goal: an executable Spring Boot jar, a zip after a shell script, is no attack."""
    assert kept(JAR_PATH, b"#!/bin/sh\nexec java -jar $0\n" + make_jar()).type == "jar"


def test_directory_beyond_the_window_is_let_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """Goal: a jar with more classes than the tail can list is kept: nothing of it is read, so nothing can hurt."""
    monkeypatch.setattr("entrepot.formats.maven.archive.TAIL_BYTES", 70_000)
    monkeypatch.setattr("entrepot.formats.maven.archive.HEAD_BYTES", 100)
    jar = make_jar({f"com/example/pkg/Class{number:05}.class": b"x" for number in range(2000)})
    assert kept(JAR_PATH, jar).type == "jar"


@pytest.mark.parametrize("data", [b"", b"0" * 39, b"g" * 40, b"<html>", b"0" * 40_000, b"0" * 41])
def test_bad_checksum_file(data: bytes) -> None:
    """Goal: a checksum that is none is refused, rather than taken for a claim that nothing contradicts."""
    assert refused(f"{JAR_PATH}.sha1", data).code == "package_field_invalid"


@pytest.mark.parametrize(
    ("hint", "code"),
    [
        ("", "package_field_invalid"),
        ("org.example:lib", "package_field_invalid"),
        ("a:b:c:d:e:f", "package_field_invalid"),
        ("::", "package_field_invalid"),
        ("org/example:lib:1.0", "package_name_invalid"),
        ("org.example:../lib:1.0", "package_name_invalid"),
        ("org.example:lib:../1", "package_name_invalid"),
        ("org..example:lib:1.0", "package_name_invalid"),
        ("org.example:lib:jar:a/b:1.0", "package_name_invalid"),
    ],
)
def test_bad_coordinates(hint: str, code: str) -> None:
    """Goal: coordinates that are missing, too few, or climb out of the layout."""
    assert refused("x.jar", make_jar(), {"coordinates": hint}).code == code


def test_coordinates_that_are_not_inside() -> None:
    """Goal: a shaded jar names several, a hostile one none of use; a checksum without its path names no file."""
    two = {f"META-INF/maven/g/{name}/pom.properties": b"groupId=g\nartifactId=a\nversion=1" for name in ("a", "b")}
    assert refused("x.jar", make_jar(two)).code == "package_field_invalid"
    bomb = {"META-INF/maven/g/a/pom.properties": b"groupId=g\n" * 100_000}
    assert refused("x.jar", make_jar(bomb)).code == "package_hostile"
    climbing = {"META-INF/maven/g/a/pom.properties": b"groupId=../g\nartifactId=a\nversion=1"}
    assert refused("x.jar", make_jar(climbing)).code == "package_name_invalid"
    assert refused("x.tar.gz", b"anything").code == "package_field_invalid"
    assert refused("x.pom", make_pom("g", "a", "${r}")).code == "package_field_invalid"
    assert refused("x.jar.sha1", b"0" * 40).code == "package_name_invalid"
    assert refused("x.pom", make_pom("g", "a", "1"), {"coordinates": "g:b:1"}).code == "coordinates_mismatch"
