"""Builds what serves HTTPS from the settings, or nothing."""

import ssl
from collections.abc import Callable
from contextlib import ExitStack
from urllib.parse import urlsplit

from entrepot.children.errors import ChildCrashed, ChildError
from entrepot.children.pool import ChildLimits, ChildPool
from entrepot.node import rehearsal
from entrepot.node.certificate import KEY_SETTING, KINDS, Pair, TlsError
from entrepot.node.tls import Tls
from entrepot.observe.clock import Clock
from entrepot.settings.concerns import ServerSettings
from entrepot.settings.sources import Settings

REHEARSAL_S_MAX = 30.0
CHILD_IDLE_S = 10.0


def build_tls(server: ServerSettings, clock: Clock, stack: ExitStack) -> Tls | None:
    """The certificate of the settings, loaded; None for plain HTTP. Raises TlsError when it cannot be served, or not
    at the public URL.
    """
    if server.tls_cert is None or server.tls_key is None:
        return None
    parts = urlsplit(server.public_url or "")
    # Whom a proxy speaks for never sees this certificate.
    direct = server.public_url is not None and not server.trusted_proxies
    if direct and parts.scheme == "http":
        raise TlsError(
            f"server.public_url is {server.public_url}, but with server.tls_cert nothing answers there: write https://,"
            " or set server.trusted_proxies when a proxy in front takes plain HTTP."
        )
    children = stack.enter_context(
        ChildPool(ChildLimits(size=1, idle_s=CHILD_IDLE_S), preload=("entrepot.node.rehearsal",))
    )

    def try_out(pair: Pair) -> None:
        try:
            children.call(rehearsal.FUNCTION, (pair.certificate, pair.key), timeout_s=REHEARSAL_S_MAX)
        except ChildCrashed as error:
            raise TlsError(f"{KEY_SETTING}: this kind of key cannot be served. {KINDS}") from error
        except ChildError as error:
            raise TlsError(f"{KEY_SETTING}: serving with this key was tried and failed: {error}") from error

    tls = Tls(server.tls_cert, server.tls_key, clock, host=parts.hostname if direct else None, try_out=try_out)
    tls.load()
    return tls


def tls_details(tls: Tls | None) -> dict[str, object]:
    """What ``/statusz`` shows of it."""
    return {} if tls is None else {"tls": tls.status()}


def own_port_context(settings: Settings, tls: Tls | None) -> Callable[[], ssl.SSLContext] | None:
    """By what the canary trusts the node's own port; None when it goes elsewhere, or without TLS."""
    return None if tls is None or settings.canary.url is not None else tls.client_context
