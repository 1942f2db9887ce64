"""A TLS certificate and its key: read, judged, and held where both HTTP servers can read them.

What is judged is served: the two files are read once, and from then on their bytes lie in memory. Whoever renews them
may be in the middle of it.
"""

import os
import re
import ssl
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from entrepot.disk import fs

FILE_BYTES_MAX = 256 * 1024
_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----")
_KEY = re.compile(rb"-----BEGIN (?P<kind>[A-Z0-9 ]*)PRIVATE KEY-----")
# OpenSSL's X509_V_FLAG_NO_CHECK_TIME: times are judged by our clock, so that the sentence can name them.
_NO_CHECK_TIME = 0x200000
_WRONG_NAME = frozenset({62, 64})  # X509_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_IP_ADDRESS_MISMATCH
_MISMATCHES = frozenset({"KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH", "NO_CERTIFICATE_ASSIGNED"})
_ROUNDS_MAX = 16

KINDS = "Keys that can be served: RSA with 2048 to 8192 bits, ECDSA with the curve P-256 or P-384, Ed25519."

CERT_SETTING, KEY_SETTING = "server.tls_cert", "server.tls_key"


class TlsError(Exception):
    """A certificate or key cannot be served; the message is a sentence that names the setting and says what to do."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate with its intermediates, and its private key, both in PEM."""

    certificate: bytes
    key: bytes = field(repr=False)

    @classmethod
    def read(cls, certificate: Path, key: Path) -> Self:
        """From two files (or twice the same). Raises TlsError."""
        pair = cls(_read(certificate, CERT_SETTING), _read(key, KEY_SETTING))
        if not _CERTIFICATE.search(pair.certificate):
            hint = " It looks like DER: `openssl x509 -inform der -in FILE` converts it."
            raise TlsError(
                f"{CERT_SETTING}: {certificate} holds no certificate in PEM. It must hold the server's certificate"
                f" first, then its intermediates.{hint if pair.certificate[:1] == b'0' else ''}"
            )
        found = _KEY.search(pair.key)
        if found is None:
            raise TlsError(
                f"{KEY_SETTING}: {key} holds no private key in PEM. Name the key that the certificate was made with."
            )
        if b"ENCRYPTED" in found["kind"] or b"Proc-Type: 4,ENCRYPTED" in pair.key:
            raise TlsError(
                f"{KEY_SETTING}: {key} is locked with a passphrase, and nobody can type it at a start at night."
                " `openssl pkey -in FILE -out NEW` writes it without one; let only the server's user read that."
            )
        return pair

    @property
    def leaf(self) -> bytes:
        """The server's own certificate, the first of the file, in DER."""
        found = _CERTIFICATE.search(self.certificate)
        assert found is not None
        return ssl.PEM_cert_to_DER_cert(found[0].decode("ascii"))


