"""What can become of a call into a child, other than its result or a :class:`~entrepot.model.errors.Refusal`."""

import signal


class ChildError(Exception):
    """A call into a child gave no result; the base of the errors below."""


class ChildCrashed(ChildError):
    """The child ended or broke the protocol during the call: a crash in C code, the memory cap, the kernel's OOM
    killer.

    ``exit_code`` is the process's exit code, negative for a signal's number (``-9``), or None when the child still ran
    but sent something that is no answer and was killed for it.
    """

    def __init__(self, reason: str, exit_code: int | None = None) -> None:
        self.exit_code = exit_code
        super().__init__(reason)

    @property
    def signal_name(self) -> str | None:
        """The signal that ended the child (``SIGKILL``), or None."""
        if self.exit_code is None or self.exit_code >= 0:
            return None
        try:
            return signal.Signals(-self.exit_code).name
        except ValueError:
            return f"signal {-self.exit_code}"


class ChildTimedOut(ChildError):
    """The call took longer than ``timeout_s`` seconds; the child was killed and is replaced."""

    def __init__(self, timeout_s: float) -> None:
        self.timeout_s = timeout_s
        super().__init__(f"the child took longer than {timeout_s:g} s and was killed")


class ChildFailed(ChildError):
    """The function raised; ``name`` is the exception's class, ``text`` its message, ``trace`` the end of its traceback.

    All three are the child's words about hostile input: for the log, bounded, never for a client. An exhausted memory
    cap that the interpreter noticed itself is ``name == "MemoryError"``.
    """

    def __init__(self, name: str, text: str, trace: str) -> None:
        self.name = name
        self.text = text
        self.trace = trace
        super().__init__(f"{name}: {text}")


class ChildPoolBusy(ChildError):
    """No child became free within the pool's ``queue_wait_s``; the call did not start."""


class ChildPoolClosed(ChildError):
    """The pool is closed; the call did not start."""
