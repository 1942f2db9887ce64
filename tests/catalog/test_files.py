"""One file's way through the catalog: commit, duplicate, conflict, replace, hold, yank, return."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection

from entrepot.catalog import audit, files, repositories
from entrepot.catalog.engine import Catalog
from entrepot.catalog.rows import NewFile, ScopeUse
from entrepot.model.errors import Refusal
from entrepot.model.limits import HELD_S
from entrepot.model.nouns import Ticket
from tests.catalog.helpers import APT, DISTRIBUTION, NAME, NOW, a_deb, catalog_with_repository, listed, needed, put

SOURCES = (ScopeUse("bookworm", "debian", listed=True),)
UNLISTED = (ScopeUse("bookworm", "debian", listed=False),)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[tuple[Catalog, int]]:
    with catalog_with_repository(tmp_path) as found:
        yield found


def used(catalog: Catalog) -> tuple[int, int]:
    with catalog.read() as conn:
        row = repositories.get(conn, NAME)
    return row.used_bytes, row.file_count


def test_commit_and_find(place: tuple[Catalog, int]) -> None:
    """Goal: every field comes back. Method: commit one file, look it up by path, digest prefix, sha256 and listing."""
    catalog, repository_id = place
    new = a_deb(repository_id, "hello")
    outcome = put(catalog, new, "key-1")
    assert (outcome.created, outcome.copy_used, outcome.held) == (True, True, False)
    assert [ticket.change for ticket in outcome.tickets] == [1]
    with catalog.read() as conn:
        row = files.find_by_path(conn, repository_id, DISTRIBUTION, "hello_1.0_amd64.deb")
        assert row is not None
        assert (row.name, row.version, row.copy_key, row.digests) == ("hello", "1.0", "key-1", new.digests)
        assert row.metadata == {"summary": "made for a test", "licenses": []}
        prefix = new.digests.sha256[:16]
        assert files.find_by_path(conn, repository_id, DISTRIBUTION, row.path, prefix) == row
        assert files.find_by_path(conn, repository_id, DISTRIBUTION, row.path, "0" * 16) is None
        assert files.find_by_sha256(conn, repository_id, new.digests.sha256) == (row,)
        assert files.list_files(conn, repository_id) == (row,)
        assert files.count_files(conn, repository_id) == 1
        assert files.parts(conn, repository_id, DISTRIBUTION) == {"main:amd64"}
        assert listed(conn, outcome.tickets[0].scope_id) == ["hello_1.0_amd64.deb"]
        assert files.indexed(conn, [row]) == frozenset(), "nothing is published yet"
        assert audit.page(conn)[0].action == "file.add"
    assert used(catalog) == (new.size_bytes, 1)


def test_same_bytes_again(place: tuple[Catalog, int]) -> None:
    """Goal: the same upload twice is no change, and waits for the same tickets. Method: commit the same file twice."""
    catalog, repository_id = place
    first = put(catalog, a_deb(repository_id, "hello"), "key-1")
    put(catalog, a_deb(repository_id, "other"))
    second = put(catalog, a_deb(repository_id, "hello"), "key-2")
    assert (second.created, second.copy_used, second.file_id) == (False, False, first.file_id)
    assert second.tickets == first.tickets


def test_other_bytes_under_a_taken_name(place: tuple[Catalog, int]) -> None:
    """Goal: nothing of a refused file stays. Method: commit other bytes under the same name; look at blobs, charge
    and scope.
    """
    catalog, repository_id = place
    put(catalog, a_deb(repository_id, "hello"))
    before = used(catalog)
    with pytest.raises(Refusal, match="name_taken"):
        put(catalog, a_deb(repository_id, "hello", content="other bytes"), "key-2")
    assert used(catalog) == before
    with catalog.read() as conn:
        assert conn.exec_driver_sql("SELECT count(*) FROM blob").scalar() == 1
        assert conn.exec_driver_sql("SELECT last_change FROM scope").scalar() == 1


def test_same_bytes_in_two_distributions_share_a_blob(place: tuple[Catalog, int]) -> None:
    """Goal: the bytes lie once. Method: two commits in one change; only the first keeps the caller's copy."""
    catalog, repository_id = place
    names = ("debian/bookworm", "debian/trixie")

    def both(conn: Connection) -> list[bool]:
        uses = {name: (ScopeUse(name.partition("/")[2], "debian", listed=True),) for name in names}
        return [
            files.commit_file(
                conn, a_deb(repository_id, "hello", distribution=name), "key-1", uses[name], NOW
            ).copy_used
            for name in names
        ]

    assert catalog.submit(both) == [True, False]
    with catalog.read() as conn:
        assert conn.exec_driver_sql("SELECT count(*), count(DISTINCT blob_id) FROM file").one() == (2, 1)
        assert files.distributions_of(conn, repository_id) == names


