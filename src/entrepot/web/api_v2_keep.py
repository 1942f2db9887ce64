"""/api/v2: how many versions of each package a repository keeps."""

from collections.abc import Sequence
from typing import Any

from entrepot.catalog import Connection, files, keep
from entrepot.catalog.keep import KeepRule
from entrepot.catalog.repositories import RepositoryRow
from entrepot.model.errors import Refusal
from entrepot.model.limits import KEEP_VERSIONS_MAX, PAGE_ROWS_MAX
from entrepot.model.nouns import Role, Ticket
from entrepot.web import shapes
from entrepot.web.answer import canonical, file_shape, json_answer, settle
from entrepot.web.call import Call
from entrepot.web.fields import bool_field, read_object, text_field
from entrepot.web.guard import Guard
from entrepot.web.router import Operation, Table
from entrepot.web.services import Services


class KeepV2:
    """Keep rules, and what they take out."""

    def __init__(self, services: Services, guard: Guard) -> None:
        self._services = services
        self._guard = guard

    @property
    def _lines(self) -> keep.Lines:
        return {each.name: each.version_lines for each in self._services.formats.values()}

    def mount(self, table: Table) -> None:
        """Add every route."""
        path, group = "/api/v2/repos/{user}/{repo}/keep", "api_v2"
        table.add("GET", path, group, self.show_keep_rules, Operation({200: shapes.Keep}))
        table.add("PUT", path, group, self.set_keep_rule, Operation({200: shapes.Keep}, shapes.NewKeepRule))

    async def show_keep_rules(self, call: Call, user: str, repo: str) -> None:
        """GET keep: the repository's rules, and what they would take out now."""
        _, row = await self._guard.repository(call, user, repo, Role.ADMIN)
        found = await self._services.sql(self._services.read, keep.rules, row.id)
        _ids, answer = await self._judge(row, found, dry_run=True)
        await json_answer(call, 200, answer)

    async def set_keep_rule(self, call: Call, user: str, repo: str) -> None:
        """PUT keep {versions, distribution?, dry_run?}: of each package so many versions stay, in one distribution or
        in every one without a rule of its own; null takes the rule away. What that takes out now is in the answer;
        after later pushes upkeep does the same. The bytes go `publication.keep_replaced_s` later.
        """
        services = self._services
        token, row = await self._guard.repository(call, user, repo, Role.ADMIN)
        body = await read_object(call)
        versions = _versions(body)
        place = text_field(body, "distribution", "") or None
        distribution = None if place is None else canonical(services, place).path
        found = await services.sql(services.read, keep.rules, row.id)
        others = tuple(rule for rule in found if rule.distribution != distribution)
        wanted = (*others, *(() if versions is None else (KeepRule(distribution, versions),)))
        dry_run = bool_field(body, "dry_run")
        ids, answer = await self._judge(row, wanted, dry_run=dry_run)
        if dry_run:
            await json_answer(call, 200, answer)
            return
        actor, now_s, name = self._guard.actor(token, call), services.clock.now_s(), str(row.name)

        def work(conn: Connection) -> tuple[Ticket, ...]:
            keep.set_rule(conn, row.id, name, distribution, versions, now_s, actor=actor)
            return keep.supersede(conn, ids, now_s) if ids else ()

        answer["indexed"] = await settle(services, await services.change(work))
        await json_answer(call, 200, answer)

    async def _judge(
        self, row: RepositoryRow, rules: Sequence[KeepRule], *, dry_run: bool
    ) -> tuple[Sequence[int], shapes.Keep]:
        """The files that these rules do not keep, and the answer that says so."""

        def work(conn: Connection) -> tuple[Sequence[int], shapes.Keep]:
            ids = keep.beyond(conn, row.id, rules, self._lines)
            return ids, {
                "rules": [{"distribution": rule.distribution, "versions": rule.versions} for rule in rules],
                "dry_run": dry_run,
                "indexed": False,
                "file_count": len(ids),
                "size_bytes": keep.freed(conn, ids).size_bytes,
                "files": [file_shape(each) for each in files.by_ids(conn, ids[:PAGE_ROWS_MAX])],
            }

        return await self._services.sql(self._services.read, work)


def _versions(body: dict[str, Any]) -> int | None:
    """The field ``versions``, which must be there: null is an answer. Raises Refusal("field_invalid")."""
    value = body.get("versions", "")
    if value is None or (type(value) is int and 1 <= value <= KEEP_VERSIONS_MAX):
        return value
    raise Refusal("field_invalid", f"`versions` is a number, 1 to {KEEP_VERSIONS_MAX}, or null.", field="versions")
