"""Binary packages (deb(5)): the control file out of the two nested archives, checked, and its stanza for Packages."""

import re

from entrepot.formats.debian.control import PACKAGES_ORDER, Stanza, parse_stanza, render, text_of
from entrepot.formats.debian.names import (
    COMPONENT,
    check_architecture,
    check_filename,
    check_package_name,
    is_package_name,
    pool_folder,
)
from entrepot.formats.debian.relations import BINARY_RELATIONS, check_relations, dependencies
from entrepot.formats.debian.version import order_key, parse_version
from entrepot.formats.protocol import Inspection, PackageFacts, Upload
from entrepot.model.errors import Refusal
from entrepot.model.limits import (
    DEB_CONTROL_BYTES_MAX,
    DEB_CONTROL_PACKED_BYTES_MAX,
    KIB,
    STANZA_BYTES_MAX,
)
from entrepot.streams.ar import MAGIC, ArMember, members
from entrepot.streams.bounded import KIND_OF_SUFFIX, DecompressingReader
from entrepot.streams.errors import Damaged, Hostile, OutsideWindow
from entrepot.streams.tar import find_members
from entrepot.streams.window import Window

HEAD_BYTES = DEB_CONTROL_PACKED_BYTES_MAX
# debsigs(1) puts its signature after the data, as a member _gpgorigin: its header must be seen, 64 KiB hold the
# largest.
TAIL_BYTES = 64 * KIB

_AR_MEMBERS_MAX = 16
_CONTROL_MEMBERS_MAX = 4096
_MARK_BYTES_MAX = 4 * KIB
# dpkg wants major version 2 and takes any minor one, with further lines (deb(5)).
_MARK = re.compile(rb"2\.[0-9]{1,4}\n")
_CONTROL_SUFFIXES = ("", "gz", "xz", "zst")
_DATA_SUFFIXES = ("", "gz", "xz", "zst", "bz2", "lzma")
# What the index says of the file, and dpkg's own state. A control file that brings them would speak for us, or twice.
_OURS = frozenset(
    {
        "filename",
        "msdos-filename",
        "size",
        "md5sum",
        "md5",
        "sha1",
        "sha256",
        "sha512",
        "status",
        "config-version",
        "conffiles",
    }
)


def udeb_refusal() -> Refusal:
    """apt must never see an installer's package: it would install it like any other."""
    return Refusal(
        "format_mismatch",
        "This is a udeb, which only Debian's installer reads; repositories here are for apt. Leave it out: push the"
        " .deb files by name, or build with DEB_BUILD_PROFILES=noudeb.",
    )


def inspect_binary(upload: Upload, window: Window) -> Inspection:
    """Judge a .deb. Raises what :meth:`entrepot.formats.protocol.Format.inspect` lists."""
    stanza = read_control(window)
    if stanza.get("Package-Type") == b"udeb":
        raise udeb_refusal()
    name = check_package_name(stanza.line("Package"), "Package")
    version_text = stanza.line("Version")
    version = parse_version(version_text)
    architecture = check_architecture(stanza.line("Architecture"))
    check_relations(stanza)
    extension = "ddeb" if upload.path.endswith(".ddeb") else "deb"
    filename = check_filename(f"{name}_{version.without_epoch}_{architecture}.{extension}", "The package")
    codename = upload.distribution.partition("/")[2]
    folder = pool_folder(codename, COMPONENT, _source(stanza) or name, upload.digests.sha256)
    facts = PackageFacts(
        type="deb",
        name=name,
        version=version.without_epoch,
        epoch=version.epoch,
        release=version.revision,
        architecture=architecture,
        filename=filename,
        path=filename,
        conflict_key=filename,
        order_key=order_key(name, version, architecture, upload.digests.sha256),
        part=f"{COMPONENT}:{architecture}",
        fragments={"Packages": _entry(stanza, upload, f"{folder}/{filename}")},
        metadata=_metadata(stanza),
    )
    return Inspection(facts)


def read_control(window: Window) -> Stanza:
    """The control stanza of a .deb, with the archive's structure checked. Raises Refusal (package_damaged,
    package_hostile, …).
    """
    control = _control_member(window)
    suffix = control.name.removeprefix("control.tar").removeprefix(".")
    packed = window.reader(control.offset_bytes, control.size_bytes)
    plain = DecompressingReader(packed, KIND_OF_SUFFIX[suffix], DEB_CONTROL_BYTES_MAX, "The control archive")
    found = find_members(plain, ("control",), member_bytes_max=STANZA_BYTES_MAX, members_max=_CONTROL_MEMBERS_MAX)
    if "control" not in found:
        raise Refusal(
            "package_field_invalid", "The package has no control file; build it with dpkg-deb.", field="control"
        )
    return parse_stanza(found["control"], "control file")


