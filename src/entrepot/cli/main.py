"""The program ``entrepot``. Only what a command needs is imported, when it runs: ``--help`` answers at once."""

import io
import sys
from pathlib import Path
from typing import Annotated, Optional

import typer

from entrepot import __version__
from entrepot.cli import backup, disk, distro, doctor, key, log, owner, push, repo, server, token, top, yank

HELP = """Self-hosted package repositories: push .deb, .rpm and Maven artifacts; install them with apt, dnf, zypper, mvn
and gradle.

\b
Begin with:
  entrepot serve --data ./data --listen 127.0.0.1:8420
  export ENTREPOT_URL=http://127.0.0.1:8420 ENTREPOT_TOKEN=$(cat data/admin-token)
  entrepot repo create acme/prod
  entrepot push acme/prod/debian/bookworm hello_1.0_amd64.deb

ENTREPOT_URL and ENTREPOT_TOKEN say which server and with which token; ~/.config/entrepot/client.toml may hold both.
"""

# Plain help and plain errors: rich would take a third of the time that `--help` may take.
app = typer.Typer(
    name="entrepot", help=HELP, no_args_is_help=True, rich_markup_mode=None, pretty_exceptions_enable=False
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"entrepot {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and end.")
    ] = False,
) -> None:
    """Keeps every command a word of its own."""


@app.command(
    epilog="Example: entrepot serve --data /srv/entrepot --listen 0.0.0.0:8420 --public-url https://pkg.acme.org"
)
def serve(
    data: Annotated[
        Optional[Path], typer.Option("--data", metavar="DIR", help="Data folder; made when missing.")
    ] = None,
    listen: Annotated[
        Optional[str], typer.Option("--listen", metavar="HOST:PORT", help="Where clients connect.")
    ] = None,
    public_url: Annotated[
        Optional[str], typer.Option("--public-url", metavar="URL", help="URL by which clients reach the server.")
    ] = None,
    admin_listen: Annotated[
        Optional[str], typer.Option("--admin-listen", metavar="HOST:PORT", help="Where probes and metrics are.")
    ] = None,
    tls_cert: Annotated[
        Optional[Path],
        typer.Option(
            "--tls-cert",
            metavar="FILE",
            readable=False,  # whether it can be read is said by the server, with what to do about it
            help="PEM file with certificate and intermediates: serve HTTPS.",
        ),
    ] = None,
    tls_key: Annotated[
        Optional[Path],
        typer.Option("--tls-key", metavar="FILE", readable=False, help="PEM file with the certificate's private key."),
    ] = None,
    trusted_proxy: Annotated[
        Optional[list[str]],
        typer.Option(
            "--trusted-proxy",
            metavar="CIDR",
            help="Proxy or network whose X-Forwarded-For is believed. May be given again.",
        ),
    ] = None,
    config: Annotated[Optional[Path], typer.Option("--config", metavar="FILE", help="TOML file with settings.")] = None,
    replace_lost_keys: Annotated[
        bool,
        typer.Option(
            "--replace-lost-keys",
            help="After the secret was lost: make new signing keys, which clients must fetch.",
        ),
    ] = False,
    http_server: Annotated[str, typer.Option("--http-server", hidden=True)] = "granian",
) -> None:
    """Run a server."""
    try:
        from entrepot.cli.serve import leave, run
    except ImportError as error:
        # The client installs without the server's dependencies.
        typer.echo(f"entrepot: the server's part is not installed here: {error}", err=True)
        typer.echo("entrepot: pip install 'entrepot[server]'", err=True)
        raise typer.Exit(2) from None
    given = {
        "data_folder": data,
        "listen": listen,
        "public_url": public_url,
        "admin_listen": admin_listen,
        "tls_cert": tls_cert,
        "tls_key": tls_key,
        "trusted_proxies": tuple(trusted_proxy or ()) or None,
    }
    named = {key: value for key, value in given.items() if value is not None}
    leave(run(named, config, http_server, replace_lost_keys=replace_lost_keys))


app.command(help=push.HELP, short_help="Push packages to one or more distributions.")(push.push)
app.command(help=yank.YANK_HELP, short_help="Take files out of the indexes.")(yank.yank)
app.command(help=yank.UNYANK_HELP, short_help="Put yanked files back.")(yank.unyank)
app.add_typer(repo.app, name="repo")
app.add_typer(owner.app, name="owner")
app.add_typer(token.app, name="token")
app.add_typer(distro.app, name="distro")
app.add_typer(key.app, name="key")
app.command()(server.gc)
app.command(help=log.LOG_HELP, short_help="Show who changed what.")(log.log)
app.command(epilog="Example: entrepot whoami")(log.whoami)
app.command(help=disk.HELP, short_help="Show what holds the bytes, and what frees them.")(disk.disk)
app.command(help=backup.BACKUP_HELP, short_help="Make a back-up while the server runs.")(backup.backup)
app.command(help=backup.RESTORE_HELP, short_help="Make a data folder out of a back-up.")(backup.restore)
app.command(help=backup.VERIFY_HELP, short_help="Find missing and damaged packages.")(backup.verify)
app.command(epilog="Examples: entrepot config; entrepot config --client; entrepot config --offline --data DIR")(
    server.config
)
app.command(epilog="Examples: entrepot health; entrepot health --live --admin-url http://127.0.0.1:8421")(server.health)
app.command(help=doctor.HELP, short_help="Find what is wrong with a server, and how to mend it.")(doctor.doctor)
app.command(
    help=top.HELP,
    short_help="Watch nodes live in the terminal.",
    epilog="Example: entrepot top --url http://127.0.0.1:8421",
)(top.top)
app.command()(server.version)


def app_main() -> None:
    """Run the command line."""
    for stream in (sys.stdout, sys.stderr):
        # A locale without the arrow of a line, or the letters of a file name, must not end a push half-way.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    app()
