"""``entrepot doctor``."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from entrepot.cli import frame, options

if TYPE_CHECKING:
    from entrepot.cli.checks import Finding

HELP = """Look at a server's settings, files, disks, clock, keys and addresses, and say how to mend what is wrong.

Run it on the server's machine, as the server's user; the server may run, and is not held up. Ends with 0 when nothing
is wrong (warnings may be printed), with 1 when something does not work, with 2 when the settings cannot be read. Each
check and its remedy stand in docs/troubleshoot.md.

The public URL is tried as clients use it: a random number goes there, and only this very server can answer it.

\b
Examples:
  sudo -u entrepot entrepot doctor
  entrepot doctor --data ./data --json
"""


def doctor(
    data: Annotated[
        Optional[Path],
        typer.Option("--data", metavar="DIR", help="The server's data folder. Default: what its settings say."),
    ] = None,
    config: Annotated[
        Optional[Path],
        typer.Option("--config", metavar="FILE", help="The server's TOML file. Default: DIR/entrepot.toml."),
    ] = None,
    ca_file: options.CaFile = None,
    as_json: options.Json = False,
) -> None:
    """Look at everything. The help text is HELP."""

    def body() -> int:
        from entrepot.client.errors import UsageError

        with frame.server_part():
            from entrepot.cli.checks import examination
            from entrepot.settings import SettingsError, load
        try:
            settings = load(config, {"server": {} if data is None else {"data_folder": data}})
        except SettingsError as error:
            raise UsageError(str(error), code="settings") from None
        return _report(examination.examine(settings, config, ca_file), as_json=as_json)

    frame.finish(body, as_json=as_json)


def _report(findings: "Iterator[Finding]", *, as_json: bool) -> int:
    """Print each finding as it comes, then their number; the exit code."""
    from dataclasses import asdict

    counts = {"ok": 0, "warning": 0, "failed": 0, "skipped": 0}
    for each in findings:
        counts[each.state] += 1
        if as_json:
            frame.print_json(asdict(each))
            continue
        typer.echo(f"{each.state:<8} {each.check:<12} {frame.clean(each.text)}")
        if each.remedy:
            typer.echo(f"{'':<21} → {frame.clean(each.remedy)}")
    if not as_json:
        typer.echo(", ".join(f"{number} {state}" for state, number in counts.items() if number))
    return int(counts["failed"] > 0)
