"""A change of keys as real apt, dnf and zypper see it, each knowing one key alone; and its rehearsal."""

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.testing import CliRunner

from entrepot.cli.main import app
from tests.clients.site import Site
from tests.support.apt import AptRoot
from tests.support.builders import make_deb, make_rpm
from tests.support.dnf import DnfRepo, DnfRoot
from tests.support.gpg import GpgHome
from tests.support.process import Result, run
from tests.support.rpm import Recipe
from tests.support.zypper import ZypperRoot

pytestmark = [pytest.mark.clients, pytest.mark.xdist_group("clients-keys")]

DEB, RPM = "debian/bookworm", "el/9"
BLOCK = re.compile(rb"-----BEGIN PGP SIGNATURE-----.*?-----END PGP SIGNATURE-----\n", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Overlap:
    """A repository whose index an old and a new key sign; ``old`` and ``new`` are their public keys as files."""

    site: Site
    repository: str
    old: Path
    new: Path
    new_fingerprint: str
    old_fingerprint: str

    def apt(self, folder: Path, key: Path) -> Result:
        """`apt-get update` of a machine that trusts this key alone."""
        url = f"{self.site.near.url}/{self.repository}/debian/"
        text = f"Types: deb\nURIs: {url}\nSuites: bookworm\nComponents: main\nSigned-By: {key}\n"
        return AptRoot(folder, text).update(check=False)

    def dnf(self, folder: Path, gpgkey: str, url: str = "") -> Result:
        """`dnf makecache` of a machine that is told of this key alone."""
        base = f"{url or self.site.near.url}/{self.repository}/{RPM}/x86_64"
        return DnfRoot(folder, [DnfRepo(base, gpgkey=gpgkey)]).makecache(check=False)

    def zypper(self, folder: Path, key: Path, *, auto_import: bool = False) -> Result:
        """`zypper refresh` of a machine whose rpm knows this key alone; with ``auto_import`` it fetches others."""
        root = ZypperRoot(folder, auto_import=auto_import)
        run(["/usr/bin/rpmkeys", "--root", root.root / "root", "--import", key], env=root.env)
        root.addrepo(f"{self.site.near.url}/{self.repository}/{RPM}/x86_64")
        return root.refresh(check=False)

    def rehearse(self, *, rc: int, url: str = "") -> list[dict[str, object]]:
        """`entrepot key rehearse`; its findings."""
        env = {"ENTREPOT_URL": url or self.site.near.url, "ENTREPOT_TOKEN": self.site.token, "PATH": os.environ["PATH"]}
        ended = CliRunner().invoke(app, ["key", "rehearse", self.repository, "--json"], env=env)
        assert ended.exit_code == rc, ended.output
        return [json.loads(line) for line in ended.stdout.splitlines()]


@pytest.fixture(scope="module")
def overlap(plain_site: Site, tmp_path_factory: pytest.TempPathFactory) -> Overlap:
    """The old key came from gpg (RSA, as aptly's do), the new one is made here (Ed25519)."""
    site, folder = plain_site, tmp_path_factory.mktemp("overlap")
    repository = site.repository()
    with GpgHome(algorithm="rsa2048") as home:
        secret = home.gpg("--armor", "--export-secret-keys", home.fingerprint).stdout
        old_fingerprint = home.fingerprint
    path = f"/api/v2/repos/{repository}/keys"
    brought = site.admin.post(path, json={"key": secret}).raise_for_status().json()["key"]
    site.push(site.near, repository, DEB, make_deb(folder, "hello"))
    site.push(site.near, repository, RPM, make_rpm(folder, Recipe("hello")))
    made = site.admin.post(f"{path}/rotate", json={}).raise_for_status().json()["key"]
    files = {"old": brought["public_key"], "new": made["public_key"]}
    for name, text in files.items():
        (folder / f"{name}.asc").write_text(text)
    return Overlap(site, repository, folder / "old.asc", folder / "new.asc", made["fingerprint"], old_fingerprint)


@pytest.mark.parametrize("which", ["old", "new"])
def test_apt_is_content_with_either_key(overlap: Overlap, tmp_path: Path, which: str) -> None:
    """Goal: InRelease with two signatures is fine for who knows one of the keys, without a warning; a stranger's key is
    not enough.
    """
    done = overlap.apt(tmp_path / "apt", getattr(overlap, which))
    assert done.ok, done.output
    assert not done.stderr
    with GpgHome(algorithm="ed25519") as stranger:
        (tmp_path / "stranger.asc").write_bytes(stranger.public_key())
    assert not overlap.apt(tmp_path / "other", tmp_path / "stranger.asc").ok


@pytest.mark.parametrize("which", ["old", "new"])
def test_dnf_is_content_with_either_key(overlap: Overlap, tmp_path: Path, which: str) -> None:
    """Goal: the same of repomd.xml.asc, which holds a block for each key: dnf 4 asks gpg, which reads all of them."""
    done = overlap.dnf(tmp_path / "dnf", f"file://{getattr(overlap, which)}")
    assert done.ok, done.output
    with GpgHome(algorithm="ed25519") as stranger:
        (tmp_path / "stranger.asc").write_bytes(stranger.public_key())
    assert not overlap.dnf(tmp_path / "other", f"file://{tmp_path / 'stranger.asc'}").ok


def test_zypper_goes_by_the_first_signature(overlap: Overlap, tmp_path: Path) -> None:
    """Goal: machines that know the old key notice nothing; one that knows the new one alone is asked about the old one,
    which is there to be fetched. Method: the key in rpm's database; no other accepted, then any.
    """
    done = overlap.zypper(tmp_path / "old", overlap.old)
    assert done.ok, done.output
    asked = overlap.zypper(tmp_path / "new", overlap.new)
    assert not asked.ok
    assert overlap.old_fingerprint[-8:].lower() in asked.output
    fetched = overlap.zypper(tmp_path / "fetched", overlap.new, auto_import=True)
    assert fetched.ok, fetched.output


def first_alone(path: str, body: bytes) -> bytes:
    """repomd.xml.asc as dnf 5 sees it: its first block."""
    found = BLOCK.search(body)
    return found[0] if path.endswith("repomd.xml.asc") and found is not None else body


def test_who_reads_the_first_signature_alone(overlap: Overlap, tmp_path: Path) -> None:
    """Goal: dnf 5, which takes one signature and no more, goes on with the old key, and a new machine gets both from
    gpgkey. Method: cut the answer to its first block on the way; old key alone; gpgkey's URL; new key alone.
    """
    signature = overlap.site.admin.get(f"/{overlap.repository}/{RPM}/x86_64/repodata/repomd.xml.asc").content
    assert len(BLOCK.findall(signature)) == 2
    url = overlap.site.near.tampered_url
    served = f"{overlap.site.near.url}/{overlap.repository}/gpgkey"
    with overlap.site.tamperer.editing(first_alone):
        assert overlap.dnf(tmp_path / "old", f"file://{overlap.old}", url).ok
        assert overlap.dnf(tmp_path / "url", served, url).ok
        assert not overlap.dnf(tmp_path / "new", f"file://{overlap.new}", url).ok


def test_rpm_takes_both_keys_from_one_file(overlap: Overlap, tmp_path: Path) -> None:
    """Goal: `rpm --import URL`, as documentation everywhere says it, imports all that is served."""
    (tmp_path / "gpgkey").write_bytes(overlap.site.admin.get(f"/{overlap.repository}/gpgkey").content)
    base = tmp_path / "db"
    base.mkdir()
    run(["rpmkeys", "--dbpath", base, "--import", tmp_path / "gpgkey"])
    assert len(run(["rpm", "--dbpath", base, "-qa", "gpg-pubkey*"]).stdout.split()) == 2


def test_rehearsal(overlap: Overlap) -> None:
    """Goal: the command says yes when clients would, and names what they would not take. Method: as it is; then with a
    signature, and with a key, taken out on the way.
    """
    found = overlap.rehearse(rc=0)
    kinds = {(each["tool"], str(each["file"]).rpartition("/")[2]) for each in found}
    gpgv = {"InRelease", "Release.gpg", "repomd.xml.asc"}
    assert {name for tool, name in kinds if tool == "gpgv"} == gpgv
    assert {each["key"] for each in found} == {overlap.old_fingerprint, overlap.new_fingerprint, "gpgkey"}
    notes = [each for each in found if each["note"]]
    assert {each["key"] for each in notes} == {overlap.new_fingerprint}
    assert all("dnf 5" in str(each["note"]) for each in notes)

    url = overlap.site.near.tampered_url
    with overlap.site.tamperer.editing(first_alone):
        refused = [each for each in overlap.rehearse(rc=1, url=url) if not each["accepted"]]
    assert {(each["key"], each["tool"]) for each in refused} == {(overlap.new_fingerprint, "gpgv")}
    assert all(str(each["file"]).endswith("repomd.xml.asc") for each in refused)

    def one_key(path: str, body: bytes) -> bytes:
        return overlap.old.read_bytes() if path.endswith("/gpgkey") else body

    with overlap.site.tamperer.editing(one_key):
        refused = [each for each in overlap.rehearse(rc=1, url=url) if not each["accepted"]]
    assert {(each["key"], each["tool"]) for each in refused} == {
        (overlap.new_fingerprint, "gpgkey"),
        ("gpgkey", "rpm"),
    }
