"""packagecloud's API as its clients use it: odd forms, exact bodies, paging headers."""

import re

import httpx

from tests.support.builders import FastRpm, deb_bytes, fast_rpm_bytes, make_jar
from tests.web.conftest import make_repository


def test_distributions_have_the_keys_and_ids_that_clients_hard_code(admin: httpx.Client, anybody: httpx.Client) -> None:
    """Goal: distributions.json as captured. Method: keys, one id, and no extra key in a version object; 401 without a
    token.
    """
    table = admin.get("/api/v1/distributions.json").json()
    assert {"deb", "rpm", "py", "node", "jar", "dsc"} <= set(table)
    assert "gem" not in table
    bookworm = next(v for f in table["deb"] if f["index_name"] == "debian" for v in f["versions"] if v["id"] == 215)
    assert set(bookworm) == {"id", "display_name", "index_name", "version_number"}
    refused = anybody.get("/api/v1/distributions.json")
    assert refused.status_code == 401
    assert refused.json()["error"] == "Unauthenticated"
    assert admin.get(f"{admin.base_url}//api/v1/distributions").status_code == 200


def test_a_repository_is_created_with_every_kind_of_body(admin: httpx.Client) -> None:
    """Goal: form, JSON, multipart and a form without Content-Type. Method: one each; the show shape of the union."""
    calls = [
        admin.post("/api/v1/repos.json", data={"repository[name]": "form", "repository[private]": "1"}),
        admin.post("/api/v1/repos", json={"repository": {"name": "json", "private": True}}),
        admin.post(
            "/api/v1/repos.json", files={"repository[name]": (None, "multi"), "repository[private]": (None, "true")}
        ),
        admin.post("/api/v1/repos.json", content=b"repository%5Bname%5D=plain&repository%5Bprivate%5D=0"),
    ]
    assert [answer.status_code for answer in calls] == [201] * 4
    shown = {name: admin.get(f"/api/v1/repos/admin/{name}.json").json() for name in ("form", "json", "multi", "plain")}
    assert [each["private"] for each in shown.values()] == [True, True, True, False]
    form = shown["form"]
    assert form["fqname"] == "admin/form"
    assert form["paths"]["create_package"] == "/api/v1/repos/admin/form/packages.json"
    assert form["paths"]["gpg_keys"].startswith("/api/v1/")
    assert ":package_type" in form["urls"]["install_script"]
    assert {"admin/form", "admin/plain"} <= {each["fqname"] for each in admin.get("/api/v1/repos.json").json()}
    missing = admin.get("/api/v1/repos/admin/none.json")
    assert (missing.status_code, missing.json()) == (404, {"error": "not_found"})


def test_uploads_with_odd_forms(admin: httpx.Client) -> None:
    """Goal: part order, random names, paths as names and stray fields are all fine. Method: one upload of each kind."""
    name = make_repository(admin)
    url = f"/api/v1/repos/{name}/packages.json"

    def body(parts: list[tuple[str, str | None, bytes]]) -> tuple[bytes, dict[str, str]]:
        out = b""
        for field, filename, content in parts:
            file_part = f'; filename="{filename}"' if filename is not None else ""
            out += (
                f'--b\r\nContent-Disposition: form-data; name="{field}"{file_part}\r\n\r\n'.encode() + content + b"\r\n"
            )
        return out + b"--b--\r\n", {"content-type": "multipart/form-data; boundary=b"}

    place = ("package[distro_version_id]", None, b"215")
    cases = [
        [place, ("package[package_file]", "first_1_amd64.deb", deb_bytes("first", "1"))],
        [("package[package_file]", "second_1_amd64.deb", deb_bytes("second", "1")), place],
        [
            ("package[package_file]", "/tmp/x/third_1_amd64.deb", deb_bytes("third", "1")),
            place,
            ("filename", None, b"third"),
        ],
        [place, ("package[package_file]", "k3jd9s8f7a", deb_bytes("fourth", "1"))],
        [
            ("package[distro_version_id]", None, b"debian/bookworm"),
            ("package[package_file]", "", deb_bytes("fifth", "1")),
        ],
    ]
    for parts in cases:
        content, headers = body(parts)
        answer = admin.post(url, content=content, headers=headers)
        assert answer.status_code == 201, answer.text
        details = answer.json()
        assert details["distro_version"] == "debian/bookworm"
        assert details["indexed"] is True
        assert isinstance(details["size"], str)
        assert all(details[each] for each in ("md5sum", "sha1sum", "sha256sum", "sha512sum"))
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", details["created_at"])
    names = {row["filename"] for row in admin.get(f"/api/v1/repos/{name}/packages.json").json()}
    assert names == {f"{each}_1_amd64.deb" for each in ("first", "second", "third", "fourth", "fifth")}


