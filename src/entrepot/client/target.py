"""Where files go: the grammar of ``USER/REPO/DISTRO/VERSION``."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass

from entrepot.client.errors import UsageError
from entrepot.model.limits import API_DISTRIBUTIONS_MAX

_SEGMENT = r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}"
_OWNER = re.compile(rf"{_SEGMENT}\Z")
_REPOSITORY = re.compile(rf"{_SEGMENT}/{_SEGMENT}\Z")
_DISTRIBUTION = re.compile(rf"{_SEGMENT}/{_SEGMENT}\Z")
_FULL = re.compile(rf"(?P<repository>{_SEGMENT}/{_SEGMENT})/(?P<distributions>[^/]+(?:/[^/]+)*)\Z")
# packagecloud's short forms: one word where only one version exists.
_SHORT = {"java": "java/maven2", "maven": "java/maven2", "maven2": "java/maven2", "any": "any/any"}

GRAMMAR = "write it as USER/REPO/DISTRO/VERSION, for example acme/prod/debian/bookworm"


@dataclass(frozen=True)
class PushTarget:
    """One repository and the distributions that every file goes to, without repetition, in the order given."""

    repository: str
    distributions: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.repository} ({', '.join(self.distributions)})"


def check_repository(text: str) -> str:
    """``USER/REPO``, unchanged. Raises UsageError."""
    if not _REPOSITORY.match(text):
        raise UsageError(f"{text!r} is not a repository: write it as USER/REPO, for example acme/prod.")
    return text


def check_owner(text: str) -> str:
    """``USER``, unchanged. Raises UsageError."""
    if not _OWNER.match(text):
        raise UsageError(f"{text!r} is not an owner: write USER, the first half of USER/REPO.")
    return text


def check_distribution(text: str) -> str:
    """``DISTRO/VERSION`` with short forms made long. Raises UsageError."""
    text = _SHORT.get(text, text)
    if not _DISTRIBUTION.match(text):
        raise UsageError(
            f"{text!r} is not a distribution: write it as DISTRO/VERSION, for example debian/bookworm.",
            remedy="`entrepot distro list` shows all that the server knows.",
        )
    return text


def split_place(text: str) -> tuple[str, str | None]:
    """``USER/REPO`` or ``USER/REPO/DISTRO/VERSION`` as (repository, distribution or None). Raises UsageError."""
    if _REPOSITORY.match(text):
        return text, None
    found = _FULL.match(text)
    if found is None:
        raise UsageError(f"{text!r} is not a place: write it as USER/REPO or USER/REPO/DISTRO/VERSION.")
    return found["repository"], check_distribution(found["distributions"])


def split_arguments(arguments: Sequence[str]) -> tuple[PushTarget, tuple[str, ...]]:
    """The words after ``push`` as targets and files.

    ``USER/REPO/DISTRO/VERSION`` any number of times, each with further ``,DISTRO/VERSION``; or ``USER/REPO`` and then
    one word of distributions between commas. A later word counts as a target only when it names the same repository
    and no local file has that name. Raises UsageError: no files, no distribution, two repositories, malformed names.
    """
    if not arguments:
        raise UsageError(f"Say where the files go: {GRAMMAR}.")
    if not all(arguments):
        # An empty path would be the working folder with everything below it.
        raise UsageError("One of the arguments is empty: is a variable of the shell not set?")
    words = list(arguments)
    repository, distributions = _first(words)
    while words:
        found = _FULL.match(words[0])
        if found is None or found["repository"] != repository or os.path.exists(words[0]):
            break
        distributions += _distributions(found["distributions"])
        words.pop(0)
    chosen = tuple(dict.fromkeys(distributions))
    if len(chosen) > API_DISTRIBUTIONS_MAX:
        raise UsageError(f"At most {API_DISTRIBUTIONS_MAX} distributions at a time.")
    if not words:
        raise UsageError("Say which files to push: files, folders or patterns.")
    return PushTarget(repository, chosen), tuple(words)


def _first(words: list[str]) -> tuple[str, list[str]]:
    """Take the word or the two words that name the repository and its first distributions."""
    word = words.pop(0)
    if _REPOSITORY.match(word):
        if not words or os.path.exists(words[0]):
            raise UsageError(f"{word!r} names no distribution: {GRAMMAR}.")
        return word, _distributions(words.pop(0))
    found = _FULL.match(word)
    if found is None:
        raise UsageError(f"{word!r} is not a place to push to: {GRAMMAR}.")
    return found["repository"], _distributions(found["distributions"])


def _distributions(text: str) -> list[str]:
    return [check_distribution(part) for part in text.split(",")]
