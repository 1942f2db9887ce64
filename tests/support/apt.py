"""The real apt-get, apt-cache and dpkg in a private root that knows nothing of the host's sources, keys and
packages.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.support.process import Result, client_env, run

CONFIG = """\
Dir "{root}";
Dir::State::status "{root}/var/lib/dpkg/status";
Dir::Bin::methods "/usr/lib/apt/methods";
APT::Architecture "{arch}";
APT::Architectures {{ {arches} }};
APT::Sandbox::User "root";
APT::Get::Assume-Yes "true";
APT::Install-Recommends "false";
Acquire::Languages "none";
Acquire::Retries "0";
Acquire::http::Proxy "DIRECT";
Acquire::https::Proxy "DIRECT";
Acquire::http::Timeout "20";
Acquire::https::Timeout "20";
DPkg::Use-Pty "false";
DPkg::Options {{ "--root={root}"; "--force-not-root"; "--force-script-chrootless"; "--force-unsafe-io";
  "--log={root}/var/log/dpkg.log"; }};
"""
FOLDERS = (
    "etc/apt/apt.conf.d",
    "etc/apt/auth.conf.d",
    "etc/apt/preferences.d",
    "etc/apt/sources.list.d",
    "etc/apt/trusted.gpg.d",
    "home",
    "tmp",
    "usr/bin",
    "var/cache/apt/archives/partial",
    "var/lib/apt/lists/partial",
    "var/lib/dpkg/info",
    "var/lib/dpkg/updates",
    "var/lib/dpkg/triggers",
    "var/log/apt",
    "work",
)


@dataclass(frozen=True, slots=True)
class AptLogin:
    """One line of apt's auth.conf. `machine` is `HOST[:PORT][/PATH]`; apt needs `http://` before it for plain HTTP."""

    machine: str
    login: str
    password: str = "irrelevant"  # the value is only a place holder

    def line(self) -> str:
        """The line as apt reads it."""
        return f"machine {self.machine} login {self.login} password {self.password}\n"


class AptRoot:
    """A private root. `sources` is deb822 text or one-line entries (told apart by a leading `Types:`).

    `prefix` goes before each command (a network namespace). Each method raises `CommandError` with the full output when
    `check` is left true and the command fails.
    """

    def __init__(
        self,
        root: Path,
        sources: str,
        *,
        logins: Sequence[AptLogin] = (),
        ca_file: Path | None = None,
        arch: str = "amd64",
        foreign_arches: Sequence[str] = (),
        config: str = "",
        prefix: Sequence[str] = (),
        timeout_s: float = 90.0,
    ) -> None:
        self.root = root
        self.prefix = prefix
        self.timeout_s = timeout_s
        for folder in FOLDERS:
            (root / folder).mkdir(parents=True, exist_ok=True)
        (root / "var/lib/dpkg/status").touch()
        arches = " ".join(f'"{name}";' for name in (arch, *foreign_arches))
        text = CONFIG.format(root=root, arch=arch, arches=arches)
        if ca_file is not None:
            text += f'Acquire::https::CaInfo "{ca_file}";\n'
        self.config = root / "etc/apt/private.conf"
        self.config.write_text(text + config)
        self.write_sources(sources)
        self.write_logins(logins)
        self.env = client_env(root / "home", {"APT_CONFIG": str(self.config), "TMPDIR": str(root / "tmp")})

    def write_sources(self, sources: str) -> None:
        """Replace the sources; deb822 text begins with `Types:`."""
        folder = self.root / "etc/apt/sources.list.d"
        for old in folder.iterdir():
            old.unlink()
        (folder / f"test.{'sources' if sources.lstrip().startswith('Types:') else 'list'}").write_text(sources + "\n")

    def write_logins(self, logins: Sequence[AptLogin]) -> None:
        """Replace the entries of auth.conf.d."""
        path = self.root / "etc/apt/auth.conf.d/test.conf"
        path.write_text("".join(login.line() for login in logins))
        path.chmod(0o600)

    def run(self, *args: str | Path, check: bool = True) -> Result:
        """Run any apt command in this root."""
        return run(
            args, timeout_s=self.timeout_s, check=check, env=self.env, cwd=self.root / "work", prefix=self.prefix
        )

    def update(self, *, check: bool = True) -> Result:
        """`apt-get update`, where any index that could not be fetched or verified is a failure and not a warning."""
        return self.run("apt-get", "update", "--error-on=any", check=check)

    def pkgnames(self) -> list[str]:
        """Names of all known packages, sorted."""
        return sorted(self.run("apt-cache", "pkgnames").stdout.split())

    def policy(self, name: str) -> Result:
        """`apt-cache policy NAME`."""
        return self.run("apt-cache", "policy", name)

    def candidate(self, name: str) -> str | None:
        """The version that would be installed, or None."""
        for line in self.policy(name).stdout.splitlines():
            key, _, value = line.strip().partition(": ")
            if key == "Candidate":
                return None if value == "(none)" else value
        return None

    def versions(self, name: str) -> list[str]:
        """All versions on offer, newest first as apt orders them."""
        lines = self.run("apt-cache", "madison", name, check=False).stdout.splitlines()
        return [line.split("|")[1].strip() for line in lines if line.rstrip().endswith("Packages")]

    def show(self, name: str) -> str:
        """The stanzas of a package as apt holds them."""
        return self.run("apt-cache", "show", name).stdout

    def download(self, name: str, *, check: bool = True) -> Result:
        """`apt-get download NAME` into `work/`; see `work_files`."""
        return self.run("apt-get", "download", name, check=check)

    def source(self, name: str, *, download_only: bool = False, check: bool = True) -> Result:
        """`apt-get source NAME` into `work/`: fetched, verified and, unless `download_only`, unpacked."""
        return self.run("apt-get", "source", *(["--download-only"] if download_only else []), name, check=check)

    def install(self, *names: str, check: bool = True) -> Result:
        """Install for real into the root (`NAME` or `NAME=VERSION`)."""
        return self.run("apt-get", "install", *names, check=check)

    def upgrade(self, *, check: bool = True) -> Result:
        """Upgrade everything that is installed in the root."""
        return self.run("apt-get", "upgrade", check=check)

    def installed(self) -> dict[str, str]:
        """Version by name of what is installed in the root, from dpkg's own status."""
        shown = "${db:Status-Status} ${Package} ${Version}\n"
        listing = self.run("dpkg-query", f"--root={self.root}", "--show", f"--showformat={shown}", check=False)
        rows = [line.split(" ") for line in listing.stdout.splitlines()]
        return {row[1]: row[2] for row in rows if row[0] == "installed"}

    def work_files(self) -> list[str]:
        """Names of the files that download and source left in `work/`, sorted."""
        return sorted(path.name for path in (self.root / "work").iterdir())
