"""The frame of every client command: settings, a session, errors as sentences and exit codes."""

import codecs
import json
import os
import re
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, Optional

import typer

if TYPE_CHECKING:
    from entrepot.client.config import Connection
    from entrepot.client.errors import ClientError
    from entrepot.client.session import Session

ADMIN_RETRY_FOR_S = 30.0
_SIZE = re.compile(r"(?ia)(?P<number>[0-9]{1,18}(?:\.[0-9]{1,9})?) *(?:(?P<prefix>[kmgtp])(?P<binary>i?))?b?")


@contextmanager
def server_part() -> Iterator[None]:
    """Around imports of what the client's own distribution leaves out. Raises UsageError that says what to install."""
    from entrepot.client.errors import UsageError

    try:
        yield
    except ImportError as error:
        raise UsageError(
            f"The server's part is not installed here ({error.name} is missing).",
            remedy="pip install 'entrepot[server]'",
        ) from error


def connect(
    url: Optional[str], token_file: Optional[Path], data: Optional[Path], ca_file: Optional[Path]
) -> "Connection":
    """Settle how to reach the server; warnings go to standard error. Raises UsageError."""
    from entrepot.client.config import Given, resolve

    connection = resolve(Given(url, token_file, data, ca_file), os.environ)
    for warning in connection.warnings:
        typer.echo(f"entrepot: {warning}", err=True)
    return connection


def ask(
    body: "Callable[[Session], int | None]",
    url: Optional[str],
    token_file: Optional[Path],
    data: Optional[Path],
    ca_file: Optional[Path],
    *,
    as_json: bool = False,
) -> NoReturn:
    """Run a command that asks the server; refusals that pass are waited out for half a minute."""

    def run() -> Optional[int]:
        from entrepot.client.session import Session

        connection = connect(url, token_file, data, ca_file)
        with Session(connection, retry_for_s=ADMIN_RETRY_FOR_S) as session:
            return body(session)

    finish(run, as_json=as_json)


def finish(body: Callable[[], Optional[int]], *, as_json: bool = False) -> NoReturn:
    """Call ``body`` and end the program with the exit code that it returns, or that its error stands for."""
    from entrepot.client.errors import ClientError, Exit

    try:
        code = body() or 0
    except ClientError as error:
        report(error, as_json=as_json)
        code = int(error.exit_code)
    except KeyboardInterrupt:
        typer.echo("entrepot: interrupted", err=True)
        code = int(Exit.INTERRUPTED)
    raise typer.Exit(code)


def report(error: "ClientError", *, as_json: bool = False) -> None:
    """Tell of an error: what, then what to do about it, on standard error; as JSON on standard output."""
    if as_json:
        document = {"event": "error", "code": error.code, "detail": error.detail, "remedy": error.remedy}
        print_json({**document, "exit_code": int(error.exit_code)})
        return
    typer.echo(f"entrepot: {clean(error.detail)} [{clean(error.code)}]", err=True)
    if error.remedy:
        typer.echo(f"entrepot: {clean(error.remedy)}", err=True)
    request_id = getattr(error, "request_id", None)
    if request_id and getattr(error, "status", 0) >= 500:
        typer.echo(f"entrepot: the server's log names this request {clean(request_id)}", err=True)


def print_json(document: Any) -> None:
    """One JSON document on one line, in UTF-8 or, where standard output is something else, in ASCII."""
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":"), default=str)
    # Half a surrogate pair stands for a byte of a file name that is not UTF-8; no JSON reader has to take it.
    text = re.sub("[\ud800-\udfff]", "\N{REPLACEMENT CHARACTER}", text)
    if codecs.lookup(sys.stdout.encoding or "ascii").name != "utf-8":
        text = json.dumps(json.loads(text), separators=(",", ":"))
    typer.echo(text)


def clean(text: object) -> str:
    """Text from a server or a file name without control characters: they could rewrite the terminal."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in str(text))


def table(rows: Iterable[Sequence[object]], heads: Sequence[str]) -> None:
    """Rows in columns; no line drawing, so that `awk` and `cut` work on it. Nothing for no rows."""
    shown = [[clean(cell) for cell in row] for row in rows]
    if not shown:
        return
    widths = [max(len(head), *(len(row[index]) for row in shown)) for index, head in enumerate(heads)]
    for row in [list(heads), *shown]:
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())


def facts(rows: Iterable[tuple[str, object]]) -> None:
    """One thing, a label and a value a line."""
    for label, value in rows:
        typer.echo(f"{label:<10}{clean(value)}")


def moment(seconds: Optional[int]) -> str:
    """Seconds since 1970 as a date in UTC; a dash for never."""
    if seconds is None:
        return "-"
    from datetime import datetime, timezone

    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%d %H:%M")


def duration_s(text: str, option: str) -> float:
    """``90``, ``90s``, ``10m``, ``12h`` or ``30d`` in seconds. Raises UsageError."""
    from entrepot.client.errors import UsageError

    units = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
    number, unit = (text[:-1], text[-1]) if text[-1:] in units else (text, "s")
    try:
        value = float(number)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1e9:
        raise UsageError(f"{option} {text!r} is no duration: write 90s, 10m, 12h or 30d.")
    return value * units[unit]


def bytes_of(text: str) -> int:
    """``20GB``, ``1.5 TB``, ``512MiB`` or ``1000`` in bytes, whole ones. Raises UsageError."""
    from entrepot.client.errors import UsageError

    found = _SIZE.fullmatch(text.strip())
    if found is None:
        raise UsageError(f"{text!r} is no size: write 20GiB, 500GB or a number of bytes.")
    prefix = (found["prefix"] or "").upper()
    unit = (1024 if found["binary"] else 1000) ** ("KMGTP".index(prefix) + 1) if prefix else 1
    whole, _, part = found["number"].partition(".")
    return (int(whole) * unit) + (int(part) * unit // 10 ** len(part) if part else 0)


def program() -> str:
    """The words that run this program again, for lines to paste: its name where the shell finds it by that, else its
    path, which is how it was called.
    """
    path = sys.argv[0]
    folder, name = os.path.split(path)
    if name == "__main__.py":
        return f"{shlex.quote(sys.executable)} -m entrepot"
    return name if folder in os.get_exec_path() else shlex.quote(path)


def can_draw() -> bool:
    """Whether there is a terminal, and what draws on it: the client's own distribution comes without."""
    from importlib.util import find_spec

    return is_terminal() and find_spec("rich") is not None


def need_rich() -> None:
    """Raises UsageError where only the client's own distribution is installed, without what draws."""
    from importlib.util import find_spec

    from entrepot.client.errors import UsageError

    if find_spec("rich") is None:
        raise UsageError("This draws in the terminal.", remedy="pip install 'entrepot-client[progress]'")


def is_terminal() -> bool:
    """Whether a person looks at standard output."""
    return sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
