"""Refusals as HTTP: RFC 9457 problem documents, and packagecloud's shapes under /api/v1."""

import json
import random
from collections.abc import Callable

from entrepot.model.errors import Refusal
from entrepot.web.call import Header
from entrepot.web.shapes import Problem

CHALLENGE: Header = (b"www-authenticate", b'Basic realm="Entrepot", charset="UTF-8"')
RETRY_JITTER = 0.5

# packagecloud names the field a message belongs to; clients join the list of strings behind it.
_V1_FIELDS = {
    "name_taken": "filename",
    "duplicate": "filename",
    "distribution_unknown": "distro_version_id",
    "format_mismatch": "distro_version_id",
    "coordinates_mismatch": "coordinates",
    "repository_exists": "name",
    "repository_name_invalid": "name",
    "field_invalid": None,
}
DUPLICATE_BODY = b'{"filename":["has already been taken"]}'


def compact(value: object) -> bytes:
    """JSON without a superfluous byte, UTF-8.

    Half a surrogate pair, which JSON bodies and headers of packages may carry, becomes ``?``: it has no UTF-8.
    """
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def headers_for(refusal: Refusal, content_type: bytes) -> list[Header]:
    """The headers of a refusal: its code, the challenge of a 401, a jittered Retry-After (all clients at once would
    come back at once).
    """
    headers: list[Header] = [
        (b"content-type", content_type),
        (b"cache-control", b"no-store"),
        (b"x-entrepot-code", refusal.code.encode()),
    ]
    if refusal.kind.status == 401:
        headers.append(CHALLENGE)
    if refusal.code == "range_not_satisfiable" and "size_bytes" in refusal.numbers:
        # RFC 9110 section 15.5.17: how long the file is, so that a client can ask again.
        headers.append((b"content-range", b"bytes */%d" % int(str(refusal.numbers["size_bytes"]))))
    if refusal.numbers.get("allow"):
        headers.append((b"allow", str(refusal.numbers["allow"]).encode()))  # RFC 9110 section 15.5.6
    if refusal.kind.retry_after_s is not None:
        base = int(refusal.numbers.get("retry_after_s") or refusal.kind.retry_after_s)
        headers.append((b"retry-after", b"%d" % random.randint(base, int(base * (1 + RETRY_JITTER)) + 1)))
    return headers


def problem(refusal: Refusal, request_id: str) -> tuple[int, list[Header], bytes]:
    """Status, headers and body of the problem document of a refusal (RFC 9457 section 3).

    ``type`` is ``urn:entrepot:error:CODE``; the refusal's numbers are extension members beside ``code``.
    """
    kind = refusal.kind
    named = Problem(
        type=f"urn:entrepot:error:{kind.code}",
        title=kind.text,
        status=kind.status,
        code=kind.code,
        detail=refusal.detail,
        request_id=request_id,
    )
    document: dict[str, object] = {**named}
    for name, value in refusal.numbers.items():
        document.setdefault(name, value)
    return kind.status, headers_for(refusal, b"application/problem+json"), compact(document)


def packagecloud(refusal: Refusal, request_id: str) -> tuple[int, list[Header], bytes]:
    """The same as packagecloud's clients expect it: they parse these bodies, some byte for byte.

    401 and unknown repositories are ``{"error": …}``; the very same file again is the exact 422; whatever else speaks
    of a field is a map of field name → list of messages; the rest keeps the problem document.
    """
    kind = refusal.kind
    if kind.code == "duplicate":
        body = DUPLICATE_BODY
    elif kind.code == "name_taken":
        body = compact({"filename": [f"has already been taken by other content. {refusal.detail}"]})
    elif kind.status == 401:
        body = compact({"error": "Unauthenticated", "detail": refusal.detail})
    elif kind.code == "repository_unknown":
        body = compact({"error": "not_found"})
    elif kind.code == "not_found":
        body = compact({"filename": ["not found"]})
    elif kind.status in (404, 409, 422):
        named = refusal.numbers.get("field")
        field = _V1_FIELDS.get(kind.code, "package_file") or (named if isinstance(named, str) else "base")
        body = compact({field: [refusal.detail]})
    else:
        return problem(refusal, request_id)
    status = 422 if kind.code == "distribution_unknown" else kind.status
    return status, headers_for(refusal, b"application/json; charset=utf-8"), body


def sentence(refusal: Refusal, request_id: str) -> tuple[int, list[Header], bytes]:
    """Status, headers and body of a refusal for a script that shows it to a person: the sentence alone."""
    headers = headers_for(refusal, b"text/plain; charset=utf-8")
    return refusal.kind.status, headers, f"{refusal.detail}\n".encode("utf-8", "replace")


def shape_of(path: str) -> Callable[[Refusal, str], tuple[int, list[Header], bytes]]:
    """How a refusal is written for whoever asks for this address."""
    if path.startswith("/api/v1/"):
        return packagecloud
    return sentence if path.startswith("/install/") else problem
