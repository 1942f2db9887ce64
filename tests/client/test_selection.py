"""Which files a push takes, and where they go."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from entrepot.client.errors import UsageError
from entrepot.client.selection import INSTALLER, KINDS, LINK, Kind, at_coordinates, select
from tests.support.builders import make_dsc
from tests.support.capabilities import permissions_hold
from tests.support.dsc import make_changes
from tests.support.process import run

DEB, JAR = KINDS["deb"], KINDS["jar"]


def write(path: Path, content: bytes = b"x") -> Path:
    """A small file, with its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def names(words: list[Path | str], kind: object = DEB) -> list[str]:
    """Where the selected files go."""
    assert kind in KINDS.values()
    return [item.name for item in select([str(word) for word in words], kind)]  # type: ignore[arg-type]


def test_a_folder_gives_its_packages_of_the_kind_alone(tmp_path: Path) -> None:
    """Goal: recursion by suffix. Method: a folder with packages of two kinds and other files."""
    for name in ("a_1_amd64.deb", "deep/er/b_1_all.deb", "c.rpm", "README.txt", "deep/d.changes"):
        write(tmp_path / name)
    assert names([tmp_path]) == ["a_1_amd64.deb", "b_1_all.deb"]
    assert names([tmp_path], KINDS["rpm"]) == ["c.rpm"]


def test_installer_packages_are_passed_over(tmp_path: Path) -> None:
    """Goal: a .udeb beside its .deb costs the push nothing. Method: a folder and a .changes with one; alone it is left
    to the server's refusal, and a folder for rpms says nothing of it.
    """
    both = [write(tmp_path / name) for name in ("a_1_amd64.deb", "a-udeb_1_amd64.udeb")]
    write(tmp_path / "a.rpm")
    changes = make_changes(tmp_path, "a", "1", both)
    for word in (tmp_path, changes):
        assert {item.name: item.unsent for item in select([str(word)], DEB)} == {
            "a_1_amd64.deb": None,
            "a-udeb_1_amd64.udeb": INSTALLER,
        }
    assert [item.unsent for item in select([str(both[1])], DEB)] == [None]
    assert names([tmp_path], KINDS["rpm"]) == ["a.rpm"]


def test_a_pattern_in_quotes_is_expanded(tmp_path: Path) -> None:
    """Goal: globs that the shell left alone, ** included. Method: select with them."""
    write(tmp_path / "a.deb")
    write(tmp_path / "x/y/b.deb")
    assert names([f"{tmp_path}/**/*.deb"]) == ["a.deb", "b.deb"]
    with pytest.raises(UsageError, match="nothing matches"):
        names([f"{tmp_path}/*.rpm"])


