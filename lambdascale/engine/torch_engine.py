"""The real engine: `transformers` modules over a packed image, a ragged KV cache, one compute thread.

All torch work of an engine runs in its own single thread in the order of the calls, so the event loop
stays free and a cancelled caller leaves nothing half done. If a floor is imposed, the thread sleeps until
the emulated device would be done; work that took longer is counted as an overrun.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

from lambdascale.clock import now
from lambdascale.engine.base import (
    EngineLimits,
    Pick,
    Round,
    Rows,
    RowWidths,
    Step,
    StepCounts,
    check_regions,
)
from lambdascale.engine.device import DeviceModel
from lambdascale.engine.runner import Runner
from lambdascale.engine.torch_kv import TorchKv
from lambdascale.errors import ConfigError, ModelError
from lambdascale.model.layout import ImageLayout
from lambdascale.transport.base import Region

T = TypeVar("T")


class TorchEngine:
    """Executes parts of one model on `device`; the contract is `engine.base.Engine`.

    `floor` is the device to emulate, None to run as fast as this machine does.
    """

    def __init__(self, device: str = "cpu", floor: DeviceModel | None = None) -> None:
        if device != "cpu":
            raise ConfigError(f"device is {device!r}; this engine runs on 'cpu'")
        self._floor = floor
        self._closed = False
        self._steps = 0
        self._overruns = 0
        self._runner: Runner | None = None
        self._thread = ThreadPoolExecutor(1, "engine", torch.set_num_threads, (1,))

    @property
    def counts(self) -> StepCounts:
        return StepCounts(self._steps, self._overruns)

    @property
    def kv(self) -> TorchKv:
        return TorchKv(self._prepared(), self._thread)

    async def prepare(self, layout: ImageLayout, config: str, limits: EngineLimits) -> RowWidths:
        """Build the modules; ModelError for a model it cannot run, ConfigError for impossible limits."""
        self._runner = runner = await self._compute(lambda: Runner(layout, config, limits))
        return runner.widths

    async def attach(
        self, image: Region, offset: int, kv: Region, parts: range | None = None
    ) -> None:
        """Point the parameters at the image and zero the KV cache; the image's bytes may come later."""
        runner, layout = self._prepared(), self._prepared().layout
        own = parts or range(layout.num_parts)
        check_regions(layout, own, image, offset, kv, runner.kv.nbytes)
        low, high = layout.part_offsets[own.start], layout.part_offsets[own.stop]
        weights, cache = image.view[offset + low : offset + high], kv.view
        await self._compute(lambda: runner.attach(weights, cache, own))

    async def detach(self) -> None:
        """Let go of both regions once the calls before are done."""
        if self._runner is not None:
            await self._compute(self._runner.detach)

    async def forward(self, step: Step) -> Rows:
        """Run `step`; ConfigError if it exceeds the limits, ModelError if KV entries are missing."""
        runner = self._prepared()
        floor_s = self._forward_floor_s(runner, step)
        return await self._compute(lambda: self._paced(floor_s, lambda: runner.forward(step)))

    def _forward_floor_s(self, runner: Runner, step: Step) -> float:
        if self._floor is None:
            return 0.0
        parts = step.first, step.stop
        kv_nbytes = runner.kv.nbytes_of(*parts, step.num_attended)
        return self._floor.forward_s(runner.layout, *parts, step.num_tokens, kv_nbytes)

    async def sample(self, rows: Rows, picks: Sequence[Pick]) -> list[int]:
        """Choose one token per final row."""
        runner = self._prepared()
        floor_s = self._floor.sample_s(runner.layout, len(picks)) if self._floor else 0.0
        return await self._compute(lambda: self._paced(floor_s, lambda: runner.sample(rows, picks)))

    async def generate(
        self, step: Step, picks: Sequence[Pick], num_steps: int, interrupt: asyncio.Event
    ) -> list[Round]:
        """Make one step, so that its tokens are known at once."""
        tokens = await self.sample(await self.forward(step), picks)
        return [Round(now(), tokens)]

    async def close(self) -> None:
        """Finish what was called, let go of all memory and end the compute thread; again is harmless."""
        if not self._closed:
            self._closed = True
            await self._compute(self._release)
            self._thread.shutdown()

    async def _compute(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def _paced(self, floor_s: float, work: Callable[[], T]) -> T:
        """Do `work` in no less than `floor_s` seconds."""
        started = time.perf_counter()
        result = work()
        self._steps += 1
        remainder_s = started + floor_s - time.perf_counter()
        if remainder_s > 0:
            time.sleep(remainder_s)
        elif floor_s > 0:
            self._overruns += 1
        return result

    def _prepared(self) -> Runner:
        if self._runner is None:
            raise ModelError("the engine has no model; prepare it first")
        return self._runner

    def _release(self) -> None:
        if self._runner is not None:
            self._runner.detach()
            self._runner = None
