"""Range and If-Range of every kind of file that clients resume (RFC 9110 sections 13.1.5, 14), with curl."""

import random
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.consistency.bed import Bed, Package, push_deb
from tests.support.builders import deb_bytes
from tests.support.curl import Answer, curl

pytestmark = [pytest.mark.clients, pytest.mark.timeout(120)]


@dataclass(frozen=True, slots=True)
class Place:
    """A running repository whose last publication was alone in its second, and that second is over."""

    bed: Bed
    base: str
    now_s: int


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with Bed(tmp_path_factory.mktemp("ranges"), clock=True) as bed:
        now_s = int(time.time()) - 1000
        bed.set_clock(f"={now_s}")
        repository = bed.repository()
        large = deb_bytes("large", "1.0-1", files={"usr/share/large": random.Random(1).randbytes(300_000)})
        with bed.pusher() as pusher:
            for number in range(20):
                push_deb(pusher, repository, Package(f"p{number}", "1.0-1", "amd64"))
            bed.set_clock(f"={now_s + 10}")
            pusher.send("PUT", f"/{repository}/debian/bookworm/large_1.0-1_amd64.deb", large, expect=(201,))
        bed.set_clock(f"={now_s + 20}")
        yield Place(bed, f"{bed.url}/{repository}/debian", now_s + 20)


def url_of(place: Place, kind: str) -> str:
    """The address of one file of a kind."""
    dist = f"{place.base}/dists/bookworm"
    if kind in ("InRelease", "Release", "main/binary-amd64/Packages.gz", "main/binary-amd64/Packages"):
        return f"{dist}/{kind}"
    if kind == "by-hash":
        release = curl(f"{dist}/Release").text
        [digest] = [row.split()[0] for row in release.splitlines() if row.endswith(" main/binary-amd64/Packages.gz")]
        return f"{dist}/main/binary-amd64/by-hash/SHA256/{digest}"
    packages = curl(f"{dist}/main/binary-amd64/Packages").text
    [filename] = [row.split()[1] for row in packages.splitlines() if row.startswith("Filename: ") and "large" in row]
    return f"{place.base}/{filename}"


KINDS = ["InRelease", "main/binary-amd64/Packages.gz", "main/binary-amd64/Packages", "by-hash", "package"]


@pytest.mark.parametrize("kind", KINDS)
def test_ranges(place: Place, kind: str) -> None:
    """Goal: each form of a range is that slice, with the right head. Method: compare with the whole."""
    url = url_of(place, kind)
    whole = curl(url)
    size = len(whole.body)
    assert whole.status == 200
    assert whole.headers["accept-ranges"] == "bytes"

    def part(text: str, *headers: str) -> Answer:
        return curl(url, headers=[f"Range: {text}", *headers])

    for text, start, stop in (
        ("bytes=0-0", 0, 1),
        ("bytes=10-99", 10, 100),
        (f"bytes={size - 7}-", size - 7, size),
        ("bytes=-5", size - 5, size),
        (f"bytes=3-{size * 9}", 3, size),
        (f"bytes=-{size * 9}", 0, size),
    ):
        answer = part(text)
        assert (answer.status, answer.body) == (206, whole.body[start:stop]), text
        assert answer.headers["content-range"] == f"bytes {start}-{stop - 1}/{size}"
        assert answer.headers["etag"] == whole.headers["etag"]
    beyond = part(f"bytes={size}-")
    assert beyond.status == 416
    assert beyond.headers["content-range"] == f"bytes */{size}"
    for ignored in ("bytes=5-2", "bytes=0-1,4-5", "lines=0-1", "bytes=-", "bytes=x-"):
        answer = part(ignored)
        assert (answer.status, answer.body) == (200, whole.body), ignored
    head = curl(url, "--head")
    assert (head.status, head.headers["content-length"], head.headers["etag"]) == (
        200,
        str(size),
        whole.headers["etag"],
    )


