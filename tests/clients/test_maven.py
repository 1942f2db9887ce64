"""The real mvn and gradle against the real server, on this machine and from another one over HTTPS; checksum failures
are errors.
"""

from pathlib import Path

import pytest

from tests.clients.site import Place, Site
from tests.support.builders import make_jar, make_pom
from tests.support.maven import MavenClient, MavenServer, make_plugin_jar
from tests.support.tls import CertificateAuthority

pytestmark = [pytest.mark.clients, pytest.mark.timeout(300)]

# Java starts slowly: smaller groups spread over the test processes.
LIFE, PRIVATE, ANSWERS = (pytest.mark.xdist_group(f"clients-maven-{name}") for name in ("life", "private", "answers"))

GROUP = "org.example"


def maven(folder: Path, place: Place, token: str = "", trust_store: Path | None = None) -> MavenClient:
    """mvn and gradle standing at `place`; `token` goes into settings.xml as the user name."""
    servers = [MavenServer("test", token, "x")] if token else []
    return MavenClient(
        folder, servers=servers, trust_store=trust_store or place.trust_store, prefix=place.prefix, timeout_s=240
    )


def put(site: Site, place: Place, repository: str, version: str, title: str = "lib", artifact: str = "lib") -> None:
    """PUT a jar and its POM with curl."""
    folder = f"{repository}/maven2/{GROUP.replace('.', '/')}/{artifact}/{version}/{artifact}-{version}"
    for suffix, data in (("jar", make_jar(title=title)), ("pom", make_pom(GROUP, artifact, version))):
        answer = place.curl(f"{folder}.{suffix}", upload=data, user=f"{site.token}:")
        assert answer.status == 201, answer.text


@LIFE
def test_deploy_resolve_upgrade_yank_and_return(site: Site, place: Place, tmp_path: Path) -> None:
    """Goal: what mvn deployed, mvn and gradle resolve, through an artifact's whole life.

    Method: mvn deploys a release, and again with other bytes (refused); get the newest; PUT a newer one; mvn and gradle
    take it; yank it; PUT the same version with other bytes and get those.
    """
    repository, token = site.repository_at(place)
    url = f"{place.url}/{repository}/maven2"
    writer = maven(tmp_path / "writer", place, site.token)
    (tmp_path / "lib.jar").write_bytes(make_jar(title="first"))
    writer.deploy_file(tmp_path / "lib.jar", url, f"{GROUP}:lib:1.9")
    (tmp_path / "other.jar").write_bytes(make_jar(title="other"))
    refused = writer.deploy_file(tmp_path / "other.jar", url, f"{GROUP}:lib:1.9", check=False)
    assert not refused.ok
    assert "409" in refused.output
    reader = maven(tmp_path / "reader", place, token)
    reader.get(f"{GROUP}:lib:LATEST", url)
    assert (reader.local / "org/example/lib/1.9/lib-1.9.jar").read_bytes() == make_jar(title="first")

    put(site, place, repository, "1.10", "second")
    reader.get(f"{GROUP}:lib:LATEST", url)
    assert "1.10/lib-1.10.jar" in reader.local_files(GROUP, "lib")
    result, names = reader.gradle_resolve(f"{GROUP}:lib:1.+", url, username=token, password="x")
    assert names == ["lib-1.10.jar"], result.output

    for suffix in ("jar", "pom"):
        site.yank(repository, "java/maven2", f"{GROUP}/lib-1.10.{suffix}")
    fresh = maven(tmp_path / "fresh", place, token)
    fresh.get(f"{GROUP}:lib:LATEST", url)
    assert "1.9/lib-1.9.jar" in fresh.local_files(GROUP, "lib")
    assert not [path for path in fresh.local_files(GROUP, "lib") if path.startswith("1.10/")]
    put(site, place, repository, "1.10", "other bytes")
    result, names = fresh.gradle_resolve(f"{GROUP}:lib:1.+", url, username=token, password="x")
    assert names == ["lib-1.10.jar"], result.output
    assert (fresh.root / "gradle-work/out/lib-1.10.jar").read_bytes() == make_jar(title="other bytes")
    files = [f"java/maven2/lib-{version}.{suffix}" for version in ("1.9", "1.10") for suffix in ("jar", "pom")]
    site.check_left(repository, files)


