"""``entrepot backup``, ``restore`` and ``verify``: they work on folders of this machine, beside a running server."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, Optional, TypeVar

import typer

from entrepot.cli import frame, options
from entrepot.model.units import size_text

if TYPE_CHECKING:
    from entrepot.cli.meter import Meter
    from entrepot.settings.sources import Settings
    from entrepot.upkeep.backup.filler import Lack

T = TypeVar("T")

BACKUP_HELP = """Make a back-up of a server's data folder into the folder DEST, while the server runs.

DEST gets the catalog, the packages, and the secret that opens the signing keys: whoever can read it can sign in your
name. The next back-up into the same DEST copies only what is new and removes what is gone. It is complete only when
this command ends with 0 or 1; whatever ended it before that, DEST holds the last complete one.

Run it as the user that the server runs as, on the server's machine.

\b
Examples:
  sudo -u entrepot entrepot backup /mnt/backup/entrepot
  entrepot backup /mnt/backup/entrepot --data ./data
"""
RESTORE_HELP = """Restore a back-up into the folder DIR, which must be new or empty; then start a server on it.

Every package is compared with its digest on the way. Clients that have seen indexes which were made after the back-up
take the restored ones: each index is published anew at the first start. What was pushed after the back-up is gone, and
tokens that were revoked after it are valid again: the command prints the moment.

Run it as the user that the server will run as.

\b
Examples:
  sudo -u entrepot entrepot restore /mnt/backup/entrepot /var/lib/entrepot
  entrepot restore /mnt/backup/entrepot ./data && entrepot serve --data ./data
"""
VERIFY_HELP = """Read everything in a back-up or in a data folder, and name what is missing or damaged.

FOLDER is a folder of back-ups or a data folder, on which a server may run. Without it: the server's data folder. Every
package and index is read from the disk and compared with its digest; the catalog is checked, and whether the secret
opens the signing keys.

\b
Examples:
  sudo -u entrepot entrepot verify
  entrepot verify /mnt/backup/entrepot
