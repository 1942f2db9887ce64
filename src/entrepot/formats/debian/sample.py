"""A .deb by which a node tries itself out, and how apt would find it: InRelease, Packages by its digest, the entry."""

import gzip
import io
import tarfile

from entrepot.formats.debian.control import Stanza, parse_stanza
from entrepot.formats.protocol import IndexFault, IndexReader, Located, Sample, SampleFile
from entrepot.formats.sampling import NAME, fetch_checked, gunzip, payload
from entrepot.model.errors import Refusal
from entrepot.streams import ar

# One architecture, not `all`: an index is then changed, and not the four that exist by default.
ARCHITECTURE = "amd64"
FAMILY, CODENAME = "debian", "bookworm"
_INDEX = f"main/binary-{ARCHITECTURE}"
_DISTS = f"{FAMILY}/dists/{CODENAME}"
_CONTROL = """\
Package: {name}
Version: {version}
Architecture: {architecture}
Maintainer: Entrepot <canary@entrepot.invalid>
Section: misc
Priority: optional
Description: sample by which an Entrepot node tries itself out
 It holds nothing of use, and is yanked as soon as it was seen in the index.
"""


def sample(serial: int, payload_bytes: int) -> Sample:
    """See :meth:`entrepot.formats.protocol.Format.sample`."""
    version = f"1.0.{serial}"
    control = _CONTROL.format(name=NAME, version=version, architecture=ARCHITECTURE).encode()
    folder = f"./usr/share/{NAME}"
    folders = ["./", "./usr", "./usr/share", folder]
    members = (
        ("debian-binary", b"2.0\n"),
        ("control.tar.gz", gzip.compress(_tar(["./"], {"./control": control}), 6, mtime=0)),
        ("data.tar", _tar(folders, {f"{folder}/payload": payload(serial, payload_bytes)})),
    )
    content = ar.MAGIC + b"".join(_ar_member(name, data) for name, data in members)
    filename = f"{NAME}_{version}_{ARCHITECTURE}.deb"
    files = (SampleFile(f"{FAMILY}/{CODENAME}/{filename}", content),)
    return Sample(f"{FAMILY}/{CODENAME}", NAME, version, files)


def _ar_member(name: str, data: bytes) -> bytes:
    """ar(5): a header of text fields, the data, and a newline when their length is odd."""
    return f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(data):<10}`\n".encode() + data + b"\n" * (len(data) % 2)


def _tar(folders: list[str], files: dict[str, bytes]) -> bytes:
    archive = io.BytesIO()
    with tarfile.TarFile(fileobj=archive, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name in folders:
            folder = tarfile.TarInfo(name)
            folder.type, folder.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(folder)
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return archive.getvalue()


def locate(wanted: Sample, reader: IndexReader) -> tuple[Located, ...]:
    """See :meth:`entrepot.formats.protocol.Format.locate`."""
    signed = reader.fetch(f"{_DISTS}/InRelease")
    if signed is None:
        return ()
    sha256 = _listed_digest(reader.verify(signed).decode("utf-8", "replace"), f"{_INDEX}/Packages.gz")
    path = f"{_DISTS}/{_INDEX}/by-hash/SHA256/{sha256}"
    plain = gunzip(fetch_checked(reader, path, sha256), path)
    for text in plain.split(b"\n\n"):
        if text.strip():
            stanza = _stanza(text, path)
            if (stanza.line("Package"), stanza.line("Version")) == (wanted.name, wanted.version):
                return (Located(f"{FAMILY}/{stanza.line('Filename')}", stanza.line("SHA256")),)
    return ()


def _stanza(text: bytes, path: str) -> Stanza:
    try:
        return parse_stanza(text, path)
    except Refusal as refusal:
        raise IndexFault(f"{path} has an entry that cannot be read: {refusal.detail}") from None


def _listed_digest(release: str, name: str) -> str:
    """The SHA256 that a Release file gives for ``name``."""
    _, _, rows = release.partition("\nSHA256:\n")
    for row in rows.splitlines():
        words = row.split()
        if not row.startswith(" ") or len(words) != 3:
            break
        if words[2] == name:
            return words[0]
    raise IndexFault(f"the Release file does not list {name}")
