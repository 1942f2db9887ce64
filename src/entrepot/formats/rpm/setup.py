"""Set-up lines for dnf, yum and zypper."""

from collections.abc import Iterator

from entrepot.formats.protocol import SetupInput, SetupLines
from entrepot.formats.rpm.arches import SOURCE_SCOPE
from entrepot.formats.rpm.install import SCRIPT


def setup(request: SetupInput) -> Iterator[SetupLines]:
    """One line for all; for each distribution the .repo file of dnf and yum, the line for zypper, and one to push."""
    yield SetupLines("dnf, yum, zypper, in one line", "shell", request.one_line(SCRIPT))
    for distribution in request.distributions:
        yield SetupLines(
            f"dnf, yum ({distribution})", f"/etc/yum.repos.d/{_id(request)}.repo", repo_file(request, distribution)
        )
        yield SetupLines(f"zypper ({distribution})", "shell", _zypper(request, distribution))
        push = 'curl --fail-with-body -u "$ENTREPOT_TOKEN:" -T hello-1.0-1.x86_64.rpm'
        yield SetupLines(f"push an rpm ({distribution})", "shell", f"{push} {request.base_url}/{distribution}/\n")


def repo_file(request: SetupInput, distribution: str) -> str:
    """Two sections, as packagecloud's: packages, and sources.

    repo_gpgcheck=1 verifies repomd.xml.asc, and through it every package's sha256; gpgcheck=0 because the server
    leaves packages as they were built, signed or not. Sources are off: ``dnf download --source`` and ``dnf builddep``
    turn a ``-source`` section on by themselves."""
    folder = f"{request.base_url}/{distribution}"
    label = f"{request.owner}/{request.repository}"
    return "\n".join(
        (
            _section(request, _id(request), label, f"{folder}/$basearch", 1),
            _section(request, f"{_id(request)}-source", f"{label} (sources)", f"{folder}/{SOURCE_SCOPE}", 0),
        )
    )


def _section(request: SetupInput, section: str, label: str, baseurl: str, enabled: int) -> str:
    lines = [
        f"[{section}]",
        f"name={label}",
        f"baseurl={baseurl}",
        f"enabled={enabled}",
        "repo_gpgcheck=1",
        "gpgcheck=0",
        f"gpgkey={request.base_url}/gpgkey",
        "metadata_expire=300",
    ]
    if request.private:
        lines += ["username=READ_TOKEN", "password=none"]
    return "\n".join(lines) + "\n"


def _zypper(request: SetupInput, distribution: str) -> str:
    """zypper keeps user and password of the URL in /etc/zypp/credentials.d and takes the key from repomd.xml.key."""
    scheme, separator, rest = request.base_url.partition("://")
    url = f"{scheme}{separator}{'READ_TOKEN:none@' if request.private else ''}{rest}/{distribution}/$basearch"
    return (
        f"sudo zypper addrepo --refresh '{url}' {_id(request)}\n"
        f"sudo zypper --gpg-auto-import-keys refresh {_id(request)}\n"
    )


def _id(request: SetupInput) -> str:
    return f"{request.owner}_{request.repository}"