@ANSWERS
def test_snapshots(site: Site, place: Place, tmp_path: Path) -> None:
    """Goal: a SNAPSHOT can be deployed again and again, and clients get the newest build.

    Method: two deploys by mvn; mvn and gradle resolve after each.
    """
    repository, read = site.repository_at(place)
    url = f"{place.url}/{repository}/maven2"
    writer = maven(tmp_path / "writer", place, site.token)
    for title in ("first", "second"):
        (tmp_path / f"{title}.jar").write_bytes(make_jar(title=title))
        writer.deploy_file(tmp_path / f"{title}.jar", url, f"{GROUP}:snap:1.0-SNAPSHOT")
    client = maven(tmp_path / "reader", place, read)
    client.get(f"{GROUP}:snap:1.0-SNAPSHOT", url)
    got = client.local / "org/example/snap/1.0-SNAPSHOT/snap-1.0-SNAPSHOT.jar"
    assert got.read_bytes() == make_jar(title="second")
    result, names = client.gradle_resolve(f"{GROUP}:snap:1.0-SNAPSHOT", url, username=read, password="x")
    assert len(names) == 1, result.output
    assert (client.root / "gradle-work/out" / names[0]).read_bytes() == make_jar(title="second")
    listed = site.listed(repository)
    assert len(listed) == 4, listed
    site.check_left(repository, listed)


PLUGINS = """<profile>
  <id>wanted</id><activation><activeByDefault>true</activeByDefault></activation>
  <pluginRepositories><pluginRepository><id>test</id><url>{url}</url>
    <releases><checksumPolicy>fail</checksumPolicy></releases>
  </pluginRepository></pluginRepositories>
</profile>"""


@LIFE
def test_a_plugin_is_found_by_its_prefix(site: Site, place: Place, tmp_path: Path) -> None:
    """Goal: `mvn hello:say` finds the plugin by its group's metadata, its newest release by the artifact's, and runs.

    Method: a plugin of our own, compiled here, in two versions by PUT; the group stands in mvn's settings. Seen to fail
    without the plugins in the group's metadata.
    """
    repository, token = site.repository_at(place)
    artifact = "hello-maven-plugin"
    # mvn adds a version of its own choice, which Debian does not have, to plugins that name none.
    needs = [("org.codehaus.plexus", "plexus-utils", "debian")]
    for version in ("1.0", "1.1"):
        folder = f"{repository}/maven2/org/example/{artifact}/{version}/{artifact}-{version}"
        jar = make_plugin_jar(
            tmp_path / version, GROUP, artifact, version, prefix="hello", says=f"hello from {version}"
        )
        pom = make_pom(GROUP, artifact, version, packaging="maven-plugin", dependencies=needs)
        for suffix, data in (("jar", jar), ("pom", pom)):
            assert place.curl(f"{folder}.{suffix}", upload=data, user=f"{site.token}:").status == 201
    client = maven(tmp_path / "client", place, token)
    url = f"{place.url}/{repository}/maven2"
    client.plugin_groups = [GROUP]
    client.write_settings(PLUGINS.format(url=url))
    assert "hello from 1.1" in client.mvn("hello:say").stdout


@ANSWERS
def test_tampered_answers_are_refused(site: Site, place: Place, tmp_path: Path) -> None:
    """Goal: mvn takes no changed index or artifact. Method: change maven-metadata.xml, then the jar, each without
    its checksums; afterwards the same way in works. gradle of Debian compares no checksums: for it, see the
    test of a foreign authority.
    """
    repository, token = site.repository_at(place)
    put(site, place, repository, "1.0")
    url = f"{place.tampered_url}/{repository}/maven2"
    for ending, coordinates in (("maven-metadata.xml", "LATEST"), (".jar", "1.0")):
        client = maven(tmp_path / ending.strip("."), place, token)

        def edit(path: str, body: bytes, ending: str = ending) -> bytes:
            return body.replace(b"</metadata>", b"<!-- --></metadata>") + b"\n" if path.endswith(ending) else body

        with site.tamperer.editing(edit):
            refused = client.get(f"{GROUP}:lib:{coordinates}", url, check=False)
        assert not refused.ok, ending
        assert "hecksum" in refused.output or "LATEST" in refused.output, refused.output
        assert not [path for path in client.local_files(GROUP, "lib") if path.endswith(ending)]
    client.get(f"{GROUP}:lib:LATEST", url)
    assert "1.0/lib-1.0.jar" in client.local_files(GROUP, "lib")
    site.check_left(repository, ["java/maven2/lib-1.0.jar", "java/maven2/lib-1.0.pom"])


