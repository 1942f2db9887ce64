"""Making keys and bringing them along."""

from pathlib import Path

import pytest

from entrepot.model.errors import Refusal
from entrepot.signing.keys import ALGORITHMS, SecretKey
from entrepot.signing.make import generate
from entrepot.signing.signer import Signer
from tests.support.gpg import GpgHome
from tests.support.process import run

MADE_S = 1_750_000_000


def test_generated_key_is_version_4_and_never_expires() -> None:
    """Goal: a key that gpgv in the field can read. Method: let gpg list it; algorithm, expiry, what it may do."""
    key = generate("ed25519", "example.org/user/repo", MADE_S)
    assert key.algorithm == "ed25519"
    assert len(key.fingerprint) == 40
    assert key.fingerprint == key.fingerprint.upper()
    with GpgHome() as home:
        home.gpg("--import", stdin=key.public_armored.encode())
        listing = home.gpg("--with-colons", "--list-keys", key.fingerprint).stdout
    public = next(line.split(":") for line in listing.splitlines() if line.startswith("pub:"))
    assert public[3] == "22"
    assert public[6] == ""
    assert set("sc") <= set(public[11].lower())


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_rpm_gpg_and_sqv_take_every_kind_of_key(tmp_path: Path, algorithm: str) -> None:
    """Goal: rpm 4.18 and older, whose own parser refuses what it thinks critical, import the key; what it signs is good
    for gpgv and sqv; its secret part is one that gpg can take elsewhere. Method: the real ones. Seen to fail for keys
    that the OpenPGP library makes.
    """
    key = generate(algorithm, "rpm <rpm@example.org>", MADE_S)
    public, base = tmp_path / "key.asc", tmp_path / "db"
    public.write_text(key.public_armored)
    base.mkdir()
    run(["rpmkeys", "--dbpath", base, "--import", public])
    listed = run(["rpm", "--dbpath", base, "-q", "gpg-pubkey", "--queryformat", "%{VERSION}"]).stdout
    assert listed == key.fingerprint[-8:].lower()
    (tmp_path / "data").write_bytes(b"data\n")
    (tmp_path / "sig").write_bytes(Signer([key.secret]).detached(b"data\n"))
    run(["sqv", "--keyring", public, tmp_path / "sig", tmp_path / "data"])
    with GpgHome() as home:
        home.gpg("--import", stdin=key.secret_armored.encode())
        assert home.gpg("--verify", tmp_path / "sig", tmp_path / "data").ok
        signed = home.gpg("-u", key.fingerprint, "--armor", "--detach-sign", stdin=b"data\n").stdout
        (tmp_path / "other").write_text(signed)
    run(["sqv", "--keyring", public, tmp_path / "other", tmp_path / "data"])


def test_repr_has_no_secret() -> None:
    """Goal: a key in a traceback or a log does not give itself away."""
    key = generate("ed25519", "u", MADE_S)
    assert "PRIVATE" not in repr(key)
    assert key.fingerprint in repr(key)


@pytest.mark.parametrize(
    ("algorithm", "user_id"), [("dsa", "u"), ("ed25519", ""), ("ed25519", "a\nb"), ("ed25519", "x" * 256)]
)
def test_bad_request_for_a_key(algorithm: str, user_id: str) -> None:
    """Goal: an unknown algorithm and a user id that breaks lines are refused with a stable code."""
    with pytest.raises(Refusal) as refused:
        generate(algorithm, user_id, MADE_S)
    assert refused.value.code == "field_invalid"


def test_a_sealed_key_keeps_its_passphrase() -> None:
    """Goal: what is sealed comes back whole, with and without a passphrase, quotes included."""
    for key in (SecretKey("-----BEGIN x"), SecretKey("-----BEGIN x", 'a "quoted" pässphrase\n')):
        assert SecretKey.unpacked(key.packed()) == key
        assert "BEGIN" not in repr(key)
