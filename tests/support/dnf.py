"""The real dnf and rpm in a private install root."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.support.process import Result, client_env, end_agents, run


@dataclass(frozen=True, slots=True)
class DnfRepo:
    """One repository section. `gpgkey` is a URL or empty; user name and password go as preemptive Basic."""

    baseurl: str
    name: str = "test"
    repo_gpgcheck: bool = True
    gpgcheck: bool = False
    gpgkey: str = ""
    username: str = ""
    password: str = ""
    sslcacert: Path | None = None
    extra: str = ""

    def text(self) -> str:
        """The section of the .repo file."""
        lines = [f"[{self.name}]", f"name={self.name}", f"baseurl={self.baseurl}", "enabled=1", "metadata_expire=0"]
        lines += [f"repo_gpgcheck={int(self.repo_gpgcheck)}", f"gpgcheck={int(self.gpgcheck)}"]
        settings = {"gpgkey": self.gpgkey, "username": self.username, "password": self.password}
        settings["sslcacert"] = str(self.sslcacert or "")
        lines += [f"{key}={value}" for key, value in settings.items() if value]
        return "\n".join([*lines, self.extra]) + "\n"


class DnfRoot:
    """A private dnf with its own install root, cache, repositories and keys.

    `repos` is `DnfRepo`s or the text of a .repo file. Methods raise `CommandError` when `check` is left true.
    """

    def __init__(
        self,
        root: Path,
        repos: Sequence[DnfRepo] | str,
        *,
        arch: str = "x86_64",
        prefix: Sequence[str] = (),
        timeout_s: float = 120.0,
    ) -> None:
        self.root = root
        self.prefix = prefix
        self.timeout_s = timeout_s
        self.arch = arch
        for folder in ("repos", "cache", "persist", "log", "home", "work", "root/var/lib/rpm", "vars"):
            (root / folder).mkdir(parents=True, exist_ok=True)
        # Debian's rpm keeps its database in the home folder unless told otherwise.
        (root / "home/.rpmmacros").write_text("%_dbpath /var/lib/rpm\n")
        self.config = root / "dnf.conf"
        self.config.write_text(
            "[main]\n"
            f"reposdir={root}/repos\ncachedir={root}/cache\npersistdir={root}/persist\nlogdir={root}/log\n"
            f"varsdir={root}/vars\nplugins=0\nproxy=\nretries=1\ntimeout=20\ninstall_weak_deps=0\nskip_if_unavailable=0\n"
            "assumeyes=1\nfastestmirror=0\nzchunk=0\n"
        )
        self.write_repos(repos)
        self.env = client_env(root / "home")

    def write_repos(self, repos: Sequence[DnfRepo] | str) -> None:
        """Replace the repository file."""
        text = repos if isinstance(repos, str) else "\n".join(repo.text() for repo in repos)
        (self.root / "repos/test.repo").write_text(text)

    def run(self, *args: str, check: bool = True) -> Result:
        """Run any dnf command in this root."""
        head = [
            "dnf",
            "-c",
            str(self.config),
            f"--installroot={self.root}/root",
            "--releasever=1",
            f"--forcearch={self.arch}",
        ]
        try:
            return run(
                [*head, *args],
                timeout_s=self.timeout_s,
                check=check,
                env=self.env,
                cwd=self.root / "work",
                prefix=self.prefix,
            )
        finally:
            end_agents(self.root)

    def makecache(self, *, check: bool = True) -> Result:
        """Fetch and verify the metadata, whatever is in the cache."""
        return self.run("makecache", "--refresh", check=check)

    def repoquery(self, *args: str) -> list[str]:
        """Sorted output lines of `dnf repoquery`; by default NAME-EPOCH:VERSION-RELEASE.ARCH of all."""
        return sorted(set(self.run("--quiet", "repoquery", *args).stdout.splitlines()))

    def install(self, *names: str, check: bool = True) -> Result:
        """Install for real into the root."""
        return self.run("install", *names, check=check)

    def upgrade(self, *names: str, check: bool = True) -> Result:
        """Refresh the metadata, then upgrade all or the named packages."""
        return self.run("--refresh", "upgrade", *names, check=check)

    def download(self, name: str, *, check: bool = True) -> Result:
        """Fetch the package and verify it against the index, without installing; see `downloaded`."""
        return self.run("install", "--downloadonly", "--downloaddir", str(self.root / "work"), name, check=check)

    def downloaded(self) -> list[str]:
        """Names of the files that download left, sorted."""
        return sorted(path.name for path in (self.root / "work").iterdir())

    def installed(self) -> list[str]:
        """Sorted NAME-VERSION-RELEASE.ARCH of what is in the root's rpm database, without imported keys."""
        rows = run(["rpm", "--root", self.root / "root", "-qa"], env=self.env).stdout.split()
        return sorted(row for row in rows if not row.startswith("gpg-pubkey"))
