"""Proves that a server is the one with a certain secret, to whoever has that secret too.

What answers at a public URL may be another server, a proxy's page, or the one of yesterday. Who asks sends a random
number; only a holder of the secret can answer with its HMAC, and the answer says nothing of the secret.
"""

import hashlib
import hmac
import re
import secrets
from typing import Final

NONCE: Final = re.compile(r"[0-9a-f]{32,128}", re.ASCII)


def new_nonce() -> str:
    """A random number, 64 hexadecimal digits."""
    return secrets.token_hex(32)


class Prover:
    """Answers for one secret. Stateless beyond it; safe from any thread."""

    def __init__(self, secret_bytes: bytes) -> None:
        # A key for this alone: an answer is of no use where the secret seals or derives something else.
        self._key = hmac.digest(secret_bytes, b"entrepot proof 1", hashlib.sha256)

    def prove(self, nonce: str) -> str:
        """The answer to a nonce: 64 hexadecimal digits. Raises ValueError for what does not match :data:`NONCE`."""
        if not NONCE.fullmatch(nonce):
            raise ValueError("a nonce is 32 to 128 hexadecimal digits")
        return hmac.digest(self._key, nonce.encode("ascii"), hashlib.sha256).hex()
