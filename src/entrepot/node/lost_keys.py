"""Whether the server's secret opens the signing keys in its catalog; tried at each start, before anybody pushes."""

from entrepot.catalog import lost_keys
from entrepot.catalog.engine import Catalog
from entrepot.node.folder import SECRET_REMEDY, FolderError
from entrepot.observe import logs
from entrepot.observe.clock import Clock
from entrepot.signing.seal import Sealer

_log = logs.get("node")

REPOSITORIES_SHOWN_MAX = 20


def check_keys(catalog: Catalog, sealer: Sealer, clock: Clock, where: str, *, replace: bool) -> None:
    """Try every key that is in use. Args: ``where`` the secret is from; ``replace`` those keys that it does not open:
    they are retired, and their repositories get new ones.

    Raises FolderError when the secret opens none of them. Where it opens some, the log names the others' repositories:
    a server that once ran with another secret has such keys, and the rest is worth serving.
    """
    count = 0
    lost = []
    with catalog.read() as conn:
        for key in lost_keys.sealed_keys(conn):
            count += 1
            if not sealer.fits(key.secret_sealed, key.fingerprint):
                lost.append(key)
    if not lost:
        return
    shown = sorted({key.repository for key in lost if key.repository})[:REPOSITORIES_SHOWN_MAX]
    if replace:
        catalog.submit(lambda conn: lost_keys.give_up(conn, lost, clock.now_s()))
        _log.warning("signing keys given up", keys=len(lost), repositories=", ".join(shown))
    elif len(lost) == count:
        raise FolderError(
            f"{where} opens none of the signing keys in the catalog: it is another server's. {SECRET_REMEDY}"
        )
    else:
        _log.error("signing keys cannot be opened", keys=len(lost), repositories=", ".join(shown))
