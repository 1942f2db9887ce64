"""The one table of refusals: code → HTTP status → retry advice → default text.

Whoever refuses raises :class:`Refusal` with a code of this table; only ``web`` turns it into HTTP. The code is
stable: it is the
``code`` of the problem document, the label of ``entrepot_refusals_total`` and a heading of docs/troubleshoot.md.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ErrorKind:
    """One row of the table.

    ``status`` is the HTTP status; ``retry_after_s`` is the base of a jittered Retry-After header (None: do not repeat
    the request
    unchanged); ``text`` says what happened when the raiser has nothing more exact to say.
    """

    code: str
    status: int
    text: str
    retry_after_s: int | None = None


_ROWS: tuple[ErrorKind, ...] = (
    # who asks
    ErrorKind(
        "token_missing",
        401,
        "This needs a token: send it as the Basic user name, the Basic password or a Bearer token.",
    ),
    ErrorKind(
        "token_unknown",
        401,
        "The token is not known here; check it, or make one with `entrepot token create`.",
    ),
    ErrorKind("token_expired", 401, "The token has expired; make a new one with `entrepot token create`."),
    ErrorKind("token_revoked", 401, "The token was revoked; make a new one with `entrepot token create`."),
    ErrorKind(
        "role_too_low",
        403,
        "The token's role does not allow this; use a token with the role named in `role_needed`.",
    ),
    ErrorKind("repository_not_allowed", 403, "The token is not valid for this repository."),
    ErrorKind(
        "cross_site",
        403,
        "A page of another site asked for this; changes are made by clients and by this server's own pages alone.",
    ),
    ErrorKind(
        "too_many_attempts",
        429,
        "Too many wrong tokens came from this address; wait as long as Retry-After says, then send a valid one.",
        30,
    ),
    ErrorKind(
        "too_many_connections",
        429,
        "Too many requests at the same time from this address; send it again when others have ended.",
        5,
    ),
    # what is asked for
    ErrorKind("url_too_long", 414, "The address with its query is longer than it may be here."),
    ErrorKind("headers_too_large", 431, "The header fields together are larger than they may be here."),
    ErrorKind("not_found", 404, "There is nothing at this address."),
    ErrorKind(
        "repository_unknown",
        404,
        "There is no such repository; create it with `entrepot repo create USER/REPO`.",
    ),
    ErrorKind("repository_exists", 409, "A repository of this name exists already."),
    ErrorKind(
        "repository_name_invalid",
        422,
        "A repository is USER/REPO; each half is 1 to 64 of a-z A-Z 0-9 . _ -.",
    ),
    ErrorKind(
        "distribution_unknown",
        404,
        "This distribution is not known; `entrepot distro list` shows all, `entrepot distro add` adds one.",
    ),
    ErrorKind("distribution_exists", 409, "This distribution exists already."),
    ErrorKind("method_not_allowed", 405, "This address does not take this method."),
    ErrorKind("range_not_satisfiable", 416, "The range lies outside the file."),
    ErrorKind("precondition_failed", 412, "The file is not the one that the request's condition names."),
    ErrorKind("field_invalid", 422, "A field of the request is missing or malformed."),
    ErrorKind("key_unusable", 422, "Clients would not accept what this key signs; `reason` says why."),
    ErrorKind("body_malformed", 400, "The body is not what its Content-Type says."),
    # the bytes
    ErrorKind("part_only", 400, "A part of a file is not taken; send the whole file (curl: without -C)."),
    ErrorKind("encoding_unsupported", 415, "A body with a Content-Encoding is not taken; send the file as it is."),
    ErrorKind("length_mismatch", 400, "The body's length differs from Content-Length; send the file again."),
    ErrorKind(
        "upload_interrupted",
        400,
        "The connection ended before the body did; nothing was kept. Send the file again.",
    ),
    ErrorKind("upload_too_slow", 408, "The body arrived slower than the minimum rate; nothing was kept.", 10),
    ErrorKind(
        "digest_mismatch",
        422,
        "The file's digest differs from the one that was promised; send the file again.",
    ),
    ErrorKind(
        "too_large",
        413,
        "The file is larger than any file may be here; the limit is `upload_bytes_max`. Split it, or ask the operator"
        " to raise `upload.upload_bytes_max`.",
    ),
    ErrorKind("too_large_for_volume", 413, "The file can never fit the volume that holds packages."),
    ErrorKind("not_a_package", 422, "The file is not a package of the kind that its name says."),
    ErrorKind(
        "package_damaged",
        422,
        "The package is damaged: truncated, with trailing bytes, or a digest inside it is wrong.",
    ),
    ErrorKind(
        "package_hostile",
        422,
        "The package breaks a safety limit (size of its control data, number of members, names).",
    ),
    ErrorKind("package_field_invalid", 422, "A field inside the package is missing, repeated or malformed."),
    ErrorKind("package_name_invalid", 422, "A name inside the package cannot be used in a repository."),
    ErrorKind("format_mismatch", 422, "This kind of package does not belong in this distribution."),
    ErrorKind(
        "coordinates_mismatch",
        422,
        "The coordinates inside the file differ from the path it was sent to.",
    ),
    ErrorKind("inspection_failed", 422, "The package could not be read safely and was refused."),
    ErrorKind(
        "name_taken",
        409,
        "This name and version exist with other content; raise the version, or yank the old file first.",
    ),
    ErrorKind("duplicate", 422, "This very file is there already."),
    # room and trouble
    ErrorKind("no_room", 503, "There is no room for this upload right now.", 15),
    ErrorKind(
        "quota_exceeded",
        507,
        "The quota of the repository or of its owner is used up; yank packages and collect them, or raise it.",
    ),
    ErrorKind("quota_reserved", 503, "What is left of a quota is promised to uploads under way; send it again.", 5),
    ErrorKind("busy", 503, "Too many uploads at once; send it again.", 5),
    ErrorKind("stopping", 503, "This node is stopping; send it again.", 5),
    ErrorKind(
        "storage_failed",
        503,
        "The storage failed while writing; nothing was kept. Send the file again.",
        30,
    ),
    ErrorKind(
        "catalog_failed",
        503,
        "The catalog could not be written; nothing was kept. Send the file again.",
        15,
    ),
    ErrorKind(
        "signing_failed",
        503,
        "The repository's signing key cannot be made or opened; the server's log says why.",
        30,
    ),
    ErrorKind(
        "internal",
        500,
        "Something went wrong that we did not foresee; the log has the details under this request's id.",
    ),
)

TABLE: dict[str, ErrorKind] = {row.code: row for row in _ROWS}


class Refusal(Exception):
    """A request, a package or a call is refused for a reason of the table.

    Args: ``code`` a key of :data:`TABLE`; ``detail`` a sentence that says what to do (default: the table's);
    ``numbers`` the figures and
    names behind it (``needed_bytes=…``, ``field=…``), shown to the client as members of the problem document. Never a
    secret.
    """

    def __init__(self, code: str, detail: str | None = None, **numbers: int | float | str | None) -> None:
        self.kind = TABLE[code]
        self.code = code
        self.detail = detail or self.kind.text
        self.numbers = numbers
        super().__init__(f"{code}: {self.detail}")

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle by value, so that a refusal crosses a process boundary whole."""
        return _rebuild, (self.code, self.detail, self.numbers)


def _rebuild(code: str, detail: str, numbers: dict[str, int | float | str | None]) -> Refusal:
    return Refusal(code, detail, **numbers)
