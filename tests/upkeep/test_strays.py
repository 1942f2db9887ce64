"""The walk and the book by themselves: an error costs no descriptor, and the figures of two threads never meet."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from entrepot.disk import faults, fs
from entrepot.disk.account import Amount
from entrepot.observe.clock import FixedClock
from entrepot.upkeep.leakbook import LeakBook
from entrepot.upkeep.strays import Found, Kind, Stray, Walk, remove_tree
from tests.disk.mounts import open_descriptors


@pytest.fixture(autouse=True)
def _no_hook_left() -> Iterator[None]:
    yield
    fs.set_hook(None)


def test_a_walk_that_fails_leaves_nothing_open(tmp_path: Path) -> None:
    """Goal: a failing volume does not eat the node's descriptors, pass after pass. Method: every call of a walk, and
    of a removal, fails once; a folder with a tree two folders deep.
    """
    (tmp_path / "strange" / "below").mkdir(parents=True)
    (tmp_path / "strange" / "below" / "file").write_bytes(b"x")
    walk = Walk(tmp_path, frozenset(), frozenset())
    top = fs.open_dir(tmp_path)
    before = open_descriptors()
    for work in (walk.top, lambda: remove_tree("strange", top)):
        nth = 0
        while True:
            nth += 1
            rule = faults.Rule("*", nth, "EIO")
            fs.set_hook(rule)
            try:
                work()
            except OSError:
                assert rule.reached
            fs.set_hook(None)
            assert open_descriptors() == before, f"call {nth}: {rule.hit}"
            if not rule.reached:
                break
        assert nth > 5
    assert list(tmp_path.iterdir()) == []
    fs.close(top)


def test_the_book_is_read_while_it_is_written(tmp_path: Path) -> None:
    """Goal: no reader sees a part of the walk half-way. Method: the lock is held while a thread enters or asks: it
    waits, and is done once the lock is free.
    """
    book = LeakBook(FixedClock())
    found = Found("blobs")
    found.stray(Stray(Kind.FOREIGN, "core", Amount(4096, 1)))
    for work in (lambda: book.enter("top", found), book.amount, book.counts, book.documents):
        thread = threading.Thread(target=work)
        with book._lock:
            thread.start()
            thread.join(0.1)
            assert thread.is_alive()
        thread.join(20)
        assert not thread.is_alive()
    assert book.amount("blobs") == Amount(4096, 1)
    assert book.counts() == {Kind.FOREIGN: 1}
