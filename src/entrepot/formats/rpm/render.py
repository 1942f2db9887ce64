"""A package's entries in primary.xml, filelists.xml and other.xml, as createrepo_c writes them.

createrepo_c gets the file only up to the end of its header, in memory (memfd), and never a named file. What the API
shows is read back from the rendered primary entry, so that index and API cannot disagree."""

import os
import re
import xml.parsers.expat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

from entrepot.formats.rpm.header import BASENAMES, DIR_INDEXES, DIRNAMES, OLD_FILENAMES, Header, Structure
from entrepot.model.errors import Refusal
from entrepot.model.limits import FIELD_BYTES_MAX, RPM_FILE_PATHS_BYTES_MAX, RPM_FILES_MAX, RPM_RELATIONS_MAX
from entrepot.streams.errors import Hostile

CHANGELOGS_MAX = 10
"""Changelog entries in other.xml, the newest: createrepo_c's own default."""

_COMMON = "http://linux.duke.edu/metadata/common"
_RPM = "http://linux.duke.edu/metadata/rpm"

HEADS = {
    "primary": f'<metadata xmlns="{_COMMON}" xmlns:rpm="{_RPM}" packages="%d">\n',
    "filelists": '<filelists xmlns="http://linux.duke.edu/metadata/filelists" packages="%d">\n',
    "other": '<otherdata xmlns="http://linux.duke.edu/metadata/other" packages="%d">\n',
}
FEET = {"primary": "</metadata>", "filelists": "</filelists>", "other": "</otherdata>"}
XML_DECLARATION = '<?xml version="1.0" encoding="UTF-8"?>\n'

# Name tags of each kind of relation, in the order of primary.xml: PROVIDE, REQUIRE, CONFLICT, OBSOLETE, SUGGEST,
# ENHANCE, RECOMMEND, SUPPLEMENT.
_RELATION_TAGS = (1047, 1049, 1054, 1090, 5049, 5055, 5046, 5052)
_RELATION_KINDS = (
    "requires",
    "provides",
    "conflicts",
    "obsoletes",
    "recommends",
    "suggests",
    "supplements",
    "enhances",
)
_SENSES = {"EQ": "=", "LT": "<", "GT": ">", "LE": "<=", "GE": ">="}
_SHOWN_RELATIONS_MAX = 1000

