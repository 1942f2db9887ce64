"""Reads: validators, ranges, cache headers, private repositories, packagecloud's links, the page."""

import time

import httpx

from tests.support.builders import deb_bytes
from tests.support.rpmfast import FastRpm, fast_rpm_bytes
from tests.support.server import ServerProcess
from tests.web.conftest import make_repository, make_token, wait_until

CONTENT = deb_bytes("read", "1.0-1", files={"usr/share/read": bytes(range(256)) * 2000}, data_compression="none")


def pushed(admin: httpx.Client, *, private: bool = False) -> tuple[str, str]:
    """A repository with one package, and the package's address as its index gives it."""
    name = make_repository(admin, private=private)
    admin.put(f"/{name}/debian/bookworm/read_1.0-1_amd64.deb", content=CONTENT).raise_for_status()
    index = admin.get(f"/{name}/debian/dists/bookworm/main/binary-amd64/Packages").raise_for_status().text
    path = next(line.partition(" ")[2] for line in index.splitlines() if line.startswith("Filename:"))
    return name, f"/{name}/debian/{path}"


def test_ranges_and_conditions_on_a_package(admin: httpx.Client, anybody: httpx.Client) -> None:
    """Goal: RFC 9110 sections 13 and 14. Method: each header against the whole file."""
    _, url = pushed(admin)
    whole = anybody.get(url)
    assert whole.content == CONTENT
    assert whole.headers["cache-control"] == "public, max-age=31536000, immutable"
    etag, date = whole.headers["etag"], whole.headers["last-modified"]
    size = len(CONTENT)
    head = anybody.head(url)
    assert (head.status_code, head.headers["content-length"], head.content) == (200, str(size), b"")
    part_head = anybody.head(url, headers={"range": "bytes=0-0"})
    assert (part_head.status_code, part_head.headers["content-length"]) == (200, str(size))
    for text, start, stop in (
        ("0-0", 0, 1),
        ("100-199", 100, 200),
        (f"{size - 5}-", size - 5, size),
        ("-7", size - 7, size),
    ):
        part = anybody.get(url, headers={"range": f"bytes={text}"})
        assert (part.status_code, part.content) == (206, CONTENT[start:stop])
        assert part.headers["content-range"] == f"bytes {start}-{stop - 1}/{size}"
    assert anybody.get(url, headers={"range": f"bytes={size}-"}).status_code == 416
    for ignored in ("bytes=5-3", "bytes=0-1,5-6", "lines=1-2", "bytes=x"):
        assert anybody.get(url, headers={"range": ignored}).status_code == 200
    for condition, status in ((etag, 206), (date, 206), ('"other"', 200), ("Mon, 01 Jan 2001 00:00:00 GMT", 200)):
        assert anybody.get(url, headers={"range": "bytes=0-9", "if-range": condition}).status_code == status
    assert anybody.get(url, headers={"if-none-match": etag}).status_code == 304
    assert anybody.get(url, headers={"if-none-match": '"other"', "if-modified-since": date}).status_code == 200
    assert anybody.get(url, headers={"if-modified-since": date}).status_code == 304
    assert anybody.get(url, headers={"if-match": '"other"'}).status_code == 412


def test_an_entry_point_answers_304_only_when_it_is_true(admin: httpx.Client, anybody: httpx.Client) -> None:
    """Goal: never 304 for a generation that shares its second with another. Method: two publications in a row; then the
    date of the last, which is safe once its second is over and no other fell into it.
    """
    name, _ = pushed(admin)
    url = f"/{name}/debian/dists/bookworm/InRelease"
    seen: dict[str, bytes] = {}
    for number in range(6):
        package = deb_bytes(f"more{number}", "1")
        admin.put(f"/{name}/debian/bookworm/more{number}_1_amd64.deb", content=package).raise_for_status()
        answer = anybody.get(url)
        date = answer.headers["last-modified"]
        again = anybody.get(url, headers={"if-modified-since": date})
        assert again.status_code == 304 or again.content == answer.content
        if date in seen and seen[date] != answer.content:
            assert again.status_code == 200, "two generations share this second"
        seen[date] = answer.content
        assert answer.headers["cache-control"] == "no-cache"
    time.sleep(2.1)
    admin.put(f"/{name}/debian/bookworm/last_1_amd64.deb", content=deb_bytes("last", "1")).raise_for_status()
    date = anybody.get(url).headers["last-modified"]
    wait_until(lambda: anybody.get(url, headers={"if-modified-since": date}).status_code == 304)
    assert anybody.get(url, headers={"if-modified-since": "Mon, 01 Jan 2001 00:00:00 GMT"}).status_code == 200


