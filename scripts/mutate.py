#!/usr/bin/env python3
"""Do the tests notice? Takes one guard away at a time, in a copy of the tree, and wants a test to fail.

    .venv/bin/python scripts/mutate.py [NAME…] [--list] [--chosen | --found] [--quick] [--jobs N]

Guards are chosen by hand (scripts/chosen.py) or found by their shape (scripts/mutants.py). NAME is a guard's whole name
or its beginning. A guard whose tests stay green ends the program with status 1, unless `EXCUSED` (scripts/chosen.py)
says why none can notice; so does one whose text is no longer found: then that list has to follow the code; and one
whose test fails on the untouched tree too. The tree itself is never touched. A few seconds a mutant. `FAULT_REPORT`
gets a line for each.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import mutants
from chosen import EXCUSED, MUTANTS, Mutant

ROOT = Path(__file__).resolve().parent.parent
ALL_S_MAX, TEST_S_MAX = 600, 200
# pytest, ended at once when it is done: a thread that waits for ever for what was taken away holds up nobody.
PYTEST = "import os, sys, pytest; code = pytest.main(sys.argv[1:]); sys.stdout.flush(); os._exit(code)"

Any = Mutant | mutants.Guard


def copy_tree(target: Path) -> None:
    """What the tests need, without what git or tools keep."""
    ignored = shutil.ignore_patterns("__pycache__", ".*_cache")
    for name in ("src", "tests", "scripts", "docs", "packaging"):
        shutil.copytree(ROOT / name, target / name, ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", target)


def apply(mutant: Any, tree: Path) -> None:
    """Take the guard away. Raises ValueError when a chosen one's text is not there exactly once."""
    source = tree / "src/entrepot"
    if isinstance(mutant, mutants.Guard):
        path = source / mutant.file
        path.write_text(mutants.without(path.read_text(), mutant))
        return
    for name, old, new in mutant.edits:
        path = source / name
        text = path.read_text()
        if text.count(old) != 1:
            raise ValueError(f"{mutant.name}: {name} holds this {text.count(old)} times, not once:\n{old}")
        path.write_text(text.replace(old, new))


def run_tests(tree: Path, tests: tuple[str, ...], *, all_of_them: bool = False) -> int:
    """Run tests against the copy, until one fails or ``all_of_them``; pytest's status (0 green, 1 red, the rest: they
    did not run)."""
    env = {**os.environ, "PYTHONPATH": f"{tree / 'src'}:{tree}", "PYTHONDONTWRITEBYTECODE": "1"}
    for name in ("FAULT_REPORT", "FAULT_LANE"):  # these are samples, and no part of the run's count
        env.pop(name, None)
    command = [sys.executable, "-c", PYTEST, "-q", "-rfE", "-p", "no:cacheprovider", *([] if all_of_them else ["-x"])]
    command += ["--basetemp", str(tree / "tmp"), "--timeout", str(TEST_S_MAX), *tests]
    with (tree / "output").open("wb") as output:
        try:
            done = subprocess.run(
                command,
                cwd=tree,
                env=env,
                timeout=None if all_of_them else ALL_S_MAX,
                stdout=output,
                stderr=output,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return 1  # a server that hangs without its guard is noticed too
        finally:
            end_what_is_left(tree)
    return done.returncode


def end_what_is_left(tree: Path) -> None:
    """End the processes that tests of this copy began and could not end themselves, and unmount what they mounted."""
    mark = f"PYTHONPATH={tree / 'src'}:{tree}".encode()
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if mark in (folder / "environ").read_bytes().split(b"\0"):
                os.kill(int(folder.name), signal.SIGKILL)
    mounts = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    for mount in sorted((each for each in mounts if each.startswith(f"{tree}/")), reverse=True):
        subprocess.run(["umount", "--lazy", mount], check=False)


def reason(tree: Path) -> str:
    """The first line that says why a test failed."""
    for line in _output(tree):
        if line.startswith("E  "):
            return line[1:].strip()[:150]
    return ""


def red(tree: Path) -> list[str]:
    """The tests that failed, as pytest's summary names them."""
    return [line.split(" ")[1] for line in _output(tree) if line.startswith(("FAILED ", "ERROR "))]


def _output(tree: Path) -> list[str]:
    return (tree / "output").read_text(errors="replace").splitlines()


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one mutant, and the test that noticed it (empty when it hung)."""

    name: str
    outcome: str
    killer: str = ""


def judge(mutant: Any, *, quick: bool = False) -> Verdict:
    """Make one mutant and run its tests: killed, survived, excused or not run. Prints a row."""
    with tempfile.TemporaryDirectory(prefix="mutant-") as folder:
        tree, began = Path(folder), time.monotonic()
        copy_tree(tree)
        try:
            apply(mutant, tree)
            status = run_tests(tree, mutant.tests[:1] if quick else mutant.tests)
        except ValueError as error:
            print(error)
            status = -1
        outcome = {0: "survived", 1: "killed"}.get(status, "not run")
        if outcome == "survived" and mutant.name in EXCUSED:
            outcome = "excused"
        killers, why = (red(tree), reason(tree)) if status == 1 else ([], "")
        print(f"{mutant.name:60} {outcome:9} {time.monotonic() - began:4.0f} s  {why}", flush=True)
    found = Verdict(mutant.name, outcome, killers[0] if killers else "")
    report(found)
    return found


def report(found: Verdict) -> None:
    """One line for `FAULT_REPORT`; of several for one mutant the last counts."""
    if path := os.environ.get("FAULT_REPORT"):
        with Path(path).open("a") as file:
            file.write(json.dumps({"lane": "mutants", "name": found.name, "outcome": found.outcome}) + "\n")


def doubt(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """Verdicts whose test fails on the untouched tree as well: these say nothing about the guard."""
    killers = sorted({found.killer for found in verdicts if found.killer})
    if not killers:
        return []
    with tempfile.TemporaryDirectory(prefix="mutant-") as folder:
        tree = Path(folder)
        copy_tree(tree)
        run_tests(tree, tuple(killers), all_of_them=True)
        failed = red(tree)
    return [Verdict(found.name, "not run") for found in verdicts if found.killer in failed]


def wanted(given: argparse.Namespace) -> Iterator[Any]:
    """The guards that the command line means."""
    every: list[Any] = [] if given.found else list(MUTANTS)
    every += [] if given.chosen else list(mutants.guards(ROOT / "src/entrepot"))
    for mutant in every:
        if not given.names or mutant.name.startswith(tuple(given.names)):
            yield mutant


def main() -> int:
    """Run the wanted mutants and print a row for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--chosen", action="store_true", help="only those chosen by hand")
    parser.add_argument("--found", action="store_true", help="only those found by their shape")
    parser.add_argument("--quick", action="store_true", help="only the quickest test of each")
    parser.add_argument("--jobs", type=int, default=1)
    given = parser.parse_args()
    if given.list:
        for mutant in wanted(given):
            print(f"{mutant.name:60} {' '.join(mutant.tests)}")
        return 0
    with ThreadPoolExecutor(given.jobs) as pool:
        verdicts = list(pool.map(partial(judge, quick=given.quick), wanted(given)))
    doubtful = doubt(verdicts)
    for found in doubtful:
        print(f"{found.name:60} not run: its test fails without it too")
        report(found)
    outcomes = Counter(found.outcome for found in verdicts)
    print(", ".join(f"{count} {outcome}" for outcome, count in sorted(outcomes.items())))
    return 0 if set(outcomes) <= {"killed", "excused"} and not doubtful else 1


if __name__ == "__main__":
    sys.exit(main())
