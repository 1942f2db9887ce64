"""The real mvn and gradle, with nothing but Debian's own Maven repository as `central`."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

from tests.support.java import make_jar
from tests.support.process import Result, client_env, run
from tests.support.tls import TRUST_STORE_PASSWORD

MAVEN_REPO = Path("/usr/share/maven-repo")
PLUGIN_GROUP = "org/apache/maven/plugins"
SETTINGS = """\
<settings>
  <localRepository>{local}</localRepository>
  <interactiveMode>false</interactiveMode>
  <mirrors><mirror><id>debian</id><mirrorOf>central</mirrorOf><url>file://{central}</url></mirror></mirrors>
  <servers>{servers}</servers>
  <pluginGroups>{groups}</pluginGroups>
  <profiles>{profiles}</profiles>
</settings>
"""
PLUGIN_API = Path("/usr/share/maven/lib/maven-plugin-api-3.x.jar")
MOJO = """\
package entrepot;
public class Say extends org.apache.maven.plugin.AbstractMojo {{
    public void execute() {{ getLog().info("{says}"); }}
}}
"""
DESCRIPTOR = """\
<plugin>
  <groupId>{group}</groupId><artifactId>{artifact}</artifactId><version>{version}</version>
  <goalPrefix>{prefix}</goalPrefix>
  <mojos><mojo>
    <goal>say</goal><requiresProject>false</requiresProject><implementation>entrepot.Say</implementation>
    <language>java</language><instantiationStrategy>per-lookup</instantiationStrategy>
  </mojo></mojos>
</plugin>
"""
PROFILE = """<profile>
  <id>wanted</id>
  <activation><activeByDefault>true</activeByDefault></activation>
  <repositories><repository>
    <id>{server_id}</id><url>{url}</url>
    <releases><updatePolicy>always</updatePolicy><checksumPolicy>fail</checksumPolicy></releases>
    <snapshots><updatePolicy>always</updatePolicy><checksumPolicy>fail</checksumPolicy></snapshots>
  </repository></repositories>
</profile>"""
TRUST_FLAGS = (
    " -Djavax.net.ssl.trustStore={store} -Djavax.net.ssl.trustStoreType=PKCS12"
    f" -Djavax.net.ssl.trustStorePassword={TRUST_STORE_PASSWORD}"
)
JVM_FLAGS = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Xshare:auto"


@dataclass(frozen=True, slots=True)
class MavenServer:
    """One `server` of settings.xml: credentials for the repository with this id."""

    id: str
    username: str
    password: str

    def xml(self) -> str:
        """The element."""
        values = {"id": self.id, "username": self.username, "password": self.password}
        return "<server>" + "".join(f"<{tag}>{escape(text)}</{tag}>" for tag, text in values.items()) + "</server>"


def plugin(name: str) -> str:
    """`GROUP:NAME:VERSION` of the newest version of a Maven plugin that Debian's repository holds."""
    folder = MAVEN_REPO / PLUGIN_GROUP / f"maven-{name}-plugin"
    numbered = [path.name for path in folder.iterdir() if path.name[:1].isdigit()]
    version = max(numbered, key=lambda text: [int(part) for part in text.split(".") if part.isdigit()])
    return f"org.apache.maven.plugins:maven-{name}-plugin:{version}"


