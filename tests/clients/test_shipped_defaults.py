"""A server as shipped: the default key (RSA-3072) and settings. The other tests of this folder use Ed25519, whose keys
are made at once.
"""

from pathlib import Path

import httpx
import pytest

from tests.clients.site import Place
from tests.clients.test_apt import apt, source
from tests.clients.test_dnf import dnf
from tests.clients.test_zypper import zypper
from tests.support.builders import Recipe, make_deb, make_rpm
from tests.support.ports import free_port
from tests.support.server import ServerProcess

pytestmark = [pytest.mark.clients, pytest.mark.xdist_group("clients-rpm"), pytest.mark.timeout(300)]


def test_default_keys_satisfy_every_client(tmp_path: Path) -> None:
    """Goal: what a new installation signs is verified by apt, dnf and zypper. Method: a server without any setting but
    its admin port; push, install with each; then stop it and see it end with 0.
    """
    env = {"ENTREPOT_SERVER_ADMIN_LISTEN": f"127.0.0.1:{free_port()}"}
    with ServerProcess(tmp_path / "data", env=env) as server:
        place = Place("loopback", server.url, server.url)
        with httpx.Client(base_url=server.url, auth=(server.admin_token, ""), timeout=240, trust_env=False) as admin:
            admin.post("/api/v2/repos", json={"name": "acme/tools"}).raise_for_status()
            for file, distribution in (
                (make_deb(tmp_path, "hello"), "debian/bookworm"),
                (make_rpm(tmp_path, Recipe("hello")), "el/9"),
                (make_rpm(tmp_path, Recipe("hello")), "opensuse/15.6"),
            ):
                answer = admin.put(f"/acme/tools/{distribution}/{file.name}", content=file.read_bytes())
                assert answer.status_code == 201, answer.text
            key = tmp_path / "key.asc"
            key.write_bytes(admin.get("/acme/tools/gpgkey").raise_for_status().content)
        debian = apt(tmp_path / "apt", place, source(server.url, "acme/tools", key))
        debian.update()
        debian.install("hello")
        assert debian.installed() == {"hello": "1.0-1"}
        fedora = dnf(tmp_path / "dnf", place, "acme/tools")
        fedora.install("hello")
        suse = zypper(tmp_path / "zypper", place, "acme/tools")
        suse.install("hello")
        assert fedora.installed() == suse.installed() == ["hello-1.0-1.x86_64"]
        assert server.stop(90) == 0
