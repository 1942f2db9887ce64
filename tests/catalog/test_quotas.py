"""Quotas of repositories and owners: what is charged, and that no order of commits exceeds them."""

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import Connection, create_engine

from entrepot.catalog import audit, blobs, files, quotas, repositories, revision, schema, tokens
from entrepot.catalog.engine import Catalog
from entrepot.model.errors import Refusal
from entrepot.model.limits import HELD_S
from entrepot.model.nouns import CANARY_OWNER, RepositoryName
from tests.catalog.helpers import APT, NAME, NOW, a_deb, catalog_with_repository, needed, open_catalog, put

LATER = NOW + 10


@pytest.fixture
def place(tmp_path: Path) -> Iterator[tuple[Catalog, int]]:
    """A catalog with one repository."""
    with catalog_with_repository(tmp_path) as found:
        yield found


def usage(catalog: Catalog, repository_id: int) -> quotas.Usage:
    """What the repository holds."""
    with catalog.read() as conn:
        return quotas.usages(conn, repository_id)[0]


def owner(catalog: Catalog) -> quotas.OwnerRow:
    """What acme holds."""
    with catalog.read() as conn:
        return quotas.find_owner(conn, NAME.owner)


def another(catalog: Catalog, name: str) -> int:
    """A further repository of the same owner."""
    return catalog.submit(lambda conn: repositories.create(conn, RepositoryName(NAME.owner, name), False, NOW)).id


def collect(catalog: Catalog) -> None:
    """Publish every removal, and forget what is yanked."""
    catalog.submit(lambda conn: conn.execute(schema.scope.update().values(published_change=schema.scope.c.last_change)))
    catalog.submit(lambda conn: blobs.purge_yanked(conn, LATER, LATER))


def test_a_repository_never_holds_more_than_its_quota(place: tuple[Catalog, int]) -> None:
    """Goal: the refusal names whose quota, and what is used and needed; a yank gives nothing back before collection,
    and what was yanked can always come back. Method: fill, be refused, yank, be refused, collect, succeed.
    """
    catalog, repository_id = place
    first, second = a_deb(repository_id, "hello"), a_deb(repository_id, "world")
    catalog.submit(lambda conn: repositories.set_quota(conn, repository_id, first.size_bytes, NOW))
    kept = put(catalog, first)
    with pytest.raises(Refusal) as caught:
        put(catalog, second)
    numbers = caught.value.numbers
    assert caught.value.code == "quota_exceeded"
    assert (numbers["quota_of"], numbers["quota_name"]) == ("repository", "acme/tools")
    assert (numbers["quota_bytes"], numbers["used_bytes"], numbers["needed_bytes"]) == (
        first.size_bytes, first.size_bytes, second.size_bytes,
    )  # fmt: skip
    assert "entrepot repo quota acme/tools SIZE" in caught.value.detail
    catalog.submit(lambda conn: files.yank(conn, [kept.file_id], NOW))
    assert usage(catalog, repository_id).used_bytes == 0
    assert usage(catalog, repository_id).yanked_bytes == first.size_bytes
    with pytest.raises(Refusal, match="entrepot gc"):
        put(catalog, second)
    catalog.submit(lambda conn: files.unyank(conn, [kept.file_id], NOW))
    assert usage(catalog, repository_id).used_bytes == first.size_bytes
    catalog.submit(lambda conn: files.yank(conn, [kept.file_id], NOW))
    collect(catalog)
    put(catalog, second)
    assert usage(catalog, repository_id).charged_bytes == second.size_bytes


def test_an_owners_quota_bounds_the_sum(place: tuple[Catalog, int]) -> None:
    """Goal: the owner's repositories share its quota; a deleted one does not count. Method: two repositories."""
    catalog, first_id = place
    second_id = another(catalog, "more")
    size = a_deb(first_id, "hello").size_bytes
    catalog.submit(lambda conn: quotas.set_owner_quota(conn, NAME.owner, 2 * size, NOW))
    put(catalog, a_deb(first_id, "hello"))
    put(catalog, a_deb(second_id, "hello"))
    with pytest.raises(Refusal) as caught:
        put(catalog, a_deb(second_id, "world"))
    assert caught.value.numbers["quota_of"] == "owner"
    assert caught.value.numbers["used_bytes"] == 2 * size
    assert "entrepot owner quota acme SIZE" in caught.value.detail
    found = owner(catalog)
    assert (found.repositories, found.files, found.usage.charged_bytes) == (2, 2, 2 * size)
    catalog.submit(lambda conn: repositories.delete(conn, first_id, NOW))
    put(catalog, a_deb(second_id, "world"))
    assert owner(catalog).repositories == 1


def test_what_is_charged(place: tuple[Catalog, int]) -> None:
    """Goal: each distribution's row is charged, held files too, replaced ones until collection; expired sets are not
    charged any more. Method: the same bytes in two distributions, a replaced file, a held one; the sums after each.
    """
    catalog, repository_id = place
    new = a_deb(repository_id, "hello", replaces=True, content="one")
    put(catalog, new)
    put(catalog, replace(new, distribution="debian/trixie"))
    assert usage(catalog, repository_id).used_bytes == 6
    put(catalog, a_deb(repository_id, "hello", replaces=True, content="two!"))
    assert (usage(catalog, repository_id).used_bytes, usage(catalog, repository_id).yanked_bytes) == (7, 3)
    collect(catalog)
    assert (usage(catalog, repository_id).used_bytes, usage(catalog, repository_id).yanked_bytes) == (7, 0)
    held = put(catalog, a_deb(repository_id, "set", content="12345", requires=(needed("missing.tar", "x"),)))
    assert held.held
    assert usage(catalog, repository_id).used_bytes == 12

    def expire(conn: Connection) -> None:
        ids = [row.id for row in files.expired_held(conn, NOW + HELD_S + 1)]
        files.yank(conn, ids, NOW + HELD_S + 1)
        blobs.forget(conn, ids)

    catalog.submit(expire)
    assert usage(catalog, repository_id).charged_bytes == 7


