"""What the catalog knows: its schema, keys, tokens, dates and damage; and when the last back-up was."""

from collections.abc import Iterator
from pathlib import Path

from entrepot.catalog.beside import CatalogFile, CatalogFileError
from entrepot.cli import frame
from entrepot.cli.checks import Finding, failed, fine, skipped, warning
from entrepot.cli.keycheck import key_faults
from entrepot.model.units import size_text
from entrepot.node.dates import AHEAD_S_MAX
from entrepot.node.folder import DataFolder
from entrepot.observe.clock import Clock, is_synchronised
from entrepot.settings.sources import Settings

DAY_S = 86_400
KEY_ENDS_S = 30 * DAY_S
TOKEN_ENDS_S = 14 * DAY_S
BACKUP_OLD_S = 2 * DAY_S
DIFFERENCE_S_MAX = 5.0


def check_catalog(folder: Path, settings: Settings, clock: Clock) -> Iterator[Finding]:
    """Everything that is asked of the catalog, which may be in use."""
    now_s = clock.now_s()
    try:
        with CatalogFile(folder / "catalog.db") as catalog:
            if catalog.too_new:
                yield failed("catalog", f"its schema {catalog.revision} is of a later version")
                return
            yield fine("catalog", f"schema {catalog.revision}, {size_text(catalog.size_bytes())}")
            yield from _keys(folder, settings, catalog, now_s)
            yield from _tokens(catalog, now_s)
            yield from _dates(catalog, now_s)
            yield from _copies(catalog)
    except CatalogFileError as error:
        yield failed("catalog", str(error))


def _keys(folder: Path, settings: Settings, catalog: CatalogFile, now_s: int) -> Iterator[Finding]:
    faults = key_faults(folder, settings)
    for line in faults:
        yield failed("keys", line)
    ending = catalog.keys_ending(now_s + KEY_ENDS_S)
    for fingerprint, ends_s in ending:
        if ends_s <= now_s:
            yield failed("keys", f"{fingerprint} has ended: clients refuse what it signs")
        else:
            yield warning("keys", f"{fingerprint} ends in {(ends_s - now_s) // DAY_S} days")
    if not faults and not ending:
        yield fine("keys", f"the secret opens all {len(catalog.sealed_keys())} signing keys, and none ends soon")


def _tokens(catalog: CatalogFile, now_s: int) -> Iterator[Finding]:
    if not catalog.operator_tokens(now_s):
        yield failed(
            "tokens",
            "there is no valid administrator's token",
            "Restart the server: it writes a new one to admin-token.",
        )
        return
    ending = catalog.tokens_ending(now_s, now_s + TOKEN_ENDS_S)
    if ending:
        yield warning("tokens", f"these end within two weeks: {', '.join(ending)}")
    else:
        yield fine("tokens", "there is an administrator's, and none in use ends soon")


def _dates(catalog: CatalogFile, now_s: int) -> Iterator[Finding]:
    ahead_s = catalog.newest_date() - now_s
    if ahead_s > AHEAD_S_MAX:
        yield failed("clock", f"an index is dated {ahead_s} s ahead of this machine's clock: apt refuses it until then")
    synchronised = is_synchronised()
    if synchronised is False:
        yield warning("clock", "no time service keeps this machine's clock, says the kernel")
    elif ahead_s <= AHEAD_S_MAX:
        how = "is kept by a time service" if synchronised else "was not asked"
        yield fine("clock", f"no index is dated ahead; the clock {how}")


def _copies(catalog: CatalogFile) -> Iterator[Finding]:
    damaged = catalog.damaged()
    if damaged:
        yield failed("copies", f"{damaged} packages or indexes are missing or damaged; /statusz names them under scrub")
    else:
        yield fine("copies", "none is known to be damaged")


def check_backup(folder: Path, clock: Clock) -> Iterator[Finding]:
    """When the last one was made."""
    made_at = DataFolder.last_backup(folder)
    if made_at is None:
        yield warning("backup", "none is known of")
        return
    when = frame.moment(made_at)
    if clock.now_s() - made_at > BACKUP_OLD_S:
        yield warning("backup", f"the last complete one is of {when} UTC")
    else:
        yield fine("backup", f"the last complete one is of {when} UTC")


def compare_clocks(there_s: float, here_s: float, where: str) -> Iterator[Finding]:
    """Another machine's clock against this one's."""
    difference_s = here_s - there_s
    if abs(difference_s) > DIFFERENCE_S_MAX:
        side = "ahead of" if difference_s > 0 else "behind"
        yield warning("clock", f"this machine's clock is {abs(difference_s):.0f} s {side} that of {where}")


def nothing_known(*checks: str) -> Iterator[Finding]:
    """For checks that need a folder, where there is none."""
    for check in checks:
        yield skipped(check, "there is no data folder to look into")
