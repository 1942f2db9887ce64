"""Signatures, judged by the verifiers that package managers use: gpgv, sqv and apt."""

import subprocess
import threading
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import pysequoia
import pytest
from pysequoia import Tsk

from entrepot.model.limits import SIGNING_KEYS_MAX
from entrepot.signing import signer as signer_module
from entrepot.signing.keys import KeyMaterial
from entrepot.signing.make import generate
from entrepot.signing.signer import Signer, SignerCache
from tests.support.process import Result, client_env, run

MADE_S = 1_750_000_000

RELEASE = (
    b"Origin: example.org/user/repo\nLabel: repo\nSuite: bookworm\n- a line that begins with a dash\nFrom here: x\n"
    b"SHA256:\n " + b"0" * 64 + b" 12 main/binary-amd64/Packages\n"
)


@pytest.fixture(scope="module")
def keys() -> dict[str, KeyMaterial]:
    """An Ed25519 key, a second one, and an RSA-3072 key (seconds to make, so once for all)."""
    made = {name: generate("ed25519", f"{name} <{name}@example.org>", MADE_S) for name in ("ed", "other")}
    return made | {"rsa": generate("rsa3072", "rsa <rsa@example.org>", MADE_S)}


def _keyring(folder: Path, *keys: KeyMaterial) -> Path:
    path = folder / "ring.gpg"
    path.write_bytes(b"".join(bytes(Tsk.from_bytes(key.secret_armored.encode()).extract_certificate()) for key in keys))
    return path


def _verify(tool: str, folder: Path, ring: Path, signature: bytes, data: bytes) -> Result:
    (folder / "sig").write_bytes(signature)
    (folder / "data").write_bytes(data)
    return run([tool, "--keyring", ring, folder / "sig", folder / "data"], env=client_env(folder), check=False)


def _extract(folder: Path, ring: Path, clear: bytes) -> bytes | None:
    """What gpgv finds in an inline signed file, or None when it refuses it."""
    (folder / "in").write_bytes(clear)
    (folder / "out").unlink(missing_ok=True)
    done = run(
        ["gpgv", "--keyring", ring, "--output", folder / "out", folder / "in"], env=client_env(folder), check=False
    )
    return (folder / "out").read_bytes() if done.ok else None


@pytest.mark.parametrize("name", ["ed", "rsa"])
@pytest.mark.parametrize("tool", ["gpgv", "sqv"])
def test_detached_signature_verifies_and_tampering_does_not(
    tmp_path: Path, keys: dict[str, KeyMaterial], name: str, tool: str
) -> None:
    """Goal: real verifiers accept our signature over any bytes, and nothing else. Method: sign, verify, tamper."""
    signer = Signer([keys[name].secret_armored])
    ring = _keyring(tmp_path, keys[name])
    data = RELEASE + b"no newline, \r, blanks  \n\x00\xff"
    signature = signer.detached(data)
    assert _verify(tool, tmp_path, ring, signature, data).ok
    assert not _verify(tool, tmp_path, ring, signature, data.replace(b"Origin", b"Origim")).ok
    assert not _verify(tool, tmp_path, _keyring(tmp_path, keys["other"]), signature, data).ok


@pytest.mark.parametrize("name", ["ed", "rsa"])
def test_clear_text_comes_back_exactly(tmp_path: Path, keys: dict[str, KeyMaterial], name: str) -> None:
    """Goal: what gpgv extracts from InRelease is Release, byte for byte; a changed line is refused."""
    clear = Signer([keys[name].secret_armored]).clear(RELEASE)
    ring = _keyring(tmp_path, keys[name])
    assert _extract(tmp_path, ring, clear) == RELEASE
    assert _extract(tmp_path, ring, clear.replace(b"Suite: bookworm", b"Suite: bookwarm")) is None


