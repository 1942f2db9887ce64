"""What every API handler begins with: whose token, which repository; and the few changes that two APIs share."""

from entrepot.catalog import Connection, repositories, tokens
from entrepot.catalog.audit import Actor
from entrepot.catalog.repositories import RepositoryRow
from entrepot.catalog.tokens import TokenRow
from entrepot.intake.intake import Source
from entrepot.model.errors import Refusal
from entrepot.model.nouns import CANARY_OWNER, RepositoryName, Role
from entrepot.observe import logs
from entrepot.web import auth
from entrepot.web.address import RESERVED
from entrepot.web.call import Call
from entrepot.web.services import Services

_log = logs.get("web")


class Guard:
    """Answers "who may", for the APIs."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def token(self, call: Call, role: Role = Role.READ) -> TokenRow:
        """The request's valid token. Raises Refusal: the 401 codes, ``role_too_low``."""
        row = await self._services.identify(call)
        auth.require(row, role, None)
        return row

    async def visitor(self, call: Call, role: Role = Role.READ) -> TokenRow:
        """As :meth:`token`, for a page: a browser's session counts too. Raises Refusal: the 401 codes,
        ``role_too_low``.
        """
        row = await self._services.visitor(call)
        auth.require(row, role, None)
        return row

    async def operator(self, call: Call, *, page: bool = False) -> TokenRow:
        """The operator's token, or, for a ``page``, his session. Raises Refusal: the 401 codes, ``role_too_low``."""
        row = await (self.visitor if page else self.token)(call, Role.ADMIN)
        if not auth.is_operator(row):
            raise Refusal("role_too_low", "This needs the server's administrator token.", role_needed="admin")
        return row

    async def repository(self, call: Call, user: str, repo: str, role: Role) -> tuple[TokenRow, RepositoryRow]:
        """Token and repository of an address ``…/USER/REPO…``.

        Raises Refusal: the 401 codes, ``repository_not_allowed``, ``role_too_low``, ``repository_unknown``;
        ``stopping`` for changes.
        """
        token = await self.token(call)
        try:
            name = RepositoryName.parse(f"{user}/{repo}")
        except Refusal:
            raise Refusal("repository_unknown") from None
        call.repository = str(name)
        auth.require(token, role, name)
        if role is not Role.READ and self._services.draining.stopping:
            raise Refusal("stopping")
        return token, await self._services.repository(name)

    async def repositories(self, call: Call) -> list[RepositoryRow]:
        """Every repository that the request's token may know of, by name.

        Raises Refusal: the 401 codes.
        """
        return await self.repositories_of(await self.token(call))

    async def tokens_of(self, token: TokenRow) -> list[TokenRow]:
        """Every token that an admin token may know of: its owner's, or all for the operator, oldest first."""
        owner = None if auth.is_operator(token) else token.owner
        rows = await self._services.sql(self._services.read, tokens.list_tokens, owner)
        if token.repositories is None:
            return list(rows)
        # The names of the owner's other repositories are not this token's business.
        mine = frozenset(token.repositories)
        return [row for row in rows if row.repositories is not None and mine.issuperset(row.repositories)]

    async def repositories_of(self, token: TokenRow) -> list[RepositoryRow]:
        """Every repository that a token may know of: those in its list, whoever owns them, else its owner's, or all for
        the operator; by name.
        """
        return list(await self._services.sql(self._services.read, auth.visible, token))

    @staticmethod
    def actor(token: TokenRow, call: Call) -> Actor:
        """Who is written into the audit trail."""
        return Actor(token.actor_name, call.address)

    @staticmethod
    def source(token: TokenRow, call: Call) -> Source:
        """Who sends an upload."""
        return Source(token.name, call.address, token.actor_name)

    @staticmethod
    def check_owner(name: str) -> None:
        """Raises Refusal("repository_name_invalid") for an owner whose repositories no address would reach, and for the
        nodes' own.
        """
        if name in RESERVED or name == CANARY_OWNER:
            raise Refusal("repository_name_invalid", "This owner's name is used by the server itself.", value=name)

    async def create_repository(
        self, name: RepositoryName, private: bool, call: Call, token: TokenRow
    ) -> RepositoryRow:
        """Create a repository and give it its signing key. Raises Refusal: ``repository_exists``,
        ``repository_name_invalid``.
        """
        self.check_owner(name.owner)
        services = self._services
        actor, now_s = self.actor(token, call), services.clock.now_s()

        def work(conn: Connection) -> RepositoryRow:
            tokens.ensure_owner(conn, name.owner, now_s, actor=actor)
            return repositories.create(conn, name, private, now_s, actor=actor)

        row = await services.change(work)
        services.forget_repository(name)
        try:
            await services.prepare(row)
        except Refusal as refusal:
            # The repository is there, and its key is made when something is to be signed: a refusal now would only make
            # its maker ask again, and be told that it exists.
            _log.warning("repository without a key yet", repository=str(name), code=refusal.code)
        return row

    async def delete_repository(self, row: RepositoryRow, call: Call, token: TokenRow) -> None:
        """Delete a repository; its name is free at once, its bytes go with the next collection."""
        services = self._services
        actor, now_s = self.actor(token, call), services.clock.now_s()
        await services.change(lambda conn: repositories.delete(conn, row.id, now_s, actor=actor))
        services.forget_repository(row.name)
        services.reader.forget_repository(row.id)
