"""Everything that a request handler may need, built once by the composition root."""

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from entrepot.catalog import Connection, distributions, repositories, tokens
from entrepot.catalog.audit import Actor
from entrepot.catalog.distributions import DistributionTable
from entrepot.catalog.engine import Catalog
from entrepot.catalog.keys import KeyRow, PackageKeyRow
from entrepot.catalog.repositories import RepositoryRow
from entrepot.formats.protocol import Format
from entrepot.intake.intake import Intake
from entrepot.model.errors import Refusal
from entrepot.model.limits import PUBLICATION_WAIT_S, RATE_BYTES_PER_S_MIN
from entrepot.model.nouns import Distribution, RepositoryName, Ticket
from entrepot.observe.clock import Clock
from entrepot.observe.health import Draining, HealthRegistry
from entrepot.publish.publisher import Publisher
from entrepot.publish.reader import Reader
from entrepot.storage.protocol import BlobStore
from entrepot.streams.threads import owned
from entrepot.web.attempts import Attempts
from entrepot.web.auth import Tokens, credentials, over
from entrepot.web.call import Call, Peers
from entrepot.web.limits import RequestLimits
from entrepot.web.operations import Operations
from entrepot.web.remembered import Remembered
from entrepot.web.sessions import Sessions, session_of

T = TypeVar("T")


class Keys(Protocol):
    """The keys of repositories, as the web floor asks for them. Every method blocks; see ``node.keyring``."""

    def public_armored(self, repository_id: int) -> bytes:
        """The public keys of a repository, armored."""

    def bring(
        self, repository_id: int, data: bytes, passphrase: str | None, *, alone: bool | None, actor: Actor
    ) -> tuple[KeyRow, tuple[Ticket, ...]]:
        """Add a secret key that was made elsewhere."""

    def rotate(self, repository_id: int, algorithm: str | None, *, actor: Actor) -> tuple[KeyRow, tuple[Ticket, ...]]:
        """Make a new key beside those that sign."""

    def retire(self, repository_id: int, name: str, *, actor: Actor) -> tuple[KeyRow, tuple[Ticket, ...]]:
        """End the use of a key."""

    def secret(self, repository_id: int, name: str, *, actor: Actor) -> tuple[KeyRow, str]:
        """A secret key, armored."""

    def bring_package_key(self, repository_id: int, data: bytes, name: str | None, *, actor: Actor) -> PackageKeyRow:
        """Add a public key by which packages were signed elsewhere."""


REPOSITORIES_KEPT_MAX = 4096
REPOSITORY_KEPT_S = 2.0


@dataclass(frozen=True, slots=True)
class WebSettings:
    """What the web floor needs to know. ``public_url`` (no closing slash) is the only source of printed URLs."""

    public_url: str
    peers: Peers = field(default_factory=Peers)
    publication_wait_s: float = PUBLICATION_WAIT_S
    rate_min_bytes_per_s: int = RATE_BYTES_PER_S_MIN
    refusal_delay_s: float = 0.0
    limits: RequestLimits = field(default_factory=RequestLimits)
    effective: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Workers:
    """Threads for blocking calls. Reads have their own, so a slow disk under uploads does not hold up downloads; so has
    the making of keys, which takes seconds for RSA when many repositories are made at once.
    """

    sql: Executor
    files: Executor
    keys: Executor