def test_a_quota_below_what_is_there_refuses_only_more(place: tuple[Catalog, int]) -> None:
    """Goal: a quota that is lowered takes nothing away. Method: a quota of 0 over one file; the same file again, yank,
    unyank, and a new one.
    """
    catalog, repository_id = place
    first = a_deb(repository_id, "hello")
    kept = put(catalog, first)
    catalog.submit(lambda conn: repositories.set_quota(conn, repository_id, 0, NOW))
    assert not put(catalog, first).created
    catalog.submit(lambda conn: files.yank(conn, [kept.file_id], NOW))
    catalog.submit(lambda conn: files.unyank(conn, [kept.file_id], NOW))
    with pytest.raises(Refusal, match="quota_exceeded"):
        put(catalog, a_deb(repository_id, "world"))
    catalog.submit(lambda conn: repositories.set_quota(conn, repository_id, None, NOW))
    put(catalog, a_deb(repository_id, "world"))


@pytest.mark.parametrize("kind", [quotas.REPOSITORY, quotas.OWNER])
def test_sixty_four_commits_at_once_never_exceed_a_quota(place: tuple[Catalog, int], kind: str) -> None:
    """Goal: the binding check is in the transaction. Method: 64 threads commit files of two repositories where ten
    fit.
    """
    catalog, first_id = place
    ids = (first_id, another(catalog, "more")) if kind == quotas.OWNER else (first_id,)
    fits = 10

    def limit(conn: Connection) -> None:
        if kind == quotas.OWNER:
            quotas.set_owner_quota(conn, NAME.owner, 100 * fits, NOW)
        else:
            repositories.set_quota(conn, first_id, 100 * fits, NOW)

    catalog.submit(limit)

    def one(number: int) -> str:
        body = f"{number:03}".ljust(100)
        try:
            put(catalog, a_deb(ids[number % len(ids)], f"p{number}", content=body), f"key-{number}", APT)
        except Refusal as refusal:
            return refusal.code
        return "kept"

    with ThreadPoolExecutor(64) as threads:
        outcomes = Counter(threads.map(one, range(64)))
    assert outcomes == {"kept": fits, "quota_exceeded": 64 - fits}
    assert sum(usage(catalog, each).charged_bytes for each in ids) == 100 * fits


def test_quotas_are_in_the_audit_trail(place: tuple[Catalog, int]) -> None:
    """Goal: who bounded what. Method: set both; the newest two rows."""
    catalog, repository_id = place
    actor = audit.Actor("ops#1", "192.0.2.1")
    catalog.submit(lambda conn: repositories.set_quota(conn, repository_id, 5, NOW, actor=actor))
    catalog.submit(lambda conn: quotas.set_owner_quota(conn, NAME.owner, 7, NOW, actor=actor))
    with catalog.read() as conn:
        rows = audit.page(conn, rows=2)
    assert [(row.action, row.subject, row.detail["quota_bytes"]) for row in rows] == [
        ("owner.quota", "acme", 7),
        ("repository.quota", "acme/tools", 5),
    ]
    assert {row.actor for row in rows} == {"ops#1"}
    with pytest.raises(Refusal, match="not_found"):
        catalog.submit(lambda conn: quotas.set_owner_quota(conn, "nobody", 7, NOW))


def test_the_canarys_owner_is_in_no_list(place: tuple[Catalog, int]) -> None:
    """Goal: a list of owners shows people's alone. Method: the owner that a node makes for itself."""
    catalog, _ = place
    catalog.submit(lambda conn: tokens.ensure_owner(conn, CANARY_OWNER, NOW))
    with catalog.read() as conn:
        assert [row.usage.name for row in quotas.list_owners(conn)] == [NAME.owner]


def test_an_older_catalog_gets_its_sums(tmp_path: Path) -> None:
    """Goal: what was yanked before the migration is charged after it. Method: the chain up to the revision before, two
    files written as that revision has them, migrate.
    """
    with create_engine(f"sqlite:///{tmp_path}/catalog.db").connect() as old:
        revision.upgrade(old, "0003")
        old.exec_driver_sql("INSERT INTO owner (id, name, created_at) VALUES (1, 'acme', 0)")
        old.exec_driver_sql(
            "INSERT INTO repository (id, owner_id, name, private, created_at, used_bytes, file_count)"
            " VALUES (1, 1, 'tools', 0, 0, 5, 1)"
        )
        for number, (size_bytes, yanked_at) in enumerate(((5, None), (7, 1), (9, 2)), start=1):
            old.exec_driver_sql(
                "INSERT INTO blob (id, sha256, size_bytes, created_at) VALUES (?, ?, ?, 0)",
                (number, str(number), size_bytes),
            )
            old.exec_driver_sql(
                "INSERT INTO file (repository_id, distribution, format, type, name, version, architecture, filename,"
                " path, conflict_key, order_key, blob_id, size_bytes, metadata, uploader, created_at, yanked_at)"
                " VALUES (1, 'd/v', 'f', 't', 'n', '1', 'a', 'p', 'p', 'k', x'00', ?, ?, '{}', 'ci', 0, ?)",
                (number, size_bytes, yanked_at),
            )
        old.commit()
    catalog = open_catalog(tmp_path)
    try:
        assert (usage(catalog, 1).used_bytes, usage(catalog, 1).yanked_bytes) == (5, 16)
    finally:
        catalog.close()
