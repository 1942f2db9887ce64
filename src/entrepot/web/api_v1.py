"""/api/v1: packagecloud's API, shape for shape. Uploads are in ``api_v1_upload``."""

import glob
from urllib.parse import urlencode

from entrepot.catalog import Connection, files, repositories
from entrepot.catalog.repositories import RepositoryRow
from entrepot.model.errors import Refusal
from entrepot.model.nouns import RepositoryName, Role, Ticket
from entrepot.web import auth, packagecloud
from entrepot.web.answer import JSON, json_answer, settle
from entrepot.web.call import Call
from entrepot.web.fields import number
from entrepot.web.forms import read_fields, truth
from entrepot.web.guard import Guard
from entrepot.web.problem import compact
from entrepot.web.router import Table
from entrepot.web.services import Services


class ApiV1:
    """Reads and small writes of packagecloud's API."""

    def __init__(self, services: Services, guard: Guard) -> None:
        self._services = services
        self._guard = guard

    def mount(self, table: Table) -> None:
        """Add every route."""
        group, repo = "api_v1", "/api/v1/repos/{user}/{repo}"
        table.add("GET", "/api/v1/distributions", group, self.distributions)
        table.add("GET", "/api/v1/repos", group, self.list_repositories)
        table.add("POST", "/api/v1/repos", group, self.create_repository)
        table.add("GET", repo, group, self.show_repository)
        table.add("GET", f"{repo}/packages", group, self.packages)
        table.add("GET", f"{repo}/search", group, self.search)
        package = f"{repo}/package/{{kind}}/{{family}}/{{version}}/{{name}}/{{architecture}}"
        grouped = f"{repo}/package/{{family}}/{{version}}/{{group}}/{{name}}"
        table.add("GET", f"{package}/versions", group, self.versions)
        table.add("GET", f"{grouped}/versions", group, self.grouped_versions)
        table.add("GET", f"{package}/{{package_version}}", group, self.show_package)
        table.add("GET", f"{package}/{{package_version}}/{{release}}", group, self.show_package)
        table.add("GET", f"{grouped}/{{package_version}}", group, self.show_grouped)
        table.add("DELETE", f"{repo}/{{family}}/{{version}}/{{filename:path}}", group, self.yank)

    async def distributions(self, call: Call) -> None:
        """GET distributions: type → families → versions with their ids."""
        await self._guard.token(call)
        await json_answer(call, 200, self._services.distributions.to_packagecloud())

    # ------------------------------------------------------------------ repositories

    async def list_repositories(self, call: Call) -> None:
        """GET repos: those of the token's owner (of everybody, for the operator)."""
        rows = await self._guard.repositories(call)
        await json_answer(call, 200, [packagecloud.repository(self._services, row, row.file_count) for row in rows])

    async def create_repository(self, call: Call) -> None:
        """POST repos: ``repository[name]`` (``name``; ``user/name`` for the operator) and ``repository[private]``."""
        token = await self._guard.token(call, Role.ADMIN)
        fields = await read_fields(call)
        text = fields.get("repository[name]", fields.get("name", ""))
        name = RepositoryName.parse(text if "/" in text else f"{token.owner}/{text}")
        auth.require(token, Role.ADMIN, name)
        private = truth(fields.get("repository[private]", fields.get("private")))
        await self._guard.create_repository(name, private, call, token)
        await json_answer(call, 201, {"url": f"{self._services.settings.public_url}/{name}"})

    async def show_repository(self, call: Call, user: str, repo: str) -> None:
        """GET repos/USER/REPO."""
        _, row = await self._guard.repository(call, user, repo, Role.READ)
        fresh = await self._services.sql(self._services.read, repositories.get, row.name)
        await json_answer(call, 200, packagecloud.repository(self._services, fresh, fresh.file_count))

    # ------------------------------------------------------------------ packages

    async def packages(self, call: Call, user: str, repo: str) -> None:
        """GET packages: every live file, newest first."""
        _, row = await self._guard.repository(call, user, repo, Role.READ)
        await self._list(call, row, types=self._types(call.argument("filter")))

    async def search(self, call: Call, user: str, repo: str) -> None:
        """GET search: ``q`` is a part of the file name, ``dist`` a family or family/version, ``arch``."""
        _, row = await self._guard.repository(call, user, repo, Role.READ)
        dist = call.argument("dist") or None
        types = None if dist else self._types(call.argument("filter"))
        await self._list(
            call, row, types=types, text=call.argument("q"), distribution=dist, architecture=call.argument("arch")
        )

    async def show_package(
        self,
        call: Call,
        user: str,
        repo: str,
        kind: str,
        family: str,
        version: str,
        name: str,
        architecture: str,
        package_version: str,
        release: str | None = None,
    ) -> None:
        """GET package: the one of this version, as its upload was answered."""
        wanted = files.Filters(
            distribution=f"{family}/{version}",
            types=self._types(kind),
            name=name,
            architecture=architecture,
            version=package_version,
            release=release,
        )
        await self._show(call, user, repo, wanted)

    async def show_grouped(
        self,
        call: Call,
        user: str,
        repo: str,
        family: str,
        version: str,
        group: str,
        name: str,
        package_version: str,
    ) -> None:
        """GET package (Java): the newest file of this version."""
        place = f"{family}/{version}"
        wanted = files.Filters(distribution=place, name=f"{group}:{name}", version=package_version)
        await self._show(call, user, repo, wanted)

    async def _show(self, call: Call, user: str, repo: str, wanted: files.Filters) -> None:
        services = self._services
        _, row = await self._guard.repository(call, user, repo, Role.READ)
        _total, rows, indexed = await services.sql(services.read, _page, row.id, wanted, 1, 1)
        if not rows:
            raise Refusal("not_found")
        shown = packagecloud.details(services, row.name, row.private, rows[0], indexed=rows[0].id in indexed)
        await json_answer(call, 200, shown)

    async def versions(
        self,
        call: Call,
        user: str,
        repo: str,
        kind: str,
        family: str,
        version: str,
        name: str,
        architecture: str,
    ) -> None:
        """GET versions: every live version of one package for one architecture, newest upload first."""
        _, row = await self._guard.repository(call, user, repo, Role.READ)
        place = f"{family}/{version}"
        await self._list(call, row, types=self._types(kind), distribution=place, name=name, architecture=architecture)

    async def grouped_versions(
        self, call: Call, user: str, repo: str, family: str, version: str, group: str, name: str
    ) -> None:
        """GET versions (Java): every live file of one artifact, newest upload first."""
        _, row = await self._guard.repository(call, user, repo, Role.READ)
        await self._list(call, row, distribution=f"{family}/{version}", name=f"{group}:{name}")

    def _types(self, text: str | None) -> tuple[str, ...] | None:
        """packagecloud's word for a type as types; None for ``all`` and for what we do not know."""
        return self._services.type_filters.get(text or "")

    async def _list(
        self,
        call: Call,
        row: RepositoryRow,
        *,
        types: tuple[str, ...] | None = None,
        text: str | None = None,
        distribution: str | None = None,
        name: str | None = None,
        architecture: str | None = None,
    ) -> None:
        services = self._services
        page = number(call.argument("page"), 1, 1_000_000)
        wanted = call.argument("per_page") or call.argument("perPage")
        per_page = number(wanted, packagecloud.PER_PAGE, packagecloud.PER_PAGE_MAX)
        whole = distribution is not None and "/" in distribution
        chosen = files.Filters(
            distribution=distribution if whole else None,
            family=None if whole else distribution,
            types=types,
            name=name,
            filename_part=text or None,
            architecture=architecture or None,
        )
        total, rows, indexed = await services.sql(services.read, _page, row.id, chosen, page, per_page)
        shown = [
            packagecloud.fragment(services, row.name, row.private, each, indexed=each.id in indexed) for each in rows
        ]
        kept = [(key, value) for key, value in call.query if key not in ("page", "per_page", "perPage")]
        url = f"{services.settings.public_url}{call.path}"
        headers = [(b"content-type", JSON), (b"cache-control", b"no-store")]
        headers += packagecloud.page_headers(url, urlencode(kept), page, per_page, total)
        await call.answer(200, headers, compact(shown))

    async def yank(self, call: Call, user: str, repo: str, family: str, version: str, filename: str) -> None:
        """DELETE repos/USER/REPO/DISTRO/VERSION/FILENAME: 200 ``{}`` once no index lists it; after
        ``upload.publication_wait_s`` without that too, for packagecloud has no other answer: the change is durable and
        its publication follows.
        """
        services = self._services
        token, row = await self._guard.repository(call, user, repo, Role.ADMIN)
        place = services.distributions.by_path(f"{family}/{version}")
        actor = self._guard.actor(token, call)
        # Maven's address carries the group before the file name: other groups may have a file of that name too.
        group, _, name = filename.rpartition("/")
        now_s = services.clock.now_s()

        def work(conn: Connection) -> tuple[Ticket, ...]:
            found = files.match(conn, row.id, place.path, filename=glob.escape(name))
            if group:
                found = tuple(each for each in found if services.format_of(place).in_group(each.path, group))
            if not found:
                raise Refusal("not_found")
            return files.yank(conn, files.whole_sets(conn, [each.id for each in found]), now_s, actor=actor)

        await settle(services, await services.change(work))
        await json_answer(call, 200, {})


def _page(
    conn: Connection, repository_id: int, chosen: files.Filters, page: int, per_page: int
) -> tuple[int, tuple[files.FileRow, ...], frozenset[int]]:
    rows = files.list_files(conn, repository_id, chosen, files.Page((page - 1) * per_page, per_page))
    return files.count_files(conn, repository_id, chosen), rows, files.indexed(conn, rows)
