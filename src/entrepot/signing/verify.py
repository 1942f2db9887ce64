"""Signatures checked as a client checks them, with nothing but the public key."""

from typing import Final

from pysequoia import Cert, Sig, verify

_REASON_CHARS_MAX: Final = 200


class BadSignature(Exception):
    """No signature of the given keys covers the document; the message says why."""


def signed_by(public_armored: bytes, document: bytes, signature: bytes | None = None) -> bytes:
    """The text that one of the keys signed.

    Args: ``public_armored`` one or more armored public keys; ``document`` in the cleartext framework, or, with a
    detached ``signature``, any bytes. Raises BadSignature.
    """
    try:
        keys = Cert.split_bytes(public_armored)
        detached = None if signature is None else Sig.from_bytes(signature)
        # Every key is offered, whatever the signature asks for: the library then wants one that fits.
        found = verify(document, lambda _ids: keys, signature=detached)
    except RuntimeError as error:  # the library's only kind; its text ends with a stack trace
        raise BadSignature(str(error).partition("\n")[0][:_REASON_CHARS_MAX]) from None
    if not found.valid_sigs or found.bytes is None:
        raise BadSignature("no valid signature")
    return bytes(found.bytes)
