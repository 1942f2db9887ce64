"""Signing keys of repositories: given from the spare ones, made in a child when there is none, brought along, opened
with the node's secret.
"""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from entrepot.catalog import Connection, audit
from entrepot.catalog import keys as catalog_keys
from entrepot.catalog.engine import Catalog
from entrepot.catalog.keys import KeyRow, NewKey, PackageKeyRow
from entrepot.catalog.repositories import RepositoryRow
from entrepot.children.errors import (
    ChildCrashed,
    ChildError,
    ChildFailed,
    ChildPoolBusy,
    ChildPoolClosed,
    ChildTimedOut,
)
from entrepot.children.pool import ChildPool
from entrepot.formats.protocol import Format
from entrepot.model.errors import Refusal
from entrepot.model.nouns import Ticket
from entrepot.observe import logs, metrics
from entrepot.observe.clock import Clock
from entrepot.signing.keys import KeyMaterial, PublicKey, SecretKey
from entrepot.signing.seal import SealBrokenError, Sealer
from entrepot.signing.signer import Signer, SignerCache

_log = logs.get("node")

GENERATE_S_MAX = 120.0
READ_S_MAX = 30.0  # a key that was brought along: its passphrase may have been made slow to try
DAY_S = 86_400
WARN_DAYS = 30


