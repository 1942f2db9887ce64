"""/api/v2: what packagecloud's API lacks. Tokens, repositories, distributions, yank and its way back, collection,
uploads by digest.
"""

from collections.abc import Sequence

from entrepot.catalog import Connection, distributions, files, repositories, tokens
from entrepot.catalog.files import FileRow
from entrepot.catalog.tokens import TokenRow
from entrepot.model.errors import Refusal
from entrepot.model.limits import API_SELECTION_CHARS_MAX, TOKEN_LIFE_S_MAX, TOKEN_REPOSITORIES_MAX
from entrepot.model.nouns import Distribution, RepositoryName, Role, Ticket
from entrepot.web import auth, shapes
from entrepot.web.address import OWN_SEGMENTS, Routes
from entrepot.web.answer import canonical, file_shape, json_answer, repository_shape, settle
from entrepot.web.call import Call
from entrepot.web.fields import bool_field, read_object, text_field
from entrepot.web.guard import Guard
from entrepot.web.router import Operation, Table
from entrepot.web.services import Services


class ApiV2:
    """Changes and questions of the CLI. Bodies are JSON objects."""

    def __init__(self, services: Services, guard: Guard, routes: Routes) -> None:
        self._services = services
        self._guard = guard
        self._routes = routes

    def mount(self, table: Table) -> None:
        """Add every route."""
        gone, changes = Operation({204: None}), Operation({200: shapes.Change}, shapes.Selection)
        new_token = Operation({201: shapes.CreatedToken}, shapes.NewToken)
        new_repository = Operation({201: shapes.Repository}, shapes.NewRepository)
        new_distribution = Operation({201: shapes.AddedDistribution}, shapes.NewDistribution)
        for method, path, handler, operation in (
            ("GET", "tokens", self.list_tokens, Operation({200: shapes.TokenList})),
            ("POST", "tokens", self.create_token, new_token),
            ("DELETE", "tokens/{token_id:int}", self.revoke_token, gone),
            ("GET", "repos", self.list_repositories, Operation({200: shapes.RepositoryList})),
            ("POST", "repos", self.create_repository, new_repository),
            ("GET", "repos/{user}/{repo}", self.show_repository, Operation({200: shapes.Repository})),
            ("DELETE", "repos/{user}/{repo}", self.delete_repository, gone),
            ("GET", "distributions", self.list_distributions, Operation({200: shapes.DistributionList})),
            ("POST", "distributions", self.add_distribution, new_distribution),
            ("POST", "repos/{user}/{repo}/yank", self.yank, changes),
            ("POST", "repos/{user}/{repo}/unyank", self.unyank, changes),
            ("POST", "gc", self.collect, Operation({200: shapes.Collected}, shapes.Collection)),
            ("GET", "settings", self.settings, Operation({200: shapes.Settings})),
        ):
            table.add(method, f"/api/v2/{path}", "api_v2", handler, operation)

    # ------------------------------------------------------------------ tokens

    async def list_tokens(self, call: Call) -> None:
        """GET tokens: the owner's own (every owner's, for the operator); never their texts."""
        token = await self._guard.token(call, Role.ADMIN)
        rows = await self._guard.tokens_of(token)
        await json_answer(call, 200, shapes.TokenList(tokens=[token_shape(row) for row in rows]))

    async def create_token(self, call: Call) -> None:
        """POST tokens {name, role, repositories?, expires_in_s?, owner?}: 201 with the text, shown this once. Every
        repository must exist.
        """
        services = self._services
        token = await self._guard.token(call, Role.ADMIN)
        body = await read_object(call)
        name = text_field(body, "name")
        role = _role(body.get("role", "push"))
        listed = _names(body.get("repositories"))
        owner = text_field(body, "owner", token.owner)
        self._may_create(token, owner, listed)
        self._guard.check_owner(owner)
        now_s = services.clock.now_s()
        lives_s = body.get("expires_in_s")
        if lives_s is not None and (type(lives_s) is not int or not 0 < lives_s <= TOKEN_LIFE_S_MAX):
            raise Refusal(
                "field_invalid",
                f"expires_in_s is a number of seconds, 1 to {TOKEN_LIFE_S_MAX}; without it a token never expires.",
                field="expires_in_s",
            )
        expires_at = None if lives_s is None else now_s + lives_s
        actor = self._guard.actor(token, call)

        def work(conn: Connection) -> tuple[TokenRow, str]:
            tokens.check_maker(conn, token)
            _check_there(conn, listed or ())
            return tokens.create(conn, owner, name, role, listed, expires_at, now_s, actor=actor)

        row, text = await services.change(work)
        services.tokens.forget()
        await json_answer(call, 201, shapes.CreatedToken(**token_shape(row), token=text))

    @staticmethod
    def _may_create(token: TokenRow, owner: str, listed: Sequence[str] | None) -> None:
        """A token never makes a wider one than itself."""
        if auth.is_operator(token):
            return
        if owner != token.owner:
            raise Refusal(
                "repository_not_allowed", "Only the administrator makes tokens of another owner.", owner=owner
            )
        for name in listed or ():
            auth.require(token, Role.ADMIN, RepositoryName.parse(name))
        if listed is None and token.repositories is not None:
            raise Refusal("repository_not_allowed", "This token is for some repositories; name them in `repositories`.")

    async def revoke_token(self, call: Call, token_id: int) -> None:
        """DELETE tokens/ID: 204, and no request with it is let through from here on."""
        services = self._services
        token = await self._guard.token(call, Role.ADMIN)
        actor, now_s = self._guard.actor(token, call), services.clock.now_s()

        def work(conn: Connection) -> None:
            mine = tokens.list_tokens(conn, None if auth.is_operator(token) else token.owner)
            found = next((row for row in mine if row.id == token_id), None)
            if found is None:
                raise Refusal("not_found", "There is no token of this id; `entrepot token list` shows all.")
            ApiV2._may_create(token, found.owner, found.repositories)
            tokens.revoke(conn, token_id, now_s, actor=actor)

        await services.change(work)
        services.tokens.forget()
        await call.answer(204, [(b"cache-control", b"no-store")])

    # ------------------------------------------------------------------ repositories

    async def list_repositories(self, call: Call) -> None:
        """GET repos: the token's own, or every one for the operator."""
        rows = await self._guard.repositories(call)
        shown = [repository_shape(self._services, row) for row in rows]
        await json_answer(call, 200, shapes.RepositoryList(repositories=shown))

    async def create_repository(self, call: Call) -> None:
        """POST repos {name: "USER/REPO", private?}: 201."""
        token = await self._guard.token(call, Role.ADMIN)
        body = await read_object(call)
        name = RepositoryName.parse(text_field(body, "name"))
        auth.require(token, Role.ADMIN, name)
        row = await self._guard.create_repository(name, bool_field(body, "private"), call, token)
        await json_answer(call, 201, repository_shape(self._services, row))

    async def show_repository(self, call: Call, user: str, repo: str) -> None:
        """GET repos/USER/REPO."""
        _, row = await self._guard.repository(call, user, repo, Role.READ)
        fresh = await self._services.sql(self._services.read, repositories.get, row.name)
        await json_answer(call, 200, repository_shape(self._services, fresh))

    async def delete_repository(self, call: Call, user: str, repo: str) -> None:
        """DELETE repos/USER/REPO: 204; gone for everybody at once."""
        token, row = await self._guard.repository(call, user, repo, Role.ADMIN)
        await self._guard.delete_repository(row, call, token)
        await call.answer(204, [(b"cache-control", b"no-store")])

    # ------------------------------------------------------------------ distributions

    async def list_distributions(self, call: Call) -> None:
        """GET distributions: every row, as a flat list."""
        await self._guard.token(call)
        shown = [
            shapes.Distribution(**_distribution_shape(row), version_number=row.version_number)
            for row in self._services.distributions.all()
        ]
        await json_answer(call, 200, shapes.DistributionList(distributions=shown))

    async def add_distribution(self, call: Call) -> None:
        """POST distributions {path, like?, display?, version_number?}: 201; uploads to it work at once."""
        services = self._services
        token = await self._guard.operator(call)
        body = await read_object(call)
        path = text_field(body, "path")
        options = {key: text_field(body, key, "") or None for key in ("like", "display", "version_number")}
        self._check_family(path.partition("/")[0], options["like"])
        actor, now_s = self._guard.actor(token, call), services.clock.now_s()
        row = await services.change(lambda conn: distributions.add(conn, path, now_s, actor=actor, **options))
        await services.sql(services.reload_distributions)
        self._routes.clear()
        await json_answer(call, 201, _distribution_shape(row))

    def _check_family(self, family: str, like: str | None) -> None:
        """Raises Refusal("field_invalid") for a family whose addresses are taken: it would hide a repository's key, its
        packages' links, or what another format serves there.
        """
        services = self._services
        wanted = services.distributions.by_family(like or family)
        known = services.distributions.by_family(family)
        mounted = any(owner.name != wanted for owner in services.by_mount.get(family, ()))
        if family in OWN_SEGMENTS or (known is not None and known != wanted) or mounted:
            raise Refusal("field_invalid", "This family's addresses are taken; choose another name.", field="path")

    # ------------------------------------------------------------------ yank

    async def yank(self, call: Call, user: str, repo: str) -> None:
        """POST yank {filename | name, version?, distribution?, dry_run?}: takes the files out of every index, one
        publication a scope. What is yanked already is answered with 200 and `already`.
        """
        await self._change(call, user, repo, yanked=False)

    async def unyank(self, call: Call, user: str, repo: str) -> None:
        """POST unyank, the same fields: puts back what was yanked and not collected yet, whole source packages at a
        time. One of a set that is not whole is held, and `indexed` is false.
        """
        await self._change(call, user, repo, yanked=True)

    async def _change(self, call: Call, user: str, repo: str, *, yanked: bool) -> None:
        services = self._services
        token, row = await self._guard.repository(call, user, repo, Role.ADMIN)
        body = await read_object(call)
        place = text_field(body, "distribution", "") or None
        distribution = None if place is None else canonical(services, place).path
        most = API_SELECTION_CHARS_MAX
        wanted = {key: text_field(body, key, "", chars_max=most) or None for key in ("filename", "name", "version")}
        dry_run = bool_field(body, "dry_run")
        actor, now_s = self._guard.actor(token, call), services.clock.now_s()

        def work(conn: Connection) -> tuple[tuple[FileRow, ...], tuple[Ticket, ...], bool]:
            found = files.match(conn, row.id, distribution, yanked=yanked, **wanted)
            if not found:
                # Done before: by the same request, whose answer was lost, or by a colleague.
                found = files.match(conn, row.id, distribution, yanked=not yanked, **wanted)
                if found:
                    return found, (), True
                raise Refusal("not_found", "No such file; a glob such as 'hello_*' matches whole file names.")
            ids = (files.sets_to_return if yanked else files.whole_sets)(conn, [each.id for each in found])
            if dry_run and yanked:
                files.check_unyank(conn, ids)
            change = files.unyank if yanked else files.yank
            tickets = () if dry_run else change(conn, ids, now_s, actor=actor)
            return files.by_ids(conn, ids), tickets, False

        rows, tickets, already = await (services.sql(services.read, work) if dry_run else services.change(work))
        indexed = await settle(services, tickets) and not any(each.held_until for each in rows if yanked)
        shown = [file_shape(each) for each in rows]
        answer = shapes.Change(files=shown, already=already, dry_run=dry_run, indexed=indexed and not dry_run)
        await json_answer(call, 200, answer)

    # ------------------------------------------------------------------ the server itself

    async def collect(self, call: Call) -> None:
        """POST gc {dry_run?}: what a collection frees, in true bytes; without ``dry_run`` it frees them."""
        token = await self._guard.operator(call)
        body = await read_object(call)
        actor = self._guard.actor(token, call)
        result = await self._services.sql(self._services.collect, bool_field(body, "dry_run"), actor)
        await json_answer(call, 200, result)

    async def settings(self, call: Call) -> None:
        """GET settings: the effective ones, secrets hidden."""
        await self._guard.operator(call)
        await json_answer(call, 200, dict(self._services.settings.effective))