def test_a_private_repository_hides_everything(
    server: ServerProcess, admin: httpx.Client, anybody: httpx.Client
) -> None:
    """Goal: every read route of a private repository asks for a token with a challenge, and none is cacheable by
    others.
    """
    name, url = pushed(admin, private=True)
    sha256 = admin.get(url).headers["etag"].strip('"')
    paths = [
        f"/{name}",
        f"/{name}/",
        f"/{name}/gpgkey",
        url,
        f"/{name}/debian/dists/bookworm/InRelease",
        f"/{name}/debian/dists/bookworm/Release",
        f"/{name}/debian/dists/bookworm/main/binary-amd64/Packages.gz",
        f"/{name}/debian/dists/bookworm/main/binary-amd64/by-hash/SHA256/{sha256}",
        f"/{name}/packages/debian/bookworm/read_1.0-1_amd64.deb/download",
        f"/{name}/no/such/thing",
        f"/api/v1/repos/{name}.json",
        f"/api/v1/repos/{name}/packages.json",
        f"/api/v1/repos/{name}/search.json",
        f"/api/v2/repos/{name}",
    ]
    token = make_token(admin, "read")
    for path in paths:
        for method in ("GET", "HEAD"):
            answer = anybody.request(method, path)
            assert answer.status_code == 401, path
            assert answer.headers["www-authenticate"].startswith("Basic")
        assert anybody.get(path, auth=("0" * 48, "")).status_code == 401
        allowed = [anybody.get(path, auth=(token, "anything")), anybody.get(path, auth=("user", token))]
        allowed.append(anybody.get(path, headers={"authorization": f"Bearer {token}"}))
        if not path.startswith("/api"):
            allowed.append(anybody.get(f"/priv/{token}{path}"))
        statuses = {answer.status_code for answer in allowed}
        assert statuses <= {200, 404}
        assert len(statuses) == 1
        for answer in allowed:
            if answer.status_code == 200 and not path.startswith("/api"):
                assert answer.headers["cache-control"].startswith("private")
    assert token not in server.log()
    assert server.admin_token not in server.log()


def test_the_page_shows_what_is_inside_and_escapes_it(admin: httpx.Client, anybody: httpx.Client) -> None:
    """Goal: a package's own text cannot become markup. Method: a description with tags; the set-up lines are there."""
    name = make_repository(admin)
    evil = deb_bytes("evil", "1.0-1", fields={"Description": "<script>alert(1)</script>"})
    admin.put(f"/{name}/debian/bookworm/evil_1.0-1_amd64.deb", content=evil).raise_for_status()
    page = anybody.get(f"/{name}").text
    assert "evil_1.0-1_amd64.deb" in page
    assert "<script" not in page
    assert "Signed-By:" in page
    assert "evil_1.0-1_amd64.deb" not in anybody.get(f"/{name}?q=nothing").text
    assert name in anybody.get("/").text


def test_packagecloud_links_download_the_file(admin: httpx.Client, anybody: httpx.Client) -> None:
    """Goal: the API's download_url gives the very bytes. Method: follow it."""
    name, _ = pushed(admin)
    row = admin.get(f"/api/v1/repos/{name}/packages.json").json()[0]
    answer = anybody.get(row["download_url"])
    assert answer.content == CONTENT
    assert answer.headers["content-disposition"] == 'attachment; filename="read_1.0-1_amd64.deb"'


def test_small_files_have_validators(admin: httpx.Client) -> None:
    """Goal: the key and Maven's checksums can be revalidated and read in parts. Method: each condition."""
    name, _ = pushed(admin)
    url = f"/{name}/maven2/org/example/app/1.0/app-1.0.txt"
    admin.put(url, content=b"text").raise_for_status()
    for small in (f"/{name}/gpgkey", f"{url}.sha1", f"{url}.sha256"):
        whole = admin.get(small).raise_for_status()
        etag, date = whole.headers["etag"], whole.headers["last-modified"]
        assert admin.get(small, headers={"if-none-match": etag}).status_code == 304
        assert admin.get(small, headers={"if-none-match": '"other"'}).status_code == 200
        assert admin.get(small, headers={"if-match": '"other"'}).status_code == 412
        by_date = admin.get(small, headers={"if-modified-since": date}).status_code
        assert by_date == (200 if small.endswith("gpgkey") else 304), "a key may change without a later date"
        part = admin.get(small, headers={"range": "bytes=2-9"})
        assert (part.status_code, part.content) == (206, whole.content[2:10])
        assert admin.head(small).headers["content-length"] == str(len(whole.content))


def test_the_page_shows_every_formats_setup_lines(admin: httpx.Client) -> None:
    """Goal: many distributions of one format never hide another one's lines. Method: seven Debian releases and one rpm;
    the page has apt's and dnf's. Seen to fail with the first distributions of all chosen before the formats.
    """
    name = make_repository(admin)
    for codename in ("bookworm", "bullseye", "buster", "forky", "jessie", "stretch", "trixie"):
        url = f"/{name}/debian/{codename}/many_1.0-1_amd64.deb"
        admin.put(url, content=deb_bytes("many")).raise_for_status()
    rpm = FastRpm("many")
    admin.put(f"/{name}/el/9/{rpm.file_name}", content=fast_rpm_bytes(rpm)).raise_for_status()
    page = admin.get(f"/{name}", headers={"accept": "text/html"}).text
    assert "Suites: bookworm" in page
    assert f"/{name}/el/9/$basearch" in page
