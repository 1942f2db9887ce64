"""Refusals for want of room come a little late, and never tie the node up."""

import asyncio
import time

from entrepot.web.holdback import HELD_BACK_LEAST, HELD_BACK_MAX, HoldBack

MOST_S = 0.5


def test_a_refusal_waits_and_only_so_many_do() -> None:
    """Goal: a quick refusal attracts no traffic, and a flood of refusals is not held in memory. Method: twenty more at
    once than may wait: these twenty return at once, the others after their pause; one that was cut off gives its place
    back, and so do all others.
    """

    async def run() -> None:
        hold = HoldBack(MOST_S)

        async def begin(count: int) -> list[asyncio.Task[None]]:
            made = [asyncio.create_task(hold.wait()) for _ in range(count)]
            await asyncio.sleep(MOST_S * HELD_BACK_LEAST / 4)
            return made

        began = time.monotonic()
        first = await begin(HELD_BACK_MAX + 20)
        assert [task.done() for task in first] == [False] * HELD_BACK_MAX + [True] * 20
        first[0].cancel()
        await asyncio.sleep(0)
        again = asyncio.create_task(hold.wait())
        await asyncio.sleep(0)
        assert not again.done()
        await asyncio.gather(*first, again, return_exceptions=True)
        assert time.monotonic() - began >= MOST_S * HELD_BACK_LEAST
        second = await begin(HELD_BACK_MAX)
        assert not any(task.done() for task in second)
        await asyncio.gather(*second)
        await asyncio.wait_for(HoldBack(0).wait(), 0.1)

    asyncio.run(run())
