"""``RESULTS.md`` from the figures of the last full runs."""

import os
import platform
from collections.abc import Sequence
from pathlib import Path

from bench import measure

TARGET = Path(__file__).with_name("RESULTS.md")


def write(names: Sequence[str]) -> None:
    """Write the table of every row that has figures; rough ones are marked. A row that was not run from this folder
    keeps the section that it has.
    """
    kept = sections(TARGET.read_text()) if TARGET.exists() else {}
    lines = [
        "# Results",
        "",
        "Written by `python -m bench --write`; `README.md` beside it says how each row is measured. Medians of several",
        "rounds; the peer ran in the same run on the same machine. Quote ratios rather than times.",
        "",
        f"Machine: {machine()}.",
    ]
    for name in names:
        found = measure.load(name)
        if found is None:
            lines += ["", f"## {name}", kept[name]] if name in kept else []
            continue
        quick, measures = found
        lines += ["", f"## {name}" + (" (quick run: rough)" if quick else ""), "", measure.table(measures).rstrip("\n")]
        if more := measure.load_text(name):
            lines += ["", more.rstrip("\n")]
    TARGET.write_text("\n".join(lines) + "\n")


def sections(text: str) -> dict[str, str]:
    """What stands below each heading of a page of results, without its last line ends."""
    found = {}
    for part in text.split("\n## ")[1:]:
        heading, _, body = part.partition("\n")
        found[heading] = body.rstrip("\n")
    return found


def machine() -> str:
    """What the figures depend on, without the machine's name."""
    model = "unknown processor"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    memory = int(Path("/proc/meminfo").read_text().split()[1]) // 1024 // 1024
    return f"{os.cpu_count()} cores ({model}), {memory} GiB, Python {platform.python_version()}, ext4 on a loop device"
