"""Signing keys: what one is, and how it is packed for its seal. They are version 4 (RFC 4880), because gpgv and sqv in
the field refuse version 6. Made in ``make``, brought along in ``bring``.
"""

import json
from dataclasses import dataclass

ALGORITHMS = ("rsa3072", "rsa4096", "ed25519")
"""Those of the keys that are made here."""
USER_ID_CHARS_MAX = 255
KEY_BYTES_MAX = 256 * 1024
PASSPHRASE_CHARS_MAX = 1024


@dataclass(frozen=True, slots=True)
class SecretKey:
    """A secret key as it is sealed: armored, and the passphrase that opens it when it came with one."""

    armored: str
    passphrase: str | None = None

    def __repr__(self) -> str:
        """Without the secret: values end up in tracebacks and logs."""
        return "SecretKey(…)"

    def packed(self) -> bytes:
        """For the seal: the armored text alone, or a JSON object with its passphrase."""
        if self.passphrase is None:
            return self.armored.encode()
        return json.dumps({"key": self.armored, "passphrase": self.passphrase}).encode()

    @classmethod
    def unpacked(cls, opened: bytes) -> "SecretKey":
        """The other way round. Raises ValueError for anything that :meth:`packed` does not make."""
        if not opened.startswith(b"{"):
            return cls(opened.decode())
        found = json.loads(opened)
        return cls(str(found["key"]), str(found["passphrase"]))


@dataclass(frozen=True, slots=True)
class KeyMaterial:
    """One key. ``fingerprint`` is of the primary key, 40 upper-case hex digits; ``user_id`` its first user id.

    ``algorithm`` is of the part that signs: ``rsa3072``, ``ed25519``, ``nistp256``… ``expires_at`` is when that part's
    signatures stop being accepted, in seconds since 1970 UTC; None for never. ``imported``: it was brought along.
    """

    public_armored: str
    secret_armored: str
    fingerprint: str
    algorithm: str
    user_id: str
    expires_at: int | None = None
    passphrase: str | None = None
    imported: bool = False

    def __repr__(self) -> str:
        """Without the secret: values end up in tracebacks and logs."""
        return f"KeyMaterial({self.algorithm} {self.fingerprint})"

    @property
    def secret(self) -> SecretKey:
        """What is sealed."""
        return SecretKey(self.secret_armored, self.passphrase)


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A public key by which packages were signed elsewhere; fields as those of :class:`KeyMaterial`."""

    public_armored: str
    fingerprint: str
    algorithm: str
    user_id: str
    expires_at: int | None
