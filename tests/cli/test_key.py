"""``entrepot key`` against the real server; `rehearse` is in tests/clients/test_keys.py."""

import os
import pty
import select
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.real import PROGRAM, Client
from tests.support.gpg import GpgHome
from tests.support.process import without_proxies

PASSPHRASE = "pässword with blanks"


@pytest.fixture(scope="module")
def home() -> Iterator[GpgHome]:
    """gpg with a key of its own (without a passphrase) and `shut@example.org`, which is under one."""
    with GpgHome(algorithm="ed25519") as made:
        made.gpg("--passphrase", PASSPHRASE, "--quick-generate-key", "<shut@example.org>", "ed25519", "sign", "never")
        yield made


def plain(home: GpgHome, folder: Path, *, armor: bool = True) -> Path:
    """The key without a passphrase, as a file."""
    path = folder / "plain.key"
    style = ["--armor"] if armor else []
    home.gpg(*style, "--output", path, "--export-secret-keys", home.fingerprint)
    return path


def shut(home: GpgHome, folder: Path) -> Path:
    """The key under a passphrase, as a file."""
    path = folder / "shut.key"
    export = ["--export-secret-keys", "<shut@example.org>"]
    home.gpg("--passphrase", PASSPHRASE, "--armor", "--output", path, *export)
    return path


def fingerprints(entrepot: Client, name: str) -> list[str]:
    """Of the keys that sign."""
    return [key["fingerprint"] for key in entrepot.json("key", "list", name)[0]["keys"] if key["signs"]]


def test_a_keys_life(entrepot: Client, home: GpgHome, tmp_path: Path) -> None:
    """Goal: the commands of the documented way: bring, look, rotate, retire, take away. Method: one after the other;
    what is exported goes back into gpg.
    """
    name = entrepot.repository("acme/life")
    told = entrepot("key", "import", name, plain(home, tmp_path, armor=False)).stdout
    assert told.startswith(f"{home.fingerprint} (ed25519) signs.")
    assert fingerprints(entrepot, name) == [home.fingerprint]
    table = entrepot("key", "list", name).stdout.splitlines()
    assert table[0].split() == ["REPOSITORY", "FINGERPRINT", "KIND", "STATE", "USER", "ID"]
    assert [("signs" in line, "retired" in line) for line in table[1:]] == [(False, True), (True, False)]
    assert home.fingerprint in entrepot("key", "list").stdout

    told = entrepot("key", "rotate", name, "--algorithm", "ed25519").stdout
    assert f" key retire {name} {home.fingerprint}" in told
    first, second = fingerprints(entrepot, name)
    assert first == home.fingerprint
    shown = entrepot("key", "show", name, second[-8:].lower()).stdout
    assert second in shown
    assert "ends      never" in shown
    public = entrepot("key", "export", name).stdout
    assert public.count("BEGIN PGP PUBLIC KEY BLOCK") == 2
    assert entrepot("key", "export", name, second).stdout in public

    entrepot("key", "retire", name, home.fingerprint)
    assert fingerprints(entrepot, name) == [second]
    refused = entrepot("key", "retire", name, second, rc=1).stderr
    assert "entrepot key rotate" in refused
    secret = entrepot("key", "export", name, second, "--secret").stdout
    home.gpg("--import", stdin=secret.encode())
    assert home.gpg("-u", second, "--detach-sign", stdin=b"x").ok


def test_keys_that_were_brought_stay_until_told_otherwise(entrepot: Client, home: GpgHome, tmp_path: Path) -> None:
    """Goal: no key that customers may trust goes without a word, published index or not. Method: two keys, one after
    the other, into a new repository; only the one that was made there goes, and the command says so; then `--alone`.
    """
    name = entrepot.repository("acme/two")
    (made,) = fingerprints(entrepot, name)
    assert f"{made} is retired with that." in entrepot("key", "import", name, plain(home, tmp_path)).stdout
    told = entrepot("key", "import", name, shut(home, tmp_path), env={"ENTREPOT_KEY_PASSPHRASE": PASSPHRASE}).stdout
    assert f"{home.fingerprint} signs beside it" in told
    assert "retired" not in told
    assert len(fingerprints(entrepot, name)) == 2
    told = entrepot("key", "import", name, plain(home, tmp_path), "--alone").stdout
    assert told.count("is retired with that.") == 1
    assert fingerprints(entrepot, name) == [home.fingerprint]


