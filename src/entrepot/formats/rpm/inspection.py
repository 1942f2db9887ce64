"""The judgement on one uploaded rpm."""

from entrepot.formats.protocol import Inspection, PackageFacts, Upload
from entrepot.formats.rpm.addresses import location
from entrepot.formats.rpm.arches import SOURCE_ARCHES, part_of
from entrepot.formats.rpm.header import (
    LEAD_MAGIC,
    PAYLOAD_FORMAT,
    Identity,
    check_header_digests,
    check_payload_digest,
    check_sizes,
    read_identity,
    read_structure,
)
from entrepot.formats.rpm.order import order_key
from entrepot.formats.rpm.render import Rendered, render
from entrepot.model.errors import Refusal
from entrepot.model.limits import FILENAME_CHARS_MAX
from entrepot.streams.window import Window


def inspect(upload: Upload, window: Window) -> Inspection:
    """See :meth:`entrepot.formats.protocol.Format.inspect`. Cheap checks first; C code sees only a header whose
    digest is right."""
    # Java's upload client sends a random name without a suffix: then the content alone tells. A name with another
    # suffix is a file of another kind.
    nameless = "." not in upload.path and window.size_bytes >= len(LEAD_MAGIC)
    if not upload.path.endswith(".rpm") and not (nameless and window.read(0, len(LEAD_MAGIC)) == LEAD_MAGIC):
        raise Refusal(
            "format_mismatch",
            f"{upload.distribution} takes .rpm packages only; push this file to a distribution of its own kind.",
            distribution=upload.distribution,
        )
    structure = read_structure(window)
    check_sizes(structure, upload.size_bytes)
    check_header_digests(structure)
    if structure.header.text(PAYLOAD_FORMAT) == b"drpm":
        raise Refusal(
            "not_a_package", "This is a delta rpm, which cannot be installed by itself; push the whole package."
        )
    identity = read_identity(structure.header)
    if len(identity.filename) > FILENAME_CHARS_MAX:
        raise Refusal(
            "package_name_invalid",
            f"The package's file name has more than {FILENAME_CHARS_MAX} characters; shorten its name or version.",
            chars=len(identity.filename),
            limit=FILENAME_CHARS_MAX,
        )
    check_payload_digest(structure, window)
    sha256 = upload.digests.sha256
    rendered = render(structure, size_bytes=upload.size_bytes, sha256=sha256, href=location(sha256, identity.filename))
    check_same(identity, rendered)
    return Inspection(_facts(identity, rendered, sha256))


def check_same(identity: Identity, rendered: Rendered) -> None:
    """Our reading of the header and librpm's must agree: a file that two readers see apart could pass checks under
    one name only."""
    is_source = identity.arch in SOURCE_ARCHES
    ours = (
        identity.name,
        str(identity.epoch or 0),
        identity.version,
        identity.release,
        "src" if is_source else identity.arch,
    )
    theirs = (rendered.name, rendered.epoch, rendered.version, rendered.release, rendered.arch)
    if ours != theirs:
        raise Refusal("package_field_invalid", "The rpm header names the package in two ways; build the package again.")


def _facts(identity: Identity, rendered: Rendered, sha256: str) -> PackageFacts:
    epoch = identity.epoch or 0
    return PackageFacts(
        type="srpm" if identity.arch in SOURCE_ARCHES else "rpm",
        name=identity.name,
        version=identity.version,
        release=identity.release,
        epoch=identity.epoch,
        architecture=identity.arch,
        filename=identity.filename,
        path=identity.filename,
        conflict_key=identity.nevra,
        order_key=order_key(identity.name, epoch, identity.version, identity.release, identity.arch, sha256),
        part=part_of(identity.arch),
        fragments=rendered.fragments,
        metadata=rendered.metadata,
    )
