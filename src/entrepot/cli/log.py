"""``entrepot log`` and ``entrepot whoami``."""

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from entrepot.cli import frame, options

if TYPE_CHECKING:
    from entrepot.client.session import Session

LOG_HELP = """Show who changed what, when, from where, and with which digest; the newest change first.

An admin token sees the changes of its owner's repositories and tokens, the administrator's all of them.

\b
Examples:
  entrepot log
  entrepot log acme/prod --lines 200
  entrepot log acme/prod --json | grep file.add
"""
PAGE_ROWS = 500
DIGEST_CHARS = 16


def whoami(
    as_json: options.Json = False,
    url: options.Url = None,
    token_file: options.TokenFile = None,
    data: options.Data = None,
    ca_file: options.CaFile = None,
) -> None:
    """Say whose token this is, what it may do, until when, and from which address it comes."""

    def body(session: "Session") -> None:
        found = session.get("/api/v2/whoami")
        if as_json:
            frame.print_json(found)
            return
        repositories = "every owner's" if found["every_owner"] else f"all of {found['owner']}"
        if found["repositories"] is not None:
            repositories = ", ".join(found["repositories"])
        expires = "never" if found["expires_at"] is None else frame.moment(found["expires_at"])
        frame.facts(
            [
                ("server", session.connection.url),
                ("token", f"{found['name']} ({found['id']}), from {session.connection.sources['token']}"),
                ("owner", found["owner"]),
                ("role", found["role"]),
                ("repos", repositories),
                ("expires", expires),
                ("address", found["address"]),
            ]
        )

    frame.ask(body, url, token_file, data, ca_file, as_json=as_json)


def log(
    repository: Annotated[
        Optional[str], typer.Argument(metavar="[USER/REPO]", help="Changes of this repository alone.")
    ] = None,
    lines: Annotated[int, typer.Option("--lines", "-n", metavar="N", min=1, help="How many changes.")] = 50,
    as_json: options.Json = False,
    url: options.Url = None,
    token_file: options.TokenFile = None,
    data: options.Data = None,
    ca_file: options.CaFile = None,
) -> None:
    """Show who changed what. The help text is LOG_HELP."""

    def body(session: "Session") -> None:
        from entrepot.client.target import check_repository

        name = None if repository is None else check_repository(repository)
        rows = list(_entries(session, name, lines))
        if as_json:
            for row in rows:
                frame.print_json(row)
            return
        shown = [
            (frame.moment(row["at"]), row["actor"], row["address"] or "-", row["action"], *_what(row)) for row in rows
        ]
        frame.table(shown, ("WHEN (UTC)", "WHO", "FROM", "WHAT", "REPOSITORY", "SUBJECT", "DETAIL"))

    frame.ask(body, url, token_file, data, ca_file, as_json=as_json)


def _entries(session: "Session", repository: Optional[str], most: int) -> Iterator[Mapping[str, Any]]:
    """The newest ``most`` changes, asked for in portions: a server looks only so far back at a time."""
    query = [] if repository is None else [("repository", repository)]
    before: Optional[int] = None
    left = most
    while left:
        more = [] if before is None else [("before", str(before))]
        found = session.get("/api/v2/log", [*query, *more, ("rows", str(min(left, PAGE_ROWS)))])
        yield from found["entries"]
        left -= len(found["entries"])
        before = found["before"]
        if before is None:
            return


def _what(row: Mapping[str, Any]) -> tuple[str, str, str]:
    detail = dict(row["detail"])
    parts = []
    if digest := detail.pop("sha256", None):
        parts.append(f"sha256:{str(digest)[:DIGEST_CHARS]}")
    detail.pop("file", None)
    parts += [f"{key}={value if isinstance(value, str) else json.dumps(value)}" for key, value in detail.items()]
    return row["repository"] or "-", row["subject"], " ".join(parts)
