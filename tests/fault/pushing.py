"""The product's own client inside the test's process: what `entrepot push` sends, without the start of a program."""

from pathlib import Path

import httpx

from entrepot.client.config import Connection
from entrepot.client.errors import ClientError, Problem
from entrepot.client.push import Options, Push
from entrepot.client.resume import Remembered
from entrepot.client.selection import KINDS, Item
from entrepot.client.session import Answer as Heard
from entrepot.client.session import Session
from entrepot.client.target import PushTarget
from tests.client.fake import Recorder
from tests.fault.rig import Answer, Rig


class Listening(Session):
    """A session that keeps what the server answered to uploads, refusals too. It never tries again."""

    def __init__(self, connection: Connection, rig: Rig, heard: list[Answer]) -> None:
        super().__init__(connection, retry_for_s=0.0)
        self._rig = rig
        self._heard = heard

    def clone(self, on_wait: object = None) -> "Listening":
        """A worker's session, which adds to the same list."""
        return Listening(self.connection, self._rig, self._heard)

    def _once(self, request: httpx.Request) -> Heard:
        try:
            answer = super()._once(request)
        except Problem as problem:
            advice = "" if problem.retry_after_s is None else f"{problem.retry_after_s:.0f}"
            headers = {"retry-after": advice, "x-entrepot-code": problem.code}
            self._keep(request, Answer(problem.status, headers, problem.detail))
            raise
        self._keep(request, Answer(answer.status, answer.headers, answer.body.decode(errors="replace")))
        return answer

    def _keep(self, request: httpx.Request, answer: Answer) -> None:
        self._rig.counts.answered(answer.status, answer.headers)
        if request.url.path.endswith("/packages") or answer.status >= 400:
            self._heard.append(answer)


def push_once(rig: Rig, repository: str, path: Path, *, wait_for_s: float = 0.0) -> Answer:
    """Push one .deb to debian/bookworm; the answer to its upload, or to what failed before it."""
    heard: list[Answer] = []
    connection = Connection(rig.url, rig.admin_token, None, 1, 0.0, {})
    options = Options(parallel=1, wait_for_s=wait_for_s)
    target = PushTarget(repository, ("debian/bookworm",))
    with Listening(connection, rig, heard) as session:
        pushing = Push(session, target, KINDS["deb"], (Item(path, path.name),), options, Recorder(), Remembered(None))
        try:
            pushing.run()
        except ClientError as error:
            return heard[-1] if heard else Answer(0, text=str(error))
    return heard[0] if heard else Answer(0, text="nothing was answered")
