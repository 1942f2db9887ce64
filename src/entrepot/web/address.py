"""What an address means: repository, rest of the path, and the format's target."""

from dataclasses import dataclass
from functools import lru_cache

from entrepot.formats.protocol import Format, Target
from entrepot.model.errors import Refusal
from entrepot.model.nouns import RepositoryName
from entrepot.web.auth import TOKEN

# First segments that are the server's own; no owner may have these names.
RESERVED = frozenset(
    {
        "api",
        "priv",
        "install",
        "livez",
        "readyz",
        "statusz",
        "metrics",
        "gpg.key",
        "static",
        "app",
        "favicon.ico",
        "robots.txt",
    }
)

# First segments below USER/REPO that are the repository's own; no family of distributions may have these names.
OWN_SEGMENTS = frozenset({"packages", "gpgkey", "gpg.key"})


@dataclass(frozen=True, slots=True)
class RepositoryAddress:
    """``/USER/REPO/rest``, or ``/priv/TOKEN/USER/REPO/rest``; ``rest`` has no leading slash and may end with one."""

    repository: RepositoryName
    rest: str
    path_token: str | None = None


@lru_cache(maxsize=4096)
def parse(path: str) -> RepositoryAddress | None:
    """The repository address of a clean path, or None when it is none. Pure."""
    token: str | None = None
    parts = path[1:].split("/", 2)
    if parts[0] == "priv":
        parts = path[1:].split("/", 4)
        if len(parts) < 4:
            return None
        token = parts[1]
        if not TOKEN.match(token):
            return None
        parts = parts[2:]
    if parts[0] in RESERVED or len(parts) < 2 or not parts[1]:
        return None
    try:
        name = RepositoryName.parse(f"{parts[0]}/{parts[1]}")
    except Refusal:
        return None
    return RepositoryAddress(name, parts[2] if len(parts) > 2 else "", token)


class Routes:
    """Format routes with a memory: package managers ask for the same few addresses all day, and ``Format.route`` is
    pure.
    """

    KEPT_MAX = 8192

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str], tuple[Format, Target] | None] = {}

    def find(self, owners: tuple[Format, ...], method: str, rest: str) -> tuple[Format, Target] | None:
        """Which of ``owners`` knows ``rest``, and as what; None when nobody does."""
        key = (method, rest)
        try:
            return self._kept[key]
        except KeyError:
            pass
        found = None
        for owner in owners:
            target = owner.route(method, rest)
            if target is not None:
                found = (owner, target)
                break
        if len(self._kept) >= self.KEPT_MAX:
            self._kept.clear()  # rare and cheap; an order of use would cost every request
        self._kept[key] = found
        return found

    def clear(self) -> None:
        """Forget everything: the distribution table changed."""
        self._kept.clear()
