"""Options that every command that talks to a server shares."""

from pathlib import Path
from typing import Annotated, Optional

import typer

Url = Annotated[
    Optional[str],
    typer.Option("--url", metavar="URL", help="The server. Default: ENTREPOT_URL, else http://127.0.0.1:8420."),
]
TokenFile = Annotated[
    Optional[Path],
    typer.Option("--token-file", metavar="FILE", help="File that holds the token. Default: ENTREPOT_TOKEN."),
]
Data = Annotated[
    Optional[Path],
    typer.Option(
        "--data", metavar="DIR", help="Data folder of a server on this machine: its admin-token is used as the token."
    ),
]
CaFile = Annotated[
    Optional[Path],
    typer.Option(
        "--ca-file", metavar="FILE", help="PEM file of the CA to trust. Default: ENTREPOT_CA_FILE, the system's."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would happen; change nothing.")]
