"""Lines to paste."""

from xml.etree import ElementTree

from entrepot.formats.maven import FORMAT
from entrepot.formats.protocol import SetupInput

URL = "https://packages.example.org/prefix/user/repo"


def _lines(private: bool, url: str = URL, distributions: tuple[str, ...] = ("java/maven2",)) -> dict[str, str]:
    request = SetupInput(url, "user", "repo", private, distributions)
    return {f"{each.title} → {each.file}": each.text for each in FORMAT.setup(request)}


def test_lines_for_a_public_repository() -> None:
    """Goal: XML that parses, the URL of the repository, the same id in settings and POM, and no token address."""
    made = _lines(private=False)
    assert list(made) == [
        "Maven token → ~/.m2/settings.xml",
        "Maven, read → pom.xml",
        "Maven, deploy → pom.xml",
        "Gradle, read → build.gradle",
        "Gradle, publish → build.gradle",
        "curl, one file → shell",
    ]
    for name, text in made.items():
        if name.endswith(".xml"):
            ElementTree.fromstring(text)
            assert "<id>user-repo</id>" in text
    assert f"<url>{URL}/maven2</url>" in made["Maven, read → pom.xml"]
    assert "credentials" not in made["Gradle, read → build.gradle"]
    assert "credentials" in made["Gradle, publish → build.gradle"]


def test_lines_for_a_private_repository() -> None:
    """Goal: reading needs the token; a POM may carry it in the address, which keeps the public URL's prefix."""
    made = _lines(private=True)
    assert "credentials" in made["Gradle, read → build.gradle"]
    text = made["Maven, read without settings.xml → pom.xml"]
    assert "<url>https://packages.example.org/prefix/priv/TOKEN/user/repo/maven2</url>" in text


def test_plain_http_is_allowed_in_gradle_where_it_must() -> None:
    """Goal: gradle refuses http without a word of permission; https needs none."""
    assert "allowInsecureProtocol" in _lines(private=False, url="http://h/user/repo")["Gradle, read → build.gradle"]
    assert "allowInsecureProtocol" not in _lines(private=False)["Gradle, read → build.gradle"]


def test_no_lines_where_there_is_no_maven() -> None:
    """Goal: a repository of .deb files does not talk about Maven."""
    assert _lines(private=False, distributions=("debian/bookworm",)) == {}