def test_bytes_that_are_gone_cannot_be_relied_on(place: tuple[Catalog, int]) -> None:
    """Goal: no row without bytes. Method: commit without a copy for a digest that the catalog has none of."""
    catalog, repository_id = place
    with pytest.raises(Refusal, match="not_found"):
        catalog.submit(lambda conn: files.commit_file(conn, a_deb(repository_id, "hello"), None, APT, NOW))


def test_replacing(place: tuple[Catalog, int]) -> None:
    """Goal: a replaceable file gives way in one change. Method: commit other bytes under its name; compare both
    changes' listings.
    """
    catalog, repository_id = place
    old = put(catalog, a_deb(repository_id, "lib", content="one", replaces=True))
    new = put(catalog, a_deb(repository_id, "lib", content="two!", replaces=True))
    assert new.replaced == old.file_id
    assert [ticket.change for ticket in new.tickets] == [2]
    with catalog.read() as conn:
        row = files.find_by_path(conn, repository_id, DISTRIBUTION, "lib_1.0_amd64.deb")
        assert row is not None
        assert row.id == new.file_id
        gone = files.by_ids(conn, [old.file_id])[0]
        assert (gone.yanked_at, gone.replaced_by) == (NOW, new.file_id)
        assert listed(conn, new.tickets[0].scope_id) == ["lib_1.0_amd64.deb"]
    assert used(catalog) == (4, 1)


def test_a_replacement_is_listed_where_it_belongs(place: tuple[Catalog, int]) -> None:
    """Goal: the scopes of the old file are not the new one's. Method: replace a file of two scopes by one of one."""
    catalog, repository_id = place
    uses = (ScopeUse("one", "maven", listed=True), ScopeUse("two", "maven", listed=True))
    put(catalog, a_deb(repository_id, "lib", content="old"), uses=uses)
    tickets = put(catalog, a_deb(repository_id, "lib", content="new", replaces=True), uses=uses[:1]).tickets
    with catalog.read() as conn:
        assert [listed(conn, ticket.scope_id) for ticket in tickets] == [["lib_1.0_amd64.deb"], []]


def test_yank_and_return(place: tuple[Catalog, int]) -> None:
    """Goal: one change per scope for the whole call, and back. Method: yank two of three files, look at each change,
    unyank.
    """
    catalog, repository_id = place
    outcomes = [put(catalog, a_deb(repository_id, name)) for name in ("a", "b", "c")]
    ids = [outcome.file_id for outcome in outcomes[:2]]
    tickets = catalog.submit(lambda conn: files.yank(conn, ids, NOW))
    assert [ticket.change for ticket in tickets] == [4]
    scope_id = tickets[0].scope_id
    with catalog.read() as conn:
        assert listed(conn, scope_id, 3) == ["a_1.0_amd64.deb", "b_1.0_amd64.deb", "c_1.0_amd64.deb"]
        assert listed(conn, scope_id, 4) == ["c_1.0_amd64.deb"]
        assert files.find_by_path(conn, repository_id, DISTRIBUTION, "a_1.0_amd64.deb") is None
    assert catalog.submit(lambda conn: files.yank(conn, ids, NOW)) == (), "a second time changes nothing"
    back = catalog.submit(lambda conn: files.unyank(conn, ids, NOW))
    assert [(ticket.scope_id, ticket.change) for ticket in back] == [(scope_id, 5)]
    with catalog.read() as conn:
        assert listed(conn, scope_id, 5) == ["a_1.0_amd64.deb", "b_1.0_amd64.deb", "c_1.0_amd64.deb"]


def test_return_to_a_taken_name(place: tuple[Catalog, int]) -> None:
    """Goal: unyank never makes two live files of one name. Method: yank, upload other bytes under the name, unyank."""
    catalog, repository_id = place
    old = put(catalog, a_deb(repository_id, "hello"))
    catalog.submit(lambda conn: files.yank(conn, [old.file_id], NOW))
    put(catalog, a_deb(repository_id, "hello", content="other bytes"))
    with pytest.raises(Refusal, match="name_taken"):
        catalog.submit(lambda conn: files.unyank(conn, [old.file_id], NOW))


