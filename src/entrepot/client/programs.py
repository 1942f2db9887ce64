"""gpgv and rpm, run on the machine of whoever rehearses a change of keys: what they say is what its clients will say.

They want their keys and databases in files. Those lie in a folder of their own below TMPDIR, on the client's machine
and never on a server's volume, and go when the rehearsal ends.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from entrepot.client.errors import UsageError

PROGRAM_S_MAX = 60.0
_TEXT_CHARS_MAX = 2000


@dataclass(frozen=True)
class Ended:
    """How a program ended: its exit code and both outputs."""

    code: int
    out: str
    err: str

    @property
    def reason(self) -> str:
        """Its last words, on one line."""
        lines = [line.strip() for line in (self.err or self.out).splitlines() if line.strip()]
        return lines[-1][:_TEXT_CHARS_MAX] if lines else f"ended with {self.code}"


class Bench:
    """A folder, and programs that work in it."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self.folder = folder
        # Nothing of the user's own keys and settings: a client has only what it is given here.
        self._env = {"PATH": environment.get("PATH", os.defpath), "HOME": str(folder), "LC_ALL": "C"}

    def write(self, name: str, content: bytes) -> Path:
        """A file in the folder; its path."""
        path = self.folder / name
        path.write_bytes(content)
        return path

    def run(self, *words: str | Path) -> Ended:
        """Run a program to its end. Raises UsageError when it hangs."""
        args = [str(word) for word in words]
        try:
            done = subprocess.run(
                args, cwd=self.folder, env=self._env, capture_output=True, timeout=PROGRAM_S_MAX, check=False,
                stdin=subprocess.DEVNULL,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise UsageError(f"{args[0]} did not end within {PROGRAM_S_MAX:.0f} s.") from None
        return Ended(done.returncode, done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace"))


@contextmanager
def bench(needed: Sequence[str], environment: Mapping[str, str]) -> Iterator[Bench]:
    """A folder that goes at the end. Raises UsageError for a program that is not installed."""
    missing = [name for name in needed if shutil.which(name, path=environment.get("PATH")) is None]
    if missing:
        raise UsageError(
            f"{' and '.join(missing)} cannot be found here.",
            code="program_missing",
            remedy="Rehearse on a machine that has them: `apt-get install gpgv rpm`, or any that runs dnf.",
        )
    with tempfile.TemporaryDirectory(prefix="entrepot-keys-") as folder:
        yield Bench(Path(folder), environment)


@dataclass(frozen=True)
class Verdict:
    """What gpgv says: fingerprints of the primary keys whose signature is good, and whether one is bad."""

    good: tuple[str, ...]
    bad: bool
    reason: str


_VALID = re.compile(r"^\[GNUPG:\] VALIDSIG (?:\S+ ){9}(?P<primary>[0-9A-F]{40})", re.MULTILINE)
_BAD = re.compile(r"^\[GNUPG:\] (?:BADSIG|EXPKEYSIG|REVKEYSIG) ", re.MULTILINE)


def gpgv(place: Bench, keyring: bytes, document: bytes, signature: bytes | None = None) -> Verdict:
    """Ask gpgv as apt and dnf do: a good signature of a known key is enough, unknown keys do not matter, a bad one
    spoils all.
    """
    files = [place.write("document", document)]
    if signature is not None:
        files.insert(0, place.write("signature", signature))
    ring = place.write("keyring.gpg", keyring)
    ended = place.run("gpgv", "--homedir", place.folder, "--status-fd", "1", "--keyring", ring, *files)
    return Verdict(tuple(_VALID.findall(ended.out)), _BAD.search(ended.out) is not None, ended.reason)


def rpm_import(place: Bench, name: str, armored: bytes) -> tuple[str, ...]:
    """Have rpm import keys into a database of its own; the versions of the packages that they become, the last eight
    digits of each key's id among them. Raises UsageError when it refuses.
    """
    base = place.folder / f"rpm-{name}"
    base.mkdir()
    file = place.write(f"{name}.asc", armored)
    ended = place.run("rpmkeys", "--dbpath", base, "--import", file)
    if ended.code != 0:
        raise UsageError(f"rpm does not take the key: {ended.reason}", code="rpm_refused")
    listed = place.run("rpm", "--dbpath", base, "-q", "gpg-pubkey", "--queryformat", "%{VERSION}\n")
    return tuple(listed.out.split())