def make_plugin_jar(folder: Path, group: str, artifact: str, version: str, *, prefix: str, says: str) -> bytes:
    """A Maven plugin whose goal ``PREFIX:say`` logs ``says``; compiled in ``folder`` by the real javac."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "Say.java").write_text(MOJO.format(says=says))
    command: list[str | Path] = ["javac", "--release", "11", "-cp", PLUGIN_API, "-d", folder, folder / "Say.java"]
    run(command, timeout_s=120, cwd=folder)
    descriptor = DESCRIPTOR.format(group=group, artifact=artifact, version=version, prefix=prefix)
    classes = {"entrepot/Say.class": (folder / "entrepot/Say.class").read_bytes()}
    return make_jar({"META-INF/maven/plugin.xml": descriptor.encode(), **classes}, version=version)


class MavenClient:
    """mvn with its own settings, local repository and, optionally, trust store (PKCS12, for HTTPS with a private
    CA).
    """

    def __init__(
        self,
        root: Path,
        *,
        servers: Sequence[MavenServer] = (),
        trust_store: Path | None = None,
        prefix: Sequence[str] = (),
        timeout_s: float = 120.0,
    ) -> None:
        self.root = root
        self.prefix = prefix
        self.timeout_s = timeout_s
        self.local = root / "m2"
        for folder in (self.local, root / "home", root / "gradle-home"):
            folder.mkdir(parents=True, exist_ok=True)
        self.settings = root / "settings.xml"
        self.servers = "".join(server.xml() for server in servers)
        self.plugin_groups: Sequence[str] = ()  # groups whose plugins are found by their prefix
        self.write_settings("")
        trust = TRUST_FLAGS.format(store=trust_store) if trust_store else ""
        flags = f"{JVM_FLAGS} -Duser.home={root / 'home'}{trust}"
        self.env = client_env(root / "home", {"MAVEN_OPTS": flags, "JAVA_OPTS": flags})

    def write_settings(self, profiles: str) -> None:
        """Write settings.xml with the servers and plugin groups of this client, and the given profiles."""
        groups = "".join(f"<pluginGroup>{escape(group)}</pluginGroup>" for group in self.plugin_groups)
        text = SETTINGS.format(
            local=self.local, central=MAVEN_REPO, servers=self.servers, profiles=profiles, groups=groups
        )
        self.settings.write_text(text)

    def mvn(self, *args: str, check: bool = True) -> Result:
        """Run mvn in batch mode. Never with `-o`: deploy refuses to work offline."""
        command = ["mvn", "--batch-mode", "--errors", "--settings", str(self.settings), *args]
        return run(command, timeout_s=self.timeout_s, check=check, env=self.env, cwd=self.root, prefix=self.prefix)

    def deploy_file(
        self,
        file: Path,
        url: str,
        coordinates: str,
        *,
        server_id: str = "test",
        pom: Path | None = None,
        classifier: str = "",
        packaging: str = "jar",
        check: bool = True,
    ) -> Result:
        """`deploy:deploy-file` of one file as `GROUP:ARTIFACT:VERSION`; without `pom` mvn makes one."""
        group, artifact, version = coordinates.split(":")
        options = {"file": file, "url": url, "repositoryId": server_id, "packaging": packaging}
        options |= {"groupId": group, "artifactId": artifact, "version": version}
        if pom is not None:
            options["pomFile"] = pom
        if classifier:
            options["classifier"] = classifier
        return self.mvn(
            f"{plugin('deploy')}:deploy-file", *(f"-D{key}={value}" for key, value in options.items()), check=check
        )

    def get(self, coordinates: str, url: str, *, server_id: str = "test", check: bool = True) -> Result:
        """`dependency:get` of `GROUP:ARTIFACT:VERSION[:PACKAGING[:CLASSIFIER]]`; missing or wrong checksums are errors.

        The repository is a profile of the settings and not the goal's own option, which would only warn about
        checksums.
        """
        self.write_settings(PROFILE.format(server_id=escape(server_id), url=escape(url)))
        goal = f"{plugin('dependency')}:get"
        return self.mvn("--update-snapshots", goal, f"-Dartifact={coordinates}", "-Dtransitive=false", check=check)

    def local_files(self, group: str, artifact: str) -> list[str]:
        """Paths below GROUP/ARTIFACT in the local repository, sorted."""
        top = self.local / group.replace(".", "/") / artifact
        return sorted(str(path.relative_to(top)) for path in top.rglob("*") if path.is_file())

    def forget(self, group: str) -> None:
        """Remove a group from the local repository, so that the next `get` fetches it anew."""
        for folder, _, names in os.walk(self.local / group.replace(".", "/"), topdown=False):
            for name in names:
                os.unlink(os.path.join(folder, name))
            os.rmdir(folder)

    def gradle_resolve(
        self, coordinates: str, url: str, *, username: str = "", password: str = "", check: bool = True
    ) -> tuple[Result, list[str]]:
        """Let gradle resolve one dependency and copy it; returns the result and the names of the copied files."""
        work = self.root / "gradle-work"
        work.mkdir(exist_ok=True)
        login = f"credentials {{ username '{username}'; password '{password}' }}" if username else ""
        (work / "settings.gradle").write_text("rootProject.name = 'test'\n")
        (work / "build.gradle").write_text(
            f"repositories {{ maven {{ url '{url}'; {login} }} }}\nconfigurations {{ wanted }}\n"
            "configurations.wanted.resolutionStrategy.cacheChangingModulesFor 0, 'seconds'\n"
            f"dependencies {{ wanted('{coordinates}') {{ transitive = false }} }}\n"
            "task fetch(type: Copy) { from configurations.wanted; into 'out' }\n"
        )
        result = self._gradle(work, "--refresh-dependencies", "fetch", check=check)
        out = work / "out"
        return result, sorted(path.name for path in out.iterdir()) if out.is_dir() else []

    def gradle_publish(
        self, file: Path, url: str, coordinates: str, *, username: str, password: str, check: bool = True
    ) -> Result:
        """`gradle publish` of one jar, with Gradle's own HTTP client.

        By ivy-publish in Maven's layout: the maven-publish of Debian's gradle was built without HTTP.
        """
        group, artifact, version = coordinates.split(":")
        work = self.root / "gradle-publish"
        work.mkdir(exist_ok=True)
        (work / "settings.gradle").write_text(f"rootProject.name = '{artifact}'\n")
        (work / "build.gradle").write_text(
            f"plugins {{ id 'ivy-publish' }}\ngroup = '{group}'\nversion = '{version}'\n"
            f"publishing {{\n  publications {{ one(IvyPublication) {{ artifact(file('{file}')) "
            f"{{ name '{artifact}'; type 'jar'; extension 'jar' }} }} }}\n"
            f"  repositories {{ ivy {{ url '{url}'; layout 'maven'; "
            f"credentials {{ username '{username}'; password '{password}' }} }} }}\n}}\n"
        )
        return self._gradle(work, "publish", check=check)

    def _gradle(self, work: Path, *args: str, check: bool) -> Result:
        command = ["gradle", "--no-daemon", "--console=plain", "--gradle-user-home", f"{self.root}/gradle-home", *args]
        return run(command, timeout_s=self.timeout_s, check=check, env=self.env, cwd=work, prefix=self.prefix)
