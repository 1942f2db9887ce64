"""What the canary takes for signed: the repository's keys over these very bytes, and nothing else."""

import pytest

from entrepot.signing.make import generate
from entrepot.signing.signer import Signer
from entrepot.signing.verify import BadSignature, signed_by

MADE_S = 1_750_000_000

RELEASE = b"Suite: bookworm\nSHA256:\n abc 1 x\n"


@pytest.fixture(scope="module")
def secrets() -> list[str]:
    """Two secret keys."""
    return [str(generate("ed25519", name, MADE_S).secret_armored) for name in ("one", "two")]


@pytest.mark.parametrize("keys", [1, 2])
def test_what_the_signer_signs_is_verified(secrets: list[str], keys: int) -> None:
    """Goal: both forms, with one key and while a rotation overlaps. Method: sign, verify, compare the text."""
    signer = Signer(secrets[:keys])
    clear, detached = signer.clear_and_detached(RELEASE)
    assert signed_by(signer.public_armored, clear) == RELEASE
    assert signed_by(signer.public_armored, RELEASE, detached) == RELEASE
    assert signed_by(signer.public_armored, b"\0\r\n", signer.detached(b"\0\r\n")) == b"\0\r\n"


def test_anything_else_is_refused(secrets: list[str]) -> None:
    """Goal: no changed text, foreign key, missing or mangled signature passes. Method: each of them."""
    signer, stranger = Signer(secrets[:1]), Signer(secrets[1:])
    clear, detached = signer.clear(RELEASE), signer.detached(RELEASE)
    wrong = [
        (signer, clear.replace(b"bookworm", b"sid"), None),
        (stranger, clear, None),
        (signer, RELEASE, None),
        (signer, b"", None),
        (signer, RELEASE + b" ", detached),
        (stranger, RELEASE, detached),
        (signer, RELEASE, b"no signature"),
        (signer, RELEASE, b""),
    ]
    for verifier, document, signature in wrong:
        with pytest.raises(BadSignature) as caught:
            signed_by(verifier.public_armored, document, signature)
        assert "\n" not in str(caught.value)
    with pytest.raises(BadSignature):
        signed_by(b"no key", clear)
