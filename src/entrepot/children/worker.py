"""The child's side: binds itself with limits, then answers calls until the node closes the socket.

Runs in a process of its own only; :mod:`entrepot.children.process` starts it. The node is trusted here (its requests
are unpickled), the child is not trusted there.
"""

import contextlib
import ctypes
import importlib
import os
import pickle
import resource
import signal
import socket
import struct
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

from entrepot.children.codec import MESSAGE_BYTES_MAX, CodecError, encode
from entrepot.model.errors import Refusal

REQUEST = struct.Struct(">QIB")
"""Call number, length of the pickled (function, args) that follows, number of descriptors beside it."""
ANSWER = struct.Struct(">QIB")
"""Call number, length of the encoded value that follows, one of the kinds below."""
KIND_RESULT, KIND_REFUSAL, KIND_FAILURE, KIND_READY = range(4)

FDS_MAX = 16
OPEN_FILES_MAX = 128
TEXT_CHARS_MAX = 4096

_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS = 38


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """What the node tells a child on its command line. ``memory_bytes`` counts from what the child holds once
    ``preload`` is imported."""

    fd: int
    parent_pid: int
    memory_bytes: int
    preload: tuple[str, ...]


def main(settings: WorkerSettings) -> NoReturn:
    """Bind this process, report ready, serve until the socket closes. Never returns."""
    _die_with_parent(settings.parent_pid)
    # Ctrl-C and an orchestrator's SIGTERM reach the whole group; the node drains, and its children have to finish their
    # calls for that.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core file is a temporary file that nobody reserved
    resource.setrlimit(resource.RLIMIT_NOFILE, (OPEN_FILES_MAX, OPEN_FILES_MAX))
    with socket.socket(fileno=settings.fd) as channel:
        channel.set_inheritable(False)
        try:
            for module in settings.preload:
                importlib.import_module(module)
            _limit_memory(settings.memory_bytes)
        except Exception as error:
            _answer(channel, 0, KIND_FAILURE, encode(_failure(error)))
            os._exit(1)
        _answer(channel, 0, KIND_READY, b"")
        while _serve_one(channel):
            pass
    os._exit(0)  # not sys.exit: clean-up hooks of C libraries that parsed hostile input have nothing left to do


def _die_with_parent(parent_pid: int) -> None:
    """Have the kernel kill this process when the node's starting thread ends, however the node died."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != parent_pid:  # the node died before the line above took effect
        os._exit(1)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)  # attack: a set-uid program started by code that a package smuggled in


def _limit_memory(memory_bytes: int) -> None:
    """Cap the address space at what is mapped now plus ``memory_bytes``; a memory file counts the same, by
    RLIMIT_FSIZE."""
    with open("/proc/self/statm", "rb") as statm:
        mapped = int(statm.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (mapped + memory_bytes, mapped + memory_bytes))
    resource.setrlimit(resource.RLIMIT_FSIZE, (memory_bytes, memory_bytes))


def _serve_one(channel: socket.socket) -> bool:
    """Answer one call; False when the node has closed the socket."""
    header, fds, _, _ = socket.recv_fds(channel, REQUEST.size, FDS_MAX, socket.MSG_CMSG_CLOEXEC)
    if not header:
        return False
    try:
        header += _receive(channel, REQUEST.size - len(header))
        call_number, length, _ = REQUEST.unpack(header)
        kind, payload = _run(_receive(channel, length), tuple(fds))
    except EOFError:
        return False
    finally:
        for fd in fds:
            with contextlib.suppress(OSError):  # the function may have closed it itself
                os.close(fd)
    _answer(channel, call_number, kind, payload)
    return True


def _run(request: bytearray, fds: tuple[int, ...]) -> tuple[int, bytes]:
    """Call the function and encode what came of it."""
    try:
        function_path, args = pickle.loads(request)
        function = _find(function_path)
        result = function(*args, fds=fds) if fds else function(*args)
        return KIND_RESULT, encode(result)
    except Refusal as refusal:
        try:
            return KIND_REFUSAL, encode((refusal.code, refusal.detail[:TEXT_CHARS_MAX], refusal.numbers))
        except CodecError as error:
            return KIND_FAILURE, encode(_failure(error))
    except BaseException as error:  # SystemExit and KeyboardInterrupt too: an answer is owed
        return KIND_FAILURE, encode(_failure(error))


def _find(path: str) -> Callable[..., Any]:
    """The function of ``module:name``."""
    module, _, name = path.partition(":")
    function: Callable[..., Any] = getattr(importlib.import_module(module), name)
    return function


def _failure(error: BaseException) -> tuple[str, str, str]:
    """The (name, text, trace) of an exception, bounded and free of anything the codec would refuse."""
    frames = "".join(traceback.format_tb(error.__traceback__))
    words = (type(error).__name__, str(error)[:TEXT_CHARS_MAX], frames[-TEXT_CHARS_MAX:])
    name, text, trace = (word.encode("utf-8", "backslashreplace").decode() for word in words)
    return name, text, trace


def _receive(channel: socket.socket, size: int) -> bytearray:
    """Exactly ``size`` bytes from the node; EOFError when it closed."""
    data = bytearray()
    while len(data) < size:
        piece = channel.recv(min(size - len(data), 1 << 20))
        if not piece:
            raise EOFError
        data += piece
    return data


def _answer(channel: socket.socket, call_number: int, kind: int, payload: bytes) -> None:
    if len(payload) > MESSAGE_BYTES_MAX:
        kind, payload = KIND_FAILURE, encode(("CodecError", f"the result is larger than {MESSAGE_BYTES_MAX} bytes", ""))
    with contextlib.suppress(BrokenPipeError):  # the node closed; the next read ends this process
        # Two writes cost a small answer more than a copy does; a large one must not be held twice.
        header = ANSWER.pack(call_number, len(payload), kind)
        if len(payload) <= 1 << 16:
            channel.sendall(header + payload)
        else:
            channel.sendall(header)
            channel.sendall(payload)


if __name__ == "__main__":
    sys.exit("entrepot.children.worker is started by the node only")
