"""Commands about a running server: ``gc``, ``config``, ``health``; and ``version``."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from entrepot.cli import frame, options
from entrepot.model.units import size_text

if TYPE_CHECKING:
    from entrepot.client.session import Session


def version() -> None:
    """Print the version."""
    from entrepot import __version__

    typer.echo(f"entrepot {__version__}")


def gc(
    dry_run: options.DryRun = False,
    as_json: options.Json = False,
    url: options.Url = None,
    token_file: options.TokenFile = None,
    data: options.Data = None,
    ca_file: options.CaFile = None,
) -> None:
    """Free the bytes of yanked files and of deleted repositories. They cannot be brought back afterwards.

    With --dry-run: what it would free, in true bytes; bytes that another file or distribution needs are not counted.
    """

    def body(session: "Session") -> None:
        found = session.post("/api/v2/gc", {"dry_run": dry_run})
        if as_json:
            frame.print_json(found)
            return
        word = "would free" if dry_run else "freed"
        blobs = f"{word} {found['size_bytes']} bytes ({size_text(found['size_bytes'])}) of {found['blobs']} blobs"
        typer.echo(f"{blobs}; {found['files']} yanked files")

    frame.ask(body, url, token_file, data, ca_file, as_json=as_json)


def config(
    offline: Annotated[
        bool,
        typer.Option(
            "--offline", help="Read the server's settings here, from file and environment, without asking it."
        ),
    ] = False,
    file: Annotated[
        Optional[Path],
        typer.Option("--config", metavar="FILE", help="With --offline: the TOML file. Default: DIR/entrepot.toml."),
    ] = None,
    client: Annotated[bool, typer.Option("--client", help="How this command reaches its server, and why.")] = False,
    as_json: options.Json = False,
    url: options.Url = None,
    token_file: options.TokenFile = None,
    data: options.Data = None,
    ca_file: options.CaFile = None,
) -> None:
    """Print the settings that are in force on the running server; secrets are hidden."""
    if client:
        frame.finish(lambda: _client_config(url, token_file, data, ca_file, as_json=as_json), as_json=as_json)
    if offline:
        frame.finish(lambda: _offline_config(file, data, as_json=as_json), as_json=as_json)

    def body(session: "Session") -> None:
        _print_settings(session.get("/api/v2/settings"), as_json=as_json)

    frame.ask(body, url, token_file, data, ca_file, as_json=as_json)


def _client_config(
    url: Optional[str], token_file: Optional[Path], data: Optional[Path], ca_file: Optional[Path], *, as_json: bool
) -> None:
    connection = frame.connect(url, token_file, data, ca_file)
    shown = {
        "url": connection.url,
        "token": None if connection.token is None else "[hidden]",
        "ca_file": None if connection.ca_file is None else str(connection.ca_file),
    }
    if as_json:
        frame.print_json({name: {"value": value, "source": connection.sources[name]} for name, value in shown.items()})
        return
    frame.table(
        [(name, value or "-", connection.sources[name]) for name, value in shown.items()], ("SETTING", "VALUE", "FROM")
    )


def _offline_config(file: Optional[Path], data: Optional[Path], *, as_json: bool) -> None:
    from entrepot.client.errors import UsageError

    with frame.server_part():
        from entrepot.settings import SettingsError, effective, load
    try:
        settings = load(file, {"server": {} if data is None else {"data_folder": data}})
    except SettingsError as error:
        raise UsageError(str(error), code="settings") from None
    _print_settings(effective(settings), as_json=as_json)


def _print_settings(settings: Any, *, as_json: bool) -> None:
    """As a TOML file would hold them."""
    import json

    if as_json:
        frame.print_json(settings)
        return
    for concern, values in settings.items():
        typer.echo(f"[{frame.clean(concern)}]")
        for name, value in values.items():
            if value is None:
                typer.echo(f"# {frame.clean(name)} is not set")
            else:
                typer.echo(f"{frame.clean(name)} = {json.dumps(value)}")
        typer.echo("")


def health(
    live: Annotated[
        bool, typer.Option("--live", help="Ask only whether the process works: what a container's health check needs.")
    ] = False,
    upload: Annotated[bool, typer.Option("--upload", help="Ask only whether uploads are taken.")] = False,
    admin_url: Annotated[
        Optional[str],
        typer.Option(
            "--admin-url",
            metavar="URL",
            help="Address of the probes. Default: ENTREPOT_ADMIN_URL, else one port above --url.",
        ),
    ] = None,
    as_json: options.Json = False,
    url: options.Url = None,
) -> None:
    """Ask the node on this machine how it is; needs no token, no disk, and waits for nothing.

    Ends with 0 when it is well and takes uploads, 1 when not (the cause is printed), 4 when it does not answer. With
    --live or --upload only that question counts. A full disk is no reason to end a container: use --live there.
    """

    def body() -> int:
        from dataclasses import replace

        from entrepot.client import health as asking
        from entrepot.client.session import Session

        connection = replace(frame.connect(url, None, None, None), token=None)
        where = admin_url or os.environ.get("ENTREPOT_ADMIN_URL") or asking.admin_url(connection.url)
        with Session(replace(connection, url=where.rstrip("/")), retry_for_s=0.0) as session:
            if live or upload:
                causes = {"live": asking.ask_one(session, "/livez")} if live else {}
                if upload:
                    causes["uploads"] = asking.ask_uploads(session).cause
                found = None
            else:
                found = asking.ask(session)
                causes = {"live": found.live, "reads": found.reads, "uploads": found.uploads.cause}
        if as_json:
            frame.print_json(causes | ({} if found is None else {"status": found.status}))
        else:
            for name, cause in causes.items():
                typer.echo(f"{name:<10}{'ok' if not cause else frame.clean(cause)}")
            for name, value in asking.figures(found.status if found else {}):
                typer.echo(f"{name:<10}{frame.clean(value)}")
        return int(any(causes.values()))

    frame.finish(body, as_json=as_json)
