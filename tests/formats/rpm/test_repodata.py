"""Whole repositories made of fragments, read by the real clients."""

from collections.abc import Iterator
from pathlib import Path

import createrepo_c
import pytest

from entrepot.formats.protocol import IndexState, ManifestInput, SetupInput, StreamState
from entrepot.formats.rpm import FORMAT
from tests.formats.rpm.inspecting import DATE_S, DISTRIBUTION, Pushed, lay_out
from tests.support.builders import FastRpm, Recipe, fast_rpm_bytes, make_rpm, sign_rpm
from tests.support.dnf import DnfRoot
from tests.support.gpg import GpgHome
from tests.support.process import run
from tests.support.zypper import ZypperRoot


@pytest.fixture(scope="module")
def key() -> Iterator[GpgHome]:
    """One signing key for all repositories of this file."""
    with GpgHome() as home:
        yield home


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory, key: GpgHome) -> list[Pushed]:
    """A few packages of each kind."""
    folder = tmp_path_factory.mktemp("built")
    recipes = [
        (
            Recipe("app", epoch=1, version="1.0~rc1", relations={"Requires": ["lib >= 2"], "Recommends": ["extra"]}),
            False,
        ),
        (Recipe("app", epoch=1, version="1.0", relations={"Requires": ["lib >= 2", "/usr/bin/tool"]}), False),
        (Recipe("lib", version="2.0", changelogs=[("Wed Jan 01 2025", "A <a@example.org> - 2.0", "first")]), False),
        (Recipe("tool", arch="noarch", files={"/usr/bin/tool": "#!/bin/sh\n"}), False),
        (Recipe("ancien", summary_raw="d\xe9j\xe0 vu"), False),
        (Recipe("app", version="0.9"), True),
        (Recipe("old", arch="i686"), False),
    ]
    paths = [make_rpm(folder, recipe, source=source) for recipe, source in recipes]
    paths.append(sign_rpm(make_rpm(folder, Recipe("signed")), key))
    return [Pushed.of(path.read_bytes()) for path in paths]


@pytest.fixture
def base(tmp_path: Path, packages: list[Pushed], key: GpgHome) -> Path:
    """The repository as a folder; its file:// address is the base URL."""
    lay_out(tmp_path / "repo", packages, key)
    return tmp_path / "repo"


def repo_text(base: Path) -> str:
    """The .repo file that set-up lines offer for the folder."""
    request = SetupInput(base.as_uri(), "acme", "tools", private=False, distributions=(DISTRIBUTION,))
    (dnf,) = [lines for lines in FORMAT.setup(request) if lines.file.endswith(".repo")]
    return dnf.text


@pytest.mark.clients
def test_dnf(base: Path, tmp_path: Path) -> None:
    """Goal: dnf reads, verifies and installs with the set-up lines as printed. Method: real dnf over file://,
    repo_gpgcheck=1."""
    dnf = DnfRoot(tmp_path / "dnf", repo_text(base))
    dnf.makecache()
    assert dnf.repoquery() == [
        "ancien-0:1.0-1.x86_64",
        "app-1:1.0-1.x86_64",
        "app-1:1.0~rc1-1.x86_64",
        "lib-0:2.0-1.x86_64",
        "signed-0:1.0-1.x86_64",
        "tool-0:1.0-1.noarch",
    ]
    assert dnf.repoquery("--file", "/usr/bin/tool") == ["tool-0:1.0-1.noarch"]
    assert dnf.repoquery("--changelogs", "lib")[-1] == "Changelog for lib-2.0-1.x86_64"
    assert dnf.repoquery("--recommends", "app-1.0~rc1") == ["extra"]
    assert dnf.repoquery("--repo", "acme_tools-source") == ["app-0:0.9-1.src"]
    assert dnf.repoquery("--qf", "%{summary}", "ancien") == ["déjà vu"]
    dnf.install("app", "signed")
    assert dnf.installed() == ["app-1.0-1.x86_64", "lib-2.0-1.x86_64", "signed-1.0-1.x86_64", "tool-1.0-1.noarch"]