def test_passphrase_from_file_and_environment(entrepot: Client, home: GpgHome, tmp_path: Path) -> None:
    """Goal: pipelines have no terminal. Method: file with a line end, variable, wrong one, none."""
    name, key = entrepot.repository("acme/shut"), shut(home, tmp_path)
    asked = ("key", "import", name, key)
    assert "passphrase" in entrepot(*asked, rc=1).stderr
    refused = entrepot(*asked, rc=1, env={"ENTREPOT_KEY_PASSPHRASE": "wrong"}).stderr
    assert "does not open the key" in refused
    file = tmp_path / "passphrase"
    file.write_text(PASSPHRASE + "\n")
    file.chmod(0o640)
    assert f"chmod 600 {file}" in entrepot(*asked, "--passphrase-file", file).stderr
    file.chmod(0o600)
    assert "chmod" not in entrepot(*asked, "--passphrase-file", file).stderr
    entrepot(*asked, env={"ENTREPOT_KEY_PASSPHRASE": PASSPHRASE})
    assert len(fingerprints(entrepot, name)) == 1


def test_passphrase_is_asked_on_a_terminal(entrepot: Client, home: GpgHome, tmp_path: Path) -> None:
    """Goal: a person is asked, once the server says that it is needed; nothing is echoed. Method: a real one."""
    name, key = entrepot.repository("acme/asked"), shut(home, tmp_path)
    master, slave = pty.openpty()
    env = without_proxies({**entrepot.env(), "TERM": "dumb"})
    with subprocess.Popen(
        [PROGRAM, "key", "import", name, key], stdin=slave, stdout=slave, stderr=slave, env=env, start_new_session=True
    ) as running:
        os.close(slave)
        seen = _until(master, b"Passphrase of the key: ")
        os.write(master, PASSPHRASE.encode() + b"\n")
        seen += _until(master, b"signs.")
        assert running.wait(30) == 0
    os.close(master)
    assert PASSPHRASE.encode() not in seen


def _until(master: int, text: bytes) -> bytes:
    """What the terminal shows, up to ``text``."""
    seen = b""
    while text not in seen:
        assert select.select([master], [], [], 60)[0], seen
        seen += os.read(master, 4096)
    return seen


def test_package_keys(entrepot: Client, home: GpgHome, tmp_path: Path) -> None:
    """Goal: the public keys of signed packages come and go. Method: import with a name, list, show, remove."""
    name = entrepot.repository("acme/packages")
    file = tmp_path / "vendor.asc"
    file.write_bytes(home.public_key())
    assert "/gpgkey/vendor.asc" in entrepot("key", "import", name, file, "--package", "--name", "vendor.asc").stdout
    assert "as vendor.asc" in entrepot("key", "list", name).stdout
    assert "/gpgkey/vendor.asc" in entrepot("key", "show", name, home.fingerprint).stdout
    assert home.fingerprint not in fingerprints(entrepot, name)
    entrepot("key", "remove", name, "vendor.asc")
    assert "vendor.asc" not in entrepot("key", "list", name).stdout
    entrepot("key", "remove", name, "vendor.asc", rc=1)


def test_refusals_name_what_to_do(entrepot: Client, home: GpgHome, tmp_path: Path) -> None:
    """Goal: each mistake has its sentence and its exit code, and changes nothing."""
    name = entrepot.repository("acme/refused")
    before = fingerprints(entrepot, name)
    public, empty = tmp_path / "public.asc", tmp_path / "empty"
    public.write_bytes(home.public_key())
    empty.touch()
    cases = (
        (("key", "import", name, public), 1, "--package"),
        (("key", "import", name, empty), 2, "none"),
        (("key", "import", name, tmp_path / "missing"), 2, "No such file"),
        (("key", "import", name, public, "--name", "x"), 2, "--package"),
        (("key", "import", name, public, "--package", "--name", "a/b"), 1, "name"),
        (("key", "rotate", name, "--algorithm", "dsa"), 1, "rsa3072"),
        (("key", "retire", name, "0123456789ABCDEF"), 1, "entrepot key list"),
        (("key", "export", name, "--secret"), 2, "FINGERPRINT"),
        (("key", "show", name, "ABC"), 2, "too short"),
        (("key", "rehearse", name), 2, "Push a package first"),
    )
    for words, rc, text in cases:
        assert text in entrepot(*words, rc=rc).stderr, words
    assert fingerprints(entrepot, name) == before
