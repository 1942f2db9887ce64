"""What a POM says (Maven's POM reference): coordinates, packaging, what people want to see. Hostile XML is refused."""

import io
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final
from xml.etree.ElementTree import Element, ParseError

import defusedxml.ElementTree
from defusedxml.common import DefusedXmlException

from entrepot.model.errors import Refusal
from entrepot.model.limits import POM_BYTES_MAX

ELEMENTS_MAX = 100_000
DEPTH_MAX = 64
TEXT_CHARS_MAX = 4096
DEPENDENCIES_MAX = 1000
_ROUNDS_MAX = 8
_COORDINATE_CHARS_MAX = 255

_NAMESPACE: Final = re.compile(r"\{http://maven\.apache\.org/POM/4\.[0-9]+\.[0-9]+\}")
_EXPRESSION: Final = re.compile(r"\$\{([A-Za-z0-9_.-]{1,128})\}")
_PREFIX: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}\Z")


@dataclass(frozen=True, slots=True)
class Pom:
    """A POM's own view. A coordinate is None when only a parent POM elsewhere can resolve the expression in it."""

    group: str | None
    artifact: str | None
    version: str | None
    packaging: str
    plugin_prefix: str | None
    metadata: Mapping[str, object]


def read_xml(data: bytes, what: str) -> Element:
    """The root of well-formed XML without document type, at most :data:`ELEMENTS_MAX` elements, :data:`DEPTH_MAX` deep.

    Raises Refusal("package_hostile") for a DTD or entities (XXE reads files, nested entities fill memory), and for too
    many or too deep elements (each costs a hundred times its bytes); Refusal("not_a_package") for what is no XML.
    """
    depth = count = 0
    root: Element | None = None
    try:
        events = defusedxml.ElementTree.iterparse(io.BytesIO(data), events=("start", "end"), forbid_dtd=True)
        for event, element in events:
            if event == "end":
                depth -= 1
                continue
            root = element if root is None else root
            depth, count = depth + 1, count + 1
            if depth > DEPTH_MAX or count > ELEMENTS_MAX:
                raise Refusal(
                    "package_hostile", f"{what} has too many elements, or nests them too deep; make it smaller."
                )
    except DefusedXmlException:
        raise Refusal(
            "package_hostile", f"{what} has a document type declaration or entities, which are refused; remove them."
        ) from None
    except (ParseError, ValueError, LookupError) as error:
        raise Refusal("not_a_package", f"{what} is not well-formed XML: {str(error)[:200]}.") from None
    if root is None:
        raise Refusal("not_a_package", f"{what} is empty.")
    return root


def check_size(size_bytes: int) -> None:
    """Raises Refusal("package_hostile") for a POM that is too large to be one."""
    if size_bytes > POM_BYTES_MAX:
        raise Refusal(
            "package_hostile",
            f"A POM has at most {POM_BYTES_MAX} bytes.",
            size_bytes=size_bytes,
            limit_bytes=POM_BYTES_MAX,
        )


def read(data: bytes) -> Pom:
    """Read a POM.

    Raises Refusal("package_hostile") as :func:`read_xml` and above POM_BYTES_MAX; Refusal("not_a_package") for what is
    no POM; Refusal("package_field_invalid") for a coordinate that is missing or stands twice.
    """
    check_size(len(data))
    root = read_xml(data, "The POM")
    if _name(root) != "project":
        raise Refusal("not_a_package", "The file is no POM: its root element must be `project` of Maven's POM 4 model.")
    parent = _child(root, "parent")
    own = {name: _text(root, name) for name in ("groupId", "artifactId", "version", "packaging")}
    inherited = {name: _text(parent, name) for name in ("groupId", "artifactId", "version")}
    if own["artifactId"] is None:
        raise Refusal("package_field_invalid", "The POM has no artifactId.", field="artifactId")
    for name in ("groupId", "version"):
        if own[name] is None and inherited[name] is None:
            raise Refusal(
                "package_field_invalid", f"The POM has no {name}, neither of its own nor of a parent.", field=name
            )
    values = _properties(root, own, inherited)
    packaging = _resolved(own["packaging"] or "jar", values) or "jar"
    plugin_prefix = None
    if packaging == "maven-plugin":
        plugin_prefix = _goal_prefix(root, values) or prefix_of(own["artifactId"])
    return Pom(
        _resolved(own["groupId"] or inherited["groupId"], values),
        _resolved(own["artifactId"], values),
        _resolved(own["version"] or inherited["version"], values),
        packaging[:64],
        plugin_prefix,
        _shown(root, values),
    )