def test_source_set_is_listed_when_whole(place: tuple[Catalog, int]) -> None:
    """Goal: a .dsc is in no index before its tarballs are here. Method: send .dsc, then its two tarballs, watching
    the listing.
    """
    catalog, repository_id = place
    needs = (needed("hello.orig.tar.gz", "orig"), needed("hello.debian.tar.xz", "debian"))
    dsc = a_deb(repository_id, "hello-src", part="main:source", requires=needs, filename="hello.dsc")
    tarballs = [
        a_deb(repository_id, "hello-src", content=body, part=None, member=True, filename=name)
        for name, body in (("hello.orig.tar.gz", "orig"), ("hello.debian.tar.xz", "debian"))
    ]
    held = put(catalog, dsc)
    assert held.held
    assert len(held.tickets) == 1, "its scope is made, with nothing in it"
    first = put(catalog, tarballs[0], uses=UNLISTED)
    assert (first.held, first.released, first.tickets) == (True, (), ())
    with catalog.read() as conn:
        assert listed(conn, held.tickets[0].scope_id) == []
        assert {row.filename for row in files.expired_held(conn, NOW + HELD_S)} == {"hello.dsc", "hello.orig.tar.gz"}
    last = put(catalog, tarballs[1], uses=UNLISTED)
    assert not last.held
    assert last.released == tuple(sorted((held.file_id, first.file_id)))
    assert [ticket.change for ticket in last.tickets] == [2]
    with catalog.read() as conn:
        assert listed(conn, held.tickets[0].scope_id) == ["hello.dsc"]
        assert files.expired_held(conn, NOW + HELD_S) == ()
        assert set(files.whole_sets(conn, [held.file_id])) == {held.file_id, first.file_id, last.file_id}
        assert set(files.whole_sets(conn, [first.file_id])) == {held.file_id, first.file_id, last.file_id}


def test_a_scope_that_is_made_meanwhile_lists_what_was_held(place: tuple[Catalog, int]) -> None:
    """Goal: no index misses a file because it was held when the index came about.

    Method: hold a .dsc for one scope, make a second scope of its part, complete the set: both list it. Seen to fail
    without the held file's list of scopes being widened.
    """
    catalog, repository_id = place
    part = frozenset({"main:source"})
    first = ScopeUse("one", "debian", listed=True, parts=part)
    both = tuple(ScopeUse(name, "debian", listed=False, parts=part) for name in ("one", "two"))
    needs = (needed("hello.orig.tar.gz", "orig"),)
    dsc = a_deb(repository_id, "hello-src", part="main:source", requires=needs, filename="hello.dsc")
    tarball = a_deb(repository_id, "hello-src", content="orig", part=None, member=True, filename="hello.orig.tar.gz")
    assert put(catalog, dsc, uses=(first,)).held
    put(catalog, a_deb(repository_id, "other"), uses=both)
    released = put(catalog, tarball, uses=both)
    assert len(released.tickets) == 2
    with catalog.read() as conn:
        assert [listed(conn, ticket.scope_id) for ticket in released.tickets] == [["hello.dsc"], ["hello.dsc"]]


def a_set(repository_id: int) -> tuple[NewFile, NewFile, NewFile]:
    """A .dsc, and the two tarballs that it needs."""
    bodies = {"hello.orig.tar.gz": "orig", "hello.debian.tar.xz": "debian"}
    needs = tuple(needed(name, body) for name, body in bodies.items())
    dsc = a_deb(repository_id, "hello-src", part="main:source", requires=needs, filename="hello.dsc")
    orig, debian = (
        a_deb(repository_id, "hello-src", content=body, part=None, member=True, filename=name)
        for name, body in bodies.items()
    )
    return dsc, orig, debian


def unyank(catalog: Catalog, *file_ids: int) -> tuple[Ticket, ...]:
    """Unyank these files; the tickets of what changed."""
    return catalog.submit(lambda conn: files.unyank(conn, file_ids, NOW))


def back_and_forth(catalog: Catalog, *file_ids: int) -> None:
    """Yank these files, and unyank them."""
    catalog.submit(lambda conn: files.yank(conn, file_ids, NOW))
    unyank(catalog, *file_ids)


