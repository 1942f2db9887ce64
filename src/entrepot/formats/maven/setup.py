"""Lines for people to paste: settings.xml, pom.xml, build.gradle, curl. No token is ever printed."""

from collections.abc import Iterator
from urllib.parse import urlsplit

from entrepot.formats.maven.layout import DISTRIBUTION, MOUNT
from entrepot.formats.protocol import SetupInput, SetupLines

_TOKEN = "TOKEN"  # where the user's own token goes


def setup(request: SetupInput) -> Iterator[SetupLines]:
    """See :meth:`entrepot.formats.protocol.Format.setup`."""
    if DISTRIBUTION not in request.distributions:
        return
    url = f"{request.base_url}/{MOUNT}"
    name = f"{request.owner}-{request.repository}"
    who = "to read and to deploy" if request.private else "to deploy; reading needs none"
    yield SetupLines(
        "Maven token",
        "~/.m2/settings.xml",
        f"<settings>\n  <servers>\n    <!-- {who} -->\n    <server>\n"
        f"      <id>{name}</id>\n      <username>{_TOKEN}</username>\n      <password>x</password>\n"
        "    </server>\n  </servers>\n</settings>\n",
    )
    yield SetupLines(
        "Maven, read",
        "pom.xml",
        f"<repositories>\n  <repository>\n    <id>{name}</id>\n    <url>{url}</url>\n"
        "    <releases><enabled>true</enabled></releases>\n    <snapshots><enabled>true</enabled></snapshots>\n"
        "  </repository>\n</repositories>\n",
    )
    yield SetupLines(
        "Maven, deploy",
        "pom.xml",
        f"<distributionManagement>\n  <repository>\n    <id>{name}</id>\n    <url>{url}</url>\n  </repository>\n"
        f"  <snapshotRepository>\n    <id>{name}</id>\n    <url>{url}</url>\n  </snapshotRepository>\n"
        "</distributionManagement>\n",
    )
    yield SetupLines("Gradle, read", "build.gradle", f"repositories {{\n{_gradle(url, request.private)}}}\n")
    yield SetupLines(
        "Gradle, publish",
        "build.gradle",
        "plugins {\n    id 'java-library'\n    id 'maven-publish'\n}\n\npublishing {\n    publications {\n"
        "        library(MavenPublication) { from components.java }\n    }\n    repositories {\n"
        + _indent(_gradle(url, credentials=True))
        + "    }\n}\n",
    )
    yield SetupLines(
        "curl, one file",
        "shell",
        f"curl --fail-with-body -sS -u {_TOKEN}: -T lib-1.0.jar {url}/org/example/lib/1.0/lib-1.0.jar\n",
    )
    if request.private:
        yield SetupLines(
            "Maven, read without settings.xml",
            "pom.xml",
            f"<repositories>\n  <repository>\n    <id>{name}</id>\n    <url>{_with_token(request)}/{MOUNT}</url>\n"
            "  </repository>\n</repositories>\n",
        )


def _gradle(url: str, credentials: bool) -> str:
    lines = [f"    url = uri('{url}')"]
    if url.startswith("http://"):
        lines.append("    allowInsecureProtocol = true")
    if credentials:
        lines += [
            "    credentials {",
            "        username = providers.gradleProperty('entrepotToken').get() // ~/.gradle/gradle.properties",
            "        password = 'x'",
            "    }",
        ]
    return _indent("maven {\n" + "".join(f"{line}\n" for line in lines) + "}\n")


def _indent(text: str) -> str:
    return "".join(f"    {line}\n" for line in text.splitlines())


def _with_token(request: SetupInput) -> str:
    """The form with the token in the path, for clients that cannot send one otherwise: BASE/priv/TOKEN/USER/REPO."""
    tail = f"/{request.owner}/{request.repository}"
    url = urlsplit(request.base_url)
    return f"{url.scheme}://{url.netloc}{url.path.removesuffix(tail)}/priv/{_TOKEN}{tail}"
