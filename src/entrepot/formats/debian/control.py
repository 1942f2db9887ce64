"""Stanzas of control files (deb-control(5), Debian Policy 5.1): one strict reader for all, and the order apt writes.

Values stay bytes: control data is UTF-8 by policy, but older packages hold Latin-1, and an index must repeat what the
package says.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from entrepot.model.errors import Refusal
from entrepot.model.limits import FIELD_BYTES_MAX, STANZA_BYTES_MAX

# The field order of `apt-ftparchive packages` and `sources` (apt's tag file order); other fields follow in their own.
_PACKAGES = """
Package Package-Type Architecture Subarchitecture Version Kernel-Version Built-Using Static-Built-Using
Built-For-Profiles Auto-Built-Package Multi-Arch Status Priority Build-Essential Protected Important Essential
Installer-Menu-Item Section Source Origin Phased-Update-Percentage Maintainer Original-Maintainer Bugs Config-Version
Conffiles Triggers-Awaited Triggers-Pending Installed-Size Provides Pre-Depends Depends Recommends Suggests Conflicts
Breaks Replaces Enhances Filename MSDOS-Filename Size MD5sum SHA1 SHA256 SHA512 Homepage Description Description-md5
Tag Task
"""
_SOURCES = """
Package Source Format Binary Architecture Version Priority Section Origin Maintainer Original-Maintainer Uploaders
Dm-Upload-Allowed Standards-Version Build-Depends Build-Depends-Arch Build-Depends-Indep Build-Conflicts
Build-Conflicts-Arch Build-Conflicts-Indep Testsuite Testsuite-Triggers Homepage Description Vcs-Browser Vcs-Browse
Vcs-Arch Vcs-Bzr Vcs-Cvs Vcs-Darcs Vcs-Git Vcs-Hg Vcs-Mtn Vcs-Svn Directory Package-List Files Checksums-Md5
Checksums-Sha1 Checksums-Sha256 Checksums-Sha512
"""
PACKAGES_ORDER = tuple(_PACKAGES.split())
SOURCES_ORDER = tuple(_SOURCES.split())

# A field name is printable ASCII without colon and blank, and does not start with # or - (Debian Policy 5.1).
_FIELD = re.compile(rb"([\x21\x22\x24-\x2c\x2e-\x39\x3b-\x7e][\x21-\x39\x3b-\x7e]*)[ \t]*:(.*)", re.DOTALL)
# Carriage return, vertical tab and form feed end a line for some readers (Python's splitlines, apt's record scan): with
# one inside, the same bytes are one stanza here and two there. NUL ends a C string. The rest would reach terminals by
# way of `apt show`.
_CONTROL_CHARACTER = re.compile(rb"[\x00-\x08\x0b-\x1f\x7f]")
_CRLF = re.compile(rb"\r+(?=\n|\Z)")


@dataclass(frozen=True, slots=True)
class Stanza:
    """One stanza: lower-case field name → (name as written, value).

    A value is its first line without outer blanks, then each continuation line as it was written, after a newline.
    """

    fields: Mapping[str, tuple[str, bytes]]

    def get(self, name: str) -> bytes | None:
        """The value of a field by its name in any case, or None. An empty field is like an absent one
        (deb-control(5)).
        """
        found = self.fields.get(name.lower())
        return found[1] if found is not None and found[1].strip() else None

    def line(self, name: str) -> str:
        """The value of a field that must be there, on one line, in ASCII. Raises Refusal("package_field_invalid")."""
        value = self.optional_line(name)
        if value is None:
            raise invalid(name, f"The field {name} is missing; add it and build the package again.")
        return value

    def optional_line(self, name: str) -> str | None:
        """As :meth:`line`, but None when the field is absent."""
        value = self.get(name)
        if value is None:
            return None
        if b"\n" in value or not value.isascii():
            raise invalid(name, f"The field {name} must be one line of ASCII; correct it and build the package again.")
        return value.decode("ascii")


def invalid(field: str, detail: str) -> Refusal:
    """A Refusal("package_field_invalid") about one field."""
    return Refusal("package_field_invalid", detail, field=field[:80])


def parse_stanza(data: bytes, what: str, *, field_bytes_max: int = FIELD_BYTES_MAX) -> Stanza:
    """Read exactly one stanza; ``what`` names it in messages ("control file").

    Newlines before and after it are passed over, as dpkg does, and a carriage return before a newline is dropped;
    nothing else is forgiven. Raises Refusal: package_field_invalid for a second stanza, a blank or malformed line, a
    repeated field or a control character; package_hostile above STANZA_BYTES_MAX or ``field_bytes_max``.
    """
    if len(data) > STANZA_BYTES_MAX:
        raise Refusal(
            "package_hostile",
            f"The {what} is larger than {STANZA_BYTES_MAX} bytes; shorten it.",
            limit_bytes=STANZA_BYTES_MAX,
        )
    text = _CRLF.sub(b"", data).strip(b"\n")
    if found := _CONTROL_CHARACTER.search(text):
        raise invalid(
            "",
            f"The {what} holds the control character 0x{found.group()[0]:02x}; remove it and build the package again.",
        )
    fields: dict[str, tuple[str, list[bytes]]] = {}
    lines: list[bytes] | None = None
    for line in text.split(b"\n") if text else ():
        if not line.strip(b" \t"):
            # The attack: what follows a blank line would stand in the index as a package of its own, under any name.
            raise invalid(
                "", f"The {what} has a blank line, so a second stanza; write an empty line of a description as ' .'."
            )
        if line[0] in b" \t":
            if lines is None:
                raise invalid("", f"The {what} begins with a continuation line; begin it with a field.")
            lines.append(line)
        else:
            name, lines = _begin(line, what)
            # Readers differ in which of two they take: the one that we checked must be the only one.
            if name.lower() in fields:
                raise invalid(name, f"The {what} has the field {name[:80]} twice; keep one.")
            fields[name.lower()] = (name, lines)
    return Stanza({key: (name, _value(name, parts, field_bytes_max)) for key, (name, parts) in fields.items()})


def _begin(line: bytes, what: str) -> tuple[str, list[bytes]]:
    match = _FIELD.fullmatch(line)
    if match is None:
        raise invalid("", f"The {what} has a line that is neither 'Field: value' nor a continuation: {line[:60]!r}.")
    return match.group(1).decode("ascii"), [match.group(2).strip(b" \t")]


def _value(name: str, lines: list[bytes], field_bytes_max: int) -> bytes:
    value = b"\n".join(lines)
    if len(value) > field_bytes_max:
        raise Refusal(
            "package_hostile",
            f"The field {name[:80]} is larger than {field_bytes_max} bytes; shorten it.",
            limit_bytes=field_bytes_max,
        )
    return value


def render(fields: Iterable[tuple[str, bytes]], order: tuple[str, ...]) -> bytes:
    """A stanza with its closing blank line: fields in ``order`` and its spelling, then the others; no empty ones."""
    given = {name.lower(): (name, value) for name, value in fields if value.strip()}
    known = [(name, given.pop(name.lower())[1]) for name in order if name.lower() in given]
    parts = []
    for name, value in (*known, *given.values()):
        blank = b"" if value.startswith(b"\n") else b" "
        parts.append(name.encode("ascii") + b":" + blank + value + b"\n")
    return b"".join(parts) + b"\n"


def text_of(value: bytes) -> str:
    """A value for people and JSON: UTF-8, or Latin-1 when it is not UTF-8."""
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value.decode("latin-1")
