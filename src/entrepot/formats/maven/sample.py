"""A jar and its POM by which a node tries itself out, and how mvn would find them: maven-metadata.xml, then each file
with its checksum.
"""

import io
import zipfile
from typing import Final

from entrepot.formats.maven import pom
from entrepot.formats.maven.layout import DISTRIBUTION, METADATA
from entrepot.formats.protocol import FileMissing, IndexFault, IndexReader, Located, Sample, SampleFile
from entrepot.formats.sampling import NAME, checked, payload
from entrepot.model.errors import Refusal

GROUP: Final = "entrepot"
_FOLDER: Final = f"{DISTRIBUTION}/{GROUP}/{NAME}"
_POM: Final = """\
<?xml version="1.0" encoding="UTF-8"?>
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>{group}</groupId>
  <artifactId>{artifact}</artifactId>
  <version>{version}</version>
  <description>Sample by which an Entrepot node tries itself out.</description>
</project>
"""


def sample(serial: int, payload_bytes: int) -> Sample:
    """See :meth:`entrepot.formats.protocol.Format.sample`. The POM comes last: it makes the version be listed."""
    version = f"1.0.{serial}"
    stem = f"{_FOLDER}/{version}/{NAME}-{version}"
    described = _POM.format(group=GROUP, artifact=NAME, version=version).encode()
    files = (SampleFile(f"{stem}.jar", _jar(payload(serial, payload_bytes))), SampleFile(f"{stem}.pom", described))
    return Sample(DISTRIBUTION, f"{GROUP}:{NAME}", version, files)


def _jar(content: bytes) -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as jar:  # stored; ZipInfo's own date, 1980, keeps equal jars equal
        jar.writestr(zipfile.ZipInfo("META-INF/MANIFEST.MF"), "Manifest-Version: 1.0\r\n\r\n")
        jar.writestr(zipfile.ZipInfo(f"{NAME}/payload"), content)
    return archive.getvalue()


def locate(wanted: Sample, reader: IndexReader) -> tuple[Located, ...]:
    """See :meth:`entrepot.formats.protocol.Format.locate`. Maven signs no index: checksums stand in for it."""
    document = reader.fetch(f"{_FOLDER}/{METADATA}")
    if document is None:
        return ()
    checked(document, METADATA, _checksum(reader, f"{_FOLDER}/{METADATA}"))
    try:
        versions = [each.text for each in pom.read_xml(document, METADATA).iterfind("versioning/versions/version")]
    except Refusal as refusal:
        raise IndexFault(f"{METADATA} cannot be read: {refusal.detail}") from None
    if wanted.version not in versions:
        return ()
    return tuple(Located(file.path, _checksum(reader, file.path)) for file in wanted.files)


def _checksum(reader: IndexReader, path: str) -> str:
    content = reader.fetch(f"{path}.sha256")
    if content is None:
        raise FileMissing(f"{path} is listed, and has no sha256")
    return content.decode("ascii", "replace").strip()