class Keyring:
    """Keys by repository. Every method blocks and is safe from any thread.

    A key's user id cannot name its repository, because keys are made ahead of repositories; ``user_id`` names the
    server.
    """

    def __init__(
        self,
        catalog: Catalog,
        sealer: Sealer,
        children: ChildPool,
        clock: Clock,
        formats: Mapping[str, Format],
        *,
        algorithm: str,
        user_id: str,
    ) -> None:
        self._catalog = catalog
        self._sealer = sealer
        self._children = children
        self._clock = clock
        self._signed = frozenset(name for name, each in formats.items() if each.signatures)
        self._algorithm = algorithm
        self._user_id = user_id
        self._making = threading.Lock()
        self._warned: set[tuple[str, str]] = set()
        self.signers = SignerCache(self._signing_ids, self._load)

    # ------------------------------------------------------------------ made here

    def prepare(self, row: RepositoryRow) -> None:
        """See to it that a repository has a key: a spare one, or one made now.

        Raises Refusal: ``signing_failed``, those of the catalog, ``busy``, ``stopping``.
        """
        self._prepare(row.id)

    def _prepare(self, repository_id: int) -> None:
        if self._give(repository_id):
            return
        with self._making:
            if not self._give(repository_id):
                self._make(self._algorithm, repository_id)

    def _give(self, repository_id: int) -> bool:
        now_s = self._clock.now_s()

        def work(conn: Connection) -> bool:
            if catalog_keys.for_repository(conn, repository_id):
                return True
            return catalog_keys.take_spare(conn, self._algorithm, repository_id, now_s) is not None

        return self._catalog.submit(work)

    def _make(self, algorithm: str, repository_id: int | None) -> KeyRow:
        """Make a key in a child (it holds the interpreter lock for seconds), seal it and keep it."""
        new, now_s = self._generate(algorithm), self._clock.now_s()
        return self._catalog.submit(lambda conn: catalog_keys.add(conn, new, now_s, repository_id=repository_id))

    def _generate(self, algorithm: str) -> NewKey:
        args = (algorithm, self._user_id, self._clock.now_s())
        with _translated():
            made = self._children.call("entrepot.signing.make:generate", args, timeout_s=GENERATE_S_MAX)
        assert isinstance(made, KeyMaterial)
        _log.info("signing key made", algorithm=made.algorithm, fingerprint=made.fingerprint)
        return self._sealed(made)

    def _sealed(self, key: KeyMaterial) -> NewKey:
        sealed = self._sealer.seal(key.secret.packed(), key.fingerprint)
        return NewKey(
            key.algorithm, key.fingerprint, key.user_id, key.public_armored, sealed, key.expires_at, key.imported
        )

    def fill_spares(self, count: int) -> int:
        """Make spare keys until ``count`` are there; returns how many were made."""
        made = 0
        with self._catalog.read() as conn:
            there = catalog_keys.spare_count(conn, self._algorithm)
        while there + made < count:
            with self._making:
                self._make(self._algorithm, None)
            made += 1
        metrics.spare_keys.set(there + made)
        return made

    # ------------------------------------------------------------------ changes

    def bring(
        self, repository_id: int, data: bytes, passphrase: str | None, *, alone: bool | None, actor: audit.Actor
    ) -> tuple[KeyRow, tuple[Ticket, ...]]:
        """Add a secret key that was made elsewhere; what is published is signed anew, and the tickets say when.

        ``alone``: the keys that sign until now are retired at once; None: those that were made here, if no client can
        have seen a signature of theirs (an imported one is a key that clients trust already). Raises Refusal:
        ``key_unusable``, ``field_invalid``.
        """
        now_s = self._clock.now_s()
        read = self._read("load", (data, passphrase, now_s))
        assert isinstance(read, KeyMaterial)
        return self._change(repository_id, self._sealed(read), now_s, alone=alone, actor=actor)

    def _read(self, function: str, args: tuple[object, ...]) -> object:
        """Have a child read a key that somebody sent. Raises Refusal."""
        with _translated():
            try:
                return self._children.call(f"entrepot.signing.bring:{function}", args, timeout_s=READ_S_MAX)
            except (ChildCrashed, ChildFailed, ChildTimedOut) as error:
                _log.warning("key not read", error=type(error).__name__, reason=str(error)[:200])
                text = "The key could not be read within its bounds of time and memory."
                raise Refusal("key_unusable", text, reason="unreadable") from error

    def rotate(
        self, repository_id: int, algorithm: str | None, *, actor: audit.Actor
    ) -> tuple[KeyRow, tuple[Ticket, ...]]:
        """Make a new key beside those that sign; ``algorithm`` None for the setting's. Raises Refusal."""
        new = self._generate(algorithm or self._algorithm)
        return self._change(repository_id, new, self._clock.now_s(), alone=False, actor=actor)

    def _change(
        self, repository_id: int, new: NewKey, now_s: int, *, alone: bool | None, actor: audit.Actor
    ) -> tuple[KeyRow, tuple[Ticket, ...]]:
        def work(conn: Connection) -> tuple[KeyRow, tuple[Ticket, ...]]:
            row = catalog_keys.add(conn, new, now_s, repository_id=repository_id, actor=actor)
            unseen = alone is None and not catalog_keys.has_published(conn, repository_id, self._signed)
            for other in catalog_keys.for_repository(conn, repository_id):
                if other.id != row.id and (alone or (unseen and not other.imported)):
                    catalog_keys.retire(conn, other, now_s, actor=actor)
            return row, catalog_keys.sign_again(conn, repository_id, self._signed)

        return self._catalog.submit(work)

    def retire(self, repository_id: int, name: str, *, actor: audit.Actor) -> tuple[KeyRow, tuple[Ticket, ...]]:
        """End the use of a key, by its fingerprint or the end of it: it signs no more and is served no more.

        Raises Refusal: ``not_found``; ``field_invalid`` for the last one that signs.
        """
        now_s = self._clock.now_s()

        def work(conn: Connection) -> tuple[KeyRow, tuple[Ticket, ...]]:
            row = catalog_keys.find(conn, repository_id, name)
            if row.retired_at is not None:
                return row, ()
            others = [each for each in catalog_keys.for_repository(conn, repository_id) if each.id != row.id]
            if not any(each.signs(now_s) for each in others):
                raise Refusal(
                    "field_invalid",
                    "No other key signs for the repository. Make one first with `entrepot key rotate`, or import one.",
                    field="fingerprint",
                )
            catalog_keys.retire(conn, row, now_s, actor=actor)
            return catalog_keys.by_id(conn, row.id), catalog_keys.sign_again(conn, repository_id, self._signed)

        return self._catalog.submit(work)

    def secret(self, repository_id: int, name: str, *, actor: audit.Actor) -> tuple[KeyRow, str]:
        """A secret key, armored, under the passphrase that it came with. Written into the audit trail. Raises Refusal
        ``not_found``.
        """
        now_s = self._clock.now_s()

        def work(conn: Connection) -> KeyRow:
            row = catalog_keys.find(conn, repository_id, name)
            catalog_keys.exported(conn, row, now_s, actor=actor)
            return row

        row = self._catalog.submit(work)
        return row, self._open(row).armored

    def bring_package_key(
        self, repository_id: int, data: bytes, name: str | None, *, actor: audit.Actor
    ) -> PackageKeyRow:
        """Add a public key by which packages were signed elsewhere; ``name`` None: after its fingerprint.

        Raises Refusal: ``key_unusable``, ``field_invalid``.
        """
        read = self._read("load_public", (data,))
        assert isinstance(read, PublicKey)
        now_s = self._clock.now_s()
        called = name or f"{read.fingerprint[-16:]}.pub.gpg"
        row = PackageKeyRow(called, read.fingerprint, read.user_id, read.public_armored, now_s, read.expires_at)
        self._catalog.submit(lambda conn: catalog_keys.add_package_key(conn, repository_id, row, now_s, actor=actor))
        return row

    # ------------------------------------------------------------------ use

    def public_armored(self, repository_id: int) -> bytes:
        """The public keys of a repository, armored, for clients: more than one while a rotation overlaps. No secret is
        opened for them. Raises Refusal as :meth:`prepare`.
        """
        rows = self._rows(repository_id)
        return b"".join(row.public_armored.encode("ascii") for row in rows)

    def watch_ends(self) -> None:
        """Measure how long the nearest end of a key is away, and log once of each key that ends soon."""
        now_s = self._clock.now_s()
        with self._catalog.read() as conn:
            found = catalog_keys.endings(conn, now_s)
        metrics.signing_key_expiry_days.set((found[0].expires_at - now_s) / DAY_S if found else float("inf"))
        for each in found:
            mark = (str(each.repository), each.fingerprint)
            days = (each.expires_at - now_s) // DAY_S
            if days < WARN_DAYS and mark not in self._warned:
                self._warned.add(mark)
                _log.warning("signing key ends soon", repository=mark[0], fingerprint=mark[1], days=days)

    def _signing_ids(self, repository_id: int) -> tuple[int, ...]:
        now_s = self._clock.now_s()
        with self._catalog.read() as conn:
            found = catalog_keys.signing_ids(conn, repository_id, now_s)
        if found:
            return found
        found = tuple(row.id for row in self._rows(repository_id) if row.signs(now_s))
        if not found:
            raise Refusal(
                "key_unusable",
                "Every signing key of the repository has expired: make one with `entrepot key rotate`, or move the end"
                " of the old one in gpg and import it again.",
                reason="expired",
            )
        return found

    def _rows(self, repository_id: int) -> list[KeyRow]:
        with self._catalog.read() as conn:
            rows = catalog_keys.for_repository(conn, repository_id)
        if rows:
            return rows
        # A crash between the repository's row and its key: the key is made at first need.
        self._prepare(repository_id)
        with self._catalog.read() as conn:
            return catalog_keys.for_repository(conn, repository_id)

    def _load(self, repository_id: int, ids: tuple[int, ...]) -> Signer:
        with self._catalog.read() as conn:
            rows = [row for row in catalog_keys.for_repository(conn, repository_id) if row.id in ids]
        return Signer([self._open(row) for row in rows])

    def _open(self, row: KeyRow) -> SecretKey:
        with _translated():
            return SecretKey.unpacked(self._sealer.open(row.secret_sealed, row.fingerprint))


@contextmanager
def _translated() -> Iterator[None]:
    """Turn what becomes of a child or a seal into a Refusal."""
    try:
        yield
    except ChildPoolBusy as error:
        raise Refusal("busy") from error
    except ChildPoolClosed as error:
        raise Refusal("stopping") from error
    except ChildError as error:
        _log.error("signing key not made", error=type(error).__name__, reason=str(error)[:2000])
        raise Refusal("signing_failed") from error
    except SealBrokenError as error:
        raise Refusal("signing_failed", str(error)) from error
