"""/api/v2: what holds the bytes of the node's volumes."""

from entrepot.web import shapes
from entrepot.web.answer import json_answer
from entrepot.web.call import Call
from entrepot.web.guard import Guard
from entrepot.web.router import Operation, Table
from entrepot.web.services import Services


class DiskV2:
    """For the operator alone: it names every repository."""

    def __init__(self, services: Services, guard: Guard) -> None:
        self._services = services
        self._guard = guard

    def mount(self, table: Table) -> None:
        """Add the route."""
        table.add("GET", "/api/v2/disk", "api_v2", self.show_disk_use, Operation({200: shapes.DiskUse}))

    async def show_disk_use(self, call: Call) -> None:
        """GET disk: what holds the bytes, by repository and by cause, and what each remedy would free."""
        await self._guard.operator(call)
        await json_answer(call, 200, await self._services.sql(self._services.disk_use))
