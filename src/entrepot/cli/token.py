"""``entrepot token``."""

from collections.abc import Mapping
from typing import Annotated, Any, Optional

import typer

from entrepot.cli import frame, options

app = typer.Typer(help="Make, list and revoke tokens.", no_args_is_help=True, rich_markup_mode=None)


@app.command(epilog="Example: entrepot token create ci --role push --repo acme/prod --expires 90d > token")
def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What it is for; shown in lists and logs.")],
    role: Annotated[str, typer.Option("--role", metavar="read|push|admin", help="What it may do.")] = "push",
    repositories: Annotated[
        Optional[list[str]],
        typer.Option("--repo", metavar="USER/REPO", help="For this repository alone; may be repeated."),
    ] = None,
    expires: Annotated[
        Optional[str], typer.Option("--expires", metavar="TIME", help="Valid for 12h, 90d... Default: for ever.")
    ] = None,
    owner: Annotated[
        Optional[str], typer.Option("--owner", metavar="USER", help="Whose token it is. Default: yours.")
    ] = None,
    as_json: options.Json = False,
    url: options.Url = None,
    token_file: options.TokenFile = None,
    data: options.Data = None,
    ca_file: options.CaFile = None,
) -> None:
    """Make a token. It is printed to standard output, this once."""
    from entrepot.client.session import Session

    def body(session: Session) -> None:
        from entrepot.client.errors import UsageError
        from entrepot.client.target import check_repository

        asked: dict[str, object] = {"name": name, "role": role}
        if repositories:
            asked["repositories"] = [check_repository(each) for each in repositories]
        if expires is not None:
            lives_s = int(frame.duration_s(expires, "--expires"))
            if lives_s < 1:
                raise UsageError("--expires 0 would make a token that is expired; leave it out for one without end.")
            asked["expires_in_s"] = lives_s
        if owner is not None:
            asked["owner"] = owner
        # Never repeated by itself: a lost answer would leave a token behind that nobody knows.
        found = session.post("/api/v2/tokens", asked, retries=False)
        if as_json:
            frame.print_json(found)
            return
        typer.echo(f"Token {found['id']} ({found['role']}); it cannot be shown again:", err=True)
        typer.echo(frame.clean(found["token"]))

    frame.ask(body, url, token_file, data, ca_file, as_json=as_json)


@app.command(name="list")
def list_(
    as_json: options.Json = False,
    url: options.Url = None,
    token_file: options.TokenFile = None,
    data: options.Data = None,
    ca_file: options.CaFile = None,
) -> None:
    """List the tokens that are not revoked; their texts are known to nobody."""
    from entrepot.client.session import Session

    def body(session: Session) -> None:
        rows = session.get("/api/v2/tokens")["tokens"]
        if as_json:
            for row in rows:
                frame.print_json(row)
            return
        shown = [
            (
                row["id"],
                row["owner"],
                row["name"],
                row["role"],
                _repositories(row),
                "never" if row["expires_at"] is None else frame.moment(row["expires_at"]),
                frame.moment(row["last_used_at"]),
            )
            for row in rows
        ]
        frame.table(shown, ("ID", "OWNER", "NAME", "ROLE", "REPOSITORIES", "EXPIRES", "LAST USE"))

    frame.ask(body, url, token_file, data, ca_file, as_json=as_json)


def _repositories(row: Mapping[str, Any]) -> str:
    """Which repositories a token is for."""
    if row["repositories"] is not None:
        return ",".join(row["repositories"])
    return "all" if row["every_owner"] else f"all of {row['owner']}"


@app.command(epilog="Example: entrepot token revoke 7")
def revoke(
    token_id: Annotated[int, typer.Argument(metavar="ID", help="As `entrepot token list` shows it.")],
    url: options.Url = None,
    token_file: options.TokenFile = None,
    data: options.Data = None,
    ca_file: options.CaFile = None,
) -> None:
    """End a token, at once and for good."""
    from entrepot.client.session import Session

    def body(session: Session) -> None:
        session.delete(f"/api/v2/tokens/{token_id}")
        typer.echo(f"Token {token_id} is revoked.")

    frame.ask(body, url, token_file, data, ca_file)
