"""/api/v2: signing keys, and the public keys of packages that came signed."""

import base64
import binascii
from collections.abc import Iterator, Sequence
from typing import Any

from entrepot.catalog import keys as catalog_keys
from entrepot.catalog import publications
from entrepot.catalog.keys import KeyRow, PackageKeyRow
from entrepot.catalog.publications import ScopeRow
from entrepot.catalog.repositories import RepositoryRow
from entrepot.formats.protocol import Format, Signature
from entrepot.model.errors import Refusal
from entrepot.model.limits import KEY_TEXT_CHARS_MAX
from entrepot.model.nouns import Role, Ticket
from entrepot.signing.keys import PASSPHRASE_CHARS_MAX
from entrepot.web import shapes
from entrepot.web.answer import json_answer, settle
from entrepot.web.call import Call
from entrepot.web.fields import bool_field, name_field, read_object, text_field
from entrepot.web.guard import Guard
from entrepot.web.router import Operation, Table
from entrepot.web.services import Services

DAY_S = 86_400
_ARMOR = "-----BEGIN PGP"


class KeysV2:
    """What a repository signs with, and its change."""

    def __init__(self, services: Services, guard: Guard) -> None:
        self._services = services
        self._guard = guard

    def mount(self, table: Table) -> None:
        """Add every route."""
        keys = "repos/{user}/{repo}/keys"
        packages = "repos/{user}/{repo}/package-keys"
        change = shapes.KeyChange
        for method, path, handler, operation in (
            ("GET", "keys", self.list_all_keys, Operation({200: shapes.AllKeys})),
            ("GET", keys, self.list_keys, Operation({200: shapes.KeyList})),
            ("GET", "repos/{user}/{repo}/signed", self.list_signed, Operation({200: shapes.SignedList})),
            ("POST", keys, self.import_key, Operation({201: change}, shapes.NewKey)),
            ("POST", f"{keys}/rotate", self.rotate_key, Operation({201: change}, shapes.Rotation)),
            ("POST", f"{keys}/{{fingerprint}}/retire", self.retire_key, Operation({200: change})),
            ("POST", f"{keys}/{{fingerprint}}/secret", self.export_key, Operation({200: shapes.SecretKey})),
            ("POST", packages, self.add_package_key, Operation({201: shapes.PackageKey}, shapes.NewPackageKey)),
            ("DELETE", f"{packages}/{{name}}", self.remove_package_key, Operation({204: None})),
        ):
            table.add(method, f"/api/v2/{path}", "api_v2", handler, operation)

    async def list_all_keys(self, call: Call) -> None:
        """GET keys: those in use of every repository that the token may see."""
        services = self._services
        rows = await self._guard.repositories(call)
        found = await services.sql(services.read, catalog_keys.in_use)
        shown = [
            shapes.RepositoryKeys(repository=str(row.name), keys=[self._shape(key) for key in found.get(row.id, [])])
            for row in rows
        ]
        await json_answer(call, 200, shapes.AllKeys(repositories=shown))

    async def list_keys(self, call: Call, user: str, repo: str) -> None:
        """GET keys: those that sign, those that are retired, and the public ones of signed packages."""
        services = self._services
        _, row = await self._guard.repository(call, user, repo, Role.READ)
        keys = await services.sql(services.read, catalog_keys.history, row.id)
        packages = await services.sql(services.read, catalog_keys.package_keys, row.id)
        shown = [package_key_shape(services, row, each) for each in packages]
        await json_answer(call, 200, shapes.KeyList(keys=[self._shape(key) for key in keys], package_keys=shown))

    async def list_signed(self, call: Call, user: str, repo: str) -> None:
        """GET signed: what is signed, for whoever wants to check it as clients do."""
        services = self._services
        _, row = await self._guard.repository(call, user, repo, Role.READ)
        scopes = await services.sql(services.read, publications.published, row.id)
        shown = [_signed(services.formats[scope.format], scope, each) for scope, each in _signatures(services, scopes)]
        await json_answer(call, 200, shapes.SignedList(signed=shown))

    async def import_key(self, call: Call, user: str, repo: str) -> None:
        """POST keys {key, passphrase?, alone?}: 201; what is published is signed by it from now on."""
        token, row = await self._guard.repository(call, user, repo, Role.ADMIN)
        body = await read_object(call)
        data = _key_bytes(body)
        passphrase = body.get("passphrase")
        if passphrase is not None and (not isinstance(passphrase, str) or len(passphrase) > PASSPHRASE_CHARS_MAX):
            text = f"`passphrase` is a text of at most {PASSPHRASE_CHARS_MAX} characters."
            raise Refusal("field_invalid", text, field="passphrase")
        alone = None if body.get("alone") is None else bool_field(body, "alone")
        actor, keys = self._guard.actor(token, call), self._services.keys
        found = await self._services.with_keys(
            lambda: keys.bring(row.id, data, passphrase or None, alone=alone, actor=actor)
        )
        await self._answer(call, 201, *found)

    async def rotate_key(self, call: Call, user: str, repo: str) -> None:
        """POST keys/rotate {algorithm?}: 201 with a new key, which signs beside the others until they are retired."""
        token, row = await self._guard.repository(call, user, repo, Role.ADMIN)
        algorithm = text_field(await read_object(call), "algorithm", "") or None
        actor, keys = self._guard.actor(token, call), self._services.keys
        await self._answer(
            call, 201, *await self._services.with_keys(lambda: keys.rotate(row.id, algorithm, actor=actor))
        )

    async def retire_key(self, call: Call, user: str, repo: str, fingerprint: str) -> None:
        """POST keys/FINGERPRINT/retire: it signs no more and is served no more. The last one that signs stays."""
        token, row = await self._guard.repository(call, user, repo, Role.ADMIN)
        actor, keys = self._guard.actor(token, call), self._services.keys
        await self._answer(call, 200, *await self._services.sql(lambda: keys.retire(row.id, fingerprint, actor=actor)))

    async def export_key(self, call: Call, user: str, repo: str, fingerprint: str) -> None:
        """POST keys/FINGERPRINT/secret: the secret key; the audit trail keeps who took it."""
        token, row = await self._guard.repository(call, user, repo, Role.ADMIN)
        actor, keys = self._guard.actor(token, call), self._services.keys
        key, secret = await self._services.sql(lambda: keys.secret(row.id, fingerprint, actor=actor))
        await json_answer(call, 200, shapes.SecretKey(fingerprint=key.fingerprint, secret_key=secret))

    async def add_package_key(self, call: Call, user: str, repo: str) -> None:
        """POST package-keys {key, name?}: 201; clients are told to check packages by it too."""
        token, row = await self._guard.repository(call, user, repo, Role.ADMIN)
        body = await read_object(call)
        data, name = _key_bytes(body), name_field(body, "name")
        actor, keys = self._guard.actor(token, call), self._services.keys
        found = await self._services.with_keys(lambda: keys.bring_package_key(row.id, data, name, actor=actor))
        await json_answer(call, 201, package_key_shape(self._services, row, found))

    async def remove_package_key(self, call: Call, user: str, repo: str, name: str) -> None:
        """DELETE package-keys/NAME: 204."""
        token, row = await self._guard.repository(call, user, repo, Role.ADMIN)
        await remove_package_key(self._services, self._guard, call, token, row, name)
        await call.answer(204, [(b"cache-control", b"no-store")])

    async def _answer(self, call: Call, status: int, key: KeyRow, tickets: tuple[Ticket, ...]) -> None:
        indexed = await settle(self._services, tickets)
        await json_answer(call, status, shapes.KeyChange(key=self._shape(key), indexed=indexed))

    def _shape(self, row: KeyRow) -> shapes.Key:
        now_s = self._services.clock.now_s()
        return {
            "fingerprint": row.fingerprint,
            "algorithm": row.algorithm,
            "user_id": row.user_id,
            "imported": row.imported,
            "signs": row.signs(now_s),
            "created_at": row.created_at,
            "expires_at": row.expires_at,
            "days_left": None if row.expires_at is None else max(0, (row.expires_at - now_s) // DAY_S),
            "retired_at": row.retired_at,
            "public_key": row.public_armored,
        }


async def remove_package_key(
    services: Services, guard: Guard, call: Call, token: Any, row: RepositoryRow, name: str
) -> None:
    """Serve a package key no more. Raises Refusal("not_found")."""
    actor, now_s = guard.actor(token, call), services.clock.now_s()
    await services.change(lambda conn: catalog_keys.remove_package_key(conn, row.id, name, now_s, actor=actor))


def package_key_shape(services: Services, row: RepositoryRow, key: PackageKeyRow) -> shapes.PackageKey:
    """One public key of signed packages."""
    return {
        "name": key.name,
        "url": f"{services.settings.public_url}/{row.name}/gpgkey/{key.name}",
        "fingerprint": key.fingerprint,
        "user_id": key.user_id,
        "created_at": key.created_at,
        "expires_at": key.expires_at,
        "public_key": key.public_armored,
    }


def _signatures(services: Services, scopes: Sequence[ScopeRow]) -> Iterator[tuple[ScopeRow, Signature]]:
    for scope in scopes:
        for each in services.formats[scope.format].signatures:
            yield scope, each


def _signed(owner: Format, scope: ScopeRow, signature: Signature) -> shapes.Signed:
    clear = signature.style == "clear"
    path = owner.address(scope.distribution, scope.name, signature.name)
    return {
        "distribution": scope.distribution,
        "document": path if clear else owner.address(scope.distribution, scope.name, signature.document),
        "signature": None if clear else path,
        "each": signature.style == "blocks",
    }


def _key_bytes(body: dict[str, Any]) -> bytes:
    """The field ``key``. Raises Refusal("field_invalid")."""
    text = body.get("key")
    if not isinstance(text, str) or not 0 < len(text) <= KEY_TEXT_CHARS_MAX:
        raise Refusal("field_invalid", "`key` is an armored key, or the binary form of one in base64.", field="key")
    if _ARMOR in text:
        return text.encode("utf-8", "replace")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise Refusal("field_invalid", "`key` is neither armored nor base64.", field="key") from None
