"""One canary run of one format: the sample goes in by the front door, is read back as a client reads, and is yanked."""

import io
from collections.abc import Callable
from typing import Final

from entrepot.client.errors import ClientError, Problem
from entrepot.client.session import Session
from entrepot.formats.protocol import FileMissing, Format, IndexFault, Located, Sample
from entrepot.formats.sampling import fetch_checked
from entrepot.model.nouns import RepositoryName
from entrepot.node.canary.judge import Outcome, Run
from entrepot.observe.clock import Clock
from entrepot.signing.verify import BadSignature, signed_by

POLL_S: Final = 0.5
# Codes by which a node that is full or busy says so, as it should.
ROOM_CODES: Final = frozenset({"no_room", "busy", "quota_exceeded", "quota_reserved", "too_large_for_volume"})
CAUSE_CHARS_MAX: Final = 500


class Stopped(Exception):
    """The node is stopping: what the run saw says nothing."""


class Broken(Exception):
    """The node does not do what it should; the message says what."""


class FrontDoor:
    """The repository as its clients reach it (an :class:`~entrepot.formats.protocol.IndexReader`).

    Args: ``session`` to the server, without patience; ``public_key`` the repository's, armored, as the node knows it.
    """

    def __init__(self, session: Session, repository: RepositoryName, public_key: bytes) -> None:
        self._session = session
        self._repository = repository
        self._public_key = public_key

    def fetch(self, path: str) -> bytes | None:
        """GET. Raises ClientError for anything but an answer or a 404."""
        try:
            return self._session.call("GET", f"/{self._repository}/{path}", retries=False).body
        except Problem as problem:
            if problem.status == 404:
                return None
            raise

    def verify(self, document: bytes, signature: bytes | None = None) -> bytes:
        """The text that the repository's key signed. Raises IndexFault."""
        try:
            return signed_by(self._public_key, document, signature)
        except BadSignature as error:
            raise IndexFault(f"the signature of the index does not hold: {error}") from None

    def put(self, path: str, content: bytes) -> None:
        """Upload a file. Raises ClientError."""
        self._session.upload("PUT", f"/{self._repository}/{path}", io.BytesIO(content), len(content))

    def yank(self, sample: Sample) -> None:
        """Take the sample's files out of the index. Raises ClientError."""
        wanted = {"name": sample.name, "version": sample.version, "distribution": sample.distribution}
        self._session.post(f"/api/v2/repos/{self._repository}/yank", wanted, retries=False)


class Trip:
    """Runs one sample through; for one thread, once.

    Args: ``pause`` waits so many seconds and says whether the node is stopping; ``patience_s`` is how long an index may
    lag behind an upload or a yank that was answered.
    """

    def __init__(
        self,
        fmt: Format,
        sample: Sample,
        door: FrontDoor,
        clock: Clock,
        pause: Callable[[float], bool],
        patience_s: float,
    ) -> None:
        self._format = fmt
        self._sample = sample
        self._door = door
        self._clock = clock
        self._pause = pause
        self._patience_s = patience_s
        self._located: tuple[Located, ...] = ()

    def run(self) -> Run:
        """Every phase in turn, to the first that fails. Raises Stopped when the node is stopping."""
        phases = {
            "upload": self._upload,
            "index": self._index,
            "download": self._download,
            "yank": lambda: self._door.yank(self._sample),
            "gone": self._gone,
        }
        at, seconds = self._clock.now_s(), dict[str, float]()
        for name, phase in phases.items():
            if self._pause(0):
                raise Stopped
            started = self._clock.monotonic()
            try:
                phase()
            except (ClientError, IndexFault, Broken) as error:
                if self._pause(0) or (isinstance(error, Problem) and error.code == "stopping"):
                    raise Stopped from None
                refused = name == "upload" and isinstance(error, Problem) and error.code in ROOM_CODES
                return Run(Outcome.REFUSED if refused else Outcome.FAILED, at, seconds, name, explain(error))
            finally:
                seconds[name] = self._clock.monotonic() - started
        return Run(Outcome.PASSED, at, seconds)

    def _upload(self) -> None:
        for file in self._sample.files:
            self._door.put(file.path, file.content)

    def _index(self) -> None:
        """Until the signed index lists every file. An answered upload is listed already, unless publication is slow."""
        expected = len(self._sample.files)

        def listed() -> bool:
            self._located = self._format.locate(self._sample, self._door)
            return len(self._located) == expected

        self._until(listed, "the signed index does not list the sample")

    def _download(self) -> None:
        sent = [file.content for file in self._sample.files]
        for located, content in zip(self._located, sent, strict=True):
            found = fetch_checked(self._door, located.path, located.sha256)
            if found != content:
                raise Broken(f"{located.path} has other bytes than were sent")

    def _gone(self) -> None:
        """Until the index has forgotten the sample; its files then answer 404."""

        def unlisted() -> bool:
            try:
                return not self._format.locate(self._sample, self._door)
            except FileMissing:  # a yanked file answers 404 at once, and the index that names it a moment longer
                return False

        self._until(unlisted, "the index still lists the sample after it was yanked")
        for located in self._located:
            if self._door.fetch(located.path) is not None:
                raise Broken(f"{located.path} is still served after it was yanked")

    def _until(self, holds: Callable[[], bool], otherwise: str) -> None:
        end = self._clock.monotonic() + self._patience_s
        while not holds():
            if self._clock.monotonic() >= end:
                raise Broken(f"{otherwise}, {self._patience_s:g} s later")
            if self._pause(POLL_S):
                raise Stopped


def explain(error: Exception) -> str:
    """A cause in one short sentence, with the code of the error table where there is one."""
    text = " ".join(str(error).split())[:CAUSE_CHARS_MAX]
    return f"{text} ({error.code})" if isinstance(error, ClientError) else text or type(error).__name__