def test_lists_are_paged_as_clients_take_them_apart(admin: httpx.Client) -> None:
    """Goal: Total, Per-Page, Max-Per-Page and Link. Method: five packages, walked by Link; search and yank."""
    name = make_repository(admin)
    for number in range(5):
        content = deb_bytes(f"page{number}", "1")
        admin.put(f"/{name}/debian/bookworm/page{number}_1_amd64.deb", content=content).raise_for_status()
    answer = admin.get(f"/api/v1/repos/{name}/packages.json", params={"per_page": 2})
    assert (answer.headers["total"], answer.headers["per-page"], answer.headers["max-per-page"]) == ("5", "2", "250")
    found = [row["filename"] for row in answer.json()]
    while 'rel="next"' in answer.headers["link"]:
        following = re.search(r'<([^>]*[?&]page=\d+&[^>]*)>; rel="next"', answer.headers["link"])
        assert following is not None
        answer = admin.get(following[1])
        found += [row["filename"] for row in answer.json()]
    assert sorted(found) == [f"page{number}_1_amd64.deb" for number in range(5)]
    assert admin.get(f"/api/v1/repos/{name}/packages.json", params={"per_page": 1000}).headers["per-page"] == "250"
    searched = admin.get(f"/api/v1/repos/{name}/search.json", params={"q": "page3", "dist": "debian"}).json()
    assert [row["filename"] for row in searched] == ["page3_1_amd64.deb"]
    row = searched[0]
    assert row["destroy_url"] == f"/api/v1/repos/{name}/debian/bookworm/page3_1_amd64.deb"
    assert row["indexed"] is True
    gone = admin.delete(row["destroy_url"])
    assert (gone.status_code, gone.content) == (200, b"{}")
    again = admin.delete(row["destroy_url"])
    assert (again.status_code, again.json()) == (404, {"filename": ["not found"]})


def test_one_file_to_several_distributions_with_its_bytes_sent_once(admin: httpx.Client) -> None:
    """Goal: bytes once, or not at all. Method: two distributions in one request; ask; a third one by reference."""
    name = make_repository(admin)
    content = deb_bytes("multi", "1")
    url = f"/api/v2/repos/{name}/packages"
    query = {"filename": "multi_1_amd64.deb", "distribution": ["debian/bookworm", "ubuntu/noble"]}
    answer = admin.post(url, params=query, content=content)
    assert answer.status_code == 201, answer.text
    sha256 = answer.json()["files"][0]["sha256"]
    asked = admin.post(f"/api/v2/repos/{name}/have", json={"files": [{"sha256": sha256}, {"sha256": "0" * 64}]}).json()[
        "files"
    ]
    assert [each["bytes"] for each in asked] == [True, False]
    assert {each["distribution"] for each in asked[0]["files"]} == {"debian/bookworm", "ubuntu/noble"}
    third = {"filename": "multi_1_amd64.deb", "distribution": "debian/trixie", "sha256": sha256, "reference": "1"}
    assert admin.post(url, params=third).status_code == 201
    assert admin.get(f"/{name}/debian/dists/trixie/main/binary-amd64/Packages").text.count(sha256) == 1
    stranger = make_repository(admin, owner="globex")
    assert admin.post(f"/api/v2/repos/{stranger}/packages", params=third).status_code == 404
    wrong = {**query, "sha256": "1" * 64}
    assert admin.post(url, params=wrong, content=content).json()["code"] == "digest_mismatch"


def test_a_package_is_shown_at_its_own_address(admin: httpx.Client) -> None:
    """Goal: `package_url` and `versions_url` of every answer lead to the package. Method: follow those of a .deb, an
    .rpm and a JAR; a version that is not there, and one that was yanked.
    """
    name = make_repository(admin)
    jar = make_jar({"a.txt": b"a"})
    uploads = {
        "debian/bookworm/lib+x_1.0-7_amd64.deb": deb_bytes("lib+x", "2:1.0-7"),
        "el/9/lib-1.0-7.x86_64.rpm": fast_rpm_bytes(FastRpm("lib", "1.0", "7")),
        "maven2/org/example/lib/1.0/lib-1.0.jar": jar,
    }
    for path, content in uploads.items():
        admin.put(f"/{name}/{path}", content=content).raise_for_status()
    listed = admin.get(f"/api/v1/repos/{name}/packages.json").json()
    assert len(listed) == len(uploads)
    for each in listed:
        shown = admin.get(each["package_url"])
        assert shown.status_code == 200, each["package_url"]
        details = shown.json()
        assert (details["filename"], details["sha256sum"]) == (each["filename"], each["sha256sum"])
        assert details["self_url"] == each["package_url"]
        versions = admin.get(details["versions_url"])
        assert [row["filename"] for row in versions.json()] == [each["filename"]], details["versions_url"]
        assert versions.headers["total"] == "1"
    deb = next(each["package_url"] for each in listed if each["type"] == "deb")
    assert deb.endswith("/package/deb/debian/bookworm/lib%2Bx/amd64/1.0-7.json")
    assert admin.get(deb.replace("1.0-7", "1.0-8")).status_code == 404
    assert admin.get(deb.replace("/deb/", "/dsc/")).status_code == 404
    admin.delete(f"/api/v1/repos/{name}/debian/bookworm/lib+x_1.0-7_amd64.deb").raise_for_status()
    assert admin.get(deb).status_code == 404
