"""The audit trail as its owners see it, and who a token is."""

import hashlib
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from entrepot.catalog import Connection, audit
from tests.catalog.helpers import open_catalog
from tests.support.builders import deb_bytes
from tests.support.server import ServerProcess
from tests.web.conftest import make_repository, make_token


def log(server: ServerProcess, token: str, **query: object) -> httpx.Response:
    """What a token is shown."""
    headers = {"authorization": f"Bearer {token}"}
    return httpx.get(f"{server.url}/api/v2/log", params=dict(query), headers=headers, trust_env=False, timeout=30)  # type: ignore[arg-type]


def test_who_pushed_what_from_where_with_which_digest(server: ServerProcess, admin: httpx.Client) -> None:
    """Goal: a push and a yank are told with token, address and digest; newest first, a page at a time. Method: the
    owner's admin token, which sees his repositories alone; two push tokens of one name, one by each way in.

    Seen to fail with the token's name in place of name and number.
    """
    name = make_repository(admin, owner="logged")
    ci, other, boss = (make_token(admin, role, owner="logged") for role in ("push", "push", "admin"))
    make_repository(admin, owner="stranger")
    content = deb_bytes("told", "1")
    headers = [{"authorization": f"Bearer {token}"} for token in (ci, other)]
    ids = [httpx.get(f"{server.url}/api/v2/whoami", headers=each, trust_env=False).json()["id"] for each in headers]
    pushed = httpx.put(
        f"{server.url}/{name}/debian/bookworm/told_1_amd64.deb", content=content, headers=headers[0], trust_env=False
    )
    assert pushed.status_code == 201
    posted = httpx.post(
        f"{server.url}/api/v2/repos/{name}/packages", content=deb_bytes("more", "1"), headers=headers[1],
        params={"distribution": "debian/bookworm", "filename": "more_1_amd64.deb"}, trust_env=False,
    )  # fmt: skip
    assert posted.status_code == 201
    admin.post(f"/api/v2/repos/{name}/yank", json={"name": "told"}).raise_for_status()
    rows = log(server, boss).json()["entries"]
    actions = [row["action"] for row in rows]
    assert actions[:3] == ["file.yank", "file.add", "file.add"]
    assert {"repository.create", "token.create", "owner.create"} <= set(actions)
    assert [row["actor"] for row in rows[1:3]] == [f"push-token#{ids[1]}", f"push-token#{ids[0]}"]
    added = rows[2]
    assert (added["address"], added["repository"]) == ("127.0.0.1", name)
    assert added["detail"]["sha256"] == hashlib.sha256(content).hexdigest()
    assert [row for row in rows if "stranger" in str(row)] == []
    first = log(server, boss, rows=1).json()
    second = log(server, boss, rows=1, before=first["before"]).json()
    assert [first["entries"][0]["id"], second["entries"][0]["id"]] == [row["id"] for row in rows[:2]]
    assert "stranger" in log(server, server.admin_token, rows=1000).text


def test_of_one_repository_and_of_a_token_for_one(server: ServerProcess, admin: httpx.Client) -> None:
    """Goal: a repository's log holds nothing else, and a token for one repository sees that one alone."""
    one, other = make_repository(admin, owner="pair"), make_repository(admin, owner="pair")
    limited = make_token(admin, "admin", owner="pair", repositories=[one])
    for answer in (log(server, limited), log(server, server.admin_token, repository=one)):
        entries = answer.json()["entries"]
        assert {entry["repository"] for entry in entries} == {one}
        assert "repository.create" in {entry["action"] for entry in entries}
    assert log(server, limited, repository=other).json()["code"] == "repository_not_allowed"
    assert log(server, server.admin_token, repository="pair/none").json()["code"] == "repository_unknown"
    assert log(server, make_token(admin, "push", owner="pair")).json()["code"] == "role_too_low"


def test_a_token_for_a_repository_of_another_owner(server: ServerProcess, admin: httpx.Client) -> None:
    """Goal: a token finds the repositories that it may use in every list, whoever owns them: the administrator makes
    tokens of his own for customers' repositories. Method: such tokens, and every place that lists.

    Seen to fail with the lists bounded to the token's owner.
    """
    name, hidden = make_repository(admin, owner="tenant"), make_repository(admin, owner="tenant")
    gone = make_repository(admin, owner="tenant")
    found = {role: make_token(admin, role, owner="admin", repositories=[name, gone]) for role in ("push", "admin")}
    admin.delete(f"/api/v2/repos/{gone}").raise_for_status()
    for role, token in found.items():
        headers = {"authorization": f"Bearer {token}"}
        with httpx.Client(base_url=server.url, headers=headers, trust_env=False, timeout=30) as client:
            for place in ("/api/v1/repos", "/api/v2/repos", "/api/v2/keys"):
                shown = client.get(place).raise_for_status().text
                assert (name.partition("/")[2] in shown, hidden.partition("/")[2] in shown) == (True, False), place
            if role == "admin":
                assert {row["repository"] for row in client.get("/api/v2/log").json()["entries"]} == {name}


def test_whoami(server: ServerProcess, admin: httpx.Client) -> None:
    """Goal: a token is told its name, owner, role, repositories, end and address, never its text."""
    name = make_repository(admin, owner="self")
    token = make_token(admin, "read", owner="self", repositories=[name], lives_s=600)
    headers = {"authorization": f"Bearer {token}"}
    found = httpx.get(f"{server.url}/api/v2/whoami", headers=headers, trust_env=False)
    shown = found.json()
    assert (shown["owner"], shown["role"], shown["repositories"]) == ("self", "read", [name])
    assert shown["expires_at"] - shown["created_at"] == 600
    assert (shown["address"], shown["every_owner"]) == ("127.0.0.1", False)
    assert token not in found.text
    assert admin.get("/api/v2/whoami").json()["every_owner"] is True


def test_a_look_into_the_trail_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Goal: one question looks at a bounded number of rows, and the next goes on from there. Method: a trail of 5,000
    rows, one of which is wanted.
    """
    monkeypatch.setattr(audit, "AUDIT_SCAN_ROWS_MAX", 2000)
    with closing(open_catalog(tmp_path)) as catalog:

        def write(conn: Connection) -> None:
            for number in range(5000):
                audit.record(conn, number, audit.SERVER, "x.y", str(number))

        catalog.submit(write)
        with catalog.read() as conn:
            found, before, looks = tuple[audit.AuditRow, ...](), None, 0
            while not found:
                found, before = audit.search(conn, lambda row: row.subject == "2400", before_id=before, rows=10)
                looks += 1
            assert ([row.subject for row in found], looks) == (["2400"], 2)
            assert audit.search(conn, lambda _: False, before_id=before, rows=10) == ((), None)
