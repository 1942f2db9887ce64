"""Whether the secret opens the signing keys that a catalog holds."""

from pathlib import Path

from entrepot.catalog.beside import CatalogFile, CatalogFileError
from entrepot.disk import fs
from entrepot.settings.sources import Settings
from entrepot.signing.seal import Sealer

SECRET = "secret"


def secret_of(folder: Path, settings: Settings) -> bytes | None:
    """The secret that a server on this folder uses: the setting's, else that of the file; None when there is neither.

    Raises OSError for a file that cannot be read, ValueError for one that holds something else.
    """
    if settings.signing.secret is not None:
        return bytes.fromhex(settings.signing.secret.get_secret_value())
    try:
        return bytes.fromhex(fs.read_small(folder / SECRET, bytes_max=1024).decode("ascii").strip())
    except FileNotFoundError:
        return None


def key_faults(folder: Path, settings: Settings) -> list[str]:
    """What keeps the signing keys of ``folder``'s catalog from being used, in sentences."""
    try:
        secret = secret_of(folder, settings)
        with CatalogFile(folder / "catalog.db") as catalog:
            keys = catalog.sealed_keys()
        sealer = Sealer(secret) if secret is not None else None
    except (OSError, ValueError) as error:
        return [f"{folder / SECRET} cannot be used: {error}"]
    except CatalogFileError as error:
        return [str(error)]
    if sealer is None:
        return [f"{folder / SECRET} is missing: the signing keys cannot be opened without it"] if keys else []
    return [
        f"the secret does not open signing key {fingerprint}"
        for fingerprint, sealed in keys
        if not sealer.fits(sealed, fingerprint)
    ]
