"""``entrepot key``: what a repository signs with."""

import base64
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from entrepot.cli import frame, options, rehearse

if TYPE_CHECKING:
    from entrepot.client.session import Session

HELP = """Import, rotate, export and list signing keys.

\b
Bring the key that your customers trust already:
  gpg --export-secret-keys --armor FINGERPRINT > key.asc
  entrepot key import acme/prod key.asc

\b
Change keys without a customer noticing:
  entrepot key rotate acme/prod        a new key signs beside the old one
  entrepot key rehearse acme/prod      clients with either key alone accept what is served
  entrepot key retire acme/prod OLD    when every customer has the new one
"""

app = typer.Typer(
    help=HELP, short_help="Import, rotate, export and list signing keys.", no_args_is_help=True, rich_markup_mode=None
)

Repository = Annotated[str, typer.Argument(metavar="USER/REPO", help="The repository.")]
Fingerprint = Annotated[
    str, typer.Argument(metavar="FINGERPRINT", help="Or its last 8 or more digits, as `entrepot key list` shows them.")
]
PASSPHRASE_BYTES_MAX = 4096
FILE_BYTES_MAX = 256 * 1024
FINGERPRINT_CHARS_MIN = 8


@app.command(
    name="import",
    epilog="Example: gpg --export-secret-keys FINGERPRINT | entrepot key import acme/prod -",
)
def import_(
    name: Repository,
    file: Annotated[str, typer.Argument(metavar="FILE", help="As gpg exported it; - for standard input.")],
    package: Annotated[
        bool,
        typer.Option("--package", help="FILE is the public key of packages that came signed."),
    ] = False,
    key_name: Annotated[
        Optional[str], typer.Option("--name", metavar="NAME", help="With --package: the end of its address.")
    ] = None,
    passphrase_file: Annotated[
        Optional[Path],
        typer.Option(
            "--passphrase-file",
            metavar="FILE",
            help="Its first line opens the key. Default: ENTREPOT_KEY_PASSPHRASE, else asked on the terminal.",
        ),
    ] = None,
    alone: Annotated[
        Optional[bool],
        typer.Option(
            "--alone/--beside",
            help="Retire the keys that sign until now at once, or have them sign beside it. Default: --beside, but a"
            " key that was made here goes if no index was published.",
        ),
    ] = None,
    as_json: options.Json = False,
    url: options.Url = None,
    token_file: options.TokenFile = None,
    data: options.Data = None,
    ca_file: options.CaFile = None,
) -> None:
    """Sign with a key that you bring: from aptly, reprepro, Nexus or gpg.

    A key under a passphrase is kept together with it, sealed as all keys are. What is published is signed anew at once.
    """

    def body(session: "Session") -> None:
        from entrepot.client.errors import UsageError
        from entrepot.client.target import check_repository

        path = f"/api/v2/repos/{check_repository(name)}"
        if key_name is not None and not package:
            raise UsageError("--name goes with --package.")
        key = _key_text(_read(file))
        if package:
            asked = {"key": key} if key_name is None else {"key": key, "name": key_name}
            found = session.post(f"{path}/package-keys", asked)
            if as_json:
                frame.print_json(found)
            else:
                typer.echo(f"{frame.clean(found['fingerprint'])} is served at {frame.clean(found['url'])}")
            return
        document: dict[str, object] = {"key": key, "alone": alone}
        before = [] if as_json else session.get(f"{path}/keys")["keys"]
        found = _import(session, f"{path}/keys", document, passphrase_file)
        _told(found, as_json=as_json)
        if not as_json:
            _tell_others(session, name, found["key"]["fingerprint"], before)

    frame.ask(body, url, token_file, data, ca_file, as_json=as_json)


