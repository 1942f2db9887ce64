"""How a push is shown on a terminal."""

import re
import time
from io import StringIO
from pathlib import Path

from rich.console import Console

from entrepot.cli.pushview import BarView, summary
from entrepot.client.observer import Outcome, Report, Status
from entrepot.client.selection import INSTALLER, Item

MIB = 1024 * 1024


def outcome(name: str, status: Status, size_bytes: int, sent_bytes: int = 0) -> Outcome:
    """The end of a file."""
    return Outcome(Item(Path(name), name), status, ("debian/bookworm",), size_bytes, sent_bytes=sent_bytes)


def shown(screen: StringIO, text: str) -> str:
    """Wait until the bars show this; all that they showed, without colours."""
    for _ in range(100):
        found = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", screen.getvalue())
        if text in found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"{text!r} is not in {found!r}")


def test_what_is_there_already_is_not_counted_as_sent() -> None:
    """Goal: the bar, its rate and its time left are about bytes that go out. Method: of six MiB two are there, one
    cannot be read, one half is refused half-way, and what was passed over was never counted; then the summary.
    """
    screen = StringIO()
    view = BarView(Console(file=screen, force_terminal=True, width=120))
    view.begin(5, 6 * MIB)
    try:
        shown(screen, "0 B of 6.0 MiB")
        view.done(outcome("there.deb", Status.PRESENT, MIB))
        view.done(outcome("elsewhere.deb", Status.PUBLISHED, MIB))
        view.done(Outcome(Item(Path("x.udeb"), "x.udeb", unsent=INSTALLER), Status.PASSED_OVER, (), MIB))
        shown(screen, "5 files, 2.0 MiB there already")
        shown(screen, "0 B of 4.0 MiB")
        view.done(outcome("unreadable.deb", Status.REFUSED, MIB))
        shown(screen, "0 B of 3.0 MiB")
        refused, sent = outcome("half.deb", Status.REFUSED, MIB, MIB // 2), outcome("whole.deb", Status.PUBLISHED, MIB)
        for each, size_bytes in ((refused, MIB // 2), (sent, MIB)):
            view.started(each.item, MIB)
            view.sent(each.item, size_bytes)
        shown(screen, "1.5 MiB of 3.0 MiB")
        view.done(refused)
        shown(screen, "1.5 MiB of 2.5 MiB")
    finally:
        view.close()
    report = Report((outcome("a", Status.PRESENT, MIB), outcome("b", Status.PUBLISHED, MIB, MIB)), 2.0)
    assert summary(report) == "1 published, 1 there already; 1.0 MiB sent, 1.0 MiB there already, in 2.0 s"
