"""Which server, and with which token: the command line, then the environment, then client.toml, then what lies on this
machine.
"""

from __future__ import annotations

import ipaddress
import os
import re
import stat
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from entrepot.client.errors import UsageError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

DEFAULT_URL = "http://127.0.0.1:8420"
DEFAULT_DATA_FOLDER = "/var/lib/entrepot"
PARALLEL_MAX = 64
FILE_BYTES_MAX = 64 * 1024
KNOWN = frozenset({"url", "token", "token_file", "ca_file", "parallel", "retry_for_s"})

_TOKEN = re.compile(r"[\x21-\x7e]{1,512}\Z")


@dataclass(frozen=True)
class Given:
    """What the command line says; None where it says nothing."""

    url: str | None = None
    token_file: Path | None = None
    data_folder: Path | None = None
    ca_file: Path | None = None


@dataclass(frozen=True)
class Connection:
    """How to reach the server. ``sources`` says for each setting where it came from; ``warnings`` are for people."""

    url: str
    token: str | None = field(repr=False)
    ca_file: Path | None
    parallel: int | None
    retry_for_s: float | None
    sources: Mapping[str, str]
    warnings: tuple[str, ...] = ()

    @property
    def local(self) -> bool:
        """Whether the server is on this machine."""
        return is_local(self.url)


def config_path(environment: Mapping[str, str]) -> Path:
    """``$XDG_CONFIG_HOME/entrepot/client.toml``, by default below ``~/.config``."""
    base = environment.get("XDG_CONFIG_HOME") or os.path.join(environment.get("HOME", "/"), ".config")
    return Path(base) / "entrepot" / "client.toml"


def is_local(url: str) -> bool:
    """Whether a URL names this machine by a loopback address or ``localhost``."""
    host = urlsplit(url).hostname or ""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def resolve(given: Given, environment: Mapping[str, str]) -> Connection:
    """Settle every setting.

    The token comes from ``--token-file``, ENTREPOT_TOKEN, ``--data DIR`` (its ``admin-token``), client.toml, or, when
    the server is on this machine, the data folder's ``admin-token``. Raises UsageError for a malformed URL, file or
    token, and for ``--data`` with a server elsewhere (the administrator's token would leave the machine).
    """
    sources: dict[str, str] = {}
    warnings: list[str] = []
    file, path = _read_file(environment, warnings)

    def choose(name: str, *candidates: tuple[str, Any]) -> Any:
        for source, value in candidates:
            if value not in (None, ""):
                sources[name] = source
                return value
        sources[name] = "none"
        return None

    url = check_url(
        choose(
            "url",
            ("--url", given.url),
            ("ENTREPOT_URL", environment.get("ENTREPOT_URL")),
            (str(path), file.get("url")),
            ("default", DEFAULT_URL),
        )
    )
    ca_file = choose(
        "ca_file",
        ("--ca-file", given.ca_file),
        ("ENTREPOT_CA_FILE", environment.get("ENTREPOT_CA_FILE")),
        (str(path), file.get("ca_file")),
    )
    token, sources["token"] = _find_token(given, environment, file, path, url, warnings)
    parallel, retry_for_s = file.get("parallel"), file.get("retry_for_s")
    if parallel is not None and not (isinstance(parallel, int) and 1 <= parallel <= PARALLEL_MAX):
        raise UsageError(f"{path}: parallel is a number from 1 to {PARALLEL_MAX}.")
    if retry_for_s is not None and not (isinstance(retry_for_s, (int, float)) and retry_for_s >= 0):
        raise UsageError(f"{path}: retry_for_s is a number of seconds.")
    ca_path = None if ca_file is None else _at_home(ca_file)
    return Connection(url, token, ca_path, parallel, retry_for_s, sources, tuple(warnings))


