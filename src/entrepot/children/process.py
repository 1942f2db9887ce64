"""One child process, seen from the node: started, called, killed."""

import contextlib
import json
import os
import pickle
import socket
import subprocess
import sys
import time
from collections.abc import Sequence

from entrepot.children.codec import MESSAGE_BYTES_MAX, CodecError, KnownTypes, decode
from entrepot.children.errors import ChildCrashed, ChildFailed, ChildTimedOut
from entrepot.children.worker import ANSWER, FDS_MAX, KIND_FAILURE, KIND_READY, KIND_REFUSAL, KIND_RESULT, REQUEST
from entrepot.model.errors import TABLE, Refusal

# -I and -B: no variable of the node's environment and no file beside it changes what runs, and nothing is written.
_BOOT = (
    "import json, sys; c = json.loads(sys.argv[1]); sys.path[:] = c.pop('path'); "
    "from entrepot.children.worker import WorkerSettings, main; main(WorkerSettings(**c))"
)
_ENVIRONMENT = {
    "PATH": "/usr/bin:/bin",
    "LANG": "C.UTF-8",
    "TMPDIR": "/nonexistent",  # a library that wants a temporary file fails, instead of leaving one
    "MALLOC_ARENA_MAX": "1",
}
_REAP_S = 5.0
_EXIT_CODE_S = 1.0
_PIECE_BYTES = 1 << 20
_REFUSAL_NUMBERS_MAX = 32
_NOTHING_KNOWN = KnownTypes()


class NotDelivered(Exception):
    """The child was gone before it had the whole request: the function did not run, so another child may be asked."""


def pack_request(function: str, args: tuple[object, ...]) -> bytes:
    """A call as the child reads it.

    Raises: ValueError when it is larger than 64 MiB, and what pickling raises for arguments that cannot be pickled.
    """
    request = pickle.dumps((function, args), protocol=pickle.HIGHEST_PROTOCOL)
    if len(request) > MESSAGE_BYTES_MAX:
        raise ValueError(f"the arguments take {len(request)} bytes; at most {MESSAGE_BYTES_MAX}: pass a descriptor")
    return request


