"""Jars and POMs of Debian's Maven repository, pushed by curl and resolved by the real mvn and gradle."""

import hashlib
from pathlib import Path

import pytest

from tests.clients.site import Site
from tests.clients.test_maven import maven
from tests.support.debian_archive import MavenArtifact, maven_sample

pytestmark = [pytest.mark.clients, pytest.mark.xdist_group("clients-real-maven"), pytest.mark.timeout(300)]

ALL = 100_000
ARTIFACTS = 50
RESOLVED = 3


def put(site: Site, repository: str, path: str, data: Path) -> None:
    """PUT one file and its SHA-1, as mvn does."""
    content = data.read_bytes()
    answer = site.near.curl(f"{repository}/maven2/{path}", upload=data, user=f"{site.token}:")
    assert answer.status == 201, f"{path}: {answer.text}"
    claim = hashlib.sha1(content).hexdigest().encode()
    checked = site.near.curl(f"{repository}/maven2/{path}.sha1", upload=claim, user=f"{site.token}:")
    assert checked.status == 200, f"{path}: {checked.text}"


def test_real_artifacts(site: Site, tmp_path: Path) -> None:
    """Goal: what people really deploy is taken, served byte for byte, listed in maven-metadata.xml and resolved.

    Method: PUT POM, jar and claims; read everything back with each checksum; mvn and gradle resolve a few.
    """
    repository = site.repository()
    alone = [each for each in maven_sample(ALL) if each.jar is not None and stands_alone(each)]
    chosen = alone[:: max(len(alone) // RESOLVED, 1)][:RESOLVED]
    assert len(chosen) == RESOLVED
    sample = list(dict.fromkeys([*maven_sample(ARTIFACTS), *chosen]))
    files: list[str] = []
    for each in sample:
        for data in (each.pom, each.jar):
            if data is not None:
                put(site, repository, f"{each.path}/{data.name}", data)
                files.append(f"java/maven2/{data.name}")
    for each in sample:
        folder = f"{repository}/maven2/{each.path}"
        metadata = site.near.curl(f"{folder.rpartition('/')[0]}/maven-metadata.xml")
        assert f"<version>{each.version}</version>" in metadata.text
        for data in (each.pom, each.jar):
            if data is not None:
                assert site.near.curl(f"{folder}/{data.name}").body == data.read_bytes()
        for algorithm in ("md5", "sha1", "sha256", "sha512"):
            wanted = hashlib.new(algorithm, each.pom.read_bytes()).hexdigest()
            assert site.near.curl(f"{folder}/{each.pom.name}.{algorithm}").text == wanted
    client = maven(tmp_path / "client", site.near)
    url = f"{site.near.url}/{repository}/maven2"
    for each in chosen:
        client.get(f"{each.group}:{each.artifact}:{each.version}", url)
        name = f"{each.artifact}-{each.version}.jar"
        assert each.jar is not None
        assert (client.local / each.path / name).read_bytes() == each.jar.read_bytes()
        # Debian's own repository, which mvn takes its plugins from, has the same files: these came from the server.
        assert f"{name}>test=" in (client.local / each.path / "_remote.repositories").read_text()
    first = chosen[0]
    result, names = client.gradle_resolve(f"{first.group}:{first.artifact}:{first.version}", url)
    assert names == [f"{first.artifact}-{first.version}.jar"], result.output
    site.check_left(repository, files)


def stands_alone(artifact: MavenArtifact) -> bool:
    """Whether the POM can be resolved by itself: no parent to fetch, and packaging jar."""
    text = artifact.pom.read_text(errors="replace")
    return "<parent>" not in text and ("<packaging>" not in text or "<packaging>jar</packaging>" in text)
