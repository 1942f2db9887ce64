"""Collection: what may go, in which order, and what must stay."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from entrepot.catalog import blobs, files
from entrepot.catalog.engine import Catalog
from entrepot.model.nouns import Digests
from tests.catalog.helpers import NOW, a_deb, catalog_with_repository, put

LATER = NOW + 10


@pytest.fixture
def place(tmp_path: Path) -> Iterator[tuple[Catalog, int]]:
    with catalog_with_repository(tmp_path) as found:
        yield found


def published(catalog: Catalog) -> None:
    """As if every scope had shown its last change."""
    with catalog.write() as conn:
        conn.exec_driver_sql("UPDATE scope SET published_change = last_change")


def test_collection_in_two_steps(place: tuple[Catalog, int]) -> None:
    """Goal: a yanked file's row, then its blob's row, then (by the caller) its bytes. Method: follow one file down."""
    catalog, repository_id = place
    kept = put(catalog, a_deb(repository_id, "kept"), "kept-key")
    gone = put(catalog, a_deb(repository_id, "gone"), "gone-key")
    catalog.submit(lambda conn: files.yank(conn, [gone.file_id], NOW))
    assert catalog.submit(lambda conn: blobs.purge_yanked(conn, LATER, NOW)) == 0, "a publication may still read it"
    published(catalog)
    with catalog.read() as conn:
        dry = blobs.collectable(conn, LATER, LATER)
    assert (dry.files, dry.blobs, dry.size_bytes) == (1, 1, len("gone 1.0"))
    assert catalog.submit(lambda conn: blobs.collect(conn, LATER)) == (), "the file can still come back"
    assert catalog.submit(lambda conn: blobs.purge_yanked(conn, LATER, NOW)) == 1
    assert [copy.key for copy in catalog.submit(lambda conn: blobs.collect(conn, LATER))] == ["gone-key"]
    with catalog.read() as conn:
        assert [row.id for row in files.list_files(conn, repository_id, files.Filters(yanked=True))] == [kept.file_id]
        assert blobs.sums(conn) == (blobs.StoreSum("folder", 1, len("kept 1.0")),)
    assert catalog.check_integrity() == []


def test_shared_and_young_bytes_stay(place: tuple[Catalog, int]) -> None:
    """Goal: bytes that another file has, and bytes of a change in flight, stay. Method: yank one of two names of the
    same bytes.
    """
    catalog, repository_id = place
    one = put(catalog, a_deb(repository_id, "one", content="same"))
    put(catalog, a_deb(repository_id, "two", content="same"))
    catalog.submit(lambda conn: files.yank(conn, [one.file_id], NOW))
    published(catalog)
    with catalog.read() as conn:
        assert blobs.collectable(conn, LATER, LATER) == blobs.Collectable(1, 0, 0)
    catalog.submit(lambda conn: blobs.purge_yanked(conn, LATER, NOW))
    assert catalog.submit(lambda conn: blobs.collect(conn, LATER)) == ()
    lone = put(catalog, a_deb(repository_id, "lone"))
    catalog.submit(lambda conn: files.yank(conn, [lone.file_id], NOW))
    published(catalog)
    catalog.submit(lambda conn: blobs.purge_yanked(conn, LATER, NOW))
    assert catalog.submit(lambda conn: blobs.collect(conn, NOW)) == (), "not older than the border"


def test_bytes_of_an_index_stay(place: tuple[Catalog, int]) -> None:
    """Goal: index segments are bytes too. Method: a segment that refers to a blob without a file."""
    catalog, repository_id = place
    outcome = put(catalog, a_deb(repository_id, "a"))
    with catalog.write() as conn:
        conn.exec_driver_sql("INSERT INTO blob (sha256, size_bytes, created_at) VALUES ('ff', 5, 1)")
        conn.exec_driver_sql(
            "INSERT INTO copy (key, blob_id, store, size_bytes, created_at) "
            "SELECT 'segment-key', id, 'folder', 5, 1 FROM blob WHERE sha256 = 'ff'"
        )
        conn.exec_driver_sql(
            "INSERT INTO segment "
            "(scope_id, blob_id, entries, plain_size_bytes, gz_size_bytes, plain_sha256, gz_sha256) "
            f"SELECT {outcome.tickets[0].scope_id}, id, 1, 9, 5, 'ee', 'ff' FROM blob WHERE sha256 = 'ff'"
        )
    assert catalog.submit(lambda conn: blobs.collect(conn, LATER)) == ()
    with catalog.write() as conn:
        conn.exec_driver_sql("DELETE FROM segment")
    assert [copy.key for copy in catalog.submit(lambda conn: blobs.collect(conn, LATER))] == ["segment-key"]


def test_upload_of_bytes_that_were_collected(place: tuple[Catalog, int]) -> None:
    """Goal: the second upload of collected bytes has its own copy. Method: collect, then commit the same bytes with a
    new key.
    """
    catalog, repository_id = place
    old = put(catalog, a_deb(repository_id, "a"), "old-key")
    catalog.submit(lambda conn: files.yank(conn, [old.file_id], NOW))
    published(catalog)
    catalog.submit(lambda conn: blobs.purge_yanked(conn, LATER, NOW))
    catalog.submit(lambda conn: blobs.collect(conn, LATER))
    again = put(catalog, a_deb(repository_id, "a"), "new-key")
    assert again.copy_used
    with catalog.read() as conn:
        found = files.by_ids(conn, [again.file_id])
    assert found[0].copy_key == "new-key"


def test_lost_copies_are_replaced_by_the_next_upload(place: tuple[Catalog, int]) -> None:
    """Goal: a file whose bytes were lost is whole after the same upload. Method: drop its copy, upload the same
    again.
    """
    catalog, repository_id = place
    put(catalog, a_deb(repository_id, "a"), "lost-key")
    assert catalog.submit(lambda conn: blobs.drop_copies(conn, ["lost-key"])) == 1
    again = put(catalog, a_deb(repository_id, "a"), "new-key")
    assert (again.created, again.copy_used) == (False, True)
    with catalog.read() as conn:
        assert files.by_ids(conn, [again.file_id])[0].copy_key == "new-key"


def test_sweep_and_digests(place: tuple[Catalog, int]) -> None:
    """Goal: what should lie in a range of folders, what all of it takes in blocks, and filling in digests. Method: five
    files, digests of one."""
    catalog, repository_id = place
    for number in range(5):
        put(catalog, a_deb(repository_id, f"p{number}"), f"key-{number}")
    with catalog.read() as conn:
        assert blobs.known_keys(conn, "key-1", "key-3") == {"key-1", "key-2"}
        (total,) = blobs.sums(conn, 4096)
        assert (total.copies, total.size_bytes) == (5, 5 * 4096)
    with catalog.read() as conn:
        assert blobs.which_known(conn, ["key-1", "orphan"]) == {"key-1"}
        lacking = blobs.lacking_digests(conn)
    assert len(lacking) == 5
    sha256 = lacking[0].sha256
    assert catalog.submit(lambda conn: blobs.set_digests(conn, Digests(sha256, sha1="s1", sha512="s5")))
    assert not catalog.submit(lambda conn: blobs.set_digests(conn, Digests("0" * 64, sha1="s1")))
    with catalog.read() as conn:
        assert len(blobs.lacking_digests(conn)) == 4
        row = files.find_by_sha256(conn, repository_id, sha256)[0]
        assert (row.sha1, row.sha512, row.md5) == ("s1", "s5", a_deb(repository_id, "p0").digests.md5)
        assert blobs.find(conn, sha256) == lacking[0]
