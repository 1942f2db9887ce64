"""Jars and their kin: that they are zips at all, and what their META-INF/maven says. Nothing is ever extracted."""

import re
from typing import Final

from entrepot.formats.maven import pom
from entrepot.model.errors import Refusal
from entrepot.model.limits import KIB, MIB, POM_BYTES_MAX
from entrepot.streams import zip as zips
from entrepot.streams.errors import BudgetExceeded, Damaged, OutsideWindow
from entrepot.streams.window import Window

EXTENSIONS: Final = frozenset({"jar", "war", "ear", "aar", "zip", "apk", "rar", "hpi", "jpi", "nbm", "kar"})
"""Extensions that are zips by their makers' word; any other file is kept as it is."""

HEAD_BYTES: Final = 1 * MIB
TAIL_BYTES: Final = 8 * MIB
_MEMBERS_MAX: Final = 500_000
_PROPERTIES_BYTES_MAX: Final = 64 * KIB
_DESCRIPTOR_BYTES_MAX: Final = 1 * MIB
_DESCRIPTOR: Final = "META-INF/maven/plugin.xml"
_EMBEDDED: Final = re.compile(r"META-INF/maven/[^/]+/[^/]+/(pom\.properties|pom\.xml)\Z")
_LINE: Final = re.compile(r"^\s*(groupId|artifactId|version)\s*[=:]\s*(\S+)\s*$", re.MULTILINE)

Members = tuple[zips.ZipMember, ...]


def check(window: Window, filename: str) -> Members:
    """The entries of the zip; empty when its directory is too long to be looked at (a fat jar of some 80,000 classes).

    Raises Refusal("not_a_package") for what was never a zip; Damaged, Hostile as :func:`entrepot.streams.zip.members`.
    """
    try:
        return zips.members(window, members_max=_MEMBERS_MAX, directory_bytes_max=TAIL_BYTES)
    except (BudgetExceeded, OutsideWindow):
        return ()
    except Damaged:
        if window.size_bytes >= 4 and window.read(0, 4) == b"PK\x03\x04":
            raise
        raise Refusal(
            "not_a_package", f"{filename} is no zip, which every file with this extension is; send what the build made."
        ) from None


def plugin_prefix(window: Window, members: Members) -> str | None:
    """The goal prefix of a plugin's jar. None when there is none, or it is not cheap to read: the POM's then counts."""
    for member in members:
        if member.name == _DESCRIPTOR:
            try:
                return pom.goal_prefix_of_descriptor(
                    zips.read_member(window, member, budget_bytes=_DESCRIPTOR_BYTES_MAX)
                )
            except Refusal:
                return None
    return None


def coordinates(window: Window, members: Members) -> str:
    """GROUP:ARTIFACT:VERSION as the build embedded it, for a jar that was sent without a path or coordinates.

    Raises Refusal("package_field_invalid") when there is none, or more than one (a shaded jar).
    """
    found: dict[str, list[zips.ZipMember]] = {"pom.properties": [], "pom.xml": []}
    for member in members:
        if named := _EMBEDDED.match(member.name):
            found[named[1]].append(member)
    if len(found["pom.properties"]) == 1:
        data = zips.read_member(window, found["pom.properties"][0], budget_bytes=_PROPERTIES_BYTES_MAX)
        values = dict(_LINE.findall(data.decode("latin-1")))
        if len(values) == 3:
            return f"{values['groupId']}:{values['artifactId']}:{values['version']}"
    if len(found["pom.xml"]) == 1:
        return of_pom(pom.read(zips.read_member(window, found["pom.xml"][0], budget_bytes=POM_BYTES_MAX)))
    raise missing()


def of_pom(read: pom.Pom) -> str:
    """GROUP:ARTIFACT:VERSION of a POM. Raises Refusal("package_field_invalid") when the POM alone does not tell."""
    if read.group is None or read.artifact is None or read.version is None:
        raise missing()
    return f"{read.group}:{read.artifact}:{read.version}"


def missing() -> Refusal:
    """The refusal of a file that does not say where it belongs."""
    return Refusal(
        "package_field_invalid",
        "The file does not say its Maven coordinates; send GROUP:ARTIFACT:VERSION with it, or PUT it to its path below"
        " maven2/.",
        field="coordinates",
    )