def goal_prefix_of_descriptor(data: bytes) -> str | None:
    """``goalPrefix`` of a plugin's META-INF/maven/plugin.xml, or None. Raises as :func:`read_xml`."""
    prefix = _text(read_xml(data, "The plugin descriptor"), "goalPrefix")
    return prefix if prefix and _PREFIX.match(prefix) else None


def prefix_of(artifact: str) -> str:
    """The prefix that Maven derives from an artifact id: ``maven-foo-plugin`` and ``foo-maven-plugin`` are ``foo``."""
    if artifact == "maven-plugin-plugin":
        return "plugin"
    return re.sub("-?plugin-?", "", re.sub("-?maven-?", "", artifact)) or artifact


def _name(element: Element) -> str:
    """The local name when the element is in a POM namespace or in none."""
    found = _NAMESPACE.match(element.tag)
    return element.tag[found.end() :] if found else element.tag


def _children(element: Element | None, name: str) -> Iterator[Element]:
    return (each for each in element if _name(each) == name) if element is not None else iter(())


def _child(element: Element | None, name: str) -> Element | None:
    """None, or the only child of this name. Two are refused: readers would disagree about which one counts."""
    found = list(_children(element, name))
    if len(found) > 1:
        raise Refusal("package_field_invalid", f"The POM has the element `{name}` twice where one belongs.", field=name)
    return found[0] if found else None


def _text(element: Element | None, name: str) -> str | None:
    child = _child(element, name)
    text = (child.text or "").strip() if child is not None else ""
    return text[:TEXT_CHARS_MAX] or None


def _properties(root: Element, own: Mapping[str, str | None], inherited: Mapping[str, str | None]) -> dict[str, str]:
    properties = _child(root, "properties")
    # Not `properties or ()`: an element without children is false.
    values = {_name(each): (each.text or "").strip() for each in (() if properties is None else properties)}
    for name in ("groupId", "artifactId", "version"):
        for prefix in ("project.", "pom.", ""):
            if (value := own[name] or (inherited[name] if name != "artifactId" else None)) is not None:
                values.setdefault(prefix + name, value)
        if (value := inherited[name]) is not None:
            values[f"project.parent.{name}"] = value
    return values


def _resolved(text: str | None, values: Mapping[str, str]) -> str | None:
    """``text`` with ``${…}`` replaced, or None when one remains. Bounded: text that doubles each round is a bomb."""
    for _ in range(_ROUNDS_MAX):
        if text is None or "${" not in text:
            return text
        text = _EXPRESSION.sub(lambda found: values.get(found[1], found[0]), text)
        if len(text) > TEXT_CHARS_MAX:
            return None
    return None


def _goal_prefix(root: Element, values: Mapping[str, str]) -> str | None:
    """The prefix configured for maven-plugin-plugin, which writes the plugin's descriptor."""
    build = _child(root, "build")
    for holder in (build, _child(build, "pluginManagement")):
        for plugin in _children(_child(holder, "plugins"), "plugin"):
            if _text(plugin, "artifactId") == "maven-plugin-plugin":
                prefix = _resolved(_text(_child(plugin, "configuration"), "goalPrefix"), values)
                if prefix and _PREFIX.match(prefix):
                    return prefix
    return None


def _shown(root: Element, values: Mapping[str, str]) -> dict[str, object]:
    """What the API and the pages show. Text that cannot be resolved is shown as it stands."""

    def text(element: Element | None, name: str) -> str:
        raw = _text(element, name) or ""
        return _resolved(raw, values) or raw

    licenses = [text(each, "name") for each in list(_children(_child(root, "licenses"), "license"))[:32]]
    by_scope: dict[str, list[str]] = {}
    for each in list(_children(_child(root, "dependencies"), "dependency"))[:DEPENDENCIES_MAX]:
        parts = (text(each, name)[:_COORDINATE_CHARS_MAX] for name in ("groupId", "artifactId", "version"))
        by_scope.setdefault(text(each, "scope")[:32] or "compile", []).append(":".join(parts).rstrip(":"))
    return {
        "summary": text(root, "name"),
        "description": text(root, "description"),
        "homepage": text(root, "url"),
        "licenses": [each for each in licenses if each],
        "dependencies": [{"context": scope, "dependencies": listed} for scope, listed in by_scope.items()],
    }
