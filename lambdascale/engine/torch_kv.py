"""The KV cache of the real engine as `engine.kv.KvCache`: its tensors lie in the KV region already.

So nothing is copied. All that has to be done is to wait for the steps called before, on the engine's
compute thread, and to keep account of what the cache holds.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor

from lambdascale.engine.kv import Ranges
from lambdascale.engine.runner import Runner


class TorchKv:
    """The cache of `runner`, which is used on `thread` only."""

    def __init__(self, runner: Runner, thread: Executor) -> None:
        self._runner = runner
        self._thread = thread

    @property
    def nbytes(self) -> int:
        return self._runner.kv.nbytes

    def ranges(self, slot: int, first: int, stop: int, length: int) -> Ranges:
        return self._runner.kv.ranges(slot, first, stop, length)

    async def expose(self, slot: int, first: int, stop: int, length: int) -> None:
        """Wait for the steps called before; ModelError if a layer holds fewer than `length` tokens."""
        self._runner.kv.check(slot, length)
        await self._after_steps(
            lambda: self._runner.presence.check_exposed(slot, first, stop, length)
        )

    async def adopt(self, slot: int, first: int, stop: int, length: int) -> None:
        """Take note that the ranges are in place."""
        self._runner.kv.check(slot, length)
        await self._after_steps(lambda: self._runner.presence.adopt(slot, first, stop, length))

    async def _after_steps(self, work: Callable[[], None]) -> None:
        await asyncio.get_running_loop().run_in_executor(self._thread, work)
