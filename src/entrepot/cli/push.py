"""``entrepot push``."""

import os
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from entrepot.cli import frame, options

if TYPE_CHECKING:
    from entrepot.client.config import Connection
    from entrepot.client.observer import Observer
    from entrepot.client.push import Options

HELP = """Push packages: files, folders or patterns, to one or more distributions.

Ends with 0 only when every file is in the signed index that clients read. Bytes that the server has already are not
sent; a push that was killed carries on where it was when it is run again. The bytes of one file go once, however many
distributions it goes to.

\b
Examples:
  entrepot push acme/prod/debian/bookworm hello_1.0_amd64.deb
  entrepot push acme/prod/debian/bookworm acme/prod/debian/trixie dist/
  entrepot push acme/prod debian/bookworm,ubuntu/noble 'dist/*.deb'
  entrepot push acme/prod/el/9 ~/rpmbuild/RPMS
  entrepot push acme/prod/java/maven2 target/repository
  entrepot push acme/prod/java/maven2 --coordinates org.acme:app:1.0 app.jar pom.xml

\b
Exit codes:
  0  every file is published       4  the server cannot be reached, or gave up
  1  a file was refused            5  a name is taken by other content
  2  the command line is wrong     6  accepted, but not listed yet
  3  the token is missing or not good enough
"""

Arguments = Annotated[
    list[str], typer.Argument(metavar="USER/REPO/DISTRO/VERSION... FILES...", help="Where to, then what.")
]


def push(
    arguments: Arguments,
    coordinates: Annotated[
        Optional[str],
        typer.Option(
            "--coordinates", metavar="G:A:V", help="Maven: the files are this version (G:A:V:CLASSIFIER too)."
        ),
    ] = None,
    parallel: Annotated[
        Optional[int], typer.Option("--parallel", metavar="N", min=1, max=64, help="Files at a time. Default: 4.")
    ] = None,
    skip_duplicates: Annotated[
        bool, typer.Option("--skip-duplicates", help="Pass over files whose name is taken by other content.")
    ] = False,
    retry_for: Annotated[
        Optional[str],
        typer.Option("--retry-for", metavar="TIME", help="How long to come back after a busy answer. Default: 10m."),
    ] = None,
    wait_for: Annotated[
        str,
        typer.Option("--wait-for", metavar="TIME", help="How long to wait until the index lists what was accepted."),
    ] = "2m",
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Be content with what the server has accepted.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be sent; send nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line, for programs.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Tell of failures alone.")] = False,
    url: options.Url = None,
    token_file: options.TokenFile = None,
    data: options.Data = None,
    ca_file: options.CaFile = None,
) -> None:
    """Push packages. The help text is HELP."""

    def body() -> int:
        from entrepot.client.push import PARALLEL, Options

        connection = frame.connect(url, token_file, data, ca_file)
        chosen = Options(
            parallel=parallel or connection.parallel or PARALLEL,
            skip_duplicates=skip_duplicates,
            dry_run=dry_run,
            wait=not no_wait,
            wait_for_s=frame.duration_s(wait_for, "--wait-for"),
        )
        retry_for_s = connection.retry_for_s if retry_for is None else frame.duration_s(retry_for, "--retry-for")
        return _push(connection, arguments, coordinates, chosen, retry_for_s, _view(as_json=as_json, quiet=quiet))

    frame.finish(body, as_json=as_json)


def _view(*, as_json: bool, quiet: bool) -> "Observer":
    from entrepot.cli import pushview

    if as_json:
        return pushview.JsonView()
    if quiet:
        return pushview.LineView(failures_only=True)
    return pushview.BarView() if frame.can_draw() else pushview.LineView()


def _push(
    connection: "Connection",
    arguments: list[str],
    coordinates: Optional[str],
    chosen: "Options",
    retry_for_s: Optional[float],
    view: "Observer",
) -> int:
    from entrepot.client import places, retry, selection
    from entrepot.client.push import Push
    from entrepot.client.resume import Remembered, cache_folder
    from entrepot.client.session import Session
    from entrepot.client.target import split_arguments

    target, words = split_arguments(arguments)
    with Session(
        connection,
        retry_for_s=retry.RETRY_FOR_S if retry_for_s is None else retry_for_s,
        on_wait=lambda wait: view.waiting(None, wait),
    ) as session:
        kind = places.kind_of(session, target)
        paths = [os.path.expanduser(word) for word in words]
        if coordinates is not None:
            items = selection.at_coordinates(paths, coordinates)
        else:
            items = selection.select(paths, kind)
        remembered = Remembered(cache_folder(os.environ))
        try:
            return int(Push(session, target, kind, items, chosen, view, remembered).run().exit_code)
        finally:
            view.close()
            remembered.close()