class MemoryPair:
    """A pair as two files in memory, for libraries that read paths. Gone with :meth:`close`."""

    def __init__(self, pair: Pair) -> None:
        self.pair = pair
        self._fds = (fs.memory_file("tls-cert", pair.certificate), fs.memory_file("tls-key", pair.key))
        self.certificate_path, self.key_path = (f"/proc/self/fd/{fd}" for fd in self._fds)

    def close(self) -> None:
        """Forget both."""
        for fd in self._fds:
            with suppress(OSError):
                fs.close(fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@dataclass(frozen=True, slots=True)
class Certificate:
    """What a served certificate says: host names and addresses, and its times in seconds since 1970 UTC."""

    names: tuple[str, ...]
    not_before: float
    not_after: float


def judge(pair: Pair, now_s: float, *, host: str | None) -> Certificate:
    """What clients will find: a handshake with the pair is played in memory, with OpenSSL on both sides.

    Args: ``host`` the name that clients ask for, None when nobody asks this server by a name of its own.
    Raises TlsError when the two do not belong together, cannot be read, are not for a server, not for ``host``, or not
    for this time.
    """
    with MemoryPair(pair) as held:
        server = server_context(held)
    client = trusting(pair)
    client.verify_flags |= _NO_CHECK_TIME
    client.check_hostname = host is not None
    try:
        shown = _handshake(server, client, host)
    except ssl.SSLCertVerificationError as error:
        raise TlsError(_unverified(error, pair, host)) from error
    except ssl.SSLError as error:
        raise TlsError(
            f"{KEY_SETTING}: no client can use this kind of key ({error.reason or error}). {KINDS}"
        ) from error
    found = Certificate(
        tuple(sorted(value for _, value in shown.get("subjectAltName", ()))),
        ssl.cert_time_to_seconds(shown["notBefore"]),
        ssl.cert_time_to_seconds(shown["notAfter"]),
    )
    if now_s >= found.not_after:
        raise TlsError(
            f"{CERT_SETTING}: the certificate expired on {shown['notAfter']}. Renew it; if it is new, set the clock."
        )
    if now_s < found.not_before:
        raise TlsError(
            f"{CERT_SETTING}: the certificate is not valid before {shown['notBefore']}. Set the clock, or wait."
        )
    return found


def server_context(held: MemoryPair) -> ssl.SSLContext:
    """TLS 1.2 and 1.3 with this pair. Raises TlsError when the two files do not fit or cannot be read."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(held.certificate_path, held.key_path)
    except ssl.SSLError as error:
        if error.reason in _MISMATCHES:
            raise TlsError(
                f"{KEY_SETTING}: this key does not belong to the certificate in {CERT_SETTING}. Name the key that the"
                " certificate was made with; its file must begin with the server's own certificate."
            ) from error
        raise TlsError(
            f"{CERT_SETTING}, {KEY_SETTING}: the certificate or the key is damaged, or too weak to be served"
            f" ({error.reason or 'no PEM'}). `openssl x509 -noout -text -in CERT` and `openssl pkey -noout -in KEY`"
            f" show which. {KINDS}"
        ) from error
    return context


def trusting(pair: Pair) -> ssl.SSLContext:
    """A client that trusts this very certificate and nothing else, whatever name it was reached by."""
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.load_verify_locations(cadata=pair.leaf)
    client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return client


def _handshake(server: ssl.SSLContext, client: ssl.SSLContext, host: str | None) -> dict[str, Any]:
    """The certificate as the client sees it. Raises ssl.SSLError."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.wrap_bio(to_client, to_server, server_hostname=host),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    for _ in range(_ROUNDS_MAX):
        for end in list(ends):
            with suppress(ssl.SSLWantReadError):
                end.do_handshake()
                if not end.server_side:
                    return dict(end.getpeercert() or {})
    raise ssl.SSLError("the handshake does not come to an end")


def _unverified(error: ssl.SSLCertVerificationError, pair: Pair, host: str | None) -> str:
    if error.verify_code in _WRONG_NAME:
        shown = _handshake(*_unnamed(pair), None)
        names = ", ".join(sorted(value for _, value in shown.get("subjectAltName", ()))) or "nothing"
        return (
            f"{CERT_SETTING}: the certificate is for {names}, and clients ask for {host} (server.public_url). Name the"
            " certificate of that host, or change the public URL; behind a proxy that clients talk to, set"
            " server.trusted_proxies."
        )
    return f"{CERT_SETTING}: no client accepts this certificate: {error.verify_message}. Get one for a TLS server."


def _unnamed(pair: Pair) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    with MemoryPair(pair) as held:
        client = trusting(pair)
        client.verify_flags |= _NO_CHECK_TIME
        return server_context(held), client


def _read(path: Path, setting: str) -> bytes:
    try:
        # What certbot and Kubernetes name is a symbolic link.
        return fs.read_small(os.path.realpath(path), bytes_max=FILE_BYTES_MAX)
    except FileNotFoundError:
        raise TlsError(f"{setting}: {path} does not exist. Name a PEM file.") from None
    except PermissionError:
        raise TlsError(
            f"{setting}: {path} may not be read by the user that the server runs as (uid {os.geteuid()}). Give it to"
            " that user or to a group of its own (chgrp, chmod 640); the folders above must let it pass."
        ) from None
    except OSError as error:
        raise TlsError(f"{setting}: {path} cannot be read: {error.strerror}. Name a PEM file.") from None
