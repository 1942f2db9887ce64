"""The decision before the first byte of a body: names, size, quota, a place in the queue, and room on the volume."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from entrepot.model.errors import Refusal
from entrepot.model.limits import FILENAME_CHARS_MAX, KIB, MIB, PATH_CHARS_MAX, UPLOAD_BYTES_MAX

# What one publication of one small change needs beside the package: fragments, rows, a delta, documents, signatures.
# The share covers fragments of packages with long file lists; the catalog's WAL has its own bound.
PUBLICATION_BYTES = 512 * KIB
PUBLICATION_SHARE = 1 / 64
PUBLICATION_SHARE_BYTES_MAX = 16 * MIB
PUBLICATION_INODES = 4


@dataclass(frozen=True, slots=True)
class IntakeLimits:
    """The bounds of the way in.

    ``upload_bytes_max`` one file; ``uploads_max`` bodies being received at once; ``waiting_max`` more that wait for at
    most ``wait_s``.
    """

    upload_bytes_max: int = UPLOAD_BYTES_MAX
    uploads_max: int = 64
    waiting_max: int = 256
    wait_s: float = 10.0


def publication_need(size_bytes: int) -> int:
    """Bytes to set aside for the publication of a package of ``size_bytes``."""
    return PUBLICATION_BYTES + min(int(size_bytes * PUBLICATION_SHARE), PUBLICATION_SHARE_BYTES_MAX)


def check_size(declared_bytes: int | None, limits: IntakeLimits) -> None:
    """Raises Refusal("too_large")."""
    if declared_bytes is not None and declared_bytes > limits.upload_bytes_max:
        raise Refusal("too_large", size_bytes=declared_bytes, upload_bytes_max=limits.upload_bytes_max)


def check_path(path: str) -> str:
    """The last segment of an upload's path, checked.

    Raises Refusal("package_name_invalid"): a name longer than a file system takes, control characters (they would split
    an index's lines), ``.``, ``..`` or empty segments (they would leave the distribution's folder), a backslash.
    """
    segments = path.split("/")
    name = segments[-1]
    if len(path) > PATH_CHARS_MAX or any(len(segment.encode()) > FILENAME_CHARS_MAX for segment in segments):
        raise Refusal(
            "package_name_invalid", "The file's name or path is too long; rename it.", name_bytes_max=FILENAME_CHARS_MAX
        )
    if not path.isprintable() or "\\" in path or any(segment in ("", ".", "..") for segment in segments):
        raise Refusal(
            "package_name_invalid",
            "The file's name holds characters that no repository can serve; rename it.",
            field="filename",
        )
    return name


class Slots:
    """How many bodies are received at once; the rest waits a moment, in order, and is then sent away with ``busy``.
    Half as many while ``pressed()``.

    For the event loop's thread alone.
    """

    def __init__(self, limits: IntakeLimits, pressed: Callable[[], bool] = lambda: False) -> None:
        self._limits = limits
        self._pressed = pressed
        self._waiting: deque[asyncio.Future[None]] = deque()
        self.active = 0

    @asynccontextmanager
    async def hold(self) -> AsyncIterator[None]:
        """Hold one slot. Raises Refusal("busy") when too many wait already, or when no slot came free in time."""
        if self._waiting or self._none_free():
            await self._queue()
        else:
            self.active += 1
        try:
            yield
        finally:
            self._give_back()

    def _none_free(self) -> bool:
        most = self._limits.uploads_max
        return self.active >= (max(1, most // 2) if self._pressed() else most)

    def _give_back(self) -> None:
        self.active -= 1
        while self._waiting and not self._none_free():
            turn = self._waiting.popleft()
            if not turn.done():
                self.active += 1  # on behalf of who waits: nobody else may take the slot before it wakes
                turn.set_result(None)

    async def _queue(self) -> None:
        if len(self._waiting) >= self._limits.waiting_max:
            raise self._busy()
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            async with asyncio.timeout(self._limits.wait_s):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled():  # the slot came at the very moment of giving up
                self._give_back()
            elif turn in self._waiting:
                self._waiting.remove(turn)
            if isinstance(error, TimeoutError):
                raise self._busy() from None
            raise

    def _busy(self) -> Refusal:
        return Refusal("busy", uploads=self.active, waiting=len(self._waiting))
