#!/usr/bin/env python3
"""The figures of the fault programme: `bench/FAULTS.json` from the lanes' lines, and from that rows for PROMISES.md.

    scripts/fault_report.py [--note TEXT] REPORT…      sums the lines of `make fault` (or of any run with FAULT_REPORT)

What must be zero stands beside the number of tries, and beside the bound that a zero of n tries proves: with 95 %
confidence the true rate is below 3/n.
"""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

TARGET = Path(__file__).resolve().parent.parent / "bench" / "FAULTS.json"
NOT_MEASURED = "not measured yet"

# Module of a lane → what it does, in the order of the page.
LANES: Mapping[str, str] = {
    "sweep": "an error, a short write or SIGKILL at every file call",
    "first_start": "a first start killed, or without room, at every file call",
    "syscalls": "SQLite's own calls fail (strace)",
    "power_cut": "power cuts on ext4, xfs and btrfs",
    "kill": "SIGKILL at random moments",
    "full_volume": "full volumes, bytes and inodes",
    "stateful": "random sequences of changes, faults and restarts",
    "network": "broken, crawling and deaf connections",
    "soak": "SIGKILL in the leak soak",
    "client_matrix": "real clients against full volumes",
}
# Row of the page: text, counters that must be 0, and the counter of the tries.
ZEROS: Sequence[tuple[str, tuple[str, ...], str]] = (
    ("Acknowledged changes lost", ("lost",), "acknowledged"),
    ("Packages or indexes torn, catalogs damaged", ("torn", "catalogs_damaged"), "sent"),
    ("Files leaked", ("leaked_files",), "faults"),
    ("Bytes leaked", ("leaked_bytes",), "faults"),
    ("Answers 5xx but 503 and 507", ("answers_500",), "answers"),
    ("Refusals 503 without Retry-After", ("refusals_without_advice",), "refusals"),
    ("Downloads that failed while writes were refused", ("downloads_failed",), "downloads_while_refusing"),
)


def lines(paths: Sequence[Path]) -> Iterator[dict[str, Any]]:
    """Every line of the reports."""
    for path in paths:
        for line in path.read_text().splitlines():
            yield json.loads(line)


def summed(found: Iterator[Mapping[str, Any]]) -> dict[str, Any]:
    """The lines as one document: counters and faults of each lane added up, times and mutants kept one by one."""
    counters: Counter[str] = Counter()
    faults: Counter[str] = Counter()
    times: list[float] = []
    mutants: dict[str, str] = {}
    clients: dict[str, list[str]] = {}
    for line in found:
        if "client" in line:
            clients[" ".join(line["client"][:2])] = line["client"]
            continue
        if line["lane"] == "mutants":
            mutants[line["name"]] = line["outcome"]
            continue
        faults[line["lane"]] += line.get("faults", 0)
        times += line.get("accepting_again_s", [])
        counters.update({key: value for key, value in line.items() if isinstance(value, int)})
    return {
        "faults": {lane: faults[lane] for lane in LANES if faults[lane]},
        "counters": dict(sorted(counters.items())),
        "accepting_again_s": [round(each, 2) for each in times],
        "mutants": {
            outcome: sorted(name for name, found in mutants.items() if found == outcome)
            for outcome in sorted(set(mutants.values()))
        },
        "clients": list(clients.values()),
    }


def rows(document: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """(what, figure, bound) of each row of the page."""
    counters, faults = document["counters"], document["faults"]
    shown = [(f"Faults: {what}", f"{faults.get(lane, 0):,}", "") for lane, what in LANES.items() if lane in faults]
    shown.insert(0, ("Faults injected, all lanes", f"**{sum(faults.values()):,}**", ""))
    for what, names, tries in ZEROS:
        tried = counters.get(tries, 0)
        if not tried:
            shown.append((what, NOT_MEASURED, ""))
            continue
        bad = sum(counters.get(name, 0) for name in names)
        bound = f"below {300 / tried:.2g} %" if not bad else "**not zero**"
        shown.append((what, f"{bad} of {tried:,} {_WORDS[tries]}", bound))
    if seconds := counters.get("storm_s"):
        rate = counters["storm_publications"] / seconds
        text = f"{counters['client_runs']:,} runs of apt, dnf, zypper and mvn, none failed or stale"
        shown.append((f"Clients in loops against {rate:.1f} publications a second for {seconds} s", text, ""))
    if steps := counters.get("model_steps"):
        shown.append(("Random changes, each seen by apt or dnf as the model has it", f"{steps:,} steps", ""))
    if flood := counters.get("flood_publications"):
        text = f"all listed; {counters['flood_old_bytes']:,} bytes of old generations"
        shown.append((f"{flood:,} publications flat out", text, ""))
    if times := sorted(document["accepting_again_s"]):
        middle = times[len(times) // 2]
        what = "From space returned on a READONLY volume to the next upload taken (the state is left after 60 s)"
        shown.append((what, f"median {middle} s, most {times[-1]} s", ""))
    if mutants := document["mutants"]:
        made = sum(len(names) for names in mutants.values())
        killed = len(mutants.get("killed", []))
        excused = [f"`{name}`" for name in mutants.get("excused", [])]
        missing = [
            f"`{name}`" for outcome, names in mutants.items() if outcome not in ("killed", "excused") for name in names
        ]
        told = f"excused (`scripts/chosen.py` says why): {', '.join(excused)}" if excused else ""
        told += "; " * bool(excused and missing) + (f"not yet: {', '.join(missing)}" if missing else "")
        shown.append(("Guards taken away one at a time and noticed", f"{killed} of {made}", told))
    return shown


def clients(document: Mapping[str, Any]) -> list[list[str]]:
    """(client, state of the volume, how it ended, what it said) of each real client against a full volume."""
    return list(document["clients"])


_WORDS: Mapping[str, str] = {
    "acknowledged": "acknowledged",
    "sent": "sent",
    "faults": "faults",
    "answers": "answers",
    "refusals": "refusals",
    "downloads_while_refusing": "downloads",
}


def load() -> dict[str, Any] | None:
    """The figures of the last run that was written down."""
    return json.loads(TARGET.read_text()) if TARGET.exists() else None


def main(arguments: Sequence[str]) -> int:
    """Sum reports into FAULTS.json."""
    parser = argparse.ArgumentParser(description="Sum the fault lanes' lines into bench/FAULTS.json.")
    parser.add_argument("--note", default="`make fault`, every lane at full length.", help="which run it was")
    parser.add_argument("reports", nargs="+", type=Path)
    given = parser.parse_args(arguments)
    document = {"note": given.note, **summed(lines(given.reports))}
    TARGET.write_text(json.dumps(document, indent=2) + "\n")
    for row in rows(document):
        print(" | ".join(row))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
