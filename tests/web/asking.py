"""One request for each route: harmless where it is let through, so that every visitor can send it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

PACKAGE = {
    "kind": "deb", "family": "debian", "version": "bookworm", "name": "hello", "architecture": "amd64",
    "package_version": "1.0", "release": "1", "group": "org.e",
}  # fmt: skip
NO_FILE = {"family": "debian", "version": "bookworm", "filename": "none_1_all.deb", "filename:path": "none_1_all.deb"}
FINGERPRINT = "0" * 40


@dataclass(frozen=True, slots=True)
class Ask:
    """What is sent to a route. ``values`` fill the path beside user and repo; ``fresh``: it must have a repository of
    its own where it is let through, since nothing is left of that.
    """

    values: Mapping[str, str] = field(default_factory=dict)
    json: object = None
    form: Mapping[str, str] | None = None
    content: bytes | None = None
    fresh: bool = False


ASKS: Mapping[str, Ask] = {
    "GET /{user}/{repo}/packages/{family}/{version}/{filename}/download": Ask(NO_FILE),
    "GET /{user}/{repo}/{path}": Ask({"path": "debian/dists/bookworm/InRelease"}),
    "GET /priv/{token}/{user}/{repo}/{path}": Ask({"path": "debian/dists/bookworm/InRelease"}),
    "PUT /{user}/{repo}/{path}": Ask({"path": "debian/bookworm/x_1_all.deb"}, content=b"no package"),
    "PUT /priv/{token}/{user}/{repo}/{path}": Ask({"path": "debian/bookworm/x_1_all.deb"}, content=b"no package"),
    "POST /app/login": Ask(form={"token": "{token}"}),
    "GET /install/repositories/{user}/{repo}/{name}": Ask({"name": "script.deb.sh"}),
    "POST /install/repositories/{user}/{repo}/tokens.text": Ask(form={"name": "machine"}),
    "POST /api/v1/repos": Ask(form={"repository[name]": "{user}/{repo}"}),
    "POST /api/v1/repos/{user}/{repo}/packages": Ask(form={"x": "y"}),
    "POST /api/v1/repos/{user}/{repo}/packages/contents": Ask(form={"x": "y"}),
    "DELETE /api/v1/repos/{user}/{repo}/{family}/{version}/{filename:path}": Ask(NO_FILE),
    "POST /api/v1/repos/{user}/{repo}/gpg_keys": Ask(form={"x": "y"}),
    "GET /api/v1/repos/{user}/{repo}/gpg_keys/{name}": Ask({"name": "none"}),
    "DELETE /api/v1/repos/{user}/{repo}/gpg_keys/{name}": Ask({"name": "none"}),
    "POST /api/v2/tokens": Ask(json={"name": "made", "role": "read", "owner": "{user}"}),
    "DELETE /api/v2/tokens/{token_id:int}": Ask({"token_id:int": "999999"}),
    "POST /api/v2/repos": Ask(json={"name": "{user}/{repo}"}),
    "DELETE /api/v2/repos/{user}/{repo}": Ask(fresh=True),
    "POST /api/v2/repos/{user}/{repo}/have": Ask(json={}),
    "POST /api/v2/repos/{user}/{repo}/packages": Ask(content=b"no package"),
    "POST /api/v2/repos/{user}/{repo}/yank": Ask(json={"filename": "none_1_all.deb"}),
    "POST /api/v2/repos/{user}/{repo}/unyank": Ask(json={"filename": "none_1_all.deb"}),
    "PUT /api/v2/repos/{user}/{repo}/keep": Ask(json={"versions": "none"}),
    "PUT /api/v2/repos/{user}/{repo}/quota": Ask(json={"quota_bytes": None}),
    "POST /api/v2/repos/{user}/{repo}/keys": Ask(json={}),
    "POST /api/v2/repos/{user}/{repo}/keys/rotate": Ask(json={"algorithm": "none"}),
    "POST /api/v2/repos/{user}/{repo}/keys/{fingerprint}/retire": Ask({"fingerprint": FINGERPRINT}),
    "POST /api/v2/repos/{user}/{repo}/keys/{fingerprint}/secret": Ask({"fingerprint": FINGERPRINT}),
    "POST /api/v2/repos/{user}/{repo}/package-keys": Ask(json={}),
    "DELETE /api/v2/repos/{user}/{repo}/package-keys/{name}": Ask({"name": "none"}),
    "POST /api/v2/distributions": Ask(json={}),
    "PUT /api/v2/owners/{user}/quota": Ask(json={"quota_bytes": None}),
    "POST /api/v2/gc": Ask(json={"dry_run": True}),
}
"""By the route's name; what is not here is asked without anything."""


def ask_for(route: str) -> Ask:
    """The request for a route."""
    return ASKS.get(route) or Ask(PACKAGE if "/package/" in route else {})
