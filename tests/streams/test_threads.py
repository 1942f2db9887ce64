"""Results of threads whose caller was cancelled."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from entrepot.streams.threads import owned


@pytest.mark.parametrize("outcome", ["result", "error"])
def test_a_cancelled_caller_gives_back_what_its_thread_still_makes(outcome: str) -> None:
    """Goal: nothing is held for a request that was cut off. Method: cancel the caller while its thread works; a result
    is given back, an error has none. Seen to fail with the callback removed.
    """
    going, began, given = threading.Event(), threading.Event(), list[str]()

    def make() -> str:
        began.set()
        assert going.wait(10)
        if outcome == "error":
            raise OSError("no")
        return "room"

    async def run(pool: ThreadPoolExecutor) -> None:
        task = asyncio.ensure_future(owned(pool, given.append, make))
        assert await asyncio.to_thread(began.wait, 10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert given == []
        going.set()

    with ThreadPoolExecutor(1) as pool:
        asyncio.run(run(pool))
    assert given == (["room"] if outcome == "result" else [])


def test_who_is_not_cancelled_keeps_it() -> None:
    """Goal: a result that its caller has is not given back. Method: no cancellation."""
    given = list[int]()
    with ThreadPoolExecutor(1) as pool:
        assert asyncio.run(owned(pool, given.append, lambda: 7)) == 7
    assert given == []