def _import(session: "Session", path: str, document: dict[str, object], passphrase_file: Optional[Path]) -> Any:
    """Send the key; if it turns out to be under a passphrase that was not given, ask for it."""
    from entrepot.client.errors import Problem

    given = _passphrase(passphrase_file)
    if given is not None:
        return session.post(path, {**document, "passphrase": given})
    try:
        return session.post(path, document)
    except Problem as problem:
        if problem.numbers.get("reason") != "passphrase_missing" or not sys.stdin.isatty():
            raise
    asked = typer.prompt("Passphrase of the key", hide_input=True, err=True)
    return session.post(path, {**document, "passphrase": asked})


def _passphrase(file: Optional[Path]) -> Optional[str]:
    """From the file, from the environment, or None."""
    if file is None:
        return os.environ.get("ENTREPOT_KEY_PASSPHRASE") or None
    from entrepot.client.config import judge_mode
    from entrepot.client.errors import UsageError

    warnings: list[str] = []
    try:
        with file.open("rb") as stream:
            text = stream.read(PASSPHRASE_BYTES_MAX)
            judge_mode(file, os.fstat(stream.fileno()).st_mode, "passphrase", warnings)
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror}") from error
    for warning in warnings:
        typer.echo(f"entrepot: {warning}", err=True)
    try:
        return text.decode().partition("\n")[0].rstrip("\r")
    except UnicodeDecodeError:
        raise UsageError(f"{file}: the passphrase is not UTF-8.") from None


def _read(file: str) -> bytes:
    from entrepot.client.errors import UsageError

    try:
        if file == "-":
            data = sys.stdin.buffer.read(FILE_BYTES_MAX + 1)
        else:
            with Path(file).open("rb") as stream:
                data = stream.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror}") from error
    if not 0 < len(data) <= FILE_BYTES_MAX:
        raise UsageError(f"{file}: a key has 1 to {FILE_BYTES_MAX} bytes; this has {len(data) or 'none'}.")
    return data


def _key_text(data: bytes) -> str:
    """Armored as it is, binary in base64: JSON has no bytes."""
    if b"-----BEGIN PGP" in data:
        return data.decode("ascii", "replace")
    return base64.b64encode(data).decode()


@app.command(epilog="Example: entrepot key rotate acme/prod --algorithm rsa4096")
def rotate(
    name: Repository,
    algorithm: Annotated[
        Optional[str],
        typer.Option("--algorithm", metavar="rsa3072|rsa4096|ed25519", help="Default: the server's setting."),
    ] = None,
    as_json: options.Json = False,
    url: options.Url = None,
    token_file: options.TokenFile = None,
    data: options.Data = None,
    ca_file: options.CaFile = None,
) -> None:
    """Make a new key that signs beside the old one, until you retire that."""

    def body(session: "Session") -> None:
        from entrepot.client.target import check_repository

        asked = {} if algorithm is None else {"algorithm": algorithm}
        # Never repeated by itself: a lost answer would leave two new keys.
        found = session.post(f"/api/v2/repos/{check_repository(name)}/keys/rotate", asked, retries=False)
        _told(found, as_json=as_json)
        if not as_json:
            _tell_others(session, name, found["key"]["fingerprint"], ())

    frame.ask(body, url, token_file, data, ca_file, as_json=as_json)


@app.command(epilog="Example: entrepot key retire acme/prod 0123456789ABCDEF")
def retire(
    name: Repository,
    fingerprint: Fingerprint,
    as_json: options.Json = False,
    url: options.Url = None,
    token_file: options.TokenFile = None,
    data: options.Data = None,
    ca_file: options.CaFile = None,
) -> None:
    """End an overlap: the key signs no more and is served no more. Importing it again brings it back."""

    def body(session: "Session") -> None:
        from urllib.parse import quote

        from entrepot.client.target import check_repository

        path = f"/api/v2/repos/{check_repository(name)}/keys/{quote(fingerprint, safe='')}/retire"
        found = session.post(path, {})
        if as_json:
            frame.print_json(found)
            return
        typer.echo(f"{frame.clean(found['key']['fingerprint'])} is retired.{_when(found)}")

    frame.ask(body, url, token_file, data, ca_file, as_json=as_json)


