"""Signatures as package managers read them: cleartext (InRelease) and detached (Release.gpg, repomd.xml.asc); RFC 4880.

The library holds the interpreter lock while it signs: 7 ms with RSA-3072, 15 ms with RSA-4096, 0.2 ms with Ed25519.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Final

from pysequoia import ArmorKind, PySigner, SignatureMode, Tsk, armor, sign
from pysequoia.packet import PacketPile, Tag

from entrepot.model.limits import SIGNING_KEYS_MAX
from entrepot.signing.keys import SecretKey

_BLOCK: Final = b"-----BEGIN PGP SIGNATURE-----"
SIGNERS_KEPT_MAX = 256


class Signer:
    """Signs with one key, or with several at once while a rotation overlaps: as a rule all
    signatures stand in one armored block.

    Safe from any thread. With several keys a strict verifier (gpgv) wants every one of them in its keyring.
    """

    def __init__(self, secret_keys: Sequence[str | bytes | SecretKey]) -> None:
        """Args: one to :data:`SIGNING_KEYS_MAX` secret keys, armored ones without a passphrase or with theirs. Raises
        ValueError for none, too many or a bad one.
        """
        if not 1 <= len(secret_keys) <= SIGNING_KEYS_MAX:
            raise ValueError(f"a signer has 1 to {SIGNING_KEYS_MAX} keys")
        given = [_secret(each) for each in secret_keys]
        try:
            keys = [Tsk.from_bytes(each.armored.encode()) for each in given]
            self._signers: tuple[PySigner, ...] = tuple(
                key.signer() if each.passphrase is None else key.signer(each.passphrase)
                for key, each in zip(keys, given, strict=True)
            )
        except RuntimeError as error:
            raise ValueError(f"not a usable secret key: {str(error).partition(chr(10))[0]}") from None
        public = [key.extract_certificate() for key in keys]
        self._fingerprints = tuple(each.fingerprint.upper() for each in public)
        self._public = b"".join(str(each).encode() for each in public)

    @property
    def public_armored(self) -> bytes:
        """The whole public keys, each an armored block, in order: signatures come from subkeys."""
        return self._public

    @property
    def fingerprints(self) -> tuple[str, ...]:
        """Fingerprints of the primary keys, upper-case hex, in order."""
        return self._fingerprints

    def clear(self, data: bytes) -> bytes:
        """``data`` in the cleartext signature framework (RFC 4880 section 7); extraction gives ``data`` back exactly.

        ``data`` is UTF-8 text that ends with one newline. The framework drops blanks at the ends of lines and the
        newline before the signature; the library counts a final newline as content, so it is left to the framework to
        put it back.
        """
        return self._clear(data.removesuffix(b"\n"))

    def detached(self, data: bytes) -> bytes:
        """An armored detached signature over ``data`` as it is (binary, type 0x00)."""
        if len(self._signers) == 1:
            return sign(self._signers[0], data, mode=SignatureMode.DETACHED)
        packets = (sign(each, data, mode=SignatureMode.DETACHED, armor=False) for each in self._signers)
        return _armored(b"".join(packets))

    def blocks(self, data: bytes) -> bytes:
        """As :meth:`detached`, an armored block for each key, in their order."""
        return b"".join(sign(each, data, mode=SignatureMode.DETACHED) for each in self._signers)

    def clear_and_detached(self, data: bytes) -> tuple[bytes, bytes]:
        """Both forms of a Release for the price of one signature: (InRelease, Release.gpg).

        A cleartext signature is one over canonical text (type 0x01, RFC 4880 section 5.2.1): line ends become CR LF,
        and nothing else changes unless a line ends with blanks. The same signature is then a detached one over
        ``data``, if the final newline is part of the text. So InRelease gets one empty line before its signature, and
        apt, gpgv and sqv accept both files. Text that this does not hold for (blanks before a line end, a carriage
        return, no final newline) gets two signatures.
        """
        if not _is_plain_text(data):
            return self.clear(data), self.detached(data)
        clear = self._clear(data)
        return clear, clear[clear.rindex(b"\n" + _BLOCK) + 1 :]

    def _clear(self, data: bytes) -> bytes:
        first: bytes = sign(self._signers[0], data, mode=SignatureMode.CLEAR)
        if len(self._signers) == 1:
            return first
        # Every key signs with the same hash (SHA-512), so the first one's text and Hash header serve all.
        text, _, block = first.rpartition(_BLOCK)
        others = (sign(each, data, mode=SignatureMode.CLEAR).rpartition(_BLOCK)[2] for each in self._signers[1:])
        return bytes(text) + _armored(b"".join(_packet(_BLOCK + each) for each in (block, *others)))


def _secret(key: str | bytes | SecretKey) -> SecretKey:
    if isinstance(key, SecretKey):
        return key
    return SecretKey(key if isinstance(key, str) else key.decode("ascii", "replace"))


def _packet(block: bytes) -> bytes:
    """The one signature packet of an armored block, in binary with an old-format header of four length bytes."""
    (packet,) = PacketPile.from_bytes(block)
    if packet.tag != Tag.Signature:
        raise RuntimeError("the library's block holds no signature")
    body: bytes = packet.body
    return b"\x8a" + len(body).to_bytes(4, "big") + body  # RFC 4880 section 4.2.1: tag 2, length type 2


def _armored(packets: bytes) -> bytes:
    return armor(packets, ArmorKind.Signature).encode()


def _is_plain_text(data: bytes) -> bool:
    return data.endswith(b"\n") and not any(bad in data for bad in (b"\r", b" \n", b"\t\n"))


class SignerCache:
    """Signers by repository id; the least recently used one goes first. Opening a sealed key costs 45 ms, keeping it a
    few KB.

    Each :meth:`get` asks which keys sign now, so a signer is never older than the answer. Safe from any thread; two
    threads may load the same one at once, which wastes 45 ms and nothing else.
    """

    def __init__(
        self,
        current: Callable[[int], tuple[int, ...]],
        load: Callable[[int, tuple[int, ...]], Signer],
        kept_max: int = SIGNERS_KEPT_MAX,
    ) -> None:
        """Args: ``current`` says which keys sign for a repository id now; ``load`` makes their signer (reads the
        catalog, opens the seals).
        """
        self._current = current
        self._load = load
        self._kept_max = kept_max
        self._lock = threading.Lock()
        self._kept: OrderedDict[int, tuple[tuple[int, ...], Signer]] = OrderedDict()

    def get(self, repository_id: int) -> Signer:
        """The repository's signer. Raises what ``current`` and ``load`` raise."""
        keys = self._current(repository_id)
        with self._lock:
            kept = self._kept.get(repository_id)
            if kept is not None and kept[0] == keys:
                self._kept.move_to_end(repository_id)
                return kept[1]
        signer = self._load(repository_id, keys)
        with self._lock:
            self._kept[repository_id] = (keys, signer)
            self._kept.move_to_end(repository_id)
            while len(self._kept) > self._kept_max:
                self._kept.popitem(last=False)
        return signer

    def __call__(self, repository_id: int) -> Signer:
        """Same as :meth:`get`, so that a cache can be passed where a function is wanted."""
        return self.get(repository_id)
