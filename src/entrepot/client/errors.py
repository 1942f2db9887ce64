"""What can go wrong for a client, and the exit code that a pipeline sees for it (docs/push.md has the table)."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import Any

from entrepot.client.answers import parse

BODY_SHOWN_CHARS_MAX = 300
_WHICH_TOKEN = "`entrepot config --client` shows which token is used, and from where."
# What a client can do about a refusal that the server cannot know.
REMEDIES = {
    "token_missing": (
        "Set ENTREPOT_TOKEN, name a file with --token-file, or write `token` into ~/.config/entrepot/client.toml; on "
        "the server's machine --data DIR takes the administrator's, DIR/admin-token."
    ),
    "token_unknown": _WHICH_TOKEN,
    "token_expired": _WHICH_TOKEN,
    "token_revoked": _WHICH_TOKEN,
}


class Exit(IntEnum):
    """Exit codes of the client's commands. Part of the interface: pipelines decide by them."""

    OK = 0
    REFUSED = 1
    USAGE = 2
    AUTHENTICATION = 3
    UNREACHABLE = 4
    CONFLICT = 5
    NOT_LISTED = 6
    INTERRUPTED = 130


class ClientError(Exception):
    """A command cannot go on.

    ``detail`` is a sentence for people, ``code`` a stable word for programs, ``remedy`` what to do about it (may be
    empty when the detail says so already), ``exit_code`` how the command ends.
    """

    exit_code = Exit.REFUSED

    def __init__(self, detail: str, *, code: str, remedy: str = "") -> None:
        super().__init__(detail)
        self.detail = detail
        self.code = code
        self.remedy = remedy


class UsageError(ClientError):
    """The command line or the client's own settings are wrong; nothing was asked of the server."""

    exit_code = Exit.USAGE

    def __init__(self, detail: str, *, code: str = "usage", remedy: str = "") -> None:
        super().__init__(detail, code=code, remedy=remedy)


class Unreachable(ClientError):
    """The server did not answer, or asked to come back for longer than we were willing to."""

    exit_code = Exit.UNREACHABLE

    def __init__(self, detail: str, *, code: str = "unreachable", remedy: str = "") -> None:
        super().__init__(detail, code=code, remedy=remedy)


class FileChanged(ClientError):
    """A local file became shorter or unreadable while it was being sent."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail, code="file_changed", remedy="Push it again when nobody writes to it any more.")


class Problem(ClientError):
    """The server refused: an HTTP status of 400 and above, with what its problem document says.

    ``numbers`` are the other members of the document; ``retry_after_s`` is None when the server gave no advice.
    """

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        numbers: Mapping[str, Any] | None = None,
        retry_after_s: float | None = None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(detail, code=code, remedy=REMEDIES.get(code, ""))
        self.status = status
        self.numbers = dict(numbers or {})
        self.retry_after_s = retry_after_s
        self.request_id = request_id

    @property
    def exit_code(self) -> Exit:  # type: ignore[override]
        """401 and 403 are about the token, 409 about a taken name; a server that is still busy is out of reach."""
        if self.status in (401, 403):
            return Exit.AUTHENTICATION
        if self.status == 409:
            return Exit.CONFLICT
        return Exit.UNREACHABLE if self.transient else Exit.REFUSED

    @property
    def transient(self) -> bool:
        """Whether the same request may succeed later: the server is full, busy or stopping, or the body was cut off."""
        return self.status in (408, 429, 502, 503, 504) or self.code == "upload_interrupted"


def reason(error: OSError) -> str:
    """Why the operating system refused, as a sentence without the path."""
    return f"{error.strerror or error}."


def problem_from(status: int, headers: Mapping[str, str], body: bytes) -> Problem:
    """Read a refusal: RFC 9457 documents, the older ``{"error": …}`` and ``{"field": ["…"]}`` shapes, or whatever a
    proxy sent.
    """
    code = headers.get("x-entrepot-code", "")
    detail = ""
    numbers: dict[str, Any] = {}
    try:
        document = parse(body)
    except ValueError:
        document = None
    if isinstance(document, dict):
        numbers = {key: value for key, value in document.items() if key not in ("type", "title", "status")}
        code = code or str(numbers.pop("code", "") or "")
        numbers.pop("code", None)
        detail = str(numbers.pop("detail", "") or document.get("title") or "")
        if not detail:
            detail = "; ".join(f"{key} {_joined(value)}" for key, value in document.items())
    if not detail:
        text = " ".join(body.decode("utf-8", "replace").split())
        server = headers.get("server", "")
        detail = f"HTTP {status}" + (f" from {server}" if server else "")
        if text and not text.startswith("<"):
            detail += f": {text}"
    return Problem(
        status,
        code or f"http_{status}",
        detail[:BODY_SHOWN_CHARS_MAX],
        numbers=numbers,
        retry_after_s=_seconds(headers.get("retry-after")),
        request_id=headers.get("x-request-id"),
    )


def _joined(value: object) -> str:
    return ", ".join(str(item) for item in value) if isinstance(value, list) else str(value)


def _seconds(text: str | None) -> float | None:
    """Retry-After in seconds; the form with a date (RFC 9110 section 10.2.3) is not sent by us and counts as absent."""
    text = (text or "").strip()
    return float(text) if text.isascii() and text.isdigit() and len(text) < 7 else None
