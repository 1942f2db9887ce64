"""The real zypper in a private root."""

import platform
from collections.abc import Sequence
from pathlib import Path

from tests.support.process import Result, client_env, end_agents, run

RPM_WRAPPER = """\
#!/bin/sh
# Debian's rpm refuses to install without this switch, and zypp has no way to pass one.
exec /usr/bin/rpm --force-debian "$@"
"""


class ZypperRoot:
    """A private zypper root. Methods raise `CommandError` when `check` is left true.

    Credentials go into `credentials.d` (`logins`: file name → user and password) and are named by `?credentials=NAME`
    in the repository's URL, or straight into the URL. `ca_file` becomes a hashed folder
    that each added URL names (`ssl_capath`), the only way that zypp has.
    """

    def __init__(
        self,
        root: Path,
        *,
        logins: dict[str, tuple[str, str]] | None = None,
        ca_file: Path | None = None,
        prefix: Sequence[str] = (),
        timeout_s: float = 120.0,
        auto_import: bool = True,
    ) -> None:
        self.root = root
        self.auto_import = auto_import
        self.prefix = prefix
        self.timeout_s = timeout_s
        for folder in ("home", "bin", "root/etc/zypp/repos.d", "root/etc/zypp/credentials.d", "root/var/lib/rpm"):
            (root / folder).mkdir(parents=True, exist_ok=True)
        wrapper = root / "bin/rpm"
        wrapper.write_text(RPM_WRAPPER)
        wrapper.chmod(0o755)
        # Debian's rpm keeps its database in the home folder unless told otherwise.
        (root / "home/.rpmmacros").write_text("%_dbpath /var/lib/rpm\n")
        self.config = root / "zypp.conf"
        self.config.write_text(
            f"[main]\narch = {platform.machine()}\nrepo.refresh.delay = 0\nsolver.onlyRequires = true\n"
        )
        for name, (user, password) in (logins or {}).items():
            (root / "root/etc/zypp/credentials.d" / name).write_text(f"username={user}\npassword={password}\n")
        env = client_env(root / "home", {"ZYPP_CONF": str(self.config)})
        env["PATH"] = f"{root / 'bin'}:{env['PATH']}"
        self.ca_folder: Path | None = None
        if ca_file is not None:
            self.ca_folder = root / "ca"
            self.ca_folder.mkdir(exist_ok=True)
            (self.ca_folder / "ca.pem").write_bytes(ca_file.read_bytes())
            run(["openssl", "rehash", self.ca_folder])
        self.env = env

    def run(self, *args: str, check: bool = True) -> Result:
        """Run any zypper command in this root; with ``auto_import``, accepting new signing keys."""
        accepting = ["--gpg-auto-import-keys"] if self.auto_import else []
        head = ["zypper", "--non-interactive", *accepting, "--root", f"{self.root}/root"]
        try:
            return run([*head, *args], timeout_s=self.timeout_s, check=check, env=self.env, prefix=self.prefix)
        finally:
            end_agents(self.root)

    def addrepo(self, url: str, name: str = "test", *, gpgcheck: bool = True, check: bool = True) -> Result:
        """`zypper addrepo`; `gpgcheck` means the index's signature is checked, the packages' own is not asked for."""
        flags = ["--gpgcheck-allow-unsigned-package"] if gpgcheck else ["--no-gpgcheck"]
        if self.ca_folder is not None:
            url += f"{'&' if '?' in url else '?'}ssl_capath={self.ca_folder}"
        return self.run("addrepo", "--refresh", *flags, url, name, check=check)

    def refresh(self, *, check: bool = True) -> Result:
        """Fetch and verify the metadata, whatever is in the cache."""
        return self.run("refresh", "--force", check=check)

    def search(self, *args: str) -> list[str]:
        """Sorted names of the packages on offer (zypper's exit code 104 means none)."""
        result = self.run("--quiet", "--no-refresh", "search", "--type", "package", *args, check=False)
        if result.rc == 104:
            return []
        rows = [
            [cell.strip() for cell in line.split("|")] for line in result.check().stdout.splitlines() if "|" in line
        ]
        return sorted({row[1] for row in rows if row[1] != "Name"})

    def install(self, *names: str, check: bool = True) -> Result:
        """Install for real into the root."""
        return self.run("install", "--no-recommends", *names, check=check)

    def update(self, *names: str, check: bool = True) -> Result:
        """Upgrade all or the named packages."""
        return self.run("update", "--no-recommends", *names, check=check)

    def installed(self) -> list[str]:
        """Sorted NAME-VERSION-RELEASE.ARCH of what is in the root's rpm database, without imported keys."""
        rows = run(["rpm", "--root", self.root / "root", "-qa"], env=self.env).stdout.split()
        return sorted(row for row in rows if not row.startswith("gpg-pubkey"))