@pytest.mark.parametrize("name", ["ed", "rsa"])
def test_one_signature_serves_both_forms(
    tmp_path: Path, keys: dict[str, KeyMaterial], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Goal: InRelease and Release.gpg from one private-key operation, both good for gpgv and sqv, tampered ones bad.

    Method: count the calls of the library's sign; verify both files with real tools.
    """
    calls = 0

    def counted(*args: Any, **more: Any) -> bytes:
        nonlocal calls
        calls += 1
        return pysequoia.sign(*args, **more)

    monkeypatch.setattr(signer_module, "sign", counted)
    clear, detached = Signer([keys[name].secret_armored]).clear_and_detached(RELEASE)
    assert calls == 1
    ring = _keyring(tmp_path, keys[name])
    assert _extract(tmp_path, ring, clear) == RELEASE + b"\n"
    for tool in ("gpgv", "sqv"):
        assert _verify(tool, tmp_path, ring, detached, RELEASE).ok
        assert not _verify(tool, tmp_path, ring, detached, RELEASE + b"x\n").ok
        assert not _verify(tool, tmp_path, ring, detached, RELEASE[:-1]).ok


@pytest.mark.parametrize("data", [b"blank at the end \nx\n", b"tab\t\n", b"cr\r\nx\n", b"no newline", b""])
def test_text_that_the_two_forms_see_differently_gets_two_signatures(
    tmp_path: Path, keys: dict[str, KeyMaterial], data: bytes
) -> None:
    """Goal: Release.gpg is over the exact bytes even where the cleartext form drops some. Method: such texts."""
    signer = Signer([keys["ed"].secret_armored])
    clear, detached = signer.clear_and_detached(data)
    ring = _keyring(tmp_path, keys["ed"])
    assert _verify("gpgv", tmp_path, ring, detached, data).ok
    assert _verify("sqv", tmp_path, ring, detached, data).ok
    assert _extract(tmp_path, ring, clear) is not None


def test_rotation_overlap_signs_with_every_key(tmp_path: Path, keys: dict[str, KeyMaterial]) -> None:
    """Goal: while two keys overlap, a client with both, or (apt, sqv) with either, accepts all three forms."""
    signer = Signer([keys["ed"].secret_armored, keys["rsa"].secret_armored])
    both = _keyring(tmp_path, keys["ed"], keys["rsa"])
    clear, shared = signer.clear_and_detached(RELEASE)
    assert clear.count(b"BEGIN PGP SIGNATURE") == 1
    assert _extract(tmp_path, both, signer.clear(RELEASE)) == RELEASE
    assert _extract(tmp_path, both, clear) == RELEASE + b"\n"
    for signature in (signer.detached(RELEASE), shared):
        done = _verify("gpgv", tmp_path, both, signature, RELEASE)
        assert done.ok
        assert done.stderr.count("Good signature") == 2
    for each in ("ed", "rsa"):
        ring = _keyring(tmp_path, keys[each])
        assert _verify("sqv", tmp_path, ring, shared, RELEASE).ok
        assert not _verify("sqv", tmp_path, ring, shared, RELEASE + b"x\n").ok
    assert signer.public_armored.count(b"BEGIN PGP PUBLIC KEY BLOCK") == 2
    assert signer.fingerprints == (keys["ed"].fingerprint, keys["rsa"].fingerprint)


@pytest.mark.clients
@pytest.mark.parametrize("form", ["InRelease", "Release.gpg"])
@pytest.mark.parametrize("name", ["ed", "rsa"])
@pytest.mark.parametrize("tampered", [False, True])
def test_apt_accepts_both_forms_of_the_shared_signature(
    tmp_path: Path, keys: dict[str, KeyMaterial], form: str, name: str, tampered: bool
) -> None:
    """Goal: real apt takes InRelease alone, and Release with Release.gpg, of one signature; not tampered ones."""
    folder = tmp_path / "repo/dists/s"
    (folder / "main/binary-amd64").mkdir(parents=True)
    packages = (
        b"Package: a\nVersion: 1\nArchitecture: amd64\nMaintainer: x\nFilename: a.deb\nSize: 1\nDescription: x\n\n"
    )
    (folder / "main/binary-amd64/Packages").write_bytes(packages)
    date = datetime.now(UTC).strftime("%a, %d %b %Y %H:%M:%S UTC")
    release = (
        f"Origin: x\nLabel: x\nSuite: s\nCodename: s\nDate: {date}\nArchitectures: amd64\nComponents: main\nSHA256:\n"
        f" {sha256(packages).hexdigest()} {len(packages)} main/binary-amd64/Packages\n"
    ).encode()
    clear, detached = Signer([keys[name].secret_armored]).clear_and_detached(release)
    if tampered:
        release, clear = (each.replace(b"Origin: x", b"Origin: y") for each in (release, clear))
    if form == "InRelease":
        (folder / "InRelease").write_bytes(clear)
    else:
        (folder / "Release").write_bytes(release)
        (folder / "Release.gpg").write_bytes(detached)
    for part in ("state/lists/partial", "cache/archives/partial"):
        (tmp_path / part).mkdir(parents=True)
    ring = _keyring(tmp_path, keys[name])
    source = tmp_path / "sources.list"
    source.write_text(f"deb [arch=amd64 signed-by={ring}] copy:{tmp_path}/repo s main\n")
    options = {"Dir::State": tmp_path / "state", "Dir::Cache": tmp_path / "cache", "Dir::Etc::sourcelist": source}
    fixed = ["-o", "Dir::Etc::sourceparts=-", "-o", "Dir::Etc::parts=-", "-o", "APT::Sandbox::User=root"]
    given = [part for key, value in options.items() for part in ("-o", f"{key}={value}")]
    done = run(["apt-get", *given, *fixed, "update"], env=client_env(tmp_path), check=False)
    assert done.ok is not tampered, done.output
    if tampered:
        assert "BADSIG" in done.output or "invalid" in done.output
    else:
        assert not done.stderr, done.stderr


def test_signing_from_many_threads(tmp_path: Path, keys: dict[str, KeyMaterial]) -> None:
    """Goal: one Signer may be used from any thread. Method: eight threads sign, every signature is verified."""
    signer = Signer([keys["ed"].secret_armored])
    made: list[bytes] = []
    threads = [threading.Thread(target=lambda: made.append(signer.detached(RELEASE))) for _ in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    ring = _keyring(tmp_path, keys["ed"])
    assert len(made) == 8
    assert all(_verify("sqv", tmp_path, ring, each, RELEASE).ok for each in made)


@pytest.mark.parametrize("keys_given", [[], ["not a key"], ["x"] * (SIGNING_KEYS_MAX + 1)])
def test_a_signer_needs_usable_keys(keys_given: list[str]) -> None:
    """Goal: no keys, a bad key and too many keys are refused when the signer is made, not at the first signature."""
    with pytest.raises(ValueError, match="key"):
        Signer(keys_given)


def test_public_key_alone_is_no_signer(keys: dict[str, KeyMaterial]) -> None:
    """Goal: a public key in the place of a secret one is refused at once."""
    with pytest.raises(ValueError, match="secret key"):
        Signer([keys["ed"].public_armored])


def test_public_key_can_be_imported_by_gpg(tmp_path: Path, keys: dict[str, KeyMaterial]) -> None:
    """Goal: the key file that clients fetch holds the signing subkey: gpg imports it and verifies with it."""
    signer = Signer([keys["rsa"].secret_armored])
    env = client_env(tmp_path, {"GNUPGHOME": str(tmp_path)})
    tmp_path.chmod(0o700)
    run(["gpg", "--batch", "--import"], stdin=signer.public_armored, env=env)
    (tmp_path / "sig").write_bytes(signer.detached(RELEASE))
    assert run(["gpg", "--batch", "--verify", tmp_path / "sig", "-"], stdin=RELEASE, env=env, check=False).ok
    subprocess.run(["gpgconf", "--kill", "all"], env=env, check=False)


def test_cache_keeps_the_recently_used_ones(keys: dict[str, KeyMaterial]) -> None:
    """Goal: a bound on signers held; the least recently used goes first."""
    loaded: list[int] = []

    def load(repository_id: int, _keys: tuple[int, ...]) -> Signer:
        loaded.append(repository_id)
        return Signer([keys["ed"].secret_armored])

    cache = SignerCache(lambda _id: (7,), load, kept_max=2)
    first = cache.get(1)
    cache.get(2)
    assert cache(1) is first
    cache.get(3)
    assert cache.get(1) is first
    assert loaded == [1, 2, 3]
    cache.get(2)
    assert loaded == [1, 2, 3, 2]


def test_cache_never_gives_a_signer_of_other_keys_than_sign_now(keys: dict[str, KeyMaterial]) -> None:
    """Goal: a key that was added or retired counts from the next signature on, even if it changed while another was
    being loaded. Method: change the answer to "which keys" between calls, and inside one.
    """
    now: tuple[int, ...] = (1,)
    made = {1: keys["ed"], 2: keys["other"]}

    def load(_repository_id: int, wanted: tuple[int, ...]) -> Signer:
        nonlocal now
        if now == (1,):
            now = (1, 2)
        return Signer([made[each].secret for each in wanted])

    cache = SignerCache(lambda _id: now, load)
    assert cache.get(1).fingerprints == (keys["ed"].fingerprint,)
    assert cache.get(1).fingerprints == (keys["ed"].fingerprint, keys["other"].fingerprint)
    assert cache.get(1) is cache.get(1)
    now = (2,)
    assert cache.get(1).fingerprints == (keys["other"].fingerprint,)