"""

DataFolder = Annotated[
    Optional[Path],
    typer.Option("--data", metavar="DIR", help="The server's data folder. Default: what its settings say."),
]
Config = Annotated[
    Optional[Path], typer.Option("--config", metavar="FILE", help="The server's TOML file. Default: DIR/entrepot.toml.")
]


def backup(
    dest: Annotated[Path, typer.Argument(metavar="DEST", help="Folder of back-ups; made when missing.")],
    data: DataFolder = None,
    config: Config = None,
    without_secret: Annotated[
        bool, typer.Option("--without-secret", help="Leave out the secret: a back-up that nobody can sign with.")
    ] = False,
    as_json: options.Json = False,
) -> None:
    """Make a back-up. The help text is BACKUP_HELP."""

    def body(meter: "Meter") -> int:
        from entrepot import __version__
        from entrepot.node.folder import FORMAT, SAVED_FILES, DataFolder
        from entrepot.upkeep.backup.save import Source, save

        folder = _settings(data, config).server.data_folder
        files = tuple(name for name in SAVED_FILES if not (without_secret and name == "secret"))
        source = Source(folder, files, FORMAT, __version__)
        done = save(source, dest, meter.clock.now_s, meter.tell)
        meter.end()
        noted = DataFolder.note_backup(folder, done.made_at)
        if as_json:
            frame.print_json({**_plain(done), "noted": noted})
        else:
            size, new = size_text(done.size_bytes + done.catalog_bytes), size_text(done.new_bytes)
            typer.echo(f"{dest} holds the server of {frame.moment(done.made_at)} UTC: {done.copies} files, {size}")
            typer.echo(f"new: {done.new_copies} files, {new}; removed: {done.removed_copies} files")
        for each in done.lacking:
            _tell_lack(each, as_json=as_json)
        if not done.secret:
            _say("the secret is not in it: without that the signing keys cannot be opened. Keep it elsewhere.")
        if done.same_volume:
            _say(f"{dest} lies on the disk that it should save from; use another one.")
        if not noted:
            _say(
                "the data folder cannot be written, so the server does not learn of this back-up (its alert may fire)."
            )
        return int(bool(done.lacking))

    _run(body, as_json=as_json)


def restore(
    source: Annotated[Path, typer.Argument(metavar="BACKUP", help="Folder that a back-up was made into.")],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="New or empty folder: the server's data folder to be.")],
    partial: Annotated[
        bool, typer.Option("--partial", help="Go without packages that are missing or damaged in the back-up.")
    ] = False,
    as_json: options.Json = False,
) -> None:
    """Restore a back-up. The help text is RESTORE_HELP."""

    def body(meter: "Meter") -> int:
        from entrepot.node.restore import restore as run

        done = run(source, folder, meter.clock.now_s(), meter.tell, partial=partial)
        meter.end()
        if as_json:
            frame.print_json(_plain(done))
        else:
            at = frame.moment(done.made_at)
            typer.echo(f"{folder} is the server of {at} UTC: {done.copies} files, {size_text(done.size_bytes)}")
            typer.echo(f"Start it: entrepot serve --data {folder}")
        for each in done.lost:
            _tell_lack(each, as_json=as_json)
        _say(f"what was pushed after {frame.moment(done.made_at)} UTC is not there; tokens revoked after it are valid.")
        if not done.secret:
            _say(f"the back-up has no secret: put it at {folder}/secret (mode 0600) before the start.")
        return int(bool(done.lost))

    _run(body, as_json=as_json)


def verify(
    folder: Annotated[
        Optional[Path], typer.Argument(metavar="[FOLDER]", help="A folder of back-ups or a data folder.")
    ] = None,
    config: Config = None,
    as_json: options.Json = False,
) -> None:
    """Look at everything. The help text is VERIFY_HELP."""

    def body(meter: "Meter") -> int:
        from entrepot.cli.keycheck import SECRET, key_faults
        from entrepot.upkeep.backup import manifest
        from entrepot.upkeep.backup.check import check_backup, check_folder

        def report(lack: "Lack") -> None:
            meter.clear()
            _tell_lack(lack, as_json=as_json)

        # A folder that is named has its own settings file, if it is a data folder.
        settings = _settings(folder, config)
        where = settings.server.data_folder
        if (where / manifest.NAME).exists():
            found, checked = check_backup(where, meter.tell, report)
            state = where / found.state
            has_secret = SECRET in found.files or settings.signing.secret is not None
            opens = settings.signing.secret is not None or (state / SECRET).exists()  # one that is gone was named
            faults = [*checked.faults, *(key_faults(state, settings) if opens else ())]
            if not has_secret:
                _say("this back-up holds no secret: whether the signing keys open was not tried.")
        else:
            checked = check_folder(where, meter.tell, report)
            faults = [*checked.faults, *key_faults(where, settings)]
        meter.end()
        for line in faults:
            if not as_json:
                typer.echo(f"damaged  {frame.clean(line)}")
        if as_json:
            frame.print_json({**_plain(checked), "faults": faults, "folder": str(where)})
        else:
            size = size_text(checked.size_bytes)
            word = "all is well" if not (faults or checked.bad) else f"{checked.bad + len(faults)} faults"
            typer.echo(f"{where}: {checked.copies} files, {size} read: {word}")
        return int(bool(faults or checked.bad))

    _run(body, as_json=as_json)


def _run(body: "Callable[[Meter], int]", *, as_json: bool) -> NoReturn:
    """Run, and turn what went wrong into sentences and exit codes."""

    def run() -> int:
        from entrepot.client.errors import ClientError

        with frame.server_part():
            from entrepot.cli.meter import Meter
            from entrepot.upkeep.backup.errors import BackupError
        before = os.umask(0o077)
        try:
            with Meter(shown=not as_json) as meter:
                try:
                    return body(meter)
                except BackupError as error:
                    meter.end()
                    raise ClientError(error.detail, code=error.code, remedy=error.remedy) from error
        finally:
            os.umask(before)

    frame.finish(run, as_json=as_json)


def _settings(data: Optional[Path], config: Optional[Path]) -> "Settings":
    """The server's settings, as it would read them here. Raises UsageError."""
    from entrepot.client.errors import UsageError
    from entrepot.settings import SettingsError, load

    try:
        return load(config, {"server": {} if data is None else {"data_folder": data}})
    except SettingsError as error:
        raise UsageError(str(error), code="settings") from None


def _plain(done: Any) -> dict[str, Any]:
    """A result as JSON."""
    from dataclasses import asdict

    return asdict(done)


def _tell_lack(lack: "Lack", *, as_json: bool) -> None:
    names = ", ".join(lack.names) or "nothing that is listed"
    if as_json:
        return
    typer.echo(f"{frame.clean(lack.why)}  blobs/{lack.key[:2]}/{lack.key}  {frame.clean(names)}")


def _say(text: str) -> None:
    typer.echo(f"entrepot: {text}", err=True)
