"""Collection by itself: what nobody asked to be kept goes, with its bytes."""

from pathlib import Path

from entrepot.catalog import files, quotas, schema
from entrepot.disk.ledger import Ledger
from entrepot.disk.volume import Volume
from entrepot.model.limits import HELD_S
from entrepot.observe.clock import FixedClock
from entrepot.storage.folder import FolderStore
from entrepot.upkeep.collect import Collector
from tests.catalog.helpers import a_deb, catalog_with_repository, needed, put


def test_a_set_that_stays_incomplete_leaves_nothing(tmp_path: Path) -> None:
    """Goal: abandoned parts of a source package do not fill the volume. Method: hold a .dsc and a tarball, pass a day.

    Seen to fail while expired files were only yanked: their bytes waited for a collection that nobody would ask for.
    """
    clock = FixedClock(1_700_000_000.0)
    with (
        catalog_with_repository(tmp_path) as (catalog, repository_id),
        FolderStore(tmp_path, Ledger(Volume(tmp_path))) as store,
    ):
        needs = (needed("hello.orig.tar.gz", "orig"), needed("hello.debian.tar.xz", "debian"))
        sent = (
            a_deb(repository_id, "hello-src", part="main:source", requires=needs, filename="hello.dsc"),
            a_deb(repository_id, "hello-src", content="orig", part=None, member=True, filename="hello.orig.tar.gz"),
        )
        for new in sent:
            with store.stage(new.size_bytes) as staged:
                staged.write(bytes(new.size_bytes))
                assert put(catalog, new, staged.commit(new.digests.sha256), now_s=clock.now_s()).held
        collector = Collector(catalog, store, clock)
        clock.advance(HELD_S - 10)
        assert collector.expire_held() == []
        assert collector.free_unreferenced().blobs == 0
        clock.advance(20)
        assert collector.expire_held() == []
        assert collector.free_unreferenced().blobs == 2
        assert store.iterate() == []
        with catalog.read() as conn:
            assert files.list_files(conn, repository_id, files.Filters(yanked=True)) == ()
            assert files.count_files(conn, repository_id) == 0


def test_what_another_file_replaced_goes_after_a_while(tmp_path: Path) -> None:
    """Goal: a SNAPSHOT that is deployed again each hour does not fill the volume or the quota; a file that somebody
    yanked stays. Method: replace one file, yank another, pass the time.
    """
    clock = FixedClock(1_700_000_000.0)
    with (
        catalog_with_repository(tmp_path) as (catalog, repository_id),
        FolderStore(tmp_path, Ledger(Volume(tmp_path))) as store,
    ):

        def send(name: str, content: str) -> int:
            new = a_deb(repository_id, name, content=content, replaces=True)
            with store.stage(new.size_bytes) as staged:
                staged.write(bytes(new.size_bytes))
                return put(catalog, new, staged.commit(new.digests.sha256), now_s=clock.now_s()).file_id

        replaced = send("lib", "first build")
        send("lib", "second build")
        yanked = send("other", "yanked by hand")
        catalog.submit(lambda conn: files.yank(conn, [yanked], clock.now_s()))
        published = schema.scope.update().values(published_change=schema.scope.c.last_change)
        catalog.submit(lambda conn: conn.execute(published))
        collector = Collector(catalog, store, clock)
        clock.advance(3600)
        assert collector.drop_replaced(3600) == 0
        clock.advance(1)
        assert collector.drop_replaced(3600) == 1
        assert collector.free_unreferenced().blobs == 1
        with catalog.read() as conn:
            assert files.by_ids(conn, [replaced]) == ()
            assert files.by_ids(conn, [yanked]) != ()
            assert quotas.usages(conn, repository_id)[0].yanked_bytes == len("yanked by hand")
