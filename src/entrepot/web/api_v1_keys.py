"""/api/v1: packagecloud's gpg_keys. Its keys of type ``repo`` are the signing keys; those of type ``package`` are
public keys of packages that came signed.
"""

from entrepot.catalog import keys as catalog_keys
from entrepot.catalog.keys import KeyRow, PackageKeyRow
from entrepot.catalog.repositories import RepositoryRow
from entrepot.model.errors import Refusal
from entrepot.model.limits import FORM_FIELD_BYTES_MAX
from entrepot.model.nouns import Role
from entrepot.web.answer import json_answer
from entrepot.web.api_v2_keys import remove_package_key
from entrepot.web.call import Call
from entrepot.web.forms import read_fields
from entrepot.web.guard import Guard
from entrepot.web.router import Table
from entrepot.web.services import Services


class KeysV1:
    """Lists keys; adds and removes package keys."""

    def __init__(self, services: Services, guard: Guard) -> None:
        self._services = services
        self._guard = guard

    def mount(self, table: Table) -> None:
        """Add every route. Names hold dots, and the router takes one ``.json`` off what is no DELETE."""
        base = "/api/v1/repos/{user}/{repo}/gpg_keys"
        table.add("GET", base, "api_v1", self.list_keys)
        table.add("POST", base, "api_v1", self.create_key)
        table.add("GET", f"{base}/{{name}}", "api_v1", self.show_key)
        table.add("DELETE", f"{base}/{{name}}", "api_v1", self.destroy_key)

    async def list_keys(self, call: Call, user: str, repo: str) -> None:
        """GET gpg_keys: signing keys first."""
        _, row = await self._guard.repository(call, user, repo, Role.READ)
        await json_answer(call, 200, {"gpg_keys": await self._shown(row)})

    async def show_key(self, call: Call, user: str, repo: str, name: str) -> None:
        """GET gpg_keys/NAME."""
        _, row = await self._guard.repository(call, user, repo, Role.READ)
        found = next((each for each in await self._shown(row) if each["name"] == name), None)
        if found is None:
            raise Refusal("not_found")
        await json_answer(call, 200, found)

    async def create_key(self, call: Call, user: str, repo: str) -> None:
        """POST gpg_keys: ``gpg_key[keydata]``; 201. Of a secret key only the public part is kept."""
        token, row = await self._guard.repository(call, user, repo, Role.ADMIN)
        text = (await read_fields(call)).get("gpg_key[keydata]", "")
        actor, keys = self._guard.actor(token, call), self._services.keys
        try:
            if not 0 < len(text) <= FORM_FIELD_BYTES_MAX:
                raise Refusal("field_invalid", "`gpg_key[keydata]` is an armored public key.", field="keydata")
            data = text.encode("utf-8", "replace")
            key = await self._services.with_keys(lambda: keys.bring_package_key(row.id, data, None, actor=actor))
        except Refusal as refusal:
            if refusal.kind.status != 422:
                raise
            # The CLI prints this one as it is; everywhere else packagecloud answers with a map of lists.
            call.code = refusal.code
            await json_answer(call, 422, {"error": refusal.detail})
            return
        await json_answer(call, 201, self._package_key(row, key))

    async def destroy_key(self, call: Call, user: str, repo: str, name: str) -> None:
        """DELETE gpg_keys/NAME: 204; 404 for a signing key, which cannot be removed so."""
        token, row = await self._guard.repository(call, user, repo, Role.ADMIN)
        await remove_package_key(self._services, self._guard, call, token, row, name.removesuffix(".json"))
        await call.answer(204, [(b"cache-control", b"no-store")])

    async def _shown(self, row: RepositoryRow) -> list[dict[str, str]]:
        services = self._services
        keys = await services.sql(services.read, catalog_keys.for_repository, row.id)
        packages = await services.sql(services.read, catalog_keys.package_keys, row.id)
        shown = [self._signing_key(row, key) for key in keys]
        return shown + [self._package_key(row, key) for key in packages]

    def _signing_key(self, row: RepositoryRow, key: KeyRow) -> dict[str, str]:
        name = f"{row.name.owner}-{row.name.name}-{key.fingerprint[-16:]}.pub.gpg"
        return self._shape(row, name, key.fingerprint, "repo", "gpgkey")

    def _package_key(self, row: RepositoryRow, key: PackageKeyRow) -> dict[str, str]:
        return self._shape(row, key.name, key.fingerprint, "package", f"gpgkey/{key.name}")

    def _shape(self, row: RepositoryRow, name: str, fingerprint: str, kind: str, path: str) -> dict[str, str]:
        own = f"/api/v1/repos/{row.name}/gpg_keys/{name}"
        return {
            "name": name,
            "fingerprint": fingerprint,
            "keytype": kind,
            "self": own,
            "destroy_url": own,
            "download_url": f"{self._services.settings.public_url}/{row.name}/{path}",
        }
