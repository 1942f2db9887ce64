"""Work in threads for coroutines that may be cancelled while it runs."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor, Future
from functools import partial
from typing import TypeVar

T = TypeVar("T")


async def owned(pool: Executor, give_back: Callable[[T], None], function: Callable[..., T], *args: object) -> T:
    """The result of ``function(*args)``, run in ``pool``, that the caller must give back when it is done with it.

    A cancelled caller never sees a result that its thread still makes: ``give_back`` is then called with it, in that
    thread. Without this a request that was cut off would keep a reservation or a descriptor for ever. Raises what
    ``function`` raises.
    """
    future = pool.submit(function, *args)
    try:
        return await asyncio.wrap_future(future)
    except asyncio.CancelledError:
        future.add_done_callback(partial(_unwanted, give_back))
        raise


def _unwanted(give_back: Callable[[T], None], done: "Future[T]") -> None:
    if not done.cancelled() and done.exception() is None:
        give_back(done.result())
