"""Which model this device serves now: its engine is attached to the copy on the GPU and to the KV region.

Engines of all models were prepared ahead; one at a time is attached. A model takes the seat while its
blocks are still on their way, so that nothing is left to be done when they are here.
"""

import asyncio
from collections.abc import Coroutine, Mapping
from typing import Any

from lambdascale.cluster.copies import ModelCopy
from lambdascale.engine.base import Engine
from lambdascale.errors import ConfigError
from lambdascale.transport.base import Region


class Seat:
    """One place for one of `engines`; comings and goings happen in the order they were asked for."""

    def __init__(self, engines: Mapping[str, Engine], kv: Region) -> None:
        self._engines = engines
        self._kv = kv
        self._model: str | None = None
        self._changing: asyncio.Future[None] | None = None

    def take(self, model: str, copy: ModelCopy) -> asyncio.Future[None]:
        """Let `model` be served from `copy` from now on; the future is done when it can be."""
        before, self._model = self._model, model
        return self._change(self._attach(before, model, copy))

    def leave(self, model: str) -> asyncio.Future[None] | None:
        """Let go of the copy of `model`, if it has the seat."""
        if self._model != model:
            return None
        self._model = None
        return self._change(self._engines[model].detach())

    async def clear(self) -> None:
        """Let go of whatever has the seat; nobody works with it any more."""
        if self._model is not None and (leaving := self.leave(self._model)) is not None:
            await leaving

    async def engine(self) -> Engine:
        """Return the engine that has the seat, as soon as it is attached."""
        if self._model is None or self._changing is None:
            raise ConfigError("this node was told to work before it was told which model to serve")
        engine = self._engines[self._model]
        if not self._changing.done():
            await asyncio.shield(self._changing)
        return engine

    async def _attach(self, before: str | None, model: str, copy: ModelCopy) -> None:
        if before is not None:
            await self._engines[before].detach()
        await self._engines[model].attach(copy.region, copy.base, self._kv, copy.parts)

    def _change(self, work: Coroutine[Any, Any, None]) -> asyncio.Future[None]:
        self._changing = asyncio.ensure_future(_after(self._changing, work))
        return self._changing


async def _after(earlier: asyncio.Future[None] | None, work: Coroutine[Any, Any, None]) -> None:
    if earlier is not None:
        await asyncio.wait([earlier])
    await work
