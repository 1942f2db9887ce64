"""What each address means."""

import pytest

from entrepot.formats.protocol import DigestTarget, EntryTarget, FileTarget, Target, UploadTarget
from entrepot.formats.rpm import FORMAT
from entrepot.formats.rpm.arches import basearch, parts_of, scopes_of

SHA = "0123456789abcdef" * 4
RPM = "hello-1.0-1.x86_64.rpm"

MEANINGS: list[tuple[str, str, Target | None]] = [
    ("PUT", f"el/9/{RPM}", UploadTarget("el/9", RPM)),
    (
        "PUT",
        "el/9/hello_1.0_amd64.deb",
        UploadTarget("el/9", "hello_1.0_amd64.deb"),
    ),  # refused with a reason by inspect
    ("PUT", f"el/9/x86_64/{RPM}", None),
    ("PUT", "el/9", None),
    ("GET", f"el/9/{RPM}", None),
    ("DELETE", f"el/9/x86_64/{RPM}", None),
    ("GET", "el/9/x86_64/repodata/repomd.xml", EntryTarget("el/9", "x86_64", "repomd.xml", "repomd")),
    ("GET", "el/9/x86_64/repodata/repomd.xml.asc", EntryTarget("el/9", "x86_64", "repomd.xml.asc", "repomd")),
    ("GET", "el/9/x86_64/repodata/repomd.xml.key", EntryTarget("el/9", "x86_64", "repomd.xml.key", "repomd")),
    ("GET", "el/9/SRPMS/repodata/repomd.xml", EntryTarget("el/9", "SRPMS", "repomd.xml", "repomd")),
    ("GET", "el/6/i686/repodata/repomd.xml", EntryTarget("el/6", "i386", "repomd.xml", "repomd")),
    (
        "GET",
        "rpm_any/rpm_any/aarch64/repodata/repomd.xml",
        EntryTarget("rpm_any/rpm_any", "aarch64", "repomd.xml", "repomd"),
    ),
    ("GET", f"el/9/x86_64/repodata/{SHA}-primary.xml.gz", DigestTarget("el/9", "x86_64", SHA)),
    ("GET", f"el/9/x86_64/repodata/{SHA}-filelists.xml.gz", DigestTarget("el/9", "x86_64", SHA)),
    ("GET", f"el/9/SRPMS/repodata/{SHA}-other.xml.gz", DigestTarget("el/9", "SRPMS", SHA)),
    ("GET", f"el/9/x86_64/repodata/{SHA[:-1]}-primary.xml.gz", None),
    ("GET", f"el/9/x86_64/repodata/{SHA.upper()}-primary.xml.gz", None),
    ("GET", f"el/9/x86_64/repodata/{SHA}-modules.xml.gz", None),
    ("GET", "el/9/noarch/repodata/repomd.xml", None),
    ("GET", "el/9/src/repodata/repomd.xml", None),
    ("GET", "el/9/x86_64/repodata/comps.xml", None),
    ("GET", f"el/9/x86_64/Packages/{SHA[:32]}/{RPM}", FileTarget("el/9", RPM, SHA[:32])),
    ("GET", f"el/9/x86_64/Packages/{SHA[:31]}/{RPM}", None),
    ("GET", f"el/9/aarch64/Packages/{SHA[:32]}/{RPM}", None),
    ("GET", f"el/9/aarch64/Packages/{SHA[:32]}/a-1-1.noarch.rpm", FileTarget("el/9", "a-1-1.noarch.rpm", SHA[:32])),
    ("GET", f"el/9/SRPMS/Packages/{SHA[:32]}/a-1-1.src.rpm", FileTarget("el/9", "a-1-1.src.rpm", SHA[:32])),
    ("GET", f"el/9/x86_64/{RPM}", FileTarget("el/9", RPM)),
    ("GET", "el/9/noarch/a-1-1.noarch.rpm", FileTarget("el/9", "a-1-1.noarch.rpm")),
    ("GET", "el/9/i686/a-1-1.i686.rpm", FileTarget("el/9", "a-1-1.i686.rpm")),
    ("GET", "el/9/i386/a-1-1.i686.rpm", FileTarget("el/9", "a-1-1.i686.rpm")),
    ("GET", "el/9/SRPMS/a-1-1.nosrc.rpm", FileTarget("el/9", "a-1-1.nosrc.rpm")),
    ("GET", "el/9/x86_64/a-1-1.src.rpm", None),
    ("GET", "el/9/SRPMS/a-1-1.noarch.rpm", None),
    ("GET", "el/9/x86_64/a.deb", None),
    ("GET", "el", None),
    ("GET", "-rf/9/x86_64/repodata/repomd.xml", None),
]


@pytest.mark.parametrize(("method", "path", "meaning"), MEANINGS)
def test_address(method: str, path: str, meaning: Target | None) -> None:
    """Goal: every address of the layout, and only those, mean something. Method: a table of requests."""
    assert FORMAT.route(method, path) == meaning


@pytest.mark.parametrize(
    ("arch", "base"),
    [
        ("i386", "i386"),
        ("i486", "i386"),
        ("i586", "i386"),
        ("i686", "i386"),
        ("athlon", "i386"),
        ("x86_64", "x86_64"),
        ("x86_64_v2", "x86_64"),
        ("x86_64_v3", "x86_64"),
        ("amd64", "x86_64"),
        ("armv7hl", "armhfp"),
        ("armv6hl", "armhfp"),
        ("aarch64", "aarch64"),
        ("ppc64le", "ppc64le"),
        ("s390x", "s390x"),
        ("riscv64", "riscv64"),
        ("noarch", "noarch"),
    ],
)
def test_base_architecture(arch: str, base: str) -> None:
    """Goal: a package is listed where a machine's $basearch looks. Method: dnf's map, and the levels of x86_64."""
    assert basearch(arch) == base


def test_scopes() -> None:
    """Goal: defaults exist in an empty distribution, noarch alone makes no folder, others come with a package.

    Method: the scopes of some sets of parts, and what each lists.
    """
    assert scopes_of(frozenset()) == ("SRPMS", "aarch64", "x86_64")
    assert scopes_of(frozenset({"noarch", "src"})) == ("SRPMS", "aarch64", "x86_64")
    assert scopes_of(frozenset({"noarch", "s390x"})) == ("SRPMS", "aarch64", "s390x", "x86_64")
    assert parts_of("x86_64") == {"x86_64", "noarch"}
    assert parts_of("SRPMS") == {"src"}
