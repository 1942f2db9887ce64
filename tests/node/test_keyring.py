"""The keyring: keys that were brought along in the next process, keys that end, and what is measured of them."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from entrepot.catalog import audit, repositories, tokens
from entrepot.catalog.engine import Catalog
from entrepot.catalog.repositories import RepositoryRow
from entrepot.children.pool import ChildLimits, ChildPool
from entrepot.formats.registry import formats
from entrepot.model.errors import Refusal
from entrepot.model.nouns import RepositoryName
from entrepot.node.keyring import DAY_S, Keyring
from entrepot.observe import metrics
from entrepot.observe.clock import FixedClock, SystemClock
from entrepot.signing.keys import KeyMaterial, PublicKey
from entrepot.signing.seal import Sealer
from entrepot.signing.verify import signed_by
from tests.catalog.helpers import catalog_with_repository
from tests.support.gpg import GpgHome

ACTOR = audit.Actor("test")
PASSPHRASE = "pässword"


@dataclass
class Bed:
    """A catalog with a repository, and keyrings on it, each as a process of its own would have it."""

    catalog: Catalog
    repository_id: int
    children: ChildPool
    clock: FixedClock

    def keyring(self) -> Keyring:
        """A new one."""
        sealer = Sealer(b"s" * 32)
        return Keyring(
            self.catalog, sealer, self.children, self.clock, formats(), algorithm="ed25519", user_id="example.org"
        )

    def other(self) -> RepositoryRow:
        """Another repository."""
        name, now_s = RepositoryName("acme", "other"), self.clock.now_s()

        def work(conn: object) -> RepositoryRow:
            tokens.ensure_owner(conn, "acme", now_s)  # type: ignore[arg-type]
            return repositories.create(conn, name, False, now_s)  # type: ignore[arg-type]

        return self.catalog.submit(work)


@pytest.fixture
def bed(tmp_path: Path) -> Iterator[Bed]:
    """A child reads keys, as in a server."""
    types = (KeyMaterial, PublicKey)
    with (
        catalog_with_repository(tmp_path) as (catalog, repository_id),
        ChildPool(ChildLimits(size=1), preload=("entrepot.signing.bring",), result_types=types) as children,
    ):
        yield Bed(catalog, repository_id, children, FixedClock(SystemClock().now_s()))


def exported(home: GpgHome, name: str, end: str, *more: str) -> bytes:
    """A new secret key as gpg exports it."""
    home.gpg(*more, "--quick-generate-key", f"<{name}@example.org>", "ed25519", "sign", end)
    return home.gpg(*more, "--armor", "--export-secret-keys", f"<{name}@example.org>").stdout.encode()


def test_a_key_under_a_passphrase_signs_in_the_next_process(bed: Bed) -> None:
    """Goal: the passphrase is sealed with the key. Method: bring it; sign with another keyring of the same secret; the
    catalog's file holds neither the key nor the passphrase.
    """
    with GpgHome() as home:
        secret = exported(home, "shut", "never", "--passphrase", PASSPHRASE)
    row, tickets = bed.keyring().bring(bed.repository_id, secret, PASSPHRASE, alone=None, actor=ACTOR)
    assert tickets == ()
    ring = bed.keyring()
    signer = ring.signers.get(bed.repository_id)
    assert signer.fingerprints == (row.fingerprint,)
    assert signed_by(ring.public_armored(bed.repository_id), signer.clear(b"x\n")) == b"x"
    for sealed in (row.secret_sealed, repr(row).encode()):
        assert PASSPHRASE.encode() not in sealed
        assert b"BEGIN PGP PRIVATE" not in sealed


def test_keys_end_and_come_again(bed: Bed) -> None:
    """Goal: how long a key has is measured; one that has ended signs no more, beside another without a word, alone with
    a sentence that says what to do; with its end moved it signs again. Method: a key of ten days, the clock moved.
    """
    ring = bed.keyring()
    other = bed.other()
    ring.prepare(other)
    ring.watch_ends()
    assert math.isinf(metrics.value(metrics.signing_key_expiry_days))
    with GpgHome() as home:
        secret = exported(home, "short", "10d")
        fingerprint = home.gpg("--with-colons", "-k", "<short@example.org>").stdout.split("fpr:::::::::")[1][:40]
        home.gpg("--quick-set-expire", fingerprint, "5y")
        longer = home.gpg("--armor", "--export-secret-keys", fingerprint).stdout.encode()
    for repository_id in (bed.repository_id, other.id):
        ring.bring(repository_id, secret, None, alone=repository_id == bed.repository_id, actor=ACTOR)
    ring.watch_ends()
    assert 9.9 < metrics.value(metrics.signing_key_expiry_days) < 10.1
    assert len(ring.signers.get(other.id).fingerprints) == 2
    bed.clock.set(bed.clock.now_s() + 11 * DAY_S)
    ring.watch_ends()
    assert math.isinf(metrics.value(metrics.signing_key_expiry_days))
    assert len(ring.signers.get(other.id).fingerprints) == 1
    with pytest.raises(Refusal, match="entrepot key rotate"):
        ring.signers.get(bed.repository_id)
    with pytest.raises(Refusal, match="has expired"):
        ring.bring(bed.repository_id, secret, None, alone=None, actor=ACTOR)
    ring.bring(bed.repository_id, longer, None, alone=None, actor=ACTOR)
    assert ring.signers.get(bed.repository_id).fingerprints == (fingerprint,)


def test_a_repository_whose_key_was_lost_in_a_crash_gets_one(bed: Bed) -> None:
    """Goal: a crash between a repository's row and its key mends itself at first need."""
    ring = bed.keyring()
    assert len(ring.signers.get(bed.repository_id).fingerprints) == 1
    assert ring.public_armored(bed.repository_id).count(b"BEGIN PGP PUBLIC") == 1
