"""The servers that the tests of this folder share, one of each kind for each test process."""

import ssl
from collections.abc import Iterator

import httpx
import pytest

from tests.clients.site import WORKERS, Place, Site, tamperer
from tests.support.netns import Network, network
from tests.support.ports import free_port
from tests.support.server import ServerProcess
from tests.support.tls import CertificateAuthority, TlsProxy

ENV = {
    "ENTREPOT_SIGNING_DEFAULT_ALGORITHM": "ed25519",
    "ENTREPOT_SIGNING_SPARE_KEYS": "2",
    "ENTREPOT_SERVER_DRAIN_WAIT_S": "0",
    "ENTREPOT_SERVER_WORKER_THREADS": str(WORKERS),
    "ENTREPOT_UPLOAD_INSPECTION_PROCESSES": "1",
}


@pytest.fixture(scope="session")
def net() -> Iterator[Network]:
    """This machine and another one."""
    with network() as made:
        yield made


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> CertificateAuthority:
    """The authority that clients are told to trust."""
    return CertificateAuthority(tmp_path_factory.mktemp("ca"))


def client_of(server: ServerProcess) -> httpx.Client:
    """The administrator."""
    verify = True if server.ca_file is None else ssl.create_default_context(cafile=server.ca_file)
    return httpx.Client(base_url=server.url, auth=(server.admin_token, ""), timeout=60, trust_env=False, verify=verify)


@pytest.fixture(scope="session")
def plain_site(
    net: Network, authority: CertificateAuthority, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    """A server without TLS, nginx with a certificate in front of it for the other machine, and the tamperer before
    both.
    """
    top = tmp_path_factory.mktemp("site")
    admin_address = f"127.0.0.1:{free_port()}"
    port = free_port(net.host_address)
    url = f"https://{net.host_address}:{port}"
    env = {**ENV, "ENTREPOT_SERVER_ADMIN_LISTEN": admin_address}
    server = ServerProcess(top / "data", env=env, public_url=url)
    upstream = f"{server.address}:{server.port}"
    with (
        server,
        tamperer((server.address, server.port)) as relay,
        TlsProxy(top / "proxy", authority, upstream, address=net.host_address, port=port),
        TlsProxy(top / "tampering", authority, relay.authority, address=net.host_address) as tampering,
        client_of(server) as admin,
    ):
        near = Place("loopback", server.url, f"http://{relay.authority}")
        far = Place("machine", url, tampering.url, net.machines[0].prefix, authority.ca_file, authority.trust_store())
        yield Site(server, admin_address, admin, server.threads(), near, far, relay)


@pytest.fixture(scope="session")
def secure_site(
    net: Network, authority: CertificateAuthority, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    """A server with TLS of its own, which the other machine reaches without anything in between."""
    top = tmp_path_factory.mktemp("secure")
    admin_address = f"127.0.0.1:{free_port()}"
    certificate, key = authority.issue(top / "tls", [net.host_address])
    server = ServerProcess(
        top / "data",
        env={**ENV, "ENTREPOT_SERVER_ADMIN_LISTEN": admin_address},
        args=["--tls-cert", str(certificate), "--tls-key", str(key)],
        address=net.host_address,
        ca_file=authority.ca_file,
    )
    with (
        server,
        tamperer((server.address, server.port), authority.ca_file) as relay,
        TlsProxy(top / "tampering", authority, relay.authority, address=net.host_address) as tampering,
        client_of(server) as admin,
    ):
        trust = (authority.ca_file, authority.trust_store())
        near = Place("loopback", server.url, tampering.url, (), *trust)
        far = Place("machine", server.url, tampering.url, net.machines[0].prefix, *trust)
        yield Site(server, admin_address, admin, server.threads(), near, far, relay)


@pytest.fixture
def site(request: pytest.FixtureRequest) -> Site:
    """The server of a test: where it stands on another machine, the one with TLS of its own."""
    call = getattr(request.node, "callspec", None)
    elsewhere = call is not None and call.params.get("place") == "machine"
    found: Site = request.getfixturevalue("secure_site" if elsewhere else "plain_site")
    return found


@pytest.fixture(params=["loopback", "machine"])
def place(request: pytest.FixtureRequest, site: Site) -> Place:
    """Both places, one after the other: plain HTTP on this machine, HTTPS from another one."""
    return site.near if request.param == "loopback" else site.far
