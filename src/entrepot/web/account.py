"""Pages for who has a token: log in with it, then look at repositories, packages, tokens and the log.

Nothing is changed here: that is the command line's, and a page that could would have to be guarded against other sites.
"""

import re
from urllib.parse import urlencode

from entrepot.catalog.tokens import TokenRow
from entrepot.model.errors import Refusal
from entrepot.model.nouns import RepositoryName, Role
from entrepot.web import auth
from entrepot.web.api_v2_log import asked_log
from entrepot.web.call import Call, Header
from entrepot.web.forms import read_fields
from entrepot.web.guard import Guard
from entrepot.web.packagecloud import ago, iso
from entrepot.web.pages import Pages
from entrepot.web.problem import headers_for
from entrepot.web.render import template
from entrepot.web.router import Table
from entrepot.web.services import Services
from entrepot.web.sessions import cookie, session_of

ROUTE = "app"
NEXT_CHARS_MAX = 500
_INSIDE = re.compile(r"/app(?:[/?][!-\[\]-~]*)?\Z")  # printable, no backslash: browsers take that for a slash
HTML = b"text/html; charset=utf-8"
_HEADERS: tuple[Header, ...] = (
    (b"cache-control", b"no-store"),
    (
        b"content-security-policy",
        b"default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    # Not no-referrer: with that a form is sent with `Origin: null`, which a change of another site's page has too.
    (b"referrer-policy", b"same-origin"),
)


class AccountPages:
    """Everything below ``/app`` but the operations page."""

    def __init__(self, services: Services, guard: Guard, pages: Pages) -> None:
        self._services = services
        self._guard = guard
        self._pages = pages

    def mount(self, table: Table) -> None:
        """Add every route."""
        table.add("GET", "/app/login", ROUTE, self.show_login)
        table.add("POST", "/app/login", ROUTE, self.login)
        table.add("POST", "/app/logout", ROUTE, self.logout)
        table.add("GET", "/app", ROUTE, self.repositories)
        table.add("GET", "/app/repositories/{user}/{repo}", ROUTE, self.repository)
        table.add("GET", "/app/tokens", ROUTE, self.tokens)
        table.add("GET", "/app/log", ROUTE, self.log)

    # ------------------------------------------------------------------ log in and out

    async def show_login(self, call: Call) -> None:
        """The form."""
        await _answer(call, _login_page("", _inside(call.argument("next"))))

    async def login(self, call: Call) -> None:
        """Form ``token``, ``next``: a session in a cookie, and on to where the visitor wanted to go."""
        services = self._services
        fields = await read_fields(call)
        text = fields.get("token", "").strip()
        token = await services.tokens.identify((text,) if text else (), call.address)
        call.known_as(token.id, token.name)
        session = services.sessions.begin(token.id, token.owner)
        await self._go(call, _inside(fields.get("next")), cookie(session, services.settings.public_url))

    async def logout(self, call: Call) -> None:
        """End the session."""
        services = self._services
        services.sessions.end(session_of(call))
        await self._go(call, "/app/login", cookie("", services.settings.public_url, lives_s=0))

    @staticmethod
    async def _go(call: Call, where: str, *headers: Header) -> None:
        await call.answer(303, [(b"location", where.encode()), *headers, *_HEADERS])

    # ------------------------------------------------------------------ pages

    async def repositories(self, call: Call) -> None:
        """Those that the token may know of."""
        visitor = await self._guard.visitor(call)
        rows = await self._guard.repositories_of(visitor)
        await self._show(call, "app_repositories.html", visitor, rows=rows, ago=ago)

    async def repository(self, call: Call, user: str, repo: str) -> None:
        """What is in one, and how to set clients up."""
        visitor = await self._guard.visitor(call)
        try:
            name = RepositoryName.parse(f"{user}/{repo}")
        except Refusal:
            raise Refusal("repository_unknown") from None
        call.repository = str(name)
        auth.require(visitor, Role.READ, name)
        row = await self._services.repository(name)
        await _answer(call, await self._pages.contents(call, row, visitor))

    async def tokens(self, call: Call) -> None:
        """Those that the token may know of, never their texts."""
        visitor = await self._guard.visitor(call, Role.ADMIN)
        rows = await self._guard.tokens_of(visitor)
        await self._show(call, "app_tokens.html", visitor, rows=rows, ago=ago, iso=iso)

    async def log(self, call: Call) -> None:
        """Who changed what; ``repository`` and ``before`` are its fields."""
        visitor = await self._guard.visitor(call, Role.ADMIN)
        repository = call.argument("repository") or None
        entries, before = await asked_log(self._services, call, visitor, repository)
        older = None if before is None else "?" + urlencode({"repository": repository or "", "before": before})
        await self._show(call, "app_log.html", visitor, rows=entries, older=older, repository=repository or "", iso=iso)

    async def _show(self, call: Call, name: str, visitor: TokenRow, **values: object) -> None:
        html = template(name).render(visitor=visitor, now_s=self._services.clock.now_s(), **values)
        await _answer(call, html)


def refused(call: Call, refusal: Refusal) -> tuple[int, list[Header], bytes]:
    """A refusal as a page: what it says, and the form to log in with a token that may do this."""
    where = call.path if call.method in ("GET", "HEAD") and call.path != "/app/login" else "/app"
    message = refusal.detail
    if refusal.code == "token_missing":
        # The code's text is for programs. Whoever just comes in, or whose session ended, did nothing wrong.
        message = "Paste a token." if call.method == "POST" else ""
    html = _login_page(message, _inside(where))
    # Without a challenge: the browser would open a window of its own over the form.
    headers = [each for each in headers_for(refusal, HTML) if each[0] not in (b"www-authenticate", b"cache-control")]
    return refusal.kind.status, [*headers, *_HEADERS], html.encode()


async def _answer(call: Call, html: str) -> None:
    await call.answer(200, [(b"content-type", HTML), *_HEADERS], html.encode())


def _login_page(message: str, following: str) -> str:
    return template("login.html").render(message=message, following=following)


def _inside(where: str | None) -> str:
    """``where`` if it is one of these pages, else the first of them: a link must not lead to another site."""
    text = where or ""
    return text if len(text) <= NEXT_CHARS_MAX and _INSIDE.match(text) else "/app"
