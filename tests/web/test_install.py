"""``/install/repositories/…`` over HTTP: every system, no text of a request in an answer, and machines' tokens."""

import re
import urllib.parse
from typing import Any

import httpx
import pytest

from tests.support.server import ServerProcess
from tests.web.conftest import admin, anybody, basic, make_repository, make_token, server

__all__ = ["admin", "anybody", "server"]

# What machines of each family say: os-release's ID and VERSION_CODENAME or VERSION_ID, lsb_release, Ohai, Facter.
DEB_SYSTEMS = [
    ("debian", "bookworm", "debian/bookworm"),
    ("debian", "12", "debian/bookworm"),
    ("Debian", "12.9", "debian/bookworm"),
    ("debian", "trixie/sid", "debian/trixie"),
    ("ubuntu", "noble", "ubuntu/noble"),
    ("Ubuntu", "24.04.1", "ubuntu/noble"),
    ("linuxmint", "virginia", "linuxmint/virginia"),
    ("LinuxMint", "21.3", "linuxmint/virginia"),
    ("elementary OS", "7.1", "elementaryos/horus"),
    ("raspbian", "bullseye", "raspbian/bullseye"),
    ("any", "any", "any/any"),
]
RPM_SYSTEMS = [
    ("centos", "7.9.2009", "el/7"),
    ("CentOS", "8", "el/8"),
    ("rhel", "9.4", "el/9"),
    ("RedHatEnterpriseServer", "7Server", "el/7"),
    ("rocky", "9.3", "el/9"),
    ("almalinux", "10.0", "el/10"),
    ("ol", "8.10", "ol/8"),
    ("fedora", "41", "fedora/41"),
    ("amzn", "2018.03", "amazon/1"),
    ("amzn", "2", "amazon/2"),
    ("amzn", "2023", "amazon/2023"),
    ("opensuse-leap", "15.6", "opensuse/15.6"),
    ("sles", "15.4", "sles/15.4"),
    ("sles", "15-SP5", "sles/15.5"),
    ("poky", "5.0.3", "poky/scarthgap"),
    ("scientific", "7.9", "scientific/7"),
    ("rpm_any", "rpm_any", "rpm_any/rpm_any"),
]
UNKNOWN = [
    ("plan9", "4"),
    ("debian", "slink"),
    ("ubuntu", "24"),
    ("sles", "15.99"),
    ("opensuse-tumbleweed", "20260101"),
    ("java", "maven2"),
    ("python", "1"),
    ("debian", ""),
    ("", ""),
]
HOSTILE = [
    "'",
    '"',
    "$(id)",
    "`id`",
    ";id",
    "|id",
    "\n id",
    "bookworm\nevil",
    "../..",
    "%00",
    "a b",
    "\\",
    "\x1b[31m",
    "é" * 9,
]


def install(name: str) -> str:
    """Where set-up files are."""
    return f"/install/repositories/{name}"


@pytest.mark.parametrize(("os", "dist", "path"), DEB_SYSTEMS)
def test_systems_of_apt(admin: httpx.Client, anybody: httpx.Client, os: str, dist: str, path: str) -> None:
    """Goal: each system gets the lines of its own distribution, in both styles, and the key."""
    name, said = _shared(admin), {"os": os, "dist": dist, "name": "host.example.org", "source": "script"}
    family, _, codename = path.partition("/")
    lines = anybody.get(f"{install(name)}/config_file.list", params=said).raise_for_status()
    assert lines.headers["content-type"] == "text/apt_source_list; charset=utf-8"
    base = str(anybody.base_url).rstrip("/")
    keyring = f"/etc/apt/keyrings/{name.replace('/', '_')}-archive-keyring"
    assert lines.text.splitlines()[1:] == [
        f"{kind} [signed-by={keyring}.gpg] {base}/{name}/{family}/ {codename} main" for kind in ("deb", "deb-src")
    ]
    stanza = anybody.get(f"{install(name)}/config_file.sources", params={**said, "keyring": "asc"}).text
    assert f"URIs: {base}/{name}/{family}/\nSuites: {codename}\n" in stanza
    assert f"Signed-By: {keyring}.asc\n" in stanza
    assert anybody.get(f"{install(name)}/gpg_key_url.list", params=said).text == f"{base}/{name}/gpgkey\n"
    assert anybody.get(f"{install(name)}/apt_auth_conf", params=said).text == ""


