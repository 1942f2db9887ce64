"""Who may do what: one row for each route, and what each kind of visitor is answered.

The guards in the handlers decide; this is what they are held to. tests/web/test_access.py asks a real server every
cell, and docs/access.md is made of it. A route that is not here fails both.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from starlette.routing import BaseRoute, Route

from entrepot.model.nouns import Role


class Reach(StrEnum):
    """Whose business a route is."""

    OPEN = "everybody"
    READERS = "whoever may read the repository"
    TOKEN = "any token"
    WHOLE = "any token for all repositories of its owner"
    OWNER = "a token for all repositories of the owner that is named"
    REPOSITORY = "a token for the repository"
    OPERATOR = "the server's administrator"


class Visitor(StrEnum):
    """Kinds of who may ask. Those with a role have a token of the repository's owner for all of its repositories."""

    NOBODY = "no token"
    UNKNOWN = "wrong token"
    EXPIRED = "expired"
    REVOKED = "revoked"
    READ = "read"
    PUSH = "push"
    ADMIN = "admin"
    OTHER_REPOSITORY = "admin of another repository"
    OTHER_OWNER = "admin of another owner"
    OPERATOR = "server's administrator"


NO_TOKEN: Mapping[Visitor, str] = {
    Visitor.NOBODY: "token_missing",
    Visitor.UNKNOWN: "token_unknown",
    Visitor.EXPIRED: "token_expired",
    Visitor.REVOKED: "token_revoked",
}
_ROLES = {Visitor.READ: Role.READ, Visitor.PUSH: Role.PUSH}


@dataclass(frozen=True, slots=True)
class Access:
    """Who may use a route: ``reach``, and the least ``role`` of the token where one is asked for."""

    reach: Reach
    role: Role = Role.READ

    def refusal(self, visitor: Visitor, *, private: bool) -> str | None:
        """The code that ``visitor`` is refused with, None when he may go on. ``private``: the repository is."""
        reach = self.reach
        if reach is Reach.OPEN or (reach is Reach.READERS and not private):
            return None
        if visitor in NO_TOKEN:
            return NO_TOKEN[visitor]
        if visitor is Visitor.OPERATOR:
            return None
        strange = visitor is Visitor.OTHER_REPOSITORY or (visitor is Visitor.OTHER_OWNER and reach is not Reach.WHOLE)
        if reach in (Reach.READERS, Reach.REPOSITORY) and strange:
            return "repository_not_allowed"
        if reach is Reach.OPERATOR or not _ROLES.get(visitor, Role.ADMIN).includes(self.role):
            return "role_too_low"
        return "repository_not_allowed" if strange and reach in (Reach.WHOLE, Reach.OWNER) else None


OPEN, READERS, OPERATOR = Access(Reach.OPEN), Access(Reach.READERS), Access(Reach.OPERATOR, Role.ADMIN)
ANY_TOKEN, ADMIN_TOKEN = Access(Reach.TOKEN), Access(Reach.TOKEN, Role.ADMIN)
OWNER_ADMIN = Access(Reach.OWNER, Role.ADMIN)
REPO_READ, REPO_PUSH, REPO_ADMIN = (Access(Reach.REPOSITORY, role) for role in Role)

_PACKAGE_V1 = "/api/v1/repos/{user}/{repo}/package/{kind}/{family}/{version}/{name}/{architecture}"
_GROUPED_V1 = "/api/v1/repos/{user}/{repo}/package/{family}/{version}/{group}/{name}"

REPOSITORY_ROUTES: Mapping[str, Access] = {
    "GET /{user}/{repo}": READERS,
    "GET /{user}/{repo}/gpgkey": READERS,
    "GET /{user}/{repo}/packages/{family}/{version}/{filename}/download": READERS,
    "GET /{user}/{repo}/{path}": READERS,
    "GET /priv/{token}/{user}/{repo}/{path}": READERS,
    "PUT /{user}/{repo}/{path}": REPO_PUSH,
    "PUT /priv/{token}/{user}/{repo}/{path}": REPO_PUSH,
}
"""Addresses of repositories, which no router finds."""

