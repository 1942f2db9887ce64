"""Where intake meets publication: every way in, and yank, waits here for the signed index and says how it went."""

from collections.abc import Sequence

from entrepot.catalog.files import FileRow
from entrepot.catalog.quotas import REPOSITORY
from entrepot.catalog.repositories import RepositoryRow
from entrepot.intake.intake import Receipt
from entrepot.model.nouns import Distribution, Ticket
from entrepot.observe import metrics
from entrepot.web import shapes
from entrepot.web.call import Call
from entrepot.web.problem import compact
from entrepot.web.services import Services

JSON = b"application/json; charset=utf-8"


async def settle(services: Services, tickets: Sequence[Ticket]) -> bool:
    """Wait until the changes of ``tickets`` are visible, for as long as the settings say; whether they are."""
    if not tickets:
        return True
    services.publisher.notify(tickets)
    visible = await services.publisher.live(tickets, services.settings.publication_wait_s)
    if not visible:
        metrics.answers_without_publication_total.inc()
    return visible


async def json_answer(call: Call, status: int, value: object) -> None:
    """A JSON answer that nobody may cache."""
    await call.answer(status, [(b"content-type", JSON), (b"cache-control", b"no-store")], compact(value))


async def answer_put(services: Services, call: Call, receipt: Receipt) -> None:
    """The answer to a PUT: 201 when the signed index that lists the file is being served, 202 when that takes longer or
    when the file waits for others of its set, 200 when this very file was there, or was only a claim.
    """
    indexed = await settle(services, receipt.tickets)
    if receipt.status == "created":
        status = 201 if indexed else 202
    else:
        status = 202 if receipt.status == "held" else 200
    await json_answer(call, status, receipt_shape(receipt, indexed=indexed))


def receipt_shape(receipt: Receipt, *, indexed: bool) -> shapes.Upload:
    """What our own routes say about an upload; ``indexed``: whether its tickets are visible."""
    return {
        "status": receipt.status,
        "indexed": indexed and receipt.status not in ("held", "unchecked"),
        "files": [file_shape(row) for row in receipt.files],
    }


def file_shape(row: FileRow) -> shapes.File:
    """One file as /api/v2 shows it."""
    return {
        "id": row.id,
        "name": row.name,
        "version": row.version,
        "release": row.release,
        "epoch": row.epoch,
        "architecture": row.architecture,
        "type": row.type,
        "filename": row.filename,
        "distribution": row.distribution,
        "path": row.path,
        "sha256": row.sha256,
        "size_bytes": row.size_bytes,
        "uploader": row.uploader,
        "created_at": row.created_at,
        "held_until": row.held_until,
        "yanked_at": row.yanked_at,
    }


def repository_shape(services: Services, row: RepositoryRow) -> shapes.Repository:
    """One repository as /api/v2 shows it; ``used_bytes`` and ``yanked_bytes`` together are what the quota bounds."""
    return {
        "name": str(row.name),
        "url": f"{services.settings.public_url}/{row.name}",
        "private": row.private,
        "created_at": row.created_at,
        "last_push_at": row.last_push_at,
        "files": row.file_count,
        "used_bytes": row.used_bytes,
        "yanked_bytes": row.yanked_bytes,
        "reserved_bytes": services.intake.claims.reserved_bytes(REPOSITORY, row.id),
        "quota_bytes": row.quota_bytes,
        "owner_quota_bytes": row.owner_quota_bytes,
    }


def canonical(services: Services, path: str) -> Distribution:
    """The distribution row of ``family/version``, whichever of its names was used. Raises
    Refusal("distribution_unknown").
    """
    return services.distributions.by_path(path)
