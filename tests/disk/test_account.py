"""The account of a volume: what is named, what is unexplained, what belongs to others."""

import pytest

from entrepot.disk.account import LOOKS, TOLERANCE_BYTES_MIN, TOLERANCE_INODES, Accountant, Amount, Look

MIB = 1 << 20
GIB = 1 << 30
BASE = Amount(300 * MIB, 20)
KNOWN = Amount(2 * GIB, 5000)


def look(more: Amount = Amount(), *, named: Amount = Amount(), known: Amount = KNOWN, still: bool = True) -> Look:  # noqa: B008
    """A volume of 100 GiB with the file system's own share, ``known``, ``named`` and ``more`` on it."""
    return Look(100 * GIB, BASE + known + named + more, known, named, still)


def after(accountant: Accountant, each: Look, times: int = LOOKS) -> tuple[Amount, Amount]:
    """(unaccounted, unexplained) after the same look several times."""
    for _ in range(times):
        balance = accountant.balance(each)
    return balance.unaccounted, balance.unexplained


def test_nothing_is_unaccounted_on_a_quiet_volume() -> None:
    """Goal: the file system's own share is no leak. Method: the same look again and again, and with more known."""
    accountant = Accountant(dedicated=True)
    assert after(accountant, look()) == (Amount(), Amount())
    assert after(accountant, look(known=KNOWN + Amount(GIB, 1000))) == (Amount(), Amount())


def test_what_is_named_counts_at_once() -> None:
    """Goal: a leak with a path is in the figures with the look that found it, to the byte. Method: one look, on both
    kinds of volume."""
    for dedicated in (True, False):
        unaccounted, unexplained = after(Accountant(dedicated=dedicated), look(named=Amount(4096, 1)), times=1)
        assert (unaccounted, unexplained) == (Amount(4096, 1), Amount())


def test_unexplained_bytes_of_a_volume_of_our_own() -> None:
    """Goal: bytes that nothing explains are counted once they stay, and not any more when they go. Method: 500 MiB
    appear, then vanish."""
    accountant = Accountant(dedicated=True)
    after(accountant, look())
    leak = Amount(500 * MIB, 0)
    assert accountant.balance(look(leak)).unexplained == Amount(), "one look may be a writer that was caught moving"
    assert after(accountant, look(leak)) == (leak, leak)
    assert after(accountant, look()) == (Amount(), Amount())


@pytest.mark.parametrize(
    "more", [Amount(TOLERANCE_BYTES_MIN, TOLERANCE_INODES), Amount(100 * GIB // 500, 0)], ids=["small", "a share"]
)
def test_what_is_within_the_tolerance(more: Amount) -> None:
    """Goal: a file system that needs a little more for itself raises no alarm. Method: growth up to the bound."""
    accountant = Accountant(dedicated=True)
    after(accountant, look())
    assert after(accountant, look(more)) == (Amount(), Amount())


def test_inodes_have_an_account_of_their_own() -> None:
    """Goal: a thousand empty files are noticed. Method: inodes without bytes."""
    accountant = Accountant(dedicated=True)
    after(accountant, look())
    assert after(accountant, look(Amount(0, 1000)))[1] == Amount(0, 1000)


def test_looks_while_something_is_written() -> None:
    """Goal: sums that do not fit together make neither a baseline nor a leak. Method: looks that are not still, wild
    ones among them."""
    accountant = Accountant(dedicated=True)
    assert after(accountant, look(Amount(-GIB, 0), still=False)) == (Amount(), Amount())
    after(accountant, look())
    assert after(accountant, look(Amount(GIB, 0), still=False)) == (Amount(), Amount())
    assert after(accountant, look()) == (Amount(), Amount())


def test_others_on_a_shared_volume() -> None:
    """Goal: what others write is named as theirs and never ours. Method: 50 GiB of theirs, with and without a leak."""
    accountant = Accountant(dedicated=False)
    theirs = Amount(50 * GIB, 100_000)
    for _ in range(2 * LOOKS):
        balance = accountant.balance(look(theirs, named=Amount(MIB, 1)))
        assert balance.unaccounted == Amount(MIB, 1)
        assert balance.others_bytes == 50 * GIB + BASE.size_bytes
