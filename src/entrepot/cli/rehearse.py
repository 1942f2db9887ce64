"""``entrepot key rehearse``."""

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

import typer

from entrepot.cli import frame, options

if TYPE_CHECKING:
    from entrepot.client.rehearsal import Finding
    from entrepot.client.session import Session

HELP = """Check that clients accept what is served now, whichever key they know.

For each key that signs, gpgv reads every signed index of the repository with that key alone, as apt and dnf
would, and rpm imports it. Run it while keys overlap, before you retire one. It needs gpgv, and rpm where the repository
has an rpm index; it asks the server as any client does and changes nothing.

Ends with 0 when every check is passed, 1 when not.
"""


def rehearse(
    name: Annotated[str, typer.Argument(metavar="USER/REPO", help="The repository.")],
    as_json: options.Json = False,
    url: options.Url = None,
    token_file: options.TokenFile = None,
    data: options.Data = None,
    ca_file: options.CaFile = None,
) -> None:
    """Check that clients accept what is served now, whichever key they know."""

    def body(session: "Session") -> int:
        from entrepot.client.rehearsal import rehearse as run
        from entrepot.client.target import check_repository

        found = list(run(session, check_repository(name), os.environ))
        if as_json:
            for each in found:
                frame.print_json({slot: getattr(each, slot) for slot in ("key", "tool", "file", "accepted", "note")})
        else:
            _tell(found)
        return int(not all(each.accepted for each in found))

    frame.ask(body, url, token_file, data, ca_file, as_json=as_json)


def _tell(found: "Iterable[Finding]") -> None:
    """By key: what it was checked on."""
    from entrepot.client.rehearsal import DONE

    rows = sorted(found, key=lambda each: each.key)
    last = ""
    for each in rows:
        if each.key != last:
            last = each.key
            whom = "all keys that are served" if each.key == "gpgkey" else f"{frame.clean(each.key)} alone"
            typer.echo(f"A client that knows {whom}:")
        word = DONE[each.tool] if each.accepted else f"NOT {DONE[each.tool]}"
        note = f" ({frame.clean(each.note)})" if each.note else ""
        typer.echo(f"  {word}: {frame.clean(each.file)}{note}")
