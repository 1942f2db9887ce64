"""The builders against dpkg-deb, dpkg-source, rpm and createrepo_c."""

import time
from pathlib import Path

import pytest

from tests.support.builders import (
    Compression,
    FastRpm,
    Recipe,
    TarMember,
    deb_bytes,
    fast_rpm_bytes,
    make_deb,
    make_dsc,
    make_jar,
    make_pom,
    make_rpm,
    sign_rpm,
)
from tests.support.gpg import GpgHome
from tests.support.process import CommandError, run


@pytest.mark.parametrize("compression", ["gz", "xz", "zst", "none"])
def test_debs_of_both_writers_are_read_by_dpkg(tmp_path: Path, compression: Compression) -> None:
    """Goal: dpkg-deb reads what both writers make, in each compression.

    Method: compare field, member names, contents.
    """
    real = make_deb(tmp_path, "real", "1:2.0-1", compression=compression, fields={"Depends": "libc6"})
    fast = tmp_path / "fast.deb"
    fast.write_bytes(deb_bytes("fast", "1:2.0-1", compression=compression, files={"etc/deep/file": b"content"}))
    suffix = "" if compression == "none" else f".{compression}"
    for package in (real, fast):
        assert run(["dpkg-deb", "-f", package, "Version"]).stdout == "1:2.0-1\n"
        names = run(["ar", "t", package]).stdout.split()
        assert names == ["debian-binary", f"control.tar{suffix}", f"data.tar{suffix}"]
    assert run(["dpkg-deb", "-f", real, "Depends"]).stdout == "libc6\n"
    assert "./etc/deep/file" in run(["dpkg-deb", "-c", fast]).stdout


def test_hostile_debs_are_what_they_claim() -> None:
    """Goal: the knobs do what they say. Method: look at the bytes."""
    plain = deb_bytes("a")
    assert deb_bytes("a", truncate_to=-5) == plain[:-5]
    assert deb_bytes("a", trailing=b"xyz") == plain + b"xyz"
    assert b"evil/name" in deb_bytes("a", members_between=[("evil/name", b"data")])
    raw = deb_bytes("a", compression="none", control_raw=b"Package: a\n\nPackage: b\n")
    assert b"Package: a\n\nPackage: b\n" in raw
    assert b"../../etc/x" in deb_bytes("a", compression="none", control_members=[TarMember(b"../../etc/x")])
    assert len(deb_bytes("a", compression="gz", control_bomb_bytes=64 << 20)) < 100_000


def test_dpkg_refuses_a_broken_control(tmp_path: Path) -> None:
    """Goal: a failing command is reported with its output. Method: a control file that dpkg-deb cannot parse."""
    with pytest.raises(CommandError, match="field name"):
        make_deb(tmp_path, "bad", control_extra="no colon here\n")


def test_source_package_unpacks(tmp_path: Path) -> None:
    """Goal: dpkg-source accepts the sets made by hand. Method: unpack one, which checks every checksum."""
    package = make_dsc(tmp_path, "hello", "2:1.5-3", files={"src/main.c": b"int main;\n"})
    run(["dpkg-source", "--extract", package.dsc, tmp_path / "out"])
    assert (tmp_path / "out/src/main.c").read_bytes() == b"int main;\n"
    assert package.changes.name == "hello_1.5-3_source.changes"


def test_rpmbuild_recipes(tmp_path: Path) -> None:
    """Goal: recipes cover epoch, noarch, source, weak dependencies, scripts, changelogs, long lists, non-UTF-8 text.

    Method: ask rpm about each package; build one twice and see that the second is the same file from the cache.
    """
    rich = make_rpm(
        tmp_path,
        Recipe(
            "rich",
            arch="noarch",
            epoch=3,
            scripts={"post": "echo done"},
            changelogs=[("Wed Jan 01 2025", "A B <a@example.org> - 1.0-1", "first")],
            relations={"Recommends": ["extra"], "Supplements": ["base"]},
            generated_files=1200,
        ),
    )
    query = "%{EPOCH} %{ARCH} %{RECOMMENDS} %{SUPPLEMENTS} %{CHANGELOGTEXT} %{POSTIN}"
    assert run(["rpm", "-qp", "--qf", query, rich]).stdout == "3 noarch extra base - first echo done"
    assert len(run(["rpm", "-qpl", rich]).stdout.splitlines()) == 1201
    source = make_rpm(tmp_path, Recipe("rich"), source=True)
    assert source.name == "rich-1.0-1.src.rpm"
    latin = make_rpm(tmp_path, Recipe("latin", summary_raw="caf\xe9"))
    assert b"caf\xe9\0" in latin.read_bytes()
    again = make_rpm(tmp_path, Recipe("latin", summary_raw="caf\xe9"))
    assert again == latin


