"""Tokens, repositories, keys and the audit trail."""

import hashlib
import hmac
from collections.abc import Iterator
from pathlib import Path

import pytest

from entrepot.catalog import audit, blobs, files, keys, repositories, tokens
from entrepot.catalog.engine import Catalog
from entrepot.model.errors import Refusal
from entrepot.model.limits import SIGNING_KEYS_MAX
from entrepot.model.nouns import OPERATOR, RepositoryName, Role
from tests.catalog.helpers import NAME, NOW, a_deb, catalog_with_repository, put
from tests.support.access import judge

OTHER = RepositoryName("rival", "tools")


@pytest.fixture
def place(tmp_path: Path) -> Iterator[tuple[Catalog, int]]:
    with catalog_with_repository(tmp_path) as found:
        yield found


def make(catalog: Catalog, role: Role = Role.PUSH, /, **more: object) -> tuple[tokens.TokenRow, str]:
    """A token, of acme unless ``owner`` says otherwise."""
    owner = more.get("owner", "acme")
    repositories_ = more.get("repositories")
    expires_at = more.get("expires_at")
    return catalog.submit(
        lambda conn: tokens.create(conn, owner, "ci", role, repositories_, expires_at, NOW)  # type: ignore[arg-type]
    )


def test_a_token_is_kept_as_a_hash(place: tuple[Catalog, int], tmp_path: Path) -> None:
    """Goal: the catalog's file never holds a token. Method: make one, use it, look for its text in every file and
    table.
    """
    catalog, _ = place
    row, text = make(catalog)
    assert len(text) == 48
    assert int(text, 16) >= 0
    with catalog.read() as conn:
        assert tokens.by_text(conn, text) == row
        assert tokens.by_text(conn, text[:-1] + ("0" if text[-1] != "0" else "1")) is None
        assert tokens.by_text(conn, "") is None
        assert tokens.by_text(conn, "\udcff") is None
        kept = conn.exec_driver_sql("SELECT hash FROM token").scalar()
    assert kept == hashlib.sha256(text.encode()).hexdigest()
    for path in tmp_path.iterdir():
        assert text.encode() not in path.read_bytes(), path.name


