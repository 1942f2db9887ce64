"""Ways in by PUT: the file is the body. ``curl -T``, dput and Maven all send this."""

from entrepot.catalog.repositories import RepositoryRow
from entrepot.formats.protocol import Format, UploadTarget
from entrepot.intake.intake import Claimed, Source
from entrepot.model.errors import Refusal
from entrepot.model.nouns import RepositoryName, Role
from entrepot.web import auth
from entrepot.web.address import RepositoryAddress, Routes
from entrepot.web.answer import answer_put, canonical
from entrepot.web.call import Call
from entrepot.web.services import Services


class Uploads:
    """PUT below ``/USER/REPO/``."""

    def __init__(self, services: Services, routes: Routes) -> None:
        self._services = services
        self._routes = routes

    async def allow(
        self, call: Call, name: RepositoryName, role: Role = Role.PUSH, path_token: str | None = None
    ) -> tuple[RepositoryRow, Source]:
        """The repository and who asks, if they may change it.

        Raises Refusal: 401 codes first (whether a repository exists is nobody's business without a token), then
        ``repository_not_allowed``, ``role_too_low``, ``repository_unknown``, ``stopping``.
        """
        services = self._services
        token = await services.identify(call, path_token)
        auth.require(token, role, name)
        if services.draining.stopping:
            raise Refusal("stopping")
        return await services.repository(name), Source(token.name, call.address, token.actor_name)

    def target(self, rest: str) -> tuple[Format, UploadTarget]:
        """The format and the place that a PUT path means. Raises Refusal ``distribution_unknown``, ``not_found``."""
        first = rest.partition("/")[0]
        owners = self._services.by_mount.get(first)
        if owners is None:
            raise Refusal("distribution_unknown", field="distribution", value="/".join(rest.split("/")[:2])[:200])
        routed = self._routes.find(owners, "PUT", rest)
        if routed is None or not isinstance(routed[1], UploadTarget):
            if rest.count("/") == 1 and not rest.endswith("/"):
                place = canonical(self._services, rest)
                raise Refusal(
                    "not_found",
                    f"{rest} is a distribution, not a file. curl -T adds the file's name to an address that ends with "
                    f"a slash: USER/REPO/{rest}/",
                    distribution=place.path,
                )
            raise Refusal(
                "not_found", "Send the file to USER/REPO/DISTRO/VERSION/FILENAME (Maven: USER/REPO/maven2/…)."
            )
        return routed[0], routed[1]

    async def put(self, call: Call, found: RepositoryAddress) -> None:
        """Receive one file. Raises Refusal; before the first body byte for whatever can be known by then."""
        call.route = "put"
        services = self._services
        row, source = await self.allow(call, found.repository, path_token=found.path_token)
        format_, target = self.target(found.rest)
        distribution = canonical(services, target.distribution)
        body = call.body
        needs = format_.needs(target.path)
        targets = [(distribution.path, target.path)]
        async with services.intake.admit(row, body.declared_bytes, targets) as admission:
            chunks = body.chunks(rate_min=services.settings.rate_min_bytes_per_s)
            received = await admission.receive(chunks, body.declared_bytes, extra=needs.digests)
            claimed = Claimed(received, format_, distribution.path, target.path)
            receipt = await admission.commit([claimed], source)
            await answer_put(services, call, receipt)
