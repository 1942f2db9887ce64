"""Which files a push takes: files, folders and patterns; what belongs to a source package; the layout of Maven."""

from __future__ import annotations

import glob
import os
import re
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from entrepot.client import tree
from entrepot.client.errors import UsageError, reason

FILES_MAX = 200_000
CONTROL_BYTES_MAX = 1024 * 1024
WORD_SHOWN_CHARS_MAX = 200


@dataclass(frozen=True)
class Kind:
    """What a folder's walk takes for one type of distribution (the server's word for it: deb, rpm, jar…)."""

    suffixes: tuple[str, ...] = ()
    layout: bool = False


# `.dsc` and `.changes` bring the files that they name with them.
KINDS = {
    "deb": Kind((".deb", ".ddeb", ".dsc")),
    "dsc": Kind((".dsc",)),
    "rpm": Kind((".rpm",)),
    "jar": Kind(layout=True),
}
ANY = Kind((".deb", ".ddeb", ".dsc", ".rpm", ".whl", ".tgz", ".gem", ".apk"))

_CONTROL = (".dsc", ".changes")
# Only Debian's installer reads these, and apt must not: the server refuses them.
_INSTALLERS = ".udeb"
_NAMED = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+~:-]{0,254}\Z")
# What Maven keeps in a local repository for itself, and what the server makes anew.
_LOCAL_ONLY = re.compile(
    r"_remote\.repositories\Z|.*\.lastUpdated\Z|resolver-status\.properties\Z|maven-metadata[^/]*\Z"
    r"|.*\.(?:md5|sha1|sha256|sha512)\Z|m2e-lastUpdated\.properties\Z|archetype-catalog\.xml\Z|\..*"
)


@dataclass(frozen=True)
class Unsent:
    """Why something that was found is not sent: the push fails for it (``refused``), or passes over it."""

    code: str
    detail: str
    refused: bool = True


INSTALLER = Unsent("passed_over", "Only Debian's installer reads such a file; the server keeps none.", refused=False)
LINK = Unsent("passed_over", "A link to a folder is not followed; name it to push what is in it.", refused=False)


@dataclass(frozen=True)
class Item:
    """One file to push, or one that cannot be.

    ``path`` is where it lies here, ``name`` where it goes below the distribution (a file name, or a path in Maven's
    layout). Items of a lower ``wave`` are published before those of a higher one: a .dsc after its tarballs, a POM
    after its artifacts, so that what lists them finds them. One that is ``unsent`` is told of and not sent; it may be
    a folder that could not be read.
    """

    path: Path
    name: str
    wave: int = 0
    unsent: Unsent | None = None


class _Chosen:
    """The items so far, each once; ``taken`` counts repetitions too, and no links to folders."""

    def __init__(self) -> None:
        self.taken = 0
        self._found: dict[tuple[str, str], Item] = {}

    def add(self, item: Item) -> None:
        """One more. Raises UsageError for a name that another file has, and for more than :data:`FILES_MAX`."""
        if item.unsent is None and not _utf8(item.name):
            item = replace(item, unsent=Unsent("file_name_invalid", "Its name is not UTF-8; rename it."))
        # What is not sent takes no name away from another.
        key = ("name", item.name) if item.unsent is None else ("path", str(item.path))
        there = self._found.setdefault(key, item)
        if there.path != item.path and not _same(there.path, item.path):
            raise UsageError(f"{there.path} and {item.path} would both become {item.name}: push them one at a time.")
        if len(self._found) > FILES_MAX:
            raise UsageError(f"More than {FILES_MAX} files: push the folder in parts.")
        if item.unsent is not LINK:  # a folder that holds nothing else is most likely the wrong one
            self.taken += 1

    def failed(self, path: Path, error: OSError) -> None:
        """Something that could not be read. Raises UsageError as :meth:`add`."""
        self.leave_out(path, Unsent("file_unreadable", reason(error)))

    def leave_out(self, path: Path, why: Unsent) -> None:
        """Something that is not sent. Raises UsageError as :meth:`add`."""
        self.add(Item(path, path.name, unsent=why))

    def items(self) -> tuple[Item, ...]:
        """All of them, wave by wave."""
        return tuple(sorted(self._found.values(), key=lambda item: item.wave))


