"""The canary's rows: made once, taken away whole, and nobody else's touched."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection

from entrepot.catalog import audit, canary, repositories, tokens
from entrepot.catalog.engine import Catalog
from entrepot.catalog.repositories import RepositoryRow
from entrepot.model.errors import Refusal
from entrepot.model.nouns import CANARY_OWNER, RepositoryName, Role
from tests.catalog.helpers import NOW, a_deb, catalog_with_repository, put
from tests.support.access import judge


@pytest.fixture
def place(tmp_path: Path) -> Iterator[tuple[Catalog, int, RepositoryRow]]:
    """A catalog with somebody's repository (its id), and the canary's."""
    with catalog_with_repository(tmp_path) as (catalog, repository_id):
        yield catalog, repository_id, catalog.submit(lambda conn: canary.open_repository(conn, "node", NOW))


def published(conn: Connection) -> None:
    """As if every scope had shown its last change."""
    conn.exec_driver_sql("UPDATE scope SET published_change = last_change")


def counted(catalog: Catalog) -> dict[str, int]:
    """Rows of the tables that a sample touches."""
    names = ("file", "blob", "copy", "fragment", "membership", "audit")
    with catalog.read() as conn:
        return {name: conn.exec_driver_sql(f"SELECT count(*) FROM {name}").scalar_one() for name in names}


def test_a_sample_goes_once_its_removal_is_published(place: tuple[Catalog, int, RepositoryRow]) -> None:
    """Goal: two passes take a sample away whole, audit rows too; one that a publication may still read stays, and is
    counted. Method: the same file in the canary's repository and in another."""
    catalog, repository_id, row = place
    put(catalog, a_deb(repository_id, "entrepot-canary", content="theirs"), "theirs")
    before = counted(catalog)
    put(catalog, a_deb(row.id, "entrepot-canary", content="ours"), "ours")
    first = catalog.submit(lambda conn: canary.clear(conn, row.id, NOW))
    assert len(first.tickets) == 1
    assert (first.copies, first.left) == ((), {"debian": 1})
    again = catalog.submit(lambda conn: canary.clear(conn, row.id, NOW))
    assert (again.tickets, again.left) == ((), {"debian": 1}), "yanked once is enough"
    catalog.submit(published)
    last = catalog.submit(lambda conn: canary.clear(conn, row.id, NOW))
    assert [copy.key for copy in last.copies] == ["ours"]
    assert (last.tickets, last.left) == ((), {})
    assert counted(catalog) == before
    with catalog.read() as conn:
        assert [each.action for each in audit.page(conn)][:1] == ["file.add"], "somebody's own row"
    assert catalog.check_integrity() == []


def test_the_repository_is_made_once_and_in_no_list(place: tuple[Catalog, int, RepositoryRow]) -> None:
    """Goal: one private repository for a node, whatever the number of starts; lists leave it out. Method: ask again."""
    catalog, _, row = place
    assert catalog.submit(lambda conn: canary.open_repository(conn, "node", NOW + 9)) == row
    assert row.private
    with catalog.read() as conn:
        assert [str(each.name) for each in repositories.list_all(conn)] == ["acme/tools"]
        assert repositories.get(conn, RepositoryName(CANARY_OWNER, "node")) == row


def test_each_new_token_ends_the_last_one(place: tuple[Catalog, int, RepositoryRow]) -> None:
    """Goal: one row, one text that works, for the canary's repository and no other; a revoked one works again after
    a start. Method: renew it."""
    catalog, _, row = place
    number, first = catalog.submit(lambda conn: canary.new_token(conn, "node", NOW))
    catalog.submit(lambda conn: tokens.revoke(conn, number, NOW))
    same, second = catalog.submit(lambda conn: canary.new_token(conn, "node", NOW + 1))
    assert (same, second != first) == (number, True)
    with catalog.read() as conn:
        assert tokens.by_text(conn, first) is None
        assert judge(conn, second, NOW + 2, row.name, Role.PUSH).id == number
        with pytest.raises(Refusal, match="repository_not_allowed"):
            judge(conn, second, NOW + 2, RepositoryName("acme", "tools"), Role.READ)
        assert len(tokens.list_tokens(conn, CANARY_OWNER)) == 1
