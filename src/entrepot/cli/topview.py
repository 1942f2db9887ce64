"""How ``entrepot top`` draws a node: plain characters that mean the same without colours, in 80 columns and more."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Group
from rich.text import Text

from entrepot.cli.frame import clean
from entrepot.client.nodes import Look
from entrepot.model.units import size_text

STATE_STYLES = {"OK": "green", "PRESSURE": "yellow", "SHED": "dark_orange", "READONLY": "red", "BROKEN": "bold red"}
# What a bar is made of, from its left end: figure, character, style.
PARTS = (("own", "█", "blue"), ("others", "▓", "bright_black"), ("unaccounted", "!", "red"), ("reserved", "▒", "cyan"))
MARKS = (("pressure_bytes", "P", "yellow"), ("shed_bytes", "S", "dark_orange"), ("readonly_bytes", "R", "red"))
LEGEND = "█ used  ▓ others'  ! unaccounted  ▒ reserved  P S R thresholds  (q ends)"
LEAKS_SHOWN_MAX = 5
REFUSALS_SHOWN_MAX = 6
BAR_MAX = 118


def picture(looks: Sequence[Look], width: int) -> Group:
    """Every node, one below the other."""
    lines: list[Text] = []
    for look in looks:
        lines += node(look, width)
        lines.append(Text(""))
    lines.append(Text(LEGEND, style="dim", no_wrap=True, overflow="ellipsis"))
    return Group(*lines)


def node(look: Look, width: int) -> Iterator[Text]:
    """One node's lines."""
    head = Text(clean(look.url), style="bold")
    if look.status is None:
        yield head + Text(f"  does not answer: {clean(look.trouble)}", style="red")
        return
    status = look.status
    state = status.get("node_state") or ("stopping" if status.get("stopping") else "serving")
    head.append(f"  {clean(state)}", style=STATE_STYLES.get(str(state), ""))
    up, requests = _duration(status["uptime_s"]), status.get("requests_in_flight", 0)
    head.append(f"  {clean(status.get('version', ''))}  up {up}  {requests} requests", style="not bold")
    yield head
    for name, check in status.get("checks", {}).items():
        if not check["ok"]:
            yield Text(f"  {clean(name)}: {clean(check['cause'])}", style="red")
    for volume in status.get("volumes", ()):
        yield from _volume(volume, width)
    yield from _uploads(look, status)
    yield from _canary(status.get("canary", {}))
    yield from _leaks(status.get("leaks", ()))


def _volume(volume: Mapping[str, Any], width: int) -> Iterator[Text]:
    state = str(volume["state"])
    head = Text(f"  {clean(volume['name'])}  ")
    head.append(clean(state), style=STATE_STYLES.get(state, "red"))
    if volume.get("cause"):
        head.append(f"  {clean(volume['cause'])}")
    yield head
    yield bar(volume, max(10, min(width - 4, BAR_MAX)))
    figures = ("used", "reserved", "unaccounted", "available")
    text = "  ".join(f"{name} {size_text(volume[f'{name}_bytes'])}" for name in figures)
    yield Text(f"  {text}  of {size_text(volume['size_bytes'])}", no_wrap=True, overflow="ellipsis")
    errors = ", ".join(f"{clean(name)} {count}" for name, count in volume.get("errors", {}).items())
    if errors:
        yield Text(f"  failed file calls: {errors}", style="red")


def bar(volume: Mapping[str, Any], width: int) -> Text:
    """A volume as one line: what is used and reserved from the left, the thresholds as letters where they begin.

    What is not zero has at least one character: a small leak must be seen.
    """
    total = max(1, volume["size_bytes"])
    unaccounted, others = volume["unaccounted_bytes"], volume["others_bytes"]
    sizes = {
        "own": max(0, volume["used_bytes"] - unaccounted - others),
        "others": others,
        "unaccounted": unaccounted,
        "reserved": volume["reserved_bytes"],
    }
    cells: list[tuple[str, str]] = []
    for name, character, style in PARTS:
        count = round(sizes[name] / total * width)
        cells += [(character, style)] * (max(1, count) if sizes[name] > 0 else 0)
    cells = [*cells[:width], *[("·", "dim")] * (width - len(cells))]
    for name, letter, style in MARKS:
        left = volume["thresholds"][name]
        if 0 < left < total:
            cells[min(width - 1, int((total - left) / total * width))] = (letter, f"{style} bold")
    text = Text("  ", no_wrap=True)
    for character, style in cells:
        text.append(character, style=style)
    return text


def _uploads(look: Look, status: Mapping[str, Any]) -> Iterator[Text]:
    uploads = status.get("uploads", {})
    text = f"  uploads {uploads.get('in_flight', 0)} in flight ({size_text(uploads.get('in_flight_bytes', 0))})"
    if look.rates is None:
        answers: Mapping[str, int] = uploads.get("answers", {})
        taken = answers.get("ok", 0)
        text += f"  {taken} taken  {sum(answers.values()) - taken} refused"
    else:
        rates = look.rates
        text += f"  {rates.taken:.1f}/s taken  {rates.refused:.1f}/s refused  {size_text(rates.received_bytes)}/s"
    lag_s = status.get("publication", {}).get("lag_s", 0)
    text += f"  lag {_duration(lag_s)}"
    yield Text(text, style="yellow" if lag_s > 60 else "", no_wrap=True, overflow="ellipsis")
    refusals = sorted(status.get("refusals", {}).items(), key=lambda row: -row[1])
    if refusals:
        shown = "  ".join(f"{clean(code)} {count}" for code, count in refusals[:REFUSALS_SHOWN_MAX])
        more = f"  and {len(refusals) - REFUSALS_SHOWN_MAX} more codes" if len(refusals) > REFUSALS_SHOWN_MAX else ""
        yield Text(f"  refusals {shown}{more}")


def _canary(canary: Mapping[str, Mapping[str, Any]]) -> Iterator[Text]:
    if not canary:
        return
    text = Text("  canary")
    for name, row in canary.items():
        if row["ok"]:
            seconds = row.get("seconds")
            text.append(f"  {clean(name)} ok" + (f" {seconds:.1f} s" if isinstance(seconds, (int, float)) else ""))
        elif not row["failures_in_row"]:
            text.append(f"  {clean(name)} not tried: {clean(row['cause'])}")
        else:
            text.append(f"  {clean(name)} failed ×{row['failures_in_row']}: {clean(row['cause'])}", style="red")
    yield text


def _leaks(leaks: Sequence[Mapping[str, Any]]) -> Iterator[Text]:
    there = [leak for leak in leaks if not leak.get("removed")]
    if not there:
        return
    held = size_text(sum(leak.get("size_bytes") or 0 for leak in there))
    yield Text(f"  {len(there)} leak{'' if len(there) == 1 else 's'}, {held}", style="red")
    for leak in there[:LEAKS_SHOWN_MAX]:
        where = " ".join(clean(leak[name]) for name in ("kind", "path", "process") if leak.get(name))
        yield Text(f"    {where} {size_text(leak.get('size_bytes') or 0)}")


def _duration(seconds: float) -> str:
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.0f} s"