def _control_member(window: Window) -> ArMember:
    """Check the members as dpkg reads them: debian-binary, control.tar, data.tar; others only with a leading _."""
    if window.size_bytes < len(MAGIC) or window.read(0, len(MAGIC)) != MAGIC:
        raise Refusal("not_a_package", "The file is no .deb: it does not begin with !<arch>. Check what was sent.")
    try:
        found = members(window, members_max=_AR_MEMBERS_MAX)
    except OutsideWindow as error:
        raise Hostile(
            f"The control data is larger than {HEAD_BYTES} bytes, or other bytes follow the package; use dpkg-deb.",
            limit_bytes=HEAD_BYTES,
        ) from error
    if not found or found[0].name != "debian-binary":
        raise Refusal(
            "not_a_package",
            "The ar archive does not begin with debian-binary, so it is no .deb; build it with dpkg-deb.",
        )
    mark = window.read(found[0].offset_bytes, min(found[0].size_bytes, _MARK_BYTES_MAX))
    if not _MARK.match(mark):
        raise Refusal("not_a_package", "The .deb is not of format 2.x; build it again with a current dpkg-deb.")
    # dpkg takes the first control.tar and data.tar in this order and stops at any other name; a second one is what
    # another reader takes.
    known = [member for member in found[1:] if not member.name.startswith("_")]
    if (
        len(known) < 2
        or not _is(known[0], "control.tar", _CONTROL_SUFFIXES)
        or not _is(known[1], "data.tar", _DATA_SUFFIXES)
    ):
        raise Damaged(
            "The .deb must hold control.tar[.gz|.xz|.zst], then data.tar[.*]; it is truncated or not made by dpkg-deb."
        )
    if len(known) > 2:
        raise Hostile(
            f"The .deb has the member {known[2].name} after its data; build it with dpkg-deb.", member=known[2].name
        )
    if known[0].size_bytes > HEAD_BYTES:
        raise Hostile(f"The control data is larger than {HEAD_BYTES} bytes; make it smaller.", limit_bytes=HEAD_BYTES)
    if known[1].size_bytes == 0:
        raise Damaged("The .deb has an empty data.tar; build it with dpkg-deb.")
    return known[0]


def _is(member: ArMember, stem: str, suffixes: tuple[str, ...]) -> bool:
    return member.name in {f"{stem}.{suffix}" if suffix else stem for suffix in suffixes}


def _source(stanza: Stanza) -> str | None:
    """The source package's name, or None when the field is absent or holds what cannot be a folder (other tools write
    free text).
    """
    value = stanza.get("Source")
    name = text_of(value).partition("(")[0].strip() if value is not None else ""
    return name if is_package_name(name) else None


def _entry(stanza: Stanza, upload: Upload, filename: str) -> bytes:
    kept = [(name, value) for key, (name, value) in stanza.fields.items() if key not in _OURS]
    kept += [("Filename", filename.encode("ascii")), ("Size", str(upload.size_bytes).encode("ascii"))]
    if upload.digests.md5 is not None:
        kept.append(("MD5sum", upload.digests.md5.encode("ascii")))
    if upload.digests.sha1 is not None:
        kept.append(("SHA1", upload.digests.sha1.encode("ascii")))
    kept.append(("SHA256", upload.digests.sha256.encode("ascii")))
    return render(kept, PACKAGES_ORDER)


def _metadata(stanza: Stanza) -> dict[str, object]:
    summary, _, rest = text_of(stanza.get("Description") or b"").partition("\n")
    lines = [line[1:] if line.startswith((" ", "\t")) else line for line in rest.split("\n")] if rest else []
    found: dict[str, object] = {
        "summary": summary.strip(),
        "description": "\n".join("" if line.strip() == "." else line.rstrip() for line in lines),
        "licenses": [],
        "homepage": text_of(stanza.get("Homepage") or b""),
        "dependencies": dependencies(stanza, BINARY_RELATIONS),
    }
    for field in ("Section", "Priority", "Maintainer", "Source", "Installed-Size"):
        if (value := stanza.get(field)) is not None:
            found[field.lower().replace("-", "_")] = text_of(value)
    return found
