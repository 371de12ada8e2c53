"""Time as the running event loop tells it: wall seconds in production, virtual seconds in simulation.

On one machine the real loop's clock is CLOCK_MONOTONIC, so times taken in different agents compare.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from lambdascale.errors import DeadlineError


def now() -> float:
    """Return the current time of the running loop in seconds."""
    return asyncio.get_running_loop().time()


@asynccontextmanager
async def deadline(seconds: float, what: str) -> AsyncIterator[None]:
    """Raise DeadlineError naming `what` if the body takes longer than `seconds`."""
    try:
        async with asyncio.timeout(seconds) as limit:
            yield
    except TimeoutError as error:
        if limit.expired():
            raise DeadlineError(f"{what} did not happen within {seconds:g} s") from error
        raise
