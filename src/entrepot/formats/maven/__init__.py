"""Maven: jars, POMs and all else that mvn and gradle deploy and resolve. The answers to the protocol, and why:

* name, mounts: ``maven``; ``maven2``, packagecloud's address, beside ``java/maven2``. One distribution: java/maven2.
* route: the Maven 2 layout. PUT is an upload whatever the file; GET of …/maven-metadata.xml and its checksums is an
  entry, X.md5/.sha1/.sha256/.sha512 a checksum derived from the file X, anything else a file by path (no digest in it).
* pair: a metadata file and its checksums, which clients fetch one after the other and compare.
* needs: POM whole (4 MiB), zips 1 MiB of head and 8 MiB of tail, checksum files 4 KiB; md5, sha1, sha512 of kept files.
* inspect: coordinates come from the path, or from coordinates sent along, or from META-INF/maven; a POM's own must
  agree (unless only a parent elsewhere could resolve them); DTDs and entities refused; zips must be zips. A checksum
  file is a claim about its file and not kept; a client's maven-metadata.xml is taken and dropped; .asc files are kept.
* conflict_key, path: the layout path. replaces: only X-SNAPSHOT file names; builds with a timestamp are files for ever.
* order_key: GROUP:ARTIFACT, Maven's version order (an approximation, for listings), file name.
* part, fragments, indexes, head, foot: none, Maven reads whole documents.
* requires: nothing. A version is listed once its POM is there, a snapshot's build likewise.
* scope: a folder, ``org/example/lib`` or, for plugin prefixes, ``org/example``: a path says no more, and a folder may
  be both at once. document_scopes: a release's POM and every snapshot file touch the artifact's, plugins the group's.
* manifest: maven-metadata.xml at artifact, group and snapshot version level, with md5, sha1, sha256, sha512; unsigned.
  No POM, no document: the address is then 404.
* sample, locate: a jar and its POM; maven-metadata.xml and the checksums of all three.
* version_lines: groupId:artifactId, whatever the files are: a version goes or stays with its POM and all its jars.
* nameless_suffix: .jar, what packagecloud's Java clients send without a name. type_filters: java, jar. in_group: by the
  layout, so that one file name in two groups is two files.
* setup: settings.xml, pom.xml, build.gradle, curl; a private repository also as /priv/TOKEN/.
"""

from entrepot.formats.maven.format import MavenFormat
from entrepot.formats.protocol import Format

FORMAT: Format = MavenFormat()

__all__ = ["FORMAT"]