def select(words: Sequence[str], kind: Kind) -> tuple[Item, ...]:
    """The files that the words of a command line mean, each once, in order; what could not be read or sent is among
    them as ``unsent``.

    Raises UsageError: a word that names nothing, a folder without packages, two files that would get one name, a
    folder that is not in Maven's layout, more than 200,000 files.
    """
    chosen = _Chosen()
    for word in words:
        for path in _expand(word, chosen):
            before = chosen.taken
            _take(path, kind, chosen)
            if chosen.taken == before:
                wanted = "files in Maven's layout" if kind.layout else ", ".join(kind.suffixes)
                raise UsageError(f"{path}: there is nothing to push in this folder; {wanted} are looked for.")
    return chosen.items()


def _utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _same(one: Path, other: Path) -> bool:
    try:
        return os.path.samefile(one, other)
    except OSError:
        return False


def _expand(word: str, chosen: _Chosen) -> Sequence[Path]:
    """A word as paths; a pattern that the shell left alone is expanded here."""
    trouble = "there is no such file or folder."
    try:
        os.stat(word)
        return (Path(word),)
    except (FileNotFoundError, NotADirectoryError):
        pass
    except OSError as error:
        trouble = reason(error)
    if glob.has_magic(word):
        before = chosen.taken
        matches = tree.expand(word, chosen.failed)
        if matches or chosen.taken > before:
            return matches
        trouble = "nothing matches this pattern."
    raise UsageError(f"{word[:WORD_SHOWN_CHARS_MAX]}: {trouble}")


def _take(path: Path, kind: Kind, chosen: _Chosen) -> None:
    """What one word means."""
    if not os.path.isdir(path):
        if kind.layout:
            raise UsageError(
                f"{path}: where a single file goes in Maven's layout cannot be told from its name.",
                remedy="Give the folder of a local repository, or --coordinates GROUP:ARTIFACT:VERSION.",
            )
        _take_with_named(path, chosen)
        return
    for entries in tree.walk(path, chosen.failed):
        for entry in entries:
            each = Path(entry.path)
            if os.path.isdir(each):
                if os.path.islink(each):
                    chosen.leave_out(each, LINK)
            elif kind.layout:
                _take_layout(each, each.relative_to(path).as_posix(), chosen)
            elif each.name.endswith(kind.suffixes):
                _take_with_named(each, chosen)
            elif each.suffix == _INSTALLERS and ".deb" in kind.suffixes:
                chosen.leave_out(each, INSTALLER)


def _take_layout(path: Path, name: str, chosen: _Chosen) -> None:
    """A file of a local repository, unless Maven keeps it for itself."""
    if _LOCAL_ONLY.match(path.name):
        return
    if (why := _not_a_file(path)) is not None:
        chosen.leave_out(path, why)
    else:
        chosen.add(Item(path, _check_layout(name, path), 1 if _lists(name) else 0))


def _take_with_named(path: Path, chosen: _Chosen) -> None:
    """A file; before a .dsc or .changes the files that it names and that lie beside it."""
    if (why := _not_a_file(path)) is not None:
        chosen.leave_out(path, why)
        return
    if path.suffix not in _CONTROL:
        chosen.add(Item(path, path.name))
        return
    try:
        names = named_files(path)
    except OSError as error:
        chosen.failed(path, error)
        return
    for name in names:
        beside = path.with_name(name)
        if not os.path.lexists(beside):
            raise UsageError(f"{path} names {name}, which is not beside it.", remedy="Push the folder that holds both.")
        if beside.suffix == _INSTALLERS:
            chosen.leave_out(beside, INSTALLER)
        elif beside.suffix in _CONTROL and (path.suffix, beside.suffix) != (".changes", ".dsc"):
            # Each of them could bring the other, and that one the first.
            raise UsageError(f"{path} names {name}: only a .changes names a .dsc, and nothing names a .changes.")
        else:
            _take_with_named(beside, chosen)
    if path.suffix == ".dsc":
        chosen.add(Item(path, path.name, 1))


