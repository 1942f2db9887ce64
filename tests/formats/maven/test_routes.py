"""What each address means."""

import pytest

from entrepot.formats.maven import FORMAT
from entrepot.formats.protocol import EntryTarget, FileTarget, Target, UploadTarget
from entrepot.formats.registry import formats

D = "java/maven2"
META = "maven-metadata.xml"


@pytest.mark.parametrize(
    ("method", "path", "target"),
    [
        ("PUT", "maven2/g/a/1/a-1.jar", UploadTarget(D, "g/a/1/a-1.jar")),
        ("PUT", "java/maven2/g/a/1/a-1.jar", UploadTarget(D, "g/a/1/a-1.jar")),
        ("PUT", "java/maven2/a-1.jar", UploadTarget(D, "a-1.jar")),
        ("PUT", "maven2/g/a/1/a-1.jar.sha1", UploadTarget(D, "g/a/1/a-1.jar.sha1")),
        ("PUT", f"maven2/g/a/{META}", UploadTarget(D, f"g/a/{META}")),
        ("GET", "maven2/g/a/1/a-1.jar", FileTarget(D, "g/a/1/a-1.jar")),
        ("GET", "java/maven2/g/a/1/a-1.pom", FileTarget(D, "g/a/1/a-1.pom")),
        ("GET", "maven2/g/a/1/a-1.jar.sha512", FileTarget(D, "g/a/1/a-1.jar", derive="sha512")),
        ("GET", "maven2/g/a/1/a-1.jar.asc", FileTarget(D, "g/a/1/a-1.jar.asc")),
        ("GET", "maven2/g/a/1/a-1.jar.asc.md5", FileTarget(D, "g/a/1/a-1.jar.asc", derive="md5")),
        ("GET", f"maven2/org/ex/a/{META}", EntryTarget(D, "org/ex/a", META, pair=META)),
        ("GET", f"maven2/org/ex/a/{META}.sha1", EntryTarget(D, "org/ex/a", f"{META}.sha1", pair=META)),
        (
            "GET",
            f"maven2/org/ex/a/1-SNAPSHOT/{META}.md5",
            EntryTarget(D, "org/ex/a", f"1-SNAPSHOT/{META}.md5", pair=f"1-SNAPSHOT/{META}"),
        ),
        ("GET", f"maven2/{META}", FileTarget(D, META)),
        ("GET", "maven2", None),
        ("GET", "java/maven2", None),
        ("GET", "java/other/x", None),
        ("GET", "debian/maven2/x", None),
        ("GET", "java/java/maven2/x", None),
        ("POST", "maven2/g/a/1/a-1.jar", None),
        ("DELETE", "maven2/g/a/1/a-1.jar", None),
    ],
)
def test_route(method: str, path: str, target: Target | None) -> None:
    """Goal: both addresses of packagecloud's layout, and the three levels of metadata with their checksums."""
    assert FORMAT.route(method, path) == target


def test_registry_finds_the_format() -> None:
    """Goal: one folder is all it takes."""
    assert formats()["maven"] is FORMAT
    assert FORMAT.mounts == ("maven2",)


def test_needs_are_bounded_and_checksums_need_no_digest() -> None:
    """Goal: no file is read whole unless it is small; each kept file has the digests that its checksum files show."""
    for path in ("g/a/1/a-1.pom", "g/a/1/a-1.jar", "g/a/1/a-1.tar.gz", "a.bin", "g/a/1/a-1.jar.asc"):
        needs = FORMAT.needs(path)
        assert needs.digests == {"md5", "sha1", "sha512"}
        assert needs.head_bytes + needs.tail_bytes <= 16 * 1024 * 1024
    for path in ("g/a/1/a-1.jar.sha1", "g/a/maven-metadata.xml", "g/a/maven-metadata.xml.md5"):
        assert FORMAT.needs(path).digests == frozenset()


@pytest.mark.parametrize(
    ("filename", "content_type"),
    [
        ("a-1.jar", "application/java-archive"),
        ("a-1.war", "application/java-archive"),
        ("a-1.pom", "application/xml"),
        ("a-1-features.xml", "application/xml"),
        ("a-1.jar.asc", "text/plain; charset=utf-8"),
        ("a-1.tar.gz", "application/octet-stream"),
    ],
)
def test_content_types(filename: str, content_type: str) -> None:
    """Goal: a browser shows what is text, and saves what is not. Method: each kind of file that is kept."""
    assert FORMAT.content_type(filename) == content_type


def test_groups_are_written_in_two_ways() -> None:
    """Goal: clients yank by ``org.example/FILE`` and ``org/example/FILE``. Method: both, and neighbours."""
    path = "org/example/app/1.0/app-1.0.jar"
    assert all(FORMAT.in_group(path, group) for group in ("org.example", "org/example"))
    assert not any(FORMAT.in_group(path, group) for group in ("org", "example", "org.example.app", ""))
