"""Addresses: packagecloud's layout, and that nothing else is one."""

import pytest

from entrepot.formats.debian import FORMAT
from entrepot.formats.protocol import DigestTarget, EntryTarget, FileTarget, Target, UploadTarget

HEX64 = "0123456789abcdef" * 4
HEX32 = HEX64[:32]
BOOKWORM = "debian/bookworm"


def entry(name: str, pair: str = "", distribution: str = BOOKWORM) -> EntryTarget:
    """A file of the one scope of a distribution."""
    return EntryTarget(distribution, "", name, pair)


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("debian/dists/bookworm/InRelease", entry("InRelease")),
        ("debian/dists/bookworm/Release", entry("Release", "Release")),
        ("debian/dists/bookworm/Release.gpg", entry("Release.gpg", "Release")),
        ("any/dists/any/InRelease", entry("InRelease", distribution="any/any")),
        ("debian/dists/bookworm/main/binary-amd64/Packages", entry("main/binary-amd64/Packages")),
        ("debian/dists/bookworm/main/binary-hurd-i386/Packages.gz", entry("main/binary-hurd-i386/Packages.gz")),
        ("debian/dists/bookworm/main/source/Sources", entry("main/source/Sources")),
        ("debian/dists/bookworm/main/source/Sources.gz", entry("main/source/Sources.gz")),
        (f"debian/dists/bookworm/main/binary-amd64/by-hash/SHA256/{HEX64}", DigestTarget(BOOKWORM, "", HEX64)),
        (f"debian/dists/bookworm/main/source/by-hash/SHA256/{HEX64}", DigestTarget(BOOKWORM, "", HEX64)),
        ("debian/pool/bookworm/main/f/foo/foo_1.0~rc+x-1_amd64.deb", FileTarget(BOOKWORM, "foo_1.0~rc+x-1_amd64.deb")),
        ("ubuntu/pool/jammy/main/libf/libfoo/libfoo_1_all.deb", FileTarget("ubuntu/jammy", "libfoo_1_all.deb")),
        (f"debian/pool/bookworm/main/f/foo/{HEX32}/foo_1_all.deb", FileTarget(BOOKWORM, "foo_1_all.deb", HEX32)),
        (f"debian/pool/bookworm/main/f/foo/{HEX32}/foo_1.dsc", FileTarget(BOOKWORM, "foo_1.dsc", HEX32)),
        (f"debian/pool/bookworm/main/f/foo/{HEX32}/foo_1.orig.tar.gz", FileTarget(BOOKWORM, "foo_1.orig.tar.gz")),
    ],
)
def test_get(path: str, target: Target) -> None:
    """Goal: each address of the layout. Method: GET, and HEAD as GET."""
    assert FORMAT.route("GET", path) == target
    assert FORMAT.route("HEAD", path) == target
    assert FORMAT.route("PUT", path) is None


@pytest.mark.parametrize(
    "path",
    [
        "debian",
        "debian/bookworm",
        "debian/bookworm/foo_1_amd64.deb",
        "debian/dists/bookworm",
        "debian/dists/bookworm/Contents-amd64",
        "debian/dists/bookworm/main/binary-amd64/Release",
        "debian/dists/bookworm/main/binary-amd64/Packages.xz",
        "debian/dists/bookworm/main/binary-amd64/Packages.gz.gz",
        "debian/dists/bookworm/main/binary-../Packages",
        "debian/dists/bookworm/main/source/Packages",
        "debian/dists/bookworm/main/i18n/Translation-en",
        f"debian/dists/bookworm/main/binary-amd64/by-hash/SHA256/{HEX64[1:]}",
        f"debian/dists/bookworm/main/binary-amd64/by-hash/SHA256/{HEX64.upper()}",
        f"debian/dists/bookworm/main/binary-amd64/by-hash/MD5Sum/{HEX32}",
        f"debian/dists/bookworm/main/by-hash/SHA256/{HEX64}",
        "debian/pool/bookworm/main/f/foo",
        "debian/pool/bookworm/main/f/foo/.hidden",
        "debian/pool/bookworm/main/f/foo/not-a-digest/foo_1_all.deb",
        f"debian/pool/bookworm/main/f/foo/{HEX64}/foo_1_all.deb",
        f"debian/pool/bookworm/main/f/foo/{HEX32}/x/foo_1_all.deb",
        f"debian/pool/bookworm/main/f/foo/{'a' * 300}",
        "-rf/dists/bookworm/InRelease",
        "debian/dists/book worm/InRelease",
    ],
)
def test_no_address(path: str) -> None:
    """Goal: all else is not ours. Method: near misses of every kind."""
    assert FORMAT.route("GET", path) is None


def test_put() -> None:
    """Goal: where packages are sent.

    Method: curl's and dput's paths; the folders that clients read are never a codename.
    """
    assert FORMAT.route("PUT", "debian/bookworm/foo_1_amd64.deb") == UploadTarget(BOOKWORM, "foo_1_amd64.deb")
    assert FORMAT.route("PUT", "any/any/Any Name") == UploadTarget("any/any", "Any Name")
    for path in ("debian/foo.deb", "debian/bookworm/main/foo.deb", "debian/dists/foo.deb", "debian/pool/foo.deb"):
        assert FORMAT.route("PUT", path) is None
    assert FORMAT.route("DELETE", "debian/bookworm/foo_1_amd64.deb") is None


@pytest.mark.parametrize(
    ("filename", "content_type"),
    [
        ("hello_1.0_amd64.deb", "application/vnd.debian.binary-package"),
        ("hello-dbgsym_1.0_amd64.ddeb", "application/vnd.debian.binary-package"),
        ("hello_1.0.dsc", "text/plain; charset=utf-8"),
        ("hello_1.0.orig.tar.gz.asc", "text/plain; charset=utf-8"),
        ("hello_1.0.orig.tar.gz", "application/octet-stream"),
    ],
)
def test_content_types(filename: str, content_type: str) -> None:
    """Goal: a browser shows what is text, and saves what is not. Method: each kind of file that is kept."""
    assert FORMAT.content_type(filename) == content_type
