"""Maven artifacts in code: jars and POMs."""

import io
import zipfile
from collections.abc import Mapping, Sequence
from xml.sax.saxutils import escape

JAR_DATE = (2025, 1, 1, 0, 0, 0)


def make_jar(
    entries: Mapping[str, bytes] | None = None, *, title: str = "test", version: str = "1.0", trailing: bytes = b""
) -> bytes:
    """A jar with a manifest and `entries` (by default one text file); deterministic."""
    manifest = f"Manifest-Version: 1.0\r\nImplementation-Title: {title}\r\nImplementation-Version: {version}\r\n\r\n"
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as jar:
        content = {"META-INF/MANIFEST.MF": manifest.encode(), **(entries or {"version.txt": f"{version}\n".encode()})}
        for name, data in content.items():
            jar.writestr(zipfile.ZipInfo(name, JAR_DATE), data)
    return out.getvalue() + trailing


def make_pom(
    group: str,
    artifact: str,
    version: str,
    *,
    packaging: str = "jar",
    dependencies: Sequence[tuple[str, str, str]] = (),
    parent: tuple[str, str, str] | None = None,
    body: str = "",
    prologue: str = "",
) -> bytes:
    """A POM. `dependencies` and `parent` are (group, artifact, version); `body` is raw XML inside the project.

    `prologue` is raw text between the XML declaration and the project, the place for a document type with entities.
    """
    parts = [f'<?xml version="1.0" encoding="UTF-8"?>\n{prologue}<project xmlns="http://maven.apache.org/POM/4.0.0">']
    parts.append("<modelVersion>4.0.0</modelVersion>")
    if parent is not None:
        parts.append(f"<parent>{coordinates(*parent)}</parent>")
    parts.append(coordinates(group, artifact, version) + f"<packaging>{escape(packaging)}</packaging>")
    if dependencies:
        listed = "".join(f"<dependency>{coordinates(*dependency)}</dependency>" for dependency in dependencies)
        parts.append(f"<dependencies>{listed}</dependencies>")
    return "\n".join([*parts, body, "</project>\n"]).encode()


def coordinates(group: str, artifact: str, version: str) -> str:
    """The three coordinate elements."""
    names = zip(("groupId", "artifactId", "version"), (group, artifact, version), strict=True)
    return "".join(f"<{tag}>{escape(text)}</{tag}>" for tag, text in names)
