"""/api/v2: who the request's token is, and who changed what."""

from dataclasses import dataclass

from entrepot.catalog import Connection, audit
from entrepot.catalog.audit import AuditRow
from entrepot.catalog.tokens import TokenRow
from entrepot.model.limits import PAGE_ROWS_MAX
from entrepot.model.nouns import RepositoryName, Role
from entrepot.web import auth, shapes
from entrepot.web.answer import json_answer
from entrepot.web.api_v2 import token_shape
from entrepot.web.call import Call
from entrepot.web.fields import number
from entrepot.web.guard import Guard
from entrepot.web.router import Operation, Table
from entrepot.web.services import Services
from entrepot.web.shapes_log import Log, LogEntry, LogQuery

ROWS = 50


@dataclass(frozen=True, slots=True)
class Sight:
    """Which rows of the audit trail somebody may see: those about ``repositories`` (id → USER/REPO), and of ``owner``
    whatever else is his; None for an owner's token with a list of repositories. ``everything``: the operator's.
    """

    repositories: dict[int, str]
    owner: str | None
    everything: bool = False

    def covers(self, row: AuditRow) -> bool:
        """Whether a row may be seen."""
        about = row.detail.get("repository")
        if self.everything or about in self.repositories or row.subject in self.repositories.values():
            return True
        if self.owner is None or about is not None:
            return False
        return row.subject == self.owner or row.subject.startswith(f"{self.owner}/")


def sight(conn: Connection, token: TokenRow, name: RepositoryName | None) -> Sight:
    """What ``token`` may see; of ``name`` alone when it is given."""
    operator = auth.is_operator(token)
    known = {row.id: str(row.name) for row in auth.visible(conn, token)}
    if name is not None:
        return Sight({number: each for number, each in known.items() if each == str(name)}, None)
    if token.repositories is not None:
        return Sight(known, None)
    return Sight(known, token.owner, everything=operator)


class LogV2:
    """The audit trail, as far as it concerns whoever asks."""

    def __init__(self, services: Services, guard: Guard) -> None:
        self._services = services
        self._guard = guard

    def mount(self, table: Table) -> None:
        """Add every route."""
        table.add("GET", "/api/v2/whoami", "api_v2", self.whoami, Operation({200: shapes.Self}))
        asks = Operation({200: Log}, query=LogQuery)
        table.add("GET", "/api/v2/log", "api_v2", self.list_changes, asks)

    async def whoami(self, call: Call) -> None:
        """GET whoami: the token that asks, without its text, and the address that the server sees."""
        token = await self._guard.token(call)
        await json_answer(call, 200, shapes.Self(**token_shape(token), address=call.address))

    async def list_changes(self, call: Call) -> None:
        """GET log: who changed what, when, from where, with which digest; newest first. Of the owner's repositories and
        tokens, of everything for the operator.
        """
        token = await self._guard.token(call, Role.ADMIN)
        entries, before = await asked_log(self._services, call, token, call.argument("repository"))
        await json_answer(call, 200, Log(entries=entries, before=before))


async def asked_log(
    services: Services, call: Call, token: TokenRow, repository: str | None
) -> tuple[list[LogEntry], int | None]:
    """What a request asks of the trail (``before``, ``rows``), of one ``repository`` or of all that ``token`` may see;
    and where to go on. Raises Refusal: ``repository_name_invalid``, ``repository_not_allowed``, ``repository_unknown``.
    """
    name = None if repository is None else RepositoryName.parse(repository)
    if name is not None:
        auth.require(token, Role.ADMIN, name)
        await services.repository(name)
    before = number(call.argument("before"), 2**62, 2**62)
    wanted = number(call.argument("rows"), ROWS, PAGE_ROWS_MAX)

    def work(conn: Connection) -> tuple[Sight, tuple[AuditRow, ...], int | None]:
        seen = sight(conn, token, name)
        return seen, *audit.search(conn, seen.covers, before_id=before, rows=wanted)

    seen, rows, following = await services.sql(services.read, work)
    return [entry(row, seen) for row in rows], following


def entry(row: AuditRow, seen: Sight) -> LogEntry:
    """One change as /api/v2 shows it."""
    about = row.detail.get("repository")
    named = row.subject if row.subject in seen.repositories.values() else None
    return {
        "id": row.id,
        "at": row.at,
        "actor": row.actor,
        "address": row.address,
        "action": row.action,
        "subject": row.subject,
        "repository": seen.repositories.get(about) if isinstance(about, int) else named,
        "detail": {key: value for key, value in row.detail.items() if key != "repository"},
    }
