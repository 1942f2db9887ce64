"""Several nodes seen at once, again and again: their ``/statusz`` and what changed since the last look."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any

import httpx

from entrepot.client import clock
from entrepot.client.answers import parse
from entrepot.client.config import is_local

if TYPE_CHECKING:
    from typing import Self  # novm

# A node that does not answer must not make the others' figures old.
ANSWER_S_MAX = 5.0
NODES_MAX = 64


@dataclass(frozen=True)
class Rates:
    """Per second, since the last look."""

    taken: float
    refused: float
    received_bytes: float


@dataclass(frozen=True)
class Look:
    """One node at one moment: its document, or why there is none. ``rates`` need two looks at one process."""

    url: str
    status: Mapping[str, Any] | None = None
    trouble: str = ""
    rates: Rates | None = None


class Nodes:
    """Asks every node at once. A context manager; for one thread."""

    def __init__(self, urls: Sequence[str]) -> None:
        """Args: ``urls`` admin addresses. Raises ValueError for more than :data:`NODES_MAX`."""
        if len(urls) > NODES_MAX:
            raise ValueError(f"at most {NODES_MAX} nodes")
        self._urls = [url.rstrip("/") for url in urls]
        self._clients = [httpx.Client(timeout=ANSWER_S_MAX, trust_env=not is_local(url)) for url in self._urls]
        self._threads = ThreadPoolExecutor(len(urls), "nodes")
        self._before: dict[str, tuple[float, Mapping[str, Any]]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        for client in self._clients:
            client.close()

    def look(self) -> list[Look]:
        """Every node now, in the order of the addresses; at most :data:`ANSWER_S_MAX` and a little later."""
        return list(self._threads.map(self._ask, self._urls, self._clients))

    def _ask(self, url: str, client: httpx.Client) -> Look:
        try:
            answer = client.get(f"{url}/statusz")
            status = parse(answer.content) if answer.status_code == 200 else None
        except httpx.HTTPError as error:
            return Look(url, trouble=str(error) or type(error).__name__)
        except ValueError:
            status = None
        if not isinstance(status, Mapping) or "uptime_s" not in status:
            return Look(url, trouble=f"status {answer.status_code}, and no /statusz: is this an admin address?")
        now = clock.monotonic()
        before, self._before[url] = self._before.get(url), (now, status)
        return Look(url, status, rates=None if before is None else _rates(now - before[0], before[1], status))


def _rates(seconds: float, before: Mapping[str, Any], after: Mapping[str, Any]) -> Rates | None:
    """None when the process is another one: its counts began anew."""
    if seconds <= 0 or after["uptime_s"] < before["uptime_s"]:
        return None
    old, new = _counts(before), _counts(after)
    return Rates(*(max(0.0, (late - early) / seconds) for early, late in zip(old, new)))


def _counts(status: Mapping[str, Any]) -> tuple[int, int, int]:
    uploads = status.get("uploads", {})
    answers: Mapping[str, int] = uploads.get("answers", {})
    taken = answers.get("ok", 0)
    return taken, sum(answers.values()) - taken, uploads.get("received_bytes", 0)