ROUTES: Mapping[str, Access] = {
    "GET /": OPEN,
    "GET /livez": OPEN,
    "GET /static/operations.css": OPEN,
    "GET /static/operations.js": OPEN,
    "GET /app/login": OPEN,
    "POST /app/login": ANY_TOKEN,
    "POST /app/logout": OPEN,
    "GET /app": ANY_TOKEN,
    "GET /app/repositories/{user}/{repo}": REPO_READ,
    "GET /app/tokens": ADMIN_TOKEN,
    "GET /app/log": ADMIN_TOKEN,
    "GET /app/operations": OPERATOR,
    "GET /app/operations/day": OPERATOR,
    "GET /install/repositories/{user}/{repo}/{name}": READERS,
    "POST /install/repositories/{user}/{repo}/tokens.text": REPO_READ,
    # packagecloud's API
    "GET /api/v1/distributions": ANY_TOKEN,
    "GET /api/v1/repos": ANY_TOKEN,
    "POST /api/v1/repos": OWNER_ADMIN,
    "GET /api/v1/repos/{user}/{repo}": REPO_READ,
    "GET /api/v1/repos/{user}/{repo}/packages": REPO_READ,
    "POST /api/v1/repos/{user}/{repo}/packages": REPO_PUSH,
    "POST /api/v1/repos/{user}/{repo}/packages/contents": REPO_PUSH,
    "GET /api/v1/repos/{user}/{repo}/search": REPO_READ,
    f"GET {_PACKAGE_V1}/versions": REPO_READ,
    f"GET {_GROUPED_V1}/versions": REPO_READ,
    f"GET {_PACKAGE_V1}/{{package_version}}": REPO_READ,
    f"GET {_PACKAGE_V1}/{{package_version}}/{{release}}": REPO_READ,
    f"GET {_GROUPED_V1}/{{package_version}}": REPO_READ,
    "DELETE /api/v1/repos/{user}/{repo}/{family}/{version}/{filename:path}": REPO_ADMIN,
    "GET /api/v1/repos/{user}/{repo}/gpg_keys": REPO_READ,
    "POST /api/v1/repos/{user}/{repo}/gpg_keys": REPO_ADMIN,
    "GET /api/v1/repos/{user}/{repo}/gpg_keys/{name}": REPO_READ,
    "DELETE /api/v1/repos/{user}/{repo}/gpg_keys/{name}": REPO_ADMIN,
    # our own
    "GET /api/v2/openapi": OPEN,
    "GET /api/v2/proof": OPEN,
    "GET /api/v2/whoami": ANY_TOKEN,
    "GET /api/v2/log": ADMIN_TOKEN,
    "GET /api/v2/tokens": ADMIN_TOKEN,
    "POST /api/v2/tokens": OWNER_ADMIN,
    "DELETE /api/v2/tokens/{token_id:int}": ADMIN_TOKEN,
    "GET /api/v2/repos": ANY_TOKEN,
    "POST /api/v2/repos": OWNER_ADMIN,
    "GET /api/v2/repos/{user}/{repo}": REPO_READ,
    "DELETE /api/v2/repos/{user}/{repo}": REPO_ADMIN,
    "POST /api/v2/repos/{user}/{repo}/have": REPO_PUSH,
    "POST /api/v2/repos/{user}/{repo}/packages": REPO_PUSH,
    "POST /api/v2/repos/{user}/{repo}/yank": REPO_ADMIN,
    "POST /api/v2/repos/{user}/{repo}/unyank": REPO_ADMIN,
    "PUT /api/v2/repos/{user}/{repo}/quota": REPO_ADMIN,
    "GET /api/v2/repos/{user}/{repo}/keep": REPO_ADMIN,
    "PUT /api/v2/repos/{user}/{repo}/keep": REPO_ADMIN,
    "GET /api/v2/repos/{user}/{repo}/keys": REPO_READ,
    "GET /api/v2/repos/{user}/{repo}/signed": REPO_READ,
    "POST /api/v2/repos/{user}/{repo}/keys": REPO_ADMIN,
    "POST /api/v2/repos/{user}/{repo}/keys/rotate": REPO_ADMIN,
    "POST /api/v2/repos/{user}/{repo}/keys/{fingerprint}/retire": REPO_ADMIN,
    "POST /api/v2/repos/{user}/{repo}/keys/{fingerprint}/secret": REPO_ADMIN,
    "POST /api/v2/repos/{user}/{repo}/package-keys": REPO_ADMIN,
    "DELETE /api/v2/repos/{user}/{repo}/package-keys/{name}": REPO_ADMIN,
    "GET /api/v2/keys": ANY_TOKEN,
    "GET /api/v2/distributions": ANY_TOKEN,
    "POST /api/v2/distributions": OPERATOR,
    "GET /api/v2/owners": Access(Reach.WHOLE),
    "GET /api/v2/owners/{user}": Access(Reach.OWNER),
    "PUT /api/v2/owners/{user}/quota": OPERATOR,
    "GET /api/v2/disk": OPERATOR,
    "POST /api/v2/gc": OPERATOR,
    "GET /api/v2/settings": OPERATOR,
}
"""Every route of the router, by its method and path."""


def route_names(routes: Sequence[BaseRoute]) -> Iterator[str]:
    """``METHOD /path`` of each, as the tables above have it; HEAD goes with GET."""
    for route in routes:
        if isinstance(route, Route):
            for method in sorted((route.methods or set()) - {"HEAD"}):
                yield f"{method} {route.path}"
