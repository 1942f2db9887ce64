"""New signing keys: one version 4 key that certifies itself and signs, as ``gpg --quick-generate-key … sign`` makes it.

Built here packet by packet (RFC 4880), because of rpm: up to 4.18 (RHEL 8 and 9, SUSE 15, Debian 12) it reads keys with
a parser of its own, which refuses a key whose self-signature marks anything as critical that it does not know. The
OpenPGP library marks all that it can. The numbers come from ``cryptography``.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from pysequoia import ArmorKind, armor

from entrepot.model.errors import Refusal
from entrepot.signing.keys import ALGORITHMS, USER_ID_CHARS_MAX, KeyMaterial

_RSA_BITS: Final = {"rsa3072": 3072, "rsa4096": 4096}
_RSA, _EDDSA, _SHA512 = 1, 22, 10  # sections 9.1 and 9.4; EdDSA as in draft-ietf-openpgp-rfc4880bis
_ED25519_OID: Final = bytes.fromhex("2b06010401da470f01")
_SECRET_KEY, _PUBLIC_KEY, _SIGNATURE, _USER_ID = 5, 6, 2, 13  # packet tags, section 4.3
_POSITIVE: Final = 0x13  # certification of a user id, section 5.2.1
_CERTIFIES_AND_SIGNS: Final = 0x03  # key flags, section 5.2.3.21


@dataclass(frozen=True, slots=True)
class _Numbers:
    """What an algorithm adds to the packets; ``sign`` takes what is signed and returns the numbers of a signature."""

    algorithm: int
    public: bytes
    secret: bytes
    sign: Callable[[bytes], bytes]


def generate(algorithm: str, user_id: str, now_s: int) -> KeyMaterial:
    """Make a key that never expires. RSA-3072 takes a fraction of a second, RSA-4096 up to several.

    Args: ``algorithm`` one of :data:`ALGORITHMS`; ``user_id`` printable text such as ``HOST/user/repo``; ``now_s`` is
    written down as the time of its making, seconds since 1970 UTC.
    Raises Refusal("field_invalid") for another algorithm, or a user id that is empty, too long or not printable.
    """
    if algorithm not in ALGORITHMS:
        raise Refusal("field_invalid", f"The algorithm of a key is one of {', '.join(ALGORITHMS)}.", field="algorithm")
    if not user_id.strip() or len(user_id) > USER_ID_CHARS_MAX or not user_id.isprintable():
        raise Refusal("field_invalid", "The user id of a key is 1 to 255 printable characters.", field="user_id")
    numbers = _ed25519() if algorithm == "ed25519" else _rsa(_RSA_BITS[algorithm])
    public = bytes([4]) + now_s.to_bytes(4, "big") + bytes([numbers.algorithm]) + numbers.public
    fingerprint = hashlib.sha1(b"\x99" + len(public).to_bytes(2, "big") + public, usedforsecurity=False).digest()
    user = user_id.encode()
    rest = _packet(_USER_ID, user) + _packet(_SIGNATURE, _self_signature(numbers, public, fingerprint, user, now_s))
    checksum = (sum(numbers.secret) % 65536).to_bytes(2, "big")  # not protected: section 5.5.3
    secret = _packet(_SECRET_KEY, public + b"\x00" + numbers.secret + checksum) + rest
    return KeyMaterial(
        public_armored=armor(_packet(_PUBLIC_KEY, public) + rest, ArmorKind.PublicKey),
        secret_armored=armor(secret, ArmorKind.SecretKey),
        fingerprint=fingerprint.hex().upper(),
        algorithm=algorithm,
        user_id=user_id,
    )


def _rsa(bits: int) -> _Numbers:
    key = rsa.generate_private_key(65537, bits)
    made = key.private_numbers()
    open_numbers = made.public_numbers
    p, q = sorted((made.p, made.q))  # section 5.5.3 wants p < q, and u the inverse of p modulo q
    return _Numbers(
        _RSA,
        _mpi(open_numbers.n) + _mpi(open_numbers.e),
        _mpi(made.d) + _mpi(p) + _mpi(q) + _mpi(pow(p, -1, q)),
        lambda data: _mpi(int.from_bytes(key.sign(data, PKCS1v15(), hashes.SHA512()), "big")),
    )


def _ed25519() -> _Numbers:
    key = Ed25519PrivateKey.generate()
    point = b"\x40" + key.public_key().public_bytes_raw()

    def sign(data: bytes) -> bytes:
        made = key.sign(hashlib.sha512(data).digest())
        return b"".join(_mpi(int.from_bytes(half, "big")) for half in (made[:32], made[32:]))

    public = bytes([len(_ED25519_OID)]) + _ED25519_OID + _mpi(int.from_bytes(point, "big"))
    return _Numbers(_EDDSA, public, _mpi(int.from_bytes(key.private_bytes_raw(), "big")), sign)


def _self_signature(numbers: _Numbers, public: bytes, fingerprint: bytes, user: bytes, now_s: int) -> bytes:
    """The body of the signature that binds the user id to the key (sections 5.2.3 and 5.2.4). No part is critical."""
    hashed = b"".join(
        _subpacket(kind, value)
        for kind, value in (
            (33, b"\x04" + fingerprint),  # issuer
            (2, now_s.to_bytes(4, "big")),  # made
            (27, bytes([_CERTIFIES_AND_SIGNS])),
            (11, bytes([9, 8, 7])),  # preferred ciphers: AES
            (21, bytes([10, 9, 8])),  # preferred hashes: SHA-2
        )
    )
    head = bytes([4, _POSITIVE, numbers.algorithm, _SHA512]) + len(hashed).to_bytes(2, "big") + hashed
    subject = b"\x99" + len(public).to_bytes(2, "big") + public + b"\xb4" + len(user).to_bytes(4, "big") + user
    signed = subject + head + b"\x04\xff" + len(head).to_bytes(4, "big")
    unhashed = _subpacket(16, fingerprint[-8:])  # issuer's key id
    left = hashlib.sha512(signed).digest()[:2]
    return head + len(unhashed).to_bytes(2, "big") + unhashed + left + numbers.sign(signed)


def _packet(tag: int, body: bytes) -> bytes:
    """With a header of the old format and a length of two bytes, which every reader knows (section 4.2.1)."""
    return bytes([0x80 | tag << 2 | 1]) + len(body).to_bytes(2, "big") + body


def _subpacket(kind: int, value: bytes) -> bytes:
    return bytes([len(value) + 1, kind]) + value


def _mpi(number: int) -> bytes:
    """A number with its length in bits before it (section 3.2)."""
    bits = number.bit_length()
    return bits.to_bytes(2, "big") + number.to_bytes((bits + 7) // 8, "big")
