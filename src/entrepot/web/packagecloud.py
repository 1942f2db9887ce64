"""packagecloud's JSON shapes. Clients depend on odd details: sizes as strings, host-relative paths, exact key names."""

from datetime import UTC, datetime
from urllib.parse import quote

from entrepot.catalog.files import FileRow
from entrepot.catalog.repositories import RepositoryRow
from entrepot.model.nouns import RepositoryName
from entrepot.web.services import Services

PER_PAGE = 30
PER_PAGE_MAX = 250


def iso(seconds: int) -> str:
    """ISO 8601 with milliseconds and Z: a Java client parses nothing else."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def ago(seconds: int | None, now_s: int) -> str:
    """``3 days ago``; packagecloud's `last_push_human`."""
    if seconds is None:
        return "never"
    passed = max(0, now_s - seconds)
    for unit, length in (("day", 86_400), ("hour", 3600), ("minute", 60)):
        if passed >= length:
            count = passed // length
            return f"{count} {unit}{'' if count == 1 else 's'} ago"
    return "just now"


def repository(services: Services, row: RepositoryRow, files: int) -> dict[str, object]:
    """The union of the documented shape and the one that the CLI depends on."""
    name = str(row.name)
    base = f"/api/v1/repos/{name}"
    public = services.settings.public_url
    return {
        "name": row.name.name,
        "fqname": name,
        "path": f"/{name}",
        "url": f"{public}/{name}",
        "private": row.private,
        "created_at": iso(row.created_at),
        "updated_at": iso(row.last_push_at or row.created_at),
        "last_push_human": ago(row.last_push_at, services.clock.now_s()),
        "package_count_human": f"{files} package{'' if files == 1 else 's'}",
        "repo_type": None,
        "paths": {
            "self": base,
            "create_package": f"{base}/packages.json",
            "package_contents": f"{base}/packages/contents.json",
            "master_tokens": f"{base}/master_tokens.json",
            "create_master_token": f"{base}/master_tokens.json",
            "gpg_keys": f"{base}/gpg_keys.json",
        },
        "urls": {"install_script": f"{public}/install/repositories/{name}/script.:package_type.sh"},
    }


def _paths(services: Services, name: RepositoryName, row: FileRow) -> dict[str, object]:
    base = f"/api/v1/repos/{name}"
    place = f"{row.distribution}/{quote(row.filename)}"
    shown = f"{base}/package/{package_address(services, row)}"
    # A .deb's version ends with its revision; an .rpm's release is a segment of its own.
    separate = row.release and not row.version.endswith(f"-{row.release}")
    release = f"/{quote(str(row.release), safe='')}" if separate else ""
    package = f"{shown}/{quote(row.version, safe='')}{release}"
    return {
        "package_url": f"{package}.json",
        "versions_url": f"{shown}/versions.json",
        "package_html_url": f"/{name}/packages/{place}",
        "repository_html_url": f"/{name}",
        "downloads_detail_url": f"{package}/stats/downloads/detail.json",
        "downloads_series_url": f"{package}/stats/downloads/series/daily.json",
        "downloads_count_url": f"{package}/stats/downloads/count.json",
        "download_url": f"{services.settings.public_url}/{name}/packages/{place}/download",
        "promote_url": f"{base}/{place}/promote.json",
        "destroy_url": f"{base}/{place}",
    }


def package_address(services: Services, row: FileRow) -> str:
    """TYPE/DISTRO/VERSION/NAME/ARCH, with the distribution's type for a file whose own is no word of packagecloud's;
    without an architecture (Java) DISTRO/VERSION/GROUP/NAME.
    """
    if not row.architecture:
        return f"{row.distribution}/{quote(row.name.replace(':', '/'))}"
    kind = row.type if row.type in services.type_filters else services.distributions.by_path(row.distribution).type
    return f"{kind}/{row.distribution}/{quote(row.name, safe='')}/{quote(row.architecture, safe='')}"


def fragment(
    services: Services, name: RepositoryName, private: bool, row: FileRow, *, indexed: bool
) -> dict[str, object]:
    """PackageFragment: one file in a list."""
    return {
        "name": row.name,
        "created_at": iso(row.created_at),
        "distro_version": row.distribution,
        "version": row.version,
        "release": row.release,
        "architecture": row.architecture,
        "epoch": row.epoch,
        "scope": None,
        "private": private,
        "type": row.type,
        "filename": row.filename,
        "uploader_name": row.uploader,
        "indexed": indexed,
        "sha256sum": row.sha256,
        **{key: value for key, value in _paths(services, name, row).items() if key != "versions_url"},
    }


def details(
    services: Services, name: RepositoryName, private: bool, row: FileRow, *, indexed: bool
) -> dict[str, object]:
    """PackageDetails: one file alone, as an upload answers it."""
    metadata = row.metadata
    paths = _paths(services, name, row)
    return {
        "name": row.name,
        "distro_version": row.distribution,
        "architecture": row.architecture,
        "repository": name.name,
        "size": str(row.size_bytes),
        "summary": metadata.get("summary"),
        "filename": row.filename,
        "description": metadata.get("description"),
        "dependencies": metadata.get("dependencies") or [],
        "md5sum": row.md5,
        "sha1sum": row.sha1,
        "sha256sum": row.sha256,
        "sha512sum": row.sha512,
        "private": private,
        "uploader_name": row.uploader,
        "created_at": iso(row.created_at),
        "licenses": metadata.get("licenses") or [],
        "version": row.version,
        "release": row.release,
        "epoch": row.epoch,
        "indexed": indexed,
        "scope": None,
        "type": row.type,
        "repository_url": f"/api/v1/repos/{name}",
        "self_url": paths["package_url"],
        "total_downloads_count": 0,
        **paths,
    }


def page_headers(url: str, query: str, page: int, per_page: int, total: int) -> list[tuple[bytes, bytes]]:
    """Total, Per-Page, Max-Per-Page and Link (RFC 8288). ``page=`` stands before ``per_page=`` and no comma or
    semicolon is inside a URL: clients take these apart with regular expressions.
    """
    last = max(1, -(-total // per_page))
    wanted = {"first": 1, "prev": page - 1, "next": page + 1, "last": last}
    if page <= 1:
        del wanted["prev"]
    if page >= last:
        del wanted["next"]
    more = f"&{query}" if query else ""
    links = ", ".join(f'<{url}?page={number}&per_page={per_page}{more}>; rel="{rel}"' for rel, number in wanted.items())
    return [
        (b"total", str(total).encode()),
        (b"per-page", str(per_page).encode()),
        (b"max-per-page", str(PER_PAGE_MAX).encode()),
        (b"link", links.encode("latin-1", "replace")),
    ]