def test_signed_rpm_is_verified_by_rpm(tmp_path: Path) -> None:
    """Goal: sign_rpm makes a good signature. Method: import the key into a private rpm database and verify."""
    with GpgHome() as key:
        package = sign_rpm(make_rpm(tmp_path, Recipe("signed")), key)
        (tmp_path / "key").write_bytes(key.public_key())
        database = ["--dbpath", str(tmp_path / "db")]
        run(["rpm", *database, "--initdb"])
        assert "NOKEY" in run(["rpm", *database, "-Kv", package], check=False).stdout
        run(["rpm", *database, "--import", tmp_path / "key"])
        assert "Signature, key ID" in run(["rpm", *database, "-Kv", package]).stdout


def test_fast_rpms_are_accepted_by_rpm_and_createrepo(tmp_path: Path) -> None:
    """Goal: the fast writer's packages pass rpm's digest checks.

    Method: rpm -K, queries, and createrepo_c over them.
    """
    package = FastRpm(
        "fast",
        epoch=2,
        files={"/usr/share/fast/a": b"hello\n", "/etc/b": b"x"},
        relations={"requires": ["bash >= 4"], "recommends": ["extra"]},
        changelogs=[(1_700_000_000, "A B <a@example.org> - 1.0-1", "- first")],
    )
    path = tmp_path / package.file_name
    path.write_bytes(fast_rpm_bytes(package))
    assert "SHA256 digest: OK" in run(["rpm", "-Kv", path]).stdout
    assert run(["rpm", "-qp", "--qf", "%{EVR} %{RECOMMENDS}", path]).stdout == "2:1.0-1 extra"
    assert run(["rpm", "-qpR", path]).stdout == "bash >= 4\n"
    source = FastRpm("fast", source=True, files={"fast.spec": b"x"})
    (tmp_path / source.file_name).write_bytes(fast_rpm_bytes(source))
    run(["createrepo_c", "--no-database", tmp_path])
    assert 'packages="2"' in run(["zgrep", "-h", "<metadata", *tmp_path.glob("repodata/*primary.xml.gz")]).stdout
    path.write_bytes(fast_rpm_bytes(package, header_digest="0" * 64))
    assert "Header SHA256 digest: BAD" in run(["rpm", "-Kv", path], check=False).stdout


def test_writers_are_fast_enough_for_benches() -> None:
    """Goal: a bench can make packages faster than a server takes them. Method: at least 1,000 a second of each kind."""
    start = time.perf_counter()
    for number in range(500):
        deb_bytes(f"package{number}")
        fast_rpm_bytes(FastRpm(f"package{number}", files={"/usr/share/x": b"x"}))
    assert time.perf_counter() - start < 1.0


def test_jar_and_pom(tmp_path: Path) -> None:
    """Goal: deterministic jar, well-formed POM. Method: build twice; look at the jar with unzip and the POM as text."""
    assert make_jar(version="2") == make_jar(version="2") != make_jar(version="3")
    (tmp_path / "a.jar").write_bytes(make_jar({"a/B.class": b"1"}))
    assert "a/B.class" in run(["unzip", "-l", tmp_path / "a.jar"]).stdout
    pom = make_pom("org.example", "lib", "1.0", dependencies=[("org.example", "dep", "2")])
    assert b"<artifactId>dep</artifactId>" in pom
