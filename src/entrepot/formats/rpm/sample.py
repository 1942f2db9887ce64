"""An rpm by which a node tries itself out, and how dnf would find it: repomd.xml and its signature, primary, the entry.

The package is format 3 as rpm 4 writes it (rpm, docs/manual/format_v3.md): lead, signature header, header, and a
payload of one file in a newc archive.
"""

import gzip
import hashlib
import struct
from collections.abc import Sequence
from typing import NamedTuple
from xml.etree.ElementTree import Element, ParseError

import defusedxml.ElementTree
from defusedxml.common import DefusedXmlException

from entrepot.formats.protocol import IndexFault, IndexReader, Located, Sample, SampleFile
from entrepot.formats.rpm import header as read
from entrepot.formats.sampling import NAME, checked, fetch_checked, gunzip, payload

# One architecture, not `noarch`: one folder is then published and signed, and not each that exists by default.
ARCHITECTURE = "x86_64"
DISTRIBUTION = "el/9"
_FOLDER = f"{DISTRIBUTION}/{ARCHITECTURE}"
_REPO = "{http://linux.duke.edu/metadata/repo}"
_COMMON = "{http://linux.duke.edu/metadata/common}"

_INT16, _INT32, _STRING, _BIN, _STRING_ARRAY, _I18N_STRING = 3, 4, 6, 7, 8, 9
_REGION_SIGNATURES, _REGION_IMMUTABLE = 62, 63
_FILE_MODE, _SHA256, _BUILT_AT_S = 0o100644, 8, 1_700_000_000
_SENSE_EQUAL, _INODE = 8, 1


class Tag(NamedTuple):
    """One header entry. A number of rpm's tags, its data type, and its values: ints, or bytes without NUL."""

    number: int
    kind: int
    values: Sequence[int | bytes]


def sample(serial: int, payload_bytes: int) -> Sample:
    """See :meth:`entrepot.formats.protocol.Format.sample`."""
    version = f"1.0.{serial}"
    content = payload(serial, payload_bytes)
    path = f"/usr/share/{NAME}/payload"
    archive = _cpio("." + path, content)
    packed = gzip.compress(archive, 0, mtime=0)  # stored: it would not become smaller
    header = _header([*_about(version, packed), *_file(path, content)], _REGION_IMMUTABLE)
    promised = [
        Tag(269, _STRING, [hashlib.sha1(header, usedforsecurity=False).hexdigest().encode()]),
        Tag(273, _STRING, [hashlib.sha256(header).hexdigest().encode()]),
        Tag(1000, _INT32, [len(header) + len(packed)]),
        Tag(1004, _BIN, [hashlib.md5(header + packed, usedforsecurity=False).digest()]),
        Tag(1007, _INT32, [len(archive)]),
    ]
    signature = _header(promised, _REGION_SIGNATURES)
    lead = struct.pack(">4sBBHH66sHH16x", read.LEAD_MAGIC, 3, 0, 0, 1, f"{NAME}-{version}-1".encode(), 1, 5)
    whole = b"".join([lead, signature, bytes(-len(signature) % 8), header, packed])
    filename = f"{NAME}-{version}-1.{ARCHITECTURE}.rpm"
    return Sample(DISTRIBUTION, NAME, version, (SampleFile(f"{DISTRIBUTION}/{filename}", whole),))


def _about(version: str, packed: bytes) -> list[Tag]:
    name, number = NAME.encode(), version.encode()
    return [
        Tag(100, _STRING_ARRAY, [b"C"]),
        Tag(read.NAME, _STRING, [name]),
        Tag(read.VERSION, _STRING, [number]),
        Tag(read.RELEASE, _STRING, [b"1"]),
        Tag(1004, _I18N_STRING, [b"sample by which an Entrepot node tries itself out"]),
        Tag(1005, _I18N_STRING, [b"It holds nothing of use, and is yanked as soon as it was seen in the index."]),
        Tag(1006, _INT32, [_BUILT_AT_S]),
        Tag(1007, _STRING, [b"entrepot.invalid"]),
        Tag(1014, _STRING, [b"GPL-3.0-or-later"]),
        Tag(1016, _I18N_STRING, [b"Unspecified"]),
        Tag(1021, _STRING, [b"linux"]),
        Tag(read.ARCH, _STRING, [ARCHITECTURE.encode()]),
        Tag(read.SOURCE_RPM, _STRING, [name + b"-" + number + b"-1.src.rpm"]),
        Tag(1047, _STRING_ARRAY, [name]),
        Tag(1112, _INT32, [_SENSE_EQUAL]),
        Tag(1113, _STRING_ARRAY, [number + b"-1"]),
        Tag(read.PAYLOAD_FORMAT, _STRING, [b"cpio"]),
        Tag(1125, _STRING, [b"gzip"]),
        Tag(1126, _STRING, [b"9"]),
        Tag(5062, _STRING, [b"utf-8"]),
        Tag(5092, _STRING_ARRAY, [hashlib.sha256(packed).hexdigest().encode()]),
        Tag(5093, _INT32, [_SHA256]),
    ]


