"""``entrepot yank`` and ``entrepot unyank``."""

from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from entrepot.cli import frame, options

if TYPE_CHECKING:
    from entrepot.client.session import Session

YANK_HELP = """Take files out of every index: clients do not find them any more, one publication for each index.

WHAT is a file name, a pattern of file names in quotes, or a package name followed by a version as apt, dnf or mvn
shows it: [EPOCH:]VERSION[-RELEASE]. An rpm's version without its release means every release. Without DISTRO/VERSION
it means every distribution of the repository. A source package goes as a whole. The bytes stay until `entrepot gc`;
until then `entrepot unyank` brings the files back.

\b
Examples:
  entrepot yank acme/prod/debian/bookworm hello_1.0_amd64.deb
  entrepot yank acme/prod hello 1:2.0-1
  entrepot yank acme/prod 'hello_1.*' --dry-run
"""
UNYANK_HELP = """Put yanked files back into the indexes that listed them; until `entrepot gc` has collected them.

Of several that were yanked under one name it is the last one. A source package comes back as a whole; if a part of it
is gone it is held until that part is pushed again, for at most 24 hours.

\b
Examples:
  entrepot unyank acme/prod/debian/bookworm hello_1.0_amd64.deb
  entrepot unyank acme/prod 'hello_1.*' --dry-run
"""

PAST = {"yank": "yanked", "unyank": "listed"}

Place = Annotated[
    str, typer.Argument(metavar="USER/REPO[/DISTRO/VERSION]", help="A repository, or one of its distributions.")
]
What = Annotated[str, typer.Argument(metavar="WHAT", help="A file name, a pattern in quotes, or a package name.")]
Version = Annotated[Optional[str], typer.Argument(metavar="[VERSION]", help="Then WHAT is the package's name.")]


def yank(
    place: Place,
    what: What,
    version: Version = None,
    dry_run: options.DryRun = False,
    as_json: options.Json = False,
    url: options.Url = None,
    token_file: options.TokenFile = None,
    data: options.Data = None,
    ca_file: options.CaFile = None,
) -> None:
    """Take files out of the indexes. The help text is YANK_HELP."""
    word = "would yank" if dry_run else "yanked"

    def body(session: "Session") -> int:
        return _change(session, "yank", word, place, what, version, dry_run=dry_run, as_json=as_json)

    frame.ask(body, url, token_file, data, ca_file, as_json=as_json)


def unyank(
    place: Place,
    what: What,
    version: Version = None,
    dry_run: options.DryRun = False,
    as_json: options.Json = False,
    url: options.Url = None,
    token_file: options.TokenFile = None,
    data: options.Data = None,
    ca_file: options.CaFile = None,
) -> None:
    """Put yanked files back. The help text is UNYANK_HELP."""
    word = "would bring back" if dry_run else "brought back"

    def body(session: "Session") -> int:
        return _change(session, "unyank", word, place, what, version, dry_run=dry_run, as_json=as_json)

    frame.ask(body, url, token_file, data, ca_file, as_json=as_json)


def _change(
    session: "Session",
    verb: str,
    word: str,
    place: str,
    what: str,
    version: Optional[str],
    *,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Ask, print, and return the exit code: 6 when the change is made but not published yet, or files are held."""
    from entrepot.client.errors import Exit
    from entrepot.client.target import split_place

    repository, distribution = split_place(place)
    asked: dict[str, Any] = {"dry_run": dry_run}
    asked |= {"filename": what} if version is None else {"name": what, "version": version}
    if distribution is not None:
        asked["distribution"] = distribution
    found = session.post(f"/api/v2/repos/{repository}/{verb}", asked)
    if found["already"]:
        word = f"already {PAST[verb]}"
    if as_json:
        for row in found["files"]:
            frame.print_json({**row, "already": found["already"], "dry_run": dry_run})
    else:
        for row in found["files"]:
            done = "held" if row["held_until"] and verb == "unyank" else word
            typer.echo(f"{done}  {frame.clean(row['distribution'])}  {frame.clean(row['filename'])}")
    if dry_run or found["indexed"]:
        return Exit.OK
    if verb == "unyank" and any(row["held_until"] for row in found["files"]):
        typer.echo(
            "entrepot: push what their source packages lack within 24 hours; held files are in no index.", err=True
        )
        return Exit.NOT_LISTED
    typer.echo(
        "entrepot: done, but the new index is not being served yet; it will be without another command.", err=True
    )
    return Exit.NOT_LISTED
