"""Asking a node's probes how it is."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from entrepot.client.errors import Problem, UsageError
from entrepot.client.session import Session

REFUSING = frozenset({"READONLY", "RECYCLE", "BROKEN"})
"""States of a node in which it refuses every upload."""


@dataclass(frozen=True)
class Uploads:
    """Whether uploads are taken: ``cause`` says why not, empty when they are; ``state`` is the node's, if known."""

    state: str
    cause: str


@dataclass(frozen=True)
class Health:
    """Each probe's cause of failure; the empty text when it is well. ``status`` is the whole of ``/statusz``."""

    live: str
    reads: str
    uploads: Uploads
    status: Mapping[str, Any]


def admin_url(url: str) -> str:
    """The default address of the probes: the same machine, one port up. Raises UsageError without a port in ``url``."""
    parts = urlsplit(url)
    if parts.port is None or parts.port >= 65535:
        raise UsageError("Where the probes listen cannot be told from this URL.", remedy="Give --admin-url.")
    host = f"[{parts.hostname}]" if parts.hostname and ":" in parts.hostname else parts.hostname
    return urlunsplit(("http", f"{host}:{parts.port + 1}", "", "", ""))


def ask(session: Session) -> Health:
    """Ask every probe. Raises Unreachable when the node does not answer at all."""
    live, reads = ask_one(session, "/livez"), ask_one(session, "/readyz")
    uploads = ask_uploads(session)
    status = session.get("/statusz", retries=False)
    return Health(live, reads, uploads, status if isinstance(status, Mapping) else {})


def ask_one(session: Session, path: str) -> str:
    """A probe's cause of failure; empty when it is well. Raises Unreachable."""
    try:
        session.call("GET", path, retries=False)
    except Problem as problem:
        return problem.detail
    return ""


def ask_uploads(session: Session) -> Uploads:
    """Whether the node takes uploads. The probe answers 200 where another node would be no better off, so its state is
    looked at too. Raises Unreachable.
    """
    try:
        answer = session.call("GET", "/readyz/upload", retries=False)
    except Problem as problem:
        return Uploads("", problem.detail)
    state = answer.headers.get("x-entrepot-state", "")
    return Uploads(state, " ".join(answer.body.decode("utf-8", "replace").split()) if state in REFUSING else "")


def figures(status: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The few numbers of ``/statusz`` that people look for."""
    if "version" in status:
        yield "version", str(status["version"])
    if "uptime_s" in status:
        yield "uptime", f"{status['uptime_s']} s"
    if "node_state" in status:
        yield "state", str(status["node_state"])
    if "requests_in_flight" in status:
        yield "requests", f"{status['requests_in_flight']} in flight"
    volumes = status.get("volumes")
    for volume in volumes if isinstance(volumes, list) else ():
        if isinstance(volume, Mapping):
            room = f"{volume.get('available_bytes')} bytes of {volume.get('size_bytes')} available"
            yield "volume", f"{volume.get('name')}: {volume.get('state')}, {room}"
