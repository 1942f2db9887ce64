"""Seals secret keys for the catalog, so that a copy of the database alone cannot sign.

A sealed value is ``ES1\\0`` + tag (32) + body. The body is an OpenPGP message encrypted to a password (RFC 4880
sections 5.3 and 5.13: AES-256, integrity protected); the tag is HMAC-SHA256 over magic, context and body (encrypt, then
MAC). Password and MAC key are both derived from the secret with HMAC-SHA256, so neither tells the other. The tag makes
a wrong secret, a damaged value, or a value moved to another row fail at once and surely; OpenPGP's own check is 45 ms
later and weaker.
"""

import hashlib
import hmac
import secrets
from typing import Final

from pysequoia import decrypt, encrypt

SECRET_BYTES = 32
_MAGIC: Final = b"ES1\0"
_TAG_BYTES = 32


class SealBrokenError(Exception):
    """A sealed value cannot be opened: the secret is another one, the value is damaged, or it belongs to another
    context.
    """


def new_secret() -> bytes:
    """:data:`SECRET_BYTES` random bytes, for ``DIR/secret``."""
    return secrets.token_bytes(SECRET_BYTES)


class Sealer:
    """Seals and opens values with one secret. Stateless beyond it; safe from any thread. About 45 ms each way."""

    def __init__(self, secret_bytes: bytes) -> None:
        """Args: ``secret_bytes`` at least :data:`SECRET_BYTES` random bytes. Raises ValueError when there are fewer."""
        if len(secret_bytes) < SECRET_BYTES:
            raise ValueError(f"the secret has fewer than {SECRET_BYTES} bytes")
        self._password = hmac.digest(secret_bytes, b"entrepot seal 1: encrypt", hashlib.sha256).hex()
        self._mac_key = hmac.digest(secret_bytes, b"entrepot seal 1: authenticate", hashlib.sha256)

    def seal(self, data: bytes, context: str = "") -> bytes:
        """Encrypt and authenticate ``data``. ``context`` (a fingerprint, a row's name) must be the same when it is
        opened.
        """
        body = encrypt(data, passwords=[self._password], armor=False)
        return _MAGIC + self._tag(context, body) + body

    def open(self, sealed: bytes, context: str = "") -> bytes:
        """The data inside. Raises SealBrokenError; nothing is decrypted before the tag is found right."""
        body = sealed[len(_MAGIC) + _TAG_BYTES :]
        if not self.fits(sealed, context):
            raise SealBrokenError(
                "The sealed key cannot be opened with this secret: it belongs to another catalog, or it is damaged."
            )
        opened = decrypt(body, passwords=[self._password]).bytes
        if opened is None:
            raise SealBrokenError("The sealed value holds nothing.")
        return bytes(opened)

    def fits(self, sealed: bytes, context: str = "") -> bool:
        """Whether :meth:`open` would accept the value; decrypts nothing, and takes microseconds."""
        body = sealed[len(_MAGIC) + _TAG_BYTES :]
        return hmac.compare_digest(sealed[: len(_MAGIC) + _TAG_BYTES], _MAGIC + self._tag(context, body))

    def _tag(self, context: str, body: bytes) -> bytes:
        context_bytes = context.encode()
        # The length keeps the border between context and body from being moved.
        message = _MAGIC + len(context_bytes).to_bytes(4, "big") + context_bytes + body
        return hmac.digest(self._mac_key, message, hashlib.sha256)
