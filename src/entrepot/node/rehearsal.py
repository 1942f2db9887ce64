"""A certificate's dress rehearsal, in a child: the HTTP server itself serves with it once.

granian reads the files in its own library, and what that cannot take (an RSA key of 1024 bits, P-521, Ed448) ends the
process without an exception. In a child that is a crash of the child.
"""

import asyncio
import socket
import ssl

from entrepot.node.certificate import MemoryPair, Pair
from entrepot.node.http_server import Granian
from entrepot.node.ports import listen_on

FUNCTION = "entrepot.node.rehearsal:rehearse"
HANDSHAKE_S_MAX = 10.0


def rehearse(certificate: bytes, key: bytes) -> bool:
    """Serve with the pair on a port of loopback and shake hands with it once; True. Raises what went wrong."""
    asyncio.run(_rehearse(Pair(certificate, key)))
    return True


async def _rehearse(pair: Pair) -> None:
    listener = listen_on(("127.0.0.1", 0), unread_s_max=HANDSHAKE_S_MAX)
    where = listener.getsockname()
    with MemoryPair(pair) as held:
        server = Granian(_nothing, held)
        serving = asyncio.create_task(server.serve(listener))
        try:
            await asyncio.to_thread(_shake_hands, where)
        finally:
            server.stop()
            await serving


def _shake_hands(where: tuple[str, int]) -> None:
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection(where, HANDSHAKE_S_MAX) as plain, client.wrap_socket(plain):
        pass


async def _nothing(*_args: object) -> None:
    """Nobody asks anything."""