@pytest.mark.parametrize(("os", "dist", "path"), RPM_SYSTEMS)
def test_systems_of_dnf_and_zypper(admin: httpx.Client, anybody: httpx.Client, os: str, dist: str, path: str) -> None:
    """Goal: each system gets both sections of its own distribution, and what configuration tools ask for."""
    name, said = _shared(admin), {"os": os, "dist": dist}
    base = f"{str(anybody.base_url).rstrip('/')}/{name}"
    found = anybody.get(f"{install(name)}/config_file.repo", params=said).raise_for_status()
    assert found.headers["content-type"] == "text/repo; charset=utf-8"
    stem = name.replace("/", "_")
    assert re.findall(r"^\[(.*)\]$", found.text, re.MULTILINE) == [stem, f"{stem}-source"]
    assert re.findall(r"^baseurl=(.*)$", found.text, re.MULTILINE) == [
        f"{base}/{path}/$basearch",
        f"{base}/{path}/SRPMS",
    ]
    assert found.text.count(f"repo_gpgcheck=1\ngpgcheck=0\ngpgkey={base}/gpgkey\n") == 2
    assert anybody.get(f"{install(name)}/rpm_base_url", params=said).text == f"{base}/{path}/$basearch\n"
    assert anybody.get(f"{install(name)}/gpg_key_url.repo", params=said).text == f"{base}/gpgkey\n"


@pytest.mark.parametrize(("os", "dist"), UNKNOWN)
def test_unknown_systems_get_404_and_a_sentence(admin: httpx.Client, anybody: httpx.Client, os: str, dist: str) -> None:
    """Goal: scripts look for 404; people need to hear what to do. Method: every file that is for a system."""
    name = _shared(admin)
    for file in ("config_file.list", "config_file.sources", "gpg_key_url.list", "apt_auth_conf", "config_file.repo"):
        answer = anybody.get(f"{install(name)}/{file}", params={"os": os, "dist": dist})
        assert (answer.status_code, answer.headers["content-type"]) == (404, "text/plain; charset=utf-8")
        assert "entrepot distro add" in answer.text
    assert anybody.get(f"{install(name)}/config_file.repo", params={"os": "debian", "dist": "12"}).status_code == 404
    assert anybody.get(f"{install(name)}/config_file.list", params={"os": "el", "dist": "9"}).status_code == 404


@pytest.mark.parametrize("text", HOSTILE)
def test_no_text_of_a_request_gets_into_an_answer(admin: httpx.Client, anybody: httpx.Client, text: str) -> None:
    """Goal: whatever a parameter holds, an answer is the usual one or a refusal without it. Method: each parameter of
    each file; compared with the answer to a plain request, and refusals with another.
    """
    name = _shared(admin)
    good = {"os": "debian", "dist": "bookworm", "name": "x"}
    for file in ("config_file.list", "config_file.sources", "gpg_key_url.list", "apt_auth_conf", "script.deb.sh"):
        path = f"{install(name)}/{file}"
        usual = anybody.get(path, params=good).text
        for field in ("os", "dist", "name", "source", "keyring", "auth", "any", "style"):
            answer = anybody.get(path, params={**good, field: text})
            if answer.status_code == 200:
                assert answer.text == usual, (file, field)
            else:
                assert answer.status_code in (400, 404, 422), (file, field)
                harmless = anybody.get(path, params={**good, field: "nonsense"})
                assert answer.text == harmless.text, (file, field)
    assert anybody.get(f"{install(name)}/{urllib.parse.quote(text, safe='')}").status_code == 404
    assert anybody.get(f"/install/repositories/{urllib.parse.quote(text, safe='')}/x/script.deb.sh").status_code in (
        401,
        404,
    )


def test_scripts_hold_the_addresses_and_no_more(admin: httpx.Client, anybody: httpx.Client) -> None:
    """Goal: script and script with any differ in one variable and their own address; nobody may cache them."""
    name = _shared(admin)
    for kind, word in (("deb", "any"), ("rpm", "rpm_any")):
        path = f"{install(name)}/script.{kind}.sh"
        plain = anybody.get(path).raise_for_status()
        assert (plain.headers["content-type"], plain.headers["cache-control"]) == ("application/x-sh", "no-store")
        assert f"url='{str(anybody.base_url).rstrip('/')}{install(name)}'\n" in plain.text
        assert "token=''\nany=''\n" in plain.text
        every = anybody.get(path, params={"any": "true"}).text
        assert f"any='{word}'\n" in every
        # In quotes, because some shells look for files behind a bare question mark.
        own = f"{str(anybody.base_url).rstrip('/')}{path}"
        assert every.replace(f"any='{word}'", "any=''").replace(f"'{own}?any=true'", own) == plain.text
    assert anybody.get(f"{install(name)}/script.gem.sh").status_code == 404
    assert anybody.post(f"{install(name)}/script.deb.sh").status_code == 405
    assert anybody.get("/install/repositories/acme/no-such/script.deb.sh").status_code == 401


