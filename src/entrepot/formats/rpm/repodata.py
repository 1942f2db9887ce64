"""Indexes of a distribution and repomd.xml, the document that names their files and is signed."""

from entrepot.formats.protocol import Document, IndexSpec, Manifest, ManifestInput, Signature, StreamSpec, StreamState
from entrepot.formats.rpm.addresses import STREAMS
from entrepot.formats.rpm.arches import parts_of, scopes_of
from entrepot.formats.rpm.render import FEET, HEADS, XML_DECLARATION

_STREAM_SPECS = tuple(StreamSpec(stream, f"{stream}.xml", f"{stream}.xml.gz") for stream in STREAMS)

_REPOMD_HEAD = f'{XML_DECLARATION}<repomd xmlns="http://linux.duke.edu/metadata/repo" xmlns:rpm="http://linux.duke.edu/metadata/rpm">\n'


def indexes(parts: frozenset[str]) -> tuple[IndexSpec, ...]:
    """One index of three streams for each folder."""
    return tuple(IndexSpec(scope, "packages", parts_of(scope), _STREAM_SPECS) for scope in scopes_of(parts))


def head(stream: str, entries: int) -> bytes:
    """XML declaration and opening tag. ``packages`` is a hint that no client relies on (it may be stale between
    merges)."""
    return (XML_DECLARATION + HEADS[stream] % entries).encode()


def foot(stream: str) -> bytes:
    """The closing tag, without a newline, as createrepo_c has it."""
    return FEET[stream].encode()


# dnf 5 takes the first armored block and refuses one that holds two signatures; zypper asks for the first one's key;
# gpg, which dnf 4 asks, reads every block.
SIGNATURES: tuple[Signature, ...] = (Signature("repomd.xml", "repomd.xml.asc", "blocks"),)


def manifest(request: ManifestInput) -> Manifest:
    """repomd.xml of one generation; the revision is the generation, which only ever grows."""
    states = [state for index in request.indexes for state in index.streams]
    text = [_REPOMD_HEAD, f"  <revision>{request.generation}</revision>\n"]
    text += [_data(state, request.date_s) for state in states]
    text.append("</repomd>\n")
    return Manifest(
        documents=(Document("repomd.xml", "".join(text).encode(), "text/xml; charset=utf-8"),),
        signatures=SIGNATURES,
        key_name="repomd.xml.key",
    )


def _data(state: StreamState, date_s: int) -> str:
    return (
        f'  <data type="{state.stream}">\n'
        f'    <checksum type="sha256">{state.gz_sha256}</checksum>\n'
        f'    <open-checksum type="sha256">{state.plain_sha256}</open-checksum>\n'
        f'    <location href="repodata/{state.gz_sha256}-{state.gz_path}"/>\n'
        f"    <timestamp>{date_s}</timestamp>\n"
        f"    <size>{state.gz_size_bytes}</size>\n"
        f"    <open-size>{state.plain_size_bytes}</open-size>\n"
        "  </data>\n"
    )
