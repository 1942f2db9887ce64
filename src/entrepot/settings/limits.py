"""What one client may ask of the server: settings of the concern ``limits``."""

from typing import Any

from pydantic import Field

from entrepot.model.limits import KIB
from entrepot.settings.concerns import Concern


class LimitSettings(Concern):
    """What one client may ask of the server. An address is that of the client also behind a trusted proxy; of IPv6, the
    64 bits of a network count as one.
    """

    login_failures_per_address_max: int = Field(
        default=60,
        ge=0,
        le=100_000,
        description="Wrong, expired or revoked tokens a minute that one address may send; beyond that 429 with"
        " Retry-After, for everything but tokens that were good within the last hour. 0: no limit.",
    )
    connections_per_address_max: int = Field(
        default=1024,
        ge=0,
        le=100_000,
        description="Connections of one address; the newest are cut within a second. Behind a trusted proxy, whose own"
        " connections are not counted: requests at the same time; more get 429. 0: no limit.",
    )
    url_bytes_max: int = Field(
        default=8 * KIB, ge=1 * KIB, le=32 * KIB, description="Bytes of a request's path and query (414)."
    )
    header_bytes_max: int = Field(
        default=32 * KIB, ge=4 * KIB, le=256 * KIB, description="Bytes of a request's header fields together (431)."
    )

    @classmethod
    def _testing_defaults(cls) -> dict[str, Any]:
        return {"login_failures_per_address_max": 0}
