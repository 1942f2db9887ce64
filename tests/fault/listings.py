"""What a repository's signed indexes list, whatever its formats: sha256 of each package → the address to fetch it.

Reads as a client does: from the entry point down, every digest on the way checked. The signatures themselves are the
business of the tests with real clients.
"""

import gzip
import hashlib
import re
from collections.abc import Iterator
from xml.etree import ElementTree

import httpx

_RPM = {"r": "http://linux.duke.edu/metadata/repo", "c": "http://linux.duke.edu/metadata/common"}
DEB_DISTRIBUTIONS = (
    "debian/bookworm",
    "debian/bullseye",
    "debian/trixie",
    "ubuntu/jammy",
    "ubuntu/noble",
    "ubuntu/focal",
)
RPM_DISTRIBUTIONS = ("el/9",)
MAVEN_ARTIFACTS = ("org.example:app",)


def listing(client: httpx.Client, repository: str) -> dict[str, str]:
    """Everything that `repository` lists. Raises AssertionError when an index is torn or an address inside it is
    not served.
    """
    found: dict[str, str] = {}
    for distribution in DEB_DISTRIBUTIONS:
        found.update(debian(client, f"/{repository}/{distribution.partition('/')[0]}", distribution.partition("/")[2]))
    for distribution in RPM_DISTRIBUTIONS:
        found.update(_rpm(client, f"/{repository}/{distribution}/x86_64"))
    for name in MAVEN_ARTIFACTS:
        found.update(_maven(client, f"/{repository}/maven2", *name.split(":")))
    return found


def _fetch(client: httpx.Client, address: str, sha256: str | None = None) -> bytes | None:
    """The file, or None for 404 at an entry point (nothing was published there)."""
    answer = client.get(address)
    if answer.status_code == 404 and sha256 is None:
        return None
    assert answer.status_code == 200, f"{address}: {answer.status_code} {answer.text[:200]}"
    if sha256 is not None:
        assert hashlib.sha256(answer.content).hexdigest() == sha256, f"{address}: not what the index promised"
    return answer.content


def debian(client: httpx.Client, base: str, codename: str) -> Iterator[tuple[str, str]]:
    """sha256 and address of each package and source of one codename below ``base``. Raises as :func:`listing`."""
    release = _fetch(client, f"{base}/dists/{codename}/InRelease")
    if release is None:
        return
    text = release.decode()
    names = re.findall(r"^ ([0-9a-f]{64}) +[0-9]+ (\S+/Packages\.gz)$", text, re.MULTILINE)
    assert names, f"{base}: InRelease names no Packages"
    for sha256, path in re.findall(r"^ ([0-9a-f]{64}) +[0-9]+ (\S+/Sources\.gz)$", text, re.MULTILINE):
        folder = path.rpartition("/")[0]
        sources = _fetch(client, f"{base}/dists/{codename}/{folder}/by-hash/SHA256/{sha256}", sha256)
        assert sources is not None
        yield from _sources(base, gzip.decompress(sources).decode())
    for sha256, path in names:
        folder = path.rpartition("/")[0]
        packages = _fetch(client, f"{base}/dists/{codename}/{folder}/by-hash/SHA256/{sha256}", sha256)
        assert packages is not None
        for stanza in gzip.decompress(packages).decode().split("\n\n"):
            fields = dict(re.findall(r"^(Filename|SHA256): (.*)$", stanza, re.MULTILINE))
            if fields:
                yield fields["SHA256"], f"{base}/{fields['Filename']}"


def _sources(base: str, text: str) -> Iterator[tuple[str, str]]:
    """The .dsc and every member of each source package."""
    for stanza in filter(None, text.split("\n\n")):
        folder = re.search(r"^Directory: (.*)$", stanza, re.MULTILINE)
        assert folder is not None, stanza
        digests = re.search(r"^Checksums-Sha256:\n((?: .*\n?)+)", stanza, re.MULTILINE)
        assert digests is not None, stanza
        for line in digests[1].splitlines():
            sha256, _, name = line.split()
            yield sha256, f"{base}/{folder[1]}/{name}"


def _rpm(client: httpx.Client, base: str) -> Iterator[tuple[str, str]]:
    repomd = _fetch(client, f"{base}/repodata/repomd.xml")
    if repomd is None:
        return
    for data in ElementTree.fromstring(repomd).findall("r:data", _RPM):
        location, checksum = data.find("r:location", _RPM), data.findtext("r:checksum", None, _RPM)
        assert location is not None
        content = _fetch(client, f"{base}/{location.attrib['href']}", checksum)
        assert content is not None
        if data.attrib["type"] == "primary":
            for package in ElementTree.fromstring(gzip.decompress(content)).findall("c:package", _RPM):
                place = package.find("c:location", _RPM)
                assert place is not None
                yield package.findtext("c:checksum", "", _RPM), f"{base}/{place.attrib['href']}"


def _maven(client: httpx.Client, base: str, group: str, artifact: str) -> Iterator[tuple[str, str]]:
    folder = f"{base}/{group.replace('.', '/')}/{artifact}"
    metadata = _fetch(client, f"{folder}/maven-metadata.xml")
    if metadata is None:
        return
    for version in ElementTree.fromstring(metadata).findall("versioning/versions/version"):
        for kind in ("pom", "jar"):
            address = f"{folder}/{version.text}/{artifact}-{version.text}.{kind}"
            content = client.get(address)
            if content.status_code == 404 and kind == "jar":
                continue  # a jar that was not acknowledged
            assert content.status_code == 200, f"{address}: listed and {content.status_code}"
            yield hashlib.sha256(content.content).hexdigest(), address
