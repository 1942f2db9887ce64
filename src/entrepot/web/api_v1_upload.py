"""packagecloud's upload form, streamed: parts in any order, random names, stray fields; nothing is spooled.

The file usually comes before the field that says where it goes, so files are received first and judged when the form
has ended.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from entrepot.formats.protocol import Format
from entrepot.intake.intake import Admission, Claimed, Received
from entrepot.model.errors import Refusal
from entrepot.model.limits import FORM_FIELD_BYTES_MAX
from entrepot.model.nouns import Distribution, Role
from entrepot.web import packagecloud
from entrepot.web.answer import json_answer, settle
from entrepot.web.api_v2_upload import upload_path
from entrepot.web.call import Call
from entrepot.web.forms import FormEvent, Part, PartEnd, boundary_of, multipart_events
from entrepot.web.guard import Guard
from entrepot.web.router import Table
from entrepot.web.services import Services

# packagecloud's answer shows all four, and the format (which may need them) is not known before the form's end.
DIGESTS = frozenset({"md5", "sha1", "sha512"})
_FILE = "package[package_file]"
_SOURCES = ("package[source_files][]", "package[source_files]")


@dataclass(slots=True)
class Form:
    """What came in: plain fields, and files with the names their sender gave them."""

    fields: dict[str, str] = field(default_factory=dict)
    package: tuple[str, Received] | None = None
    sources: list[tuple[str, Received]] = field(default_factory=list)


class UploadForms:
    """POST …/packages and …/packages/contents."""

    def __init__(self, services: Services, guard: Guard) -> None:
        self._services = services
        self._guard = guard

    def mount(self, table: Table) -> None:
        """Add both routes."""
        repo = "/api/v1/repos/{user}/{repo}"
        table.add("POST", f"{repo}/packages", "push_form", self.push)
        table.add("POST", f"{repo}/packages/contents", "contents", self.contents)

    async def push(self, call: Call, user: str, repo: str) -> None:
        """Take one package (a .dsc with its source files) into one distribution; 201 PackageDetails.

        Nothing but files that are here already, held ones too, is always packagecloud's exact 422.
        """
        services = self._services
        token, row = await self._guard.repository(call, user, repo, Role.PUSH)
        boundary = boundary_of(call)
        declared = call.body.declared_bytes
        async with services.intake.admit(row, declared) as admission:
            form = await self._receive(call, boundary, admission, declared)
            claimed = self._claims(form)
            receipt = await admission.commit(claimed, self._guard.source(token, call))
            if not receipt.files:
                raise Refusal("not_a_package", "This file is no package by itself.")
            if not receipt.created:
                raise Refusal("duplicate")
            indexed = await settle(services, receipt.tickets) and receipt.status == "created"
            # The package itself is the first claim; its source files follow it.
            main = receipt.files[0]
            await json_answer(call, 201, packagecloud.details(services, row.name, row.private, main, indexed=indexed))

    async def _receive(self, call: Call, boundary: bytes, admission: Admission, declared: int | None) -> Form:
        """Read the form to its end; every file is staged as it passes.

        The whole form is held to the bound of one upload: a preamble, or a part that nobody asked for, without a
        Content-Length would else go on for ever.
        """
        services = self._services
        rate_min, bytes_max = services.settings.rate_min_bytes_per_s, services.intake.limits.upload_bytes_max
        events = multipart_events(call.body.chunks(rate_min=rate_min, bytes_max=bytes_max), boundary)
        form = Form()
        async for event in events:
            assert isinstance(event, Part)
            if event.filename is None and event.name not in (_FILE, *_SOURCES):
                form.fields[event.name] = await _field(events)
                continue
            if event.name not in (_FILE, *_SOURCES):
                await _skip(events)
                continue
            received = await admission.receive(_content(events), expected_bytes=declared, extra=DIGESTS)
            name = basename(event.filename or "")
            if event.name == _FILE and form.package is None:
                form.package = (name, received)
            else:
                form.sources.append((name, received))
        if form.package is None:
            raise Refusal(
                "field_invalid", "Send the package as the form's file package[package_file].", field="package_file"
            )
        return form

    def _claims(self, form: Form) -> list[Claimed]:
        """Where every file of the form goes. Raises Refusal: ``distribution_unknown``, ``field_invalid``,
        ``format_mismatch``.
        """
        services = self._services
        distribution = self._distribution(form.fields)
        format_ = services.format_of(distribution)
        coordinates = form.fields.get("package[coordinates]", "")
        hints = {"coordinates": coordinates} if coordinates else {}
        assert form.package is not None
        name, received = form.package
        path = upload_path(format_, distribution, _with_extension(name, format_))
        claims = [Claimed(received, format_, distribution.path, path, hints)]
        for source_name, source in form.sources:
            claims.append(Claimed(source, format_, distribution.path, upload_path(format_, distribution, source_name)))
        return claims

    def _distribution(self, fields: dict[str, str]) -> Distribution:
        text = fields.get("package[distro_version_id]", "").strip()
        table = self._services.distributions
        if not text:
            raise Refusal(
                "distribution_unknown", "Say the distribution in package[distro_version_id].", field="distro_version_id"
            )
        return table.by_id(int(text)) if text.isascii() and text.isdigit() and len(text) < 10 else table.by_path(text)

    async def contents(self, call: Call, user: str, repo: str) -> None:
        """POST packages/contents: which files a .dsc names, so that the client sends them along. Nothing is kept."""
        _, row = await self._guard.repository(call, user, repo, Role.PUSH)
        boundary = boundary_of(call)
        async with self._services.intake.admit(row, call.body.declared_bytes) as admission:
            form = await self._receive(call, boundary, admission, call.body.declared_bytes)
            claimed = self._claims(form)[0]
            inspection = await admission.inspect(claimed)
            required = inspection.package.requires if inspection.package is not None else ()
            shown = [
                {"filename": basename(each.path), "size": each.size_bytes or 0, "md5sum": each.digests.get("md5", "")}
                for each in required
            ]
            await json_answer(call, 200, {"files": shown})


def _with_extension(name: str, format_: Format) -> str:
    """The name that tells the format what the file is: Java's client sends a random one without extension."""
    return name if "." in name else f"{name or 'upload'}{format_.nameless_suffix}"


def basename(name: str) -> str:
    """The last part of a file name; some clients send a whole path, of either kind of system."""
    return name.replace("\\", "/").rpartition("/")[2]


async def _content(events: AsyncIterator[FormEvent]) -> AsyncIterator[bytes]:
    """The bytes of the current part."""
    async for event in events:
        if isinstance(event, PartEnd):
            return
        assert isinstance(event, bytes)
        yield event


async def _field(events: AsyncIterator[FormEvent]) -> str:
    value = bytearray()
    async for chunk in _content(events):
        value += chunk
        if len(value) > FORM_FIELD_BYTES_MAX:
            raise Refusal("field_invalid", "A field of the form is too long.", field_bytes_max=FORM_FIELD_BYTES_MAX)
    return value.decode("utf-8", "replace")


async def _skip(events: AsyncIterator[FormEvent]) -> None:
    async for _ in _content(events):
        pass
