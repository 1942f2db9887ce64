"""Browsers that are logged in: a random text in a cookie stands for a token, which the browser then need not keep."""

import hashlib
import secrets
from collections import OrderedDict

from entrepot.observe.clock import Clock
from entrepot.web.call import Call, Header

COOKIE = "entrepot_session"
SESSIONS_MAX = 4096
SESSIONS_OF_OWNER_MAX = 256
SESSION_S = 12 * 3600
SESSION_BYTES = 24
COOKIE_CHARS_MAX = 4096


class Sessions:
    """Sessions in memory, at most ``SESSIONS_MAX``: a restart logs everybody out, and who logs out is out at once. An
    owner has ``SESSIONS_OF_OWNER_MAX`` of them, so that nobody logs the others out by logging in again and again.

    Kept by the SHA-256 of their text, so the time of a look-up says nothing about one.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._tokens: OrderedDict[bytes, tuple[int, float, str]] = OrderedDict()

    def begin(self, token_id: int, owner: str) -> str:
        """A new session of a token of ``owner``; its text."""
        text = secrets.token_hex(SESSION_BYTES)
        of_owner = [key for key, held in self._tokens.items() if held[2] == owner]
        if len(of_owner) >= SESSIONS_OF_OWNER_MAX:
            del self._tokens[of_owner[0]]
        self._tokens[_key(text)] = (token_id, self._clock.monotonic() + SESSION_S, owner)
        while len(self._tokens) > SESSIONS_MAX:
            self._tokens.popitem(last=False)
        return text

    def token_id(self, text: str | None) -> int | None:
        """The token that a session stands for, None when there is no such session. The token may be over by now."""
        found = None if text is None else self._tokens.get(_key(text))
        return None if found is None or found[1] <= self._clock.monotonic() else found[0]

    def end(self, text: str | None) -> None:
        """Log out."""
        if text is not None:
            self._tokens.pop(_key(text), None)


def session_of(call: Call) -> str | None:
    """The text of the request's session cookie."""
    for part in (call.header(b"cookie") or "")[:COOKIE_CHARS_MAX].split(";"):
        name, _, value = part.strip().partition("=")
        if name == COOKIE:
            return value
    return None


def cookie(text: str, public_url: str, *, lives_s: int = SESSION_S) -> Header:
    """The header that gives a browser its session (``lives_s`` 0: takes it away). No script reads it, no other site's
    page sends it, and with HTTPS it never goes out in the clear.
    """
    secure = "; Secure" if public_url.startswith("https:") else ""
    value = f"{COOKIE}={text}; Path=/app; Max-Age={lives_s}; HttpOnly; SameSite=Strict{secure}"
    return b"set-cookie", value.encode()


def _key(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()
