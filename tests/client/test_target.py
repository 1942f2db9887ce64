"""The grammar of places."""

from pathlib import Path

import pytest

from entrepot.client.errors import Exit, UsageError
from entrepot.client.target import split_arguments, split_place


@pytest.mark.parametrize(
    ("words", "distributions", "files"),
    [
        (["acme/prod/debian/bookworm", "a.deb"], ("debian/bookworm",), ("a.deb",)),
        (
            ["acme/prod/debian/bookworm", "acme/prod/debian/trixie", "a.deb", "b.deb"],
            ("debian/bookworm", "debian/trixie"),
            ("a.deb", "b.deb"),
        ),
        (["acme/prod", "debian/bookworm,ubuntu/noble", "a.deb"], ("debian/bookworm", "ubuntu/noble"), ("a.deb",)),
        (["acme/prod/debian/bookworm,debian/bookworm", "a.deb"], ("debian/bookworm",), ("a.deb",)),
        (["acme/prod/java", "repo"], ("java/maven2",), ("repo",)),
        (["acme/prod/el/9", "out/x/y/z.rpm"], ("el/9",), ("out/x/y/z.rpm",)),
    ],
)
def test_words_become_targets_and_files(
    words: list[str], distributions: tuple[str, ...], files: tuple[str, ...]
) -> None:
    """Goal: every documented form of the command line. Method: split it and compare."""
    target, rest = split_arguments(words)
    assert (target.repository, target.distributions, rest) == ("acme/prod", distributions, files)


def test_a_local_file_is_never_taken_for_a_target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Goal: a file whose path looks like a second target is pushed; one whose path cannot be one is no file.

    Method: make such a file, and ask for one beside it whose name is too long.
    """
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "acme/prod/debian/trixie"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"x")
    target, rest = split_arguments(["acme/prod/debian/bookworm", "acme/prod/debian/trixie"])
    assert (target.distributions, rest) == (("debian/bookworm",), ("acme/prod/debian/trixie",))
    with pytest.raises(UsageError):
        split_arguments(["acme/prod/debian/bookworm", "acme/prod/debian/" + "n" * 300])


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["acme"],
        ["acme/prod"],
        ["acme/prod", "a.deb"],
        ["acme/prod/debian/bookworm"],
        ["acme/prod/debian", "a.deb"],
        ["acme/prod/../x", "a.deb"],
        ["acme/prod/debian/bookworm/more", "a.deb"],
        ["acme/prod/debian/bookworm", ""],
        ["acme/prod/debian/bookworm", "a.deb", ""],
        ["", "a.deb"],
        ["acme/prod", "", "a.deb"],
        ["acme/prod", ",", "a.deb"],
        ["acme/prod", "debian/bookworm,", "a.deb"],
        ["n" * 300, "a.deb"],
        ["acme/prod", "n" * 300],
    ],
)
def test_other_words_are_refused(words: list[str]) -> None:
    """Goal: a sentence and exit code 2 for anything else, empty words among it: they would be the working folder.

    Method: split it.
    """
    with pytest.raises(UsageError) as caught:
        split_arguments(words)
    assert caught.value.exit_code is Exit.USAGE


def test_place_with_and_without_distribution() -> None:
    """Goal: yank's place. Method: both forms."""
    assert split_place("acme/prod") == ("acme/prod", None)
    assert split_place("acme/prod/el/9") == ("acme/prod", "el/9")
    with pytest.raises(UsageError):
        split_place("acme/prod/el")
