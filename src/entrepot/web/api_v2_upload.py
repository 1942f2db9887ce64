"""/api/v2 uploads: one file to one or more distributions with its bytes sent once, or not at all when they are here."""

import re
from typing import Any

from entrepot.catalog import Connection, files, repositories
from entrepot.catalog.files import FileRow
from entrepot.catalog.repositories import RepositoryRow
from entrepot.catalog.tokens import TokenRow
from entrepot.formats.protocol import Format, UploadTarget
from entrepot.intake.intake import Admission, Claimed, Received
from entrepot.model.errors import Refusal
from entrepot.model.limits import API_DISTRIBUTIONS_MAX, API_FILES_ASKED_MAX
from entrepot.model.nouns import Distribution, Role
from entrepot.web import auth, shapes
from entrepot.web.answer import answer_put, canonical, json_answer
from entrepot.web.call import Call
from entrepot.web.fields import read_object
from entrepot.web.guard import Guard
from entrepot.web.router import Operation, Table
from entrepot.web.services import Services

_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
REPOSITORIES_SEARCHED_MAX = 200


class UploadsV2:
    """POST …/have and POST …/packages."""

    def __init__(self, services: Services, guard: Guard) -> None:
        self._services = services
        self._guard = guard

    def mount(self, table: Table) -> None:
        """Add both routes."""
        repo = "/api/v2/repos/{user}/{repo}"
        asks = Operation({200: shapes.KnownDigestList}, shapes.DigestList)
        sends = Operation(dict.fromkeys((200, 201, 202), shapes.Upload), query=shapes.UploadQuery, upload=True)
        table.add("POST", f"{repo}/have", "have", self.have, asks)
        table.add("POST", f"{repo}/packages", "push", self.push, sends)

    async def have(self, call: Call, user: str, repo: str) -> None:
        """Which files need not be sent: {files: [{sha256, filename?}]} → for each, the distributions that list those
        bytes, and whether the bytes can be referred to.
        """
        services = self._services
        token, row = await self._guard.repository(call, user, repo, Role.PUSH)
        asked = (await read_object(call)).get("files")
        if not isinstance(asked, list) or len(asked) > API_FILES_ASKED_MAX:
            raise Refusal(
                "field_invalid", f"`files` is a list of at most {API_FILES_ASKED_MAX} objects.", field="files"
            )
        wanted = [_sha256(each) for each in asked]

        def work(conn: Connection) -> list[shapes.KnownDigest]:
            readable = _readable(conn, token, row)
            shown: list[shapes.KnownDigest] = []
            for sha256 in wanted:
                here = files.find_by_sha256(conn, row.id, sha256)
                bytes_here = bool(here) or _find(conn, readable, sha256) is not None
                indexed = files.indexed(conn, here)
                listed = [
                    shapes.ListedFile(
                        distribution=each.distribution,
                        filename=each.filename,
                        path=each.path,
                        indexed=each.id in indexed,
                        held=each.held_until is not None,
                    )
                    for each in here
                ]
                shown.append({"sha256": sha256, "bytes": bytes_here, "files": listed})
            return shown

        await json_answer(call, 200, shapes.KnownDigestList(files=await services.sql(services.read, work)))

    async def push(self, call: Call, user: str, repo: str) -> None:
        """The body is the file; ``filename`` and one or more ``distribution`` stand in the query. With ``sha256`` the
        bytes are checked against it; with ``reference=1`` there is no body and the bytes are taken from what this token
        may read.

        Raises Refusal: ``field_invalid``, ``distribution_unknown``, ``format_mismatch``, ``digest_mismatch``,
        ``not_found`` (the referred bytes are not here), and all of intake.
        """
        services = self._services
        token, row = await self._guard.repository(call, user, repo, Role.PUSH)
        places = self._places(call)
        sha256 = call.argument("sha256")
        if sha256 is not None and not _SHA256.match(sha256):
            raise Refusal("field_invalid", "`sha256` is 64 lower-case hexadecimal digits.", field="sha256")
        by_reference = call.argument("reference") == "1"
        declared = 0 if by_reference else call.body.declared_bytes
        targets = [(place.path, path) for _format, place, path in places]
        async with services.intake.admit(row, declared, targets) as admission:
            if by_reference:
                received = await self._refer(admission, token, row, sha256 or "")
            else:
                received = await self._receive(call, admission, places, sha256)
            coordinates = call.argument("coordinates")
            hints = {"coordinates": coordinates} if coordinates else {}
            claimed = [Claimed(received, format_, place.path, path, hints) for format_, place, path in places]
            receipt = await admission.commit(claimed, self._guard.source(token, call))
            await answer_put(services, call, receipt)

    def _places(self, call: Call) -> list[tuple[Format, Distribution, str]]:
        """Format, distribution and path for each ``distribution`` of the query."""
        filename = call.argument("filename") or ""
        wanted = call.arguments("distribution")
        if not filename or not 0 < len(wanted) <= API_DISTRIBUTIONS_MAX:
            raise Refusal(
                "field_invalid", "Say `filename` and one or more `distribution` in the query.", field="distribution"
            )
        places: dict[str, tuple[Format, Distribution, str]] = {}
        for text in wanted:
            place = canonical(self._services, text)
            format_ = self._services.format_of(place)
            places[place.path] = (format_, place, upload_path(format_, place, filename))
        return list(places.values())

    async def _receive(
        self, call: Call, admission: Admission, places: list[tuple[Format, Distribution, str]], sha256: str | None
    ) -> Received:
        extra: frozenset[str] = frozenset()
        for format_, _, path in places:
            extra |= format_.needs(path).digests
        chunks = call.body.chunks(rate_min=self._services.settings.rate_min_bytes_per_s)
        received = await admission.receive(chunks, call.body.declared_bytes, extra=extra)
        if sha256 is not None and sha256 != received.digests.sha256:
            raise Refusal("digest_mismatch", promised=sha256, received=received.digests.sha256)
        return received

    async def _refer(self, admission: Admission, token: TokenRow, row: RepositoryRow, sha256: str) -> Received:
        """Bytes that this token may read anyway: knowing a digest must not be a way to read somebody else's package."""
        services = self._services

        def work(conn: Connection) -> FileRow | None:
            return _find(conn, _readable(conn, token, row), sha256)

        found = await services.sql(services.read, work)
        if found is None:
            raise Refusal("not_found", "These bytes are not here; send the file itself.", sha256=sha256)
        return await admission.refer(found)


