"""``entrepot owner``."""

from typing import Annotated

import typer

from entrepot.cli import frame, options, quotas
from entrepot.model.units import size_text

app = typer.Typer(
    help="Show owners, and bound what their repositories hold.", no_args_is_help=True, rich_markup_mode=None
)

Name = Annotated[str, typer.Argument(metavar="USER", help="The owner.")]


@app.command(name="list")
def list_(
    as_json: options.Json = False,
    url: options.Url = None,
    token_file: options.TokenFile = None,
    data: options.Data = None,
    ca_file: options.CaFile = None,
) -> None:
    """List the owners that the token may see: its own, or every one for the operator."""
    from entrepot.client.session import Session

    def body(session: Session) -> None:
        rows = session.get("/api/v2/owners")["owners"]
        if as_json:
            for row in rows:
                frame.print_json(row)
            return
        shown = [
            (
                row["name"],
                row["repositories"],
                row["files"],
                size_text(row["used_bytes"] + row["yanked_bytes"]),
                "none" if row["quota_bytes"] is None else size_text(row["quota_bytes"]),
            )
            for row in rows
        ]
        frame.table(shown, ("OWNER", "REPOSITORIES", "FILES", "CHARGED", "QUOTA"))

    frame.ask(body, url, token_file, data, ca_file, as_json=as_json)


@app.command()
def show(
    name: Name,
    as_json: options.Json = False,
    url: options.Url = None,
    token_file: options.TokenFile = None,
    data: options.Data = None,
    ca_file: options.CaFile = None,
) -> None:
    """Show one owner: the sums over its repositories, and its quota."""
    from entrepot.client.session import Session

    def body(session: Session) -> None:
        found = session.get(path(name))
        if as_json:
            frame.print_json(found)
            return
        counts = [("repos", found["repositories"]), ("files", found["files"])]
        frame.facts([("name", found["name"]), *counts, *quotas.lines(found)])

    frame.ask(body, url, token_file, data, ca_file, as_json=as_json)


@app.command(epilog="Examples: entrepot owner quota acme 200GiB; entrepot owner quota acme none")
def quota(
    name: Name,
    size: quotas.Size = None,
    as_json: options.Json = False,
    url: options.Url = None,
    token_file: options.TokenFile = None,
    data: options.Data = None,
    ca_file: options.CaFile = None,
) -> None:
    """Show, set or clear how much an owner's repositories may hold together."""
    from entrepot.client.session import Session

    def body(session: Session) -> None:
        quotas.ask(session, path(name), size, as_json=as_json)

    frame.ask(body, url, token_file, data, ca_file, as_json=as_json)


def path(name: str) -> str:
    """An owner's address in the API. Raises UsageError."""
    from entrepot.client.target import check_owner

    return f"/api/v2/owners/{check_owner(name)}"
