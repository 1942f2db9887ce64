"""Keys that real gpg made, brought along: good ones sign, and each bad one is refused with its reason."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from entrepot.model.errors import Refusal
from entrepot.signing.bring import load, load_public
from entrepot.signing.keys import KEY_BYTES_MAX, KeyMaterial
from entrepot.signing.signer import Signer
from tests.support.gpg import GpgHome

NOW_S = int(time.time())
DAY_S = 86_400
PASSPHRASE = "pässword with blanks"


class Keys:
    """A gpg home with a key for each case; ``secret(NAME)`` is what ``gpg --export-secret-keys`` gives."""

    def __init__(self, home: GpgHome) -> None:
        self.home = home
        self._made: set[str] = set()

    def fingerprint(self, name: str) -> str:
        """Of the primary key."""
        listing = self.home.gpg("--with-colons", "--list-keys", f"<{name}@example.org>").stdout
        return next(line.split(":")[9] for line in listing.splitlines() if line.startswith("fpr:"))

    def make(
        self, name: str, algorithm: str = "ed25519", usage: str = "sign", end: str = "never", *more: str, sub: str = ""
    ) -> str:
        """Make a key, and a subkey ``ALGORITHM USAGE``, unless they are there; its fingerprint."""
        if name not in self._made:
            user = f"{name} <{name}@example.org>"
            self.home.gpg(*more, "--quick-generate-key", user, algorithm, usage, end)
            if sub:
                self.home.gpg(*more, "--quick-add-key", self.fingerprint(name), *sub.split())
            self._made.add(name)
        return self.fingerprint(name)

    def secret(self, name: str, *more: str, how: str = "--export-secret-keys", armor: bool = True) -> bytes:
        """The secret key as gpg exports it."""
        out = self.home.path / "exported"
        style = ["--armor"] if armor else []
        self.home.gpg(*more, *style, "--output", out, how, f"<{name}@example.org>")
        return out.read_bytes()


@pytest.fixture(scope="module")
def made() -> Iterator[Keys]:
    """One gpg home for all cases."""
    with GpgHome() as home:
        yield Keys(home)


def verified(made: Keys, key: KeyMaterial, folder: Path) -> bool:
    """Whether gpg, which knows the key, accepts a signature that we make with it."""
    (folder / "sig").write_bytes(Signer([key.secret]).detached(b"data\n"))
    return made.home.gpg("--verify", folder / "sig", "-", stdin=b"data\n", check=False).ok


@pytest.mark.parametrize("armor", [True, False])
def test_rsa_key(made: Keys, tmp_path: Path, armor: bool) -> None:
    """Goal: aptly's and reprepro's usual key, armored or binary. Method: load, look, sign, verify in gpg."""
    fingerprint = made.make("rsa", "rsa2048")
    key = load(made.secret("rsa", armor=armor), None, NOW_S)
    assert (key.fingerprint, key.algorithm, key.user_id) == (fingerprint, "rsa2048", "rsa <rsa@example.org>")
    assert (key.expires_at, key.passphrase, key.imported) == (None, None, True)
    assert verified(made, key, tmp_path)


def test_signing_subkey_of_a_primary_that_certifies(made: Keys, tmp_path: Path) -> None:
    """Goal: signatures come from the subkey, whose end is the key's end for us. Method: a subkey of 30 days."""
    made.make("sub", "ed25519", "cert", sub="ed25519 sign 30d")
    key = load(made.secret("sub"), None, NOW_S)
    assert key.fingerprint == made.fingerprint("sub")
    assert key.expires_at is not None
    assert abs(key.expires_at - int(time.time()) - 30 * DAY_S) < 600
    assert verified(made, key, tmp_path)


@pytest.mark.parametrize("usage", ["cert", "sign"])
def test_primary_key_left_at_home(made: Keys, tmp_path: Path, usage: str) -> None:
    """Goal: ``--export-secret-subkeys`` is enough, even where the absent primary key could sign. Method: both kinds."""
    name = f"home{usage}"
    made.make(name, "rsa2048", f"cert,{usage}" if usage == "sign" else usage, sub="rsa2048 sign never")
    key = load(made.secret(name, how="--export-secret-subkeys"), None, NOW_S)
    assert key.fingerprint == made.fingerprint(name)
    assert verified(made, key, tmp_path)


def test_passphrase(made: Keys, tmp_path: Path) -> None:
    """Goal: Nexus' protected key signs with its passphrase; without, and with a wrong one, the refusal says which."""
    made.make("shut", "ed25519", "sign", "never", "--passphrase", PASSPHRASE)
    exported = made.secret("shut", "--passphrase", PASSPHRASE)
    key = load(exported, PASSPHRASE, NOW_S)
    assert key.passphrase == PASSPHRASE
    assert PASSPHRASE not in repr(key)
    assert verified(made, key, tmp_path)
    for given, reason in (
        (None, "passphrase_missing"),
        ("wrong", "passphrase_wrong"),
        ("x" * 2000, "passphrase_wrong"),
    ):
        with pytest.raises(Refusal) as refused:
            load(exported, given, NOW_S)
        assert refused.value.numbers["reason"] == reason


