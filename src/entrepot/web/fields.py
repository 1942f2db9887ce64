"""The JSON object of a request's body, and its fields, checked one by one."""

import re
from typing import Any

from entrepot.model.errors import Refusal
from entrepot.model.limits import API_TEXT_CHARS_MAX, KIB
from entrepot.web.call import Call
from entrepot.web.forms import parse_json, truth

BODY_BYTES_MAX = 512 * KIB
_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}\Z")


async def read_object(call: Call) -> dict[str, Any]:
    """The request's JSON object; an empty body is an empty object. Raises Refusal ``body_malformed``, ``too_large``."""
    text = await call.body.read(BODY_BYTES_MAX)
    document = parse_json(text) if text.strip() else {}
    if not isinstance(document, dict):
        raise Refusal("body_malformed", "The body must be a JSON object.")
    return document


def text_field(
    body: dict[str, Any], name: str, default: str | None = None, *, chars_max: int = API_TEXT_CHARS_MAX
) -> str:
    """A text field. Raises Refusal("field_invalid") when it is missing without default, no text, longer than
    ``chars_max`` or unprintable.
    """
    value = body.get(name)
    if value is None and default is not None:
        return default
    if not isinstance(value, str) or not value or len(value) > chars_max or not value.isprintable():
        raise Refusal("field_invalid", f"`{name}` is a text of 1 to {chars_max} printable characters.", field=name)
    return value


def name_field(body: dict[str, Any], name: str) -> str | None:
    """A field that becomes the last part of an address: 1 to 128 of ``a-z A-Z 0-9 . _ -``, first no dot; None when it
    is missing. Raises Refusal("field_invalid").
    """
    value = body.get(name)
    if value is None:
        return None
    if not isinstance(value, str) or not _NAME.match(value):
        raise Refusal("field_invalid", f"`{name}` is 1 to 128 of a-z A-Z 0-9 . _ -, the first no dot.", field=name)
    return value


def number(text: str | None, default: int, most: int) -> int:
    """A page or a page size of a query, 1 to ``most``: absurd values are clamped, not refused."""
    if not text or not text.isascii() or not text.isdigit():
        return default
    # int() refuses more than 4,300 digits.
    return max(1, min(int(text), most)) if len(text) < 19 else most


def bool_field(body: dict[str, Any], name: str) -> bool:
    """A field that is true or false; missing is false."""
    value = body.get(name, False)
    return value if isinstance(value, bool) else truth(str(value))