def test_package_keys_are_checked_by_dnf(admin: httpx.Client, anybody: httpx.Client) -> None:
    """Goal: where packages came signed, clients are told to check them, and by which keys."""
    name = make_repository(admin)
    key = admin.get(f"/{name}/gpgkey").text
    admin.post(f"/api/v2/repos/{name}/package-keys", json={"key": key, "name": "vendor.asc"}).raise_for_status()
    text = anybody.get(f"{install(name)}/config_file.repo", params={"os": "el", "dist": "9"}).text
    base = f"{str(anybody.base_url).rstrip('/')}/{name}"
    assert text.count(f"gpgcheck=1\ngpgkey={base}/gpgkey\n       {base}/gpgkey/vendor.asc\n") == 2


def test_machines_of_a_private_repository(admin: httpx.Client, anybody: httpx.Client) -> None:
    """Goal: one token sets machines up; each gets one of its own, the same each time, that reads this repository alone,
    makes no other, and ends with the first. Method: the requests of a script, and of one who found a machine's token.

    Seen to fail with the look at `parent_id` taken out of `of_machine`, and without the children in `revoke`.
    """
    name, other = make_repository(admin, private=True), make_repository(admin, private=True)
    base, said = install(name), {"os": "debian", "dist": "bookworm"}
    parent = make_token(admin, "read", repositories=[name])

    def ask(path: str, token: str | None, **params: Any) -> httpx.Response:
        headers = {} if token is None else {"authorization": basic(token)}
        return anybody.get(path, params=params, headers=headers)

    def own(token: str, machine: str) -> httpx.Response:
        return anybody.post(f"{base}/tokens.text", data={"name": machine}, headers={"authorization": basic(token)})

    for path in (f"{base}/script.deb.sh", f"{base}/config_file.list"):
        assert ask(path, None, **said).status_code == 401
        assert ask(path, make_token(admin, "read", repositories=[other]), **said).status_code == 403
    script = ask(f"{base}/script.deb.sh", parent).raise_for_status().text
    assert f"token='{parent}'\n" in script
    first = own(parent, "one.example.org")
    assert (first.status_code, first.headers["content-type"]) == (201, "text/plain; charset=utf-8")
    machine = first.text
    assert own(parent, "one.example.org").text == machine
    assert own(parent, "two.example.org").text != machine
    assert re.fullmatch("[0-9a-f]{48}", machine)

    assert f"//{machine}:@" in ask(f"{base}/config_file.list", parent, name="one.example.org", **said).text
    conf = ask(f"{base}/apt_auth_conf", machine, **said).text
    assert f"login {machine} password" in conf
    assert machine not in ask(f"{base}/config_file.sources", machine, auth="conf", **said).text
    assert ask(f"{base}/gpg_key_url.list", machine, **said).text.endswith(
        f"//{machine}:@{_host(anybody)}/{name}/gpgkey\n"
    )
    assert ask(f"/{name}/gpgkey", machine).status_code == 200
    assert ask(f"/{other}/gpgkey", machine).status_code == 403
    assert own(machine, "three.example.org").status_code == 403
    assert own(parent, "\x07").status_code == 422
    assert own(parent, "x" * 201).status_code == 422

    listed = admin.get("/api/v2/tokens").json()["tokens"]
    ids = {each["name"]: each["id"] for each in listed if each["repositories"] == [name]}
    admin.delete(f"/api/v2/tokens/{ids['two.example.org']}").raise_for_status()
    taken = own(parent, "two.example.org")
    assert (taken.status_code, "another name" in taken.text) == (401, True)
    admin.delete(f"/api/v2/tokens/{ids['read-token']}").raise_for_status()
    assert ask(f"/{name}/gpgkey", machine).status_code == 401
    assert own(parent, "one.example.org").status_code == 401


def test_tokens_stand_in_no_log(admin: httpx.Client, anybody: httpx.Client, server: ServerProcess) -> None:
    """Goal: neither the token that sets up nor a machine's own is ever written down."""
    name = make_repository(admin, private=True)
    parent = make_token(admin, "read", repositories=[name])
    headers = {"authorization": basic(parent)}
    made = anybody.post(f"{install(name)}/tokens.text", data={"name": "logged"}, headers=headers).text
    anybody.get(f"{install(name)}/script.deb.sh", headers=headers).raise_for_status()
    log = server.log_path.read_text()
    assert parent not in log
    assert made not in log


_kept: list[str] = []


def _shared(admin: httpx.Client) -> str:
    """One public repository for all that only read."""
    if not _kept:
        _kept.append(make_repository(admin))
    return _kept[0]


def _host(client: httpx.Client) -> str:
    return f"{client.base_url.host}:{client.base_url.port}"