class Child:
    """A running child and the node's end of its socket. Not thread-safe: the pool hands it to one caller at a time."""

    def __init__(self, *, memory_bytes: int, preload: tuple[str, ...]) -> None:
        """Start the process and return at once; :meth:`wait_ready` has to follow.

        To be called on a thread that lives as long as the child may: the kernel's death signal follows the thread.
        Raises: OSError when the process cannot be started.
        """
        self._channel, theirs = socket.socketpair()
        with theirs:
            settings = {
                "fd": theirs.fileno(),
                "parent_pid": os.getpid(),
                "memory_bytes": memory_bytes,
                "preload": preload,
                "path": sys.path,
            }
            environment = dict(_ENVIRONMENT)
            if (
                "LD_LIBRARY_PATH" in os.environ
            ):  # an interpreter that was not installed system-wide may need it to start
                environment["LD_LIBRARY_PATH"] = os.environ["LD_LIBRARY_PATH"]
            try:
                self._process = subprocess.Popen(
                    [sys.executable, "-I", "-B", "-c", _BOOT, json.dumps(settings)],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,  # attack: log lines forged by what a C library prints about a package
                    stderr=subprocess.DEVNULL,
                    close_fds=True,
                    pass_fds=(theirs.fileno(),),
                    env=environment,
                    cwd="/",
                )
            except BaseException:
                self._channel.close()
                raise
        self.calls = 0
        self.idle_since = 0.0

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def alive(self) -> bool:
        """Whether the process still runs."""
        return self._process.poll() is None

    def wait_ready(self, start_s: float) -> None:
        """Wait until the child has imported its modules and bound itself.

        Raises: ChildFailed when an import failed, ChildCrashed or ChildTimedOut when it did not come up; it is dead
        then.
        """
        try:
            kind, payload = self._receive_answer(0, time.monotonic() + start_s, start_s)
            if kind != KIND_READY:
                raise (
                    self._failure(payload)
                    if kind == KIND_FAILURE
                    else ChildCrashed(f"an answer of kind {kind} at the start")
                )
        except NotDelivered as error:
            self.kill()
            raise self._crash() from error
        except BaseException:
            self.kill()
            raise

    def call(self, request: bytes, fds: Sequence[int], timeout_s: float, known: KnownTypes) -> object:
        """Have the child run what :func:`pack_request` packed; see :meth:`ChildPool.call
        <entrepot.children.pool.ChildPool.call>`.

        Raises: Refusal and ChildFailed (the child may be used again), ChildCrashed and ChildTimedOut (it may not),
        NotDelivered.
        """
        if len(fds) > FDS_MAX:
            raise ValueError(f"{len(fds)} descriptors; at most {FDS_MAX}")
        self.calls += 1
        deadline = time.monotonic() + timeout_s
        self._send(REQUEST.pack(self.calls, len(request), len(fds)), request, fds, deadline, timeout_s)
        kind, payload = self._receive_answer(self.calls, deadline, timeout_s)
        if kind == KIND_FAILURE:
            raise self._failure(payload)
        try:
            if kind == KIND_REFUSAL:
                raise _refusal(payload)
            if kind == KIND_RESULT:
                return decode(payload, known)
        except CodecError as error:
            raise ChildCrashed(f"the child's answer is not acceptable: {error}") from error
        raise ChildCrashed(f"the child sent an answer of unknown kind {kind}")

    def terminate(self) -> None:
        """End the process now and leave the rest to the caller that waits for its answer. Safe from any thread."""
        self._process.kill()

    def kill(self) -> int | None:
        """End the process now and collect it; the exit code, or None when the kernel has not let go of it within 5
        s."""
        self._channel.close()
        self._process.kill()
        with contextlib.suppress(
            subprocess.TimeoutExpired
        ):  # stuck in the kernel: the next start of any child collects it
            return self._process.wait(_REAP_S)
        return None

    def _send(self, header: bytes, request: bytes, fds: Sequence[int], deadline: float, timeout_s: float) -> None:
        try:
            self._channel.settimeout(_remaining(deadline, timeout_s))
            if fds:
                sent = socket.send_fds(self._channel, [header], list(fds))
                self._channel.sendall(header[sent:] + request)
            else:
                self._channel.sendall(header + request)
        except TimeoutError as error:
            raise ChildTimedOut(timeout_s) from error
        except (BrokenPipeError, ConnectionResetError) as error:
            raise NotDelivered from error

    def _receive_answer(self, call_number: int, deadline: float, timeout_s: float) -> tuple[int, bytes]:
        header = self._receive(ANSWER.size, deadline, timeout_s)
        number, length, kind = ANSWER.unpack(header)
        # Attack: an answer sent ahead, to stand in for that of the next package.
        if number != call_number:
            raise ChildCrashed(f"the child answered call {number} instead of {call_number}")
        if length > MESSAGE_BYTES_MAX:
            raise ChildCrashed(f"the child announced an answer of {length} bytes; at most {MESSAGE_BYTES_MAX}")
        return kind, self._receive(length, deadline, timeout_s)

    def _receive(self, size: int, deadline: float, timeout_s: float) -> bytes:
        data = bytearray()
        while len(data) < size:
            try:
                self._channel.settimeout(_remaining(deadline, timeout_s))
                piece = self._channel.recv(min(size - len(data), _PIECE_BYTES))
            except TimeoutError as error:
                raise ChildTimedOut(timeout_s) from error
            except ConnectionResetError as error:  # it died with the request unread
                raise NotDelivered from error
            if not piece:
                raise self._crash()
            data += piece
        return bytes(data)

    def _crash(self) -> ChildCrashed:
        try:
            exit_code = self._process.wait(_EXIT_CODE_S)
        except subprocess.TimeoutExpired:
            return ChildCrashed("the child closed its socket without an answer")
        error = ChildCrashed("", exit_code)
        how = error.signal_name or f"exit code {exit_code}"
        return ChildCrashed(f"the child ended with {how} and gave no answer", exit_code)

    def _failure(self, payload: bytes) -> ChildFailed | ChildCrashed:
        try:
            words = decode(payload, _NOTHING_KNOWN)
        except CodecError as error:
            return ChildCrashed(f"the child's failure is not readable: {error}")
        if isinstance(words, tuple) and len(words) == 3 and all(isinstance(word, str) for word in words):
            name, text, trace = (word[:4096] for word in words)
            return ChildFailed(name, text, trace)
        return ChildCrashed("the child's failure is not readable")


def _remaining(deadline: float, timeout_s: float) -> float:
    remaining = deadline - time.monotonic()
    if remaining <= 0:
        raise ChildTimedOut(timeout_s)
    return remaining


def _refusal(payload: bytes) -> Refusal:
    """Rebuild a refusal; its code has to be a row of the table, so a child cannot choose a status that no row has.

    Raises: CodecError for anything else.
    """
    value = decode(payload, _NOTHING_KNOWN)
    if not isinstance(value, tuple) or len(value) != 3:
        raise CodecError("a refusal is (code, detail, numbers)")
    code, detail, numbers = value
    if not isinstance(code, str) or code not in TABLE or not isinstance(detail, str):
        raise CodecError("a refusal with a code that is no row of the table")
    if not isinstance(numbers, dict) or len(numbers) > _REFUSAL_NUMBERS_MAX:
        raise CodecError("a refusal's numbers are a small mapping")
    for key, number in numbers.items():
        if not isinstance(key, str) or not key.isidentifier() or key in {"self", "code", "detail"}:
            raise CodecError("a refusal's number with a name that is none")
        if not isinstance(number, int | float | str | None):
            raise CodecError("a refusal's number that is none")
    return Refusal(code, detail[:4096], **numbers)