@pytest.mark.clients
@pytest.mark.parametrize("victim", ["repomd.xml", "primary"])
def test_dnf_refuses_a_tampered_index(base: Path, tmp_path: Path, victim: str) -> None:
    """Goal: the signature and the digests under it hold. Method: change one byte of repomd.xml, or of primary; dnf
    must fail."""
    folder = base / DISTRIBUTION / "x86_64/repodata"
    (path,) = [path for path in folder.iterdir() if path.name == victim or path.name.endswith(f"-{victim}.xml.gz")]
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert not DnfRoot(tmp_path / "dnf", repo_text(base)).makecache(check=False).ok


@pytest.mark.clients
def test_dnf_refuses_a_tampered_package(base: Path, tmp_path: Path) -> None:
    """Goal: the digest in primary holds the package. Method: change one byte of the package under its address."""
    (path,) = (base / DISTRIBUTION / "x86_64/Packages").glob("*/lib-2.0-1.x86_64.rpm")
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    dnf = DnfRoot(tmp_path / "dnf", repo_text(base))
    assert not dnf.install("lib", check=False).ok
    assert dnf.installed() == []


@pytest.mark.clients
def test_zypper(base: Path, tmp_path: Path) -> None:
    """Goal: zypper reads, verifies and installs, with the key it finds beside repomd.xml. Method: real zypper over
    dir://."""
    zypper = ZypperRoot(tmp_path / "zypper")
    zypper.run("addrepo", "--refresh", f"{(base / DISTRIBUTION).as_uri()}/$basearch", "acme_tools")
    zypper.refresh()
    assert zypper.search() == ["ancien", "app", "lib", "signed", "tool"]
    zypper.install("app")
    assert zypper.installed() == ["app-1.0-1.x86_64", "lib-2.0-1.x86_64", "tool-1.0-1.noarch"]


@pytest.mark.clients
def test_zypper_refuses_a_tampered_index(base: Path, tmp_path: Path) -> None:
    """Goal: zypper verifies the signature with the default check. Method: change the revision in repomd.xml."""
    path = base / DISTRIBUTION / "x86_64/repodata/repomd.xml"
    path.write_bytes(path.read_bytes().replace(b"<revision>7<", b"<revision>8<"))
    zypper = ZypperRoot(tmp_path / "zypper")
    zypper.run("addrepo", "--refresh", f"{(base / DISTRIBUTION).as_uri()}/$basearch", "acme_tools")
    zypper.run("refresh", "--force", check=False)
    assert zypper.search() == []


def test_an_empty_repository(tmp_path: Path, key: GpgHome) -> None:
    """Goal: a default scope without packages is read without an error. Method: dnf over a repository with one source
    package."""
    lay_out(tmp_path / "repo", [Pushed.of(fast_rpm_bytes(FastRpm("only", source=True)))], key)
    dnf = DnfRoot(tmp_path / "dnf", repo_text(tmp_path / "repo"))
    dnf.makecache()
    assert dnf.repoquery() == []
    assert (tmp_path / "repo" / DISTRIBUTION / "aarch64/repodata/repomd.xml").is_file()


def test_createrepo_c_reads_it(base: Path, packages: list[Pushed]) -> None:
    """Goal: the strictest reader finds the three files in one order, and every package where the index says. Method:
    PackageIterator."""
    folder = base / DISTRIBUTION / "x86_64"
    repomd = createrepo_c.Repomd(str(folder / "repodata/repomd.xml"))
    assert (repomd.revision, [record.type for record in repomd.records]) == ("7", ["primary", "filelists", "other"])
    paths = {record.type: str(folder / record.location_href) for record in repomd.records}
    warnings: list[str] = []

    def warn(_kind: int, text: str) -> bool:
        warnings.append(text)
        return True

    found = list(
        createrepo_c.PackageIterator(
            primary_path=paths["primary"],
            filelists_path=paths["filelists"],
            other_path=paths["other"],
            warningcb=warn,
        )
    )
    assert warnings == []
    listed = [package.facts for package in packages if package.facts.part in {"x86_64", "noarch"}]
    assert [package.nevra() for package in found] == [
        facts.conflict_key for facts in sorted(listed, key=lambda facts: facts.order_key)
    ]
    for package in found:
        assert (folder / package.location_href).stat().st_size == package.size_package


