"""Inspection of staged bytes in a child process, and the parent's own check of what the child says.

The child read hostile bytes; if they took it over, what comes back is hostile as well. So every name and size that the
catalog, an index or a URL will carry is checked again here.
"""

import json

from entrepot.children.errors import ChildError, ChildFailed, ChildPoolBusy, ChildPoolClosed, ChildTimedOut
from entrepot.children.pool import ChildPool
from entrepot.formats.protocol import Format, Inspection, Member, PackageFacts, Upload
from entrepot.intake.admit import check_path
from entrepot.model.errors import Refusal
from entrepot.model.limits import FIELD_BYTES_MAX, INSPECT_S_MAX, KIB, MIB, PATH_CHARS_MAX
from entrepot.observe import logs, metrics
from entrepot.storage.protocol import Staged

PRELOAD = ("entrepot.intake.child", "entrepot.formats.registry")
RESULT_TYPES = (Inspection, PackageFacts, Member)

NAME_CHARS_MAX = 1024
KEY_BYTES_MAX = 16 * KIB
FRAGMENTS_BYTES_MAX = 48 * MIB
METADATA_BYTES_MAX = 4 * FIELD_BYTES_MAX
MEMBERS_MAX = 4096
SCOPES_MAX = 64
# What no package can be blamed for.
_OUR_FAULT = ("ImportError", "ModuleNotFoundError")

_log = logs.get("intake")


class Inspector:
    """Asks children about staged files. Blocking; for worker threads."""

    def __init__(self, children: ChildPool, *, timeout_s: float = INSPECT_S_MAX) -> None:
        self._children = children
        self._timeout_s = timeout_s

    def inspect(self, format_: Format, upload: Upload, staged: Staged) -> Inspection:
        """The verdict on ``staged``.

        Raises Refusal: the format's own; ``inspection_failed`` when the child crashed, ran out of time or memory, or
        answered nonsense; ``internal`` when a library is missing here; ``busy`` and ``stopping``.
        """
        needs = format_.needs(upload.path)
        try:
            with metrics.inspection_seconds.labels(format_.name).time():
                answer = self._ask(format_.name, upload, staged, needs.head_bytes, needs.tail_bytes)
        except ChildPoolBusy as error:
            raise Refusal("busy") from error
        except ChildPoolClosed as error:
            raise Refusal("stopping") from error
        except ChildError as error:
            if not isinstance(error, ChildTimedOut):
                metrics.child_deaths_total.inc()
            # The child's own words are about hostile input: for the log, never for the client.
            _log.warning(
                "inspection failed",
                format=format_.name,
                path=upload.path,
                error=type(error).__name__,
                reason=str(error)[:2000],
            )
            if isinstance(error, ChildFailed) and error.name in _OUR_FAULT:
                text = "The server lacks a library that this kind of package needs; its log names it."
                raise Refusal("internal", text, path=upload.path) from error
            raise Refusal("inspection_failed", path=upload.path) from error
        if not isinstance(answer, Inspection):
            raise Refusal("inspection_failed", path=upload.path)
        check_inspection(answer)
        return answer

    def _ask(self, name: str, upload: Upload, staged: Staged, head_bytes: int, tail_bytes: int) -> object:
        fd = staged.fileno()
        if fd is not None:
            arguments = (name, upload, head_bytes, tail_bytes)
            return self._children.call("entrepot.intake.child:inspect", arguments, fds=(fd,), timeout_s=self._timeout_s)
        head = staged.read_at(0, min(head_bytes, upload.size_bytes))
        tail_start = max(0, upload.size_bytes - tail_bytes)
        tail = staged.read_at(tail_start, upload.size_bytes - tail_start)
        return self._children.call(
            "entrepot.intake.child:inspect_ends", (name, upload, head, tail), timeout_s=self._timeout_s
        )


def check_inspection(inspection: Inspection) -> None:
    """Bounds of everything that leaves the child. Raises Refusal("package_hostile") or ("package_name_invalid")."""
    if len(inspection.claims) > MEMBERS_MAX:
        raise _hostile("claims", MEMBERS_MAX)
    for member in inspection.claims:
        _check_member(member)
    if inspection.package is not None:
        _check_facts(inspection.package)


def _check_facts(facts: PackageFacts) -> None:
    check_path(facts.path)
    if "/" in facts.filename:
        raise Refusal("package_name_invalid", field="filename")
    check_path(facts.filename)
    for name in ("type", "name", "version", "architecture"):
        value: str = getattr(facts, name)
        missing = not value and name != "architecture"  # which not every format has
        if missing or len(value) > NAME_CHARS_MAX or not value.isprintable():
            raise Refusal(
                "package_name_invalid",
                f"The package's {name} is empty, too long or holds control characters.",
                field=name,
            )
    if len(facts.conflict_key) > PATH_CHARS_MAX * 2 or len(facts.order_key) > KEY_BYTES_MAX:
        raise _hostile("keys", KEY_BYTES_MAX)
    if sum(len(content) for content in facts.fragments.values()) > FRAGMENTS_BYTES_MAX:
        raise _hostile("index entry", FRAGMENTS_BYTES_MAX)
    if len(facts.requires) > MEMBERS_MAX or len(facts.document_scopes) > SCOPES_MAX:
        raise _hostile("members", MEMBERS_MAX)
    for member in facts.requires:
        _check_member(member)
    try:
        metadata_bytes = len(json.dumps(facts.metadata))
    except (TypeError, ValueError) as error:
        raise Refusal("inspection_failed") from error
    if metadata_bytes > METADATA_BYTES_MAX:
        raise _hostile("metadata", METADATA_BYTES_MAX)


def _check_member(member: Member) -> None:
    check_path(member.path)
    if any(len(value) > 128 for value in member.digests.values()):
        raise _hostile("digest", 128)


def _hostile(what: str, limit: int) -> Refusal:
    return Refusal("package_hostile", f"The package's {what} break a limit; build it smaller.", field=what, limit=limit)
