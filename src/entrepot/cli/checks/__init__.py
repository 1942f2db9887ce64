"""What ``entrepot doctor`` looks at: one table, check → what is looked at → how to mend it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

CHECKS: Mapping[str, tuple[str, str]] = {
    "settings": (
        "The settings can be read, and say by which URL clients come.",
        "The line names the setting. `public_url` belongs into `[server]` of the TOML file.",
    ),
    "folder": (
        "The data folder is one, of a format that this version knows, and all in it belongs to one user.",
        "`sudo chown -R entrepot: DIR` after a restore or a copy by root; `chmod 700 DIR`.",
    ),
    "secrets": (
        "Only their user can read files with secrets: `secret`, `admin-token`, the TLS key, settings, `client.toml`.",
        "`chmod 600 FILE`.",
    ),
    "file_system": (
        "The data folder's file systems have unnamed files (O_TMPFILE), fallocate, flock and syncs, and are local.",
        "Use ext4, xfs or btrfs on a local disk. What is weaker elsewhere stands in operate.md.",
    ),
    "room": (
        "There is room above the thresholds, in bytes and inodes.",
        "`entrepot disk` says what holds the bytes and what each remedy frees.",
    ),
    "clock": (
        "The clock is kept right by a time service, and no index is dated ahead of it: apt refuses those.",
        "Install chrony or systemd-timesyncd. For an index that is ahead see `EntrepotIndexDateAhead`.",
    ),
    "catalog": (
        "The catalog opens, and its schema is one that this version knows.",
        "Start the version that last ran, or restore a back-up.",
    ),
    "keys": (
        "The secret opens every signing key, and none ends soon.",
        "Put the right `secret` back. `entrepot key rotate USER/REPO` before a key ends.",
    ),
    "tokens": (
        "There is a valid administrator's token, and no token in use ends within two weeks.",
        "`entrepot token create` makes new ones.",
    ),
    "backup": ("There is a back-up, not older than two days.", "`entrepot backup DEST`, from a timer."),
    "copies": (
        "No package or index is known to be damaged. `entrepot verify` reads them all.",
        "Put it back from a back-up: operate.md, When packages are damaged.",
    ),
    "server": (
        "The server runs, answers its probes, and is of this version.",
        "Start it; its last lines say why it ended. After an upgrade, restart it.",
    ),
    "listen": (
        "The address in `listen` leads to the server of this data folder; if it is stopped, the address is free.",
        "`ss -ltnp` shows who has the port.",
    ),
    "public_url": (
        "The public URL leads to this very server, with TLS as clients verify it, and the clocks there and here agree.",
        "Look at DNS, the proxy's upstream and the certificate. From another network ask `/livez` there.",
    ),
}
"""Every check, for docs/troubleshoot.md."""

State = Literal["ok", "warning", "failed", "skipped"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What one look came to: ``check`` is a key of :data:`CHECKS`, ``text`` a sentence, ``remedy`` what to do (empty
    when all is well).
    """

    check: str
    state: State
    text: str
    remedy: str = ""

    def __post_init__(self) -> None:
        if self.check not in CHECKS:
            raise KeyError(self.check)


def fine(check: str, text: str) -> Finding:
    """All is well."""
    return Finding(check, "ok", text)


def skipped(check: str, text: str) -> Finding:
    """It could not be looked at."""
    return Finding(check, "skipped", text)


def warning(check: str, text: str, remedy: str = "") -> Finding:
    """It works, and may not for long."""
    return Finding(check, "warning", text, remedy or CHECKS[check][1])


def failed(check: str, text: str, remedy: str = "") -> Finding:
    """It does not work."""
    return Finding(check, "failed", text, remedy or CHECKS[check][1])
