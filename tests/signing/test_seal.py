"""Sealed keys."""

import pytest

from entrepot.signing.seal import SECRET_BYTES, SealBrokenError, Sealer, new_secret


def test_sealed_data_comes_back_and_is_not_readable() -> None:
    """Goal: seal, then open, gives the same bytes; the sealed form hides them; two seals of one value differ."""
    sealer = Sealer(new_secret())
    data = b"-----BEGIN PGP PRIVATE KEY BLOCK-----" * 40
    sealed = sealer.seal(data, "fingerprint")
    assert sealer.open(sealed, "fingerprint") == data
    assert b"PRIVATE KEY" not in sealed
    assert sealer.seal(data, "fingerprint") != sealed


def test_any_changed_byte_is_noticed() -> None:
    """Goal: nothing in a sealed value can be changed. Method: flip each byte in turn, cut the end, add one."""
    sealer = Sealer(new_secret())
    sealed = sealer.seal(b"secret")
    changed = [sealed[:at] + bytes([sealed[at] ^ 1]) + sealed[at + 1 :] for at in range(len(sealed))]
    for bad in [*changed, sealed[:-1], sealed + b"x", b""]:
        with pytest.raises(SealBrokenError):
            sealer.open(bad)


def test_other_secret_and_other_context_are_refused() -> None:
    """Goal: a value moved to another row, or opened with another data folder's secret, is refused."""
    sealer = Sealer(new_secret())
    sealed = sealer.seal(b"secret", "row 1")
    with pytest.raises(SealBrokenError):
        sealer.open(sealed, "row 2")
    with pytest.raises(SealBrokenError):
        Sealer(new_secret()).open(sealed, "row 1")


def test_short_secret_is_refused() -> None:
    """Goal: an empty or truncated secret file never seals anything."""
    with pytest.raises(ValueError, match="fewer"):
        Sealer(b"x" * (SECRET_BYTES - 1))
