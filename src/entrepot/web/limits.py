"""What one client may ask: requests at the same time, and the size of a request's head."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from entrepot.model.addresses import client_group
from entrepot.model.errors import Refusal
from entrepot.web.call import Call

_FIELD_FRAME_BYTES = 4  # the colon, the blank and the line's end of a header field


@dataclass(frozen=True, slots=True)
class RequestLimits:
    """The settings of the concern ``limits``, as far as requests are concerned; 0 of the first two: no limit."""

    login_failures_per_address_max: int = 0
    connections_per_address_max: int = 0
    url_bytes_max: int = 8192
    header_bytes_max: int = 32_768


class AtOnce:
    """Requests in flight by address."""

    def __init__(self, most: int, exempt: Callable[[str], bool]) -> None:
        """Args: ``most`` for one address, 0: nobody is counted; ``exempt`` says who is not: a proxy that names no
        client.
        """
        self._most = most
        self._exempt = exempt
        self._active: dict[str, int] = {}

    @contextmanager
    def one(self, address: str) -> Iterator[None]:
        """Around one request. Raises Refusal("too_many_connections")."""
        if not self._most:
            yield
            return
        key = client_group(address)
        active = self._active.get(key, 0)
        if active >= self._most and not self._exempt(address):
            raise Refusal("too_many_connections", requests_at_once_max=self._most)
        self._active[key] = active + 1
        try:
            yield
        finally:
            if self._active[key] == 1:
                del self._active[key]
            else:
                self._active[key] -= 1


def check_head(call: Call, limits: RequestLimits) -> None:
    """Raises Refusal: ``url_too_long``, ``headers_too_large``."""
    scope = call.scope
    url_bytes = len(scope.get("raw_path") or call.path) + len(scope.get("query_string", b""))
    if url_bytes > limits.url_bytes_max:
        raise Refusal("url_too_long", url_bytes=url_bytes, url_bytes_max=limits.url_bytes_max)
    header_bytes = sum(len(name) + len(value) + _FIELD_FRAME_BYTES for name, value in scope["headers"])
    if header_bytes > limits.header_bytes_max:
        raise Refusal("headers_too_large", header_bytes=header_bytes, header_bytes_max=limits.header_bytes_max)
