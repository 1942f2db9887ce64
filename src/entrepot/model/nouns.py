"""The nouns of design section 3 as frozen values; no behaviour beyond checking themselves."""

import re
from dataclasses import dataclass
from enum import StrEnum

from entrepot.model.errors import Refusal
from entrepot.model.limits import REPOSITORY_NAME_CHARS_MAX

# First character alphanumeric: keeps "." and "..", and option-like names such as "-rf", out of paths and command lines.
_NAME = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._-]{{0,{REPOSITORY_NAME_CHARS_MAX - 1}}}\Z")
_DISTRIBUTION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}/[A-Za-z0-9][A-Za-z0-9._+-]{0,63}\Z")


# The owner that the first start makes; an unrestricted admin token of it may do everything on the node.
OPERATOR = "admin"
# The owner of the repositories in which nodes try themselves out; nobody else may make any under it, and no list shows
# them.
CANARY_OWNER = "entrepot-canary"


class Role(StrEnum):
    """What a token may do; each includes the ones before it."""

    READ = "read"
    PUSH = "push"
    ADMIN = "admin"

    def includes(self, other: "Role") -> bool:
        """True when a token of this role may do what ``other`` may."""
        order = (Role.READ, Role.PUSH, Role.ADMIN)
        return order.index(self) >= order.index(other)


@dataclass(frozen=True, slots=True)
class RepositoryName:
    """``owner/name``; both halves are safe in paths, URLs and client file names."""

    owner: str
    name: str

    @classmethod
    def parse(cls, text: str) -> "RepositoryName":
        """Read ``USER/REPO``. Raises Refusal("repository_name_invalid")."""
        owner, slash, name = text.partition("/")
        if not slash or not _NAME.match(owner) or not _NAME.match(name):
            raise Refusal("repository_name_invalid", field="repository", value=text[:200])
        return cls(owner, name)

    def __str__(self) -> str:
        return f"{self.owner}/{self.name}"


@dataclass(frozen=True, slots=True)
class Distribution:
    """One row of the distribution table, e.g. ``debian/bookworm`` with packagecloud's id 215.

    ``format`` names the folder under ``formats/``; ``type`` is packagecloud's key (``deb``, ``rpm``, ``jar``…).
    """

    id: int
    family: str
    version: str
    type: str
    format: str
    family_display: str
    version_display: str
    version_number: str | None

    @property
    def path(self) -> str:
        """``family/version`` as it stands in URLs and in the catalog."""
        return f"{self.family}/{self.version}"


def check_distribution_path(text: str) -> str:
    """Return ``family/version`` unchanged. Raises Refusal("distribution_unknown") when it cannot be one (path tricks
    included)."""
    if not _DISTRIBUTION.match(text):
        raise Refusal("distribution_unknown", field="distribution", value=text[:200])
    return text


@dataclass(frozen=True, slots=True)
class Digests:
    """Hex digests of one file; ``sha256`` always, the rest where the format needs them, else None until upkeep fills
    them in."""

    sha256: str
    md5: str | None = None
    sha1: str | None = None
    sha512: str | None = None


@dataclass(frozen=True, slots=True)
class Ticket:
    """A promise to wait for: scope ``scope_id`` will be published with every change up to ``change``."""

    scope_id: int
    change: int
