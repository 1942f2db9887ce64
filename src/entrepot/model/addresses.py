"""Which client an address stands for."""

import ipaddress
from functools import lru_cache

IPV6_BITS = 64
"""What one subscriber is given at least; whoever has it has 2^64 addresses to choose from."""


@lru_cache(maxsize=4096)
def client_group(address: str) -> str:
    """What a limit per address counts by: an IPv4 address itself, the /64 of an IPv6 address; any other text itself."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((int(parsed), IPV6_BITS), strict=False))