@PRIVATE
def test_foreign_authority_is_refused(site: Site, tmp_path: Path) -> None:
    """Goal: over HTTPS nobody can stand in for the server, whatever the client checks above it.

    Method: mvn, gradle and curl that trust another authority alone; nothing is fetched.
    """
    repository = site.repository()
    put(site, site.far, repository, "1.0")
    stranger = CertificateAuthority(tmp_path / "stranger")
    client = maven(tmp_path / "client", site.far, trust_store=stranger.trust_store())
    url = f"{site.far.url}/{repository}/maven2"
    refused = client.get(f"{GROUP}:lib:1.0", url, check=False)
    assert not refused.ok
    assert "PKIX" in refused.output
    result, names = client.gradle_resolve(f"{GROUP}:lib:1.0", url, check=False)
    assert (result.ok, names) == (False, [])
    assert "PKIX" in result.output or "certification path" in result.output, result.output
    site.check_left(repository, ["java/maven2/lib-1.0.jar", "java/maven2/lib-1.0.pom"])


@PRIVATE
def test_private_repository(site: Site, place: Place, tmp_path: Path) -> None:
    """Goal: 401 without a token; a read token in settings.xml, in gradle's credentials or in the path is enough; it may
    not deploy.

    Method: each client without, with, and by /priv/TOKEN/.
    """
    repository = site.repository(private=True)
    put(site, place, repository, "1.0")
    token = site.read_token(repository)
    url = f"{place.url}/{repository}/maven2"
    coordinates = f"{GROUP}:lib:1.0"
    without = maven(tmp_path / "without", place)
    refused = without.get(coordinates, url, check=False)
    assert not refused.ok
    assert "401" in refused.output
    result, names = without.gradle_resolve(coordinates, url, check=False)
    assert (result.ok, names) == (False, [])
    assert "401" in result.output

    client = maven(tmp_path / "with", place, token)
    client.get(coordinates, url)
    assert "1.0/lib-1.0.jar" in client.local_files(GROUP, "lib")
    result, names = client.gradle_resolve(coordinates, url, username=token, password="x")
    assert names == ["lib-1.0.jar"], result.output
    denied = place.curl(f"{repository}/maven2/a/b/1/b-1.jar", upload=make_jar(), user=f"{token}:")
    assert denied.status == 403

    by_path = maven(tmp_path / "path", place)
    by_path.get(coordinates, f"{place.url}/priv/{token}/{repository}/maven2")
    assert "1.0/lib-1.0.jar" in by_path.local_files(GROUP, "lib")
    site.check_left(repository, ["java/maven2/lib-1.0.jar", "java/maven2/lib-1.0.pom"])


@PRIVATE
def test_yank_keeps_to_its_group(site: Site) -> None:
    """Goal: packagecloud's DELETE names the group, and only that group's file goes.

    Method: the same file name in two groups; yank one.
    """
    repository = site.repository()
    for group in ("org/one", "org/two"):
        pom = make_pom(group.replace("/", "."), "lib", "1.0")
        answer = site.near.curl(f"{repository}/maven2/{group}/lib/1.0/lib-1.0.pom", upload=pom, user=f"{site.token}:")
        assert answer.status == 201, answer.text
    site.yank(repository, "java/maven2", "org.one/lib-1.0.pom")
    assert site.near.curl(f"{repository}/maven2/org/one/lib/1.0/lib-1.0.pom").status == 404
    assert site.near.curl(f"{repository}/maven2/org/two/lib/1.0/lib-1.0.pom").status == 200
    assert site.admin.delete(f"/api/v1/repos/{repository}/java/maven2/org.none/lib-1.0.pom").status_code == 404
    site.check_left(repository, ["java/maven2/lib-1.0.pom"])
