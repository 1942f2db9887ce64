"""Keys that are brought along, from aptly, reprepro, Nexus or gpg itself: read, judged, and refused with a reason that
says what to do.

Parsing holds the interpreter lock, opening a passphrase takes a while, and the bytes are somebody else's: call these in
a child process.
"""

from collections.abc import Sequence
from typing import Final

from pysequoia import Cert, PySigner, Sig, SignatureMode, Tsk, sign, verify
from pysequoia.packet import HashAlgorithm, Packet, PacketPile, PublicKeyAlgorithm, SignatureType, Tag

from entrepot.model.errors import Refusal
from entrepot.signing.keys import KEY_BYTES_MAX, PASSPHRASE_CHARS_MAX, KeyMaterial, PublicKey
from entrepot.signing.packets import algorithm_name, is_absent, is_key, is_primary, is_rsa, rsa_bits, without_absent

RSA_BITS_MIN = 2048
USER_IDS_MAX = 64
"""The library's time grows with the square of the user ids: a thousand take half a minute, and other keys wait."""
_TRIAL: Final = b"trial"
_BEGIN: Final = b"-----BEGIN PGP"
_SELF_SIGNATURES: Final = (
    SignatureType.GenericCertification,
    SignatureType.PersonaCertification,
    SignatureType.CasualCertification,
    SignatureType.PositiveCertification,
    SignatureType.DirectKey,
    SignatureType.SubkeyBinding,
)
_REFUSED: Final[dict[str, str]] = {
    "not_openpgp": "This is not an OpenPGP key. Export one with `gpg --export-secret-keys --armor FINGERPRINT`.",
    "several_keys": "There is more than one key in it. Export the one that signs, by its fingerprint.",
    "too_many_user_ids": f"It has more user ids than the {USER_IDS_MAX} that a key may have here. Make a key for the"
    " repository; or take some away with `deluid` of `gpg --edit-key FINGERPRINT`, then export it anew.",
    "no_secret": "There is only a public key in it. Export the secret one with `gpg --export-secret-keys --armor`."
    " The public key of packages that are signed already is imported with --package.",
    "version": "It is not a version 4 key; apt, dnf and zypper in the field read no other.",
    "revoked": "The key is revoked: clients refuse what it signs. Import another.",
    "expired": "The key has expired: clients refuse what it signs. Move its end with"
    " `gpg --quick-set-expire FINGERPRINT 5y` (and again with '*' for its subkeys), then export it anew.",
    "weak_rsa": f"The RSA key is shorter than {RSA_BITS_MIN} bits: apt and rpm refuse it. Import another.",
    "weak_algorithm": "Keys of this algorithm are refused by apt. Import an RSA or Ed25519 key.",
    "sha1": "The key is bound to its user id or to its signing subkey by SHA-1, which apt and rpm refuse. Bind it anew"
    " with `gpg --cert-digest-algo SHA512 --quick-set-expire FINGERPRINT 0` (and again with '*' for its subkeys), then"
    " export it anew.",
    "cannot_sign": "No part of the key may sign. Add a subkey with `gpg --quick-add-key FINGERPRINT rsa3072 sign`"
    " or import another key.",
    "secret_elsewhere": "The secret of the part that signs is not in this file: it was left out, or is on a card."
    " Export it where that secret is; `gpg --list-secret-keys` marks what is missing with # or >.",
    "damaged": "The secret and the public part of the key do not fit together; export it anew.",
    "passphrase_missing": "The key is protected by a passphrase; give it too.",
    "passphrase_wrong": "The passphrase does not open the key.",
}


def refuse(reason: str, **numbers: int | str) -> Refusal:
    """The refusal of a key, ``reason`` one of the words above."""
    return Refusal("key_unusable", _REFUSED[reason], field="key", reason=reason, **numbers)