def _read_file(environment: Mapping[str, str], warnings: list[str]) -> tuple[dict[str, Any], Path]:
    path = config_path(environment)
    try:
        with path.open("rb") as stream:
            text = stream.read(FILE_BYTES_MAX)
            mode = os.fstat(stream.fileno()).st_mode
    except FileNotFoundError:
        return {}, path
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from error
    try:
        file = tomllib.loads(text.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: {error}") from None
    if unknown := sorted(set(file) - KNOWN):
        known = ", ".join(sorted(KNOWN))
        raise UsageError(f"{path}: there is no setting {unknown[0]!r}.", remedy=f"Known are {known}.")
    if "token" in file:
        judge_mode(path, mode, "token", warnings)
    return file, path


def judge_mode(path: Path, mode: int, held: str, warnings: list[str]) -> None:
    """A regular file with a secret is its user's alone; a pipe (``<(pass show …)``) has no mode that says anything."""
    if stat.S_ISREG(mode) and mode & (stat.S_IRWXG | stat.S_IRWXO):
        warnings.append(f"{path} holds a {held} and others can read or change it: chmod 600 {path}")


def _find_token(
    given: Given, environment: Mapping[str, str], file: Mapping[str, Any], path: Path, url: str, warnings: list[str]
) -> tuple[str | None, str]:
    if given.token_file is not None:
        return read_token(given.token_file, warnings), str(given.token_file)
    if text := environment.get("ENTREPOT_TOKEN", ""):
        return check_token(text, "ENTREPOT_TOKEN"), "ENTREPOT_TOKEN"
    if given.data_folder is not None:
        if not is_local(url):
            raise UsageError(
                f"--data gives the administrator's token to a server on this machine only, and {url} is not.",
                remedy="Set ENTREPOT_TOKEN, or name a file with --token-file.",
            )
        token_file = given.data_folder / "admin-token"
        return read_token(token_file, warnings), str(token_file)
    if file.get("token"):
        return check_token(str(file["token"]), str(path)), str(path)
    if file.get("token_file"):
        token_file = _at_home(file["token_file"])
        return read_token(token_file, warnings), str(token_file)
    if is_local(url):
        folder = environment.get("ENTREPOT_SERVER_DATA_FOLDER") or DEFAULT_DATA_FOLDER
        token_file = Path(folder) / "admin-token"
        if os.access(token_file, os.R_OK):
            return read_token(token_file, warnings), str(token_file)
    return None, "none"


def read_token(path: Path, warnings: list[str]) -> str:
    """The token in a file: its first line. ``warnings`` gets a sentence when others can read the file too.

    Raises UsageError when it cannot be read or holds none.
    """
    try:
        with _at_home(path).open("rb") as stream:
            text = stream.read(4096).decode("utf-8", "replace").strip()
            judge_mode(path, os.fstat(stream.fileno()).st_mode, "token", warnings)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}: the token cannot be read.") from error
    return check_token(text.partition("\n")[0].strip(), str(path))


def _at_home(path: object) -> Path:
    """A path with ``~`` as the home folder; as it is where there is no such user."""
    return Path(os.path.expanduser(str(path)))


def check_token(text: str, where: str) -> str:
    """A token that can stand in a header. Raises UsageError, which never shows the text."""
    text = text.strip()
    if not _TOKEN.match(text):
        raise UsageError(f"{where} does not hold a token: 48 characters of 0-9 and a-f are expected.")
    return text


def check_url(text: str) -> str:
    """A server's address without a closing slash; https when it says no scheme. Raises UsageError."""
    text = text.strip()
    if "://" not in text:
        text = f"https://{text}"
    try:
        parts = urlsplit(text)
        bad = parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0
    except ValueError:
        raise UsageError(f"{text!r} is not a URL: write it as https://HOST or http://HOST:PORT.") from None
    if bad or parts.query or parts.fragment:
        raise UsageError(f"{text!r} is not a server's URL: write it as https://HOST or http://HOST:PORT.")
    if parts.username is not None:
        raise UsageError("Do not put a token into the URL; it would end up in logs.", remedy="Set ENTREPOT_TOKEN.")
    return text.rstrip("/")