def test_noarch_has_one_location_everywhere(base: Path) -> None:
    """Goal: one fragment serves every architecture. Method: the same relative path exists below each."""
    found = sorted(path.relative_to(base / DISTRIBUTION).parts[0] for path in base.rglob("tool-*.rpm"))
    assert found == ["aarch64", "i386", "x86_64"]
    assert sorted(path.name for path in base.rglob("old-*.rpm")) == ["old-1.0-1.i686.rpm"]


def test_repomd() -> None:
    """Goal: repomd.xml is exactly this. Method: one manifest, compared whole."""
    state = StreamState("primary", "primary.xml", "primary.xml.gz", 11, "a" * 64, 22, "b" * 64)
    request = ManifestInput(
        "host/acme/tools", "tools", DISTRIBUTION, "x86_64", DATE_S, 42, (IndexState("packages", 1, (state,)),)
    )
    made = FORMAT.manifest(request)
    assert made.documents[0].content.decode() == (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<repomd xmlns="http://linux.duke.edu/metadata/repo" xmlns:rpm="http://linux.duke.edu/metadata/rpm">\n'
        "  <revision>42</revision>\n"
        '  <data type="primary">\n'
        f'    <checksum type="sha256">{"a" * 64}</checksum>\n'
        f'    <open-checksum type="sha256">{"b" * 64}</open-checksum>\n'
        f'    <location href="repodata/{"a" * 64}-primary.xml.gz"/>\n'
        f"    <timestamp>{DATE_S}</timestamp>\n"
        "    <size>11</size>\n"
        "    <open-size>22</open-size>\n"
        "  </data>\n"
        "</repomd>\n"
    )
    assert [(item.document, item.name, item.style) for item in made.signatures] == [
        ("repomd.xml", "repomd.xml.asc", "blocks")
    ]
    assert made.key_name == "repomd.xml.key"


def test_setup_lines_of_a_private_repository() -> None:
    """Goal: the lines name the place of the token, and nothing else differs. Method: private against public."""
    public, private = (
        list(
            FORMAT.setup(
                SetupInput("https://packages.example.org/acme/tools", "acme", "tools", flag, ("el/9", "fedora/42"))
            )
        )
        for flag in (False, True)
    )
    assert [lines.title for lines in public] == [lines.title for lines in private]
    one_line, by_hand = (public[0], private[0]), (public[1:], private[1:])
    public, private = by_hand
    assert one_line[1].text.replace("-u TOKEN: ", "") == one_line[0].text
    assert "https://packages.example.org/install/repositories/acme/tools/script.rpm.sh" in one_line[0].text
    assert [lines.title for lines in public][:3] == ["dnf, yum (el/9)", "zypper (el/9)", "push an rpm (el/9)"]
    assert private[0].file == "/etc/yum.repos.d/acme_tools.repo"
    assert private[0].text.replace("username=READ_TOKEN\npassword=none\n", "") == public[0].text
    assert private[0].text.count("username=READ_TOKEN") == 2
    assert "'https://READ_TOKEN:none@packages.example.org/acme/tools/el/9/$basearch'" in private[1].text
    assert public[2].text.endswith(" https://packages.example.org/acme/tools/el/9/\n")


def test_signed_package_stays_signed(packages: list[Pushed], tmp_path: Path, key: GpgHome) -> None:
    """Goal: what is pushed signed is served signed. Method: `rpm -K` on the bytes that the index's digest names."""
    (signed,) = [package for package in packages if package.facts.name == "signed"]
    path = tmp_path / signed.facts.filename
    path.write_bytes(signed.data)
    (tmp_path / "key").write_bytes(key.public_key())
    database = ["--dbpath", str(tmp_path / "db")]
    run(["rpmkeys", *database, "--import", tmp_path / "key"])
    assert "signatures OK" in run(["rpmkeys", *database, "--checksig", path]).stdout
