"""What the OpenPGP library does not say of key packets (RFC 4880 section 5.5): sizes, curves, and secrets that are not
there.
"""

from collections.abc import Iterable
from typing import Final

from pysequoia.packet import Packet, PublicKeyAlgorithm, Tag

# Algorithm → how its public fields are stored: numbers alone, or a curve's name before them; ECDH adds parameters.
_RSA: Final = (PublicKeyAlgorithm.RSAEncryptSign, PublicKeyAlgorithm.RSASign, PublicKeyAlgorithm.RSAEncrypt)
_NUMBERS: Final = {2: _RSA, 4: (PublicKeyAlgorithm.DSA,), 3: (PublicKeyAlgorithm.ElGamalEncrypt,)}
_CURVES: Final = (PublicKeyAlgorithm.ECDSA, PublicKeyAlgorithm.EdDSA, PublicKeyAlgorithm.ECDH)
# RFC 4880bis section 9.2 and RFC 6637 section 11: object identifiers without the tag and length of their encoding.
_CURVE_NAMES: Final = {
    "2b06010401da470f01": "ed25519",
    "2a8648ce3d030107": "nistp256",
    "2b81040022": "nistp384",
    "2b81040023": "nistp521",
    "2b2403030208010107": "brainpoolP256r1",
    "2b240303020801010b": "brainpoolP384r1",
    "2b240303020801010d": "brainpoolP512r1",
    "2b060104019755010501": "curve25519",
}
_HEAD_BYTES: Final = 6  # version, four bytes of time, algorithm
_S2K_CHECKED: Final = (254, 255)  # an S2K specifier follows (section 5.5.3)
_S2K_GNU: Final = 101  # gpg's own: with "GNU" and 1 the secret was left out, with 2 it is on a card
_PUBLIC_TAG: Final = {"Tag.SecretKey": 6, "Tag.SecretSubkey": 14}


def is_rsa(packet: Packet) -> bool:
    """Whether a key packet is an RSA key."""
    return any(packet.key_algorithm == each for each in _RSA)


def rsa_bits(packet: Packet) -> int:
    """The length of an RSA key's modulus in bits."""
    return int.from_bytes(packet.body[_HEAD_BYTES : _HEAD_BYTES + 2], "big")


def algorithm_name(packet: Packet) -> str:
    """As gpg writes it: ``rsa3072``, ``ed25519``, ``nistp256``, ``dsa2048``."""
    kind = str(packet.key_algorithm).rpartition(".")[2].lower()
    if is_rsa(packet):
        return f"rsa{rsa_bits(packet)}"
    if packet.key_algorithm == PublicKeyAlgorithm.DSA:
        return f"dsa{rsa_bits(packet)}"
    if any(packet.key_algorithm == each for each in _CURVES):
        body = packet.body
        curve = body[_HEAD_BYTES + 1 : _HEAD_BYTES + 1 + body[_HEAD_BYTES]].hex()
        return _CURVE_NAMES.get(curve, kind)
    return kind


def without_absent(packets: Iterable[Packet]) -> bytes:
    """The packets in binary, key packets whose secret was left out (``gpg --export-secret-subkeys``) or lies on a card
    as public ones: the library would take their place holders for a secret behind a passphrase.
    """
    return b"".join(_as_public(each) if is_absent(each) else bytes(each) for each in packets)


def is_absent(packet: Packet) -> bool:
    """Whether a secret key packet holds gpg's place holder instead of a secret."""
    if str(packet.tag) not in _PUBLIC_TAG:
        return False
    public = _public_bytes(packet)
    rest = packet.body[public:] if public is not None else b""
    return len(rest) >= 7 and rest[0] in _S2K_CHECKED and rest[2] == _S2K_GNU and rest[4:7] == b"GNU"


def _as_public(packet: Packet) -> bytes:
    body = packet.body[: _public_bytes(packet)]
    tag = _PUBLIC_TAG[str(packet.tag)]
    return bytes([0xC0 | tag, 0xFF]) + len(body).to_bytes(4, "big") + body  # section 4.2.2.3


def _public_bytes(packet: Packet) -> int | None:
    """How many bytes of a key packet's body are public; None for an algorithm that gpg 2 cannot leave out."""
    body, at = packet.body, _HEAD_BYTES
    algorithm = packet.key_algorithm
    count = next((count for count, kinds in _NUMBERS.items() if any(algorithm == each for each in kinds)), None)
    if any(algorithm == each for each in _CURVES):
        at, count = at + 1 + body[at], 1
    if count is None:
        return None
    for _ in range(count):
        at += 2 + (int.from_bytes(body[at : at + 2], "big") + 7) // 8
    if algorithm == PublicKeyAlgorithm.ECDH:
        at += 1 + body[at]
    return at


def is_key(packet: Packet) -> bool:
    """Whether it is a key or a subkey, public or secret."""
    return is_primary(packet) or packet.tag == Tag.PublicSubkey or packet.tag == Tag.SecretSubkey


def is_primary(packet: Packet) -> bool:
    """Whether a key begins with it."""
    return packet.tag == Tag.PublicKey or packet.tag == Tag.SecretKey
