"""Pages for people: server-rendered, no script needed, everything escaped."""

from entrepot.catalog import Connection, files, quotas, repositories
from entrepot.catalog.quotas import Usage
from entrepot.catalog.repositories import RepositoryRow
from entrepot.catalog.tokens import TokenRow
from entrepot.formats.protocol import SetupInput, SetupLines
from entrepot.web.call import Call, Header
from entrepot.web.fields import number
from entrepot.web.guard import Guard
from entrepot.web.operations import ASSETS, HTML, PAGE_PATH, STRICT_HEADERS, Shown, asset
from entrepot.web.packagecloud import ago
from entrepot.web.render import template
from entrepot.web.router import Table
from entrepot.web.services import Services

ROWS = 50
PAGES_MAX = 100_000
SETUP_DISTRIBUTIONS_MAX = 6
HOME_REPOSITORIES_MAX = 500

_HEADERS: tuple[Header, ...] = (
    (b"content-type", b"text/html; charset=utf-8"),
    # A package's own texts are shown here: even if one got past the escaping, no script of it may run.
    (
        b"content-security-policy",
        b"default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
)


class Pages:
    """The list of public repositories, and one page for each."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def home(self, call: Call) -> None:
        """``/``: the public repositories. Private ones are not even named."""
        rows = await self._services.sql(self._services.read, repositories.list_all)
        shown = [row for row in rows if not row.private][:HOME_REPOSITORIES_MAX]
        html = template("home.html").render(repositories=shown, ago=ago, now_s=self._services.clock.now_s())
        await call.answer(200, [*_HEADERS, (b"cache-control", b"no-cache")], html.encode())

    async def repository(self, call: Call, row: RepositoryRow) -> None:
        """``/USER/REPO``: what is inside, a page at a time, and how to set each client up. ``page`` and ``q`` are its
        fields.
        """
        html = await self.contents(call, row)
        cache_control = b"private, no-store" if row.private else b"no-cache"
        await call.answer(200, [*_HEADERS, (b"cache-control", cache_control)], html.encode())

    async def contents(self, call: Call, row: RepositoryRow, visitor: TokenRow | None = None) -> str:
        """The page of a repository; with the menu of ``visitor``, who is logged in."""
        services = self._services
        page = number(call.argument("page"), 1, PAGES_MAX)
        query = (call.argument("q") or "")[:200]
        usage, total, rows, distributions = await services.sql(services.read, _contents, row.id, query, page)
        return template("repository.html").render(
            visitor=visitor,
            name=row.name,
            private=row.private,
            usage=usage,
            rows=rows,
            total=total,
            page=page,
            pages=max(1, -(-total // ROWS)),
            query=query,
            distributions=distributions,
            setup=self.setup(row, distributions),
            base=f"{services.settings.public_url}/{row.name}",
            ago=ago,
            now_s=services.clock.now_s(),
        )

    def setup(self, row: RepositoryRow, distributions: tuple[str, ...]) -> list[SetupLines]:
        """Lines to paste for every format that the repository holds something of, each for its first few
        distributions; for every format when the repository is empty.
        """
        services = self._services
        by_format: dict[str, list[str]] = {}
        examples = services.distributions.examples()
        for path in distributions:
            by_format.setdefault(services.distributions.by_path(path).format, []).append(path)
        lines: list[SetupLines] = []
        for name, format_ in services.formats.items():
            if distributions and name not in by_format:
                continue
            wanted = SetupInput(
                base_url=f"{services.settings.public_url}/{row.name}",
                owner=row.name.owner,
                repository=row.name.name,
                private=row.private,
                distributions=tuple(by_format.get(name, examples.get(name, ()))[:SETUP_DISTRIBUTIONS_MAX]),
            )
            lines += format_.setup(wanted)
        return lines


class OperationsPages:
    """The page on the main port: for the operator's token alone, since it names volumes, paths and causes."""

    def __init__(self, services: Services, guard: Guard) -> None:
        self._services = services
        self._guard = guard

    def mount(self, table: Table) -> None:
        """Add the page's addresses."""
        table.add("GET", PAGE_PATH, "page", self.short)
        table.add("GET", f"{PAGE_PATH}/day", "page", self.long)
        for path in ASSETS:
            table.add("GET", path, "page", self.asset)

    async def short(self, call: Call) -> None:
        """The last ten minutes."""
        await self._page(call, "short")

    async def long(self, call: Call) -> None:
        """The last day."""
        await self._page(call, "long")

    async def _page(self, call: Call, shown: Shown) -> None:
        await self._guard.operator(call, page=True)
        html = await self._services.files(self._services.operations.page, PAGE_PATH, shown)
        headers = [(name.lower().encode(), value.encode()) for name, value in STRICT_HEADERS]
        await call.answer(200, [(b"content-type", HTML.encode()), (b"cache-control", b"no-store"), *headers], html)

    async def asset(self, call: Call) -> None:
        """The page's style sheet and script; they hold nothing that is secret."""
        content_type, content = asset(call.path)
        headers = [(b"content-type", content_type.encode()), (b"cache-control", b"no-cache")]
        await call.answer(200, [*headers, (b"x-content-type-options", b"nosniff")], content)


def _contents(
    conn: Connection, repository_id: int, query: str, page: int
) -> tuple[Usage | None, int, tuple[files.FileRow, ...], tuple[str, ...]]:
    """Use, number of files, one page of them, distributions; use is None when the repository is gone meanwhile."""
    chosen = files.Filters(filename_part=query or None)
    rows = files.list_files(conn, repository_id, chosen, files.Page((page - 1) * ROWS, ROWS))
    usage = next(iter(quotas.usages(conn, repository_id)), None)
    return usage, files.count_files(conn, repository_id, chosen), rows, files.distributions_of(conn, repository_id)