def _file(path: str, content: bytes) -> list[Tag]:
    folder, _, base = path.rpartition("/")
    return [
        Tag(1009, _INT32, [len(content)]),
        Tag(1028, _INT32, [len(content)]),
        Tag(1030, _INT16, [_FILE_MODE]),
        Tag(1033, _INT16, [0]),
        Tag(1034, _INT32, [_BUILT_AT_S]),
        Tag(1035, _STRING_ARRAY, [hashlib.sha256(content).hexdigest().encode()]),
        Tag(1036, _STRING_ARRAY, [b""]),
        Tag(1037, _INT32, [0]),
        Tag(1039, _STRING_ARRAY, [b"root"]),
        Tag(1040, _STRING_ARRAY, [b"root"]),
        Tag(1045, _INT32, [0xFFFFFFFF]),
        Tag(1095, _INT32, [1]),
        Tag(1096, _INT32, [_INODE]),
        Tag(1097, _STRING_ARRAY, [b""]),
        Tag(read.DIR_INDEXES, _INT32, [0]),
        Tag(read.BASENAMES, _STRING_ARRAY, [base.encode()]),
        Tag(read.DIRNAMES, _STRING_ARRAY, [folder.encode() + b"/"]),
        Tag(5011, _INT32, [_SHA256]),
    ]


def _header(tags: Sequence[Tag], region: int) -> bytes:
    """Intro, index sorted by tag, store; the region tag's trailer closes the store (docs/manual/format_header.md)."""
    index, store = [], bytearray()
    for tag in sorted(tags):
        width = {_INT16: 2, _INT32: 4}.get(tag.kind, 1)
        store += bytes(-len(store) % width)
        count = len(tag.values[0]) if tag.kind == _BIN and isinstance(tag.values[0], bytes) else len(tag.values)
        index.append(struct.pack(">4I", tag.number, tag.kind, len(store), count))
        for value in tag.values:
            if isinstance(value, int):
                store += value.to_bytes(width, "big")
            else:
                store += value if tag.kind == _BIN else value + b"\0"
    entries = len(index) + 1
    first = struct.pack(">4I", region, _BIN, len(store), 16)
    store += struct.pack(">IIiI", region, _BIN, -16 * entries, 16)
    return read.HEADER_MAGIC + struct.pack(">4x2I", entries, len(store)) + first + b"".join(index) + store


def _cpio(path: str, content: bytes) -> bytes:
    """A newc archive (cpio(5)) of one file, and the entry that ends it."""
    parts = []
    for name, data, mode in ((path.encode(), content, _FILE_MODE), (b"TRAILER!!!", b"", 0)):
        inode, made_at = (_INODE, _BUILT_AT_S) if mode else (0, 0)
        numbers = (inode, mode, 0, 0, 1, made_at, len(data), 0, 0, 0, 0, len(name) + 1, 0)
        head = b"070701" + b"".join(b"%08x" % number for number in numbers) + name + b"\0"
        parts += [head, bytes(-len(head) % 4), data, bytes(-len(data) % 4)]
    return b"".join(parts)


def locate(wanted: Sample, reader: IndexReader) -> tuple[Located, ...]:
    """See :meth:`entrepot.formats.protocol.Format.locate`."""
    document = reader.fetch(f"{_FOLDER}/repodata/repomd.xml")
    if document is None:
        return ()
    signature = reader.fetch(f"{_FOLDER}/repodata/repomd.xml.asc")
    if signature is None:
        raise IndexFault("repomd.xml.asc is not there")
    repomd = _xml(reader.verify(document, signature), "repomd.xml")
    data = repomd.find(f"{_REPO}data[@type='primary']")
    if data is None:
        raise IndexFault("repomd.xml does not name primary")
    path = f"{_FOLDER}/{_attribute(data, f'{_REPO}location', 'href')}"
    plain = gunzip(fetch_checked(reader, path, data.findtext(f"{_REPO}checksum", "")), path)
    checked(plain, f"{path}, unpacked,", data.findtext(f"{_REPO}open-checksum", ""))
    for package in _xml(plain, path).iterfind(f"{_COMMON}package"):
        version = _attribute(package, f"{_COMMON}version", "ver")
        if (package.findtext(f"{_COMMON}name"), version) == (wanted.name, wanted.version):
            href = _attribute(package, f"{_COMMON}location", "href")
            return (Located(f"{_FOLDER}/{href}", package.findtext(f"{_COMMON}checksum", "")),)
    return ()


def _xml(data: bytes, what: str) -> Element:
    try:
        root: Element = defusedxml.ElementTree.fromstring(data, forbid_dtd=True)
    except (ParseError, DefusedXmlException) as error:
        raise IndexFault(f"{what} is not well-formed XML: {error}") from None
    return root


def _attribute(parent: Element, child: str, name: str) -> str:
    found = parent.find(child)
    return "" if found is None else found.get(name, "")