class Services:
    """The parts of a node that requests use, and the short memories in front of the catalog."""

    def __init__(
        self,
        *,
        settings: WebSettings,
        catalog: Catalog,
        store: BlobStore,
        intake: Intake,
        publisher: Publisher,
        reader: Reader,
        formats: Mapping[str, Format],
        clock: Clock,
        workers: Workers,
        health: HealthRegistry,
        draining: Draining,
        on_repository: Callable[[RepositoryRow], None],
        keys: Keys,
        derive: Callable[[str, str], str],
        collect: Callable[[bool, Actor], Mapping[str, object]],
        disk_use: Callable[[], Mapping[str, object]],
        prove: Callable[[str], str],
        operations: Operations,
    ) -> None:
        """Args: ``on_repository`` prepares a new repository (gives it its signing key);
        ``derive(purpose, name)`` is the token that is the same each time for both; ``collect(dry_run, actor)`` runs
        one garbage collection. They block, all but ``derive``.
        """
        self.settings = settings
        self.catalog = catalog
        self.store = store
        self.intake = intake
        self.publisher = publisher
        self.reader = reader
        self.formats = formats
        self.clock = clock
        self.workers = workers
        self.health = health
        self.draining = draining
        self.on_repository = on_repository
        self.keys = keys
        self.derive = derive
        self.collect = collect
        self.disk_use = disk_use
        self.prove = prove
        self.operations = operations
        attempts = Attempts(settings.limits.login_failures_per_address_max, clock)
        self.tokens = Tokens(self._token, clock, attempts)
        self.sessions = Sessions(clock)
        self._repositories: Remembered[RepositoryName, RepositoryRow | None] = Remembered(
            clock, keep_s=REPOSITORY_KEPT_S, most=REPOSITORIES_KEPT_MAX
        )
        with catalog.read() as conn:
            self.distributions: DistributionTable = distributions.load(conn)
        self.by_mount: dict[str, tuple[Format, ...]] = {}
        self._mount()
        self.type_filters: Mapping[str, tuple[str, ...]] = {
            word: types for each in formats.values() for word, types in each.type_filters.items()
        }

    # ------------------------------------------------------------------ blocking work

    async def sql(self, function: Callable[..., T], *args: object) -> T:
        """Run ``function`` in a catalog thread."""
        return await asyncio.get_running_loop().run_in_executor(self.workers.sql, function, *args)

    async def files(self, function: Callable[..., T], *args: object) -> T:
        """Run ``function`` in a thread for reading files."""
        return await asyncio.get_running_loop().run_in_executor(self.workers.files, function, *args)

    async def opened(self, give_back: Callable[[T], None], function: Callable[..., T], *args: object) -> T:
        """As :meth:`files`, for what must be closed: see :func:`~entrepot.streams.threads.owned`."""
        return await owned(self.workers.files, give_back, function, *args)

    async def prepare(self, row: RepositoryRow) -> None:
        """Give a new repository its signing key."""
        await self.with_keys(lambda: self.on_repository(row))

    async def with_keys(self, function: Callable[[], T]) -> T:
        """Run ``function`` in a thread for making and reading keys."""
        return await asyncio.get_running_loop().run_in_executor(self.workers.keys, function)

    async def change(self, work: Callable[[Connection], T]) -> T:
        """Run ``work(conn)`` in the writer lane; it shares a commit with its neighbours and is durable when this
        returns.
        """
        return await self.sql(lambda: self.catalog.submit(work))

    def read(self, function: Callable[..., T], *args: object) -> T:
        """Call ``function(conn, *args)`` on a reading connection; blocking."""
        with self.catalog.read() as conn:
            return function(conn, *args)

    # ------------------------------------------------------------------ short memories

    async def identify(self, call: Call, path_token: str | None = None) -> tokens.TokenRow:
        """The valid token of a request, whose name the log then shows; ``path_token`` is that of ``/priv/TOKEN/``.

        Raises Refusal: the 401 codes, ``too_many_attempts``.
        """
        row = await self.tokens.identify(credentials(call.headers.get(b"authorization"), path_token), call.address)
        call.known_as(row.id, row.name)
        return row

    async def visitor(self, call: Call) -> tokens.TokenRow:
        """The valid token of a request for a page: of the browser's session, or sent as elsewhere.

        Raises Refusal: the 401 codes, ``too_many_attempts``.
        """
        token_id = None if b"authorization" in call.headers else self.sessions.token_id(session_of(call))
        if token_id is None:
            return await self.identify(call)
        row: tokens.TokenRow | None = await self.sql(self.read, tokens.by_id, token_id)
        if row is None:
            raise Refusal("token_unknown")
        if (fault := over(row, self.clock.now_s())) is not None:
            raise fault
        call.known_as(row.id, row.name)
        return row

    async def _token(self, text: str) -> tokens.TokenRow | None:
        return await self.sql(self.read, tokens.by_text, text)

    async def repository(self, name: RepositoryName) -> RepositoryRow:
        """The live repository of this name, remembered for two seconds. Raises Refusal("repository_unknown")."""
        row = await self._repositories.find(name, lambda: self.sql(self.read, repositories.find, name))
        if row is None:
            raise Refusal("repository_unknown", repository=str(name))
        return row

    def repository_known(self, name: RepositoryName) -> RepositoryRow | None:
        """The remembered row, or None when it has to be asked for."""
        held = self._repositories.held(name)
        return None if held is None else held[0]

    def forget_repository(self, name: RepositoryName) -> None:
        """Ask the catalog next time: it was created, changed or deleted."""
        self._repositories.forget(name)

    def forget_repositories(self) -> None:
        """Ask the catalog for every one next time: an owner's quota changed."""
        self._repositories.forget()

    # ------------------------------------------------------------------ distributions

    def format_of(self, distribution: Distribution) -> Format:
        """The format of a distribution's packages. Raises Refusal("format_mismatch") when this server has none."""
        found = self.formats.get(distribution.format)
        if found is None:
            raise Refusal(
                "format_mismatch",
                "This server does not take packages of this kind.",
                field="distribution",
                value=distribution.path,
            )
        return found

    def reload_distributions(self) -> None:
        """Read the distribution table again after a change; blocking."""
        table = self.read(distributions.load)
        self.distributions = table
        self._mount()

    def _mount(self) -> None:
        """Which formats may own an address, by its first segment below USER/REPO."""
        by_mount: dict[str, list[Format]] = {}
        for row in self.distributions.all():
            owner = self.formats.get(row.format)
            if owner is not None and owner not in by_mount.setdefault(row.family, []):
                by_mount[row.family].append(owner)
        for each in self.formats.values():
            for mount in each.mounts:
                if each not in by_mount.setdefault(mount, []):
                    by_mount[mount].append(each)
        self.by_mount = {segment: tuple(owners) for segment, owners in by_mount.items()}
