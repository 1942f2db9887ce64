"""All checks, in the order in which they build on each other."""

from collections.abc import Iterator
from pathlib import Path

from entrepot.cli.checks import Finding, fine, skipped
from entrepot.cli.checks.folder import check_folder, check_secrets
from entrepot.cli.checks.inside import check_backup, check_catalog, nothing_known
from entrepot.cli.checks.outside import check_listen, check_public_url, check_server
from entrepot.cli.checks.volumes import check_file_systems, check_room
from entrepot.observe.clock import SystemClock
from entrepot.settings.sources import Settings


def examine(settings: Settings, config: Path | None, ca_file: Path | None) -> Iterator[Finding]:
    """Look at everything; findings as they come. ``config`` is the settings' file when it was named, ``ca_file`` what
    clients trust.
    """
    folder, clock = settings.server.data_folder, SystemClock()
    yield fine("settings", f"they can be read; data folder {folder}, public URL {settings.server.url}")
    found = list(check_folder(folder))
    yield from found
    if (
        any(each.state == "failed" and "folder" in each.check for each in found)
        and not (folder / "catalog.db").exists()
    ):
        yield from nothing_known("secrets", "file_system", "room", "catalog", "keys", "tokens", "backup", "copies")
        return
    yield from check_secrets(folder, settings, config)
    yield from check_file_systems(folder)
    yield from check_room(folder, settings.disk)
    yield from check_catalog(folder, settings, clock)
    yield from check_backup(folder, clock)
    running, states = check_server(folder, settings.server)
    yield from states
    yield from check_listen(folder, settings, running=running)
    if running:
        yield from check_public_url(folder, settings, ca_file, clock)
    else:
        yield skipped("public_url", "nobody can be asked while the server does not run")
