"""A committed copy, open for reading."""

from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import NoReturn, Self

from entrepot.disk import fs


class OpenFile:
    """A :class:`~entrepot.storage.protocol.OpenCopy` over a descriptor."""

    def __init__(self, fd: int, size_bytes: int, descriptors: set[int], fail: Callable[[OSError], NoReturn]) -> None:
        """Args: ``fd`` is owned from here on; ``descriptors`` is where the store keeps those in use; ``fail`` raises
        the Refusal for an error."""
        self._fd: int | None = fd
        self._size = size_bytes
        self._descriptors = descriptors
        self._fail = fail
        descriptors.add(fd)

    @property
    def size_bytes(self) -> int:
        """Bytes of the copy."""
        return self._size

    def fileno(self) -> int:
        """The descriptor, which stays ours. Raises RuntimeError once closed."""
        if self._fd is None:
            raise RuntimeError("the copy is closed")
        return self._fd

    def read_at(self, offset_bytes: int, length_bytes: int) -> bytes:
        """See :meth:`OpenCopy.read_at`."""
        try:
            return fs.pread(self.fileno(), length_bytes, offset_bytes)
        except OSError as error:
            self._fail(error)

    def close(self) -> None:
        """Close; any number of times."""
        fd, self._fd = self._fd, None
        if fd is not None:
            self._descriptors.discard(fd)
            with suppress(OSError):  # nothing was written
                fs.close(fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