def _told(found: Mapping[str, Any], *, as_json: bool) -> None:
    if as_json:
        frame.print_json(found)
        return
    key = found["key"]
    typer.echo(f"{frame.clean(key['fingerprint'])} ({frame.clean(key['algorithm'])}) signs.{_when(found)}")


def _when(found: Mapping[str, Any]) -> str:
    return "" if found["indexed"] else " Not everything is signed anew yet; that goes on in the background."


def _tell_others(session: "Session", name: str, mine: str, before: Sequence[Mapping[str, Any]]) -> None:
    """What goes on beside the new key, and what went with it; ``before``: the keys as they were."""
    keys = session.get(f"/api/v2/repos/{name}/keys")["keys"]
    used = {key["fingerprint"] for key in before if key["retired_at"] is None}
    for key in keys:
        other = frame.clean(key["fingerprint"])
        if key["fingerprint"] == mine:
            continue
        if key["retired_at"] is not None and key["fingerprint"] in used:
            typer.echo(f"{other} is retired with that.")
        elif key["signs"]:
            typer.echo(f"{other} signs beside it. When every client has the new key:")
            typer.echo(f"  {frame.program()} key retire {name} {other}")


@app.command(name="list", epilog="Examples: entrepot key list; entrepot key list acme/prod")
def list_(
    name: Annotated[Optional[str], typer.Argument(metavar="[USER/REPO]", help="This repository alone.")] = None,
    as_json: options.Json = False,
    url: options.Url = None,
    token_file: options.TokenFile = None,
    data: options.Data = None,
    ca_file: options.CaFile = None,
) -> None:
    """List the keys of a repository, or those in use of all repositories, and how many days each has left."""

    def body(session: "Session") -> None:
        from entrepot.client.target import check_repository

        if name is None:
            found = session.get("/api/v2/keys")["repositories"]
        else:
            keys = session.get(f"/api/v2/repos/{check_repository(name)}/keys")
            found = [{"repository": name, **keys}]
        if as_json:
            for row in found:
                frame.print_json(row)
            return
        rows = [
            (row["repository"], key["fingerprint"], key.get("algorithm", "package"), _state(key), key["user_id"] or "-")
            for row in found
            for key in [*row["keys"], *row.get("package_keys", [])]
        ]
        frame.table(rows, ("REPOSITORY", "FINGERPRINT", "KIND", "STATE", "USER ID"))

    frame.ask(body, url, token_file, data, ca_file, as_json=as_json)


def _state(key: Mapping[str, Any]) -> str:
    """In a few words what the key does."""
    if key.get("retired_at") is not None:
        return f"retired {frame.moment(key['retired_at'])}"
    if "signs" not in key:
        return f"as {key['name']}"
    if not key["signs"]:
        return f"expired {frame.moment(key['expires_at'])}"
    return "signs" if key["days_left"] is None else f"signs, {key['days_left']} days left"


@app.command(epilog="Examples: entrepot key show acme/prod; entrepot key show acme/prod 0123456789ABCDEF")
def show(
    name: Repository,
    fingerprint: Annotated[
        Optional[str], typer.Argument(metavar="[FINGERPRINT]", help="One key alone, by its last 8 or more digits.")
    ] = None,
    as_json: options.Json = False,
    url: options.Url = None,
    token_file: options.TokenFile = None,
    data: options.Data = None,
    ca_file: options.CaFile = None,
) -> None:
    """Show what is known of a repository's keys."""

    def body(session: "Session") -> None:
        for key in _chosen(session, name, fingerprint):
            if as_json:
                frame.print_json(key)
                continue
            came = "came" if key.get("imported", True) else "made"
            rows = [
                ("key", key["fingerprint"]),
                ("user id", key["user_id"] or "-"),
                ("kind", key.get("algorithm", "public key of signed packages")),
                ("state", _state(key)),
                (came, frame.moment(key["created_at"])),
                ("ends", "never" if key["expires_at"] is None else frame.moment(key["expires_at"])),
            ]
            frame.facts(rows if "url" not in key else [*rows, ("address", key["url"])])

    frame.ask(body, url, token_file, data, ca_file, as_json=as_json)