def load(data: bytes, passphrase: str | None, now_s: int) -> KeyMaterial:
    """Read one secret key, armored or binary, and see that clients will accept what it signs.

    Args: ``passphrase`` of the key, kept with it; None, or of no use, for a key without. ``now_s`` seconds since 1970.
    Raises Refusal("key_unusable"), whose ``reason`` is one word, for anything that is no such key.
    """
    if passphrase is not None and len(passphrase) > PASSPHRASE_CHARS_MAX:
        raise refuse("passphrase_wrong")
    packets = _packets(data)
    primary = packets[0]
    if all(each.tag != Tag.SecretKey and each.tag != Tag.SecretSubkey for each in packets):
        raise refuse("no_secret")
    try:
        key = Tsk.from_bytes(without_absent(packets))
        public = key.extract_certificate()
    except (RuntimeError, ValueError) as error:
        raise refuse("not_openpgp", library=_first_line(error)) from None
    _check_primary(primary, public, now_s)
    signer, used = _open(key, packets, passphrase, now_s)
    part = _signing_part(signer, packets, public)
    if is_rsa(part) and rsa_bits(part) < RSA_BITS_MIN:
        raise refuse("weak_rsa", bits=rsa_bits(part))
    return KeyMaterial(
        public_armored=str(public),
        secret_armored=str(key),
        fingerprint=public.fingerprint.upper(),
        algorithm=algorithm_name(part),
        user_id=_user_id(packets),
        expires_at=_expires_at(part, packets, public),
        passphrase=used,
        imported=True,
    )


def load_public(data: bytes) -> PublicKey:
    """Read one public key, by which packages were signed elsewhere. Of a secret key only the public part is kept.

    Raises Refusal("key_unusable") for what is no key, several, revoked, or not of version 4. An expired one is taken:
    packages that were signed before are still checked by it.
    """
    packets = _packets(data)
    try:
        public = Cert.from_bytes(without_absent(packets))
        # Once through its own text: what is not public stays behind.
        public = Cert.from_bytes(str(public).encode())
    except (RuntimeError, ValueError) as error:
        raise refuse("not_openpgp", library=_first_line(error)) from None
    if public.is_revoked:
        raise refuse("revoked")
    expires_at = _certificate_end(public)
    return PublicKey(str(public), public.fingerprint.upper(), algorithm_name(packets[0]), _user_id(packets), expires_at)


def _packets(data: bytes) -> list[Packet]:
    """The packets of one version 4 key. Raises Refusal."""
    if len(data) > KEY_BYTES_MAX:
        raise Refusal("field_invalid", f"A key is at most {KEY_BYTES_MAX} bytes.", field="key")
    try:
        packets = list(PacketPile.from_bytes(data))
        user_ids = sum(each.tag == Tag.UserID for each in packets)  # raises for a packet of a private kind
    except (RuntimeError, ValueError) as error:
        raise refuse("not_openpgp", library=_first_line(error)) from None
    if not packets or not is_primary(packets[0]):
        raise refuse("not_openpgp")
    if sum(is_primary(each) for each in packets) > 1 or data.count(_BEGIN) > 1:
        raise refuse("several_keys")
    if user_ids > USER_IDS_MAX:
        raise refuse("too_many_user_ids", user_ids=user_ids)
    if packets[0].body[:1] != b"\x04":
        raise refuse("version")
    return packets


def _check_primary(primary: Packet, public: Cert, now_s: int) -> None:
    if public.is_revoked:
        raise refuse("revoked")
    if is_rsa(primary) and rsa_bits(primary) < RSA_BITS_MIN:
        raise refuse("weak_rsa", bits=rsa_bits(primary))
    if primary.key_algorithm == PublicKeyAlgorithm.DSA:
        raise refuse("weak_algorithm", algorithm=algorithm_name(primary))
    end = _certificate_end(public)
    if end is not None and end <= now_s:
        raise refuse("expired", expired_at=end)


def _open(key: Tsk, packets: Sequence[Packet], passphrase: str | None, now_s: int) -> tuple[PySigner, str | None]:
    """Who signs with it, and the passphrase if one was needed."""
    try:
        return key.signer(), None
    except RuntimeError as error:
        text = _first_line(error)
    if "encrypted" not in text:
        raise _why_not(packets, now_s, text)
    if passphrase is None:
        raise refuse("passphrase_missing")
    try:
        return key.signer(passphrase), passphrase
    except RuntimeError:
        raise refuse("passphrase_wrong") from None


