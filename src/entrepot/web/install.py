"""``/install/repositories/USER/REPO/…``: one line on the customer's machine. packagecloud's addresses; see
``formats/*/install.py`` for the texts.

Nothing that a request says gets into an answer: ``os`` and ``dist`` choose a row of the distribution table, the other
fields are compared with words, and ``name`` goes into the name of a token.
"""

from entrepot.catalog import Connection
from entrepot.catalog import keys as catalog_keys
from entrepot.catalog import tokens as catalog_tokens
from entrepot.catalog.repositories import RepositoryRow
from entrepot.catalog.tokens import TokenRow
from entrepot.formats.protocol import Format, InstallInput
from entrepot.model.errors import Refusal
from entrepot.model.limits import API_TEXT_CHARS_MAX
from entrepot.model.nouns import RepositoryName, Role
from entrepot.web import auth
from entrepot.web.address import RepositoryAddress
from entrepot.web.call import Call
from entrepot.web.forms import read_fields, truth
from entrepot.web.guard import Guard
from entrepot.web.read import Reads
from entrepot.web.router import Table
from entrepot.web.services import Services

BASE = "/install/repositories/{user}/{repo}"
UNNAMED = "unnamed"
# Says enough to go on with, and nothing of what was asked: a terminal shows it.
_UNKNOWN = (
    "This repository cannot be set up for this system by itself: the server has no distribution of that name and"
    " release. Say which one it is like, for example with `os=debian dist=bookworm` before `sh`; or have the server's"
    " operator add it with `entrepot distro add`; or take the packages that fit every system, if there are any:"
    " `?any=true`."
)


class Installs:
    """Scripts, the files that they ask for, and machines' own tokens."""

    def __init__(self, services: Services, guard: Guard, reads: Reads) -> None:
        self._services = services
        self._guard = guard
        self._reads = reads

    def mount(self, table: Table) -> None:
        """Add every route."""
        table.add("POST", f"{BASE}/tokens.text", "install", self.token)
        table.add("GET", f"{BASE}/{{name}}", "install", self.file)

    async def file(self, call: Call, user: str, repo: str, name: str) -> None:
        """GET NAME: a script (``any``), or a file that it asks for (``os``, ``dist``, ``name``)."""
        row = await self._repository(call, user, repo)
        owner = next((each for each in self._services.formats.values() if name in each.installs), None)
        if owner is None:
            raise Refusal("not_found", "There is no such set-up file; the repository's page shows what there is.")
        own = owner.installs[name]
        distribution = self._distribution(call, owner) if own else ""
        request = InstallInput(
            base_url=f"{self._services.settings.public_url}/{row.name}",
            install_url=f"{self._services.settings.public_url}/install/repositories/{row.name}",
            owner=row.name.owner,
            repository=row.name.name,
            token=await self._token_of(call, row, machine=own),
            distribution=distribution,
            any=truth(call.argument("any")),
            options=dict(call.query),
            package_keys=await self._package_keys(row),
        )
        found = owner.install(name, request)
        headers = [(b"content-type", found.content_type.encode()), (b"cache-control", b"no-store")]
        await call.answer(200, [*headers, (b"x-content-type-options", b"nosniff")], found.text.encode())

    async def token(self, call: Call, user: str, repo: str) -> None:
        """POST tokens.text, form ``name``: 201 and the token of the machine of that name, as plain text. The same name
        has the same token.
        """
        row = await self._repository(call, user, repo)
        fields = await read_fields(call)
        parent = await self._identify(call, row)
        text = await self._machine(call, row, parent, fields.get("name"))
        headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"cache-control", b"no-store")]
        await call.answer(201, headers, text.encode())

    async def _repository(self, call: Call, user: str, repo: str) -> RepositoryRow:
        try:
            name = RepositoryName.parse(f"{user}/{repo}")
        except Refusal:
            raise Refusal("repository_unknown") from None
        call.repository = str(name)
        return await self._reads.allow(call, RepositoryAddress(name, ""))

    def _distribution(self, call: Call, owner: Format) -> str:
        """What ``os`` and ``dist`` name. Raises Refusal("distribution_unknown"), which says what to do."""
        try:
            found = self._services.distributions.by_system(call.argument("os") or "", call.argument("dist") or "")
        except Refusal:
            raise Refusal("distribution_unknown", _UNKNOWN) from None
        if found.format != owner.name:
            raise Refusal("distribution_unknown", _UNKNOWN)
        return found.path

    # ------------------------------------------------------------------ tokens

    async def _identify(self, call: Call, row: RepositoryRow) -> TokenRow:
        token = await self._guard.token(call)
        auth.require(token, Role.READ, row.name)
        return token

    async def _token_of(self, call: Call, row: RepositoryRow, *, machine: bool) -> str | None:
        """The text of the token that an answer holds: None for a public repository, the caller's own in a script, the
        machine's in what a machine keeps.
        """
        if not row.private:
            return None
        token = await self._identify(call, row)
        if machine and token.parent_id is None:
            return await self._machine(call, row, token, call.argument("name"))
        texts = auth.credentials(call.headers.get(b"authorization"))
        for text in texts:
            found = await self._services.tokens.find(text)
            if found is not None and found.id == token.id:
                return text
        raise Refusal("token_unknown")

    async def _machine(self, call: Call, row: RepositoryRow, parent: TokenRow, name: str | None) -> str:
        """The token of a machine of this name, made when it is missing. Raises Refusal."""
        called = (name or UNNAMED).strip() or UNNAMED
        if len(called) > API_TEXT_CHARS_MAX or not called.isprintable():
            text = f"`name` is a text of at most {API_TEXT_CHARS_MAX} printable characters."
            raise Refusal("field_invalid", text, field="name")
        services = self._services
        text = services.derive(f"machine {row.id} {parent.id}", called)
        actor, now_s = self._guard.actor(parent, call), services.clock.now_s()
        there = await services.tokens.find(text)

        def work(conn: Connection) -> TokenRow:
            return catalog_tokens.of_machine(conn, parent, row.name, called, text, now_s, actor=actor)

        if there is None or there.revoked_at is not None or parent.parent_id is not None:
            await services.change(work)
            services.tokens.forget()
        return text

    async def _package_keys(self, row: RepositoryRow) -> tuple[str, ...]:
        found = await self._services.sql(self._services.read, catalog_keys.package_keys, row.id)
        return tuple(each.name for each in found)