def test_patterns_match_as_a_shell_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Goal: hidden files only where they are asked for, each match once, a folder for an ending `**`, relative paths.

    Method: one tree and a table of patterns.
    """
    monkeypatch.chdir(tmp_path)
    for name in ("a.deb", ".b.deb", "x/c.deb", "x/.y/d.deb", "x/z/e.deb", "q[1].deb"):
        write(tmp_path / name)
    for pattern, found in {
        "*.deb": ["a.deb", "q[1].deb"],
        ".*.deb": [".b.deb"],
        "**/*.deb": ["a.deb", "q[1].deb", "x/c.deb", "x/z/e.deb"],
        "**/**/[ce].deb": ["x/c.deb", "x/z/e.deb"],
        "x/**": ["x/.y/d.deb", "x/c.deb", "x/z/e.deb"],
        "*/z/?.deb": ["x/z/e.deb"],
        "./x/../?.deb": ["x/../a.deb"],
        "q[1].deb": ["q[1].deb"],
    }.items():
        assert sorted(str(item.path) for item in select([pattern], DEB)) == found, pattern


def left_out(words: list[Path | str], kind: Kind = DEB) -> dict[str, str]:
    """What of the selected is refused, and why."""
    items = select([str(word) for word in words], kind)
    return {item.path.name: item.unsent.detail for item in items if item.unsent is not None and item.unsent.refused}


def test_what_cannot_be_read_in_a_folder_is_not_left_out_in_silence(tmp_path: Path) -> None:
    """Goal: the push knows of every part that it cannot take, and takes the rest. Method: an unreadable folder, one
    that may be listed and not entered, links that lead nowhere and round, a FIFO, as a folder and as patterns; what is
    no package is not missed.
    """
    write(tmp_path / "good.deb")
    for name, mode in (("locked", 0), ("listed", 0o400)):
        write(tmp_path / name / "in.deb").parent.chmod(mode)
    for name in ("lost.deb", "lost.txt"):
        (tmp_path / name).symlink_to("nowhere")
    (tmp_path / "round.deb").symlink_to("round.deb")
    os.mkfifo(tmp_path / "fifo.deb")
    links = {
        "lost.deb": "This link leads nowhere.",
        "round.deb": "Too many levels of symbolic links.",
        "fifo.deb": "This is neither a file nor a folder.",
    }
    denied = "Permission denied."
    with permissions_hold():
        assert left_out([tmp_path]) == links | {"locked": denied, "in.deb": denied}
        assert left_out([f"{tmp_path}/*.deb"]) == links
        assert left_out([f"{tmp_path}/**/*.deb"]) == links | {"locked": denied, "in.deb": denied}
        assert left_out([f"{tmp_path}/l*/i?.deb"]) == {"locked": denied, "in.deb": denied}
        assert left_out([f"{tmp_path}/locked/*.deb"]) == {"locked": denied}
        assert left_out([f"{tmp_path}/l*/in.deb"]) == {"in.deb": denied}
        assert left_out([tmp_path / "locked"]) == {"locked": denied}
        assert [item.path.name for item in select([str(tmp_path)], DEB) if item.unsent is None] == ["good.deb"]
        with pytest.raises(UsageError, match="Permission denied"):
            names([tmp_path / "locked/in.deb"])
        (tmp_path / "m2").mkdir()
        write(tmp_path / "m2/org/x").parent.chmod(0)
        assert left_out([tmp_path / "m2"], JAR) == {"org": denied}


def test_links_to_folders_are_passed_over(tmp_path: Path) -> None:
    """Goal: they are told of and not followed, for they may go round; a folder with nothing else is refused.

    Method: a link upwards, and one to a folder of packages, which named by itself is taken.
    """
    write(tmp_path / "there/a.deb")
    write(tmp_path / "d/b.deb")
    (tmp_path / "d/up").symlink_to(tmp_path)
    (tmp_path / "d/other").symlink_to(tmp_path / "there")
    found = {item.path.name: item.unsent for item in select([str(tmp_path / "d")], DEB)}
    assert found == {"b.deb": None, "up": LINK, "other": LINK}
    assert names([tmp_path / "d/other"]) == ["a.deb"]
    (tmp_path / "d/b.deb").unlink()
    with pytest.raises(UsageError, match="nothing to push"):
        names([tmp_path / "d"])


def test_names_that_are_not_utf8_are_refused_by_themselves(tmp_path: Path) -> None:
    """Goal: one such name does not end the push of the others. Method: in a folder, below one, and as Maven's path."""
    write(tmp_path / "a.deb")
    write(Path(os.fsdecode(bytes(tmp_path) + b"/\xff.deb")))
    write(Path(os.fsdecode(bytes(tmp_path) + b"/\xfe/b.deb")))
    assert {name.encode("utf-8", "replace"): why for name, why in left_out([tmp_path]).items()} == {
        b"?.deb": "Its name is not UTF-8; rename it."
    }
    assert {item.name for item in select([str(tmp_path)], DEB) if item.unsent is None} == {"a.deb", "b.deb"}
    jar = write(Path(os.fsdecode(bytes(tmp_path) + b"/x.\xff")))
    assert at_coordinates([str(jar)], "org.acme:app:1.0")[0].unsent is not None


@pytest.fixture
def deep(tmp_path: Path) -> Iterator[Path]:
    """A package below 1,200 folders; Python's own removal does not come that deep."""
    top = tmp_path / "deep"
    top.mkdir()
    try:
        here = os.open(top, os.O_RDONLY)
        for _ in range(1200):
            os.mkdir("d", dir_fd=here)
            below = os.open("d", os.O_RDONLY, dir_fd=here)
            os.close(here)
            here = below
        os.close(os.open("a.deb", os.O_CREAT, dir_fd=here))
        os.close(here)
        yield top
    finally:
        run(["rm", "-rf", top])


def test_deep_folders(deep: Path) -> None:
    """Goal: no depth is too deep. Method: folders nested deeper than Python calls may be, as folder and as patterns."""
    assert names([deep]) == ["a.deb"]
    assert names([f"{deep}/**/*.deb"]) == ["a.deb"]
    assert names([f"{deep}/{'d/' * 1200}?.deb"]) == ["a.deb"]


def test_words_that_name_nothing_are_refused(tmp_path: Path) -> None:
    """Goal: no silent success of a misspelt path or an empty folder. Method: both; a word too long to be a path."""
    with pytest.raises(UsageError, match="no such file"):
        names([tmp_path / "none.deb"])
    for word in ("n" * 300, "n" * 5000):
        with pytest.raises(UsageError, match="File name too long") as caught:
            names([word])
        assert len(str(caught.value)) < 300
    with pytest.raises(UsageError, match="nothing matches"):
        names(["n" * 300 + "*"])
    with pytest.raises(UsageError, match="nothing to push"):
        names([tmp_path])


def test_two_files_of_one_name_are_refused_and_one_file_twice_is_not(tmp_path: Path) -> None:
    """Goal: a race between two files for one name is seen before anything is sent. Method: the name in two folders."""
    one, other = write(tmp_path / "1/a.deb"), write(tmp_path / "2/a.deb", b"y")
    with pytest.raises(UsageError, match=r"would both become a\.deb"):
        names([one, other])
    assert names([one, one, tmp_path / "1"]) == ["a.deb"]


