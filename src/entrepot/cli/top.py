"""``entrepot top``: nodes in a terminal, live."""

import os
import select
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from entrepot.cli import frame, options

if TYPE_CHECKING:
    from entrepot.client.nodes import Look, Nodes

HELP = """Watch nodes live: volumes with their thresholds, uploads, refusals, leaks, canary.

Asks the admin address of each node and needs no token. `q` ends it. Ends with 0, or with 4 when --once found a node
that does not answer.
"""


def top(
    url: Annotated[
        Optional[list[str]],
        typer.Option(
            "--url",
            metavar="URL",
            help="Admin address of a node; again for each. Default: ENTREPOT_ADMIN_URL, else one port above "
            "ENTREPOT_URL.",
        ),
    ] = None,
    interval: Annotated[
        float, typer.Option("--interval", metavar="SECONDS", min=0.2, max=3600, help="How often to ask.")
    ] = 2.0,
    once: Annotated[bool, typer.Option("--once", help="Print one picture and end.")] = False,
    as_json: options.Json = False,
) -> None:
    """Watch nodes until a key or a signal; see :data:`HELP`."""

    def body() -> int:
        from entrepot.client.errors import UsageError
        from entrepot.client.nodes import NODES_MAX, Nodes

        urls = _addresses(url or [])
        if not as_json:
            frame.need_rich()
        if len(urls) > NODES_MAX:
            raise UsageError(f"At most {NODES_MAX} nodes fit; name fewer with --url.")
        with Nodes(urls) as nodes:
            if once or not (as_json or frame.is_terminal()):
                return _once(nodes, as_json=as_json)
            try:
                if as_json:
                    _lines(nodes, interval)
                else:
                    _live(nodes, interval)
            except KeyboardInterrupt:
                pass  # the way to end it, like q
            return 0

    frame.finish(body, as_json=as_json)


def _addresses(given: Sequence[str]) -> list[str]:
    """Admin addresses: those given, the environment's, or the one beside the server's own."""
    from entrepot.client.config import check_url
    from entrepot.client.health import admin_url

    if given:
        return [check_url(each) for each in given]
    known = os.environ.get("ENTREPOT_ADMIN_URL")
    return [check_url(known) if known else admin_url(frame.connect(None, None, None, None).url)]


def _once(nodes: "Nodes", *, as_json: bool) -> int:
    from entrepot.client.errors import Exit

    looks = nodes.look()
    if as_json:
        _print(looks)
    else:
        from rich.console import Console

        from entrepot.cli.topview import picture

        console = Console(highlight=False, markup=False)
        console.print(picture(looks, console.width))
    return int(Exit.OK if all(look.status is not None for look in looks) else Exit.UNREACHABLE)


def _print(looks: "Sequence[Look]") -> None:
    """One JSON object a node."""
    for look in looks:
        rates = look.rates
        shown = (
            None if rates is None else {name: getattr(rates, name) for name in ("taken", "refused", "received_bytes")}
        )
        document = {"url": look.url, "trouble": look.trouble or None, "rates_per_s": shown, "status": look.status}
        frame.print_json(document)


def _lines(nodes: "Nodes", interval_s: float) -> None:
    while True:
        _print(nodes.look())
        sys.stdout.flush()
        select.select([], [], [], interval_s)


def _live(nodes: "Nodes", interval_s: float) -> None:
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    from entrepot.cli.topview import picture

    console = Console(highlight=False, markup=False)
    with keys() as pressed, Live(Text("asking…"), console=console, screen=True, auto_refresh=False) as live:
        while True:
            live.update(picture(nodes.look(), console.width), refresh=True)
            if pressed.wait(interval_s) in ("q", "Q", "\x03", "\x04"):
                return


class Keys:
    """Keys as they are pressed. Without a terminal to read from there are none."""

    def __init__(self, fd: Optional[int]) -> None:
        self._fd = fd

    def wait(self, seconds: float) -> str:
        """The next key, or "" after ``seconds``."""
        if self._fd is None:
            select.select([], [], [], seconds)
            return ""
        ready, _, _ = select.select([self._fd], [], [], seconds)
        if not ready:
            return ""
        data = os.read(self._fd, 1)
        if not data:  # the terminal is gone
            return "\x04"
        return data.decode("latin-1")


@contextmanager
def keys() -> Iterator[Keys]:
    """Single keys of standard input, without echo; the terminal is as before afterwards, however this ends."""
    if not sys.stdin.isatty():
        yield Keys(None)
        return
    import termios
    import tty

    fd = sys.stdin.fileno()
    before = termios.tcgetattr(fd)
    try:
        tty.setcbreak(fd)
        yield Keys(fd)
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, before)
