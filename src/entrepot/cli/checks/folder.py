"""The data folder and the files with secrets: who owns them, who may read them."""

import os
import pwd
import stat
from collections.abc import Iterator
from pathlib import Path

from entrepot.cli.checks import Finding, failed, fine, skipped, warning
from entrepot.client.config import config_path
from entrepot.disk import fs
from entrepot.node.folder import FORMAT, FORMAT_FILE, RESTORING
from entrepot.settings.sources import FILE_NAME, Settings

_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_OWNED = ("catalog.db", "secret", "blobs", "format", "lock", "incoming")


def check_folder(folder: Path) -> Iterator[Finding]:
    """The folder itself, its format, its owner and mode."""
    try:
        facts = fs.stat(folder)
    except FileNotFoundError:
        yield failed("folder", f"{folder} is not there", "Start the server once, or name it with --data.")
        return
    except OSError as error:
        yield failed("folder", f"{folder} cannot be looked at: {error.strerror}", "Run this as the server's user.")
        return
    try:
        text = fs.read_small(folder / FORMAT_FILE, bytes_max=64).decode("ascii", "replace").strip()
    except OSError as error:
        half = (folder / RESTORING).exists()
        what = "holds a restore that did not get to its end" if half else f"is no data folder ({error.strerror})"
        yield failed(
            "folder", f"{folder} {what}", "Name the right one with --data, or restore again into an empty one."
        )
        return
    if text != str(FORMAT):
        yield failed(
            "folder",
            f"{folder} has format {text[:20]!r}, this version knows {FORMAT}",
            "Use the Entrepot that made it.",
        )
        return
    yield from _owners(folder, facts)


def _owners(folder: Path, facts: os.stat_result) -> Iterator[Finding]:
    strange = []
    for name in _OWNED:
        path = folder / name
        try:
            if fs.stat(path).st_uid != facts.st_uid:
                strange.append(name)
        except OSError:
            continue
    owner = _user(facts.st_uid)
    if strange:
        yield failed(
            "folder", f"{', '.join(strange)} in {folder} do not belong to {owner}, who owns the folder",
            f"chown -R {owner}: {folder}",
        )  # fmt: skip
    elif os.geteuid() not in (0, facts.st_uid):
        yield failed("folder", f"{folder} belongs to {owner}, not to you", f"sudo -u {owner} entrepot doctor")
    elif facts.st_mode & _OTHERS:
        mode = stat.S_IMODE(facts.st_mode)
        yield warning("folder", f"{folder} has mode {mode:04o}: others may look into it", f"chmod 700 {folder}")
    else:
        yield fine("folder", f"{folder}, format {FORMAT}, belongs to {owner} alone")


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def check_secrets(folder: Path, settings: Settings, config: Path | None) -> Iterator[Finding]:
    """Files that hold the secret, a token or a key: nobody else may read them."""
    found, problems = 0, []
    for path, needed in _secret_files(folder, settings, config):
        try:
            facts = fs.stat(path)
        except FileNotFoundError:
            if needed:
                problems.append(
                    failed("secrets", f"{path} is missing", "Put it back; a back-up of this server has it.")
                )
            continue
        except OSError as error:
            problems.append(
                failed("secrets", f"{path} cannot be looked at: {error.strerror}", "Use the server's user.")
            )
            continue
        found += 1
        if stat.S_ISREG(facts.st_mode) and facts.st_mode & _OTHERS:
            mode = stat.S_IMODE(facts.st_mode)
            problems.append(failed("secrets", f"{path} has mode {mode:04o}: others may read it", f"chmod 600 {path}"))
    yield from problems
    if not problems and found:
        yield fine("secrets", f"{found} files with secrets are their user's alone")
    elif not problems:
        yield skipped("secrets", "there is no file with a secret")


def _secret_files(folder: Path, settings: Settings, config: Path | None) -> Iterator[tuple[Path, bool]]:
    """Each file, and whether it must be there."""
    in_settings = settings.signing.secret is not None
    yield folder / "secret", not in_settings
    yield folder / "admin-token", False
    if settings.server.tls_key is not None:
        yield settings.server.tls_key, True
    file = config or folder / FILE_NAME
    if in_settings and "ENTREPOT_SIGNING_SECRET" not in os.environ:
        yield file, True
    mine = config_path(os.environ)
    if _holds_token(mine):
        yield mine, False


def _holds_token(path: Path) -> bool:
    try:
        return b"token" in fs.read_small(path)
    except OSError:
        return False