def test_hashes_are_compared_in_constant_time(place: tuple[Catalog, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Goal: how long a look-up takes says nothing of how much of a hash was guessed. Method: the comparison is seen to
    be the one of the library that is made for it, over whole hashes, and what it says counts. Seen to fail with `==`.
    """
    catalog, _ = place
    row, text = make(catalog)
    compared: list[tuple[str, str]] = []

    def differ(one: str, other: str) -> bool:
        compared.append((one, other))
        return False

    with catalog.read() as conn:
        assert tokens.by_text(conn, text) == row
        monkeypatch.setattr(hmac, "compare_digest", differ)
        assert tokens.by_text(conn, text) is None
    assert compared == [(hashlib.sha256(text.encode()).hexdigest(),) * 2]


@pytest.mark.parametrize(
    ("owner", "role", "change", "wish", "code"),
    [
        ("acme", Role.PUSH, {}, (NAME, Role.PUSH), None),
        ("acme", Role.PUSH, {}, (NAME, Role.READ), None),
        ("acme", Role.PUSH, {}, (NAME, Role.ADMIN), "role_too_low"),
        ("acme", Role.PUSH, {}, (OTHER, Role.READ), "repository_not_allowed"),
        ("acme", Role.PUSH, {}, (None, Role.PUSH), None),
        ("acme", Role.PUSH, {"repositories": ["acme/other"]}, (NAME, Role.READ), "repository_not_allowed"),
        ("acme", Role.PUSH, {"repositories": ["rival/tools"]}, (OTHER, Role.PUSH), None),
        ("acme", Role.PUSH, {"expires_at": NOW}, (NAME, Role.READ), "token_expired"),
        ("acme", Role.PUSH, {"expires_at": NOW + 1}, (NAME, Role.READ), None),
        ("acme", Role.ADMIN, {}, (OTHER, Role.READ), "repository_not_allowed"),
        (OPERATOR, Role.ADMIN, {}, (OTHER, Role.ADMIN), None),
        (OPERATOR, Role.ADMIN, {"repositories": ["acme/tools"]}, (OTHER, Role.READ), "repository_not_allowed"),
        (OPERATOR, Role.PUSH, {}, (NAME, Role.PUSH), "repository_not_allowed"),
    ],
)
def test_what_a_token_may_do(
    place: tuple[Catalog, int],
    owner: str,
    role: Role,
    change: dict[str, object],
    wish: tuple[RepositoryName | None, Role],
    code: str | None,
) -> None:
    """Goal: role, repositories, owner and expiry each refuse, and only the operator acts for every owner.

    Method: a table of tokens and wishes, judged by what judges requests.
    """
    catalog, _ = place
    _, text = make(catalog, role, owner=owner, **change)
    with catalog.read() as conn:
        if code is None:
            assert judge(conn, text, NOW, *wish).owner == owner
            return
        with pytest.raises(Refusal) as caught:
            judge(conn, text, NOW, *wish)
    assert caught.value.code == code


def test_revoked_for_good(place: tuple[Catalog, int]) -> None:
    """Goal: a revoked token is known as such and refused. Method: revoke twice, list, ask."""
    catalog, _ = place
    row, text = make(catalog)
    for _again in range(2):
        catalog.submit(lambda conn: tokens.revoke(conn, row.id, NOW + 5))
    with catalog.read() as conn:
        found = tokens.by_text(conn, text)
        assert found is not None
        assert found.revoked_at == NOW + 5
        assert tokens.list_tokens(conn, "acme") == ()
        assert [each.action for each in audit.page(conn)].count("token.revoke") == 1
        with pytest.raises(Refusal, match="token_revoked"):
            judge(conn, text, NOW, NAME, Role.READ)
    with pytest.raises(Refusal, match="not_found"):
        catalog.submit(lambda conn: tokens.revoke(conn, 999, NOW))


def test_last_use_is_noted_once_a_minute(place: tuple[Catalog, int]) -> None:
    """Goal: reads do not become writes. Method: touch at 0, 59 and 60 seconds."""
    catalog, _ = place
    row, _text = make(catalog)
    touched = [catalog.submit(lambda conn, at=at: tokens.touch(conn, row.id, NOW + at)) for at in (0, 59, 60)]  # type: ignore[misc]
    assert touched == [True, False, True]


def test_derived_tokens(place: tuple[Catalog, int]) -> None:
    """Goal: same name, same token; nothing else collides. Method: vary secret, purpose and name; try to move the
    border.
    """
    texts = {
        tokens.derived_text(secret, purpose, name)
        for secret in (b"s", b"t")
        for purpose, name in (("a", "bc"), ("ab", "c"))
    }
    assert len(texts) == 4
    assert tokens.derived_text(b"s", "a", "bc") in texts
    assert {len(text) for text in texts} == {48}
    with pytest.raises(Refusal, match="field_invalid"):
        tokens.derived_text(b"s", "a", "b\0c")


def test_repositories(place: tuple[Catalog, int]) -> None:
    """Goal: create, show, list, delete. Method: each, with the refusals."""
    catalog, repository_id = place
    with pytest.raises(Refusal, match="repository_exists"):
        catalog.submit(lambda conn: repositories.create(conn, NAME, True, NOW))
    with pytest.raises(Refusal, match="not_found"):
        catalog.submit(lambda conn: repositories.create(conn, OTHER, True, NOW))
    catalog.submit(lambda conn: repositories.set_private(conn, repository_id, True, NOW))
    with catalog.read() as conn:
        assert repositories.get(conn, NAME).private is True
        assert [row.name for row in repositories.list_all(conn)] == [NAME]
        assert repositories.list_for_owner(conn, "rival") == ()
        with pytest.raises(Refusal, match="repository_unknown"):
            repositories.get(conn, OTHER)
    catalog.submit(lambda conn: repositories.delete(conn, repository_id, NOW))
    with catalog.read() as conn:
        assert repositories.find(conn, NAME) is None
    again = catalog.submit(lambda conn: repositories.create(conn, NAME, False, NOW))
    assert again.id != repository_id, "the name is free again, and the new one is empty"
    with pytest.raises(Refusal, match="repository_unknown"):
        put(catalog, a_deb(repository_id, "late"))


def test_purge_of_a_deleted_repository(place: tuple[Catalog, int]) -> None:
    """Goal: no row of it stays, and its bytes can be collected. Method: delete with files in it, purge in small
    steps, collect.
    """
    catalog, repository_id = place
    for number in range(7):
        put(catalog, a_deb(repository_id, f"p{number}"))
    catalog.submit(lambda conn: repositories.delete(conn, repository_id, NOW))
    steps = 0
    while catalog.submit(lambda conn: repositories.purge_deleted(conn, limit=2)):
        steps += 1
        assert steps < 50
    assert steps > 5
    copies = catalog.submit(lambda conn: blobs.collect(conn, NOW + 1))
    assert len(copies) == 7
    with catalog.read() as conn:
        for table in ("repository", "file", "fragment", "membership", "scope", "part", "blob", "copy"):
            assert conn.exec_driver_sql(f"SELECT count(*) FROM {table}").scalar() == 0, table
    assert catalog.check_integrity() == []


def test_keys(place: tuple[Catalog, int]) -> None:
    """Goal: a spare key goes to one repository only. Method: two spares, three takers; then retire."""
    catalog, repository_id = place
    for number in (1, 2):
        catalog.submit(lambda conn, n=number: keys.add(conn, a_key(f"F{n}"), NOW))  # type: ignore[misc]
    taken = [catalog.submit(lambda conn: keys.take_spare(conn, "ed25519", repository_id, NOW)) for _ in range(3)]
    assert [key.fingerprint if key else None for key in taken] == ["F1", "F2", None]
    assert catalog.submit(lambda conn: keys.take_spare(conn, "rsa3072", repository_id, NOW)) is None
    with catalog.read() as conn:
        assert keys.spare_count(conn, "ed25519") == 0
        assert [key.secret_sealed for key in keys.for_repository(conn, repository_id)] == [b"sealed"] * 2
        first = keys.for_repository(conn, repository_id)[0]
    catalog.submit(lambda conn: keys.retire(conn, first, NOW))
    with catalog.read() as conn:
        assert [key.fingerprint for key in keys.for_repository(conn, repository_id)] == ["F2"]
        assert [key.fingerprint for key in keys.history(conn, repository_id)] == ["F1", "F2"]
        with pytest.raises(Refusal, match="not_found"):
            keys.find(conn, repository_id, "F2")  # too short to be meant


def a_key(fingerprint: str, expires_at: int | None = None, user_id: str = "u") -> keys.NewKey:
    """A key as the catalog sees it."""
    return keys.NewKey("ed25519", fingerprint, user_id, "public", b"sealed", expires_at, imported=True)


def test_a_key_that_comes_again_keeps_its_place(place: tuple[Catalog, int]) -> None:
    """Goal: a key whose end was moved, or that was retired by mistake, is first again where it was first, and signers
    that were made of the old row are told from new ones. Method: two keys; the first comes again with another end;
    it is retired, and comes once more.
    """
    catalog, repository_id = place

    def add(new: keys.NewKey) -> keys.KeyRow:
        return catalog.submit(lambda conn: keys.add(conn, new, NOW, repository_id=repository_id))

    def signing(now_s: int) -> tuple[int, ...]:
        with catalog.read() as conn:
            return keys.signing_ids(conn, repository_id, now_s)

    first, second = add(a_key("A" * 40, NOW + 10)), add(a_key("B" * 40))
    assert signing(NOW) == (first.id, second.id)
    assert signing(NOW + 10) == (second.id,)
    longer = add(a_key("A" * 40, NOW + 20))
    assert signing(NOW + 10) == (longer.id, second.id)
    catalog.submit(lambda conn: keys.retire(conn, longer, NOW))
    assert signing(NOW) == (second.id,)
    again = add(a_key("A" * 40))
    assert signing(NOW + 10) == (again.id, second.id)
    with catalog.read() as conn:
        assert keys.find(conn, repository_id, "aaaaaaaa").id == again.id
        assert [row.fingerprint[0] for row in keys.history(conn, repository_id)] == ["A", "B"]


def test_one_key_for_several_repositories_and_no_more_than_eight_for_one(place: tuple[Catalog, int]) -> None:
    """Goal: aptly's one key signs for each repository that was there; a repository cannot be given keys for ever."""
    catalog, repository_id = place
    other = catalog.submit(lambda conn: repositories.create(conn, RepositoryName("acme", "other"), False, NOW))
    for each in (repository_id, other.id):
        catalog.submit(lambda conn, to=each: keys.add(conn, a_key("A" * 40), NOW, repository_id=to))  # type: ignore[misc]
    for number in range(SIGNING_KEYS_MAX - 1):
        catalog.submit(lambda conn, n=number: keys.add(conn, a_key(f"{n}" * 40), NOW, repository_id=repository_id))  # type: ignore[misc]
    with pytest.raises(Refusal, match="field_invalid"):
        catalog.submit(lambda conn: keys.add(conn, a_key("F" * 40), NOW, repository_id=repository_id))


def test_every_change_leaves_an_audit_row(place: tuple[Catalog, int]) -> None:
    """Goal: who did what. Method: a life of one file and one token; read the trail backwards, in pages."""
    catalog, repository_id = place
    actor = audit.Actor("alice#7", "192.0.2.1")
    outcome = put(catalog, a_deb(repository_id, "a"))
    catalog.submit(lambda conn: files.yank(conn, [outcome.file_id], NOW, actor=actor))
    catalog.submit(lambda conn: files.unyank(conn, [outcome.file_id], NOW, actor=actor))
    make(catalog)
    with catalog.read() as conn:
        newest = audit.page(conn, rows=3)
        assert [row.action for row in newest] == ["token.create", "file.unyank", "file.yank"]
        assert (newest[1].actor, newest[1].address) == ("alice#7", "192.0.2.1")
        assert newest[2].subject == "debian/bookworm/a_1.0_amd64.deb"
        older = audit.page(conn, before_id=newest[-1].id)
        assert [row.action for row in older] == ["file.add", "repository.create", "owner.create"]
        assert len(audit.page(conn, subject=newest[2].subject)) == 3


def test_a_token_that_is_revoked_meanwhile_makes_no_other(place: tuple[Catalog, int]) -> None:
    """Goal: what is made with a token never outlives its revocation. Method: the writer's queue has the revocation
    before the change of a request that had been let in.

    Seen to fail without `check_maker`.
    """
    catalog, _ = place
    parent, _text = make(catalog, Role.READ)
    catalog.submit(lambda conn: tokens.revoke(conn, parent.id, NOW))
    text = "0123456789abcdef" * 3
    with pytest.raises(Refusal) as caught:
        catalog.submit(lambda conn: tokens.of_machine(conn, parent, NAME, "host", text, NOW))
    assert caught.value.code == "token_revoked"
    with catalog.read() as conn:
        assert tokens.by_text(conn, text) is None
    with pytest.raises(Refusal):
        catalog.submit(lambda conn: tokens.check_maker(conn, parent))
