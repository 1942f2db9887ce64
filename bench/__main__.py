"""``python -m bench [NAME…] [--quick] [--work FOLDER] [--write]``: run rows, print their tables, keep the figures."""

import argparse
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from bench import measure, report, rows
from bench.bed import Context

# Not /tmp, which is memory on many machines: durability is part of what is measured.
DISK = Path("/var/tmp")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the rows; 0 when every bar that was measured is met."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measures the product against its bars.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"rows to run: {', '.join(rows.NAMES)}; default: all")
    parser.add_argument("--quick", action="store_true", help="smaller repositories and fewer rounds: a rough figure")
    parser.add_argument("--work", type=Path, help="folder on a disk for volumes; filled ones are kept there")
    parser.add_argument("--write", action="store_true", help="write bench/RESULTS.md from the kept figures")
    parser.add_argument("--report-only", action="store_true", help="run nothing; with --write, after several runs")
    chosen = parser.parse_args(arguments)
    unknown = sorted(set(chosen.names) - set(rows.NAMES))
    if unknown:
        parser.error(f"no such row: {', '.join(unknown)}")
    missed: list[str] = []
    if not chosen.report_only:
        with ExitStack() as stack:
            work = chosen.work
            if work is None:
                work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-", dir=DISK)))
            context = Context(work.resolve(), chosen.quick, lambda text: print(text, file=sys.stderr, flush=True))
            missed = [name for name in chosen.names or rows.NAMES if not run_row(context, name)]
    if chosen.write:
        report.write(rows.NAMES)
    if missed:
        print("not met: " + ", ".join(missed))
    return 1 if missed else 0


def run_row(context: Context, name: str) -> bool:
    """Run one row and print its table; False when it failed or missed a bar."""
    started = time.monotonic()
    try:
        measures = rows.row(name)(context)
    except Exception:  # one row that cannot run must not keep the others from running
        traceback.print_exc()
        return False
    print(f"\n{name} ({time.monotonic() - started:.0f} s)\n{measure.table(measures)}", flush=True)
    measure.save(name, context.quick, measures)
    return all(item.met is not False for item in measures)


if __name__ == "__main__":
    sys.exit(main())
