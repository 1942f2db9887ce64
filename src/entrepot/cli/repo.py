"""``entrepot repo``."""

from collections.abc import Mapping
from typing import Annotated, Any, Optional

import typer

from entrepot.cli import frame, options, quotas
from entrepot.model.units import size_text

app = typer.Typer(
    help="Create, list, show, bound and delete repositories.", no_args_is_help=True, rich_markup_mode=None
)

Name = Annotated[str, typer.Argument(metavar="USER/REPO", help="The repository.")]


@app.command(epilog="Example: entrepot repo create acme/prod --private")
def create(
    name: Name,
    private: Annotated[bool, typer.Option("--private", help="Reading needs a token too.")] = False,
    as_json: options.Json = False,
    url: options.Url = None,
    token_file: options.TokenFile = None,
    data: options.Data = None,
    ca_file: options.CaFile = None,
) -> None:
    """Create a repository with a signing key of its own."""
    from entrepot.client.session import Session

    def body(session: Session) -> None:
        from entrepot.client.target import check_repository

        found = session.post("/api/v2/repos", {"name": check_repository(name), "private": private})
        if as_json:
            frame.print_json(found)
        else:
            typer.echo(f"{found['name']} is {'private' if found['private'] else 'public'}: {frame.clean(found['url'])}")
            typer.echo(f"Push to it: {frame.program()} push {found['name']}/debian/bookworm FILES...")

    frame.ask(body, url, token_file, data, ca_file, as_json=as_json)


@app.command(name="list")
def list_(
    as_json: options.Json = False,
    url: options.Url = None,
    token_file: options.TokenFile = None,
    data: options.Data = None,
    ca_file: options.CaFile = None,
) -> None:
    """List the repositories that the token may see."""
    from entrepot.client.session import Session

    def body(session: Session) -> None:
        rows = session.get("/api/v2/repos")["repositories"]
        if as_json:
            for row in rows:
                frame.print_json(row)
            return
        shown = [
            (
                row["name"],
                "private" if row["private"] else "public",
                row["files"],
                size_text(row["used_bytes"]),
                frame.moment(row["last_push_at"]),
            )
            for row in rows
        ]
        frame.table(shown, ("REPOSITORY", "ACCESS", "FILES", "SIZE", "LAST PUSH"))

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
    """Show one repository."""
    from entrepot.client.session import Session

    def body(session: Session) -> None:
        from entrepot.client.target import check_repository

        found = session.get(f"/api/v2/repos/{check_repository(name)}")
        if as_json:
            frame.print_json(found)
            return
        rows = [
            ("name", found["name"]),
            ("address", found["url"]),
            ("access", "private" if found["private"] else "public"),
            ("files", found["files"]),
            *quotas.lines(found),
            ("created", frame.moment(found["created_at"])),
            ("last push", frame.moment(found["last_push_at"])),
        ]
        frame.facts(rows)

    frame.ask(body, url, token_file, data, ca_file, as_json=as_json)


@app.command(epilog="Examples: entrepot repo quota acme/prod 20GiB; entrepot repo quota acme/prod none")
def quota(
    name: Name,
    size: quotas.Size = None,
    as_json: options.Json = False,
    url: options.Url = None,
    token_file: options.TokenFile = None,
    data: options.Data = None,
    ca_file: options.CaFile = None,
) -> None:
    """Show, set or clear how much a repository may hold."""
    from entrepot.client.session import Session

    def body(session: Session) -> None:
        from entrepot.client.target import check_repository

        quotas.ask(session, f"/api/v2/repos/{check_repository(name)}", size, as_json=as_json)

    frame.ask(body, url, token_file, data, ca_file, as_json=as_json)