def _role(value: object) -> Role:
    try:
        return Role(str(value))
    except ValueError:
        raise Refusal("field_invalid", "`role` is read, push or admin.", field="role") from None


def _names(value: object) -> list[str] | None:
    if value is None:
        return None
    if (
        not isinstance(value, list)
        or len(value) > TOKEN_REPOSITORIES_MAX
        or not all(isinstance(each, str) for each in value)
    ):
        raise Refusal("field_invalid", "`repositories` is a list of USER/REPO.", field="repositories")
    return value


def _check_there(conn: Connection, names: Sequence[str]) -> None:
    """Raises Refusal("repository_unknown") for the first that does not exist: a token for a misspelt one is found out
    only when it is used, by somebody else.
    """
    for name in names:
        if repositories.find(conn, RepositoryName.parse(name)) is None:
            advice = (
                f"There is no repository {name}; correct the name, or make it first: `entrepot repo create {name}`."
            )
            raise Refusal("repository_unknown", advice, field="repositories", value=name)


def token_shape(row: TokenRow) -> shapes.Token:
    """One token as /api/v2 shows it, without its text."""
    return {
        "id": row.id,
        "owner": row.owner,
        "name": row.name,
        "role": row.role,
        "repositories": None if row.repositories is None else list(row.repositories),
        "every_owner": auth.is_operator(row),
        "created_at": row.created_at,
        "expires_at": row.expires_at,
        "last_used_at": row.last_used_at,
    }


def _distribution_shape(row: Distribution) -> shapes.AddedDistribution:
    return {"id": row.id, "path": row.path, "type": row.type, "format": row.format}
