"""/api/v2: the answer by which `entrepot doctor` knows its server, whatever stands between."""

from entrepot.model.errors import Refusal
from entrepot.signing.proof import NONCE
from entrepot.web import shapes
from entrepot.web.answer import json_answer
from entrepot.web.call import Call
from entrepot.web.router import Operation, Table
from entrepot.web.services import Services


class ProofV2:
    """Needs no token: the operator's would go to whoever answers at the public URL."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def mount(self, table: Table) -> None:
        """Add the route."""
        operation = Operation({200: shapes.Proof}, query=shapes.ProofQuery)
        table.add("GET", "/api/v2/proof", "api_v2", self.prove, operation)

    async def prove(self, call: Call) -> None:
        """GET proof?nonce=HEX: what only this server, which has its secret, can answer to the number."""
        nonce = call.argument("nonce") or ""
        if not NONCE.fullmatch(nonce):
            raise Refusal("field_invalid", "`nonce` is 32 to 128 hexadecimal digits.", field="nonce")
        await json_answer(call, 200, shapes.Proof(nonce=nonce, proof=self._services.prove(nonce)))