def test_a_held_file_that_comes_back_waits_again(place: tuple[Catalog, int]) -> None:
    """Goal: yank and unyank of a held .dsc do not lose its place. Method: hold it, yank, unyank; then its tarballs.

    Seen to fail with held_scopes forgotten by the yank.
    """
    catalog, repository_id = place
    dsc, orig, debian = a_set(repository_id)
    held = put(catalog, dsc)
    back_and_forth(catalog, held.file_id)
    with catalog.read() as conn:
        assert [row.id for row in files.expired_held(conn, NOW + HELD_S)] == [held.file_id]
    assert put(catalog, dsc).held, "and a duplicate is told so"
    put(catalog, orig, uses=UNLISTED)
    assert put(catalog, debian, uses=UNLISTED).released
    with catalog.read() as conn:
        assert listed(conn, held.tickets[0].scope_id) == ["hello.dsc"]


def test_a_returned_file_is_listed_only_with_its_whole_set(place: tuple[Catalog, int]) -> None:
    """Goal: no index lists a .dsc whose tarballs are away, and a set that is whole again is listed in any order.

    Method: yank a whole set; unyank the .dsc, one tarball, the other, watching the listing. Seen to fail with the
    .dsc put back at once.
    """
    catalog, repository_id = place
    dsc, *tarballs = a_set(repository_id)
    ids = [put(catalog, dsc).file_id] + [put(catalog, each, uses=UNLISTED).file_id for each in tarballs]
    catalog.submit(lambda conn: files.yank(conn, ids, NOW))
    for file_id in ids[:2]:
        assert unyank(catalog, file_id) == ()
    with catalog.read() as conn:
        assert len(files.expired_held(conn, NOW + HELD_S)) == 2
    (ticket,) = unyank(catalog, ids[2])
    with catalog.read() as conn:
        assert listed(conn, ticket.scope_id) == ["hello.dsc"]
        assert files.expired_held(conn, NOW + HELD_S) == ()
    back_and_forth(catalog, *ids)
    with catalog.read() as conn:
        assert listed(conn, ticket.scope_id) == ["hello.dsc"]


def test_a_returned_tarball_frees_what_waits_for_it(place: tuple[Catalog, int]) -> None:
    """Goal: a .dsc that came while its tarballs were yanked is listed once they are back, and never with other bytes.

    Method: yank the tarballs, send a new .dsc, unyank them; the same with a .dsc that names other content.
    """
    catalog, repository_id = place
    dsc, *tarballs = a_set(repository_id)
    ids = [put(catalog, each, uses=UNLISTED).file_id for each in tarballs]
    catalog.submit(lambda conn: files.yank(conn, ids, NOW))
    held = put(catalog, dsc)
    assert held.held
    (ticket,) = unyank(catalog, *ids)
    with catalog.read() as conn:
        assert listed(conn, ticket.scope_id) == ["hello.dsc"]
    catalog.submit(lambda conn: files.yank(conn, [*ids, held.file_id], NOW))
    other = (needed("hello.orig.tar.gz", "other"),)
    put(catalog, a_deb(repository_id, "hello-src", part="main:source", requires=other, filename="hello.dsc"))
    with pytest.raises(Refusal, match="digest_mismatch"):
        unyank(catalog, *ids)


def test_source_set_members_first(place: tuple[Catalog, int]) -> None:
    """Goal: the order of a set does not matter. Method: tarball first, .dsc last."""
    catalog, repository_id = place
    tarball = put(
        catalog,
        a_deb(repository_id, "x", content="orig", part=None, member=True, filename="x.tar.gz"),
        uses=UNLISTED,
    )
    assert tarball.held
    dsc = put(catalog, a_deb(repository_id, "x", filename="x.dsc", requires=(needed("x.tar.gz", "orig"),)))
    assert (dsc.held, dsc.released) == (False, (tarball.file_id,))


def test_source_set_with_wrong_bytes(place: tuple[Catalog, int]) -> None:
    """Goal: a set never mixes with other bytes. Method: a tarball that differs from the held .dsc, a .dsc that
    differs from the tarball.
    """
    catalog, repository_id = place
    put(catalog, a_deb(repository_id, "x", filename="x.dsc", requires=(needed("x.tar.gz", "orig"),)))
    with pytest.raises(Refusal, match="digest_mismatch"):
        put(catalog, a_deb(repository_id, "x", content="evil", part=None, filename="x.tar.gz"), uses=UNLISTED)
    put(catalog, a_deb(repository_id, "y", content="orig", part=None, filename="y.tar.gz"), uses=UNLISTED)
    with pytest.raises(Refusal, match="digest_mismatch"):
        put(catalog, a_deb(repository_id, "y", filename="y.dsc", requires=(needed("y.tar.gz", "other"),)))


