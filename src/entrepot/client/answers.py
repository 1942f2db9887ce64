"""The text of an answer. Whoever answers at an address that a user typed may be anybody."""

from __future__ import annotations

import json
from typing import Any


def parse(body: bytes) -> Any:
    """A JSON document. Raises ValueError for anything else, and for nesting that would exhaust the stack too."""
    try:
        return json.loads(body)
    except RecursionError as error:
        raise ValueError("the JSON is nested too deeply") from error
