"""Names that may stand in a Debian repository's paths and indexes (Debian Policy 5.6)."""

import re

from entrepot.model.errors import Refusal
from entrepot.model.limits import FILENAME_CHARS_MAX

COMPONENT = "main"
# Of the sha256 in a location: 128 bits, so that nobody finds two files for one location by accident or design.
DIGEST_CHARS = 32

# Policy 5.6.1 and 5.6.7: lower case letters, digits, + - and ., at least two, the first one a letter or digit (so never
# ".." or "-rf").
_PACKAGE = re.compile(r"[a-z0-9][a-z0-9+.-]{1,127}\Z")
_ARCHITECTURE = re.compile(r"[a-z0-9][a-z0-9-]{0,62}\Z")
_FILENAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+~:-]*\Z")
_COMPRESSED = r"\.(?:gz|bz2|xz|lzma|zst)"
# dpkg-source(1): foo_1.tar.xz, foo_1.orig.tar.gz, foo_1.orig-component.tar.bz2, foo_1-2.debian.tar.xz, foo_1-2.diff.gz,
# and their .asc.
_MEMBER = re.compile(
    r"(?P<source>[a-z0-9][a-z0-9+.-]{1,127})_(?P<version>[0-9][A-Za-z0-9.+~:-]*?)"
    rf"(?:\.orig(?:-[A-Za-z0-9][A-Za-z0-9-]*)?\.tar{_COMPRESSED}|\.debian\.tar{_COMPRESSED}|\.tar{_COMPRESSED}|\.diff\.gz)(?:\.asc)?\Z"
)
_NO_MACHINE = frozenset({"source", "any", "linux-any"})


def is_package_name(text: str) -> bool:
    """Whether a text is a valid name of a binary or source package."""
    return _PACKAGE.match(text) is not None


def check_package_name(text: str, field: str) -> str:
    """Return a valid package name unchanged. Raises Refusal("package_name_invalid")."""
    if not is_package_name(text):
        raise Refusal(
            "package_name_invalid",
            f"The {field} is no valid package name: 2 to 128 of a-z 0-9 + - . and first a letter or digit.",
            field=field,
            value=text[:100],
        )
    return text


def is_architecture(text: str) -> bool:
    """Whether a binary package may have this architecture; ``all`` is one, wildcards and ``source`` are not."""
    return _ARCHITECTURE.match(text) is not None and text not in _NO_MACHINE and not text.startswith("any-")


def check_architecture(text: str) -> str:
    """Return a valid architecture of a binary package unchanged. Raises Refusal("package_field_invalid")."""
    if not is_architecture(text):
        raise Refusal(
            "package_field_invalid",
            "The Architecture of a binary package is one of `dpkg-architecture -L`, or all; correct it, build again.",
            field="Architecture",
            value=text[:100],
        )
    return text


def is_filename(text: str) -> bool:
    """Whether a text can be a file name here: no slash, no blank, no leading dot or hyphen, at most 255 characters."""
    return len(text) <= FILENAME_CHARS_MAX and _FILENAME.match(text) is not None


def check_filename(text: str, where: str) -> str:
    """Return a safe file name unchanged; ``where`` says who names it. Raises Refusal("package_name_invalid")."""
    if not is_filename(text):
        raise Refusal(
            "package_name_invalid",
            f"{where} names a file that cannot be kept: 1 to {FILENAME_CHARS_MAX} of a-z A-Z 0-9 . _ + ~ : -"
            " and first a letter or digit.",
            value=text[:100],
        )
    return text


def split_member(filename: str) -> tuple[str, str] | None:
    """(source, version) of a source package's tarball, diff or their signatures by its name; None when it is none."""
    match = _MEMBER.match(filename) if len(filename) <= FILENAME_CHARS_MAX else None
    return None if match is None else (match["source"], match["version"])


def pool_folder(codename: str, component: str, name: str, sha256: str) -> str:
    """``pool/<codename>/<component>/<prefix>/<name>/<digest>``, relative to the family; the prefix is Debian's (``h``,
    ``libh``).
    """
    prefix = name[:4] if name.startswith("lib") and len(name) > 3 else name[:1]
    return f"pool/{codename}/{component}/{prefix}/{name}/{sha256[:DIGEST_CHARS]}"