KEEP_HELP = """Show, set or clear how many versions of each package a repository keeps.

With a number, older versions are taken out of the indexes now, and within half a minute after each push; their bytes go
by themselves a day later (publication.keep_replaced_s). A version is what apt, dnf and mvn take for one: a package in
one architecture; a Maven version with its POM and all its files. USER/REPO means every distribution without a rule of
its own, USER/REPO/DISTRO/VERSION one of them; `none` clears the rule.

\b
Examples:
  entrepot repo keep acme/prod 5 --dry-run
  entrepot repo keep acme/prod 5
  entrepot repo keep acme/prod/debian/bookworm 20
  entrepot repo keep acme/prod none
"""


@app.command(help=KEEP_HELP, short_help="Keep the last versions of each package, drop older ones.")
def keep(
    place: Annotated[
        str, typer.Argument(metavar="USER/REPO[/DISTRO/VERSION]", help="A repository, or one of its distributions.")
    ],
    versions: Annotated[
        Optional[str], typer.Argument(metavar="[N|none]", help="So many versions. Without it: show the rules.")
    ] = None,
    dry_run: options.DryRun = False,
    as_json: options.Json = False,
    url: options.Url = None,
    token_file: options.TokenFile = None,
    data: options.Data = None,
    ca_file: options.CaFile = None,
) -> None:
    """Show, set or clear a keep rule. The help text is KEEP_HELP."""
    from entrepot.client.session import Session

    def body(session: Session) -> int:
        from entrepot.client.errors import Exit
        from entrepot.client.target import split_place

        repository, distribution = split_place(place)
        path = f"/api/v2/repos/{repository}/keep"
        looks = dry_run or versions is None
        if versions is None:
            found = session.get(path)
        else:
            asked = {"versions": _number(versions), "distribution": distribution, "dry_run": dry_run}
            found = session.put(path, asked)
        if as_json:
            frame.print_json(found)
        else:
            _show_rules(found, looks=looks)
        if looks or found["indexed"]:
            return Exit.OK
        typer.echo("entrepot: done, but not every new index is being served yet; they will be soon.", err=True)
        return Exit.NOT_LISTED

    frame.ask(body, url, token_file, data, ca_file, as_json=as_json)


def _show_rules(found: Mapping[str, Any], *, looks: bool) -> None:
    for rule in found["rules"]:
        where = rule["distribution"] or "every other distribution"
        typer.echo(f"{rule['versions']} versions of each package in {frame.clean(where)}")
    if not found["rules"]:
        typer.echo("every version is kept")
    word = "would take out" if looks else "took out"
    for row in found["files"] if looks else ():
        typer.echo(f"{word}  {frame.clean(row['distribution'])}  {frame.clean(row['filename'])}")
    size = f"{found['size_bytes']} bytes ({size_text(found['size_bytes'])})"
    typer.echo(f"{word} {found['file_count']} files; {size} come free a while later")


def _number(text: str) -> Optional[int]:
    """A number of versions, or None for `none`. Raises UsageError."""
    from entrepot.client.errors import UsageError

    if text.lower() == "none":
        return None
    if not text.isascii() or not text.isdigit() or not 1 <= int(text[:9]) <= 100_000:
        raise UsageError(f"{text!r} is no number of versions: write 1 to 100000, or none.")
    return int(text)


@app.command(epilog="Example: entrepot repo delete acme/old --yes")
def delete(
    name: Name,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    url: options.Url = None,
    token_file: options.TokenFile = None,
    data: options.Data = None,
    ca_file: options.CaFile = None,
) -> None:
    """Delete a repository with all that is in it; there is no way back."""
    from entrepot.client.session import Session

    def body(session: Session) -> Optional[int]:
        from entrepot.client.target import check_repository

        found = session.get(f"/api/v2/repos/{check_repository(name)}")
        question = f"Delete {name} with {found['files']} files ({size_text(found['used_bytes'])}) for good?"
        if not yes and not typer.confirm(question, err=True):
            typer.echo("Nothing was deleted.", err=True)
            return 1
        session.delete(f"/api/v2/repos/{name}")
        typer.echo(f"{name} is deleted; its bytes go with the next collection (entrepot gc).")
        return None

    frame.ask(body, url, token_file, data, ca_file)
