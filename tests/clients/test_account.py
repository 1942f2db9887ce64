"""The account that every flow ends with can fail: it sees what is left on purpose."""

import socket
import time

import pytest

from tests.clients.site import Left, Site
from tests.web.conftest import basic

pytestmark = [pytest.mark.clients, pytest.mark.xdist_group("clients-bad-input")]

LIMIT_S = 10.0


def test_a_stray_file_and_an_upload_that_hangs_are_seen(site: Site) -> None:
    """Goal: `Left` is not empty by construction. Method: a file that no row knows; an upload that stops half-way and
    keeps its connection: its reservation, its nameless file and its place are seen, and gone when it hangs up.
    """
    repository = site.repository()
    site.check_left(repository, [])
    stray = site.server.data / "blobs" / "aa" / "stray"
    stray.write_bytes(b"x")
    assert site.left() == Left(strays=("blobs/aa/stray",))
    stray.unlink()
    with socket.create_connection((site.server.address, site.server.port)) as connection:
        head = f"PUT /{repository}/debian/bookworm/x_1_amd64.deb HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n"
        connection.sendall(f"{head}Authorization: {basic(site.token)}\r\n\r\n".encode() + bytes(4 << 20))
        end = time.monotonic() + LIMIT_S
        while not (held := site.left()).deleted_but_open and time.monotonic() < end:
            time.sleep(0.05)
        assert len(held.deleted_but_open) == 1
        assert dict(held.reservations)["count"] == 1
        assert dict(held.gauges)["uploads_in_flight"] == 1
        assert dict(held.gauges)["reservation_bytes"] > 0
    site.check_left(repository, [])