def test_source_package_brings_its_files_and_goes_last(tmp_path: Path) -> None:
    """Goal: a .dsc or .changes alone is enough. Method: a real set; the .dsc comes in a later wave than its members."""
    package = make_dsc(tmp_path, "hello")
    items = select([str(package.dsc)], DEB)
    assert {item.path for item in items} == {package.dsc, *package.members}
    assert [(item.name, item.wave) for item in items][-1] == (package.dsc.name, 1)
    assert {item.path for item in select([str(package.changes)], DEB)} == {package.dsc, *package.members}
    package.members[0].unlink()
    with pytest.raises(UsageError, match="is not beside it"):
        select([str(package.dsc)], DEB)


def test_a_control_file_that_cannot_be_read(tmp_path: Path) -> None:
    """Goal: it costs itself alone. Method: a .dsc and a .changes without permissions, in a folder and named."""
    write(tmp_path / "a.deb")
    for name in ("x.dsc", "y.changes"):
        write(tmp_path / name).chmod(0)
    with permissions_hold():
        assert left_out([tmp_path]) == {"x.dsc": "Permission denied."}
        assert names([tmp_path]) == ["a.deb", "x.dsc"]
        assert left_out([tmp_path / "x.dsc", tmp_path / "y.changes"]) == dict.fromkeys(
            ("x.dsc", "y.changes"), "Permission denied."
        )


@pytest.mark.parametrize(
    ("name", "named"),
    [("x.changes", "x.changes"), ("x.dsc", "x.dsc"), ("x.dsc", "y.changes"), ("x.changes", "z.changes")],
)
def test_a_control_file_does_not_name_its_like(tmp_path: Path, name: str, named: str) -> None:
    """Goal: no way round and round. Method: one that names itself, another, or what names it."""
    write(tmp_path / "y.changes", b"Files:\n 0 1 x.dsc\n")
    write(tmp_path / "z.changes", b"Files:\n 0 1 x.changes\n")
    write(tmp_path / name, f"Files:\n 0 1 {named}\n".encode())
    with pytest.raises(UsageError, match="nothing names a"):
        names([tmp_path / name])


def test_source_package_cannot_name_files_elsewhere(tmp_path: Path) -> None:
    """Goal: a .dsc from somebody else cannot make us upload /etc/shadow. Method: a path in its Files field."""
    dsc = write(tmp_path / "x_1.dsc", b"Files:\n 0 1 ../../etc/passwd\n")
    with pytest.raises(UsageError, match="not a plain file name"):
        select([str(dsc)], DEB)


def test_maven_layout(tmp_path: Path) -> None:
    """Goal: a local repository's artifacts, POMs last, its private files left out. Method: one with all of them."""
    base = tmp_path / "org/acme/app/1.0"
    for name in ("app-1.0.jar", "app-1.0.pom", "app-1.0.jar.sha1", "_remote.repositories", "app-1.0.jar.asc"):
        write(base / name)
    write(tmp_path / "org/acme/app/maven-metadata-local.xml")
    write(tmp_path / "org/acme/app/1.1-SNAPSHOT/app-1.1-20250101.120000-1.jar")
    assert names([tmp_path], JAR) == [
        "org/acme/app/1.0/app-1.0.jar",
        "org/acme/app/1.0/app-1.0.jar.asc",
        "org/acme/app/1.1-SNAPSHOT/app-1.1-20250101.120000-1.jar",
        "org/acme/app/1.0/app-1.0.pom",
    ]
    with pytest.raises(UsageError, match="Maven's layout"):
        names([base], JAR)
    with pytest.raises(UsageError, match="cannot be told"):
        names([base / "app-1.0.jar"], JAR)


def test_coordinates(tmp_path: Path) -> None:
    """Goal: file names become layout paths, classifiers kept. Method: the usual set of a release."""
    given = ["app.jar", "app-1.0-sources.jar", "x-javadoc.jar", "pom.xml", "app.tar.gz", "app.jar.asc"]
    words = [str(write(tmp_path / name)) for name in given]
    items = at_coordinates(words, "org.acme:app:1.0")
    base = "org/acme/app/1.0/app-1.0"
    assert {item.path.name: item.name for item in items} == {
        "app.jar": f"{base}.jar",
        "app-1.0-sources.jar": f"{base}-sources.jar",
        "x-javadoc.jar": f"{base}-javadoc.jar",
        "pom.xml": f"{base}.pom",
        "app.tar.gz": f"{base}.tar.gz",
        "app.jar.asc": f"{base}.jar.asc",
    }
    assert items[-1].name == f"{base}.pom"
    assert at_coordinates([words[0]], "org.acme:app:1.0:tests")[0].name == f"{base}-tests.jar"
    for bad in ("org.acme:app", "org.acme:app:1.0:a:b", "a/b:c:1", "a:..:1/2"):
        with pytest.raises(UsageError):
            at_coordinates([words[0]], bad)
