"""The tool that finds forgotten locks."""

import threading

import pytest

from tests.support.guarded import guarded


class Account:
    """A sum with a lock, which one of its methods forgets."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.changed = threading.Condition()
        self.total = 0
        self.history: list[int] = []

    def add(self, more: int) -> None:
        """Correct."""
        with self.lock:
            self.total += more
        with self.changed:
            self.history.append(more)

    def forget(self) -> int:
        """Not correct."""
        return self.total

    def glance(self) -> bool:
        """Looks without the lock, and says so."""
        return any(each > self.total for each in [1])


def test_a_forgotten_lock_is_found() -> None:
    """Goal: the tests that stand on it can fail. Method: with the lock, without it, by permission, by another thread
    while the lock is held elsewhere, and for two locks of one object.
    """
    account = Account()
    with guarded(account, "lock", {"total"}, free={"glance"}), guarded(account, "changed", {"history"}) as found:
        account.add(1)
        assert account.glance() is False
        assert found == []
    assert type(account) is Account
    with (
        pytest.raises(AssertionError, match=r"Account\.forget uses total without lock"),
        guarded(account, "lock", {"total"}),
    ):
        account.forget()
    with pytest.raises(AssertionError, match="uses history without changed"), guarded(account, "changed", {"history"}):
        account.history.append(2)
    with pytest.raises(AssertionError, match="uses total"), guarded(account, "lock", {"total"}), account.lock:
        forget_elsewhere(account)


def forget_elsewhere(account: Account) -> None:
    """The same from a thread that does not hold the lock."""
    thread = threading.Thread(target=account.forget)
    thread.start()
    thread.join()
