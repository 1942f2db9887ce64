"""Answers of the catalog that are kept for a few seconds."""

import asyncio

from entrepot.observe.clock import FixedClock
from entrepot.web.remembered import Remembered


async def _answer(value: str | None) -> str | None:
    return value


def test_nothing_from_before_a_change_is_told_after_it() -> None:
    """Goal: a revoked token, or a repository that was deleted or has just been made, is not judged by what was read
    before that. Method: forget while a look-up is on its way that read the old state.

    Seen to fail with every answer kept, however old its reading.
    """

    async def go(forgotten: str | None) -> None:
        kept: Remembered[str, str | None] = Remembered(FixedClock(), keep_s=3.0, most=9)
        read, told = asyncio.Event(), asyncio.Event()

        async def slow() -> str | None:
            read.set()
            await told.wait()
            return "old"

        asking = asyncio.create_task(kept.find("key", slow))
        await read.wait()
        kept.forget(forgotten)
        told.set()
        assert await asking == "old"  # who asked before the change may be told so
        assert kept.held("key") is None
        assert await kept.find("key", lambda: _answer("new")) == "new"

    asyncio.run(go(None))
    asyncio.run(go("key"))


def test_answers_are_kept_for_their_time_and_up_to_their_number() -> None:
    """Goal: few questions, and no memory without bounds; that there is nothing is an answer too."""

    async def go() -> None:
        clock = FixedClock()
        kept: Remembered[int, str | None] = Remembered(clock, keep_s=3.0, most=2)
        assert await kept.find(1, lambda: _answer(None)) is None
        assert kept.held(1) == (None,)
        assert await kept.find(1, lambda: _answer("later")) is None
        await kept.find(2, lambda: _answer("b"))
        assert kept.held(1) == (None,)  # asked for last
        await kept.find(3, lambda: _answer("c"))
        assert [kept.held(each) for each in (1, 2, 3)] == [(None,), None, ("c",)]
        kept.forget(1)
        assert [kept.held(each) for each in (1, 3)] == [None, ("c",)]
        clock.advance(3.0)
        assert kept.held(3) is None

    asyncio.run(go())
