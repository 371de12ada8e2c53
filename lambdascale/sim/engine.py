"""The symbolic engine: the device's cost model for the time, a hash chain for the result.

A row is 64 bits that depend on the tokens, their positions, the layers passed, what the image region
holds for each of them at that moment, and the KV entries actually present. So whatever would make a real
model's tokens wrong makes these wrong, and nothing else does: not the batch, the cut of the prompt into
chunks or of the layers into ranges, nor the node. Any range executes at any time; missing bytes or KV
entries raise nothing, they change the tokens.
"""

import asyncio
import json
from collections.abc import Sequence

from lambdascale.engine.base import EngineLimits, Pick, Rows, Step
from lambdascale.engine.device import DeviceModel
from lambdascale.errors import ModelError
from lambdascale.model.layout import ImageLayout
from lambdascale.model.shape import ModelShape
from lambdascale.sim.chain import HashChain
from lambdascale.sim.kv import SymbolicCache
from lambdascale.transport.base import Region


class SymbolicEngine:
    """Implements `engine.base.Engine`, waiting on the clock of the running loop as `device` would.

    Rows are 8 bytes, or with `wide_rows` as long as the real model's, so that they take as long to send.
    """

    def __init__(self, device: DeviceModel, wide_rows: bool = False) -> None:
        self._device = device
        self._wide_rows = wide_rows
        self._model: HashChain | None = None
        self._turn = asyncio.Lock()
        self._steps = 0

    @property
    def row_nbytes(self) -> int:
        return self._prepared().row_nbytes

    @property
    def final_row_nbytes(self) -> int:
        return self._prepared().final_row_nbytes

    @property
    def steps(self) -> int:
        return self._steps

    @property
    def overruns(self) -> int:
        """Always 0: virtual devices are never late."""
        return 0

    @property
    def cache(self) -> SymbolicCache:
        """The KV cache, for tests that damage it."""
        return self._prepared().cache

    async def prepare(
        self, layout: ImageLayout, config: str, image: Region, limits: EngineLimits
    ) -> None:
        """Stand ready over `image`; ModelError for a model that the real engine could not run."""
        shape = ModelShape.from_config(json.loads(config))
        self._model = HashChain(layout, shape, image, limits, self._wide_rows)

    async def forward(self, step: Step) -> Rows:
        """Run `step`; ConfigError if it exceeds the limits of `prepare`."""
        model = self._prepared()
        model.check(step)
        async with self._turn:
            rows = model.forward(step)
            seconds = self._device.forward_s(model.layout, step.first, step.stop, step.num_tokens)
            await asyncio.sleep(seconds)
            self._steps += 1
        return rows

    async def sample(self, rows: Rows, picks: Sequence[Pick]) -> list[int]:
        model = self._prepared()
        async with self._turn:
            tokens = model.sample(rows, picks)
            await asyncio.sleep(self._device.sample_s(model.layout, len(picks)))
            self._steps += 1
        return tokens

    async def close(self) -> None:
        self._model = None

    def _prepared(self) -> HashChain:
        if self._model is None:
            raise ModelError("the engine has no model; prepare it first")
        return self._model
