"""What every blob store must do, whatever it is made of. A store's test module subclasses this and offers the fixture
`store`."""

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

from entrepot.model.errors import Refusal
from entrepot.storage.protocol import BlobStore, CopyInfo

MIB = 1 << 20
UNKNOWN = "f" * 32


def put(store: BlobStore, data: bytes, *, known: bool = True, chunk_bytes: int = MIB) -> str:
    """Stage, write and commit; the copy's key."""
    with store.stage(len(data) if known else None) as staged:
        for at in range(0, len(data), chunk_bytes):
            staged.write(data[at : at + chunk_bytes])
        return staged.commit(hashlib.sha256(data).hexdigest())


def get(store: BlobStore, key: str) -> bytes:
    """The whole copy."""
    with store.open(key) as copy:
        return copy.read_at(0, copy.size_bytes)


def everything(store: BlobStore, limit: int = 1000) -> list[CopyInfo]:
    """All copies, page by page."""
    found: list[CopyInfo] = []
    while page := store.iterate(found[-1].key if found else None, limit):
        found += page
    return found


class BlobStoreContract:
    """The contract. Nothing here knows how a store keeps its bytes."""

    @pytest.mark.parametrize("known", [True, False])
    @pytest.mark.parametrize("size", [0, 1, 4096, MIB + 1, 9 * MIB + 17])
    def test_bytes_come_back(self, store: BlobStore, size: int, known: bool) -> None:
        """Goal: what was committed is read back to the byte, with its size. Method: sizes around every step, declared
        or not."""
        data = os.urandom(size)
        key = put(store, data, known=known, chunk_bytes=700_001)
        assert get(store, key) == data
        info = store.stat(key)
        assert info is not None
        assert (info.key, info.size_bytes) == (key, size)
        assert info.modified_s > 1_600_000_000

    def test_ranges(self, store: BlobStore) -> None:
        """Goal: ranges are exact, and short only at the end. Method: inside, across the end, behind it."""
        with store.open(put(store, bytes(range(200)))) as copy:
            assert copy.read_at(10, 5) == bytes(range(10, 15))
            assert copy.read_at(195, 50) == bytes(range(195, 200))
            assert copy.read_at(200, 1) == b""

    def test_staged_bytes_can_be_read_back(self, store: BlobStore) -> None:
        """Goal: inspection reads what was written and nothing that was only allocated. Method: a size that was not
        declared."""
        with store.stage(None) as staged:
            staged.write(b"head")
            staged.write(b"tail")
            assert staged.size_bytes == 8
            assert staged.read_at(2, 100) == b"adtail"
            assert staged.read_at(8, 10) == b""

    def test_nothing_is_there_before_commit(self, store: BlobStore) -> None:
        """Goal: staged bytes are no copy, and leave none behind. Method: leave the context with and without an
        error."""
        with store.stage(4) as staged:
            staged.write(b"data")
            assert everything(store) == []
        staged = store.stage(4)
        with suppress(KeyError), staged:
            staged.write(b"data")
            raise KeyError
        staged.abort()
        assert everything(store) == []

    def test_the_same_bytes_make_two_copies(self, store: BlobStore) -> None:
        """Goal: a key belongs to one copy, so deleting it takes nothing from another. Method: the same bytes twice."""
        first, second = put(store, b"same"), put(store, b"same")
        assert first != second
        assert store.delete(first)
        assert get(store, second) == b"same"

    def test_deleting(self, store: BlobStore) -> None:
        """Goal: delete is final and may be repeated; readers that were there go on. Method: delete under an open
        reader."""
        key = put(store, b"bytes")
        with store.open(key) as copy:
            assert store.delete(key)
            assert not store.delete(key)
            assert copy.read_at(0, 5) == b"bytes"
        assert store.stat(key) is None
        with pytest.raises(Refusal) as caught:
            store.open(key)
        assert caught.value.code == "not_found"

    @pytest.mark.parametrize(
        "key", ["", "..", "../../etc/passwd", UNKNOWN, UNKNOWN.upper(), UNKNOWN + "\n", "ff/" + UNKNOWN]
    )
    def test_keys_that_are_none(self, store: BlobStore, key: str) -> None:
        """Goal: no string reaches out of the store. Method: paths, other cases, a line end, a key nobody has."""
        with pytest.raises(Refusal) as caught:
            store.open(key)
        assert caught.value.code == "not_found"

    def test_pages(self, store: BlobStore) -> None:
        """Goal: every page size lists each copy once, in the order of keys. Method: 23 copies, pages of 1 to 30."""
        keys = sorted(put(store, b"x" * n) for n in range(23))
        for limit in (1, 5, 23, 30):
            assert [each.key for each in everything(store, limit)] == keys
        for limit in (0, 10_001):
            with pytest.raises(ValueError, match="limit"):
                store.iterate(None, limit)

    def test_after_commit_and_abort(self, store: BlobStore) -> None:
        """Goal: a finished upload takes no more bytes, and abort never takes a copy back. Method: use it after each
        end."""
        with store.stage(3) as staged:
            staged.write(b"abc")
            key = staged.commit(hashlib.sha256(b"abc").hexdigest())
            staged.abort()
            staged.abort()
        assert get(store, key) == b"abc"
        for use in (lambda: staged.write(b"x"), lambda: staged.commit("0" * 64), lambda: staged.read_at(0, 1)):
            with pytest.raises(RuntimeError):
                use()

    def test_a_body_longer_than_declared(self, store: BlobStore) -> None:
        """Goal: bytes nobody made room for are refused. Method: one byte more than declared."""
        with store.stage(3) as staged, pytest.raises(Refusal) as caught:
            staged.write(b"abcd")
        assert caught.value.code == "length_mismatch"
        assert everything(store) == []

    def test_a_body_shorter_than_declared(self, store: BlobStore) -> None:
        """Goal: a copy is as long as what was written, not as what was allocated. Method: 5 of 100,000 bytes."""
        with store.stage(100_000) as staged:
            staged.write(b"short")
            key = staged.commit(hashlib.sha256(b"short").hexdigest())
        assert get(store, key) == b"short"

    def test_what_is_no_digest(self, store: BlobStore) -> None:
        """Goal: a commit names its bytes. Method: a wrong string; the bytes can still be committed."""
        with store.stage(1) as staged:
            staged.write(b"x")
            with pytest.raises(ValueError, match="sha256"):
                staged.commit("not a digest")
            staged.commit("0" * 64)

    def test_many_at_once(self, store: BlobStore) -> None:
        """Goal: threads do not disturb one another. Method: 100 copies by 8 threads, all read back."""

        def one(number: int) -> tuple[str, bytes]:
            data = os.urandom(1000 + number)
            return put(store, data), data

        with ThreadPoolExecutor(8) as pool:
            done = dict(pool.map(one, range(100)))
        assert len(done) == 100
        assert {key: get(store, key) for key in done} == done
        assert {each.key for each in everything(store)} == set(done)

    def test_reaping_leaves_live_uploads_alone(self, store: BlobStore) -> None:
        """Goal: the reaper takes nothing from the living. Method: reap in the middle of an upload and after a
        commit."""
        kept = put(store, b"kept")
        with store.stage(8) as staged:
            staged.write(b"half")
            assert store.reap() == 0
            staged.write(b"full")
            key = staged.commit(hashlib.sha256(b"halffull").hexdigest())
        assert store.reap() == 0
        assert (get(store, key), get(store, kept)) == (b"halffull", b"kept")

    def test_vouching_changes_no_bytes(self, store: BlobStore) -> None:
        """Goal: a copy stays readable and deletable whatever is said about its row, and a key that is gone is no error.
        Method: confirm, condemn, both again after the delete."""
        key = put(store, b"bytes")
        for _ in range(2):
            store.confirm([key])
            store.condemn([key])
        store.confirm([key])
        assert get(store, key) == b"bytes"
        assert store.delete(key)
        store.confirm([key])
        store.condemn([key])
        assert everything(store) == []