def _not_a_file(path: Path) -> Unsent | None:
    """Why something is no file whose bytes can be sent; None when it is one."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return Unsent("file_unreadable", "This link leads nowhere." if os.path.islink(path) else "It is gone.")
    except OSError as error:
        return Unsent("file_unreadable", reason(error))
    return None if stat.S_ISREG(mode) else Unsent("not_a_file", "This is neither a file nor a folder.")


def named_files(path: Path) -> tuple[str, ...]:
    """The files that a .dsc or .changes lists under ``Files`` (Debian Policy 5.6.21). Raises UsageError, OSError."""
    with path.open("rb") as stream:
        text = stream.read(CONTROL_BYTES_MAX).decode("utf-8", "replace")
    names: list[str] = []
    inside = False
    for line in text.splitlines():
        if line[:1] not in (" ", "\t"):
            inside = line.lower().startswith("files:")
        elif inside and line.split():
            name = line.split()[-1]
            if not _NAMED.match(name):
                raise UsageError(f"{path} names the file {name[:80]!r}, which is not a plain file name.")
            names.append(name)
    return tuple(dict.fromkeys(names))


def _check_layout(name: str, path: Path) -> str:
    """``group/artifact/version/artifact-version….ext``; SNAPSHOTs carry a time instead of the word."""
    parts = name.split("/")
    if len(parts) >= 4:
        artifact, version, file = parts[-3:]
        base = version.removesuffix("-SNAPSHOT")
        if file.startswith(f"{artifact}-{base}"):
            return name
    raise UsageError(
        f"{path}: {name!r} is not in Maven's layout, GROUP/ARTIFACT/VERSION/ARTIFACT-VERSION.EXT.",
        remedy="Give the topmost folder of a local repository (the one that holds com, org, …), or --coordinates.",
    )


def _lists(name: str) -> bool:
    return name.removesuffix(".asc").endswith(".pom")


_COORDINATE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,127}\Z")
_DOUBLE = (".tar.gz", ".tar.bz2", ".tar.xz", ".tar.zst")


def at_coordinates(words: Iterable[str], coordinates: str) -> tuple[Item, ...]:
    """Files as one Maven version: ``GROUP:ARTIFACT:VERSION``, or ``GROUP:ARTIFACT:VERSION:CLASSIFIER`` for one file.

    A classifier is taken from a name that begins with ``ARTIFACT-VERSION-`` or ends with ``-sources``, ``-javadoc`` or
    ``-tests``. Raises UsageError as :func:`select`, and for malformed coordinates.
    """
    parts = coordinates.split(":")
    if len(parts) not in (3, 4) or not all(_COORDINATE.match(part) for part in parts):
        raise UsageError(f"{coordinates!r} are not coordinates: write them as GROUP:ARTIFACT:VERSION.")
    group, artifact, version = parts[:3]
    chosen = _Chosen()
    for word in words:
        for path in _expand(word, chosen):
            if os.path.isdir(path):
                raise UsageError(f"{path}: --coordinates go with files; a folder in Maven's layout needs none.")
            if (why := _not_a_file(path)) is not None:
                chosen.leave_out(path, why)
                continue
            classifier = parts[3] if len(parts) == 4 else _classifier(path.name, artifact, version)
            name = f"{artifact}-{version}{'-' + classifier if classifier else ''}{_extension(path.name)}"
            whole = f"{group.replace('.', '/')}/{artifact}/{version}/{name}"
            chosen.add(Item(path, whole, 1 if _lists(whole) else 0))
    return chosen.items()


def _extension(name: str) -> str:
    signature = ".asc" if name.endswith(".asc") else ""
    name = name.removesuffix(".asc")
    double = next((suffix for suffix in _DOUBLE if name.endswith(suffix)), None)
    if name == "pom.xml":
        return f".pom{signature}"
    return (double or Path(name).suffix) + signature


def _classifier(name: str, artifact: str, version: str) -> str:
    stem = name.removesuffix(".asc")
    stem = stem[: len(stem) - len(_extension(stem))] if stem != "pom.xml" else ""
    begin = f"{artifact}-{version}-"
    if stem.startswith(begin):
        return stem.removeprefix(begin)
    return next((word for word in ("test-sources", "sources", "javadoc", "tests") if stem.endswith(f"-{word}")), "")
