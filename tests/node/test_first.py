"""The administrator's token: made at the first start, and again where none is left or a new one is asked for."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from entrepot.catalog import repositories, tokens
from entrepot.catalog.engine import Catalog
from entrepot.disk import faults, fs
from entrepot.model.nouns import OPERATOR, Role
from entrepot.node.first import EXAMPLE, first_start
from entrepot.node.folder import DataFolder
from entrepot.observe.clock import SystemClock
from tests.support.server import ServerProcess

URL = "http://127.0.0.1:8420"


class Place:
    """A data folder and its catalog, as a start has them."""

    def __init__(self, path: Path, catalog: Catalog) -> None:
        self.path, self.catalog = path, catalog
        self.file = path / "admin-token"

    def start(self) -> str | None:
        """What a start does of it; the lines that it prints."""
        with DataFolder.open(self.path) as folder:
            return first_start(folder, self.catalog, SystemClock(), URL, show_token=False, program="entrepot")

    @property
    def kept(self) -> str:
        """The token in the file."""
        return self.file.read_text().strip()

    def living(self) -> list[str]:
        """Names of the owner's tokens that are not revoked."""
        with self.catalog.read() as conn:
            return [row.name for row in tokens.list_tokens(conn, OPERATOR)]

    def works(self, text: str) -> bool:
        """Whether a token administers the server now."""
        with self.catalog.read() as conn:
            row = tokens.by_text(conn, text)
        return row is not None and row.is_operator and row.revoked_at is None and not row.expired(SystemClock().now_s())

    def revoke_all(self) -> None:
        """As `entrepot token revoke` for each."""
        with self.catalog.read() as conn:
            rows = tokens.list_tokens(conn, OPERATOR)
        for row in rows:
            self.catalog.submit(lambda conn, row=row: tokens.revoke(conn, row.id, 1))  # type: ignore[misc]

    def add(
        self, name: str, role: Role = Role.ADMIN, *, repository: str | None = None, expires_at: int | None = None
    ) -> str:
        """A further token of the owner `admin`; its text."""
        listed = None if repository is None else [repository]
        _row, text = self.catalog.submit(lambda conn: tokens.create(conn, OPERATOR, name, role, listed, expires_at, 1))
        return text


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """After the first start."""
    with DataFolder.open(tmp_path / "data") as folder:
        catalog = Catalog(folder.catalog_url)
    catalog.migrate()
    found = Place(tmp_path / "data", catalog)
    lines = found.start()
    assert lines is not None
    assert str(found.file) in lines
    assert found.works(found.kept)
    yield found
    catalog.close()


def test_a_start_without_need_changes_nothing(place: Place) -> None:
    """Goal: a restart leaves the token alone; so it does when the file was deleted, for who deletes it has another
    token and wants none to lie there.
    """
    before = place.kept
    assert place.start() is None
    assert place.kept == before
    place.file.unlink()
    assert place.start() is None
    assert not place.file.exists()
    assert place.living() == ["admin"]


def test_no_token_is_left(place: Place) -> None:
    """Goal: when the last administrator's token is revoked, the next start makes one, and no second example. Method:
    revoke; start; also with the example deleted, which must not come back. Seen to fail (the start refused with
    repository_exists) while each start without a token was taken for the first.
    """
    before = place.kept
    place.revoke_all()
    lines = place.start()
    assert lines is not None
    assert str(place.file) in lines
    assert place.kept not in lines
    assert place.works(place.kept)
    assert not place.works(before)
    with place.catalog.read() as conn:
        example = repositories.get(conn, EXAMPLE)
    place.catalog.submit(lambda conn: repositories.delete(conn, example.id, 1))
    place.revoke_all()
    place.start()
    assert place.works(place.kept)
    with place.catalog.read() as conn:
        assert repositories.find(conn, EXAMPLE) is None


@pytest.mark.parametrize(
    "left", [{"role": Role.PUSH}, {"repository": "admin/main"}, {"expires_at": 1000}], ids=["role", "list", "expired"]
)
def test_what_is_left_does_not_administer(place: Place, left: dict[str, object]) -> None:
    """Goal: a token of the owner `admin` that is no administrator's does not lock the administrator out."""
    place.revoke_all()
    place.add("ci", **left)  # type: ignore[arg-type]
    assert place.start() is not None
    assert place.works(place.kept)
    assert place.living() == ["ci", "admin"]


@pytest.mark.parametrize("content", ["", "not a token\n", "\xff\0"])
def test_a_new_token_is_asked_for(place: Place, content: str) -> None:
    """Goal: emptying the file and a restart make a new token and end the lost one, though others live; those stay."""
    lost, other = place.kept, place.add("ops")
    place.file.write_text(content)
    assert place.start() is not None
    assert place.works(place.kept)
    assert place.works(other)
    assert not place.works(lost)
    assert place.file.stat().st_mode & 0o777 == 0o600
    assert place.start() is None


def test_a_revoked_token_in_the_file_asks_for_nothing(place: Place) -> None:
    """Goal: who revoked the first token and has another did not ask for a new one."""
    place.revoke_all()
    place.add("ops")
    before = place.kept
    assert place.start() is None
    assert place.kept == before


def test_no_room_for_a_new_token_keeps_no_server_from_starting(place: Place) -> None:
    """Goal: on a full volume the server starts without the token, and the next start makes it."""
    place.revoke_all()
    fs.set_hook(faults.Rule("write", 1, "ENOSPC"))
    try:
        assert place.start() is None
    finally:
        fs.set_hook(None)
    assert place.start() is not None
    assert place.works(place.kept)


def test_the_way_back_with_the_real_server(tmp_path: Path) -> None:
    """Goal: as operate.md says it: the last token is revoked over HTTP, the server is started again, and the file's
    new token is let in; nothing of it stands in the log.
    """
    env = {"ENTREPOT_SIGNING_DEFAULT_ALGORITHM": "ed25519", "ENTREPOT_SIGNING_SPARE_KEYS": "0"}
    env |= {"ENTREPOT_SERVER_DRAIN_WAIT_S": "0"}
    with ServerProcess(tmp_path / "data", env=env) as server:
        lost = server.admin_token
        with httpx.Client(base_url=server.url, timeout=30, trust_env=False) as client:
            client.delete("/api/v2/tokens/1", auth=(lost, "")).raise_for_status()
            server.restart()
            assert server.admin_token != lost
            assert client.get("/api/v2/repos", auth=(lost, "")).status_code == 401
            shown = client.get("/api/v2/repos", auth=(server.admin_token, "")).raise_for_status().json()
        assert [each["name"] for each in shown["repositories"]] == ["admin/main"]
        assert server.admin_token not in server.log()
