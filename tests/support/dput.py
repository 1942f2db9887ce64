"""The real dput with its HTTP method."""

from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from tests.support.process import Result, client_env, run


class DputClient:
    """dput with one host, `test`.

    `url` is where files are PUT; the password is given on standard input when asked for.
    """

    def __init__(
        self,
        root: Path,
        url: str,
        *,
        login: str = "",
        password: str = "",
        ca_file: Path | None = None,
        prefix: Sequence[str] = (),
        timeout_s: float = 120.0,
    ) -> None:
        self.prefix = prefix
        self.timeout_s = timeout_s
        self.password = password
        root.mkdir(parents=True, exist_ok=True)
        parts = urlsplit(url)
        lines = ["[test]", f"fqdn = {parts.netloc}", f"method = {parts.scheme}", f"incoming = {parts.path.strip('/')}"]
        lines += [f"login = {login}"] if login else []
        lines += ["allow_unsigned_uploads = 1", "run_dinstall = 0", "progress_indicator = 0"]
        self.config = root / "dput.cf"
        self.config.write_text("\n".join(lines) + "\n")
        self.env = client_env(root, {"SSL_CERT_FILE": str(ca_file)} if ca_file else None)

    def upload(self, changes: Path, *, force: bool = True, check: bool = True) -> Result:
        """Upload everything that a .changes names. `force` ignores dput's own `.upload` log of an earlier try."""
        flags = ["--unchecked", *(["--force"] if force else [])]
        return run(
            ["dput", "--config", self.config, *flags, "test", changes],
            timeout_s=self.timeout_s,
            check=check,
            env=self.env,
            cwd=changes.parent,
            stdin=f"{self.password}\n".encode() * 8,
            prefix=self.prefix,
        )
