"""Every file call of every change fails once, or from then on, or ends the process: the invariants hold each time."""

from pathlib import Path

import pytest

from tests.fault.rig import FULL, running
from tests.fault.routes import TAIL_ENTRIES, Route, every_route
from tests.fault.sweeping import EVERY_FAULT, Fault, Sweep

pytestmark = [pytest.mark.fault, pytest.mark.timeout(7200 if FULL else 900)]

NAMES = [route.name for route in every_route()]
WAYS_IN = [route.name for route in every_route() if route.uploads]
LIES = [f"tail={TAIL_ENTRIES}", "eager"]
WAIT_ENV = {"ENTREPOT_UPLOAD_PUBLICATION_WAIT_S": "0.5"}
# Each place is the routes that share a server, and what the store is told. On a file system without O_TMPFILE every
# way in makes other calls.
EVERY_PLACE = [((name,), ()) for name in NAMES] + [((name,), ("named",)) for name in WAYS_IN]
# `make test`: one kind of fault for each route, at one call in eleven; kills for two, one of which makes all that is
# new, at one call in eight.
SAMPLE = (Fault("ENOSPC", on=True), Fault("EIO"), Fault("EDQUOT"), Fault("SHORT", on=True))
SAMPLE_STEP, SAMPLE_KILL_STEP = 11, 8
FAILED = EVERY_PLACE if FULL else [(tuple(NAMES), ()), (("deb",), ("named",))]
KILLED = EVERY_PLACE if FULL else [(("new-repository", "several"), ())]


def fresh(name: str) -> Route:
    """A route without memory of other tests."""
    return next(route for route in every_route() if route.name == name)


def name_of(value: tuple[str, ...]) -> str:
    """Part of a test's name."""
    return "all" if len(value) > 1 else "-".join(value) or "unnamed"


@pytest.mark.parametrize(("names", "store"), FAILED, ids=name_of)
def test_every_call_fails(tmp_path: Path, names: tuple[str, ...], store: tuple[str, ...]) -> None:
    """Goal: I1 to I5 at every file call of every route, for each errno, once and from then on, without a restart.

    Method: one server; for N = 1, 2, … the Nth call of one change fails, until a change meets no fault; then the next
    upload works and nothing is left behind. Seen to fail (scripts/mutate.py) without the abort on an error, with the
    reservation kept, and with a short write taken for a whole one.
    """
    with running(tmp_path / "data", lies=[*LIES, *store], env=WAIT_ENV) as rig:
        sweep = Sweep(rig)
        for number, name in enumerate(names):
            if FULL:
                for fault in EVERY_FAULT:
                    sweep.run(fresh(name), fault)
            else:
                fault = SAMPLE[number % len(SAMPLE)]
                first = 1 if fault.call == "write" else 1 + number % 7  # a small change writes once
                sweep.run(fresh(name), fault, step=SAMPLE_STEP, first=first)
        sweep.finish()


@pytest.mark.parametrize(("names", "store"), KILLED, ids=name_of)
def test_killed_at_every_call(tmp_path: Path, names: tuple[str, ...], store: tuple[str, ...]) -> None:
    """Goal: I1 to I4 when the process ends before any file call, or any commit, of a change. Method: SIGKILL before
    call 1, 2, …; restart, and look at everything; a file between its name and its row goes once it is a day old.

    Seen to fail with a transaction for each distribution, with one for the file that a SNAPSHOT takes the place of, and
    with no key made for a repository whose maker died before it.
    """
    with running(tmp_path / "data", lies=[*LIES, *store]) as rig:
        sweep = Sweep(rig)
        for name in names:
            route = fresh(name)
            points = sweep.run(route, Fault("KILL"), step=1 if FULL else SAMPLE_KILL_STEP)
            assert points >= 2 or not route.calls_files
        sweep.finish()
