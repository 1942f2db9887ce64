"""Who asks: the token in a request, and whether it may do what is asked. A token's text never leaves this module."""

import base64
import binascii
import hashlib
import re
from collections import OrderedDict
from collections.abc import Awaitable, Callable

from entrepot.catalog import Connection, repositories
from entrepot.catalog.repositories import RepositoryRow
from entrepot.catalog.tokens import TokenRow
from entrepot.model.errors import Refusal
from entrepot.model.nouns import RepositoryName, Role
from entrepot.observe.clock import Clock
from entrepot.web.attempts import Attempts
from entrepot.web.remembered import Remembered

TOKEN = re.compile(r"[0-9a-f]{48}\Z")
BASIC_CHARS_MAX = 4096
CACHE_ENTRIES_MAX = 4096
CACHE_S = 3.0
GOOD_S = 3600.0


def credentials(authorization: bytes | None, path_token: str | None = None) -> tuple[str, ...]:
    """The texts of a request that may be a token, best first: ``/priv/TOKEN/``, Bearer, Basic user name, Basic
    password.

    Some clients put the token in the user name with any password (apt, curl), some in the password (dput,
    settings.xml). An empty tuple: the request names no credential at all.
    """
    found: list[str] = [] if path_token is None else [path_token]
    if authorization is not None:
        scheme, _, rest = authorization.partition(b" ")
        rest = rest.strip()
        if len(rest) > BASIC_CHARS_MAX:
            return tuple(found)
        if scheme.lower() == b"bearer" and rest:
            found.append(rest.decode("latin-1"))
        elif scheme.lower() == b"basic" and rest:
            try:
                user, _, password = base64.b64decode(rest, validate=True).decode("utf-8", "replace").partition(":")
            except (binascii.Error, ValueError):
                found.append("")
            else:
                found += [text for text in (user, password) if text] or [""]
    return tuple(found)


class Tokens:
    """Token look-ups with a short memory: an apt-get update is some ten requests with one token.

    Entries live ``CACHE_S`` seconds and are at most 4,096, unknown tokens included: guessing neither fills the memory
    nor hammers the catalog with the same guess. Keys are SHA-256 of the text, so the time of a look-up says nothing
    about a stored token.
    """

    def __init__(
        self, lookup: Callable[[str], Awaitable[TokenRow | None]], clock: Clock, attempts: Attempts | None = None
    ) -> None:
        """Args: ``lookup`` finds a row by the token's text (constant-time compare inside), None when there is none;
        ``attempts`` bounds failures by address, None: nobody does.
        """
        self._lookup = lookup
        self._clock = clock
        self._attempts = attempts or Attempts(0, clock)
        self._good: OrderedDict[bytes, float] = OrderedDict()
        self._known: Remembered[bytes, TokenRow | None] = Remembered(clock, keep_s=CACHE_S, most=CACHE_ENTRIES_MAX)
        self._used: dict[int, int] = {}

    def take_used(self) -> dict[int, int]:
        """Token id → second of its last use, since the last call; upkeep writes these down."""
        used, self._used = self._used, {}
        return used

    def forget(self) -> None:
        """Drop every cached answer: a token was revoked or made."""
        self._known.forget()

    async def find(self, text: str) -> TokenRow | None:
        """The row of a token's text, valid or not; None when nobody knows it."""
        if not TOKEN.match(text):
            return None
        return await self._known.find(_key(text), lambda: self._lookup(text))

    async def identify(self, texts: tuple[str, ...], address: str) -> TokenRow:
        """The valid token among ``texts``, which came from ``address``.

        An address that failed too often is heard only with a token that was good lately: colleagues behind the same
        address go on working, and whoever guesses learns nothing.

        Raises Refusal: ``token_missing`` for none, ``token_unknown``, ``token_expired``, ``token_revoked``,
        ``too_many_attempts``.
        """
        if not texts:
            raise Refusal("token_missing")
        wait_s = self._attempts.wait_s(address)
        if wait_s:
            texts = tuple(text for text in texts if self._was_good(text))
            if not texts:
                raise Refusal("too_many_attempts", retry_after_s=wait_s)
        problem = Refusal("token_unknown")
        for text in texts:
            row = await self.find(text)
            if row is None:
                continue
            fault = over(row, self._clock.now_s())
            if fault is None:
                self._note(text, row)
                return row
            problem = fault
        self._attempts.failed(address)
        raise problem

    def _note(self, text: str, row: TokenRow) -> None:
        if len(self._used) < CACHE_ENTRIES_MAX:
            self._used[row.id] = self._clock.now_s()
        key = _key(text)
        self._good[key] = self._clock.monotonic() + GOOD_S
        self._good.move_to_end(key)
        while len(self._good) > CACHE_ENTRIES_MAX:
            self._good.popitem(last=False)

    def _was_good(self, text: str) -> bool:
        """Whether the token was valid within the last hour; it need not be now."""
        return self._good.get(_key(text), 0.0) > self._clock.monotonic()


def _key(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()


def over(row: TokenRow, now_s: int) -> Refusal | None:
    """Why a token is no longer valid: ``token_revoked`` or ``token_expired``; None when it is."""
    if row.revoked_at is not None:
        return Refusal("token_revoked")
    return Refusal("token_expired", expired_at=row.expires_at) if row.expired(now_s) else None


def is_operator(token: TokenRow) -> bool:
    """Whether a token may act for every owner."""
    return token.is_operator


def visible(conn: Connection, token: TokenRow) -> tuple[RepositoryRow, ...]:
    """Every repository that a token may know of, by name: just those for which :func:`require` lets it read."""
    if token.repositories is not None:
        return repositories.list_named(conn, token.repositories)
    if is_operator(token):
        return repositories.list_all(conn)
    return repositories.list_for_owner(conn, token.owner)


def require(token: TokenRow, role: Role, repository: RepositoryName | None) -> None:
    """Check role and repository of a valid token.

    Raises Refusal: ``repository_not_allowed`` for a repository of another owner or outside the token's list,
    ``role_too_low``.
    """
    if repository is not None and not is_operator(token):
        owned = token.owner == repository.owner
        if not (owned if token.repositories is None else str(repository) in token.repositories):
            raise Refusal("repository_not_allowed", repository=str(repository))
    if not token.role.includes(role):
        raise Refusal("role_too_low", role_needed=role.value, role=token.role.value)