def test_a_needless_passphrase_is_not_kept(made: Keys) -> None:
    """Goal: what opens nothing is not stored."""
    made.make("rsa", "rsa2048")
    assert load(made.secret("rsa"), "whatever", NOW_S).passphrase is None


BAD = {
    "expired": ("rsa2048", "sign", "30d", ("--faked-system-time", "20200101T000000"), ""),
    "sha1": ("rsa2048", "sign", "never", ("--cert-digest-algo", "SHA1"), ""),
    "weak_rsa": ("rsa1024", "sign", "never", (), ""),
    "weak_algorithm": ("dsa2048", "sign", "never", (), ""),
    "cannot_sign": ("rsa2048", "cert", "never", (), "rsa2048 encr never"),
}


@pytest.mark.parametrize("reason", BAD)
def test_unusable_keys_are_refused_with_the_reason(made: Keys, reason: str) -> None:
    """Goal: a key that clients would refuse is refused at once, for the right reason, in one line."""
    algorithm, usage, end, more, sub = BAD[reason]
    name = reason.replace("_", "")
    made.make(name, algorithm, usage, end, *more, sub=sub)
    with pytest.raises(Refusal) as refused:
        load(made.secret(name), None, NOW_S)
    assert (refused.value.code, refused.value.numbers["reason"]) == ("key_unusable", reason)
    assert "backtrace" not in str(refused.value.numbers)


def test_sha1_bound_long_ago(made: Keys) -> None:
    """Goal: the age of a SHA-1 binding does not excuse it; apt's sqv does not look at it. A newer binding does."""
    when = ("--faked-system-time", "20180101T000000")
    fingerprint = made.make("old", "rsa2048", "sign", "never", *when, "--cert-digest-algo", "SHA1")
    with pytest.raises(Refusal) as refused:
        load(made.secret("old"), None, NOW_S)
    assert refused.value.numbers["reason"] == "sha1"
    made.home.gpg("--cert-digest-algo", "SHA512", "--quick-set-expire", fingerprint, "0")  # what the refusal advises
    assert load(made.secret("old"), None, NOW_S).fingerprint == fingerprint


def test_expired_signing_subkey(made: Keys) -> None:
    """Goal: a primary key without end does not excuse a signing subkey that has ended."""
    then = ("--faked-system-time", "20200101T000000")
    made.make("subend", "ed25519", "cert", "never", *then, sub="ed25519 sign 30d")
    with pytest.raises(Refusal) as refused:
        load(made.secret("subend"), None, NOW_S)
    assert refused.value.numbers["reason"] == "expired"


def test_revoked_key(made: Keys) -> None:
    """Goal: a revoked key is refused, secret or public. Method: import the revocation that gpg wrote beside it."""
    fingerprint = made.make("gone", "ed25519")
    revocation = (made.home.path / "openpgp-revocs.d" / f"{fingerprint}.rev").read_text().replace("\n:-----", "\n-----")
    made.home.gpg("--import", stdin=revocation.encode())
    public = made.secret("gone", how="--export")
    for call in (lambda: load(made.secret("gone"), None, NOW_S), lambda: load_public(public)):
        with pytest.raises(Refusal) as refused:
            call()
        assert refused.value.numbers["reason"] == "revoked"


def test_what_is_no_key_of_ours(made: Keys) -> None:
    """Goal: public keys, keyrings, keys without their secret, rubbish and huge files have reasons of their own."""
    made.make("rsa", "rsa2048")
    made.make("alone", "ed25519", "sign", "never", sub="cv25519 encr never")
    one, other = made.secret("rsa"), made.secret("alone")
    named = made.secret("rsa", armor=False)
    cases = {
        # Seen to take half a minute without the bound.
        "too_many_user_ids": named + b"".join(b"\xcd\x05u%04d" % number for number in range(1000)),
        "no_secret": made.secret("rsa", how="--export"),
        "several_keys": one + other,
        "not_openpgp": b"rubbish",
        "secret_elsewhere": made.secret("alone", how="--export-secret-subkeys"),
    }
    for reason, data in cases.items():
        with pytest.raises(Refusal) as refused:
            load(data, None, NOW_S)
        assert refused.value.numbers["reason"] == reason, refused.value.detail
    private = named + b"\xfc\x01x"  # a packet that only its maker understands
    with pytest.raises(Refusal) as refused:
        load(private, None, NOW_S)
    assert refused.value.numbers["reason"] == "not_openpgp"
    binary = named + made.secret("alone", armor=False)
    for data in (binary, b"", one[: len(one) // 2], b"x" * (KEY_BYTES_MAX + 1), Signer([one]).detached(b"x")):
        with pytest.raises(Refusal):
            load(data, None, NOW_S)


def test_public_key_of_signed_packages(made: Keys) -> None:
    """Goal: only the public part of what is given is kept. Method: give the public key, and the secret one."""
    fingerprint = made.make("rsa", "rsa2048")
    for data in (made.secret("rsa", how="--export"), made.secret("rsa")):
        key = load_public(data)
        assert key.fingerprint == fingerprint
        assert key.public_armored.startswith("-----BEGIN PGP PUBLIC KEY BLOCK-----")
        with pytest.raises(Refusal) as refused:
            load(key.public_armored.encode(), None, NOW_S)
        assert refused.value.numbers["reason"] == "no_secret"
