"""``entrepot distro``."""

from typing import Annotated, Optional

import typer

from entrepot.cli import frame, options

app = typer.Typer(help="List and add distributions.", no_args_is_help=True, rich_markup_mode=None)


@app.command(name="list", epilog="Example: entrepot distro list ubuntu")
def list_(
    part: Annotated[
        Optional[str],
        typer.Argument(metavar="[TEXT]", help="Only those with this in their name or type: ubuntu, el/, rpm."),
    ] = None,
    as_json: options.Json = False,
    url: options.Url = None,
    token_file: options.TokenFile = None,
    data: options.Data = None,
    ca_file: options.CaFile = None,
) -> None:
    """List the distributions that packages can be pushed to, with their ids."""
    from entrepot.client.session import Session

    def body(session: Session) -> None:
        rows = session.get("/api/v2/distributions")["distributions"]
        chosen = [row for row in rows if part is None or part in row["path"] or part == row["type"]]
        if as_json:
            for row in chosen:
                frame.print_json(row)
            return
        shown = [(row["path"], row["type"], row["id"], row["version_number"] or "-") for row in chosen]
        frame.table(shown, ("DISTRIBUTION", "TYPE", "ID", "VERSION"))

    frame.ask(body, url, token_file, data, ca_file, as_json=as_json)


@app.command(epilog="Example: entrepot distro add debian/forky; entrepot distro add acme/1 --like debian")
def add(
    path: Annotated[str, typer.Argument(metavar="DISTRO/VERSION", help="Its name, such as `opensuse/16.1`.")],
    like: Annotated[
        Optional[str],
        typer.Option("--like", metavar="DISTRO", help="For a new family: a known one whose kind of packages it takes."),
    ] = None,
    display: Annotated[
        Optional[str], typer.Option("--display", metavar="TEXT", help="Name for people: 'Forky'.")
    ] = None,
    version_number: Annotated[
        Optional[str], typer.Option("--version-number", metavar="N", help="Its number, where it has one: 14.")
    ] = None,
    as_json: options.Json = False,
    url: options.Url = None,
    token_file: options.TokenFile = None,
    data: options.Data = None,
    ca_file: options.CaFile = None,
) -> None:
    """Add a distribution to the running server; packages can be pushed to it at once."""
    from entrepot.client.session import Session

    def body(session: Session) -> None:
        from entrepot.client.target import check_distribution

        asked = {
            "path": check_distribution(path),
            "like": like and like.partition("/")[0],
            "display": display,
            "version_number": version_number,
        }
        found = session.post("/api/v2/distributions", {key: value for key, value in asked.items() if value is not None})
        if as_json:
            frame.print_json(found)
        else:
            typer.echo(f"{found['path']} takes {found['type']} packages; its id is {found['id']}.")

    frame.ask(body, url, token_file, data, ca_file, as_json=as_json)
