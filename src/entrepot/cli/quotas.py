"""What ``entrepot repo`` and ``entrepot owner`` share: how much is used, and how much may be."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from entrepot.cli import frame
from entrepot.model.units import size_text

if TYPE_CHECKING:
    from entrepot.client.session import Session

BAR_CHARS = 20

Size = Annotated[
    Optional[str],
    typer.Argument(
        metavar="[SIZE|none]",
        help="20GiB, 500GB, or bytes; GB is 1000, GiB 1024 to the third. `none` clears it. Without it: show.",
    ),
]


def ask(session: "Session", path: str, size: Optional[str], *, as_json: bool) -> None:
    """Set the quota of what is at ``path``, when a size is given, and show what is used of it. Raises UsageError."""
    if size is None:
        found = session.get(path)
    else:
        wanted = None if size.lower() == "none" else frame.bytes_of(size)
        found = session.put(f"{path}/quota", {"quota_bytes": wanted})
    if as_json:
        frame.print_json(found)
    else:
        frame.facts([("name", found["name"]), *lines(found)])


def lines(found: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Use and quota of a repository or an owner, as ``frame.facts`` prints them."""
    quota_bytes, used_bytes, yanked_bytes = found["quota_bytes"], found["used_bytes"], found["yanked_bytes"]
    charged_bytes = used_bytes + yanked_bytes
    rows = [("size", size_text(used_bytes))]
    if yanked_bytes:
        rows.append(("yanked", f"{size_text(yanked_bytes)}, counted until `entrepot gc`"))
    if found["reserved_bytes"]:
        rows.append(("under way", size_text(found["reserved_bytes"])))
    if quota_bytes is None:
        rows.append(("quota", "none"))
    else:
        rows.append(("quota", f"{bar(charged_bytes, quota_bytes)} of {size_text(quota_bytes)}"))
    if found.get("owner_quota_bytes") is not None:
        owner = found["name"].partition("/")[0]
        rows.append(("", f"the owner's: {size_text(found['owner_quota_bytes'])}; see `entrepot owner show {owner}`"))
    return rows


def bar(used_bytes: int, quota_bytes: int) -> str:
    """``[#####...............] 25 %``; more than everything is a full bar and its true percentage."""
    share = used_bytes / quota_bytes if quota_bytes else 1.0
    filled = min(BAR_CHARS, int(share * BAR_CHARS))
    return f"[{'#' * filled}{'.' * (BAR_CHARS - filled)}] {int(share * 100)} %"
