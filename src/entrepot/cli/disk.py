"""``entrepot disk``."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import typer

from entrepot.cli import frame, options
from entrepot.model.units import size_text

if TYPE_CHECKING:
    from entrepot.client.session import Session

HELP = """Show what holds the bytes of a server's volumes, and what each remedy frees.

Figures are what the files take on the volume. ONLY HERE is what no other repository needs: what deleting this one
frees. This needs the administrator's token.

\b
Examples:
  entrepot disk
  entrepot disk --json
"""


def disk(
    as_json: options.Json = False,
    url: options.Url = None,
    token_file: options.TokenFile = None,
    data: options.Data = None,
    ca_file: options.CaFile = None,
) -> None:
    """Show what holds the bytes. The help text is HELP."""

    def body(session: "Session") -> None:
        found = session.get("/api/v2/disk")
        if as_json:
            frame.print_json(found)
        else:
            _show(found)

    frame.ask(body, url, token_file, data, ca_file, as_json=as_json)


def _show(found: Mapping[str, Any]) -> None:
    for volume in found["volumes"]:
        _show_volume(volume)
    rows = [
        (
            row["name"],
            row["files"],
            *(size_text(row[f"{part}_bytes"]) for part in ("package", "own", "yanked", "index")),
        )
        for row in found["repositories"]
    ]
    frame.table(rows, ("REPOSITORY", "FILES", "PACKAGES", "ONLY HERE", "YANKED", "INDEXES"))
    old = found["old_indexes"]
    typer.echo("")
    frame.facts(
        [
            ("catalog", f"{size_text(found['catalog_bytes'])}, of which old indexes {size_text(old['catalog_bytes'])}"),
            ("old", f"{old['files']} old index files, {size_text(old['segment_bytes'])} of the indexes above"),
        ]
    )
    typer.echo("")
    if not found["remedies"]:
        typer.echo("there is nothing to free")
    for row in found["remedies"]:
        what = f"{row['command']}: " if row["command"] else ""
        typer.echo(f"{size_text(row['frees_bytes']):>10}  {frame.clean(what + row['text'])}")


def _show_volume(volume: Mapping[str, Any]) -> None:
    """One volume: how full, and the parts that are no repository's."""
    uses = ", ".join(volume["uses"])
    cause = f" ({frame.clean(volume['cause'])})" if volume["cause"] else ""
    typer.echo(f"{frame.clean(volume['name'])} ({uses}): {volume['state']}{cause}")
    figures = {
        "size": volume["size_bytes"],
        "available": volume["available_bytes"],
        "ours": volume["known_bytes"],
        "others'": volume["others_bytes"],
        "unaccounted": volume["unaccounted_bytes"],
        "ballast": volume["ballast_bytes"],
        "reserved": volume["reserved_bytes"],
    }
    typer.echo("  " + ", ".join(f"{name} {size_text(value)}" for name, value in figures.items()))
    typer.echo("")