def test_new_scope_lists_what_is_there(place: tuple[Catalog, int]) -> None:
    """Goal: a new architecture's index begins with the noarch packages. Method: noarch first, yank one, then the
    first s390x package.
    """
    catalog, repository_id = place

    def rpm(name: str, part: str, *scopes: str) -> tuple[ScopeUse, ...]:
        uses = tuple(ScopeUse(each, "rpm", listed=True, parts=frozenset({each, "noarch"})) for each in scopes)
        put(catalog, a_deb(repository_id, name, part=part, distribution="el/9"), uses=uses)
        return uses

    rpm("a", "noarch", "x86_64")
    rpm("b", "noarch", "x86_64")
    with catalog.read() as conn:
        yanked = files.match(conn, repository_id, filename="b_*")[0].id
    catalog.submit(lambda conn: files.yank(conn, [yanked], NOW))
    rpm("c", "s390x", "s390x")
    with catalog.read() as conn:
        scope_id = conn.exec_driver_sql("SELECT id FROM scope WHERE name = 's390x'").scalar_one()
        assert listed(conn, scope_id, 1) == ["a_1.0_amd64.deb", "c_1.0_amd64.deb"]
    catalog.submit(lambda conn: files.unyank(conn, [yanked], NOW))
    with catalog.read() as conn:
        assert listed(conn, scope_id) == ["a_1.0_amd64.deb", "b_1.0_amd64.deb", "c_1.0_amd64.deb"]


def test_default_scopes_are_made_once(place: tuple[Catalog, int]) -> None:
    """Goal: a scope that is only there by default is published once. Method: two uploads that do not touch it."""
    catalog, repository_id = place
    uses = (*APT, ScopeUse("empty", "debian", listed=False))
    first = put(catalog, a_deb(repository_id, "a"), uses=uses)
    second = put(catalog, a_deb(repository_id, "b"), uses=uses)
    assert len(first.tickets) == 2
    assert len(second.tickets) == 1


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("a_1.0_amd64.deb", ["a_1.0_amd64.deb"]),
        ("a*", ["a_1.0_amd64.deb", "aa_1.0_amd64.deb"]),
        ("*_1.0_*", ["a_1.0_amd64.deb", "aa_1.0_amd64.deb", "b_1.0_amd64.deb"]),
        ("[ab]_*", ["a_1.0_amd64.deb", "b_1.0_amd64.deb", "b_2.0_amd64.deb"]),
        ("?_2*", ["b_2.0_amd64.deb"]),
        ("A*", []),
        ("%", []),
    ],
)
def test_match_by_pattern(place: tuple[Catalog, int], pattern: str, found: list[str]) -> None:
    """Goal: a glob means what a shell means by it. Method: patterns over four files; SQL's own wildcard is no
    wildcard.
    """
    catalog, repository_id = place
    for name, version in (("a", "1.0"), ("aa", "1.0"), ("b", "1.0"), ("b", "2.0")):
        put(catalog, a_deb(repository_id, name, version))
    with catalog.read() as conn:
        assert sorted(row.filename for row in files.match(conn, repository_id, filename=pattern)) == found
        assert [row.version for row in files.match(conn, repository_id, name="b", version="2.0")] == ["2.0"]


def test_match_needs_a_name(place: tuple[Catalog, int]) -> None:
    """Goal: an empty request never means everything. Method: match with neither name nor pattern."""
    catalog, repository_id = place
    with catalog.read() as conn, pytest.raises(Refusal, match="field_invalid"):
        files.match(conn, repository_id)


def test_filters(place: tuple[Catalog, int]) -> None:
    """Goal: filters select. Method: a family does not catch another one that begins alike; a substring is literal."""
    catalog, repository_id = place
    put(catalog, a_deb(repository_id, "a"))
    put(catalog, a_deb(repository_id, "b_%", distribution="debianish/x"), uses=(ScopeUse("x", "debian", listed=True),))
    with catalog.read() as conn:
        listing = files.list_files(conn, repository_id, files.Filters(family="debian"))
        assert [row.name for row in listing] == ["a"]
        listing = files.list_files(conn, repository_id, files.Filters(filename_part="%"))
        assert [row.name for row in listing] == ["b_%"]
        assert files.count_files(conn, repository_id, files.Filters(types=("rpm",))) == 0
        assert len(files.list_files(conn, repository_id, page=files.Page(offset=1, rows=1))) == 1
