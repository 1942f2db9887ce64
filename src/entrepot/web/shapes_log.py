"""The audit trail as JSON, for the OpenAPI document and mypy; see :mod:`entrepot.web.shapes`."""

from typing import Any, NotRequired

from typing_extensions import TypedDict

from entrepot.web.shapes import Text


class LogQuery(TypedDict):
    """Which changes: of one ``repository`` (USER/REPO), with an id below ``before``, at most ``rows``."""

    repository: NotRequired[Text]
    before: NotRequired[int]
    rows: NotRequired[int]


class LogEntry(TypedDict):
    """One change: ``actor`` is the token as NAME#ID, or ``server``; ``action`` is NOUN.VERB;
    ``repository`` is null for what concerns none, or one that is gone.
    """

    id: int
    at: int
    actor: str
    address: str | None
    action: str
    subject: str
    repository: str | None
    detail: dict[str, Any]


class Log(TypedDict):
    """Changes, newest first; ``before`` of the next question, null when there is nothing more."""

    entries: list[LogEntry]
    before: int | None
