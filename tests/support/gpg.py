"""OpenPGP keys in a GNUPGHOME of their own, for signing what the tests serve and upload."""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.process import Result, client_env, run


@dataclass(frozen=True, slots=True)
class Signature:
    """A detached armoured signature and an inline signed text of the same bytes."""

    detached: bytes
    inline: bytes


class GpgHome:
    """A GNUPGHOME with one signing key without a passphrase; close() ends its agent and removes it.

    `algorithm` is a gpg algorithm name: `rsa2048`, `rsa3072`, `ed25519`. The folder lies directly in the temporary
    folder, because the path of the agent's socket must be short.
    """

    def __init__(self, user: str = "Test Key <key@example.org>", algorithm: str = "rsa2048") -> None:
        self.folder = tempfile.TemporaryDirectory(prefix="gpg-")
        self.path = Path(self.folder.name)
        self.user = user
        # As slow as may be is gpg's default for a passphrase; the tests' need not stand against anybody.
        (self.path / "gpg-agent.conf").write_text("s2k-count 65536\n")
        self.gpg("--quick-generate-key", user, algorithm, "sign", "never")
        listing = self.gpg("--with-colons", "--list-keys").stdout
        self.fingerprint = next(line.split(":")[9] for line in listing.splitlines() if line.startswith("fpr:"))

    def gpg(self, *args: str | Path, stdin: bytes | None = None, check: bool = True) -> Result:
        """Run gpg in this home, without asking anything."""
        head = ["gpg", "--batch", "--yes", "--no-tty", "--pinentry-mode", "loopback", "--passphrase", ""]
        return run([*head, *args], env=self.env(), stdin=stdin, check=check)

    def env(self) -> dict[str, str]:
        """The environment that makes gpg use this home."""
        return client_env(self.path, {"GNUPGHOME": str(self.path)})

    def public_key(self) -> bytes:
        """The armoured public key."""
        return self.gpg("--armor", "--export", self.fingerprint).stdout.encode()

    def sign(self, data: bytes) -> Signature:
        """Sign bytes both ways, as Release.gpg or repomd.xml.asc (detached) and InRelease (inline) need."""
        detached = self.gpg("--armor", "--detach-sign", stdin=data).stdout.encode()
        return Signature(detached, self.gpg("--armor", "--clear-sign", stdin=data).stdout.encode())

    def close(self) -> None:
        """End the agent and remove the home."""
        run(["gpgconf", "--kill", "all"], env=self.env(), check=False)
        self.folder.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
