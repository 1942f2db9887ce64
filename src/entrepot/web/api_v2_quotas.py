"""/api/v2: owners, and the quotas of owners and repositories."""

from typing import Any

from entrepot.catalog import quotas, repositories
from entrepot.catalog.quotas import OwnerRow
from entrepot.model.errors import Refusal
from entrepot.model.limits import QUOTA_BYTES_MAX
from entrepot.model.nouns import Role
from entrepot.web import auth, shapes
from entrepot.web.answer import json_answer, repository_shape
from entrepot.web.call import Call
from entrepot.web.fields import read_object
from entrepot.web.guard import Guard
from entrepot.web.router import Operation, Table
from entrepot.web.services import Services


class QuotasV2:
    """What owners hold, and what they and their repositories may hold."""

    def __init__(self, services: Services, guard: Guard) -> None:
        self._services = services
        self._guard = guard

    def mount(self, table: Table) -> None:
        """Add every route."""
        group = "api_v2"
        table.add("GET", "/api/v2/owners", group, self.list_owners, Operation({200: shapes.OwnerList}))
        table.add("GET", "/api/v2/owners/{user}", group, self.show_owner, Operation({200: shapes.Owner}))
        bounds = Operation({200: shapes.Owner}, shapes.Quota)
        table.add("PUT", "/api/v2/owners/{user}/quota", group, self.set_owner_quota, bounds)
        bounds = Operation({200: shapes.Repository}, shapes.Quota)
        table.add("PUT", "/api/v2/repos/{user}/{repo}/quota", group, self.set_repository_quota, bounds)

    async def list_owners(self, call: Call) -> None:
        """GET owners: the token's own, or every one for the operator."""
        services = self._services
        token = await self._guard.token(call)
        if auth.is_operator(token):
            rows = await services.sql(services.read, quotas.list_owners)
        else:
            self._check_whole(token.repositories)
            rows = (await services.sql(services.read, quotas.find_owner, token.owner),)
        await json_answer(call, 200, shapes.OwnerList(owners=[self._shape(row) for row in rows]))

    async def show_owner(self, call: Call, user: str) -> None:
        """GET owners/USER: the sums over its repositories, and its quota."""
        services = self._services
        token = await self._guard.token(call)
        if not auth.is_operator(token):
            self._check_whole(token.repositories)
            if token.owner != user:
                raise Refusal("repository_not_allowed", "The token is of another owner.")
        row = await services.sql(services.read, quotas.find_owner, user)
        await json_answer(call, 200, self._shape(row))

    @staticmethod
    def _check_whole(listed: tuple[str, ...] | None) -> None:
        """What the owner's other repositories hold is not the business of a token for some of them."""
        if listed is not None:
            raise Refusal("repository_not_allowed", "This needs a token for every repository of the owner.")

    async def set_owner_quota(self, call: Call, user: str) -> None:
        """PUT owners/USER/quota {quota_bytes}: bounds the sum over the owner's repositories; null for no bound."""
        services = self._services
        token = await self._guard.operator(call)
        quota_bytes = _quota(await read_object(call))
        actor, now_s = self._guard.actor(token, call), services.clock.now_s()
        row = await services.change(lambda conn: quotas.set_owner_quota(conn, user, quota_bytes, now_s, actor=actor))
        services.forget_repositories()
        await json_answer(call, 200, self._shape(row))

    async def set_repository_quota(self, call: Call, user: str, repo: str) -> None:
        """PUT repos/USER/REPO/quota {quota_bytes}: bounds what the repository holds; null for no bound."""
        services = self._services
        token, row = await self._guard.repository(call, user, repo, Role.ADMIN)
        quota_bytes = _quota(await read_object(call))
        actor, now_s = self._guard.actor(token, call), services.clock.now_s()
        await services.change(lambda conn: repositories.set_quota(conn, row.id, quota_bytes, now_s, actor=actor))
        services.forget_repository(row.name)
        fresh = await services.sql(services.read, repositories.get, row.name)
        await json_answer(call, 200, repository_shape(services, fresh))

    def _shape(self, row: OwnerRow) -> shapes.Owner:
        usage = row.usage
        return {
            "name": usage.name,
            "repositories": row.repositories,
            "files": row.files,
            "used_bytes": usage.used_bytes,
            "yanked_bytes": usage.yanked_bytes,
            "reserved_bytes": self._services.intake.claims.reserved_bytes(quotas.OWNER, usage.id),
            "quota_bytes": usage.quota_bytes,
        }


def _quota(body: dict[str, Any]) -> int | None:
    """The field ``quota_bytes``, which must be there: null is an answer. Raises Refusal("field_invalid")."""
    value = body.get("quota_bytes", "")
    if value is None or (type(value) is int and 0 <= value <= QUOTA_BYTES_MAX):
        return value
    raise Refusal(
        "field_invalid", f"`quota_bytes` is a number of bytes, 0 to {QUOTA_BYTES_MAX}, or null.", field="quota_bytes"
    )