def _chosen(session: "Session", name: str, fingerprint: Optional[str]) -> list[dict[str, Any]]:
    """The keys of a repository, of all kinds, whose fingerprint ends so. Raises UsageError for none."""
    from entrepot.client.errors import UsageError
    from entrepot.client.target import check_repository

    found = session.get(f"/api/v2/repos/{check_repository(name)}/keys")
    every: list[dict[str, Any]] = [*found["keys"], *found["package_keys"]]
    wanted = (fingerprint or "").upper()
    if wanted and len(wanted) < FINGERPRINT_CHARS_MIN:
        raise UsageError(f"{fingerprint!r} is too short: give the last {FINGERPRINT_CHARS_MIN} or more digits.")
    chosen = [key for key in every if key["fingerprint"].endswith(wanted)]
    if not chosen:
        raise UsageError(f"{name} has no such key.", remedy=f"See: entrepot key list {name}")
    return chosen


@app.command(
    epilog="Examples: entrepot key export acme/prod > acme.asc; entrepot key export acme/prod FINGERPRINT --secret"
)
def export(
    name: Repository,
    fingerprint: Annotated[
        Optional[str], typer.Argument(metavar="[FINGERPRINT]", help="One key alone. Default: all that sign now.")
    ] = None,
    secret: Annotated[
        bool,
        typer.Option("--secret", help="The secret key, under the passphrase that it came with; needs FINGERPRINT."),
    ] = False,
    url: options.Url = None,
    token_file: options.TokenFile = None,
    data: options.Data = None,
    ca_file: options.CaFile = None,
) -> None:
    """Print public keys, armored, as clients get them; or a secret key, to take it elsewhere."""

    def body(session: "Session") -> None:
        from entrepot.client.errors import UsageError

        if secret and fingerprint is None:
            raise UsageError("--secret needs the FINGERPRINT of one key.", remedy=f"See: entrepot key list {name}")
        chosen = _chosen(session, name, fingerprint)
        if not secret:
            wanted = [key for key in chosen if fingerprint is not None or key.get("signs")]
            typer.echo("".join(key["public_key"] for key in wanted), nl=False)
            return
        path = f"/api/v2/repos/{name}/keys/{chosen[0]['fingerprint']}/secret"
        typer.echo(session.post(path, {})["secret_key"], nl=False)

    frame.ask(body, url, token_file, data, ca_file)


@app.command(epilog="Example: entrepot key remove acme/prod 0123456789ABCDEF.pub.gpg")
def remove(
    name: Repository,
    key_name: Annotated[str, typer.Argument(metavar="NAME", help="As `entrepot key list USER/REPO` shows it.")],
    url: options.Url = None,
    token_file: options.TokenFile = None,
    data: options.Data = None,
    ca_file: options.CaFile = None,
) -> None:
    """Serve a public key of signed packages no more."""

    def body(session: "Session") -> None:
        from urllib.parse import quote

        from entrepot.client.target import check_repository

        session.delete(f"/api/v2/repos/{check_repository(name)}/package-keys/{quote(key_name, safe='')}")
        typer.echo(f"{frame.clean(key_name)} is served no more.")

    frame.ask(body, url, token_file, data, ca_file)


app.command(
    name="rehearse", help=rehearse.HELP, short_help="Check that clients accept what is served now.",
    epilog="Example: entrepot key rehearse acme/prod",
)(rehearse.rehearse)  # fmt: skip
