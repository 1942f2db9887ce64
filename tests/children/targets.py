"""Functions that the tests have children run: honest, slow, greedy, crashing and hostile ones."""

import collections
import os
import pickle
import resource
import signal
import socket
import stat
import time
from dataclasses import dataclass
from enum import StrEnum

from entrepot.children.codec import encode
from entrepot.children.worker import ANSWER, KIND_REFUSAL, KIND_RESULT
from entrepot.model.errors import Refusal
from entrepot.streams.errors import Damaged


class Colour(StrEnum):
    """An enum in a result."""

    RED = "red"


@dataclass(frozen=True, slots=True)
class Member:
    """A nested part of a result."""

    path: str
    size_bytes: int | None


@dataclass(frozen=True, slots=True)
class Verdict:
    """A result with every kind of field."""

    name: str
    order_key: bytes
    members: tuple[Member, ...]
    notes: dict[str, object]
    colour: Colour


def echo(value: object) -> object:
    """The argument."""
    return value


def verdict() -> Verdict:
    """A full result."""
    return Verdict("a", b"\x00\xff", (Member("p", 1), Member("q", None)), {"k": [1, 2.5, True, None]}, Colour.RED)


def lying_verdict() -> Verdict:
    """A result whose name is a number, as a child under an attacker's control would send."""
    return Verdict(7, b"", (), {}, Colour.RED)  # type: ignore[arg-type]


def refuse() -> None:
    """A refusal of the table."""
    raise Refusal("package_damaged", "Build it again.", size_bytes=12, field="Package")


def refuse_by_subclass() -> None:
    """A refusal of a class of its own, with another constructor."""
    raise Damaged("Cut off.", size_bytes=3)


def fail(text: str) -> None:
    """An error that nobody foresaw."""
    raise RuntimeError(text)


def leave() -> None:
    """What a library that calls sys.exit does."""
    raise SystemExit(3)


def pid() -> int:
    """The child's process id."""
    return os.getpid()


def sleep(wait_s: float) -> int:
    """Hold the child for a while; its process id."""
    time.sleep(wait_s)
    return os.getpid()


def hang_with_gil() -> None:
    """Hold the interpreter's lock for ever, as a C library in a loop does: no Python code in the child can run."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})
    collections.deque(iter(int, 1), maxlen=0)  # grows nothing: the memory cap must not end it first


def crash(number: int) -> None:
    """End by a signal, as a fault in C code does."""
    os.kill(os.getpid(), number)
    time.sleep(10)


def exit_now(code: int) -> None:
    """End without an answer."""
    os._exit(code)


def allocate(size_bytes: int) -> int:
    """Hold this much memory."""
    return len(bytearray(size_bytes))


def write_file(path: str, size_bytes: int) -> int:
    """Write a file as large as this."""
    with open(path, "wb") as file:
        return file.write(bytes(size_bytes))


def append_pieces(path: str, pieces: int) -> None:
    """Write a file of this many MiB, one at a time."""
    with open(path, "wb", buffering=0) as file:
        for _ in range(pieces):
            file.write(bytes(1 << 20))


def large(size_bytes: int) -> bytes:
    """A result of this size."""
    return bytes(size_bytes)


def read_fds(offset_bytes: int, length_bytes: int, *, fds: tuple[int, ...]) -> list[bytes]:
    """The bytes at one place of every descriptor."""
    return [os.pread(fd, length_bytes, offset_bytes) for fd in fds]


def open_fds() -> list[str]:
    """What every descriptor above standard error points to."""
    found = []
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2:
            try:
                found.append(os.readlink(f"/proc/self/fd/{name}"))
            except FileNotFoundError:  # the listing's own
                continue
    return found


def surroundings() -> dict[str, object]:
    """What the child inherited."""
    return {
        "environment": dict(os.environ),
        "core": resource.getrlimit(resource.RLIMIT_CORE)[0],
        "cwd": os.getcwd(),
        "stdio": [os.readlink(f"/proc/self/fd/{number}") for number in range(3)],
    }


def _channel() -> socket.socket:
    for name in os.listdir("/proc/self/fd"):
        try:
            if int(name) > 2 and stat.S_ISSOCK(os.fstat(int(name)).st_mode):
                return socket.socket(fileno=os.dup(int(name)))
        except OSError:
            continue
    raise LookupError("no socket")


class _Bomb:
    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (BOMB_PATH,)


BOMB_PATH = ""


def answer_with_pickle(bomb_path: str, call_number: int) -> None:
    """Answer with a pickle that makes a folder where it is loaded."""
    global BOMB_PATH
    BOMB_PATH = bomb_path
    payload = pickle.dumps(_Bomb())
    _channel().sendall(ANSWER.pack(call_number, len(payload), KIND_RESULT) + payload)
    time.sleep(10)


def answer_huge(call_number: int) -> None:
    """Announce an answer of nearly 4 GiB."""
    _channel().sendall(ANSWER.pack(call_number, 0xFFFFFFF0, KIND_RESULT))
    time.sleep(10)


def answer_refusal_with_free_code(call_number: int) -> None:
    """Refuse with a code that the table does not have."""
    payload = encode(("no_such_code", "x", {}))
    _channel().sendall(ANSWER.pack(call_number, len(payload), KIND_REFUSAL) + payload)
    time.sleep(10)


def answer_ahead(next_call_number: int) -> str:
    """Answer this call properly, with a second answer behind it that is meant to stand in for a later call's."""
    payload = encode("ahead")
    honest = encode("honest")
    first = ANSWER.pack(next_call_number - 1, len(honest), KIND_RESULT) + honest
    _channel().sendall(first + ANSWER.pack(next_call_number + 5, len(payload), KIND_RESULT) + payload)
    time.sleep(10)
    return "not reached"


def close_channel() -> None:
    """Close the socket and stay alive."""
    for name in os.listdir("/proc/self/fd"):
        try:
            if int(name) > 2 and stat.S_ISSOCK(os.fstat(int(name)).st_mode):
                os.close(int(name))
        except OSError:
            continue
    time.sleep(30)
