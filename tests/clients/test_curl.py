"""curl as people use it: conditional and partial reads, another machine, a returning name, a private authority."""

import hashlib
from pathlib import Path

import pytest

from tests.clients.site import Place, Site
from tests.clients.test_apt import DISTRIBUTION
from tests.support.builders import make_deb
from tests.support.curl import curl

pytestmark = [pytest.mark.clients, pytest.mark.xdist_group("clients-apt")]


def filename_of(index: str, name: str) -> str:
    """The Filename field of a package in a Packages index."""
    stanza = next(each for each in index.split("\n\n") if each.startswith(f"Package: {name}\n"))
    return stanza.partition("\nFilename: ")[2].partition("\n")[0]


def test_reads_and_a_name_that_comes_back(site: Site, place: Place, tmp_path: Path) -> None:
    """Goal: HEAD, Range, If-None-Match, If-Modified-Since, If-Range over HTTP and through nginx; a returned name has
    another address, and the old one is gone.

    Method: push, read each way, resume a download; yank; push other bytes under the same name.
    """
    repository, token = site.repository_at(place)
    user = f"{token}:" if token else ""
    deb = make_deb(tmp_path, "hello", files={"usr/share/doc/hello/data": bytes(range(256)) * 500}, compression="none")
    content = deb.read_bytes()
    site.push(place, repository, DISTRIBUTION, deb)
    packages = f"{repository}/debian/dists/bookworm/main/binary-amd64/Packages"
    path = f"{repository}/debian/{filename_of(place.curl(packages, user=user).text, 'hello')}"
    head = place.curl(path, "--head", user=user)
    assert (head.status, int(head.headers["content-length"])) == (200, len(content))
    assert "immutable" in head.headers["cache-control"]
    tag, modified = head.headers["etag"], head.headers["last-modified"]
    assert place.curl(path, user=user).body == content
    part = place.curl(path, "--range", "100-299", user=user)
    assert (part.status, part.body) == (206, content[100:300])
    assert part.headers["content-range"] == f"bytes 100-299/{len(content)}"
    assert place.curl(path, "--range", f"{len(content)}-", user=user).status == 416
    assert place.curl(path, headers=[f"If-None-Match: {tag}"], user=user).status == 304
    assert place.curl(path, headers=[f"If-Modified-Since: {modified}"], user=user).status == 304
    fits = place.curl(path, "--range", "0-9", headers=[f"If-Range: {tag}"], user=user)
    assert (fits.status, fits.body) == (206, content[:10])
    other = place.curl(path, "--range", "0-9", headers=['If-Range: "other"'], user=user)
    assert (other.status, other.body) == (200, content)

    site.yank(repository, DISTRIBUTION, deb.name)
    assert place.curl(path, user=user).status == 404
    again = make_deb(tmp_path, "hello", files={"usr/share/doc/hello/data": b"other"})
    site.push(place, repository, DISTRIBUTION, again)
    new_path = f"{repository}/debian/{filename_of(place.curl(packages, user=user).text, 'hello')}"
    assert new_path != path
    assert place.curl(path, user=user).status == 404
    assert place.curl(new_path, user=user).body == again.read_bytes()
    site.check_left(repository, [f"{DISTRIBUTION}/{deb.name}"])


def test_private_reads(site: Site, place: Place, tmp_path: Path) -> None:
    """Goal: without a token every read route is 401 with a challenge; with one, in each place that curl knows, it works
    and nobody may cache it in common. Method: each address of a repository with each form of the token.
    """
    repository = site.repository(private=True)
    deb = make_deb(tmp_path, "hello")
    site.push(place, repository, DISTRIBUTION, deb)
    token = site.read_token(repository)
    index = f"{repository}/debian/dists/bookworm"
    packages = place.curl(f"{index}/main/binary-amd64/Packages", user=f"{token}:").text
    paths = [repository, f"{repository}/gpgkey", f"{index}/InRelease", f"{index}/main/binary-amd64/Packages.gz"]
    paths += [f"{repository}/debian/{filename_of(packages, 'hello')}"]
    paths += [f"{repository}/packages/{DISTRIBUTION}/{deb.name}/download", f"{repository}/maven2/a/b/1/b-1.pom"]
    for path in paths:
        refused = place.curl(path)
        assert refused.status == 401, path
        assert refused.headers["www-authenticate"].startswith("Basic ")
    for path in paths[:-1]:
        bearer = place.curl(path, headers=[f"Authorization: Bearer {token}"])
        answers = [place.curl(path, user=f"{token}:"), place.curl(path, user=f"x:{token}"), bearer]
        answers.append(place.curl(f"priv/{token}/{path}"))
        assert {answer.status for answer in answers} == {200}, path
        for answer in answers:
            assert "public" not in answer.headers["cache-control"]
            assert (
                answer.headers["cache-control"].startswith("private") or "no-store" in answer.headers["cache-control"]
            )
    assert place.curl(f"{repository}/{DISTRIBUTION}/", upload=deb, user=f"{token}:").status == 403
    site.check_left(repository, [f"{DISTRIBUTION}/{deb.name}"])


def test_foreign_authority_is_refused(site: Site) -> None:
    """Goal: the private authority is what makes HTTPS work here. Method: curl without it."""
    refused = curl(f"{site.far.url}/livez", prefix=site.far.prefix, check=False)
    assert (refused.status, refused.rc) == (0, 60)
    assert site.far.curl("livez").status == 200


def test_tampered_package_differs_from_the_index(site: Site, place: Place, tmp_path: Path) -> None:
    """Goal: whoever checks the digest of the index sees a changed package. Method: fetch through the tamperer."""
    repository, token = site.repository_at(place)
    user = f"{token}:" if token else ""
    deb = make_deb(tmp_path, "hello", compression="none")
    site.push(place, repository, DISTRIBUTION, deb)
    packages = place.curl(f"{repository}/debian/dists/bookworm/main/binary-amd64/Packages", user=user).text
    wanted = packages.partition("\nSHA256: ")[2].partition("\n")[0]
    path = f"{repository}/debian/{filename_of(packages, 'hello')}"
    with site.tamperer.editing(lambda path, body: body[:-1] + b"!"):
        changed = curl(f"{place.tampered_url}/{path}", ca_file=place.ca_file, prefix=place.prefix, user=user)
    assert hashlib.sha256(changed.body).hexdigest() != wanted
    assert hashlib.sha256(place.curl(path, user=user).body).hexdigest() == wanted
    site.check_left(repository, [f"{DISTRIBUTION}/{deb.name}"])