# XML 1.0 section 2.2 "Char", turned round; DEL too: header.py puts it where a control character was. U+FFFE, U+FFFF
# and unpaired surrogates can be in a header as well as any other bytes.
_NOT_XML = re.compile("[^\t\n\r\x20-\x7e\x80-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True, slots=True)
class Rendered:
    """Stream name → entry bytes (UTF-8, closing newline), and what the primary entry says."""

    fragments: Mapping[str, bytes]
    name: str
    arch: str
    epoch: str
    version: str
    release: str
    metadata: Mapping[str, object]


def render(structure: Structure, *, size_bytes: int, sha256: str, href: str) -> Rendered:
    """Render the three entries of one package. ``href`` is its location relative to the folder of ``repodata``.

    Raises Refusal: package_hostile (lists too long), package_damaged (librpm or createrepo_c cannot read the header).
    """
    _check_lists(structure.header)
    texts = _createrepo(structure, size_bytes, sha256, href)
    fragments = {stream: _clean(text) for stream, text in zip(HEADS, texts, strict=True)}
    root = _checked_primary(fragments["primary"])
    for stream in ("filelists", "other"):
        _check_well_formed(fragments[stream])
    version = root.find(f"{{{_COMMON}}}version")
    assert version is not None  # createrepo_c always writes it
    return Rendered(
        fragments=fragments,
        name=_text(root, "name"),
        arch=_text(root, "arch"),
        epoch=version.get("epoch", ""),
        version=version.get("ver", ""),
        release=version.get("rel", ""),
        metadata=_metadata(root),
    )


def _check_lists(header: Header) -> None:
    """Bound what the entries expand to, before C code expands it. Raises Hostile."""
    files = max(header.count(BASENAMES), header.count(OLD_FILENAMES))
    if files > RPM_FILES_MAX:
        raise Hostile(f"The package lists more than {RPM_FILES_MAX} files; split it.", files=files, limit=RPM_FILES_MAX)
    relations = sum(header.count(tag) for tag in _RELATION_TAGS)
    if relations > RPM_RELATIONS_MAX:
        raise Hostile(
            f"The package has more than {RPM_RELATIONS_MAX} relations (requires, provides…); split it.",
            relations=relations,
            limit=RPM_RELATIONS_MAX,
        )
    # A path is folder number + base name: one folder name of a megabyte, used by each of 100,000 files, would be 100
    # GB of filelists.xml.
    lengths = [len(name) for name in header.strings(DIRNAMES)]
    paths_bytes = len(header.data(BASENAMES)) + sum(
        lengths[number] for number in header.numbers(DIR_INDEXES) if number < len(lengths)
    )
    if paths_bytes > RPM_FILE_PATHS_BYTES_MAX:
        raise Hostile(
            f"The paths of the package's files are longer than {RPM_FILE_PATHS_BYTES_MAX} bytes together; split it.",
            paths_bytes=paths_bytes,
            limit_bytes=RPM_FILE_PATHS_BYTES_MAX,
        )


def _createrepo(structure: Structure, size_bytes: int, sha256: str, href: str) -> tuple[str, str, str]:
    # Imported here: only inspection children need librpm in memory.
    import createrepo_c

    memory = os.memfd_create("rpm-header", os.MFD_CLOEXEC)
    try:
        for part in (structure.start, structure.header.presentable()):
            view = memoryview(part)
            while view:
                view = view[os.write(memory, view) :]
        package: Any = createrepo_c.package_from_rpm(
            f"/proc/self/fd/{memory}", location_href=href, changelog_limit=CHANGELOGS_MAX
        )
        # createrepo_c saw a shorter file of another time; an upload has no time of its own, so the build's stands for
        # it.
        package.pkgId = sha256
        package.size_package = size_bytes
        package.time_file = package.time_build
        primary, filelists, other = createrepo_c.xml_dump(package)
    except (
        createrepo_c.CreaterepoCError,
        OSError,
        ValueError,
        TypeError,
    ) as error:  # ValueError includes UnicodeDecodeError
        raise Refusal(
            "package_damaged", f"The rpm header cannot be read ({str(error)[:200]}); build the package again."
        ) from error
    finally:
        os.close(memory)
    return primary, filelists, other


def _clean(text: str) -> bytes:
    """UTF-8 bytes that are characters of XML 1.0 only, with one newline at the end."""
    return _NOT_XML.sub("", text).strip("\n").encode() + b"\n"


def _checked_primary(fragment: bytes) -> ElementTree.Element:
    """The ``package`` element as a client will read it. One bad entry would break the index for every package in
    it."""
    try:
        document = ElementTree.fromstring((HEADS["primary"] % 1).encode() + fragment + FEET["primary"].encode())
    except ElementTree.ParseError as error:
        raise Refusal("package_damaged", "The rpm header makes no valid XML; build the package again.") from error
    packages = list(document)
    if len(packages) != 1:
        raise Refusal("package_damaged", "The rpm header makes no valid XML; build the package again.")
    return packages[0]


def _check_well_formed(fragment: bytes) -> None:
    try:
        xml.parsers.expat.ParserCreate("UTF-8").Parse(fragment, True)
    except xml.parsers.expat.ExpatError as error:
        raise Refusal("package_damaged", "The rpm header makes no valid XML; build the package again.") from error


# ------------------------------------------------------------------------------------------------ what the API shows


def _text(element: ElementTree.Element, name: str, space: str = _COMMON) -> str:
    return (element.findtext(f".//{{{space}}}{name}") or "")[:FIELD_BYTES_MAX]


def _metadata(root: ElementTree.Element) -> dict[str, object]:
    licence = _text(root, "license", _RPM)
    return {
        "summary": _text(root, "summary"),
        "description": _text(root, "description"),
        "licenses": [licence] if licence else [],
        "homepage": _text(root, "url"),
        "dependencies": list(_dependencies(root)),
    }


def _dependencies(root: ElementTree.Element) -> Iterator[dict[str, object]]:
    for kind in _RELATION_KINDS:
        listed = root.find(f".//{{{_RPM}}}{kind}")
        if listed is not None:
            yield {"context": kind, "dependencies": [_relation(entry) for entry in listed[:_SHOWN_RELATIONS_MAX]]}


def _relation(entry: ElementTree.Element) -> str:
    """``name`` or ``name >= epoch:version-release`` (epoch 0 not shown), as ``rpm -q --requires`` prints it."""
    name, sense = entry.get("name", ""), _SENSES.get(entry.get("flags", ""))
    if sense is None:
        return name
    epoch, release = entry.get("epoch", "0"), entry.get("rel", "")
    return (
        f"{name} {sense} {f'{epoch}:' if epoch != '0' else ''}{entry.get('ver', '')}{f'-{release}' if release else ''}"
    )