def upload_path(format_: Format, distribution: Distribution, name: str) -> str:
    """The path below the distribution that a PUT of this name means; the bare name for formats with deeper paths."""
    routed = format_.route("PUT", f"{distribution.path}/{name}")
    return routed.path if isinstance(routed, UploadTarget) else name


def _sha256(item: Any) -> str:
    text = item.get("sha256") if isinstance(item, dict) else None
    if not isinstance(text, str) or not _SHA256.match(text):
        raise Refusal("field_invalid", "Each file has a `sha256` of 64 lower-case hexadecimal digits.", field="sha256")
    return text


def _readable(conn: Connection, token: TokenRow, row: RepositoryRow) -> list[int]:
    """The repositories whose bytes the token may refer to, the target first."""
    others = repositories.list_for_owner(conn, row.name.owner)
    allowed = [each.id for each in others if each.id != row.id and _may_read(token, each)]
    return [row.id, *allowed[:REPOSITORIES_SEARCHED_MAX]]


def _may_read(token: TokenRow, row: RepositoryRow) -> bool:
    try:
        auth.require(token, Role.READ, row.name)
    except Refusal:
        return False
    return True


def _find(conn: Connection, repository_ids: list[int], sha256: str) -> FileRow | None:
    for repository_id in repository_ids:
        found = files.find_by_sha256(conn, repository_id, sha256, 1)
        if found and found[0].copy_key is not None:
            return found[0]
    return None