@pytest.mark.parametrize("kind", KINDS)
def test_if_range(place: Place, kind: str) -> None:
    """Goal: a range only of the very file that the client has a part of. Method: its ETag, another, weak, its date,
    another.
    """
    url = url_of(place, kind)
    whole = curl(url)
    etag, modified = whole.headers["etag"], whole.headers["last-modified"]

    def status(condition: str) -> int:
        answer = curl(url, headers=["Range: bytes=4-", f"If-Range: {condition}"])
        assert answer.body == (whole.body[4:] if answer.status == 206 else whole.body)
        return answer.status

    assert status(etag) == 206
    assert status('"0000"') == 200
    assert status(f"W/{etag}") == 200
    assert status(modified) == 206
    assert status("Sun, 06 Nov 1994 08:49:37 GMT") == 200
    assert status("no date") == 200


@pytest.mark.parametrize("kind", KINDS)
def test_if_modified_since(place: Place, kind: str) -> None:
    """Goal: 304 without a body for exactly our own date or digest. Method: its values, others, both."""
    url = url_of(place, kind)
    whole = curl(url)
    etag, modified = whole.headers["etag"], whole.headers["last-modified"]
    for headers, status in (
        ([f"If-Modified-Since: {modified}"], 304),
        (["If-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT"], 200),
        (["If-Modified-Since: nonsense"], 200),
        ([f"If-None-Match: {etag}"], 304),
        ([f'If-None-Match: "0000", {etag}'], 304),
        (['If-None-Match: "0000"', f"If-Modified-Since: {modified}"], 200),
        ([f"If-None-Match: {etag}", "Range: bytes=0-3"], 304),
    ):
        answer = curl(url, headers=headers)
        assert answer.status == status, headers
        assert answer.body == (b"" if status == 304 else whole.body)
        assert answer.headers["etag"] == etag
        assert answer.headers["last-modified"] == modified


def test_a_shared_second_allows_no_range_by_date(place: Place) -> None:
    """Goal: two generations with one date are never spliced. Method: two publications with the clock stopped, a range
    of the canonical names with the date, and with the digest.
    """
    bed = place.bed
    repository = bed.repository()
    with bed.pusher() as pusher:
        for name in ("a", "b"):
            push_deb(pusher, repository, Package(f"p{name}", "1.0-1", "amd64"))
    for name in ("InRelease", "main/binary-amd64/Packages.gz"):
        url = f"{bed.url}/{repository}/debian/dists/bookworm/{name}"
        whole = curl(url)
        by_date = curl(url, headers=["Range: bytes=4-", f"If-Range: {whole.headers['last-modified']}"])
        assert (by_date.status, by_date.body) == (200, whole.body)
        by_tag = curl(url, headers=["Range: bytes=4-", f"If-Range: {whole.headers['etag']}"])
        assert (by_tag.status, by_tag.body) == (206, whole.body[4:])


def test_index_files_by_hash_never_change(place: Place) -> None:
    """Goal: date, ETag and bytes of an index file by hash are the same after later publications, so that any part of
    it can be resumed; caches may keep it for ever. Method: read, publish three times, compare.
    """
    bed = place.bed
    repository = bed.repository()
    base = f"{bed.url}/{repository}/debian"
    with bed.pusher() as pusher:
        push_deb(pusher, repository, Package("p0", "1.0-1", "amd64"))
        url = url_of(Place(bed, base, place.now_s), "by-hash")
        before = curl(url)
        for number in range(3):
            bed.set_clock(f"={place.now_s + 10 * number}")
            push_deb(pusher, repository, Package(f"q{number}", "1.0-1", "amd64"))
    after = curl(url)
    assert after.body == before.body
    for name in ("etag", "last-modified", "cache-control"):
        assert after.headers[name] == before.headers[name]
    assert "immutable" in after.headers["cache-control"]
    entry = curl(f"{base}/dists/bookworm/InRelease")
    assert entry.headers["cache-control"] == "no-cache"
