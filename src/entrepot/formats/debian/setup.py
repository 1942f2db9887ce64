"""Lines for people to paste: sources.list(5) in both styles, apt_auth.conf(5), dput.cf(5) and curl."""

from collections.abc import Iterator
from urllib.parse import urlsplit

from entrepot.formats.debian.install import SCRIPT
from entrepot.formats.debian.names import COMPONENT
from entrepot.formats.protocol import SetupInput, SetupLines

_TOKEN = "TOKEN"  # where the user's own token goes; none is ever printed


def setup(request: SetupInput) -> Iterator[SetupLines]:
    """See :meth:`entrepot.formats.protocol.Format.setup`."""
    stem = f"{request.owner}_{request.repository}"
    keyring = f"/etc/apt/keyrings/{stem}.asc"
    url = urlsplit(request.base_url)
    credentials = f"-u {_TOKEN}: " if request.private else ""
    yield SetupLines("apt, in one line", "shell", request.one_line(SCRIPT))
    yield SetupLines(
        "apt key",
        "shell",
        "sudo install -d -m 0755 /etc/apt/keyrings\n"
        f"curl -fsSL {credentials}{request.base_url}/gpgkey | sudo tee {keyring} > /dev/null\n",
    )
    if request.private:
        # Without a scheme apt uses an entry for https only (apt_auth.conf(5)).
        scheme = "" if url.scheme == "https" else f"{url.scheme}://"
        machine = f"machine {scheme}{url.netloc}{url.path}/ login {_TOKEN} password x\n"
        yield SetupLines("apt token", f"/etc/apt/auth.conf.d/{stem}.conf", machine)
    for distribution in request.distributions:
        family, _, codename = distribution.partition("/")
        yield SetupLines(
            f"apt, {distribution}",
            f"/etc/apt/sources.list.d/{stem}.sources",
            f"Types: deb deb-src\nURIs: {request.base_url}/{family}/\nSuites: {codename}\nComponents: {COMPONENT}\n"
            f"Signed-By: {keyring}\n",
        )
        yield SetupLines(
            f"apt, {distribution}, one line",
            f"/etc/apt/sources.list.d/{stem}.list",
            f"deb [signed-by={keyring}] {request.base_url}/{family}/ {codename} {COMPONENT}\n",
        )
        yield SetupLines(
            f"curl, {distribution}",
            "shell",
            f"curl --fail-with-body -sS -T PACKAGE.deb -u {_TOKEN}: {request.base_url}/{distribution}/\n",
        )
        yield SetupLines(
            f"dput, {distribution}",
            "~/.dput.cf",
            f"[{request.owner}-{request.repository}-{codename}]\nmethod = {url.scheme}\nfqdn = {url.netloc}\n"
            f"incoming = {url.path}/{distribution}\n"
            "# dput asks for a password: paste a token there\nlogin = token\nallow_unsigned_uploads = 1\n",
        )
