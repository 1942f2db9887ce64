"""What a push asks of the server: which kind a distribution is, what is there already, and where a file is sent."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from entrepot.client.errors import Problem, UsageError
from entrepot.client.selection import ANY, KINDS, Item, Kind
from entrepot.client.session import Query, Session
from entrepot.client.target import PushTarget

ASKED_MAX = 500


@dataclass(frozen=True)
class There:
    """A live file of the repository: where it is, and whether the index that is being served lists it."""

    distribution: str
    path: str
    indexed: bool
    held: bool


@dataclass(frozen=True)
class Known:
    """What the server knows of some bytes: the repository's files, and whether they can be used without sending."""

    files: tuple[There, ...] = ()
    bytes_there: bool = False


NOTHING = Known()


def kind_of(session: Session, target: PushTarget) -> Kind:
    """What the distributions of a target take.

    Raises UsageError for one that the server does not know and for a mix of kinds; Problem, Unreachable.
    """
    document = session.get("/api/v2/distributions")
    types = {str(row["path"]): str(row["type"]) for row in _rows(document, "distributions")}
    unknown = [name for name in target.distributions if name not in types]
    if unknown:
        raise UsageError(
            f"The server does not know the distribution {unknown[0]}.",
            code="distribution_unknown",
            remedy="`entrepot distro list` shows all, `entrepot distro add` adds one.",
        )
    kinds = {KINDS.get(types[name], ANY) for name in target.distributions}
    if len(kinds) > 1:
        raise UsageError(f"{', '.join(target.distributions)} take different kinds of packages: push to each by itself.")
    return kinds.pop()


def have(session: Session, repository: str, digests: Sequence[str]) -> dict[str, Known]:
    """What the repository has of these sha256, by sha256. Raises Problem, Unreachable."""
    found: dict[str, Known] = {}
    for start in range(0, len(digests), ASKED_MAX):
        asked = [{"sha256": sha256} for sha256 in digests[start : start + ASKED_MAX]]
        document = session.post(f"/api/v2/repos/{repository}/have", {"files": asked})
        for row in _rows(document, "files"):
            rows = tuple(
                There(str(each["distribution"]), str(each["path"]), bool(each["indexed"]), bool(each["held"]))
                for each in _rows(row, "files")
            )
            found[str(row["sha256"])] = Known(rows, bool(row.get("bytes")))
    return found


def missing(item: Item, kind: Kind, target: PushTarget, there: Sequence[There]) -> tuple[str, ...]:
    """The distributions of the target that do not have these bytes (in Maven's layout: at this path) yet."""
    present = {each.distribution for each in there if not kind.layout or each.path == item.name}
    return tuple(name for name in target.distributions if name not in present)


def waiting(kind: Kind, item: Item, distributions: Sequence[str], there: Sequence[There]) -> tuple[bool, bool]:
    """(whether some of the distributions do not list it yet, whether one holds it for missing members)."""
    rows = [
        each for each in there if each.distribution in distributions and (not kind.layout or each.path == item.name)
    ]
    return any(not each.indexed for each in rows), any(each.held for each in rows)


def address(repository: str, distributions: Sequence[str], item: Item, sha256: str) -> tuple[str, Query]:
    """Path and query of the POST that carries a file to one or more distributions. With its digest, so that bytes that
    were damaged on the way, or changed here meanwhile, are refused.
    """
    names = [("distribution", each) for each in distributions]
    return f"/api/v2/repos/{repository}/packages", [*names, ("filename", item.name), ("sha256", sha256)]


def _rows(document: Any, name: str) -> list[Mapping[str, Any]]:
    rows = document.get(name) if isinstance(document, Mapping) else None
    if not isinstance(rows, list) or not all(isinstance(row, Mapping) for row in rows):
        raise Problem(200, "answer_malformed", f"The answer has no list named {name}: is this an Entrepot server?")
    return rows
