"""Small request bodies: form, JSON or multipart fields, whichever the client chose; and the streaming reader of upload
forms.

packagecloud's clients send forms, JSON, multipart, and forms without any Content-Type; every write route takes all of
them.
"""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from urllib.parse import parse_qsl

from multipart import (  # type: ignore[import-untyped]
    MultipartError,
    MultipartSegment,
    PushMultipartParser,
    parse_options_header,
)

from entrepot.model.errors import Refusal
from entrepot.model.limits import FORM_FIELD_BYTES_MAX, FORM_PARTS_MAX
from entrepot.web.call import Call

SMALL_BODY_BYTES_MAX = 4 * FORM_FIELD_BYTES_MAX


@dataclass(frozen=True, slots=True)
class Part:
    """The start of one part of a multipart body; ``filename`` None for a plain field."""

    name: str
    filename: str | None


@dataclass(frozen=True, slots=True)
class PartEnd:
    """The end of the current part."""


FormEvent = Part | PartEnd | bytes


def boundary_of(call: Call) -> bytes:
    """The boundary of a multipart/form-data request. Raises Refusal("body_malformed") when it is none."""
    content_type = call.header(b"content-type") or ""
    kind, options = parse_options_header(content_type)
    boundary = options.get("boundary", "")
    if kind != "multipart/form-data" or not 0 < len(boundary) <= 70:  # RFC 2046 section 5.1.1
        raise Refusal(
            "body_malformed", "Send this as multipart/form-data with a boundary.", content_type=content_type[:200]
        )
    return bytes(boundary, "latin-1")


async def multipart_events(chunks: AsyncIterator[bytes], boundary: bytes) -> AsyncIterator[FormEvent]:
    """The parts of a multipart body as they arrive; nothing is kept.

    Raises Refusal("body_malformed") for a broken body and for more than 128 parts, and what ``chunks`` raises.
    """
    parser = PushMultipartParser(boundary, max_segment_count=FORM_PARTS_MAX, max_header_count=16)
    try:
        async for chunk in chunks:
            for event in parser.parse(chunk):
                yield _event(event)
            if parser.closed:
                continue  # an epilogue is legal and ignored
        parser.close()
    except MultipartError as error:
        raise Refusal("body_malformed", f"The multipart body is malformed: {error}") from error


def _event(event: MultipartSegment | bytes | bytearray | None) -> FormEvent:
    if event is None:
        return PartEnd()
    if isinstance(event, (bytes, bytearray)):
        return bytes(event)
    return Part(event.name or "", event.filename)


async def read_fields(call: Call) -> dict[str, str]:
    """The fields of a small body as flat names (``repository[name]``); JSON objects are flattened to the same names.

    A missing or unknown Content-Type is read as JSON when it starts with ``{``, else as a form. Raises Refusal:
    ``body_malformed``, ``too_large`` above 256 KiB, and what the body raises.
    """
    content_type = (call.header(b"content-type") or "").partition(";")[0].strip().lower()
    if content_type == "multipart/form-data":
        return await _multipart_fields(call)
    text = await call.body.read(SMALL_BODY_BYTES_MAX)
    if content_type == "application/json" or text.lstrip()[:1] == b"{":
        return _json_fields(text)
    try:
        return dict(parse_qsl(text.decode(), keep_blank_values=True, max_num_fields=FORM_PARTS_MAX))
    except (ValueError, UnicodeDecodeError) as error:
        raise Refusal("body_malformed", "The form is not UTF-8, or has too many fields.") from error


async def _multipart_fields(call: Call) -> dict[str, str]:
    fields: dict[str, str] = {}
    name, value = "", bytearray()
    async for event in multipart_events(call.body.chunks(), boundary_of(call)):
        if isinstance(event, Part):
            name, value = event.name, bytearray()
        elif isinstance(event, PartEnd):
            fields[name] = value.decode("utf-8", "replace")
        else:
            value += event
            if call.body.received_bytes > SMALL_BODY_BYTES_MAX:
                raise Refusal(
                    "too_large", "The body of this request is larger than it may be.", bytes_max=SMALL_BODY_BYTES_MAX
                )
    return fields


def _json_fields(text: bytes) -> dict[str, str]:
    document = parse_json(text)
    if not isinstance(document, dict):
        raise Refusal("body_malformed", "The JSON body must be an object.")
    fields: dict[str, str] = {}
    for key, value in document.items():
        if isinstance(value, dict):
            fields.update({f"{key}[{inner}]": _plain(item) for inner, item in value.items()})
        else:
            fields[key] = _plain(value)
    return fields


def _plain(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else value if isinstance(value, str) else json.dumps(value)


def parse_json(text: bytes) -> object:
    """A JSON text. Raises Refusal("body_malformed"), for nesting that would exhaust the stack too."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Refusal("body_malformed", "The body is not valid JSON.") from error


def truth(text: str | None) -> bool:
    """``1``, ``true``, ``yes``, ``on`` in any case; clients send booleans as all of these."""
    return (text or "").strip().lower() in ("1", "true", "yes", "on")