def _why_not(packets: Sequence[Packet], now_s: int, text: str) -> Refusal:
    """The library found no part that may sign now: the reason that is most to the point."""
    bound = _parts(packets)
    parts = [(part, own) for part, own in bound if own.key_flags is not None and own.key_flags.signing]
    if not parts:
        return refuse("cannot_sign", library=text)
    # The primary key is bound by its user id's signature, and without that none of its subkeys counts.
    if any(_is_weak(own) for _, own in [bound[0], *parts]):
        return refuse("sha1")
    ends = [_end_of(part, own, now_s + 1) for part, own in parts]
    if all(end <= now_s for end in ends):
        return refuse("expired", expired_at=max(ends))
    if any(is_absent(part) for part, _ in parts):
        return refuse("secret_elsewhere")
    if any(is_rsa(part) and rsa_bits(part) < RSA_BITS_MIN for part, _ in parts):
        return refuse("weak_rsa", bits=min(rsa_bits(part) for part, _ in parts if is_rsa(part)))
    return refuse("cannot_sign", library=text)


def _signing_part(signer: PySigner, packets: Sequence[Packet], public: Cert) -> Packet:
    """The key or subkey that makes the signatures, seen from one that it made, and that the public part verifies."""
    try:
        signature = Sig.from_bytes(sign(signer, _TRIAL, mode=SignatureMode.DETACHED))
        verify(_TRIAL, lambda _ids: [public], signature=signature)
    except RuntimeError as error:
        raise refuse("damaged", library=_first_line(error)) from None
    issuer = signature.issuer_fingerprint
    found = next((each for each in packets if is_key(each) and each.fingerprint == issuer), None)
    if found is None:
        raise refuse("damaged")
    return found


def _binds(signature: Packet, primary: Packet) -> bool:
    """Whether a signature is the key's own, over a user id or a subkey."""
    issuers = (signature.issuer_fingerprint, signature.issuer_key_id)
    own = primary.fingerprint in issuers or primary.key_id in issuers
    return own and any(signature.signature_type == each for each in _SELF_SIGNATURES)


def _is_weak(signature: Packet) -> bool:
    return any(
        signature.hash_algorithm == each for each in (HashAlgorithm.SHA1, HashAlgorithm.MD5, HashAlgorithm.RipeMD)
    )


def _parts(packets: Sequence[Packet]) -> list[tuple[Packet, Packet]]:
    """Each key and subkey with the newest of its own signatures that says what it may do."""
    found: list[tuple[Packet, Packet]] = []
    part: Packet | None = None
    newest: Packet | None = None
    for each in [*packets, None]:
        if each is None or is_key(each):
            if part is not None and newest is not None:
                found.append((part, newest))
            part, newest = each, None
        elif (
            each.tag == Tag.Signature and _binds(each, packets[0]) and (newest is None or _made(each) >= _made(newest))
        ):
            newest = each
    return found


def _made(signature: Packet) -> float:
    return signature.signature_created.timestamp() if signature.signature_created is not None else 0.0


def _end_of(part: Packet, bound: Packet, never: int) -> int:
    """When a part ends by its binding, in seconds since 1970; ``never`` for one without an end."""
    if bound.key_validity_period is None or part.key_created is None:
        return never
    return int((part.key_created + bound.key_validity_period).timestamp())


def _expires_at(part: Packet, packets: Sequence[Packet], public: Cert) -> int | None:
    ends = [_certificate_end(public)]
    for each, bound in _parts(packets):
        if each.fingerprint == part.fingerprint and bound.key_validity_period is not None:
            ends.append(_end_of(each, bound, 0))
    return min((end for end in ends if end is not None), default=None)


def _certificate_end(public: Cert) -> int | None:
    """When the whole key ends; None for never, and for a key that the library refuses for another reason."""
    try:
        end = public.expiration
    except RuntimeError:
        return None
    return None if end is None else int(end.timestamp())


def _user_id(packets: Sequence[Packet]) -> str:
    """The first user id, without what could break a line."""
    text = next((each.user_id for each in packets if each.tag == Tag.UserID and each.user_id), "")
    return "".join(each for each in text if each.isprintable())[:255]


def _first_line(error: Exception) -> str:
    """The library's own words; a stack trace follows them."""
    return str(error).partition("\n")[0][:200]
