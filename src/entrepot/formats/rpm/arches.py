"""rpm architectures, and which folder of a distribution lists a package of each.

dnf, yum and zypper replace ``$basearch`` in a baseurl by the *base* architecture of the machine; the map is the one
of dnf (``dnf/rpm/__init__.py``, ``_BASEARCH_MAP``), cut to what is built today, with one difference: the x86_64
micro-architecture levels (``x86_64_v2``…) are listed with x86_64, where a machine of the right level finds them."""

SOURCE_SCOPE = "SRPMS"
"""The folder of source packages; packagecloud's name, and Fedora's before it."""

SOURCE_PART = "src"
NOARCH_PART = "noarch"

SOURCE_ARCHES = frozenset({"src", "nosrc"})

# $basearch of nearly every machine in use. dnf and zypper fail hard when repomd.xml of an enabled repository is
# missing, so these two exist in every distribution that holds anything, whatever was pushed; others (ppc64le, s390x,
# i386…) come with their first package. Each default costs one signature per noarch upload, which is why the list is
# short.
DEFAULT_SCOPES = ("x86_64", "aarch64")

_BASE_OF = {
    **dict.fromkeys(("i486", "i586", "i686", "athlon", "geode"), "i386"),
    **dict.fromkeys(("x86_64_v2", "x86_64_v3", "x86_64_v4", "amd64", "ia32e"), "x86_64"),
    **dict.fromkeys(("armv6hl", "armv7hl", "armv7hnl", "armv8hl"), "armhfp"),
    **dict.fromkeys(("armv5tejl", "armv5tel", "armv5tl", "armv6l", "armv7l", "armv8l"), "arm"),
    **dict.fromkeys(("ppc64iseries", "ppc64p7", "ppc64pseries"), "ppc64"),
}


def basearch(arch: str) -> str:
    """The base architecture of a package's or a machine's architecture; an unknown one is its own."""
    return _BASE_OF.get(arch, arch)


def part_of(arch: str) -> str:
    """The index part of a package: ``src`` for source packages, ``noarch``, else its base architecture."""
    return SOURCE_PART if arch in SOURCE_ARCHES else basearch(arch)


def scopes_of(parts: frozenset[str]) -> tuple[str, ...]:
    """The folders of a distribution that holds ``parts``, in alphabetical order."""
    own = parts - {NOARCH_PART, SOURCE_PART}
    return tuple(sorted({*own, *DEFAULT_SCOPES, SOURCE_SCOPE}))


def parts_of(scope: str) -> frozenset[str]:
    """The parts that a folder lists: noarch packages are in every architecture's folder, never in the sources'."""
    return frozenset({SOURCE_PART}) if scope == SOURCE_SCOPE else frozenset({scope, NOARCH_PART})
